/* Losses of logits or log-probabilities (outer, classes, inner) against classes: cross entropy, negative
 * log-likelihood.
 *
 * sizes are (rows, classes, inner, reduction, ...), rows = outer * inner; row o * inner + j is x[o, :, j]. Forward
 * keeps the log-sum-exp of each row and nothing else; backward computes the probabilities again in the pass that writes
 * the gradient. Rows lie together with inner == 1; else up to 64 neighbouring ones go at once, a lane each. */
#include "reduction/tree.h"
#include "runtime/kernel.h"
#include "runtime/pool.h"
#include "runtime/scratch.h"

enum { NONE, MEAN, SUM };
enum { CHUNK = 16 * 1024 }; /* logits that one task takes at least, where it can */

typedef struct {
    const float *x;                      /* logits */
    const int64_t *target;               /* classes, or */
    const float *wanted;                 /* probabilities */
    const float *weight;                 /* by class; NULL is all ones */
    const float *grad_out;               /* one, or one for each row */
    float *lse, *losses, *weights, *out; /* weights: that of each row's class, 0 for an ignored row */
    int64_t rows, classes, inner, reduction, ignore_index, units;
    float keep, floor; /* label smoothing: wanted is keep * wanted + floor in each class */
    float scale;       /* of grad_out: 1 / total weight for the mean */
} problem;

static int64_t smaller(int64_t a, int64_t b) { return a < b ? a : b; }
static float shift_of(float m) {
    return m == -INFINITY ? 0.0f : m;
} /* -inf alone sums to 0; inf makes nan, as in PyTorch */
static float scalar(vec_f32 v) { return vec_lane0(v); }

/* sum exp(x - shifted) of a row that lies together, in one reading: a block's maximum is found, then its sum, both from
 * L1; the sum so far is rescaled when a block raises the maximum (Milakov & Gimelshein 2018, arXiv:1805.02867). */
static float sum_exp(const float *x, int64_t n, float *shifted) {
    float m = -INFINITY, shift = 0.0f, sum = 0.0f;
    for (int64_t i = 0; i < n; i += TREE_BLOCK) {
        int64_t count = smaller(TREE_BLOCK, n - i);
        float largest = tree_row(TREE_SHIFT, x + i, count, 0.0f);
        if (largest > m) {
            float next = shift_of(largest);
            if (i > 0) sum *= scalar(vec_exp(vec_set(m - next)));
            m = largest;
            shift = next;
        }
        sum += tree_row(TREE_SUM_EXP, x + i, count, shift);
    }
    *shifted = shift;
    return sum;
}

/* The share of class c in the loss before the target's own: floor, or keep * wanted + floor; times its weight. */
VEC_INLINE vec_f32 share(const problem *p, vec_f32 wanted, vec_f32 weight) {
    return vec_mul(p->wanted ? vec_fma(wanted, vec_set(p->keep), vec_set(p->floor)) : vec_set(p->floor), weight);
}

/* sum over classes of share (lse - x), and of share alone, for a row that lies together. */
static float smooth_row(const problem *p, int64_t row, float lse, float *mass) {
    const float *x = p->x + row * p->classes, *wanted = p->wanted ? p->wanted + row * p->classes : 0;
    tree_counter surprise, shares;
    surprise.count = surprise.top = shares.count = shares.top = 0;
    for (int64_t i = 0; i < p->classes; i += TREE_BLOCK) {
        int64_t stop = smaller(p->classes, i + TREE_BLOCK);
        vec16 acc = vec16_zero(), total = vec16_zero();
        for (int64_t k = i; k < stop; k += 16) VEC16_EACH {
                int64_t at = k + j * VEC_LANES, rest = stop - at;
                vec_f32 w = p->weight ? vec_load(p->weight + at, rest) : vec_set(1.0f);
                vec_f32 s = share(p, wanted ? vec_load(wanted + at, rest) : vec_zero(), w);
                vec_f32 v = vec_mul(s, vec_sub(vec_set(lse), vec_load(x + at, rest)));
                acc.v[j] = vec_add(acc.v[j], vec_select(vec_first(rest), v, vec_zero()));
                total.v[j] = vec_add(total.v[j], vec_select(vec_first(rest), s, vec_zero()));
            }
        tree_push(TREE_SUM, &surprise, acc);
        tree_push(TREE_SUM, &shares, total);
    }
    *mass = vec16_sum(tree_finish(TREE_SUM, &shares));
    return vec16_sum(tree_finish(TREE_SUM, &surprise));
}

