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

/* e^-(t^2) = e^r 2^n, and e^-(t^2 / 2): the rounding error of the square is put back. */
VEC_INLINE vec_f32 vec_gauss_rest(vec_f32 t, float minus_scale, vec_f32 *n) {
    vec_f32 h = vec_mul(vec_set(minus_scale), t), z = vec_mul(h, t);
    return vec_add(vec_exp_rest(z, n), vec_mul_error(h, t, z));
}

/* e^-(t^2) = e^(r + lost) 2^n: what the sum of r loses is kept. The first part of ln2 has ten bits, so that s is exact.
 */
VEC_INLINE vec_f32 vec_gauss_parts(vec_f32 t, float minus_scale, vec_f32 *n, vec_f32 *lost) {
    vec_f32 h = vec_mul(vec_set(minus_scale), t), z = vec_mul(h, t);
    *n = vec_round(vec_mul(z, vec_set(0x1.715476p0f)));
    vec_f32 s = vec_fnma(*n, vec_set(0x1.63p-1f), z),
            low = vec_fnma(*n, vec_set(-0x1.bd0106p-13f), vec_mul_error(h, t, z));
    vec_f32 r = vec_add(s, low);
    *lost = vec_sub(low, vec_sub(r, s));
    return r;
}

/* erfc(t) = e^(-t^2) q(u) / (t + c), u = (t - c) / (t + c), for 0 <= t <= 10.1 (minimax, 2^-26.5; at this c the
 * constant term is nearly a float); erfc(-t) = 2 - erfc(t). The quotient's error is put back, and the last product
 * rounded once. */
VEC_INLINE vec_f32 vec_erfc(vec_f32 x) {
    static const float c[] = {-0x1.20591ep-1f, 0x1.0bc17ap-3f,  0x1.18962p-5f,   -0x1.1f8c16p-6f,  -0x1.c2d16ep-8f,
                              0x1.fe4d8ap-10f, 0x1.d73e7cp-10f, 0x1.a25844p-14f, -0x1.3cb8c4p-12f, -0x1.8c8f66p-14f};
    const vec_f32 first = vec_set(0x1.f77ad6p-1f), centre = vec_set(1.6328125f), one = vec_set(1.0f);
    vec_f32 n, lost_r, rest, t = vec_min(vec_set(10.125f), vec_abs(x));
    vec_f32 p = vec_exp_parts(vec_gauss_parts(t, -1.0f, &n, &lost_r), &rest);
    rest = vec_fma(p, lost_r, rest);
    vec_f32 sum = vec_add(t, centre), over = vec_div(one, sum);
    vec_f32 most = vec_max(t, centre), lost = vec_sub(vec_min(t, centre), vec_sub(sum, most));
    vec_f32 off = vec_fnma(lost, over, vec_fnma(sum, over, one));
    vec_f32 u = vec_mul(vec_sub(t, centre), over);
    u = vec_fma(u, off, u);
    vec_f32 more = vec_mul(VEC_POLY(u, c), u), q = vec_add(first, more), h = vec_mul(q, over);
    vec_f32 h_rest = vec_fma(vec_sub(more, vec_sub(q, first)), over, vec_fma(h, off, vec_mul_error(q, over, h)));
    vec_f32 y = vec_ldexp(vec_fma(h, p, vec_fma(h, rest, vec_mul(h_rest, p))), n);
    return vec_select(vec_lt(x, vec_zero()), vec_sub(vec_set(2.0f), y), y);
}

/* ---- The normal distribution: cdf(-t) = e^(-t^2 / 2) q(u) / (t + c), u = 1 - 2 c / (t + c), for t >= 0 ---- */

