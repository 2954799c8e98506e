/* AVX-512 (f, bw, vl, dq): 16 lanes, masks in their own registers. */
#ifndef KG_VEC_AVX512_H
#define KG_VEC_AVX512_H

#include <immintrin.h>
#if defined __GNUC__ && !defined __clang__
/* GCC 12 takes the deliberately undefined pass-through operand inside its own intrinsics for a mistake of ours. */
#pragma GCC diagnostic ignored "-Wuninitialized"
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"
#endif

#define VEC_LANES 16
#define VEC_HAS_FMA 1
#define VEC_HAS_PACK 1
typedef __m512 vec_f32;
typedef __m512i vec_i32;
typedef __m512d vec_f64;
typedef __mmask16 vec_mask;

/* ---- Memory ---- */
VEC_INLINE vec_mask vec_first(int64_t n) {
    return n >= 16 ? (vec_mask)0xffff : n <= 0 ? (vec_mask)0 : (vec_mask)_bzhi_u32(0xffff, (unsigned)n);
}
VEC_INLINE vec_f32 vec_loadu(const float *p) { return _mm512_loadu_ps(p); }
VEC_INLINE void vec_storeu(float *p, vec_f32 v) { _mm512_storeu_ps(p, v); }
VEC_INLINE vec_i32 vec_loadu_i32(const int32_t *p) { return _mm512_loadu_si512(p); }
VEC_INLINE void vec_storeu_i32(int32_t *p, vec_i32 v) { _mm512_storeu_si512(p, v); }
VEC_INLINE vec_f32 vec_load_tail(const float *p, int64_t n) { return _mm512_maskz_loadu_ps(vec_first(n), p); }
VEC_INLINE void vec_store_tail(float *p, vec_f32 v, int64_t n) { _mm512_mask_storeu_ps(p, vec_first(n), v); }
VEC_INLINE void vec_stream(float *p, vec_f32 v) { _mm512_stream_ps(p, v); }
VEC_INLINE vec_f32 vec_gather(const float *p, vec_i32 index) { return _mm512_i32gather_ps(index, p, 4); }
VEC_INLINE vec_i32 vec_gather_i32(const int32_t *p, vec_i32 index) { return _mm512_i32gather_epi32(index, p, 4); }
VEC_INLINE vec_mask vec_loadu_bool(const uint8_t *p) {
    __m128i bytes = _mm_loadu_si128((const __m128i *)p);
    return _mm_test_epi8_mask(bytes, bytes);
}
VEC_INLINE void vec_storeu_bool(uint8_t *p, vec_mask m) { _mm_storeu_si128((__m128i *)p, _mm_maskz_set1_epi8(m, 1)); }
VEC_INLINE vec_f32 vec_loadu_bf16(const uint16_t *p) {
    return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(_mm256_loadu_si256((const __m256i *)p)), 16));
}
VEC_INLINE void vec_storeu_u16(uint16_t *p, vec_i32 v) { _mm256_storeu_si256((__m256i *)p, _mm512_cvtepi32_epi16(v)); }

/* ---- Arithmetic ---- */
VEC_INLINE vec_f32 vec_set(float x) { return _mm512_set1_ps(x); }
VEC_INLINE float vec_lane0(vec_f32 a) { return _mm512_cvtss_f32(a); }
VEC_INLINE vec_f32 vec_add(vec_f32 a, vec_f32 b) { return _mm512_add_ps(a, b); }
VEC_INLINE vec_f32 vec_sub(vec_f32 a, vec_f32 b) { return _mm512_sub_ps(a, b); }
VEC_INLINE vec_f32 vec_mul(vec_f32 a, vec_f32 b) { return _mm512_mul_ps(a, b); }
VEC_INLINE vec_f32 vec_div(vec_f32 a, vec_f32 b) { return _mm512_div_ps(a, b); }
VEC_INLINE vec_f32 vec_fma(vec_f32 a, vec_f32 b, vec_f32 c) { return _mm512_fmadd_ps(a, b, c); }
VEC_INLINE vec_f32 vec_fnma(vec_f32 a, vec_f32 b, vec_f32 c) { return _mm512_fnmadd_ps(a, b, c); }
VEC_INLINE vec_f32 vec_max(vec_f32 a, vec_f32 b) { return _mm512_max_ps(a, b); }
VEC_INLINE vec_f32 vec_min(vec_f32 a, vec_f32 b) { return _mm512_min_ps(a, b); }
VEC_INLINE vec_f32 vec_sqrt(vec_f32 a) { return _mm512_sqrt_ps(a); }
VEC_INLINE vec_f32 vec_round(vec_f32 a) { return _mm512_roundscale_ps(a, 8); }
VEC_INLINE vec_f32 vec_floor(vec_f32 a) { return _mm512_roundscale_ps(a, 9); }
VEC_INLINE vec_f32 vec_ceil(vec_f32 a) { return _mm512_roundscale_ps(a, 10); }
VEC_INLINE vec_f32 vec_trunc(vec_f32 a) { return _mm512_roundscale_ps(a, 11); }
VEC_INLINE vec_f32 vec_ldexp(vec_f32 x, vec_f32 n) { return _mm512_scalef_ps(x, n); }

