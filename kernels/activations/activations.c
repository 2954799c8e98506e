/* Activations: float32, elementwise, forward and backward. Saved arrays come first: the output for relu, relu6,
 * hardtanh, sigmoid and tanh, the input for the others. At kinks and at nan they do what PyTorch does; where PyTorch's
 * formula meets 0 inf (silu, gelu, mish, hardswish, softsign of an infinity) they give the limit. */
#include "vec/loops.h"
#include "vec/vec_math.h"

#define NONE (void)0
#define ZERO vec_zero()
#define ONE vec_set(1.0f)

/* ---- Piecewise linear ---- */

/* max(x, 0); vec_max answers its second operand for nan and for -0. Slope 1 where the output is not <= 0. */
MAP1(relu_forward, NONE, vec_max(ZERO, x))
MAP2(relu_backward, NONE, vec_select(vec_le(x, ZERO), ZERO, g))

/* x > 0 ? x : slope x */
#define SLOPE const vec_f32 slope = SCALAR(0)
MAP1(leaky_relu_forward, SLOPE, vec_select(vec_gt(x, ZERO), x, vec_mul(x, slope)))
MAP2(leaky_relu_backward, SLOPE, vec_select(vec_gt(x, ZERO), g, vec_mul(g, slope)))

/* x > threshold ? x : value */
#define LIMIT const vec_f32 limit = SCALAR(0), value = SCALAR(1)
MAP1(threshold_forward, LIMIT, vec_select(vec_le(x, limit), value, x))
MAP2(threshold_backward, LIMIT; (void)value, vec_select(vec_le(x, limit), ZERO, g))

/* min(max(x, lo), hi), slope 1 strictly inside */
#define BOUNDS const vec_f32 lo = SCALAR(0), hi = SCALAR(1)
#define SIX const vec_f32 lo = ZERO, hi = vec_set(6.0f)
#define INSIDE(x) vec_mask_and(vec_gt(x, lo), vec_lt(x, hi))
MAP1(hardtanh_forward, BOUNDS, vec_min(hi, vec_max(lo, x)))
MAP2(hardtanh_backward, BOUNDS, vec_select(INSIDE(x), g, ZERO))
MAP1(relu6_forward, SIX, vec_min(hi, vec_max(lo, x)))
MAP2(relu6_backward, SIX, vec_select(INSIDE(x), g, ZERO))

/* min(max(x + 3, 0), 6) / 6 */
VEC_INLINE vec_f32 ramp(vec_f32 x) { return vec_min(vec_set(6.0f), vec_max(ZERO, vec_add(x, vec_set(3.0f)))); }
#define THREE const vec_f32 lo = vec_set(-3.0f), hi = vec_set(3.0f)
MAP1(hardsigmoid_forward, NONE, vec_div(ramp(x), vec_set(6.0f)))
MAP2(hardsigmoid_backward, THREE, vec_select(INSIDE(x), vec_div(g, vec_set(6.0f)), ZERO))

/* x min(max(x + 3, 0), 6) / 6, slope 0 up to -3, x / 3 + 1/2 up to 3, 1 from there */
MAP1(hardswish_forward, THREE; (void)hi, vec_mul(vec_max(lo, x), vec_div(ramp(x), vec_set(6.0f))))
VEC_INLINE vec_f32 hardswish_slope(vec_f32 x, vec_f32 g, vec_f32 lo, vec_f32 hi) {
    vec_f32 middle = vec_mul(g, vec_add(vec_div(x, hi), vec_set(0.5f)));
    return vec_select(vec_le(x, lo), ZERO, vec_select(vec_ge(x, hi), g, middle));
}
MAP2(hardswish_backward, THREE, hardswish_slope(x, g, lo, hi))