/* q(u): minimax up to t = 14.8, 2^-27. At this c the constant term is nearly a float. */
#define VEC_NORMAL_CENTRE 3.3359375f
VEC_INLINE vec_f32 vec_normal_tail(vec_f32 u) {
    static const float c[] = {0x1.7ade3ap-1f, -0x1.190648p-1f,  0x1.27ddaep-2f,  -0x1.7c836ap-4f, 0x1.9776ecp-8f,
                              0x1.0837f8p-7f, -0x1.f86da6p-10f, -0x1.e6e5cp-11f, 0x1.12cac4p-12f, 0x1.1afce4p-13f};
    return VEC_POLY(u, c);
}

/* Polynomial number k of sixteen, in t - centre[k], k the low bits of `piece`: c[j][k] are its coefficients. Where a
 * lookup among eight is one instruction and among sixteen four, numbers are looked up together as long as none of them
 * belongs to the second eight, which begin beyond 3 and are rare. */
#define VEC_POLY_BY(table, t, k, centre, c)             \
    vec_f32 d_ = vec_sub(t, table(centre, k));          \
    poly_ = table((c)[sizeof(c) / sizeof *(c) - 1], k); \
    UNROLL                                              \
    for (int j_ = (int)(sizeof(c) / sizeof *(c)) - 2; j_ >= 0; j_--) poly_ = vec_fma(poly_, d_, table((c)[j_], k));
#if defined VEC_HAS_TABLE8
#define VEC_POLY_OF_16(t, piece, centre, c)                                                  \
    __extension__({                                                                          \
        const vec_i32 k_ = vec_bits(piece);                                                  \
        vec_f32 poly_;                                                                       \
        if (__builtin_expect(vec_any(vec_i32_gt(vec_i32_set(0), vec_i32_shl(k_, 28))), 0)) { \
            VEC_POLY_BY(vec_table16, t, k_, centre, c)                                       \
        } else {                                                                             \
            VEC_POLY_BY(vec_table8, t, k_, centre, c)                                        \
        }                                                                                    \
        poly_;                                                                               \
    })
#else
#define VEC_POLY_OF_16(t, piece, centre, c)        \
    __extension__({                                \
        const vec_i32 k_ = vec_bits(piece);        \
        vec_f32 poly_;                             \
        VEC_POLY_BY(vec_table16, t, k_, centre, c) \
        poly_;                                     \
    })
#endif
#define VEC_WHOLE vec_set(0x1.8p23f) /* added last, it rounds to a whole number, which the low bits then are */

/* x cdf(x) = -e^(-t^2 / 2) q(1 / (t^2 + c)) for x < -5.35, minimax up to t = 14.6, 2^-27.8; 0 from -16 on. */
VEC_INLINE vec_f32 vec_gelu_far(vec_f32 x) {
    static const float c[] = {0x1.98845p-2f, -0x1.987efep-2f, 0x1.0f56c2p-2f, -0x1.2e19dcp1f, 0x1.c3840ep2f};
    vec_f32 n, t = vec_min(vec_set(16.0f), vec_abs(x));
    vec_f32 w = vec_exp_small_less_one(vec_gauss_rest(t, -0.5f, &n));
    vec_f32 over = vec_div(vec_set(1.0f), vec_fma(t, t, vec_set(2.328125f))), q = VEC_POLY(over, c);
    return vec_neg(vec_ldexp(vec_fma(q, w, q), n));
}

/* x cdf(x) = max(x, 0) - g(t), g(t) = t cdf(-t), t = |x|, with neither division nor exponential up to 5.36, where g
 * falls below half an ulp of x: sixteen polynomials in t - c, number round(a t^2 + b t), so that on each g falls by
 * about the same factor (minimax, 2^-24.5); at these c the constant terms are nearly floats. For x >= VEC_GELU_FAR. */