/* ---- Bits of floats ---- */
VEC_INLINE vec_i32 vec_bits(vec_f32 a) { return _mm512_castps_si512(a); }
VEC_INLINE vec_f32 vec_from_bits(vec_i32 a) { return _mm512_castsi512_ps(a); }
VEC_INLINE vec_f32 vec_and(vec_f32 a, vec_f32 b) { return _mm512_and_ps(a, b); }
VEC_INLINE vec_f32 vec_or(vec_f32 a, vec_f32 b) { return _mm512_or_ps(a, b); }
VEC_INLINE vec_f32 vec_xor(vec_f32 a, vec_f32 b) { return _mm512_xor_ps(a, b); }
VEC_INLINE vec_f32 vec_andnot(vec_f32 a, vec_f32 b) { return _mm512_andnot_ps(b, a); }
VEC_INLINE vec_f32 vec_abs(vec_f32 a) { return _mm512_andnot_ps(_mm512_set1_ps(-0.0f), a); }
VEC_INLINE vec_f32 vec_neg(vec_f32 a) { return _mm512_xor_ps(a, _mm512_set1_ps(-0.0f)); }
/* |a| with the sign of s: one ternary-logic instruction, (sign & s) | (~sign & a). */
VEC_INLINE vec_f32 vec_copysign(vec_f32 a, vec_f32 s) {
    const __m512i sign = _mm512_set1_epi32((int)0x80000000u);
    return _mm512_castsi512_ps(_mm512_ternarylogic_epi32(sign, _mm512_castps_si512(s), _mm512_castps_si512(a), 0xca));
}

/* ---- Masks ---- */
VEC_INLINE vec_mask vec_lt(vec_f32 a, vec_f32 b) { return _mm512_cmp_ps_mask(a, b, _CMP_LT_OQ); }
VEC_INLINE vec_mask vec_le(vec_f32 a, vec_f32 b) { return _mm512_cmp_ps_mask(a, b, _CMP_LE_OQ); }
VEC_INLINE vec_mask vec_gt(vec_f32 a, vec_f32 b) { return _mm512_cmp_ps_mask(a, b, _CMP_GT_OQ); }
VEC_INLINE vec_mask vec_ge(vec_f32 a, vec_f32 b) { return _mm512_cmp_ps_mask(a, b, _CMP_GE_OQ); }
VEC_INLINE vec_mask vec_eq(vec_f32 a, vec_f32 b) { return _mm512_cmp_ps_mask(a, b, _CMP_EQ_OQ); }
VEC_INLINE vec_mask vec_ne(vec_f32 a, vec_f32 b) { return _mm512_cmp_ps_mask(a, b, _CMP_NEQ_UQ); }
VEC_INLINE vec_f32 vec_select(vec_mask m, vec_f32 a, vec_f32 b) { return _mm512_mask_blend_ps(m, b, a); }
VEC_INLINE vec_mask vec_mask_and(vec_mask a, vec_mask b) { return (vec_mask)(a & b); }
VEC_INLINE vec_mask vec_mask_or(vec_mask a, vec_mask b) { return (vec_mask)(a | b); }
VEC_INLINE vec_mask vec_mask_xor(vec_mask a, vec_mask b) { return (vec_mask)(a ^ b); }
VEC_INLINE vec_mask vec_mask_andnot(vec_mask a, vec_mask b) { return (vec_mask)(a & ~b); }
VEC_INLINE vec_mask vec_mask_not(vec_mask a) { return (vec_mask)~a; }
VEC_INLINE int vec_any(vec_mask m) { return m != 0; }
VEC_INLINE int vec_all(vec_mask m) { return m == 0xffff; }

