/* Losses of a prediction x and a target y, element by element, reduced in the same pass. sizes are (n, reduction, ...).
 *
 * Forward kernels are whole: pieces of 64 Ki elements go to the pool and merge as in reduction/tree.h. Backward kernels
 * take ranges of elements. One engine; each loss is a value and two slopes. */
#include "reduction/tree.h"
#include "runtime/kernel.h"
#include "runtime/pool.h"
#include "runtime/scratch.h"

enum { NONE, MEAN, SUM };
typedef enum { MSE, L1, SMOOTH_L1, HUBER, BCE, BCE_LOGITS, KL, KL_LOG } loss_kind;
typedef enum { VALUE, SLOPE, TARGET_SLOPE } loss_part;

/* What one element is made of: p is beta or delta, q the weight of positives. */
typedef struct {
    vec_f32 x, y, p, q;
} element;

VEC_INLINE vec_f32 sign(vec_f32 d) {
    vec_f32 one = vec_copysign(vec_set(1.0f), d);
    return vec_select(vec_eq(d, vec_zero()), vec_zero(), vec_select(vec_isnan(d), d, one));
}

VEC_INLINE vec_f32 loss_value(loss_kind kind, element e) {
    const vec_f32 half = vec_set(0.5f), one = vec_set(1.0f), floor = vec_set(-100.0f); /* as PyTorch bounds log 0 */
    vec_f32 d = vec_sub(e.x, e.y), z = vec_abs(d);
    switch (kind) {
    case MSE:
        return vec_mul(d, d);
    case L1:
        return z;
    case SMOOTH_L1: /* z < beta ? z^2 / (2 beta) : z - beta / 2 */
        return vec_select(vec_lt(z, e.p), vec_div(vec_mul(half, vec_mul(z, z)), e.p), vec_fnma(half, e.p, z));
    case HUBER: /* z < delta ? z^2 / 2 : delta (z - delta / 2) */
        return vec_select(vec_lt(z, e.p), vec_mul(half, vec_mul(z, z)), vec_mul(e.p, vec_fnma(half, e.p, z)));
    case BCE: { /* -y log x - (1 - y) log(1 - x) */
        vec_f32 hit = vec_max_nan(vec_log(e.x), floor), miss = vec_max_nan(vec_log1p(vec_neg(e.x)), floor);
        return vec_neg(vec_fma(e.y, hit, vec_mul(vec_sub(one, e.y), miss)));
    }
    case BCE_LOGITS: { /* (1 - y) x + (1 + (q - 1) y) log(1 + exp(-x)) */
        vec_f32 factor = vec_fma(vec_sub(e.q, one), e.y, one);
        return vec_fma(factor, vec_softplus(vec_neg(e.x)), vec_mul(vec_sub(one, e.y), e.x));
    }
    case KL: { /* y (log y - x), 0 log 0 = 0 */
        vec_f32 y_log_y = vec_select(vec_eq(e.y, vec_zero()), vec_zero(), vec_mul(e.y, vec_log(e.y)));
        return vec_fnma(e.y, e.x, y_log_y);
    }
    default:
        return vec_mul(vec_exp(e.y), vec_sub(e.y, e.x)); /* the same, y given by its logarithm */
    }
}

VEC_INLINE vec_f32 loss_slope(loss_kind kind, element e) {
    const vec_f32 one = vec_set(1.0f);
    vec_f32 d = vec_sub(e.x, e.y);
    switch (kind) {
    case MSE:
        return vec_add(d, d);
    case L1:
        return sign(d);
    case SMOOTH_L1:
        return vec_select(vec_lt(vec_abs(d), e.p), vec_div(d, e.p), sign(d));
    case HUBER:
        return vec_min_nan(vec_max_nan(d, vec_neg(e.p)), e.p);
    case BCE:
        return vec_div(d, vec_max_nan(vec_mul(e.x, vec_sub(one, e.x)), vec_set(1e-12f))); /* PyTorch's floor */
    case BCE_LOGITS: { /* (1 - y) - (1 + (q - 1) y) sigmoid(-x) */
        vec_f32 factor = vec_fma(vec_sub(e.q, one), e.y, one);
        return vec_fnma(factor, vec_sigmoid(vec_neg(e.x)), vec_sub(one, e.y));
    }
    case KL:
        return vec_neg(e.y);
    default:
        return vec_neg(vec_exp(e.y));
    }
}

/* By the target; the symmetric losses have theirs by swapping x and y. */
VEC_INLINE vec_f32 loss_target_slope(loss_kind kind, element e) {
    const vec_f32 one = vec_set(1.0f), floor = vec_set(-100.0f);
    switch (kind) {
    case BCE:
        return vec_sub(vec_max_nan(vec_log1p(vec_neg(e.x)), floor), vec_max_nan(vec_log(e.x), floor));
    case BCE_LOGITS:
        return vec_fma(vec_sub(e.q, one), vec_softplus(vec_neg(e.x)), vec_neg(e.x));
    case KL:
        return vec_add(vec_log(e.y), vec_sub(one, e.x));
    default:
        return vec_mul(vec_exp(e.y), vec_add(vec_sub(e.y, e.x), one));
    }
}

