/* The inverse functions of trigonometry and their hyperbolic kin: asin, acos, atan, atan2, asinh, acosh, atanh. */
#ifndef KG_VEC_MATH_INVERSE_H
#define KG_VEC_MATH_INVERSE_H

#include "vec/math_base.h"
#include "vec/math_log.h"

/* pi/2 in two parts. */
#define VEC_QUARTER 0x1.921fb6p0f
#define VEC_QUARTER_REST -0x1.777a5cp-25f

/* atan r = r + r^3 p(r^2) for |r| <= 1: minimax, 2^-28. */
VEC_INLINE vec_f32 vec_atan_small(vec_f32 r) {
    static const float c[] = {-0x1.55553ep-2f, 0x1.9991e4p-3f,  -0x1.242086p-3f, 0x1.c08c5p-4f,   -0x1.580928p-4f,
                              0x1.da2a34p-5f,  -0x1.fd7e0ap-6f, 0x1.6423fcp-7f,  -0x1.d3564cp-10f};
    vec_f32 z = vec_mul(r, r);
    return vec_fma(vec_mul(z, r), VEC_POLY(z, c), r);
}

/* Beyond 1 pi/2 - atan(1 / |x|); odd. */
VEC_INLINE vec_f32 vec_atan(vec_f32 x) {
    const vec_f32 one = vec_set(1.0f);
    vec_f32 a = vec_abs(x);
    vec_mask beyond = vec_gt(a, one);
    vec_f32 r = vec_atan_small(vec_div(vec_select(beyond, vec_set(-1.0f), a), vec_select(beyond, a, one)));
    vec_f32 turned = vec_add(vec_set(VEC_QUARTER), vec_add(vec_set(VEC_QUARTER_REST), r));
    return vec_copysign(vec_select(beyond, turned, r), x);
}

/* The angle of the point (x, y): the atan of the smaller coordinate over the larger, turned by k quarters and mirrored
 * as the octant asks. Two zeros and two infinities are the directions IEEE 754 gives them. */
VEC_INLINE vec_f32 vec_atan2(vec_f32 y, vec_f32 x) {
    const vec_f32 zero = vec_zero(), one = vec_set(1.0f);
    vec_f32 ax = vec_abs(x), ay = vec_abs(y), most = vec_max(ax, ay), least = vec_min(ax, ay);
    vec_f32 q = vec_select(vec_eq(least, most), vec_select(vec_eq(most, zero), zero, one), vec_div(least, most));
    vec_mask steep = vec_gt(ay, ax), left = vec_i32_lt(vec_bits(x), vec_i32_set(0));
    vec_f32 k = vec_select(steep, one, vec_select(left, vec_set(2.0f), zero));
    vec_f32 r = vec_xor(vec_atan_small(q), vec_select(vec_mask_xor(steep, left), vec_set(-0.0f), zero));
    r = vec_fma(k, vec_set(VEC_QUARTER), vec_fma(k, vec_set(VEC_QUARTER_REST), r));
    return vec_select(vec_mask_or(vec_isnan(x), vec_isnan(y)), vec_add(x, y), vec_copysign(r, y));
}

/* asin s of s = |x| up to 9/16, of s = sqrt(z), z = (1 - |x|) / 2, beyond, where asin |x| = pi/2 - 2 asin s:
 * s + s z p(z), minimax, 2^-28. nan beyond 1. */
VEC_INLINE vec_f32 vec_asin_half(vec_f32 x, vec_mask *beyond) {
    static const float c[] = {0x1.555526p-3f, 0x1.334936p-4f, 0x1.6a58ep-5f,
                              0x1.16a422p-5f, 0x1.b92ee6p-8f, 0x1.8518b6p-5f};
    const vec_f32 half = vec_set(0.5f);
    vec_f32 a = vec_abs(x);
    *beyond = vec_gt(a, vec_set(0.5625f));
    vec_f32 z = vec_select(*beyond, vec_fnma(half, a, half), vec_mul(a, a));
    vec_f32 s = vec_select(*beyond, vec_sqrt(z), a);
    return vec_fma(vec_mul(z, s), VEC_POLY(z, c), s);
}
VEC_INLINE vec_f32 vec_asin(vec_f32 x) {
    vec_mask beyond;
    vec_f32 r = vec_asin_half(x, &beyond);
    vec_f32 turned = vec_add(vec_set(VEC_QUARTER), vec_fnma(vec_set(2.0f), r, vec_set(VEC_QUARTER_REST)));
    return vec_copysign(vec_select(beyond, turned, r), x);
}
/* pi/2 - asin x up to 9/16; beyond, 2 asin s, or pi less it where x < 0. */
VEC_INLINE vec_f32 vec_acos(vec_f32 x) {
    const vec_f32 one = vec_set(1.0f), two = vec_set(2.0f);
    vec_mask beyond;
    vec_f32 r = vec_copysign(vec_asin_half(x, &beyond), x);
    vec_f32 k = vec_select(beyond, vec_select(vec_lt(x, vec_zero()), two, vec_zero()), one);
    r = vec_mul(r, vec_select(beyond, two, vec_set(-1.0f)));
    return vec_fma(k, vec_set(VEC_QUARTER), vec_fma(k, vec_set(VEC_QUARTER_REST), r));
}

