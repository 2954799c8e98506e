/* Layer norm and RMS norm of (rows, n). A row stays in the cache for the passes over it. sizes are (rows, n, has_...).
 */
#include "reduction/tree.h"
#include "runtime/kernel.h"
#include "runtime/pool.h"
#include "runtime/scratch.h"

#include <math.h>

typedef struct {
    const float *x, *weight, *bias, *mean, *rstd, *grad_out;
    float *grad_x, *partial; /* partial: gradients of weight, then of bias, for each part of the rows */
    int64_t rows, n, part;
} backward;

/* out = (x - mean) rstd weight + bias of one row; NULL stands for 1 and 0 */
static void affine_row(const float *x, const float *weight, const float *bias, float *out, int64_t n, float mean,
                       float rstd) {
    const vec_f32 m = vec_set(mean), r = vec_set(rstd);
    for (int64_t i = 0; i < n; i += VEC_LANES) {
        vec_f32 v = vec_mul(vec_sub(vec_load(x + i, n - i), m), r);
        vec_f32 b = bias ? vec_load(bias + i, n - i) : vec_zero();
        if (weight)
            v = vec_fma(v, vec_load(weight + i, n - i), b);
        else
            v = vec_add(v, b);
        vec_store(out + i, v, n - i);
    }
}

/* v /= n and v = 1 / sqrt(v + eps), for the sums of TREE_FEW rows. */
static void divide_few(float *v, int64_t n) {
    for (int j = 0; j < TREE_FEW; j += VEC_LANES) vec_storeu(v + j, vec_div(vec_loadu(v + j), vec_set((float)n)));
}
static void rstd_of_few(float *v, float eps) {
    for (int j = 0; j < TREE_FEW; j += VEC_LANES)
        vec_storeu(v + j, vec_div(vec_set(1.0f), vec_sqrt(vec_add(vec_loadu(v + j), vec_set(eps)))));
}

/* y = (x - mean) / sqrt(var + eps) weight + bias; the variance from centred squares, not E x^2 - mean^2. Keeps mean and
 * rstd. */
static void layer_norm_forward(void *const *arrays, const int64_t *sizes, const double *scalars, int64_t start,
                               int64_t stop) {
    const float *x = arrays[0], *weight = arrays[1], *bias = arrays[2];
    float *out = arrays[3], *mean = arrays[4], *rstd = arrays[5], eps = (float)scalars[0];
    int64_t n = sizes[1];
    int64_t row = start;
    for (; n <= TREE_SHORT && row + TREE_FEW <= stop; row += TREE_FEW) {
        const float *xr = x + row * n;
        tree_few_rows(TREE_SUM, xr, xr, n, 0, mean + row);
        divide_few(mean + row, n);
        tree_few_rows(TREE_SUM_DEVIATIONS, xr, xr, n, mean + row, rstd + row);
        divide_few(rstd + row, n);
        rstd_of_few(rstd + row, eps);
        for (int64_t r = row; r < row + TREE_FEW; r++)
            affine_row(x + r * n, weight, bias, out + r * n, n, mean[r], rstd[r]);
    }
    for (; row < stop; row++) {
        const float *xr = x + row * n;
        float m = tree_row(TREE_SUM, xr, n, 0.0f) / (float)n;
        float r = 1.0f / sqrtf(tree_row(TREE_SUM_DEVIATIONS, xr, n, m) / (float)n + eps);
        affine_row(xr, weight, bias, out + row * n, n, m, r);
        mean[row] = m;
        rstd[row] = r;
    }
}

