/* Group norm (and instance norm, a group for each channel) of contiguous (N, groups, channels of a group, inner): a
 * group is a row that lies together. sizes are (rows = N groups, groups, channels of a group, inner, has_weight,
 * has_bias). */
#include "reduction/tree.h"
#include "runtime/kernel.h"
#include "runtime/pool.h"
#include "runtime/scratch.h"

#include <math.h>

/* y = (x - mean) / sqrt(var + eps) weight + bias, statistics of a group. Wu & He 2018, arXiv:1803.08494. Keeps mean,
 * rstd. */
static void group_norm_forward(void *const *arrays, const int64_t *sizes, const double *scalars, int64_t start,
                               int64_t stop) {
    const float *x = arrays[0], *weight = arrays[1], *bias = arrays[2];
    float *out = arrays[3], *mean = arrays[4], *rstd = arrays[5], eps = (float)scalars[0];
    int64_t groups = sizes[1], channels = sizes[2], inner = sizes[3], n = channels * inner;
    for (int64_t row = start; row < stop; row++) {
        float m = tree_row(TREE_SUM, x + row * n, n, 0.0f) / (float)n;
        float r = 1.0f / sqrtf(tree_row(TREE_SUM_DEVIATIONS, x + row * n, n, m) / (float)n + eps);
        mean[row] = m;
        rstd[row] = r;
        for (int64_t c = 0; c < channels; c++) {
            int64_t channel = row % groups * channels + c, at = row * n + c * inner;
            const vec_f32 mv = vec_set(m), scale = vec_set(weight ? r * weight[channel] : r);
            const vec_f32 shift = vec_set(bias ? bias[channel] : 0.0f);
            for (int64_t i = 0; i < inner; i += VEC_LANES) {
                vec_f32 d = vec_sub(vec_load(x + at + i, inner - i), mv);
                vec_store(out + at + i, vec_fma(d, scale, shift), inner - i);
            }
        }
    }
}

typedef struct {
    const float *x, *weight, *mean, *rstd, *grad_out;
    float *grad_x, *sums, *dots; /* sum g and sum g h of each row's channels, (rows, channels) */
    int64_t rows, groups, channels, inner, part;
} backward;

/* With h = (x - mean) rstd and q = g weight: dx = rstd (q - mean(q) - h mean(q h)), means over the group. */
static void backward_part(void *context, int64_t part) {
    const backward *b = context;
    int64_t stop = (part + 1) * b->part < b->rows ? (part + 1) * b->part : b->rows, n = b->channels * b->inner;
    for (int64_t row = part * b->part; row < stop; row++) {
        const float *x = b->x + row * n, *g = b->grad_out + row * n, m = b->mean[row], r = b->rstd[row];
        const float *weight = b->weight ? b->weight + row % b->groups * b->channels : 0;
        float *sums = b->sums + row * b->channels, *dots = b->dots + row * b->channels, mean_q = 0.0f, mean_qh = 0.0f;
        for (int64_t c = 0; c < b->channels; c++) {
            float sum = tree_row(TREE_SUM, g + c * b->inner, b->inner, 0.0f);
            vec16 acc = vec16_zero();
            for (int64_t i = 0; i < b->inner; i += 16) VEC16_EACH {
                    int64_t at = c * b->inner + i + j * VEC_LANES, rest = (c + 1) * b->inner - at;
                    vec_f32 d = vec_sub(vec_load(x + at, rest), vec_set(m));
                    if (rest < VEC_LANES) d = vec_select(vec_first(rest), d, vec_zero());
                    acc.v[j] = vec_fma(vec_load(g + at, rest), d, acc.v[j]);
                }
            sums[c] = sum;
            dots[c] = vec16_sum(acc) * r;
            mean_q += sums[c] * (weight ? weight[c] : 1.0f);
            mean_qh += dots[c] * (weight ? weight[c] : 1.0f);
        }
        mean_q /= (float)n;
        mean_qh /= (float)n;
        const vec_f32 mv = vec_set(m), slope = vec_set(-r * r * mean_qh), shift = vec_set(-r * mean_q);
        for (int64_t c = 0; c < b->channels; c++) {
            const vec_f32 scale = vec_set(weight ? r * weight[c] : r);
            for (int64_t i = c * b->inner; i < (c + 1) * b->inner; i += VEC_LANES) {
                int64_t rest = (c + 1) * b->inner - i;
                vec_f32 v = vec_fma(vec_sub(vec_load(x + i, rest), mv), slope, shift);
                vec_store(b->grad_x + row * n + i, vec_fma(vec_load(g + i, rest), scale, v), rest);
            }
        }
    }
}

static void group_norm_backward(void *const *arrays, const int64_t *sizes, const double *scalars, int64_t start,
                                int64_t stop) {
    backward b = {.x = arrays[0],
                  .weight = arrays[1],
                  .mean = arrays[2],
                  .rstd = arrays[3],
                  .grad_out = arrays[4],
                  .grad_x = arrays[5]};
    b.rows = sizes[0], b.groups = sizes[1], b.channels = sizes[2], b.inner = sizes[3];
    int64_t n = b.channels * b.inner, all = b.groups * b.channels, images = b.groups ? b.rows / b.groups : 0;
    (void)scalars, (void)start, (void)stop;
    b.sums = kg_scratch(KG_SCRATCH_PARTIAL, (size_t)(b.rows * b.channels * 2) * sizeof(float) + 64);
    b.dots = b.sums + b.rows * b.channels;
    b.part = n > 0 && n < 16 * 1024 ? 16 * 1024 / n : 1;
    if (b.rows > 0) kg_parallel(backward_part, &b, (b.rows + b.part - 1) / b.part, (double)(b.rows * n) * 3e-4);
    if (arrays[6]) tree_columns(TREE_SUM, b.dots, b.dots, 0, arrays[6], images, all, all, 1);
    if (arrays[7]) tree_columns(TREE_SUM, b.sums, b.sums, 0, arrays[7], images, all, all, 1);
}

const kg_entry KG_TABLE(normalization_groups)[] = {
    {"group_norm_forward", group_norm_forward}, {"group_norm_backward", group_norm_backward}, {0}};