typedef struct {
    const float *x, *y, *weight, *positive;
    float *out, *lanes;
    int64_t n, reduction;
    float p;
} operands;

VEC_INLINE vec_f32 compute(loss_kind kind, loss_part part, const operands *o, int64_t at) {
    int64_t rest = o->n - at;
    element e = {vec_load(o->x + at, rest), vec_load(o->y + at, rest), vec_set(o->p), vec_set(1.0f)};
    if (kind == BCE_LOGITS && o->positive) e.q = vec_load(o->positive + at, rest);
    vec_f32 v = part == VALUE ? loss_value(kind, e) : part == SLOPE ? loss_slope(kind, e) : loss_target_slope(kind, e);
    if ((kind == BCE || kind == BCE_LOGITS) && o->weight) v = vec_mul(v, vec_load(o->weight + at, rest));
    return v;
}

/* The sum of elements first .. stop-1 (a piece) in 16 lanes, or their values, where no reduction is asked. */
VEC_INLINE void forward_piece(loss_kind kind, const operands *o, int64_t piece) {
    int64_t first = piece * TREE_PIECE, stop = o->n - first < TREE_PIECE ? o->n : first + TREE_PIECE;
    if (o->reduction == NONE) {
        for (int64_t i = first; i < stop; i += VEC_LANES) vec_store(o->out + i, compute(kind, VALUE, o, i), stop - i);
        return;
    }
    tree_counter t;
    t.count = t.top = 0;
    for (int64_t block = first; block < stop; block += TREE_BLOCK) {
        int64_t end = stop - block < TREE_BLOCK ? stop : block + TREE_BLOCK;
        vec16 acc[2] = {vec16_zero(), vec16_zero()};
        for (int64_t i = block; i < end; i += 32) UNROLL
        for (int k = 0; k < 2; k++) VEC16_EACH {
                int64_t at = i + k * 16 + j * VEC_LANES;
                vec_f32 v = compute(kind, VALUE, o, at);
                if (at + VEC_LANES > end) v = vec_select(vec_first(end - at), v, vec_zero());
                acc[k].v[j] = vec_add(acc[k].v[j], v);
            }
        tree_push(TREE_SUM, &t, vec16_add(acc[0], acc[1]));
    }
    vec16_storeu(o->lanes + 16 * piece, tree_finish(TREE_SUM, &t));
}

static void forward(kg_task *task, operands *o, double ns) {
    int64_t pieces = (o->n + TREE_PIECE - 1) / TREE_PIECE;
    o->lanes = kg_scratch(KG_SCRATCH_PARTIAL, (size_t)pieces * 16 * sizeof(float) + 64);
    if (pieces > 1)
        kg_parallel(task, o, pieces, (double)o->n * ns * 1e-3);
    else if (pieces == 1)
        task(o, 0);
    if (o->reduction == NONE) return;
    tree_counter t;
    t.count = t.top = 0;
    for (int64_t i = 0; i < pieces; i++) tree_push(TREE_SUM, &t, vec16_loadu(o->lanes + 16 * i));
    float sum = vec16_sum(tree_finish(TREE_SUM, &t));
    *o->out = o->reduction == MEAN ? sum / (float)o->n : sum;
}

VEC_INLINE void backward(loss_kind kind, loss_part part, const operands *o, const float *grad_out, int64_t start,
                         int64_t stop) {
    vec_f32 all = vec_zero();
    if (o->reduction == MEAN) all = vec_set(*grad_out / (float)o->n);
    if (o->reduction == SUM) all = vec_set(*grad_out);
    for (int64_t i = start; i < stop; i += VEC_LANES) {
        vec_f32 g = o->reduction == NONE ? vec_load(grad_out + i, stop - i) : all;
        vec_store(o->out + i, vec_mul(compute(kind, part, o, i), g), stop - i);
    }
}

#define KERNEL(name) \
    static void name(void *const *arrays, const int64_t *sizes, const double *scalars, int64_t start, int64_t stop)

