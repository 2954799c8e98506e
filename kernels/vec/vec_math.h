/* The functions of mathematics, one definition each, in the words of vec.h: the same bits on avx512, avx2 and neon.
 *
 * Worst errors over all 2^32 inputs stand in docs/accuracy.md (python -m kernelgrad.testing.every_float --full).
 * Everywhere: nan in, nan out; infinities, the sign of zero and subnormals are right; no reciprocal estimates.
 * Polynomials are minimax fits (weighted for relative error, coefficients rounded to float one by one from the lowest,
 * the rest fitted again). Some functions go through doubles for a few steps, where a float would have to be carried in
 * two parts. */
#ifndef KG_VEC_MATH_H
#define KG_VEC_MATH_H

#include "vec/math_erf.h"
#include "vec/math_exp.h"
#include "vec/math_inverse.h"
#include "vec/math_log.h"
#include "vec/math_remainder.h"
#include "vec/math_trig.h"

VEC_INLINE vec_f32 vec_rsqrt(vec_f32 x) { return vec_div(vec_set(1.0f), vec_sqrt(x)); }
VEC_INLINE vec_f32 vec_reciprocal(vec_f32 x) { return vec_div(vec_set(1.0f), x); }

VEC16_MAP1(vec16_exp, vec_exp)
VEC16_MAP1(vec16_log, vec_log)
VEC16_MAP1(vec16_tanh, vec_tanh)
VEC16_MAP1(vec16_sigmoid, vec_sigmoid)

#endif
