/* Batch norm over (outer, channels, inner): (N H W, C, 1) is channels-last memory, channels as lanes; (N, C, H W) is
 * contiguous memory, a row for each channel and image. sizes are (channels, outer, inner, has_...).
 *
 * Statistics come from pieces that fit in the L2: each has its own mean and centred squares, and the pieces merge in
 * order in double precision (Chan, Golub & LeVeque 1983). So a piece is read from memory once for both passes. */
#include "reduction/tree.h"
#include "runtime/kernel.h"
#include "runtime/pool.h"
#include "runtime/scratch.h"

enum { PIECE = 32 * 1024 }; /* floats: 128 KiB, and as much again for a gradient */

typedef struct {
    const float *x, *grad_out;
    float *out;
    const float *mean; /* by channel, and what follows: out = (x - mean) scale + shift, */
    float *scale, *shift;
    float *slope;          /* grad_x = g scale + (x - mean) slope + shift */
    float *first, *second; /* what each piece leaves, (pieces, channels) each */
    int64_t channels, outer, inner;
    int64_t piece, pieces; /* outer indices that a piece takes */
} batch;

static int64_t smaller(int64_t a, int64_t b) { return a < b ? a : b; }

static void cut(batch *b) {
    int64_t row = b->channels * b->inner;
    b->piece = row > 0 && row < PIECE ? PIECE / row : 1;
    b->pieces = (b->outer + b->piece - 1) / b->piece;
}

static void over_pieces(kg_task *task, batch *b, double ns) {
    if (b->pieces == 1)
        task(b, 0);
    else if (b->pieces > 1)
        kg_parallel(task, b, b->pieces, (double)(b->channels * b->outer * b->inner) * ns * 1e-3);
}

/* ---- Statistics ---- */

/* mean and sum (x - mean)^2 of each channel in one piece */
static void moments_piece(void *context, int64_t piece) {
    const batch *b = context;
    int64_t c = b->channels, start = piece * b->piece, rows = smaller(b->piece, b->outer - start);
    float *mean = b->first + piece * c, *squares = b->second + piece * c;
    const float *x = b->x + start * c * b->inner;
    if (b->inner == 1) {
        tree_columns(TREE_SUM, x, x, 0, mean, rows, c, c, TREE_ROWS);
        for (int64_t i = 0; i < c; i++) mean[i] /= (float)rows;
        tree_columns(TREE_SUM_DEVIATIONS, x, x, mean, squares, rows, c, c, TREE_ROWS);
        return;
    }
    for (int64_t i = 0; i < c; i++) { /* a channel's rows in this piece */
        float sum = 0.0f, square = 0.0f;
        for (int64_t r = 0; r < rows; r++) sum += tree_row(TREE_SUM, x + (r * c + i) * b->inner, b->inner, 0.0f);
        mean[i] = sum / (float)(rows * b->inner);
        for (int64_t r = 0; r < rows; r++)
            square += tree_row(TREE_SUM_DEVIATIONS, x + (r * c + i) * b->inner, b->inner, mean[i]);
        squares[i] = square;
    }
}

/* mean and variance of each channel (divided by the count), in double precision */
static void statistics(batch *b, double *mean, double *var) {
    int64_t c = b->channels;
    b->first = kg_scratch(KG_SCRATCH_PARTIAL, (size_t)(b->pieces * c * 2) * sizeof(float) + 64);
    b->second = b->first + b->pieces * c;
    over_pieces(moments_piece, b, 0.2);
    double count = 0;
    for (int64_t i = 0; i < c; i++) mean[i] = var[i] = 0;
    for (int64_t p = 0; p < b->pieces; p++) {
        double rows = (double)(smaller(b->piece, b->outer - p * b->piece) * b->inner), total = count + rows;
        for (int64_t i = 0; i < c; i++) {
            double delta = b->first[p * c + i] - mean[i];
            mean[i] += delta * (rows / total);
            var[i] += b->second[p * c + i] + delta * delta * (count * rows / total);
        }
        count = total;
    }
    for (int64_t i = 0; i < c; i++) var[i] /= count;
}

