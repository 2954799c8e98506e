/* exp and what is made of it: exp2, expm1, sigmoid, tanh, sinh, cosh. */
#ifndef KG_VEC_MATH_EXP_H
#define KG_VEC_MATH_EXP_H

#include "vec/math_base.h"

/* e^r for |r| <= ln2 / 2: minimax of degree 6, 2^-28. */
VEC_INLINE vec_f32 vec_exp_small(vec_f32 r) {
    static const float c[] = {1.0f, 1.0f, 0x1.fffffcp-2f, 0x1.55549p-3f, 0x1.5558acp-5f, 0x1.123b1p-7f, 0x1.6a545p-10f};
    return VEC_POLY(r, c);
}

/* e^r - 1 there: a factor times 1 + this is rounded once, by an fma. */
VEC_INLINE vec_f32 vec_exp_small_less_one(vec_f32 r) {
    static const float c[] = {0x1.fffffcp-2f, 0x1.55549p-3f, 0x1.5558acp-5f, 0x1.123b1p-7f, 0x1.6a545p-10f};
    return vec_fma(vec_mul(r, r), VEC_POLY(r, c), r);
}

/* x = n ln2 + r, n = round(x log2 e), with ln2 in two parts. */
VEC_INLINE vec_f32 vec_exp_rest(vec_f32 x, vec_f32 *n) {
    *n = vec_round(vec_mul(x, vec_set(0x1.715476p0f)));
#if VEC_HAS_FMA
    return vec_fnma(*n, vec_set(-0x1.05c61p-29f), vec_fnma(*n, vec_set(0x1.62e43p-1f), x));
#else
    /* The first part has ten bits, so that the product is exact. */
    return vec_sub(vec_sub(x, vec_mul(*n, vec_set(0x1.63p-1f))), vec_mul(*n, vec_set(-0x1.bd0106p-13f)));
#endif
}

/* e^x = p 2^n, p returned. For who multiplies p before scaling, to keep all bits where e^x is subnormal. */
VEC_INLINE vec_f32 vec_exp_split(vec_f32 x, vec_f32 *n) {
    x = vec_min(vec_set(89.0f), vec_max(vec_set(-112.0f), x)); /* in this order a nan passes */
    return vec_exp_small(vec_exp_rest(x, n));
}

/* The same as p + *rest, p = 1 + r rounded: a factor times both rounds once where it would twice. */
VEC_INLINE vec_f32 vec_exp_parts(vec_f32 r, vec_f32 *rest) {
    static const float c[] = {0x1.fffffcp-2f, 0x1.55549p-3f, 0x1.5558acp-5f, 0x1.123b1p-7f, 0x1.6a545p-10f};
    const vec_f32 one = vec_set(1.0f);
    vec_f32 p = vec_add(one, r);
    *rest = vec_fma(vec_mul(r, r), VEC_POLY(r, c), vec_add(vec_sub(one, p), r));
    return p;
}

/* Beyond -112 and 89 the answer is 0 or inf. */
VEC_INLINE vec_f32 vec_exp(vec_f32 x) {
    vec_f32 n, p = vec_exp_split(x, &n);
    return vec_ldexp(p, n);
}

/* The same for an exponent in double: where it is a product whose rounding e^y would magnify. */
VEC_INLINE vec_f32 vec_exp_split_f64(vec_f64 lo, vec_f64 hi, vec_f32 *n) {
    const vec_f64 least = vec_f64_set(-112.0), most = vec_f64_set(89.0), log2e = vec_f64_set(0x1.71547652b82fep0);
    const vec_f64 ln2 = vec_f64_set(0x1.62e42fefa39efp-1);
    lo = vec_f64_min(most, vec_f64_max(least, lo));
    hi = vec_f64_min(most, vec_f64_max(least, hi));
    vec_f64 n_lo = vec_f64_round(vec_f64_mul(lo, log2e)), n_hi = vec_f64_round(vec_f64_mul(hi, log2e));
    *n = vec_f64_join(n_lo, n_hi);
    return vec_exp_small(vec_f64_join(vec_f64_fnma(n_lo, ln2, lo), vec_f64_fnma(n_hi, ln2, hi)));
}
VEC_INLINE vec_f32 vec_exp_f64(vec_f64 lo, vec_f64 hi) {
    vec_f32 n, p = vec_exp_split_f64(lo, hi, &n);
    return vec_ldexp(p, n);
}