/* ---- Integers ---- */
VEC_INLINE vec_i32 vec_i32_set(int32_t x) { return _mm512_set1_epi32(x); }
VEC_INLINE vec_i32 vec_i32_add(vec_i32 a, vec_i32 b) { return _mm512_add_epi32(a, b); }
VEC_INLINE vec_i32 vec_i32_sub(vec_i32 a, vec_i32 b) { return _mm512_sub_epi32(a, b); }
VEC_INLINE vec_i32 vec_i32_max(vec_i32 a, vec_i32 b) { return _mm512_max_epi32(a, b); }
VEC_INLINE vec_i32 vec_i32_min(vec_i32 a, vec_i32 b) { return _mm512_min_epi32(a, b); }
VEC_INLINE vec_i32 vec_i32_mul(vec_i32 a, vec_i32 b) { return _mm512_mullo_epi32(a, b); }
VEC_INLINE vec_i32 vec_i32_umulhi(vec_i32 a, vec_i32 b) {
    __m512i even = _mm512_srli_epi64(_mm512_mul_epu32(a, b), 32);
    __m512i odd = _mm512_mul_epu32(_mm512_srli_epi64(a, 32), _mm512_srli_epi64(b, 32));
    return _mm512_mask_blend_epi32(0xaaaa, even, odd);
}
VEC_INLINE vec_i32 vec_i32_and(vec_i32 a, vec_i32 b) { return _mm512_and_si512(a, b); }
VEC_INLINE vec_i32 vec_i32_or(vec_i32 a, vec_i32 b) { return _mm512_or_si512(a, b); }
VEC_INLINE vec_i32 vec_i32_xor(vec_i32 a, vec_i32 b) { return _mm512_xor_si512(a, b); }
VEC_INLINE vec_i32 vec_i32_andnot(vec_i32 a, vec_i32 b) { return _mm512_andnot_si512(b, a); }
VEC_INLINE vec_i32 vec_i32_shl(vec_i32 a, int count) { return _mm512_slli_epi32(a, (unsigned)count); }
VEC_INLINE vec_i32 vec_i32_shr(vec_i32 a, int count) { return _mm512_srli_epi32(a, (unsigned)count); }
VEC_INLINE vec_i32 vec_i32_sar(vec_i32 a, int count) { return _mm512_srai_epi32(a, (unsigned)count); }
VEC_INLINE vec_mask vec_i32_eq(vec_i32 a, vec_i32 b) { return _mm512_cmpeq_epi32_mask(a, b); }
VEC_INLINE vec_mask vec_i32_gt(vec_i32 a, vec_i32 b) { return _mm512_cmpgt_epi32_mask(a, b); }
VEC_INLINE vec_mask vec_i32_lt(vec_i32 a, vec_i32 b) { return _mm512_cmplt_epi32_mask(a, b); }
VEC_INLINE vec_i32 vec_i32_select(vec_mask m, vec_i32 a, vec_i32 b) { return _mm512_mask_blend_epi32(m, b, a); }
VEC_INLINE vec_i32 vec_to_i32(vec_f32 a) { return _mm512_cvtps_epi32(a); }
VEC_INLINE vec_i32 vec_trunc_i32(vec_f32 a) { return _mm512_cvttps_epi32(a); }
VEC_INLINE vec_f32 vec_from_i32(vec_i32 a) { return _mm512_cvtepi32_ps(a); }