/* |x| > lambd ? x : 0, and the same drawn together by lambd */
#define LAMBD const vec_f32 hi = SCALAR(0), lo = vec_neg(hi)
#define OUTSIDE(x) vec_mask_or(vec_gt(x, hi), vec_lt(x, lo))
MAP1(hardshrink_forward, LAMBD, vec_select(vec_mask_and(vec_ge(x, lo), vec_le(x, hi)), ZERO, x))
MAP2(hardshrink_backward, LAMBD, vec_select(OUTSIDE(x), g, ZERO))
VEC_INLINE vec_f32 softshrink(vec_f32 x, vec_f32 lambd, vec_f32 lo) {
    vec_f32 inside = vec_select(vec_isnan(x), x, ZERO);
    return vec_select(vec_gt(x, lambd), vec_sub(x, lambd), vec_select(vec_lt(x, lo), vec_add(x, lambd), inside));
}
MAP1(softshrink_forward, LAMBD, softshrink(x, hi, lo))
MAP2(softshrink_backward, LAMBD, vec_select(OUTSIDE(x), g, ZERO))

/* ---- Exponential below zero ---- */

/* scale (x > 0 ? x : alpha (e^(x / width) - 1)); slope scale, or scale alpha / width e^(x / width) */
VEC_INLINE vec_f32 elu(vec_f32 x, vec_f32 scale, vec_f32 factor, vec_f32 over_width) {
    return vec_select(vec_gt(x, ZERO), vec_mul(x, scale), vec_mul(factor, vec_expm1(vec_mul(x, over_width))));
}
VEC_INLINE vec_f32 elu_slope(vec_f32 x, vec_f32 g, vec_f32 scale, vec_f32 factor, vec_f32 over_width) {
    vec_f32 below = vec_mul(vec_mul(g, factor), vec_exp(vec_mul(x, over_width)));
    return vec_select(vec_gt(x, ZERO), vec_mul(g, scale), below);
}
#define ALPHA const vec_f32 alpha = SCALAR(0)
MAP1(elu_forward, ALPHA, elu(x, ONE, alpha, ONE))
MAP2(elu_backward, ALPHA, elu_slope(x, g, ONE, alpha, ONE))
#define WIDTH const vec_f32 alpha = SCALAR(0), over = vec_set((float)(1.0 / scalars[0]))
MAP1(celu_forward, WIDTH, elu(x, ONE, alpha, over))
MAP2(celu_backward, WIDTH; (void)alpha, elu_slope(x, g, ONE, ONE, over))
/* Klambauer et al. (2017): the scale and alpha that keep mean 0 and variance 1. */
#define SELU const vec_f32 scale = vec_set(1.0507009873554805f), factor = vec_set(1.7580993408473766f)
MAP1(selu_forward, SELU, elu(x, scale, factor, ONE))
MAP2(selu_backward, SELU, elu_slope(x, g, scale, factor, ONE))

/* ---- Sigmoid and its kin ---- */

/* s = 1 / (1 + e^-x), slope s (1 - s) */
MAP1(sigmoid_forward, NONE, vec_sigmoid(x))
MAP2(sigmoid_backward, NONE, vec_mul(g, vec_mul(x, vec_sub(ONE, x))))

/* slope 1 - tanh^2 */
MAP1(tanh_forward, NONE, vec_tanh(x))
MAP2(tanh_backward, NONE, vec_mul(g, vec_fnma(x, x, ONE)))

/* x - tanh x, slope tanh^2. Below 1 -x^3 p(x^2), minimax for x - tanh x itself, 2^-27, the cube in two parts; there
 * nothing would be left of the difference. Above (a - 1) + 2 / (e^2a + 1), a = |x|, with e^2a + 1 rounded but once. */
VEC_INLINE vec_f32 tanhshrink(vec_f32 x) {
    static const float c[] = {0x1.555556p-2f,  -0x1.1111b4p-3f, 0x1.ba4ef2p-5f,   -0x1.6966aep-6f, 0x1.39d93p-7f,
                              -0x1.4b263cp-8f, 0x1.93031ap-9f,  -0x1.7c539ep-10f, 0x1.535d4ap-12f};
    vec_f32 z = vec_mul(x, x), a = vec_abs(x), cube = vec_mul(z, x), p = VEC_POLY(z, c);
    vec_f32 lost = vec_fma(vec_mul_error(x, x, z), x, vec_mul_error(z, x, cube));
    vec_f32 small = vec_fma(cube, p, vec_mul(lost, p));
    vec_f32 n, m, r = vec_exp_rest(vec_min(vec_set(60.0f), vec_add(a, a)), &n), sum = vec_gate(r, n, &m);
    vec_f32 large = vec_add(vec_sub(a, ONE), vec_div(vec_add(m, m), sum));
    return vec_copysign(vec_select(vec_lt(a, ONE), small, large), x); /* of -0, too */
}
VEC_INLINE vec_f32 square(vec_f32 x) { return vec_mul(x, x); }
MAP1(tanhshrink_forward, NONE, tanhshrink(x))
MAP2(tanhshrink_backward, NONE, vec_mul(g, square(vec_tanh(x))))

