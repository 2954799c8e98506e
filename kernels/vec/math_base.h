/* What the files of vec_math.h share: polynomials. */
#ifndef KG_VEC_MATH_BASE_H
#define KG_VEC_MATH_BASE_H

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

#endif