/* The same for `width` rows a lane each; at is the first one's place. */
static void smooth_strip(const problem *p, int64_t at, int64_t width, const float *lse, float *loss, float *mass) {
    for (int64_t j = 0; j < width; j += VEC_LANES) {
        int64_t rest = width - j;
        vec_f32 acc = vec_zero(), total = vec_zero(), l = vec_load(lse + j, rest);
        for (int64_t c = 0; c < p->classes; c++) {
            int64_t k = at + c * p->inner + j;
            vec_f32 wanted = p->wanted ? vec_load(p->wanted + k, rest) : vec_zero();
            vec_f32 s = share(p, wanted, vec_set(p->weight ? p->weight[c] : 1.0f));
            acc = vec_fma(s, vec_sub(l, vec_load(p->x + k, rest)), acc);
            total = vec_add(total, s);
        }
        vec_store(loss + j, acc, rest);
        vec_store(mass + j, total, rest);
    }
}

/* Neighbouring rows row .. row+width-1 of one outer index: where the first begins. */
static int64_t strip_at(const problem *p, int64_t row, int64_t stop, int64_t *width) {
    int64_t o = row / p->inner, j = row % p->inner;
    *width = smaller(TREE_WIDTH, smaller(p->inner - j, stop - row));
    return o * p->classes * p->inner + j;
}

static void forward_rows(void *context, int64_t chunk) {
    const problem *p = context;
    int64_t stop = smaller((chunk + 1) * p->units, p->rows), width = 1;
    for (int64_t row = chunk * p->units; row < stop; row += width) {
        int64_t at = row * p->classes, step = p->inner == 1 ? p->classes : 1; /* step: to the next row */
        float *lse = p->lse + row, mass[TREE_WIDTH], m[TREE_WIDTH];
        if (p->inner == 1) { /* 16 logarithms cost as much as one */
            float sum[16] = {0};
            width = smaller(16, stop - row);
            for (int64_t j = 0; j < 16; j++) m[j] = 0.0f;
            int64_t few = 0;
            for (; step <= TREE_SHORT && few + TREE_FEW <= width; few += TREE_FEW) {
                const float *x = p->x + at + few * step;
                tree_few_rows(TREE_SHIFT, x, x, step, 0, m + few);
                for (int64_t j = few; j < few + TREE_FEW; j++) m[j] = shift_of(m[j]);
                tree_few_rows(TREE_SUM_EXP, x, x, step, m + few, sum + few);
            }
            for (int64_t j = few; j < width; j++) sum[j] = sum_exp(p->x + at + j * step, p->classes, m + j);
            for (int64_t j = 0; j < width; j += VEC_LANES)
                vec_store(lse + j, vec_add(vec_log(vec_loadu(sum + j)), vec_loadu(m + j)), width - j);
            for (int64_t j = 0; j < width; j++)
                p->losses[row + j] = p->floor != 0.0f || p->wanted ? smooth_row(p, row + j, lse[j], mass) : 0.0f;
        } else {
            at = strip_at(p, row, stop, &width);
            tree_columns(TREE_SHIFT, p->x + at, p->x, 0, m, p->classes, p->inner, width, TREE_ROWS);
            for (int64_t j = 0; j < width; j++) m[j] = shift_of(m[j]);
            tree_columns(TREE_SUM_EXP, p->x + at, p->x, m, lse, p->classes, p->inner, width, TREE_ROWS);
            for (int64_t j = 0; j < width; j += VEC_LANES) {
                int64_t rest = width - j;
                vec_store(lse + j, vec_add(vec_log(vec_load(lse + j, rest)), vec_load(m + j, rest)), rest);
            }
            if (p->floor != 0.0f || p->wanted)
                smooth_strip(p, at, width, lse, p->losses + row, mass);
            else
                memset(p->losses + row, 0, (size_t)width * sizeof(float));
        }
        for (int64_t j = 0; j < width && p->target; j++) {
            int64_t t = p->target[row + j];
            float w = t == p->ignore_index ? 0.0f : p->weight ? p->weight[t] : 1.0f;
            p->weights[row + j] = w;
            if (t == p->ignore_index)
                p->losses[row + j] = 0.0f;
            else
                p->losses[row + j] += p->keep * w * (lse[j] - p->x[at + t * p->inner + j * step]);
        }
    }
}