/* A loss without weights: forward (x, y, out), backward (x, y, grad_out, grad). FACTOR is its scalar. */
#define LOSS(name, kind, ns, FACTOR)                                                                              \
    static void name##_piece(void *context, int64_t piece) { forward_piece(kind, context, piece); }               \
    KERNEL(name##_forward) {                                                                                      \
        (void)scalars, (void)start, (void)stop;                                                                   \
        operands o = {                                                                                            \
            .x = arrays[0], .y = arrays[1], .out = arrays[2], .n = sizes[0], .reduction = sizes[1], .p = FACTOR}; \
        forward(name##_piece, &o, ns);                                                                            \
    }                                                                                                             \
    KERNEL(name##_backward) {                                                                                     \
        (void)scalars;                                                                                            \
        operands o = {                                                                                            \
            .x = arrays[0], .y = arrays[1], .out = arrays[3], .n = sizes[0], .reduction = sizes[1], .p = FACTOR}; \
        backward(kind, SLOPE, &o, arrays[2], start, stop);                                                        \
    }
LOSS(mse_loss, MSE, 0.2, 0.0f)
LOSS(l1_loss, L1, 0.2, 0.0f)
LOSS(smooth_l1_loss, SMOOTH_L1, 0.3, (float)scalars[0])
LOSS(huber_loss, HUBER, 0.3, (float)scalars[0])

static operands bce_operands(void *const *arrays, const int64_t *sizes, float *out) {
    return (operands){
        .x = arrays[0], .y = arrays[1], .weight = arrays[2], .out = out, .n = sizes[0], .reduction = sizes[1]};
}
static void bce_piece(void *context, int64_t piece) { forward_piece(BCE, context, piece); }
KERNEL(binary_cross_entropy_forward) {
    (void)scalars, (void)start, (void)stop;
    operands o = bce_operands(arrays, sizes, arrays[3]);
    forward(bce_piece, &o, 0.8);
}
KERNEL(binary_cross_entropy_backward) {
    (void)scalars;
    operands o = bce_operands(arrays, sizes, arrays[4]);
    backward(BCE, SLOPE, &o, arrays[3], start, stop);
}
KERNEL(binary_cross_entropy_backward_target) {
    (void)scalars;
    operands o = bce_operands(arrays, sizes, arrays[4]);
    backward(BCE, TARGET_SLOPE, &o, arrays[3], start, stop);
}

static operands logits_operands(void *const *arrays, const int64_t *sizes, float *out) {
    operands o = bce_operands(arrays, sizes, out);
    o.positive = arrays[3];
    return o;
}
static void logits_piece(void *context, int64_t piece) { forward_piece(BCE_LOGITS, context, piece); }
KERNEL(binary_cross_entropy_with_logits_forward) {
    (void)scalars, (void)start, (void)stop;
    operands o = logits_operands(arrays, sizes, arrays[4]);
    forward(logits_piece, &o, 0.6);
}
KERNEL(binary_cross_entropy_with_logits_backward) {
    (void)scalars;
    operands o = logits_operands(arrays, sizes, arrays[5]);
    backward(BCE_LOGITS, SLOPE, &o, arrays[4], start, stop);
}
KERNEL(binary_cross_entropy_with_logits_backward_target) {
    (void)scalars;
    operands o = logits_operands(arrays, sizes, arrays[5]);
    backward(BCE_LOGITS, TARGET_SLOPE, &o, arrays[4], start, stop);
}

static operands kl_operands(void *const *arrays, const int64_t *sizes, float *out) {
    return (operands){.x = arrays[0], .y = arrays[1], .out = out, .n = sizes[0], .reduction = sizes[1]};
}
static void kl_piece(void *context, int64_t piece) { forward_piece(KL, context, piece); }
static void kl_log_piece(void *context, int64_t piece) { forward_piece(KL_LOG, context, piece); }
KERNEL(kl_div_forward) {
    (void)scalars, (void)start, (void)stop;
    operands o = kl_operands(arrays, sizes, arrays[2]);
    forward(sizes[2] ? kl_log_piece : kl_piece, &o, 0.5);
}
KERNEL(kl_div_backward) {
    (void)scalars;
    operands o = kl_operands(arrays, sizes, arrays[3]);
    if (sizes[2])
        backward(KL_LOG, SLOPE, &o, arrays[2], start, stop);
    else
        backward(KL, SLOPE, &o, arrays[2], start, stop);
}
KERNEL(kl_div_backward_target) {
    (void)scalars;
    operands o = kl_operands(arrays, sizes, arrays[3]);
    if (sizes[2])
        backward(KL_LOG, TARGET_SLOPE, &o, arrays[2], start, stop);
    else
        backward(KL, TARGET_SLOPE, &o, arrays[2], start, stop);
}

const kg_entry KG_TABLE(loss)[] = {
    {"mse_loss_forward", mse_loss_forward},
    {"mse_loss_backward", mse_loss_backward},
    {"l1_loss_forward", l1_loss_forward},
    {"l1_loss_backward", l1_loss_backward},
    {"smooth_l1_loss_forward", smooth_l1_loss_forward},
    {"smooth_l1_loss_backward", smooth_l1_loss_backward},
    {"huber_loss_forward", huber_loss_forward},
    {"huber_loss_backward", huber_loss_backward},
    {"binary_cross_entropy_forward", binary_cross_entropy_forward},
    {"binary_cross_entropy_backward", binary_cross_entropy_backward},
    {"binary_cross_entropy_backward_target", binary_cross_entropy_backward_target},
    {"binary_cross_entropy_with_logits_forward", binary_cross_entropy_with_logits_forward},
    {"binary_cross_entropy_with_logits_backward", binary_cross_entropy_with_logits_backward},
    {"binary_cross_entropy_with_logits_backward_target", binary_cross_entropy_with_logits_backward_target},
    {"kl_div_forward", kl_div_forward},
    {"kl_div_backward", kl_div_backward},
    {"kl_div_backward_target", kl_div_backward_target},
    {0}};