/* ---- Applying them ---- */

static void apply_piece(void *context, int64_t piece) {
    const batch *b = context;
    int64_t c = b->channels, start = piece * b->piece, stop = smaller(start + b->piece, b->outer);
    for (int64_t o = start; o < stop; o++) {
        const float *x = b->x + o * c * b->inner;
        float *out = b->out + o * c * b->inner;
        if (b->inner == 1) {
            for (int64_t i = 0; i < c; i += VEC_LANES) {
                vec_f32 d = vec_sub(vec_load(x + i, c - i), vec_load(b->mean + i, c - i));
                vec_store(out + i, vec_fma(d, vec_load(b->scale + i, c - i), vec_load(b->shift + i, c - i)), c - i);
            }
            continue;
        }
        for (int64_t i = 0; i < c; i++) {
            const vec_f32 mean = vec_set(b->mean[i]), scale = vec_set(b->scale[i]), shift = vec_set(b->shift[i]);
            const float *row = x + i * b->inner;
            for (int64_t k = 0; k < b->inner; k += VEC_LANES) {
                int64_t rest = b->inner - k;
                vec_store(out + i * b->inner + k, vec_fma(vec_sub(vec_load(row + k, rest), mean), scale, shift), rest);
            }
        }
    }
}

static void apply(batch *b, const float *weight, const float *bias, const float *rstd) {
    b->scale = kg_scratch(KG_SCRATCH_ROWS, (size_t)b->channels * 2 * sizeof(float) + 64);
    b->shift = b->scale + b->channels;
    for (int64_t i = 0; i < b->channels; i++) {
        b->scale[i] = weight ? weight[i] * rstd[i] : rstd[i];
        b->shift[i] = bias ? bias[i] : 0.0f;
    }
    over_pieces(apply_piece, b, 0.2);
}

#define KERNEL(name) \
    static void name(void *const *arrays, const int64_t *sizes, const double *scalars, int64_t start, int64_t stop)

/* y = (x - mean) / sqrt(var + eps) weight + bias with the batch's own statistics; running += momentum (batch -
 * running), where the running variance takes the unbiased one. Ioffe & Szegedy 2015, arXiv:1502.03167. Keeps mean and
 * rstd. */
KERNEL(batch_norm_forward) {
    float *running_mean = arrays[3], *running_var = arrays[4], *mean = arrays[6], *rstd = arrays[7];
    batch b = {
        .x = arrays[0], .out = arrays[5], .mean = mean, .channels = sizes[0], .outer = sizes[1], .inner = sizes[2]};
    int64_t c = b.channels;
    double momentum = scalars[0], eps = scalars[1], count = (double)(b.outer * b.inner);
    (void)start, (void)stop;
    cut(&b);
    double *m = kg_scratch(KG_SCRATCH_OTHER, (size_t)c * 2 * sizeof(double) + 64), *var = m + c;
    statistics(&b, m, var);
    for (int64_t i = 0; i < c; i++) {
        mean[i] = (float)m[i];
        rstd[i] = (float)(1.0 / sqrt(var[i] + eps));
        if (!running_mean) continue;
        running_mean[i] = (float)(running_mean[i] + momentum * (m[i] - running_mean[i]));
        running_var[i] = (float)(running_var[i] + momentum * (var[i] * (count / (count - 1.0)) - running_var[i]));
    }
    apply(&b, arrays[1], arrays[2], rstd);
}

/* The same with the running statistics, which it leaves alone. */
KERNEL(batch_norm_inference) {
    const float *running_mean = arrays[3], *running_var = arrays[4];
    float *mean = arrays[6], *rstd = arrays[7];
    batch b = {
        .x = arrays[0], .out = arrays[5], .mean = mean, .channels = sizes[0], .outer = sizes[1], .inner = sizes[2]};
    (void)start, (void)stop;
    cut(&b);
    for (int64_t i = 0; i < b.channels; i++) {
        mean[i] = running_mean[i];
        rstd[i] = (float)(1.0 / sqrt(running_var[i] + scalars[0]));
    }
    apply(&b, arrays[1], arrays[2], rstd);
}

