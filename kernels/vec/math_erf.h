/* The normal distribution: erf, erfc, gelu in both forms and their slopes. */
#ifndef KG_VEC_MATH_ERF_H
#define KG_VEC_MATH_ERF_H

#include "vec/math_base.h"
#include "vec/math_exp.h"

/* e^(t^2) erfc(t) for t >= 0: q(u) / (t + c), u = (t - c) / (t + c), c = 3/2; minimax of degree 11 for t <= 10.3,
 * 2^-28. The tail of erfc is this times e^(-t^2), relatively exact however small. `scale` stretches t: t = x / scale.
 */
VEC_INLINE vec_f32 vec_erfcx(vec_f32 x, float scale) {
    static const float c[] = {0x1.edf488p-1f,  -0x1.0404eap-1f,  0x1.35bf26p-4f,   0x1.8750cep-5f,
                              -0x1.0a100cp-7f, -0x1.35fae2p-7f,  -0x1.a7450cp-11f, 0x1.d0c89ap-10f,
                              0x1.c60c06p-11f, -0x1.2349fep-14f, -0x1.dcd05cp-13f, -0x1.2e02fap-14f};
    const vec_f32 centre = vec_set(1.5f * scale);
    x = vec_min(vec_set(16.0f), x);
    vec_f32 over = vec_div(vec_set(1.0f), vec_add(x, centre));
    vec_f32 u = vec_mul(vec_sub(x, centre), over);
    return vec_mul(VEC_POLY(u, c), vec_mul(over, vec_set(scale)));
}

/* x + x p(x^2) below 0.9 (minimax, 2^-30), 1 - erfc(|x|) above; odd. */
VEC_INLINE vec_f32 vec_erf(vec_f32 x) {
    static const float c[] = {0x1.06eba8p-3f, -0x1.81274p-2f,   0x1.ce2d6p-4f,  -0x1.b80062p-6f,
                              0x1.543f2ap-8f, -0x1.a583bcp-11f, 0x1.4d2864p-14f};
    vec_f32 a = vec_abs(x), z = vec_mul(x, x);
    vec_f32 small = vec_fma(x, VEC_POLY(z, c), x);
    vec_f32 large = vec_fnma(vec_exp(vec_neg(z)), vec_erfcx(a, 1.0f), vec_set(1.0f));
    return vec_select(vec_lt(a, vec_set(0.9f)), small, vec_copysign(large, x));
}

VEC_BY_LANE(vec_erfc, erfc(x))

/* e^(-x^2 / 2) = p 2^n, the square exact in double. */
VEC_INLINE vec_f32 vec_gauss_split(vec_f32 x, vec_f32 *n) {
    const vec_f64 minus_half = vec_f64_set(-0.5);
    vec_f64 lo = vec_f64_lo(x), hi = vec_f64_hi(x);
    return vec_exp_split_f64(vec_f64_mul(vec_f64_mul(lo, lo), minus_half), vec_f64_mul(vec_f64_mul(hi, hi), minus_half),
                             n);
}

/* x cdf(x) of the normal distribution: x (1 - tail), below zero x tail; tail = e^(-x^2 / 2) erfcx(|x| / sqrt2) / 2. */
VEC_INLINE vec_f32 vec_gelu(vec_f32 x) {
    vec_f32 n, p = vec_gauss_split(x, &n);
    vec_f32 tail = vec_mul(vec_mul(p, vec_set(0.5f)), vec_erfcx(vec_abs(x), 0x1.6a09e6p0f));
    vec_f32 below = vec_mul(vec_max(vec_set(-16.0f), x), tail); /* the limit at -inf is 0, not nan */
    vec_f32 above = vec_mul(x, vec_sub(vec_set(1.0f), vec_ldexp(tail, n)));
    return vec_select(vec_lt(x, vec_zero()), vec_ldexp(below, n), above);
}

/* cdf(x) + x density(x) */
VEC_INLINE vec_f32 vec_gelu_slope(vec_f32 x) {
    vec_f32 n, p = vec_gauss_split(x, &n), e = vec_ldexp(p, n),
               v = vec_min(vec_set(16.0f), vec_max(vec_set(-16.0f), x));
    vec_f32 tail = vec_mul(vec_mul(e, vec_set(0.5f)), vec_erfcx(vec_abs(x), 0x1.6a09e6p0f));
    vec_f32 cdf = vec_select(vec_lt(x, vec_zero()), tail, vec_sub(vec_set(1.0f), tail));
    return vec_fma(vec_mul(v, vec_set(0x1.988454p-2f)), e, cdf); /* 1 / sqrt(2 pi) */
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