/* The losses, or one number of them: total is the weight that a mean divides by. */
static void finish(const problem *p, float total) {
    if (p->reduction == NONE) return;
    float sum = tree_row(TREE_SUM, p->losses, p->rows, 0.0f);
    *p->out = p->reduction == MEAN ? sum / total : sum;
}

static void share_rows(kg_task *task, problem *p, double ns) {
    p->units = CHUNK / (p->classes > 0 ? p->classes : 1);
    if (p->units < 1) p->units = 1;
    if (p->inner > 1 && p->units < TREE_WIDTH) p->units = TREE_WIDTH;
    int64_t chunks = (p->rows + p->units - 1) / p->units;
    if (chunks == 1)
        task(p, 0);
    else if (chunks > 1)
        kg_parallel(task, p, chunks, (double)(p->rows * p->classes) * ns * 1e-3);
}

static int64_t first_bad(const int64_t *target, int64_t rows, int64_t classes, int64_t ignore_index) {
    for (int64_t i = 0; i < rows; i++)
        if ((target[i] < 0 || target[i] >= classes) && target[i] != ignore_index) return i;
    return -1;
}

#define KERNEL(name) \
    static void name(void *const *arrays, const int64_t *sizes, const double *scalars, int64_t start, int64_t stop)

static problem class_problem(const int64_t *sizes, double smoothing) {
    float floor = smoothing > 0 ? (float)(smoothing / (double)sizes[1]) : 0.0f;
    return (problem){.rows = sizes[0],
                     .classes = sizes[1],
                     .inner = sizes[2],
                     .reduction = sizes[3],
                     .keep = (float)(1.0 - smoothing),
                     .floor = floor};
}

/* loss = (1 - s) w_t (lse - x_t) + s / classes sum_c w_c (lse - x_c); the mean divides by the sum of w_t */
KERNEL(cross_entropy_forward) {
    float *out = arrays[4], *total = arrays[5];
    int64_t *status = arrays[6];
    (void)start, (void)stop;
    problem p = class_problem(sizes, scalars[0]);
    p.x = arrays[0], p.target = arrays[1], p.weight = arrays[2], p.lse = arrays[3], p.out = out,
    p.ignore_index = sizes[4];
    *status = first_bad(p.target, p.rows, p.classes, p.ignore_index);
    if (*status >= 0) return;
    float *scratch = kg_scratch(KG_SCRATCH_PARTIAL, (size_t)p.rows * 2 * sizeof(float) + 64);
    p.weights = scratch, p.losses = p.reduction == NONE ? out : scratch + p.rows;
    share_rows(forward_rows, &p, 0.25 + 20.0 / (double)(p.classes + 1));
    *total = tree_row(TREE_SUM, p.weights, p.rows, 0.0f);
    finish(&p, *total);
}

/* loss = sum_c w_c q_c (lse - x_c), q = (1 - s) target + s / classes; the mean divides by the rows */
KERNEL(cross_entropy_soft_forward) {
    float *out = arrays[4];
    (void)start, (void)stop;
    problem p = class_problem(sizes, scalars[0]);
    p.x = arrays[0], p.wanted = arrays[1], p.weight = arrays[2], p.lse = arrays[3], p.out = out;
    p.losses = p.reduction == NONE ? out : kg_scratch(KG_SCRATCH_PARTIAL, (size_t)p.rows * sizeof(float) + 64);
    share_rows(forward_rows, &p, 0.4);
    finish(&p, (float)p.rows);
}