/* 2^x = 2^n 2^r, n = round(x): minimax of degree 6 on [-1/2, 1/2], 2^-28. */
VEC_INLINE vec_f32 vec_exp2(vec_f32 x) {
    static const float c[] = {1.0f,           0x1.62e43p-1f,   0x1.ebfbdcp-3f, 0x1.c6af7ap-5f,
                              0x1.3b2dd2p-7f, 0x1.5f0946p-10f, 0x1.417a5cp-13f};
    x = vec_min(vec_set(129.0f), vec_max(vec_set(-151.0f), x));
    vec_f32 n = vec_round(x);
    return vec_ldexp(VEC_POLY(vec_sub(x, n), c), n);
}

/* e^x - 1 = 2^n (e^r - 1) + (2^n - 1), e^r - 1 = r + r^2 q(r): minimax of degree 7, 2^-31. */
VEC_INLINE vec_f32 vec_expm1(vec_f32 x) {
    static const float c[] = {0.5f, 0x1.555554p-3f, 0x1.5554f8p-5f, 0x1.1112d4p-7f, 0x1.6d3aacp-10f, 0x1.9e7d7ep-13f};
    vec_f32 v = vec_min(vec_set(89.0f), vec_max(vec_set(-104.0f), x));
    vec_f32 n, r = vec_exp_rest(v, &n);
    vec_f32 p = vec_fma(vec_mul(r, r), VEC_POLY(r, c), r);
    /* In halves, since 2^128 is not a float and the answer may be. */
    vec_f32 half = vec_ldexp(vec_set(0.5f), n), y = vec_fma(p, half, vec_sub(half, vec_set(0.5f)));
    return vec_select(vec_eq(n, vec_zero()), vec_select(vec_eq(x, vec_zero()), x, p), vec_add(y, y));
}

/* ---- Sigmoid and its kin: with e^-x = e^r 2^n they are quotients of p = e^r and m = 2^-n, times m ---- */

/* Clamped, for beyond 20 e^-x is nothing beside 1, and below -126 m times anything is 0, at an infinity too. */
VEC_INLINE vec_f32 vec_gate_rest(vec_f32 x, vec_f32 *n) {
    return vec_exp_rest(vec_neg(vec_min(vec_set(20.0f), vec_max(vec_set(-126.0f), x))), n);
}
/* p + m = m (1 + e^-x), and what the sum loses. What 1 + m loses of a small m is put back. */
VEC_INLINE vec_f32 vec_gate_parts(vec_f32 r, vec_f32 n, vec_f32 *m, vec_f32 *lost) {
    static const float c[] = {1.0f, 0x1.fffffcp-2f, 0x1.55549p-3f, 0x1.5558acp-5f, 0x1.123b1p-7f, 0x1.6a545p-10f};
    const vec_f32 one = vec_set(1.0f);
    *m = vec_ldexp(one, vec_neg(n));
    vec_f32 sum = vec_add(one, *m);
    vec_f32 more = vec_fma(VEC_POLY(r, c), r, vec_sub(*m, vec_sub(sum, one))), all = vec_add(sum, more);
    *lost = vec_sub(more, vec_sub(all, sum));
    return all;
}
VEC_INLINE vec_f32 vec_gate(vec_f32 r, vec_f32 n, vec_f32 *m) {
    vec_f32 lost;
    return vec_gate_parts(r, n, m, &lost);
}

/* 1 / (1 + e^-x) = m / (p + m) */
VEC_INLINE vec_f32 vec_sigmoid(vec_f32 x) {
    vec_f32 n, m, r = vec_gate_rest(x, &n), sum = vec_gate(r, n, &m);
    return vec_ldexp(vec_div(vec_set(1.0f), sum), vec_neg(n));
}

