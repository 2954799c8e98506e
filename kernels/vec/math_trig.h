/* Trigonometry: sin, cos, tan. */
#ifndef KG_VEC_MATH_TRIG_H
#define KG_VEC_MATH_TRIG_H

#include "vec/math_base.h"

/* x = n pi/2 + r for |x| <= 2^20, in double: pi/2 in three parts, the first two of 33 bits, so that n times them is
 * exact with and without fma. *n may miss the nearest by a little for large x, and |r| reach 0.88. */
#define VEC_TRIG_LIMIT 0x1p20f
VEC_INLINE vec_f64 vec_trig_rest(vec_f64 x, vec_f64 n) {
    x = vec_f64_fnma(n, vec_f64_set(0x1.921fb544p0), x);
    x = vec_f64_fnma(n, vec_f64_set(0x1.0b4611a6p-34), x);
    return vec_f64_fnma(n, vec_f64_set(0x1.3198a2e037073p-69), x);
}
VEC_INLINE vec_f32 vec_trig_turns(vec_f32 x) { return vec_round(vec_mul(x, vec_set(0x1.45f306p-1f))); }

/* sin r = r + r^3 p(r^2), cos r = 1 - r^2 / 2 + r^4 q(r^2): minimax, 2^-32. Odd quarters swap them, the upper half
 * turns the sign. `quarter` is 0 for sin, 1 for cos. */
VEC_INLINE vec_f32 vec_sin_quarter(vec_f32 x, int quarter) {
    static const float p[] = {-0x1.555556p-3f, 0x1.11117p-7f, -0x1.a053fep-13f, 0x1.7a8d6cp-19f};
    static const float q[] = {0x1.555556p-5f, -0x1.6c1758p-10f, 0x1.a06adap-16f, -0x1.3435dp-22f};
    vec_f32 n = vec_trig_turns(x);
    vec_f32 r = vec_f64_join(vec_trig_rest(vec_f64_lo(x), vec_f64_lo(n)), vec_trig_rest(vec_f64_hi(x), vec_f64_hi(n)));
    vec_f32 z = vec_mul(r, r);
    vec_f32 s = vec_fma(vec_mul(z, r), VEC_POLY(z, p), r);
    vec_f32 c = vec_fma(vec_mul(z, z), VEC_POLY(z, q), vec_fma(z, vec_set(-0.5f), vec_set(1.0f)));
    vec_i32 turn = vec_i32_add(vec_to_i32(n), vec_i32_set(quarter));
    vec_mask odd = vec_i32_eq(vec_i32_and(turn, vec_i32_set(1)), vec_i32_set(1));
    vec_f32 sign = vec_from_bits(vec_i32_shl(vec_i32_and(turn, vec_i32_set(2)), 30));
    return vec_xor(vec_select(odd, c, s), sign);
}

/* Lanes beyond the limit again, by the C library's double function, which reduces any argument. */
#define VEC_TRIG(name, value, function)                                                     \
    VEC_INLINE vec_f32 name(vec_f32 x) {                                                    \
        vec_f32 y = value;                                                                  \
        if (__builtin_expect(vec_any(vec_gt(vec_abs(x), vec_set(VEC_TRIG_LIMIT))), 0)) {    \
            float in[VEC_LANES], out[VEC_LANES];                                            \
            vec_storeu(in, x);                                                              \
            vec_storeu(out, y);                                                             \
            for (int i = 0; i < VEC_LANES; i++)                                             \
                if (fabsf(in[i]) > VEC_TRIG_LIMIT) out[i] = (float)function((double)in[i]); \
            y = vec_loadu(out);                                                             \
        }                                                                                   \
        return y;                                                                           \
    }
VEC_TRIG(vec_sin, vec_select(vec_eq(x, vec_zero()), x, vec_sin_quarter(x, 0)), sin)
VEC_TRIG(vec_cos, vec_sin_quarter(x, 1), cos)

VEC_INLINE vec_f64 vec_sin_f64(vec_f64 r) {
    static const double c[] = {-0x1.5555553ab814dp-3, 0x1.1110fd6993b72p-7, -0x1.a007ddf7dd53ep-13,
                               0x1.6b3e024fe14eep-19};
    vec_f64 z = vec_f64_mul(r, r);
    return vec_f64_fma(vec_f64_mul(z, r), VEC_POLY_F64(z, c), r);
}
VEC_INLINE vec_f64 vec_cos_f64(vec_f64 r) {
    static const double c[] = {-0.5, 0x1.5555554198b28p-5, -0x1.6c16ac2642650p-10, 0x1.a00a20a864589p-16,
                               -0x1.22ec694833c81p-22};
    vec_f64 z = vec_f64_mul(r, r);
    return vec_f64_fma(z, VEC_POLY_F64(z, c), vec_f64_set(1.0));
}
/* sin r / cos r, or -cos r / sin r in odd quarters; both in double, so that only the quotient's operands are rounded.
 */
VEC_INLINE vec_f32 vec_tan_quarter(vec_f32 x) {
    vec_f32 n = vec_trig_turns(x);
    vec_f64 lo = vec_trig_rest(vec_f64_lo(x), vec_f64_lo(n)), hi = vec_trig_rest(vec_f64_hi(x), vec_f64_hi(n));
    vec_f32 s = vec_f64_join(vec_sin_f64(lo), vec_sin_f64(hi)), c = vec_f64_join(vec_cos_f64(lo), vec_cos_f64(hi));
    vec_mask odd = vec_i32_eq(vec_i32_and(vec_to_i32(n), vec_i32_set(1)), vec_i32_set(1));
    return vec_div(vec_select(odd, vec_neg(c), s), vec_select(odd, s, c));
}
VEC_TRIG(vec_tan, vec_select(vec_eq(x, vec_zero()), x, vec_tan_quarter(x)), tan)

#endif