#define VEC_GELU_FAR -5.359375f
VEC_INLINE vec_f32 vec_gelu_near(vec_f32 x) {
    static const float centre[16] = {0.0f,          0x1.2e8ffp-1f, 0x1.1b88eep0f, 0x1.907e94p0f,
                                     0x1.fa6d22p0f, 0x1.2df624p1f, 0x1.5b9488p1f, 0x1.8647aap1f,
                                     0x1.aec80ep1f, 0x1.d553f4p1f, 0x1.fa1f6ap1f, 0x1.0edda8p2f,
                                     0x1.1fb9d4p2f, 0x1.304314p2f, 0x1.403004p2f, 0x1.4f7adep2f};
    static const float c[7][16] = {
        {0.0f, 0x1.4f93d4p-3f, 0x1.300258p-3f, 0x1.792862p-4f, 0x1.84264cp-5f, 0x1.620e2ap-6f, 0x1.2671b6p-7f,
         0x1.cab568p-9f, 0x1.510ffap-10f, 0x1.d87768p-12f, 0x1.3e8b0ap-13f, 0x1.9aa776p-15f, 0x1.057c3p-16f,
         0x1.3dfc7p-18f, 0x1.7b277p-20f, 0x1.bf544p-22f},
        {0x1p-1f, 0x1.44ce7p-4f, -0x1.af1dd4p-4f, -0x1.fed5c8p-4f, -0x1.66bc74p-4f, -0x1.92032ap-5f, -0x1.8664dep-6f,
         -0x1.581e8ep-7f, -0x1.186744p-8f, -0x1.ad7c5p-10f, -0x1.38e28ep-11f, -0x1.b056fp-13f, -0x1.24b7bp-14f,
         -0x1.78b478p-16f, -0x1.d8f178p-18f, -0x1.247112p-19f},
        {-0x1.98844cp-2f, -0x1.1b2a7cp-2f, -0x1.56282ep-4f, 0x1.ae1d2ap-6f, 0x1.b9ddf4p-5f, 0x1.687b4ep-5f,
         0x1.b7ee3ap-6f, 0x1.c8c366p-7f, 0x1.a738c2p-8f, 0x1.684292p-9f, 0x1.1f173ap-10f, 0x1.ad2b42p-12f,
         0x1.3729fep-13f, 0x1.aa37fep-15f, 0x1.1b07e8p-16f, 0x1.704d42p-18f},
        {-0x1.28129cp-18f, 0x1.ed5b7cp-4f, 0x1.c502aep-4f, 0x1.85278cp-5f, 0x1.a6770ap-10f, -0x1.f1cbf8p-7f,
         -0x1.f402aep-7f, -0x1.50ff68p-7f, -0x1.74f87cp-8f, -0x1.6b5d34p-9f, -0x1.42e384p-10f, -0x1.08ac72p-11f,
         -0x1.9f153ep-13f, -0x1.30eb28p-14f, -0x1.aefc12p-16f, -0x1.287dacp-17f},
        {0x1.1094f4p-4f, 0x1.7fc952p-6f, -0x1.c67f16p-6f, -0x1.1e08a4p-5f, -0x1.36f2bcp-6f, -0x1.0c9e48p-8f,
         0x1.70a378p-9f, 0x1.0885c8p-8f, 0x1.90d7b6p-9f, 0x1.db8634p-10f, 0x1.e7d026p-11f, 0x1.c05336p-12f,
         0x1.81effep-13f, 0x1.337312p-14f, 0x1.d252eep-16f, 0x1.556012p-17f},
        {-0x1.4ccb26p-12f, -0x1.7b071ep-6f, -0x1.873734p-7f, 0x1.1d911cp-8f, 0x1.25d962p-7f, 0x1.850926p-8f,
         0x1.0513d2p-9f, -0x1.963bd6p-13f, -0x1.b6a6ep-11f, -0x1.86a86ep-11f, -0x1.f68f5ep-12f, -0x1.0eaf02p-12f,
         -0x1.06a51ap-13f, -0x1.ce315ep-15f, -0x1.7d22fcp-16f, -0x1.2bbf88p-17f},
        {-0x1.30d6d2p-7f, -0x1.165668p-10f, 0x1.b094c2p-8f, 0x1.0dc354p-8f, -0x1.20575cp-12f, -0x1.ffacc2p-10f,
         -0x1.8e8a46p-10f, -0x1.5b213ep-11f, -0x1.2df198p-14f, 0x1.208cb4p-13f, 0x1.407f36p-13f, 0x1.c1a1e2p-14f,
         0x1.0019f2p-14f, 0x1.005da2p-15f, 0x1.d40ad4p-17f, 0x1.8f1938p-18f},
    };
    vec_f32 t = vec_min(vec_abs(x), vec_set(-VEC_GELU_FAR)); /* a nan, too, which takes its way through max below */
    vec_f32 piece = vec_fma(vec_fma(vec_set(0x1.087fbap-2f), t, vec_set(0x1.81851ap0f)), t, VEC_WHOLE);
    vec_f32 less = VEC_POLY_OF_16(t, piece, centre, c);
    return vec_copysign(vec_sub(vec_max(vec_zero(), x), less), x); /* of -0, too */
}
/* For all x: the few beyond in a call of their own, which saves registers here. */
#define VEC_WITH_FAR(name, limit)                                                              \
    static __attribute__((noinline, cold, unused)) vec_f32 name##_rest(vec_f32 x, vec_f32 y) { \
        return vec_select(vec_lt(x, vec_set(limit)), name##_far(x), y);                        \
    }                                                                                          \
    VEC_INLINE vec_f32 name(vec_f32 x) {                                                       \
        vec_f32 y = name##_near(x);                                                            \
        if (__builtin_expect(vec_any(vec_lt(x, vec_set(limit))), 0)) y = name##_rest(x, y);    \
        return y;                                                                              \
    }
