/* Remainders of a division, exact: fmod, remainder (of the divisor's sign) and floor_divide. */
#ifndef KG_VEC_MATH_REMAINDER_H
#define KG_VEC_MATH_REMAINDER_H

#include "vec/math_base.h"

#if VEC_HAS_FMA
/* a - b q for a, b >= 0: with q the rounded quotient below 2^23 cut to a whole number it is exact, and q at most one
 * too large. Larger quotients come down first, by 24 bits a turn: with q = a / b as rounded, a - b q is a float (of
 * either sign), and goes on with the same remainder. Where even q is no float, b times a power of two takes a turn for
 * b. */
VEC_INLINE vec_f32 vec_fmod_abs(vec_f32 a, vec_f32 b) {
    const vec_f32 zero = vec_zero(), large = vec_set(0x1p23f), most = vec_set(0x1p127f);
    vec_f32 r = a, q = vec_div(a, b);
    while (__builtin_expect(vec_any(vec_ge(vec_abs(q), large)), 0)) {
        vec_f32 up = vec_select(vec_ge(vec_abs(q), most), vec_mul(b, vec_set(0x1p75f)), b);
        up = vec_select(vec_ge(vec_abs(vec_div(r, up)), most), vec_mul(up, vec_set(0x1p74f)), up);
        r = vec_fnma(vec_select(vec_ge(vec_abs(q), large), vec_div(r, up), zero), up, r);
        q = vec_div(r, b);
    }
    vec_f32 rest = vec_abs(r);
    rest = vec_fnma(vec_trunc(vec_abs(q)), b, rest);
    rest = vec_select(vec_lt(rest, zero), vec_add(rest, b), rest);
    return vec_select(vec_mask_and(vec_lt(r, zero), vec_gt(rest, zero)), vec_sub(b, rest), rest);
}
#else
VEC_INLINE vec_f32 vec_fmod_abs(vec_f32 a, vec_f32 b) {
    float p[VEC_LANES], q[VEC_LANES];
    vec_storeu(p, a);
    vec_storeu(q, b);
    for (int i = 0; i < VEC_LANES; i++) p[i] = fmodf(p[i], q[i]);
    return vec_loadu(p);
}
#endif

/* a - b trunc(a / b), of a's sign; a itself for infinite b, nan for infinite a and for b = 0. */
VEC_INLINE vec_f32 vec_fmod(vec_f32 a, vec_f32 b) {
    const vec_f32 zero = vec_zero(), one = vec_set(1.0f), inf = vec_set(INFINITY);
    vec_f32 x = vec_abs(a), y = vec_abs(b);
    vec_mask fine = vec_mask_and(vec_lt(x, inf), vec_gt(y, zero)), plain = vec_mask_and(fine, vec_lt(y, inf));
    vec_f32 r = vec_fmod_abs(vec_select(plain, x, zero), vec_select(plain, y, one));
    r = vec_select(plain, r, vec_select(vec_mask_and(fine, vec_eq(y, inf)), x, vec_set(NAN)));
    return vec_copysign(r, a);
}

/* Whether a remainder has the other sign than its divisor. */
VEC_INLINE vec_mask vec_astray(vec_f32 r, vec_f32 b) {
    return vec_mask_and(vec_ne(r, vec_zero()), vec_mask_xor(vec_lt(r, vec_zero()), vec_lt(b, vec_zero())));
}

/* a - b floor(a / b), of b's sign. */
VEC_INLINE vec_f32 vec_remainder(vec_f32 a, vec_f32 b) {
    vec_f32 r = vec_fmod(a, b);
    r = vec_select(vec_astray(r, b), vec_add(r, b), r);
    return vec_select(vec_eq(r, vec_zero()), vec_copysign(r, b), r);
}

/* As Python: the quotient that goes with the remainder, to the nearest whole number; a / b for b = 0. */
VEC_INLINE vec_f32 vec_floor_divide(vec_f32 a, vec_f32 b) {
    const vec_f32 one = vec_set(1.0f), zero = vec_zero();
    vec_f32 r = vec_fmod(a, b), quotient = vec_div(a, b), q = vec_div(vec_sub(a, r), b);
    q = vec_select(vec_astray(r, b), vec_sub(q, one), q);
    vec_f32 whole = vec_floor(q);
    whole = vec_select(vec_gt(vec_sub(q, whole), vec_set(0.5f)), vec_add(whole, one), whole);
    whole = vec_select(vec_eq(q, zero), vec_copysign(zero, quotient), whole);
    return vec_select(vec_eq(b, zero), quotient, whole);
}

#endif
