/* Functions of one operand, float32, forward and backward. Backward has the output of exp, exp2, expm1, sqrt, rsqrt,
 * reciprocal and tan, the input of the others, nothing where the slope is constant. The functions themselves are in
 * vec/vec_math.h. */
#include "vec/loops.h"
#include "vec/vec_math.h"

#define NONE (void)0
#define ZERO vec_zero()
#define ONE vec_set(1.0f)
#define TIMES(c) vec_mul(g, vec_set(c))

MAP1(exp_forward, NONE, vec_exp(x))
MAP2(exp_backward, NONE, vec_mul(g, x))
MAP1(exp2_forward, NONE, vec_exp2(x))
MAP2(exp2_backward, NONE, vec_mul(TIMES(0x1.62e43p-1f), x)) /* ln2 */
MAP1(expm1_forward, NONE, vec_expm1(x))
MAP2(expm1_backward, NONE, vec_fma(g, x, g))

MAP1(log_forward, NONE, vec_log(x))
MAP2(log_backward, NONE, vec_div(g, x))
MAP1(log2_forward, NONE, vec_log2(x))
MAP2(log2_backward, NONE, vec_div(TIMES(0x1.715476p0f), x)) /* 1 / ln2 */
MAP1(log10_forward, NONE, vec_log10(x))
MAP2(log10_backward, NONE, vec_div(TIMES(0x1.bcb7b2p-2f), x)) /* 1 / ln10 */
MAP1(log1p_forward, NONE, vec_log1p(x))
MAP2(log1p_backward, NONE, vec_div(g, vec_add(ONE, x)))

MAP1(sqrt_forward, NONE, vec_sqrt(x))
MAP2(sqrt_backward, NONE, vec_div(g, vec_add(x, x)))
MAP1(rsqrt_forward, NONE, vec_rsqrt(x))
MAP2(rsqrt_backward, NONE, vec_mul(TIMES(-0.5f), vec_mul(vec_mul(x, x), x)))
MAP1(square_forward, NONE, vec_mul(x, x))
MAP2(square_backward, NONE, vec_mul(g, vec_add(x, x)))
MAP1(reciprocal_forward, NONE, vec_reciprocal(x))
MAP2(reciprocal_backward, NONE, vec_neg(vec_mul(g, vec_mul(x, x))))

MAP1(sin_forward, NONE, vec_sin(x))
MAP2(sin_backward, NONE, vec_mul(g, vec_cos(x)))
MAP1(cos_forward, NONE, vec_cos(x))
MAP2(cos_backward, NONE, vec_neg(vec_mul(g, vec_sin(x))))
MAP1(tan_forward, NONE, vec_tan(x))
MAP2(tan_backward, NONE, vec_mul(g, vec_fma(x, x, ONE)))
MAP1(asin_forward, NONE, vec_asin(x))
/* 1 / sqrt(1 - x^2); as a product nothing is lost near 1 */
#define CIRCLE vec_sqrt(vec_mul(vec_sub(ONE, x), vec_add(ONE, x)))
MAP2(asin_backward, NONE, vec_div(g, CIRCLE))
MAP1(acos_forward, NONE, vec_acos(x))
MAP2(acos_backward, NONE, vec_neg(vec_div(g, CIRCLE)))
MAP1(atan_forward, NONE, vec_atan(x))
MAP2(atan_backward, NONE, vec_div(g, vec_fma(x, x, ONE)))

MAP1(sinh_forward, NONE, vec_sinh(x))
MAP2(sinh_backward, NONE, vec_mul(g, vec_cosh(x)))
MAP1(cosh_forward, NONE, vec_cosh(x))
MAP2(cosh_backward, NONE, vec_mul(g, vec_sinh(x)))
MAP1(asinh_forward, NONE, vec_asinh(x))
MAP2(asinh_backward, NONE, vec_div(g, vec_sqrt(vec_fma(x, x, ONE))))
MAP1(acosh_forward, NONE, vec_acosh(x))
MAP2(acosh_backward, NONE, vec_div(g, vec_sqrt(vec_mul(vec_sub(x, ONE), vec_add(x, ONE)))))
MAP1(atanh_forward, NONE, vec_atanh(x))
MAP2(atanh_backward, NONE, vec_div(g, vec_mul(vec_sub(ONE, x), vec_add(ONE, x))))