VEC_WITH_FAR(vec_gelu, VEC_GELU_FAR)

/* The slope cdf(x) + x e^(-x^2 / 2) / sqrt(2 pi): below zero d = cdf(-t) - t e^(-t^2 / 2) / sqrt(2 pi), above 1 - d.
 * Again sixteen polynomials (minimax, 2^-25.3; one of them about the root of d), up to 5.94, where 1 - d is 1. For
 * x >= VEC_GELU_SLOPE_FAR. */
#define VEC_GELU_SLOPE_FAR -5.9375f
VEC_INLINE vec_f32 vec_gelu_slope_near(vec_f32 x) {
    static const float centre[16] = {0.0f,          0x1.80ead2p-1f, 0x1.49797p0f,  0x1.cce976p0f,
                                     0x1.21582ep1f, 0x1.572f7ep1f,  0x1.891802p1f, 0x1.b7d4d8p1f,
                                     0x1.e3ee92p1f, 0x1.06e67cp2f,  0x1.1adf56p2f, 0x1.2e00ep2f,
                                     0x1.4064a2p2f, 0x1.521f1cp2f,  0x1.63409cp2f, 0x1.73d6d4p2f};
    static const float c[8][16] = {
        {0x1p-1f, -0x1.6737d8p-28f, -0x1.00805cp-3f, -0x1.b2bcdcp-4f, -0x1.dc8d9cp-5f, -0x1.a57e78p-6f, -0x1.448528p-7f,
         -0x1.c3bfa8p-9f, -0x1.22c9ecp-10f, -0x1.5f66dp-12f, -0x1.92ddfep-14f, -0x1.b9a6e4p-16f, -0x1.d1b97ep-18f,
         -0x1.daa8d4p-20f, -0x1.d57baap-22f, -0x1.c4348ep-24f},
        {-0x1.988454p-1f, -0x1.b9d992p-2f, -0x1.ea8c3p-5f, 0x1.912f2ap-4f, 0x1.8ad636p-4f, 0x1.d1fe42p-5f,
         0x1.b2ebf6p-6f, 0x1.5ded58p-7f, 0x1.fa1b2ap-9f, 0x1.510ebcp-10f, 0x1.a41f96p-12f, 0x1.ef96a4p-14f,
         0x1.16e84cp-15f, 0x1.2d7328p-17f, 0x1.3a82eap-19f, 0x1.3e1f3cp-21f},
        {0x1.45e30ep-20f, 0x1.8d9a9p-2f, 0x1.0d21d6p-2f, 0x1.b93a22p-5f, -0x1.3e8866p-5f, -0x1.7fe536p-5f,
         -0x1.e818fap-6f, -0x1.de9a82p-7f, -0x1.908a3p-8f, -0x1.2b9996p-9f, -0x1.9b46d2p-11f, -0x1.0779dap-12f,
         -0x1.3eca48p-14f, -0x1.6f6b7p-16f, -0x1.9626f4p-18f, -0x1.b0f848p-20f},
        {0x1.105268p-2f, 0x1.2a426ep-6f, -0x1.20918ep-3f, -0x1.b8b386p-4f, -0x1.deeb9ep-6f, 0x1.40a2eep-7f,
         0x1.06b056p-6f, 0x1.695522p-7f, 0x1.73637ep-8f, 0x1.4230f8p-9f, 0x1.f0e84cp-11f, 0x1.5e7178p-12f,
         0x1.cc39f4p-14f, 0x1.1cdf42p-15f, 0x1.4f8562p-17f, 0x1.7aa80ep-19f},
        {0x1.91784p-13f, -0x1.d2f112p-4f, -0x1.8286aap-6f, 0x1.5a94fep-5f, 0x1.21567ap-5f, 0x1.79382ep-7f,
         -0x1.8025d6p-10f, -0x1.194d0ep-8f, -0x1.a610fcp-9f, -0x1.c6428ep-10f, -0x1.9791bap-11f, -0x1.433112p-12f,
         -0x1.d332e2p-14f, -0x1.39bb6ap-15f, -0x1.8ca356p-17f, -0x1.dc9a7p-19f},
        {-0x1.f15776p-5f, 0x1.dfbabp-7f, 0x1.42a956p-5f, 0x1.1dafccp-7f, -0x1.61c00cp-7f, -0x1.3fa6c2p-7f,
         -0x1.d9bc26p-9f, -0x1.72fc18p-19f, 0x1.f1106cp-11f, 0x1.9c95a8p-11f, 0x1.d0b5dp-12f, 0x1.aea8a6p-13f,
         0x1.5e5d22p-14f, 0x1.02f16p-15f, 0x1.634518p-17f, 0x1.c9fd1p-19f},
        {0x1.0eacdp-9f, 0x1.39ef24p-6f, -0x1.1ca9bcp-8f, -0x1.63d77cp-7f, -0x1.565438p-9f, 0x1.3640b4p-9f,
         0x1.326582p-9f, 0x1.f4b4fep-11f, 0x1.707b88p-14f, -0x1.73f796p-13f, -0x1.5ba67cp-13f, -0x1.9c91cp-14f,
         -0x1.8b5e8ep-15f, -0x1.4a0bdp-16f, -0x1.f37d0cp-18f, -0x1.5d9d3ep-19f},
        {0x1.e19616p-8f, -0x1.c1bd04p-9f, -0x1.6071aep-8f, 0x1.8aae56p-10f, 0x1.692692p-9f, 0x1.73ed5p-11f,
         -0x1.ba6d7ap-12f, -0x1.055758p-11f, -0x1.b85fdp-13f, -0x1.77c04cp-15f, 0x1.d6c4aap-16f, 0x1.e271f4p-16f,
         0x1.3de7a4p-16f, 0x1.42c468p-17f, 0x1.080a78p-18f, 0x1.9a13eap-20f},
    };
    vec_f32 t = vec_min(vec_set(-VEC_GELU_SLOPE_FAR), vec_abs(x));
    vec_f32 piece = vec_fma(vec_fma(vec_set(0x1.d70a3ep-3f), t, vec_set(0x1.3ea6dp0f)), t, VEC_WHOLE);
    vec_f32 d = VEC_POLY_OF_16(t, piece, centre, c);
    return vec_select(vec_lt(x, vec_zero()), d, vec_sub(vec_set(1.0f), d));
}
/* d for what is left, by the exponential. */
VEC_INLINE vec_f32 vec_gelu_slope_far(vec_f32 x) {
    const vec_f32 c = vec_set(VEC_NORMAL_CENTRE);
    vec_f32 n, t = vec_min(vec_set(16.0f), vec_abs(x));
    vec_f32 p = vec_exp_small(vec_gauss_rest(t, -0.5f, &n));
    vec_f32 over = vec_div(vec_set(1.0f), vec_add(t, c)), q = vec_normal_tail(vec_mul(vec_sub(t, c), over));
    vec_f32 d = vec_fma(q, over, vec_mul(t, vec_set(-0x1.988454p-2f)));
    return vec_ldexp(vec_mul(d, p), n);
}
VEC_WITH_FAR(vec_gelu_slope, VEC_GELU_SLOPE_FAR)