/* log(1 / (1 + e^-x)) = -log(1 + e^-x), slope 1 - s */
MAP1(logsigmoid_forward, NONE, vec_sub(ZERO, vec_softplus(vec_neg(x))))
MAP2(logsigmoid_backward, NONE, vec_mul(g, vec_sigmoid(vec_neg(x))))

/* log(1 + e^(beta x)) / beta, or x where beta x > threshold; slope sigmoid(beta x) */
#define BETA const vec_f32 beta = SCALAR(0), threshold = SCALAR(1)
VEC_INLINE vec_f32 softplus(vec_f32 x, vec_f32 beta, vec_f32 threshold) {
    vec_f32 v = vec_mul(x, beta);
    return vec_select(vec_gt(v, threshold), x, vec_div(vec_softplus(v), beta));
}
VEC_INLINE vec_f32 softplus_slope(vec_f32 x, vec_f32 beta, vec_f32 threshold) {
    vec_f32 v = vec_mul(x, beta);
    return vec_select(vec_gt(v, threshold), ONE, vec_sigmoid(v));
}
MAP1(softplus_forward, BETA, softplus(x, beta, threshold))
MAP2(softplus_backward, BETA, vec_mul(g, softplus_slope(x, beta, threshold)))

/* x / (1 + |x|), slope 1 / (1 + |x|)^2 */
VEC_INLINE vec_f32 bounded(vec_f32 x) {
    return vec_min(vec_set(0x1.fffffep127f), vec_max(vec_set(-0x1.fffffep127f), x));
}
VEC_INLINE vec_f32 softsign(vec_f32 x) { return vec_div(x, vec_add(ONE, vec_abs(x))); }
MAP1(softsign_forward, NONE, softsign(bounded(x)))
MAP2(softsign_backward, NONE, vec_mul(g, square(vec_div(ONE, vec_add(ONE, vec_abs(x))))))

/* ---- Gated: x times something of x ---- */

/* From |x| = 112 on e^-|x| is 0, and a product with it must not meet an infinite x. */
VEC_INLINE vec_f32 within_112(vec_f32 x) { return vec_min(vec_set(112.0f), vec_max(vec_set(-112.0f), x)); }
VEC_INLINE vec_f32 exp_minus_abs(vec_f32 v) { /* of such a number */
    vec_f32 n, p = vec_exp_small(vec_exp_rest(vec_or(v, vec_set(-0.0f)), &n));
    return vec_ldexp(p, n);
}

/* x s, slope s + x s (1 - s); q = e / (1 + e), e = e^-|x|, is the smaller of s and 1 - s. */
VEC_INLINE vec_f32 silu_slope(vec_f32 x) {
    vec_f32 v = within_112(x), e = exp_minus_abs(v), q = vec_div(e, vec_add(ONE, e)), rest = vec_sub(ONE, q);
    return vec_fma(vec_mul(v, q), rest, vec_select(vec_lt(x, ZERO), q, rest));
}
MAP1(silu_forward, NONE, vec_silu(x))
MAP2(silu_backward, NONE, vec_mul(g, silu_slope(x)))

/* x T, T = tanh(log(1 + e^x)), slope T + x s (1 - T^2), s = sigmoid(x); t = e^-|x| as in vec_mish */
VEC_INLINE vec_f32 mish_slope(vec_f32 x) {
    const vec_f32 two = vec_set(2.0f);
    vec_mask negative = vec_lt(x, ZERO);
    vec_f32 v = within_112(x), t = exp_minus_abs(v), twice = vec_add(t, t);
    vec_f32 top = vec_select(negative, vec_mul(t, vec_add(two, t)), vec_add(ONE, twice));
    vec_f32 bottom = vec_fma(t, vec_add(two, vec_select(negative, t, twice)), vec_select(negative, two, ONE));
    vec_f32 T = vec_div(top, bottom), s = vec_div(vec_select(negative, t, ONE), vec_add(ONE, t));
    return vec_fma(vec_mul(v, s), vec_fnma(T, T, ONE), T);
}
MAP1(mish_forward, NONE, vec_mish(x))
MAP2(mish_backward, NONE, vec_mul(g, mish_slope(x)))