/* 2 / sqrt(pi) e^(-x^2) */
#define BELL vec_mul(TIMES(0x1.20dd76p0f), vec_exp(vec_neg(vec_mul(x, x))))
MAP1(erf_forward, NONE, vec_erf(x))
MAP2(erf_backward, NONE, BELL)
MAP1(erfc_forward, NONE, vec_erfc(x))
MAP2(erfc_backward, NONE, vec_neg(BELL))

MAP1(abs_forward, NONE, vec_abs(x))
MAP2(abs_backward, NONE, vec_select(vec_gt(x, ZERO), g, vec_select(vec_lt(x, ZERO), vec_neg(g), ZERO)))
MAP1(neg_forward, NONE, vec_neg(x))
MAP1(sign_forward, NONE, vec_select(vec_gt(x, ZERO), ONE, vec_select(vec_lt(x, ZERO), vec_set(-1.0f), ZERO)))
MAP1(floor_forward, NONE, vec_floor(x))
MAP1(ceil_forward, NONE, vec_ceil(x))
MAP1(round_forward, NONE, vec_round(x))
MAP1(trunc_forward, NONE, vec_trunc(x))
MAP1(frac_forward, NONE, vec_sub(x, vec_trunc(x)))
MAP1(identity_backward, NONE, x)
MAP1(zero_backward, NONE, vec_and(ZERO, x))

/* min(max(x, lo), hi); slope 1 inside, bounds included */
#define BOUNDS const vec_f32 lo = SCALAR(0), hi = SCALAR(1)
MAP1(clamp_forward, BOUNDS, vec_min(hi, vec_max(lo, x)))
MAP2(clamp_backward, BOUNDS, vec_select(vec_mask_and(vec_ge(x, lo), vec_le(x, hi)), g, ZERO))

#define BOTH(name) \
    {#name "_forward", name##_forward}, { #name "_backward", name##_backward }
const kg_entry KG_TABLE(math)[] = {BOTH(exp),
                                   BOTH(exp2),
                                   BOTH(expm1),
                                   BOTH(log),
                                   BOTH(log2),
                                   BOTH(log10),
                                   BOTH(log1p),
                                   BOTH(sqrt),
                                   BOTH(rsqrt),
                                   BOTH(square),
                                   BOTH(reciprocal),
                                   BOTH(sin),
                                   BOTH(cos),
                                   BOTH(tan),
                                   BOTH(asin),
                                   BOTH(acos),
                                   BOTH(atan),
                                   BOTH(sinh),
                                   BOTH(cosh),
                                   BOTH(asinh),
                                   BOTH(acosh),
                                   BOTH(atanh),
                                   BOTH(erf),
                                   BOTH(erfc),
                                   BOTH(abs),
                                   BOTH(clamp),
                                   {"neg_forward", neg_forward},
                                   {"neg_backward", neg_forward},
                                   {"sign_forward", sign_forward},
                                   {"sign_backward", zero_backward},
                                   {"floor_forward", floor_forward},
                                   {"floor_backward", zero_backward},
                                   {"ceil_forward", ceil_forward},
                                   {"ceil_backward", zero_backward},
                                   {"round_forward", round_forward},
                                   {"round_backward", zero_backward},
                                   {"trunc_forward", trunc_forward},
                                   {"trunc_backward", zero_backward},
                                   {"frac_forward", frac_forward},
                                   {"frac_backward", identity_backward},
                                   {0}};