/* y = x / sqrt(mean x^2 + eps) weight. Zhang & Sennrich 2019, arXiv:1910.07467 */
static void rms_norm_forward(void *const *arrays, const int64_t *sizes, const double *scalars, int64_t start,
                             int64_t stop) {
    const float *x = arrays[0], *weight = arrays[1];
    float *out = arrays[2], *rstd = arrays[3], eps = (float)scalars[0];
    int64_t n = sizes[1];
    int64_t row = start;
    for (; n <= TREE_SHORT && row + TREE_FEW <= stop; row += TREE_FEW) {
        tree_few_rows(TREE_SUM_SQUARES, x + row * n, x + row * n, n, 0, rstd + row);
        divide_few(rstd + row, n);
        rstd_of_few(rstd + row, eps);
        for (int64_t r = row; r < row + TREE_FEW; r++) affine_row(x + r * n, weight, 0, out + r * n, n, 0.0f, rstd[r]);
    }
    for (; row < stop; row++) {
        const float *xr = x + row * n;
        rstd[row] = 1.0f / sqrtf(tree_row(TREE_SUM_SQUARES, xr, n, 0.0f) / (float)n + eps);
        affine_row(xr, weight, 0, out + row * n, n, 0.0f, rstd[row]);
    }
}

/* mean(q) and mean(q h) of one row, with h = (x - mean) rstd and q = g weight */
VEC_INLINE void means_of_row(const backward *b, int64_t row, float *mean_q, float *mean_qh, int centred) {
    int64_t n = b->n;
    const float *x = b->x + row * n, *g = b->grad_out + row * n;
    const vec_f32 m = vec_set(centred ? b->mean[row] : 0.0f), r = vec_set(b->rstd[row]);
    vec16 sum[2] = {vec16_zero(), vec16_zero()}, dot[2] = {vec16_zero(), vec16_zero()};
    for (int64_t i = 0; i < n; i += 32) UNROLL
    for (int k = 0; k < 2; k++) VEC16_EACH {
            int64_t at = i + k * 16 + j * VEC_LANES, rest = n - at; /* lanes past the end: q = 0 adds nothing */
            vec_f32 q = vec_load(g + at, rest);
            if (b->weight) q = vec_mul(q, vec_load(b->weight + at, rest));
            vec_f32 h = vec_mul(vec_sub(vec_load(x + at, rest), m), r);
            if (at + VEC_LANES > n) h = vec_select(vec_first(rest), h, vec_zero());
            if (centred) sum[k].v[j] = vec_add(sum[k].v[j], q);
            dot[k].v[j] = vec_fma(q, h, dot[k].v[j]);
        }
    *mean_q = centred ? vec16_sum(vec16_add(sum[0], sum[1])) / (float)n : 0.0f;
    *mean_qh = vec16_sum(vec16_add(dot[0], dot[1])) / (float)n;
}

/* dx = rstd (q - mean(q) - h mean(q h)), dweight += g h, dbias += g, for `count` rows: the sums for weight and bias are
 * loaded and stored once for all of them. Without a mean (RMS norm) mean(q) is not taken off. */
VEC_INLINE void backward_few(const backward *b, int64_t row, int count, float *grad_weight, float *grad_bias,
                             int centred) {
    int64_t n = b->n;
    float mean_q[4], mean_qh[4];
    UNROLL
    for (int k = 0; k < count; k++) means_of_row(b, row + k, mean_q + k, mean_qh + k, centred);
    for (int64_t i = 0; i < n; i += VEC_LANES) {
        int64_t rest = n - i;
        vec_f32 weight = b->weight ? vec_load(b->weight + i, rest) : vec_set(1.0f);
        vec_f32 by_weight = grad_weight ? vec_load(grad_weight + i, rest) : vec_zero();
        vec_f32 by_bias = grad_bias ? vec_load(grad_bias + i, rest) : vec_zero();
        UNROLL
        for (int k = 0; k < count; k++) {
            int64_t at = (row + k) * n + i;
            const vec_f32 m = vec_set(centred ? b->mean[row + k] : 0.0f), r = vec_set(b->rstd[row + k]);
            vec_f32 g = vec_load(b->grad_out + at, rest), h = vec_mul(vec_sub(vec_load(b->x + at, rest), m), r);
            vec_f32 q = vec_mul(g, weight);
            if (centred) q = vec_sub(q, vec_set(mean_q[k]));
            vec_store(b->grad_x + at, vec_mul(vec_fnma(h, vec_set(mean_qh[k]), q), r), rest);
            by_weight = vec_fma(g, h, by_weight);
            by_bias = vec_add(by_bias, g);
        }
        if (grad_weight) vec_store(grad_weight + i, by_weight, rest);
        if (grad_bias) vec_store(grad_bias + i, by_bias, rest);
    }
}