/* ---- Backward ---- */

/* sum g and sum g (x - mean) of `width` channels over rows that are `stride` apart; 64 rows at a time. */
VEC_INLINE void sums_of_columns(const float *x, const float *g, const float *mean, float *sum, float *dot, int64_t rows,
                                int64_t stride, int64_t width, int vectors) {
    vec_f32 m[4], total[4], total_dot[4];
    UNROLL
    for (int k = 0; k < vectors; k++) {
        m[k] = vec_load(mean + k * VEC_LANES, width - k * VEC_LANES);
        total[k] = total_dot[k] = vec_zero();
    }
    for (int64_t block = 0; block < rows; block += TREE_ROWS) {
        vec_f32 s[4], d[4];
        UNROLL
        for (int k = 0; k < vectors; k++) s[k] = d[k] = vec_zero();
        for (int64_t r = block; r < smaller(rows, block + TREE_ROWS); r++) UNROLL
        for (int k = 0; k < vectors; k++) {
            int64_t at = r * stride + k * VEC_LANES, rest = width - k * VEC_LANES;
            vec_f32 gv = vec_load(g + at, rest);
            s[k] = vec_add(s[k], gv);
            d[k] = vec_fma(gv, vec_sub(vec_load(x + at, rest), m[k]), d[k]);
        }
        UNROLL
        for (int k = 0; k < vectors; k++) {
            total[k] = vec_add(total[k], s[k]);
            total_dot[k] = vec_add(total_dot[k], d[k]);
        }
    }
    UNROLL
    for (int k = 0; k < vectors; k++) {
        vec_store(sum + k * VEC_LANES, total[k], width - k * VEC_LANES);
        vec_store(dot + k * VEC_LANES, total_dot[k], width - k * VEC_LANES);
    }
}

/* the same of one row: two sums in 32 lanes */
static void sums_of_row(const float *x, const float *g, int64_t n, float mean, float *sum, float *dot) {
    const vec_f32 m = vec_set(mean);
    vec16 s[2] = {vec16_zero(), vec16_zero()}, d[2] = {vec16_zero(), vec16_zero()};
    for (int64_t i = 0; i < n; i += 32) UNROLL
    for (int k = 0; k < 2; k++) VEC16_EACH {
            int64_t at = i + k * 16 + j * VEC_LANES, rest = n - at;
            vec_f32 gv = vec_load(g + at, rest), centred = vec_sub(vec_load(x + at, rest), m);
            if (at + VEC_LANES > n) centred = vec_select(vec_first(rest), centred, vec_zero());
            s[k].v[j] = vec_add(s[k].v[j], gv);
            d[k].v[j] = vec_fma(gv, centred, d[k].v[j]);
        }
    *sum += vec16_sum(vec16_add(s[0], s[1]));
    *dot += vec16_sum(vec16_add(d[0], d[1]));
}

static void sums_piece(void *context, int64_t piece) {
    const batch *b = context;
    int64_t c = b->channels, start = piece * b->piece, rows = smaller(b->piece, b->outer - start);
    float *sum = b->first + piece * c, *dot = b->second + piece * c;
    const float *x = b->x + start * c * b->inner, *g = b->grad_out + start * c * b->inner;
    if (b->inner == 1) {
        int64_t i = 0;
        for (; i + 4 * VEC_LANES <= c; i += 4 * VEC_LANES)
            sums_of_columns(x + i, g + i, b->mean + i, sum + i, dot + i, rows, c, 4 * VEC_LANES, 4);
        for (; i < c; i += VEC_LANES)
            sums_of_columns(x + i, g + i, b->mean + i, sum + i, dot + i, rows, c, smaller(VEC_LANES, c - i), 1);
        return;
    }
    for (int64_t i = 0; i < c; i++) {
        sum[i] = dot[i] = 0.0f;
        for (int64_t r = 0; r < rows; r++) {
            int64_t at = (r * c + i) * b->inner;
            sums_of_row(x + at, g + at, b->inner, b->mean[i], sum + i, dot + i);
        }
    }
}

