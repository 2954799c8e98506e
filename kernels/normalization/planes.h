/* By channel over (images, channels, inner) memory: moments, sums and affine maps of one channel, whose `rows` rows of
 * `inner` floats are `stride` apart. 64 lanes run through all rows before they are folded. */
#ifndef KG_NORMALIZATION_PLANES_H
#define KG_NORMALIZATION_PLANES_H

#include "normalization/columns.h"
#include "vec/vec.h"

enum { PLANE_LANES = 64, PLANE_PARTS = PLANE_LANES / VEC_LANES };

/* Folds 64 lanes in one order on every instruction set. */
VEC_INLINE float plane_fold(const vec_f32 *acc) {
    float lanes[PLANE_LANES];
    UNROLL
    for (int k = 0; k < PLANE_PARTS; k++) vec_storeu(lanes + k * VEC_LANES, acc[k]);
    vec16 a = vec16_add(vec16_loadu(lanes), vec16_loadu(lanes + 16));
    vec16 b = vec16_add(vec16_loadu(lanes + 32), vec16_loadu(lanes + 48));
    return vec16_sum(vec16_add(a, b));
}

VEC_INLINE void plane_sum_block(const float *x, int64_t n, vec_f32 *acc, vec_f32 centre, int squares, int full) {
    UNROLL
    for (int k = 0; k < PLANE_PARTS; k++) {
        const int64_t rest = full ? VEC_LANES : n - k * VEC_LANES;
        if (!full && rest <= 0) break;
        vec_f32 v = vec_load(x + k * VEC_LANES, rest);
        if (squares) {
            v = vec_sub(v, centre);
            if (!full && rest < VEC_LANES) v = vec_select(vec_first(rest), v, vec_zero());
            acc[k] = vec_fma(v, v, acc[k]);
        } else
            acc[k] = vec_add(acc[k], v);
    }
}
VEC_INLINE float plane_sum(const float *x, int64_t rows, int64_t stride, int64_t inner, float mean, int squares) {
    vec_f32 acc[PLANE_PARTS];
    const vec_f32 centre = vec_set(mean);
    UNROLL
    for (int k = 0; k < PLANE_PARTS; k++) acc[k] = vec_zero();
    for (int64_t r = 0; r < rows; r++) {
        const float *row = x + r * stride;
        int64_t i = 0;
        for (; i + PLANE_LANES <= inner; i += PLANE_LANES)
            plane_sum_block(row + i, PLANE_LANES, acc, centre, squares, 1);
        if (i < inner) plane_sum_block(row + i, inner - i, acc, centre, squares, 0);
    }
    return plane_fold(acc);
}
static void plane_moments(const float *x, int64_t rows, int64_t stride, int64_t inner, float *mean, float *squares) {
    *mean = plane_sum(x, rows, stride, inner, 0.0f, 0) / (float)(rows * inner);
    *squares = plane_sum(x, rows, stride, inner, *mean, 1);
}

/* sum g and sum g (x - mean) */
VEC_INLINE void plane_sums_block(const float *x, const float *g, int64_t n, vec_f32 *sum, vec_f32 *dot, vec_f32 centre,
                                 vec_f32 scale, vec_f32 shift, int full, int relu) {
    UNROLL
    for (int k = 0; k < PLANE_PARTS; k++) {
        const int64_t rest = full ? VEC_LANES : n - k * VEC_LANES;
        if (!full && rest <= 0) break;
        vec_f32 v = vec_load(g + k * VEC_LANES, rest), d = vec_sub(vec_load(x + k * VEC_LANES, rest), centre);
        v = through_relu(v, d, scale, shift, relu); /* 0 beyond the end, as g is there */
        if (!full && rest < VEC_LANES) d = vec_select(vec_first(rest), d, vec_zero());
        sum[k] = vec_add(sum[k], v);
        dot[k] = vec_fma(v, d, dot[k]);
    }
}
VEC_INLINE void plane_sums(const float *x, const float *g, int64_t rows, int64_t stride, int64_t inner, float mean,
                           float scale, float shift, float *sum, float *dot, int relu) {
    vec_f32 s[PLANE_PARTS], d[PLANE_PARTS];
    const vec_f32 centre = vec_set(mean), a = vec_set(scale), b = vec_set(shift);
    UNROLL
    for (int k = 0; k < PLANE_PARTS; k++) s[k] = d[k] = vec_zero();
    for (int64_t r = 0; r < rows; r++) {
        const int64_t at = r * stride;
        int64_t i = 0;
        for (; i + PLANE_LANES <= inner; i += PLANE_LANES)
            plane_sums_block(x + at + i, g + at + i, PLANE_LANES, s, d, centre, a, b, 1, relu);
        if (i < inner) plane_sums_block(x + at + i, g + at + i, inner - i, s, d, centre, a, b, 0, relu);
    }
    *sum = plane_fold(s);
    *dot = plane_fold(d);
}

/* out = (x - mean) scale + shift of one row, or max(out, 0) */
VEC_INLINE void plane_affine(const float *x, float *out, int64_t n, float mean, float scale, float shift, int relu) {
    const vec_f32 m = vec_set(mean), a = vec_set(scale), b = vec_set(shift);
    for (int64_t i = 0; i < n; i += VEC_LANES) {
        vec_f32 v = vec_fma(vec_sub(vec_load(x + i, n - i), m), a, b);
        vec_store(out + i, relu ? vec_max(vec_zero(), v) : v, n - i);
    }
}

/* out = g scale + (x - mean) slope + constant of one row; `shift` is y's, for `relu`. */
VEC_INLINE void plane_gradient(const float *x, const float *g, float *out, int64_t n, float mean, float scale,
                               float shift, float slope, float constant, int relu) {
    const vec_f32 m = vec_set(mean), a = vec_set(scale), y_shift = vec_set(shift);
    const vec_f32 c = vec_set(slope), b = vec_set(constant);
    for (int64_t i = 0; i < n; i += VEC_LANES) {
        vec_f32 d = vec_sub(vec_load(x + i, n - i), m);
        vec_f32 v = through_relu(vec_load(g + i, n - i), d, a, y_shift, relu);
        vec_store(out + i, vec_fma(v, a, vec_fma(d, c, b)), n - i);
    }
}

#endif