/* x / (1 + e^-x) = m x / (p + m) */
VEC_INLINE vec_f32 vec_silu(vec_f32 x) {
    vec_f32 n, m, r = vec_gate_rest(x, &n), sum = vec_gate(r, n, &m);
    return vec_ldexp(vec_div(vec_max(vec_set(-126.0f), x), sum), vec_neg(n));
}

/* x tanh(log(1 + e^x)) = x (1 + 2 y) / (1 + 2 y + 2 y^2), y = e^-x; = m a (1 + m p / (m^2 + 2 p (p + m))) with
 * a = x / (p + m) in two parts, where the correction's own errors hardly count. */
VEC_INLINE vec_f32 vec_mish(vec_f32 x) {
    const vec_f32 one = vec_set(1.0f);
    vec_f32 n, m, less, r = vec_gate_rest(x, &n), sum = vec_gate_parts(r, n, &m, &less), p = vec_exp_small(r);
    vec_f32 v = vec_max(vec_set(-126.0f), x), over = vec_div(one, sum), a = vec_mul(v, over);
    vec_f32 off = vec_fnma(over, less, vec_fnma(over, sum, one)), lost = vec_fma(off, a, vec_mul_error(v, over, a));
    vec_f32 more = vec_div(vec_mul(m, p), vec_fma(vec_add(p, p), sum, vec_mul(m, m)));
    vec_f32 y = vec_ldexp(vec_add(a, vec_fma(a, more, lost)), vec_neg(n));
    return vec_copysign(vec_select(vec_lt(x, vec_set(20.0f)), y, x), x); /* of inf and of -0 */
}

/* x + x^3 p(x^2) below 0.625 (minimax, 2^-27), 1 - 2 / (e^2x + 1) above; odd. */
VEC_INLINE vec_f32 vec_tanh(vec_f32 x) {
    static const float c[] = {-0x1.555532p-2f, 0x1.1106fcp-3f, -0x1.b83738p-5f, 0x1.5207b8p-6f, -0x1.75619ap-8f};
    const vec_f32 one = vec_set(1.0f);
    vec_f32 a = vec_abs(x), z = vec_mul(x, x);
    vec_f32 small = vec_fma(vec_mul(z, x), VEC_POLY(z, c), x);
    vec_f32 e = vec_exp(vec_add(a, a));
    vec_f32 large = vec_sub(one, vec_div(vec_set(2.0f), vec_add(e, one)));
    return vec_copysign(vec_select(vec_lt(a, vec_set(0.625f)), small, large), x); /* of -0, too */
}

/* e^|x| / 2, which may be a float where e^|x| is not. */
VEC_INLINE vec_f32 vec_half_exp_abs(vec_f32 x) {
    const vec_f64 ln2 = vec_f64_set(0x1.62e42fefa39efp-1);
    return vec_exp_f64(vec_f64_sub(vec_f64_abs(vec_f64_lo(x)), ln2), vec_f64_sub(vec_f64_abs(vec_f64_hi(x)), ln2));
}

/* h + 1 / (4 h), h = e^|x| / 2. */
VEC_INLINE vec_f32 vec_cosh(vec_f32 x) {
    vec_f32 h = vec_half_exp_abs(x);
    return vec_add(h, vec_div(vec_set(0.25f), h));
}

/* x + x^3 p(x^2) below 1 (minimax, 2^-31), h - 1 / (4 h) above, h = e^|x| / 2; odd. */
VEC_INLINE vec_f32 vec_sinh(vec_f32 x) {
    static const float c[] = {0x1.555556p-3f, 0x1.1110ep-7f, 0x1.a022bcp-13f, 0x1.756c1ep-19f};
    vec_f32 h = vec_half_exp_abs(x), z = vec_mul(x, x);
    vec_f32 small = vec_fma(vec_mul(z, x), VEC_POLY(z, c), x);
    vec_f32 large = vec_copysign(vec_sub(h, vec_div(vec_set(0.25f), h)), x);
    return vec_select(vec_lt(vec_abs(x), vec_set(1.0f)), small, large);
}

#endif