/* grad = exp(x - lse) a - g share, one row that lies together */
static void backward_row(const problem *p, const float *x, const float *wanted, float *grad, float lse, float a,
                         float g) {
    const vec_f32 lv = vec_set(lse), av = vec_set(a), gv = vec_set(g);
    int64_t n = p->classes;
    if (p->floor == 0.0f && !wanted) {
        for (int64_t i = 0; i < n; i += VEC_LANES)
            vec_store(grad + i, vec_mul(vec_exp(vec_sub(vec_load(x + i, n - i), lv)), av), n - i);
        return;
    }
    for (int64_t i = 0; i < n; i += VEC_LANES) {
        vec_f32 w = p->weight ? vec_load(p->weight + i, n - i) : vec_set(1.0f);
        vec_f32 s = vec_mul(gv, share(p, wanted ? vec_load(wanted + i, n - i) : vec_zero(), w));
        vec_f32 e = vec_exp(vec_sub(vec_load(x + i, n - i), lv));
        vec_store(grad + i, vec_sub(vec_mul(e, av), s), n - i);
    }
}

static void backward_strip(const problem *p, int64_t at, int64_t width, const float *lse, const float *a,
                           const float *g) {
    for (int64_t c = 0; c < p->classes; c++)
        for (int64_t j = 0; j < width; j += VEC_LANES) {
            int64_t k = at + c * p->inner + j, rest = width - j;
            vec_f32 wanted = p->wanted ? vec_load(p->wanted + k, rest) : vec_zero();
            vec_f32 s = vec_mul(vec_load(g + j, rest), share(p, wanted, vec_set(p->weight ? p->weight[c] : 1.0f)));
            vec_f32 e = vec_exp(vec_sub(vec_load(p->x + k, rest), vec_load(lse + j, rest)));
            vec_store(p->out + k, vec_sub(vec_mul(e, vec_load(a + j, rest)), s), rest);
        }
}

/* dx = g (p mass - share), less g (1 - s) w_t at the target; mass is the sum of what is subtracted. Ignored rows get
 * zeros. */
static void backward_rows(const problem *p, float smooth_mass, int64_t start, int64_t stop) {
    int64_t width = 1;
    for (int64_t row = start; row < stop; row += width) {
        int64_t at = p->inner == 1 ? row * p->classes : strip_at(p, row, stop, &width);
        float a[TREE_WIDTH], g[TREE_WIDTH], mass[TREE_WIDTH], loss[TREE_WIDTH];
        const float *lse = p->lse + row;
        for (int64_t j = 0; j < width; j++) {
            int64_t t = p->target ? p->target[row + j] : 0;
            g[j] = (p->reduction == NONE ? p->grad_out[row + j] : *p->grad_out) * p->scale;
            if (p->target && t == p->ignore_index)
                g[j] = a[j] = 0.0f;
            else if (p->target)
                a[j] = g[j] * (p->keep * (p->weight ? p->weight[t] : 1.0f) + smooth_mass);
        }
        if (p->inner == 1) {
            if (p->wanted) smooth_row(p, row, 0.0f, mass), a[0] = g[0] * mass[0];
            if (p->target && p->target[row] == p->ignore_index) {
                memset(p->out + at, 0, (size_t)p->classes * sizeof(float));
                continue;
            }
            backward_row(p, p->x + at, p->wanted ? p->wanted + at : 0, p->out + at, *lse, a[0], g[0]);
        } else {
            if (p->wanted) {
                smooth_strip(p, at, width, lse, loss, mass);
                for (int64_t j = 0; j < width; j++) a[j] = g[j] * mass[j];
            }
            backward_strip(p, at, width, lse, a, g);
        }
        for (int64_t j = 0; j < width && p->target; j++) {
            int64_t t = p->target[row + j];
            if (t == p->ignore_index)
                for (int64_t c = 0; c < p->classes; c++) p->out[at + c * p->inner + j] = 0.0f; /* 0 exp(inf) is nan */
            else
                p->out[at + t * p->inner + j] -= g[j] * (p->keep * (p->weight ? p->weight[t] : 1.0f));
        }
    }
}