/* x cdf(x) of the normal distribution, exactly or with tanh; slopes in vec/math_erf.h */
#if !defined VEC_HAS_PACK
MAP1(gelu_forward, NONE, vec_gelu(x))
MAP2(gelu_backward, NONE, vec_mul(g, vec_gelu_slope(x)))
#else
/* A run of at most GELU_RUN numbers. Those far below zero, of which there are seldom any, take twice as long as the
 * others: they are first packed together, else a vector with one of them would take as long as one full of them. */
#define GELU_RUN 1024
VEC_INLINE void gelu_run(int slope, const float *x, const float *g, float *out, int64_t n) {
    const vec_f32 limit = vec_set(slope ? VEC_GELU_SLOPE_FAR : VEC_GELU_FAR);
    float far[GELU_RUN + VEC_LANES];
    vec_f32 least = vec_zero();
    int64_t count = 0;
    for (int64_t i = 0; i < n; i += VEC_LANES) least = vec_min(vec_load(x + i, n - i), least);
    const int any = vec_any(vec_lt(least, limit));
    if (any) {
        for (int64_t i = 0; i < n; i += VEC_LANES) {
            vec_f32 v = vec_load(x + i, n - i);
            count += vec_pack(far + count, v, vec_lt(v, limit));
        }
        for (int64_t i = 0; i < count; i += VEC_LANES) {
            vec_f32 v = vec_loadu(far + i);
            vec_storeu(far + i, slope ? vec_gelu_slope_far(v) : vec_gelu_far(v));
        }
        count = 0;
    }
    for (int64_t i = 0; i < n; i += VEC_LANES) {
        vec_f32 v = vec_load(x + i, n - i), y = slope ? vec_gelu_slope_near(v) : vec_gelu_near(v);
        if (any) count += vec_unpack(far + count, &y, vec_lt(v, limit));
        vec_store(out + i, slope ? vec_mul(vec_load(g + i, n - i), y) : y, n - i);
    }
}
static void gelu_forward(KERNEL_ARGUMENTS) {
    (void)sizes, (void)scalars;
    for (int64_t i = start; i < stop; i += GELU_RUN)
        gelu_run(0, (const float *)arrays[0] + i, NULL, (float *)arrays[1] + i,
                 stop - i < GELU_RUN ? stop - i : GELU_RUN);
}
static void gelu_backward(KERNEL_ARGUMENTS) {
    const float *x = arrays[0], *g = arrays[1];
    float *out = arrays[2];
    (void)sizes, (void)scalars;
    for (int64_t i = start; i < stop; i += GELU_RUN)
        gelu_run(1, x + i, g + i, out + i, stop - i < GELU_RUN ? stop - i : GELU_RUN);
}
#endif
MAP1(gelu_tanh_forward, NONE, vec_gelu_tanh(x))
MAP2(gelu_tanh_backward, NONE, vec_mul(g, vec_gelu_tanh_slope(x)))

#define BOTH(name) \
    {#name "_forward", name##_forward}, { #name "_backward", name##_backward }
const kg_entry KG_TABLE(activations)[] = {BOTH(relu),
                                          BOTH(leaky_relu),
                                          BOTH(hardtanh),
                                          BOTH(relu6),
                                          BOTH(hardsigmoid),
                                          BOTH(hardswish),
                                          BOTH(hardshrink),
                                          BOTH(softshrink),
                                          BOTH(elu),
                                          BOTH(celu),
                                          BOTH(selu),
                                          BOTH(sigmoid),
                                          BOTH(tanh),
                                          BOTH(tanhshrink),
                                          BOTH(logsigmoid),
                                          BOTH(softplus),
                                          BOTH(softsign),
                                          BOTH(silu),
                                          BOTH(mish),
                                          BOTH(gelu),
                                          BOTH(gelu_tanh),
                                          BOTH(threshold),
                                          {0, 0}};
