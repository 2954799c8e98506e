/* The functions of mathematics, one definition each, in the words of vec.h: the same bits on avx512, avx2 and neon.
 *
 * Worst errors over all 2^32 inputs stand in docs/accuracy.md (python -m kernelgrad.testing.every_float --full).
 * Everywhere: nan in, nan out; infinities, the sign of zero and subnormals are right; no reciprocal estimates.
 * Polynomials are minimax fits (weighted for relative error, coefficients rounded to float one by one from the lowest,
 * the rest fitted again). Some functions go through doubles for a few steps, where a float would have to be carried in
 * two parts. */
#ifndef KG_VEC_MATH_H
#define KG_VEC_MATH_H

#include "vec/vec.h"

/* c[0] + c[1] x + ... by Horner's rule; `c` is a constant array, the loop unrolls. */
#define VEC_POLY(x, c)                                                                                                \
    __extension__({                                                                                                   \
        vec_f32 poly_ = vec_set((c)[sizeof(c) / sizeof *(c) - 1]);                                                    \
        UNROLL                                                                                                        \
        for (int k_ = (int)(sizeof(c) / sizeof *(c)) - 2; k_ >= 0; k_--) poly_ = vec_fma(poly_, x, vec_set((c)[k_])); \
        poly_;                                                                                                        \
    })
#define VEC_POLY_F64(x, c)                                               \
    __extension__({                                                      \
        vec_f64 poly_ = vec_f64_set((c)[sizeof(c) / sizeof *(c) - 1]);   \
        UNROLL                                                           \
        for (int k_ = (int)(sizeof(c) / sizeof *(c)) - 2; k_ >= 0; k_--) \
            poly_ = vec_f64_fma(poly_, x, vec_f64_set((c)[k_]));         \
        poly_;                                                           \
    })

/* A float function lane by lane through the double one of the C library: rounded once more, so right to half an ulp and
 * the same everywhere, but slow. For what nobody calls in a loop. */
#define VEC_BY_LANE(name, expression)         \
    VEC_INLINE vec_f32 name(vec_f32 v) {      \
        float lane[VEC_LANES];                \
        vec_storeu(lane, v);                  \
        for (int i = 0; i < VEC_LANES; i++) { \
            double x = lane[i];               \
            lane[i] = (float)(expression);    \
        }                                     \
        return vec_loadu(lane);               \
    }

/* clang-format off: each rests on the ones before */
#include "vec/math_erf.h"
#include "vec/math_exp.h"
#include "vec/math_log.h"
#include "vec/math_trig.h"
/* clang-format on */

VEC_INLINE vec_f32 vec_rsqrt(vec_f32 x) { return vec_div(vec_set(1.0f), vec_sqrt(x)); }
VEC_INLINE vec_f32 vec_reciprocal(vec_f32 x) { return vec_div(vec_set(1.0f), x); }

VEC16_MAP1(vec16_exp, vec_exp)
VEC16_MAP1(vec16_log, vec_log)
VEC16_MAP1(vec16_tanh, vec_tanh)
VEC16_MAP1(vec16_sigmoid, vec_sigmoid)

#endif