/* x sigmoid(2 z), z = sqrt(2 / pi) (x + 0.044715 x^3), which is x (1 + tanh z) / 2. The exponent 2 z = x (a + b x^2) is
 * carried in two parts, or the lower tail would lose all its digits: e^-2z = e^r 2^n. */
VEC_INLINE vec_f32 vec_gelu_tanh_rest(vec_f32 x, vec_f32 *n) {
    const vec_f32 a = vec_set(-0x1.988454p0f), a_rest = vec_set(0x1.857936p-25f);
    const vec_f32 b = vec_set(-0x1.2444f2p-4f), b_rest = vec_set(-0x1.49b16ap-29f);
    vec_f32 v = vec_min(vec_set(6.0f), vec_max(vec_set(-11.0f), x)); /* limits as those of vec_gate_rest */
    vec_f32 z = vec_mul(v, v), bz = vec_mul(b, z);
    vec_f32 bz_rest = vec_fma(b, vec_mul_error(v, v, z), vec_fma(b_rest, z, vec_mul_error(b, z, bz)));
    vec_f32 w = vec_add(a, bz), back = vec_sub(w, a), w_rest = vec_add(vec_sub(a, vec_sub(w, back)), vec_sub(bz, back));
    w_rest = vec_add(w_rest, vec_add(a_rest, bz_rest));
    vec_f32 y = vec_mul(v, w);
    return vec_add(vec_exp_rest(y, n), vec_fma(v, w_rest, vec_mul_error(v, w, y)));
}
VEC_INLINE vec_f32 vec_gelu_tanh(vec_f32 x) {
    vec_f32 n, m, r = vec_gelu_tanh_rest(x, &n), sum = vec_gate(r, n, &m);
    return vec_ldexp(vec_div(vec_max(vec_set(-11.0f), x), sum), vec_neg(n));
}
/* s + x s (1 - s) d(2 z)/dx, s = sigmoid(2 z), d(2 z)/dx = 2 sqrt(2 / pi) (1 + 3 0.044715 x^2). Beyond 11 s (1 - s) is
 * 0, and must not meet an infinite x. */
VEC_INLINE vec_f32 vec_gelu_tanh_slope(vec_f32 x) {
    vec_f32 n, m, r = vec_gelu_tanh_rest(x, &n), sum = vec_gate(r, n, &m), over = vec_div(vec_set(1.0f), sum);
    vec_f32 v = vec_min(vec_set(11.0f), vec_max(vec_set(-11.0f), x));
    vec_f32 dz = vec_fma(vec_mul(v, v), vec_set(1.5957691216057308f * 0.134145f), vec_set(1.5957691216057308f));
    vec_f32 rest = vec_mul(vec_exp_small(r), over); /* 1 - s */
    return vec_ldexp(vec_mul(over, vec_fma(vec_mul(v, dz), rest, vec_set(1.0f))), vec_neg(n));
}

#endif
