/* Logarithms and powers: log, log2, log10, log1p, softplus, pow. */
#ifndef KG_VEC_MATH_LOG_H
#define KG_VEC_MATH_LOG_H

#include "vec/math_base.h"
#include "vec/math_exp.h"

/* x = m 2^e with m in [sqrt(1/2), sqrt(2)), for 0 < x < inf. */
VEC_INLINE vec_f32 vec_split_log(vec_f32 x, vec_f32 *e) {
    vec_mask tiny = vec_lt(x, vec_set(0x1p-126f));
    vec_i32 bits = vec_bits(vec_select(tiny, vec_mul(x, vec_set(0x1p23f)), x));
    vec_i32 exponent = vec_i32_sar(vec_i32_sub(bits, vec_i32_set(0x3f3504f3)), 23); /* 0x3f3504f3: sqrt(1/2) */
    *e = vec_sub(vec_from_i32(exponent), vec_select(tiny, vec_set(23.0f), vec_zero()));
    return vec_from_bits(vec_i32_sub(bits, vec_i32_shl(exponent, 23)));
}

/* What a logarithm is at x: -inf at zero, nan below, x itself at inf and nan, else `value`. */
VEC_INLINE vec_f32 vec_log_special(vec_f32 x, vec_f32 value) {
    value = vec_select(vec_lt(x, vec_set(INFINITY)), value, x); /* also nan */
    value = vec_select(vec_eq(x, vec_zero()), vec_set(-INFINITY), value);
    return vec_select(vec_lt(x, vec_zero()), vec_set(NAN), value);
}

/* log(1 + f) - f = -f^2 / 2 + f^3 p(f) for 1 + f in [sqrt(1/2), sqrt(2)): minimax, 2^-27. */
VEC_INLINE vec_f32 vec_log_curve(vec_f32 f) {
    static const float c[] = {0x1.555554p-2f, -0x1.000226p-2f, 0x1.99a01cp-3f, -0x1.54728ap-3f,
                              0x1.22d93p-3f,  -0x1.0d8246p-3f, 0x1.055eacp-3f, -0x1.38c968p-4f};
    vec_f32 z = vec_mul(f, f);
    return vec_fma(z, vec_set(-0.5f), vec_mul(vec_mul(f, z), VEC_POLY(f, c)));
}
/* e ln2 + f + curve, ln2 in two parts, the first of ten bits: e times it is exact. */
VEC_INLINE vec_f32 vec_log_join(vec_f32 e, vec_f32 f, vec_f32 curve) {
    vec_f32 y = vec_add(f, vec_fma(e, vec_set(-0x1.bd0106p-13f), curve));
    return vec_fma(e, vec_set(0x1.63p-1f), y);
}
VEC_INLINE vec_f32 vec_log(vec_f32 x) {
    vec_f32 e, f = vec_sub(vec_split_log(x, &e), vec_set(1.0f));
    return vec_log_special(x, vec_log_join(e, f, vec_log_curve(f)));
}

/* log m for m = 1 + f: 2 s + s^3 p(s^2), s = f / (2 + f), in double, 2^-45. */
VEC_INLINE vec_f64 vec_log_f64(vec_f64 f) {
    static const double c[] = {0x1.555555561e83ap-1, 0x1.999996a83f80dp-2, 0x1.2494128142961p-2, 0x1.c62ad9882ed99p-3,
                               0x1.91197702e601ep-3};
    vec_f64 s = vec_f64_div(f, vec_f64_add(vec_f64_set(2.0), f)), z = vec_f64_mul(s, s);
    return vec_f64_fma(vec_f64_mul(s, z), VEC_POLY_F64(z, c), vec_f64_add(s, s));
}

/* scale log(x) = scale (e ln2 + f - f^2 / 2 + f^3 p(f)), the sum s of all but the first in two parts; scale and
 * scale ln2 = step are given in two, step's first of ten bits. */
VEC_INLINE vec_f32 vec_log_scaled(vec_f32 x, float scale, float scale_rest, float step, float step_rest) {
    vec_f32 e, f = vec_sub(vec_split_log(x, &e), vec_set(1.0f)), y = vec_log_curve(f), s = vec_add(f, y);
    vec_f32 rest = vec_mul(vec_sub(y, vec_sub(s, f)), vec_set(scale));
    rest = vec_fma(e, vec_set(step_rest), vec_fma(s, vec_set(scale_rest), rest));
    return vec_log_special(x, vec_fma(s, vec_set(scale), vec_fma(e, vec_set(step), rest)));
}
VEC_INLINE vec_f32 vec_log2(vec_f32 x) { return vec_log_scaled(x, 0x1.715476p0f, 0x1.4ae0cp-26f, 1.0f, 0.0f); }
VEC_INLINE vec_f32 vec_log10(vec_f32 x) {
    return vec_log_scaled(x, 0x1.bcb7b2p-2f, -0x1.5b235ep-27f, 0x1.348p-2f, -0x1.f657bp-13f);
}