VEC_INLINE void backward_part(const backward *b, int64_t part, int centred) {
    int64_t row = part * b->part, stop = row + b->part < b->rows ? row + b->part : b->rows;
    float *partial = b->partial + part * 2 * b->n, *by_bias = centred ? partial + b->n : 0;
    memset(partial, 0, (size_t)(2 * b->n) * sizeof(float));
    /* Short rows one after the other keep to one stream; for long ones the sums would be in the L2 each time. */
    for (; b->n > 1024 && row + 4 <= stop; row += 4) backward_few(b, row, 4, partial, by_bias, centred);
    for (; row < stop; row++) backward_few(b, row, 1, partial, by_bias, centred);
}
static void layer_norm_part(void *context, int64_t part) { backward_part(context, part, 1); }
static void rms_norm_part(void *context, int64_t part) { backward_part(context, part, 0); }

/* Rows go in parts, 32 at most, that depend on sizes alone; the parts' sums for weight and bias are merged in order. */
static void backward_rows(kg_task *task, backward *b, float *grad_weight, float *grad_bias) {
    int64_t n = b->n, least = 16 * 1024 / (n > 0 ? n : 1);
    b->part = (b->rows + 31) / 32;
    if (b->part < least) b->part = least;
    if (b->part < 1) b->part = 1;
    int64_t parts = (b->rows + b->part - 1) / b->part;
    b->partial = kg_scratch(KG_SCRATCH_PARTIAL, (size_t)(parts * 2 * n) * sizeof(float) + 64);
    if (parts == 1)
        task(b, 0);
    else if (parts > 1)
        kg_parallel(task, b, parts, (double)(b->rows * n) * 3e-4);
    if (grad_weight) tree_columns(TREE_SUM, b->partial, 0, 0, grad_weight, parts, 2 * n, n, 1);
    if (grad_bias) tree_columns(TREE_SUM, b->partial + n, 0, 0, grad_bias, parts, 2 * n, n, 1);
}

static void layer_norm_backward(void *const *arrays, const int64_t *sizes, const double *scalars, int64_t start,
                                int64_t stop) {
    backward b = {.x = arrays[0],
                  .weight = arrays[1],
                  .mean = arrays[2],
                  .rstd = arrays[3],
                  .grad_out = arrays[4],
                  .grad_x = arrays[5]};
    b.rows = sizes[0], b.n = sizes[1];
    (void)scalars, (void)start, (void)stop;
    backward_rows(layer_norm_part, &b, arrays[6], arrays[7]);
}

static void rms_norm_backward(void *const *arrays, const int64_t *sizes, const double *scalars, int64_t start,
                              int64_t stop) {
    backward b = {.x = arrays[0], .weight = arrays[1], .rstd = arrays[2], .grad_out = arrays[3], .grad_x = arrays[4]};
    b.rows = sizes[0], b.n = sizes[1];
    (void)scalars, (void)start, (void)stop;
    backward_rows(rms_norm_part, &b, arrays[5], 0);
}

const kg_entry KG_TABLE(normalization)[] = {{"layer_norm_forward", layer_norm_forward},
                                            {"layer_norm_backward", layer_norm_backward},
                                            {"rms_norm_forward", rms_norm_forward},
                                            {"rms_norm_backward", rms_norm_backward},
                                            {0}};
