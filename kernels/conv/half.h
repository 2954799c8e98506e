/* Vectors of half the width, where an instruction set does twice as many of them: for tiles of few columns. */
#ifndef KG_CONV_HALF_H
#define KG_CONV_HALF_H

#include "vec/vec.h"

#if defined KG_ISA_avx512
#define HALF_LANES 8
typedef __m256 half_f32;
VEC_INLINE half_f32 half_zero(void) { return _mm256_setzero_ps(); }
VEC_INLINE half_f32 half_set(float x) { return _mm256_set1_ps(x); }
VEC_INLINE half_f32 half_add(half_f32 a, half_f32 b) { return _mm256_add_ps(a, b); }
VEC_INLINE half_f32 half_max(half_f32 a, half_f32 b) { return _mm256_max_ps(a, b); }
VEC_INLINE half_f32 half_fma(half_f32 a, half_f32 b, half_f32 c) { return _mm256_fmadd_ps(a, b, c); }
VEC_INLINE half_f32 half_loadu(const float *p) { return _mm256_loadu_ps(p); }
VEC_INLINE void half_storeu(float *p, half_f32 v) { _mm256_storeu_ps(p, v); }
VEC_INLINE half_f32 half_load_tail(const float *p, int64_t n) {
    return _mm256_maskz_loadu_ps((__mmask8)vec_first(n), p);
}
VEC_INLINE half_f32 half_load(const float *p, int64_t n) {
    return n >= HALF_LANES ? _mm256_loadu_ps(p) : half_load_tail(p, n);
}
VEC_INLINE void half_store(float *p, half_f32 v, int64_t n) {
    if (n >= HALF_LANES)
        _mm256_storeu_ps(p, v);
    else
        _mm256_mask_storeu_ps(p, (__mmask8)vec_first(n), v);
}
#endif

#endif