/* log(1 + u + less) + k ln2, `less` what u was rounded by, or NULL. 1 + u = 2^e (1 + f), and f = 2^-e u + (2^-e - 1) is
 * rounded but once, where 2^-e - 1 is a float; beyond, the 1 no longer counts. `less` adds 2^-e less / (1 + f), or
 * about that. */
VEC_INLINE vec_f32 vec_log1p_parts(vec_f32 u, const vec_f32 *less, vec_f32 k) {
    const vec_f32 one = vec_set(1.0f);
    vec_f32 sum = vec_add(u, one);
    vec_i32 shift = vec_i32_and(vec_i32_sub(vec_bits(sum), vec_i32_set(0x3f3504f3)), vec_i32_set((int32_t)0xff800000));
    vec_f32 m = vec_from_bits(vec_i32_sub(vec_bits(sum), shift));
    vec_f32 scale = vec_from_bits(vec_i32_sub(vec_bits(one), shift)), e = vec_from_i32(vec_i32_sar(shift, 23));
    vec_f32 f = vec_fma(u, scale, vec_sub(scale, one));
    vec_mask near = vec_lt(u, vec_set(0x1p24f)); /* beyond, 2^-e may be no float */
    f = vec_select(near, f, vec_sub(m, one));
    vec_f32 curve = vec_log_curve(f);
    if (less) {
        vec_f32 more = vec_mul(*less, vec_select(near, scale, vec_zero()));
        curve = vec_add(curve, vec_fnma(more, f, more));
    }
    return vec_log_special(sum, vec_log_join(vec_add(e, k), f, curve));
}
VEC_INLINE vec_f32 vec_log1p(vec_f32 x) {
    return vec_copysign(vec_log1p_parts(x, NULL, vec_zero()), x); /* of -0, too */
}

/* log(1 + e^x) = max(x, 0) + log(1 + t), t = e^-|x| in [0, 1]: t + t^2 p(t), minimax, 2^-32. */
VEC_INLINE vec_f32 vec_softplus(vec_f32 x) {
    static const float c[] = {-0x1.fffffep-2f, 0x1.5554e2p-2f, -0x1.ffedacp-3f, 0x1.98dc1cp-3f,
                              -0x1.50c804p-3f, 0x1.1265dap-3f, -0x1.9c5514p-4f, 0x1.032754p-4f,
                              -0x1.e4e5a2p-6f, 0x1.214f7cp-7f, -0x1.4358e2p-10f};
    vec_f32 t = vec_exp(vec_neg(vec_abs(x)));
    vec_f32 y = vec_fma(vec_mul(t, t), VEC_POLY(t, c), t);
    return vec_add(vec_max(vec_zero(), x), y); /* a nan passes: max answers its second operand */
}

/* x^y = e^(y log|x|), the logarithm and the product in double; C99's special values, which are IEEE 754's. */
VEC_INLINE vec_f32 vec_pow(vec_f32 x, vec_f32 y) {
    const vec_f32 zero = vec_zero(), one = vec_set(1.0f), inf = vec_set(INFINITY);
    const vec_f64 one64 = vec_f64_set(1.0), ln2 = vec_f64_set(0x1.62e42fefa39efp-1);
    vec_f32 a = vec_abs(x), e, m = vec_split_log(a, &e);
    vec_f64 lo = vec_f64_fma(vec_f64_lo(e), ln2, vec_log_f64(vec_f64_sub(vec_f64_lo(m), one64)));
    vec_f64 hi = vec_f64_fma(vec_f64_hi(e), ln2, vec_log_f64(vec_f64_sub(vec_f64_hi(m), one64)));
    vec_f32 r = vec_exp_f64(vec_f64_mul(vec_f64_lo(y), lo), vec_f64_mul(vec_f64_hi(y), hi));

    vec_mask negative_y = vec_lt(y, zero), end = vec_mask_or(vec_eq(a, zero), vec_eq(a, inf));
    vec_mask grows = vec_mask_xor(vec_eq(a, inf), negative_y); /* 0^-1 and inf^1 are inf, 0^1 and inf^-1 are 0 */
    r = vec_select(end, vec_select(grows, inf, zero), r);
    r = vec_select(vec_eq(a, one), one, r); /* also for y = +-inf */

    vec_f32 half = vec_mul(y, vec_set(0.5f));
    vec_mask whole = vec_eq(vec_trunc(y), y), even = vec_eq(vec_trunc(half), half);
    vec_f32 sign = vec_select(vec_mask_andnot(whole, even), vec_and(x, vec_set(-0.0f)), zero);
    vec_mask no_root = vec_mask_andnot(vec_mask_andnot(vec_lt(x, zero), whole), end);
    r = vec_select(no_root, vec_set(NAN), vec_or(r, sign));
    r = vec_select(vec_mask_or(vec_isnan(x), vec_isnan(y)), vec_add(x, y), r);
    return vec_select(vec_mask_or(vec_eq(x, one), vec_eq(y, zero)), one, r); /* even if the other is nan */
}

#endif