KERNEL(cross_entropy_backward) {
    const float *total = arrays[5];
    problem p = class_problem(sizes, scalars[0]);
    p.x = arrays[0], p.target = arrays[1], p.weight = arrays[2], p.lse = arrays[3], p.grad_out = arrays[4],
    p.out = arrays[6];
    p.ignore_index = sizes[4], p.scale = p.reduction == MEAN ? 1.0f / *total : 1.0f;
    float weights = (float)p.classes;
    if (p.floor != 0.0f && p.weight) weights = tree_row(TREE_SUM, p.weight, p.classes, 0.0f);
    backward_rows(&p, p.floor * weights, start, stop);
}

KERNEL(cross_entropy_soft_backward) {
    problem p = class_problem(sizes, scalars[0]);
    p.x = arrays[0], p.wanted = arrays[1], p.weight = arrays[2], p.lse = arrays[3], p.grad_out = arrays[4],
    p.out = arrays[5];
    p.scale = p.reduction == MEAN ? 1.0f / (float)p.rows : 1.0f;
    backward_rows(&p, 0.0f, start, stop);
}

/* Where a row's first class is. */
VEC_INLINE int64_t first_of(int64_t row, int64_t classes, int64_t inner) {
    return inner == 1 ? row * classes : row / inner * classes * inner + row % inner;
}

/* loss = -w_t x_t */
KERNEL(nll_loss_forward) {
    const float *x = arrays[0];
    float *out = arrays[3], *total = arrays[4];
    int64_t *status = arrays[5];
    (void)start, (void)stop, (void)scalars;
    problem p = class_problem(sizes, 0.0);
    p.target = arrays[1], p.weight = arrays[2], p.out = out, p.ignore_index = sizes[4];
    *status = first_bad(p.target, p.rows, p.classes, p.ignore_index);
    if (*status >= 0) return;
    float *scratch = kg_scratch(KG_SCRATCH_PARTIAL, (size_t)p.rows * 2 * sizeof(float) + 64);
    p.weights = scratch, p.losses = p.reduction == NONE ? out : scratch + p.rows;
    for (int64_t row = 0; row < p.rows; row++) {
        int64_t t = p.target[row], at = first_of(row, p.classes, p.inner);
        float w = t == p.ignore_index ? 0.0f : p.weight ? p.weight[t] : 1.0f;
        p.weights[row] = w;
        p.losses[row] = t == p.ignore_index ? 0.0f : -w * x[at + t * p.inner];
    }
    *total = tree_row(TREE_SUM, p.weights, p.rows, 0.0f);
    finish(&p, *total);
}

/* dx = -g w_t at the target, 0 elsewhere */
KERNEL(nll_loss_backward) {
    const int64_t *target = arrays[0];
    const float *weight = arrays[1], *grad_out = arrays[2], *total = arrays[3];
    float *grad = arrays[4];
    int64_t classes = sizes[1], inner = sizes[2], ignore_index = sizes[4];
    float scale = sizes[3] == MEAN ? 1.0f / *total : 1.0f;
    (void)scalars;
    if (inner == 1) memset(grad + start * classes, 0, (size_t)((stop - start) * classes) * sizeof(float));
    for (int64_t row = start; row < stop; row++) {
        int64_t t = target[row], at = first_of(row, classes, inner);
        for (int64_t c = 0; c < classes && inner > 1; c++) grad[at + c * inner] = 0.0f;
        if (t == ignore_index) continue;
        grad[at + t * inner] = -(sizes[3] == NONE ? grad_out[row] : *grad_out) * scale * (weight ? weight[t] : 1.0f);
    }
}

const kg_entry KG_TABLE(loss_classes)[] = {{"cross_entropy_forward", cross_entropy_forward},
                                           {"cross_entropy_backward", cross_entropy_backward},
                                           {"cross_entropy_soft_forward", cross_entropy_soft_forward},
                                           {"cross_entropy_soft_backward", cross_entropy_soft_backward},
                                           {"nll_loss_forward", nll_loss_forward},
                                           {"nll_loss_backward", nll_loss_backward},
                                           {0}};
