/* The normal distribution: erf, erfc, gelu in both forms and their slopes. */
#ifndef KG_VEC_MATH_ERF_H
#define KG_VEC_MATH_ERF_H

#include "vec/math_base.h"
#include "vec/math_exp.h"

/* x + x p(x^2) below 0.9 (minimax, 2^-30); above 1 - erfc(|x|), erfc(t) = e^(-t^2) q(u) / (t + 3/2) with
 * u = (t - 3/2) / (t + 3/2), minimax for t > 0.88, 2^-31 of 1; odd. */
VEC_INLINE vec_f32 vec_erf(vec_f32 x) {
    static const float c[] = {0x1.06eba8p-3f, -0x1.81274p-2f,   0x1.ce2d6p-4f,  -0x1.b80062p-6f,
                              0x1.543f2ap-8f, -0x1.a583bcp-11f, 0x1.4d2864p-14f};
    static const float d[] = {0x1.edf488p-1f, -0x1.0404eap-1f, 0x1.35bd5ep-4f,
                              0x1.873036p-5f, -0x1.08815ep-7f, -0x1.2168eap-7f};
    const vec_f32 one = vec_set(1.0f);
    vec_f32 t = vec_min(vec_set(16.0f), vec_abs(x)), z = vec_mul(x, x);
    vec_f32 small = vec_fma(x, VEC_POLY(z, c), x);
    vec_f32 over = vec_div(one, vec_add(t, vec_set(1.5f))), u = vec_fnma(vec_set(3.0f), over, one);
    vec_f32 large = vec_fnma(vec_exp(vec_neg(z)), vec_mul(VEC_POLY(u, d), over), one);
    return vec_select(vec_lt(t, vec_set(0.9f)), small, vec_copysign(large, x));
}

VEC_BY_LANE(vec_erfc, erfc(x))

/* ---- The normal distribution: cdf(x) = 1/2 + x q(x^2) for |x| < 1, else tail or 1 - tail ---- */

/* (cdf(x) - 1/2) / x for z = x^2 < 1: minimax, 2^-28. */
VEC_INLINE vec_f32 vec_normal_centre(vec_f32 z) {
    static const float c[] = {0x1.988454p-2f,   -0x1.105862p-4f, 0x1.46d558p-7f,
                              -0x1.376eacp-10f, 0x1.e26c9p-14f,  -0x1.122046p-17f};
    return VEC_POLY(z, c);
}

/* cdf(-t) e^(t^2 / 2) for t > 0.98: q(u) / (t + c), u = (t - c) / (t + c), minimax up to t = 14.7, 2^-27. At this c the
 * constant term is nearly a float, and q so flat that the error of u hardly matters. */
VEC_INLINE vec_f32 vec_normal_tail(vec_f32 t) {
    static const float c[] = {0x1.4da5cap-1f,  -0x1.1ae6b4p-2f, -0x1.af1d72p-7f,  0x1.1cc05ap-5f, 0x1.32ba02p-7f,
                              -0x1.02e40ep-8f, -0x1.f711b6p-9f, -0x1.3b72d8p-10f, 0x1.a1c30cp-10f};
    const vec_f32 centre = vec_set(1.78125f);
    t = vec_min(vec_set(16.0f), t);
    vec_f32 over = vec_div(vec_set(1.0f), vec_add(t, centre)), u = vec_mul(vec_sub(t, centre), over);
    return vec_mul(VEC_POLY(u, c), over);
}

/* e^(-x^2 / 2) = p 2^n, the square exact in double. */
VEC_INLINE vec_f32 vec_gauss_split(vec_f32 x, vec_f32 *n) {
    const vec_f64 minus_half = vec_f64_set(-0.5);
    vec_f64 lo = vec_f64_lo(x), hi = vec_f64_hi(x);
    return vec_exp_split_f64(vec_f64_mul(vec_f64_mul(lo, lo), minus_half), vec_f64_mul(vec_f64_mul(hi, hi), minus_half),
                             n);
}