/* sign(x) log(a + sqrt(a^2 + 1)) = log(1 + a + a^2 / (1 + sqrt(a^2 + 1))), a = |x|; log(2 a) where a^2 might overflow.
 */
VEC_INLINE vec_f32 vec_asinh(vec_f32 x) {
    const vec_f32 one = vec_set(1.0f);
    vec_f32 a = vec_abs(x), root = vec_sqrt(vec_fma(a, a, one));
    vec_f32 q = vec_div(a, vec_add(one, root)), u = vec_fma(a, q, a), less = vec_fma(a, q, vec_sub(a, u));
    vec_mask huge = vec_gt(a, vec_set(0x1p60f));
    less = vec_select(huge, vec_zero(), less);
    return vec_copysign(vec_log1p_parts(vec_select(huge, a, u), &less, vec_select(huge, one, vec_zero())), x);
}

/* log(x + sqrt(x^2 - 1)) = log(1 + t + sqrt(t^2 + 2 t)), t = x - 1; nan below 1. */
VEC_INLINE vec_f32 vec_acosh(vec_f32 x) {
    const vec_f32 one = vec_set(1.0f);
    vec_f32 t = vec_sub(x, one), two_t = vec_add(t, t), q = vec_fma(t, t, two_t), root = vec_sqrt(q);
    vec_f32 u = vec_add(root, t), off = vec_add(vec_fnma(root, root, q), vec_fma(t, t, vec_sub(two_t, q)));
    vec_f32 less = vec_div(off, vec_add(vec_set(0x1p-60f), vec_add(root, root))); /* of the root */
    vec_mask huge = vec_gt(x, vec_set(0x1p60f));
    less = vec_select(huge, vec_zero(), vec_add(less, vec_sub(t, vec_sub(u, root))));
    vec_f32 y = vec_log1p_parts(vec_select(huge, x, u), &less, vec_select(huge, one, vec_zero()));
    return vec_select(vec_lt(x, one), vec_set(NAN), y);
}

/* log((1 + a) / (1 - a)) / 2, a = |x|: the quotient is 2^k w, w in (0.56, 1.79), half its logarithm k ln2 / 2 + atanh v
 * with v = (w - 1) / (w + 1) = (a + t) / (2 + a - t), t = 1 - 2^k (1 - a), which is a float, and a itself where k = 0.
 * atanh v = v + v^3 p(v^2) for |v| < 0.282: minimax, 2^-30. */
VEC_INLINE vec_f32 vec_atanh(vec_f32 x) {
    static const float c[] = {0x1.55554p-2f, 0x1.99ad84p-3f, 0x1.21b3f8p-3f, 0x1.0c78cap-3f};
    const vec_f32 one = vec_set(1.0f);
    vec_f32 a = vec_abs(x), d = vec_sub(one, a);                        /* exact from 1/2 on */
    vec_i32 log2 = vec_i32_sub(vec_bits(vec_add(one, a)), vec_bits(d)); /* of the quotient, times 2^23, to 0.086 */
    vec_i32 k = vec_i32_sar(vec_i32_add(log2, vec_i32_set(0x200000)), 23);
    vec_f32 w = vec_from_bits(vec_i32_add(vec_i32_shl(k, 23), vec_bits(one)));
    vec_f32 t = vec_select(vec_lt(a, vec_set(0.5f)), vec_fma(w, a, vec_sub(one, w)), vec_fnma(w, d, one));
    vec_f32 v = vec_div(vec_add(a, t), vec_add(vec_set(2.0f), vec_sub(a, t)));
    vec_f32 z = vec_mul(v, v), e = vec_from_i32(k);
    vec_f32 y = vec_fma(vec_mul(z, v), VEC_POLY(z, c), v);
    y = vec_fma(e, vec_set(0x1.63p-2f), vec_fma(e, vec_set(-0x1.bd0106p-14f), y)); /* ln2 / 2 in two parts */
    y = vec_select(vec_lt(a, one), y, vec_select(vec_eq(a, one), vec_set(INFINITY), vec_set(NAN)));
    return vec_copysign(y, x);
}

#endif