static void grad_piece(void *context, int64_t piece) {
    const batch *b = context;
    int64_t c = b->channels, start = piece * b->piece, stop = smaller(start + b->piece, b->outer);
    for (int64_t o = start; o < stop; o++) {
        const float *x = b->x + o * c * b->inner, *g = b->grad_out + o * c * b->inner;
        float *out = b->out + o * c * b->inner;
        if (b->inner == 1) {
            for (int64_t i = 0; i < c; i += VEC_LANES) {
                int64_t rest = c - i;
                vec_f32 d = vec_sub(vec_load(x + i, rest), vec_load(b->mean + i, rest));
                vec_f32 v = vec_fma(d, vec_load(b->slope + i, rest), vec_load(b->shift + i, rest));
                vec_store(out + i, vec_fma(vec_load(g + i, rest), vec_load(b->scale + i, rest), v), rest);
            }
            continue;
        }
        for (int64_t i = 0; i < c; i++) {
            const vec_f32 mean = vec_set(b->mean[i]), scale = vec_set(b->scale[i]), shift = vec_set(b->shift[i]);
            const vec_f32 slope = vec_set(b->slope[i]);
            for (int64_t k = i * b->inner; k < (i + 1) * b->inner; k += VEC_LANES) {
                int64_t rest = (i + 1) * b->inner - k;
                vec_f32 v = vec_fma(vec_sub(vec_load(x + k, rest), mean), slope, shift);
                vec_store(out + k, vec_fma(vec_load(g + k, rest), scale, v), rest);
            }
        }
    }
}

/* With a = weight rstd and h = (x - mean) rstd: dx = a (g - mean(g) - h mean(g h)), or a g where the statistics are
 * constants; dweight = sum g h, dbias = sum g. */
static void backward(void *const *arrays, const int64_t *sizes, int training) {
    const float *weight = arrays[1], *rstd = arrays[3];
    float *grad_weight = arrays[6], *grad_bias = arrays[7];
    batch b = {.x = arrays[0], .mean = arrays[2], .grad_out = arrays[4], .out = arrays[5]};
    b.channels = sizes[0], b.outer = sizes[1], b.inner = sizes[2];
    int64_t c = b.channels;
    float count = (float)(b.outer * b.inner);
    cut(&b);
    b.first = kg_scratch(KG_SCRATCH_PARTIAL, (size_t)(b.pieces * c * 2) * sizeof(float) + 64);
    b.second = b.first + b.pieces * c;
    b.scale = kg_scratch(KG_SCRATCH_ROWS, (size_t)c * 5 * sizeof(float) + 64);
    b.slope = b.scale + c, b.shift = b.slope + c;
    float *sum = b.shift + c, *dot = sum + c;
    over_pieces(sums_piece, &b, 0.3);
    tree_columns(TREE_SUM, b.first, b.first, 0, sum, b.pieces, c, c, 1);
    tree_columns(TREE_SUM, b.second, b.second, 0, dot, b.pieces, c, c, 1);
    for (int64_t i = 0; i < c; i++) {
        float a = weight ? weight[i] * rstd[i] : rstd[i];
        b.scale[i] = a;
        b.slope[i] = training ? -a * rstd[i] * rstd[i] * (dot[i] / count) : 0.0f;
        b.shift[i] = training ? -a * (sum[i] / count) : 0.0f;
        if (grad_weight) grad_weight[i] = dot[i] * rstd[i];
        if (grad_bias) grad_bias[i] = sum[i];
    }
    over_pieces(grad_piece, &b, 0.3);
}
KERNEL(batch_norm_backward) {
    (void)scalars, (void)start, (void)stop;
    backward(arrays, sizes, 1);
}
KERNEL(batch_norm_inference_backward) {
    (void)scalars, (void)start, (void)stop;
    backward(arrays, sizes, 0);
}

const kg_entry KG_TABLE(normalization_batch)[] = {{"batch_norm_forward", batch_norm_forward},
                                                  {"batch_norm_inference", batch_norm_inference},
                                                  {"batch_norm_backward", batch_norm_backward},
                                                  {"batch_norm_inference_backward", batch_norm_inference_backward},
                                                  {0}};