/* x cdf(x). Below zero x times the tail is formed before scaling by 2^n, which keeps all bits where the tail is
 * subnormal; the limit at -inf is 0, not nan. */
VEC_INLINE vec_f32 vec_gelu(vec_f32 x) {
    vec_f32 n, p = vec_gauss_split(x, &n), z = vec_mul(x, x);
    vec_f32 small = vec_mul(x, vec_fma(x, vec_normal_centre(z), vec_set(0.5f)));
    vec_f32 tail = vec_mul(p, vec_normal_tail(vec_abs(x)));
    vec_mask negative = vec_lt(x, vec_zero());
    vec_f32 below = vec_ldexp(vec_mul(vec_max(vec_set(-16.0f), x), tail), n);
    vec_f32 above = vec_mul(x, vec_sub(vec_set(1.0f), vec_ldexp(tail, n)));
    return vec_select(vec_lt(z, vec_set(1.0f)), small, vec_select(negative, below, above));
}

/* cdf(x) + x e^(-x^2 / 2) / sqrt(2 pi) */
VEC_INLINE vec_f32 vec_gelu_slope(vec_f32 x) {
    vec_f32 n, p = vec_gauss_split(x, &n), e = vec_ldexp(p, n), z = vec_mul(x, x);
    vec_f32 small = vec_fma(x, vec_normal_centre(z), vec_set(0.5f)), tail = vec_mul(e, vec_normal_tail(vec_abs(x)));
    vec_f32 large = vec_select(vec_lt(x, vec_zero()), tail, vec_sub(vec_set(1.0f), tail));
    vec_f32 v = vec_min(vec_set(16.0f), vec_max(vec_set(-16.0f), x)); /* e is 0 there, and must not meet an infinity */
    return vec_fma(vec_mul(v, vec_set(0x1.988454p-2f)), e, vec_select(vec_lt(z, vec_set(1.0f)), small, large));
}

/* x sigmoid(2 z), z = sqrt(2 / pi) (x + 0.044715 x^3), which is x (1 + tanh z) / 2. The exponent is kept in double, or
 * the lower tail would lose all its digits: e^-|2 z| = p 2^n. */
VEC_INLINE vec_f32 vec_gelu_tanh_split(vec_f32 x, vec_f32 *n) {
    const vec_f64 a = vec_f64_set(-1.5957691216057308), b = vec_f64_set(-1.5957691216057308 * 0.044715);
    vec_f32 v = vec_abs(x);
    vec_f64 lo = vec_f64_lo(v), hi = vec_f64_hi(v);
    lo = vec_f64_mul(lo, vec_f64_fma(vec_f64_mul(lo, lo), b, a));
    hi = vec_f64_mul(hi, vec_f64_fma(vec_f64_mul(hi, hi), b, a));
    return vec_exp_split_f64(lo, hi, n);
}
VEC_INLINE vec_f32 vec_gelu_tanh(vec_f32 x) {
    vec_f32 n, p = vec_gelu_tanh_split(x, &n);
    return vec_gated(x, p, n);
}
/* s + x s (1 - s) d(2 z)/dx, s = sigmoid(2 z), d(2 z)/dx = 2 sqrt(2 / pi) (1 + 3 0.044715 x^2). From |x| = 16 on s (1 -
 * s) is 0, and must not meet an infinite x. */
VEC_INLINE vec_f32 vec_gelu_tanh_slope(vec_f32 x) {
    const vec_f32 one = vec_set(1.0f);
    vec_f32 n, p = vec_gelu_tanh_split(x, &n), e = vec_ldexp(p, n), q = vec_div(e, vec_add(one, e));
    vec_f32 s = vec_select(vec_lt(x, vec_zero()), q, vec_sub(one, q));
    vec_f32 v = vec_min(vec_set(16.0f), vec_max(vec_set(-16.0f), x));
    vec_f32 dz = vec_fma(vec_mul(v, v), vec_set(1.5957691216057308f * 0.134145f), vec_set(1.5957691216057308f));
    return vec_fma(vec_mul(vec_mul(v, dz), q), vec_sub(one, q), s);
}

#endif