/* ---- Doubles ---- */
VEC_INLINE vec_f64 vec_f64_lo(vec_f32 a) { return _mm512_cvtps_pd(_mm512_castps512_ps256(a)); }
VEC_INLINE vec_f64 vec_f64_hi(vec_f32 a) { return _mm512_cvtps_pd(_mm512_extractf32x8_ps(a, 1)); }
VEC_INLINE vec_f32 vec_f64_join(vec_f64 lo, vec_f64 hi) {
    return _mm512_insertf32x8(_mm512_castps256_ps512(_mm512_cvtpd_ps(lo)), _mm512_cvtpd_ps(hi), 1);
}
VEC_INLINE vec_f64 vec_f64_set(double x) { return _mm512_set1_pd(x); }
VEC_INLINE vec_f64 vec_f64_add(vec_f64 a, vec_f64 b) { return _mm512_add_pd(a, b); }
VEC_INLINE vec_f64 vec_f64_sub(vec_f64 a, vec_f64 b) { return _mm512_sub_pd(a, b); }
VEC_INLINE vec_f64 vec_f64_mul(vec_f64 a, vec_f64 b) { return _mm512_mul_pd(a, b); }
VEC_INLINE vec_f64 vec_f64_div(vec_f64 a, vec_f64 b) { return _mm512_div_pd(a, b); }
VEC_INLINE vec_f64 vec_f64_fma(vec_f64 a, vec_f64 b, vec_f64 c) { return _mm512_fmadd_pd(a, b, c); }
VEC_INLINE vec_f64 vec_f64_fnma(vec_f64 a, vec_f64 b, vec_f64 c) { return _mm512_fnmadd_pd(a, b, c); }
VEC_INLINE vec_f64 vec_f64_max(vec_f64 a, vec_f64 b) { return _mm512_max_pd(a, b); }
VEC_INLINE vec_f64 vec_f64_min(vec_f64 a, vec_f64 b) { return _mm512_min_pd(a, b); }
VEC_INLINE vec_f64 vec_f64_sqrt(vec_f64 a) { return _mm512_sqrt_pd(a); }
VEC_INLINE vec_f64 vec_f64_abs(vec_f64 a) { return _mm512_andnot_pd(_mm512_set1_pd(-0.0), a); }
VEC_INLINE vec_f64 vec_f64_round(vec_f64 a) { return _mm512_roundscale_pd(a, 8); }

/* ---- Inside a vector ---- */
VEC_INLINE vec_f32 vec_down(vec_f32 v, int k) {
    return k == 8   ? _mm512_shuffle_f32x4(v, v, 0x0e)
           : k == 4 ? _mm512_shuffle_f32x4(v, v, 0x01)
           : k == 2 ? _mm512_permute_ps(v, 0x0e)
                    : _mm512_permute_ps(v, 0x01);
}

/* Of the 32 lanes a, b: those of even and of odd number; and the way back. */
VEC_INLINE vec_f32 vec_even(vec_f32 a, vec_f32 b) {
    const __m512i index = _mm512_setr_epi32(0, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 22, 24, 26, 28, 30);
    return _mm512_permutex2var_ps(a, index, b);
}
VEC_INLINE vec_f32 vec_odd(vec_f32 a, vec_f32 b) {
    const __m512i index = _mm512_setr_epi32(1, 3, 5, 7, 9, 11, 13, 15, 17, 19, 21, 23, 25, 27, 29, 31);
    return _mm512_permutex2var_ps(a, index, b);
}
VEC_INLINE vec_f32 vec_zip_lo(vec_f32 even, vec_f32 odd) {
    const __m512i index = _mm512_setr_epi32(0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23);
    return _mm512_permutex2var_ps(even, index, odd);
}
VEC_INLINE vec_f32 vec_zip_hi(vec_f32 even, vec_f32 odd) {
    const __m512i index = _mm512_setr_epi32(8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29, 14, 30, 15, 31);
    return _mm512_permutex2var_ps(even, index, odd);
}
/* Lane i is number index[i] of the 16 of a table, by the index's low four bits. */
VEC_INLINE vec_f32 vec_table16(const float *table, vec_i32 index) {
    return _mm512_permutexvar_ps(index, _mm512_loadu_ps(table));
}
VEC_INLINE int64_t vec_pack(float *p, vec_f32 v, vec_mask m) { /* by way of a register: to memory it is slow on Zen 4 */
    _mm512_storeu_ps(p, _mm512_maskz_compress_ps(m, v));
    return __builtin_popcount(m);
}
VEC_INLINE int64_t vec_unpack(const float *p, vec_f32 *v, vec_mask m) {
    *v = _mm512_mask_expand_ps(*v, m, _mm512_loadu_ps(p));
    return __builtin_popcount(m);
}
/* Lane i is number index[i] of the 32 lanes a, b. */
VEC_INLINE vec_f32 vec_permute2(vec_f32 a, vec_f32 b, vec_i32 index) { return _mm512_permutex2var_ps(a, index, b); }

/* ---- Bytes ---- */
VEC_INLINE vec_i32 vec_load_u8(const uint8_t *p, int64_t n) {
    return _mm512_cvtepu8_epi32(_mm_maskz_loadu_epi8(vec_first(n), p));
}
VEC_INLINE void vec_store_u8(uint8_t *p, vec_i32 v, int64_t n) {
    _mm_mask_storeu_epi8(p, vec_first(n), _mm512_cvtepi32_epi8(v));
}

#endif
