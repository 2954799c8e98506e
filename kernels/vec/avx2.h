/* AVX2 with FMA and F16C: 8 lanes, a mask is a vector of all ones or zeros. */
#ifndef KG_VEC_AVX2_H
#define KG_VEC_AVX2_H

#include <immintrin.h>

#define VEC_LANES 8
#define VEC_HAS_FMA 1
typedef __m256 vec_f32;
typedef __m256i vec_i32;
typedef __m256d vec_f64;
typedef __m256 vec_mask;

/* ---- Memory ---- */
/* Lanes below n, from a window on eight ones and eight zeros. */
VEC_INLINE __m256i vec_first_i32(int64_t n) {
    static const int32_t window[16] = {-1, -1, -1, -1, -1, -1, -1, -1};
    int64_t lanes = n >= 8 ? 8 : n <= 0 ? 0 : n;
    return _mm256_loadu_si256((const __m256i *)(window + 8 - lanes));
}
VEC_INLINE vec_mask vec_first(int64_t n) { return _mm256_castsi256_ps(vec_first_i32(n)); }
VEC_INLINE vec_f32 vec_loadu(const float *p) { return _mm256_loadu_ps(p); }
VEC_INLINE void vec_storeu(float *p, vec_f32 v) { _mm256_storeu_ps(p, v); }
VEC_INLINE vec_i32 vec_loadu_i32(const int32_t *p) { return _mm256_loadu_si256((const __m256i *)p); }
VEC_INLINE void vec_storeu_i32(int32_t *p, vec_i32 v) { _mm256_storeu_si256((__m256i *)p, v); }
VEC_INLINE vec_f32 vec_load_tail(const float *p, int64_t n) { return _mm256_maskload_ps(p, vec_first_i32(n)); }
/* In up to three pieces: AMD's processors take a masked store apart into some twenty operations. */
VEC_INLINE void vec_store_tail(float *p, vec_f32 v, int64_t n) {
    __m128 rest = _mm256_castps256_ps128(v);
    if (n <= 0) return;
    if (n >= 8) {
        _mm256_storeu_ps(p, v);
        return;
    }
    if (n & 4) _mm_storeu_ps(p, rest), rest = _mm256_extractf128_ps(v, 1), p += 4;
    if (n & 2) _mm_storel_pi((__m64 *)p, rest), rest = _mm_movehl_ps(rest, rest), p += 2;
    if (n & 1) _mm_store_ss(p, rest);
}
VEC_INLINE void vec_stream(float *p, vec_f32 v) { _mm256_stream_ps(p, v); }
VEC_INLINE vec_f32 vec_gather(const float *p, vec_i32 index) { return _mm256_i32gather_ps(p, index, 4); }
VEC_INLINE vec_i32 vec_gather_i32(const int32_t *p, vec_i32 index) { return _mm256_i32gather_epi32(p, index, 4); }
VEC_INLINE vec_mask vec_loadu_bool(const uint8_t *p) {
    __m256i wide = _mm256_cvtepu8_epi32(_mm_loadl_epi64((const __m128i *)p));
    return _mm256_castsi256_ps(_mm256_cmpgt_epi32(wide, _mm256_setzero_si256()));
}
VEC_INLINE void vec_storeu_bool(uint8_t *p, vec_mask m) {
    __m256i all = _mm256_castps_si256(m);
    __m128i half = _mm_packs_epi32(_mm256_castsi256_si128(all), _mm256_extracti128_si256(all, 1));
    _mm_storel_epi64((__m128i *)p, _mm_abs_epi8(_mm_packs_epi16(half, half)));
}
VEC_INLINE vec_f32 vec_loadu_bf16(const uint16_t *p) {
    return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(_mm_loadu_si128((const __m128i *)p)), 16));
}
VEC_INLINE void vec_storeu_u16(uint16_t *p, vec_i32 v) {
    __m256i packed = _mm256_permute4x64_epi64(_mm256_packus_epi32(v, v), 0x08);
    _mm_storeu_si128((__m128i *)p, _mm256_castsi256_si128(packed));
}

/* ---- Bits of floats ---- */
VEC_INLINE vec_f32 vec_set(float x) { return _mm256_set1_ps(x); }
VEC_INLINE float vec_lane0(vec_f32 a) { return _mm256_cvtss_f32(a); }
VEC_INLINE vec_i32 vec_bits(vec_f32 a) { return _mm256_castps_si256(a); }
VEC_INLINE vec_f32 vec_from_bits(vec_i32 a) { return _mm256_castsi256_ps(a); }
VEC_INLINE vec_f32 vec_and(vec_f32 a, vec_f32 b) { return _mm256_and_ps(a, b); }
VEC_INLINE vec_f32 vec_or(vec_f32 a, vec_f32 b) { return _mm256_or_ps(a, b); }
VEC_INLINE vec_f32 vec_xor(vec_f32 a, vec_f32 b) { return _mm256_xor_ps(a, b); }
VEC_INLINE vec_f32 vec_andnot(vec_f32 a, vec_f32 b) { return _mm256_andnot_ps(b, a); }
VEC_INLINE vec_f32 vec_abs(vec_f32 a) { return _mm256_andnot_ps(_mm256_set1_ps(-0.0f), a); }
VEC_INLINE vec_f32 vec_neg(vec_f32 a) { return _mm256_xor_ps(a, _mm256_set1_ps(-0.0f)); }
VEC_INLINE vec_f32 vec_copysign(vec_f32 a, vec_f32 s) {
    const __m256 sign = _mm256_set1_ps(-0.0f);
    return _mm256_or_ps(_mm256_and_ps(sign, s), _mm256_andnot_ps(sign, a));
}

/* ---- Arithmetic ---- */
VEC_INLINE vec_f32 vec_add(vec_f32 a, vec_f32 b) { return _mm256_add_ps(a, b); }
VEC_INLINE vec_f32 vec_sub(vec_f32 a, vec_f32 b) { return _mm256_sub_ps(a, b); }
VEC_INLINE vec_f32 vec_mul(vec_f32 a, vec_f32 b) { return _mm256_mul_ps(a, b); }
VEC_INLINE vec_f32 vec_div(vec_f32 a, vec_f32 b) { return _mm256_div_ps(a, b); }
VEC_INLINE vec_f32 vec_fma(vec_f32 a, vec_f32 b, vec_f32 c) { return _mm256_fmadd_ps(a, b, c); }
/* acc += a b where acc is: the compiler's choice among the forms of the instruction costs moves, and registers. */
#define VEC_ACCUMULATE(acc, a, b) __asm__("vfmadd231ps %2, %1, %0" : "+x"(acc) : "x"(a), "x"(b))
#define VEC_F64_ACCUMULATE(acc, a, b) __asm__("vfmadd231pd %2, %1, %0" : "+x"(acc) : "x"(a), "x"(b))
VEC_INLINE vec_f32 vec_fnma(vec_f32 a, vec_f32 b, vec_f32 c) { return _mm256_fnmadd_ps(a, b, c); }
VEC_INLINE vec_f32 vec_max(vec_f32 a, vec_f32 b) { return _mm256_max_ps(a, b); }
VEC_INLINE vec_f32 vec_min(vec_f32 a, vec_f32 b) { return _mm256_min_ps(a, b); }
VEC_INLINE vec_f32 vec_sqrt(vec_f32 a) { return _mm256_sqrt_ps(a); }
VEC_INLINE vec_f32 vec_round(vec_f32 a) { return _mm256_round_ps(a, 8); }
VEC_INLINE vec_f32 vec_floor(vec_f32 a) { return _mm256_round_ps(a, 9); }
VEC_INLINE vec_f32 vec_ceil(vec_f32 a) { return _mm256_round_ps(a, 10); }
VEC_INLINE vec_f32 vec_trunc(vec_f32 a) { return _mm256_round_ps(a, 11); }
/* In two steps, for 2^n itself may lie outside of the normal range; the first multiplication is exact. */
VEC_INLINE vec_f32 vec_ldexp(vec_f32 x, vec_f32 n) {
    __m256i whole = _mm256_cvtps_epi32(n), half = _mm256_srai_epi32(whole, 1), bias = _mm256_set1_epi32(127);
    __m256i first = _mm256_slli_epi32(_mm256_add_epi32(half, bias), 23);
    __m256i second = _mm256_slli_epi32(_mm256_add_epi32(_mm256_sub_epi32(whole, half), bias), 23);
    return _mm256_mul_ps(_mm256_mul_ps(x, _mm256_castsi256_ps(first)), _mm256_castsi256_ps(second));
}

/* ---- Masks ---- */
VEC_INLINE vec_mask vec_lt(vec_f32 a, vec_f32 b) { return _mm256_cmp_ps(a, b, _CMP_LT_OQ); }
VEC_INLINE vec_mask vec_le(vec_f32 a, vec_f32 b) { return _mm256_cmp_ps(a, b, _CMP_LE_OQ); }
VEC_INLINE vec_mask vec_gt(vec_f32 a, vec_f32 b) { return _mm256_cmp_ps(a, b, _CMP_GT_OQ); }
VEC_INLINE vec_mask vec_ge(vec_f32 a, vec_f32 b) { return _mm256_cmp_ps(a, b, _CMP_GE_OQ); }
VEC_INLINE vec_mask vec_eq(vec_f32 a, vec_f32 b) { return _mm256_cmp_ps(a, b, _CMP_EQ_OQ); }
VEC_INLINE vec_mask vec_ne(vec_f32 a, vec_f32 b) { return _mm256_cmp_ps(a, b, _CMP_NEQ_UQ); }
VEC_INLINE vec_f32 vec_select(vec_mask m, vec_f32 a, vec_f32 b) { return _mm256_blendv_ps(b, a, m); }
VEC_INLINE vec_mask vec_mask_and(vec_mask a, vec_mask b) { return _mm256_and_ps(a, b); }
VEC_INLINE vec_mask vec_mask_or(vec_mask a, vec_mask b) { return _mm256_or_ps(a, b); }
VEC_INLINE vec_mask vec_mask_xor(vec_mask a, vec_mask b) { return _mm256_xor_ps(a, b); }
VEC_INLINE vec_mask vec_mask_andnot(vec_mask a, vec_mask b) { return _mm256_andnot_ps(b, a); }
VEC_INLINE vec_mask vec_mask_not(vec_mask a) { return _mm256_xor_ps(a, _mm256_castsi256_ps(_mm256_set1_epi32(-1))); }
VEC_INLINE int vec_any(vec_mask m) { return _mm256_movemask_ps(m) != 0; }
VEC_INLINE int vec_all(vec_mask m) { return _mm256_movemask_ps(m) == 0xff; }

/* ---- Integers ---- */
VEC_INLINE vec_i32 vec_i32_set(int32_t x) { return _mm256_set1_epi32(x); }
VEC_INLINE vec_i32 vec_i32_add(vec_i32 a, vec_i32 b) { return _mm256_add_epi32(a, b); }
VEC_INLINE vec_i32 vec_i32_sub(vec_i32 a, vec_i32 b) { return _mm256_sub_epi32(a, b); }
VEC_INLINE vec_i32 vec_i32_max(vec_i32 a, vec_i32 b) { return _mm256_max_epi32(a, b); }
VEC_INLINE vec_i32 vec_i32_min(vec_i32 a, vec_i32 b) { return _mm256_min_epi32(a, b); }
VEC_INLINE vec_i32 vec_i32_mul(vec_i32 a, vec_i32 b) { return _mm256_mullo_epi32(a, b); }
VEC_INLINE vec_i32 vec_i32_umulhi(vec_i32 a, vec_i32 b) {
    __m256i even = _mm256_srli_epi64(_mm256_mul_epu32(a, b), 32);
    __m256i odd = _mm256_mul_epu32(_mm256_srli_epi64(a, 32), _mm256_srli_epi64(b, 32));
    return _mm256_blend_epi32(even, odd, 0xaa);
}
VEC_INLINE vec_i32 vec_i32_and(vec_i32 a, vec_i32 b) { return _mm256_and_si256(a, b); }
VEC_INLINE vec_i32 vec_i32_or(vec_i32 a, vec_i32 b) { return _mm256_or_si256(a, b); }
VEC_INLINE vec_i32 vec_i32_xor(vec_i32 a, vec_i32 b) { return _mm256_xor_si256(a, b); }
VEC_INLINE vec_i32 vec_i32_andnot(vec_i32 a, vec_i32 b) { return _mm256_andnot_si256(b, a); }
VEC_INLINE vec_i32 vec_i32_shl(vec_i32 a, int count) { return _mm256_slli_epi32(a, count); }
VEC_INLINE vec_i32 vec_i32_shr(vec_i32 a, int count) { return _mm256_srli_epi32(a, count); }
VEC_INLINE vec_i32 vec_i32_sar(vec_i32 a, int count) { return _mm256_srai_epi32(a, count); }
VEC_INLINE vec_mask vec_i32_eq(vec_i32 a, vec_i32 b) { return _mm256_castsi256_ps(_mm256_cmpeq_epi32(a, b)); }
VEC_INLINE vec_mask vec_i32_gt(vec_i32 a, vec_i32 b) { return _mm256_castsi256_ps(_mm256_cmpgt_epi32(a, b)); }
VEC_INLINE vec_mask vec_i32_lt(vec_i32 a, vec_i32 b) { return _mm256_castsi256_ps(_mm256_cmpgt_epi32(b, a)); }
VEC_INLINE vec_i32 vec_i32_select(vec_mask m, vec_i32 a, vec_i32 b) {
    return _mm256_blendv_epi8(b, a, _mm256_castps_si256(m));
}
VEC_INLINE vec_i32 vec_to_i32(vec_f32 a) { return _mm256_cvtps_epi32(a); }
VEC_INLINE vec_i32 vec_trunc_i32(vec_f32 a) { return _mm256_cvttps_epi32(a); }
VEC_INLINE vec_f32 vec_from_i32(vec_i32 a) { return _mm256_cvtepi32_ps(a); }

/* ---- Doubles ---- */
VEC_INLINE vec_f64 vec_f64_lo(vec_f32 a) { return _mm256_cvtps_pd(_mm256_castps256_ps128(a)); }
VEC_INLINE vec_f64 vec_f64_hi(vec_f32 a) { return _mm256_cvtps_pd(_mm256_extractf128_ps(a, 1)); }
VEC_INLINE vec_f32 vec_f64_join(vec_f64 lo, vec_f64 hi) {
    return _mm256_insertf128_ps(_mm256_castps128_ps256(_mm256_cvtpd_ps(lo)), _mm256_cvtpd_ps(hi), 1);
}
VEC_INLINE vec_f64 vec_f64_set(double x) { return _mm256_set1_pd(x); }
VEC_INLINE vec_f64 vec_f64_add(vec_f64 a, vec_f64 b) { return _mm256_add_pd(a, b); }
VEC_INLINE vec_f64 vec_f64_sub(vec_f64 a, vec_f64 b) { return _mm256_sub_pd(a, b); }
VEC_INLINE vec_f64 vec_f64_mul(vec_f64 a, vec_f64 b) { return _mm256_mul_pd(a, b); }
VEC_INLINE vec_f64 vec_f64_div(vec_f64 a, vec_f64 b) { return _mm256_div_pd(a, b); }
VEC_INLINE vec_f64 vec_f64_fma(vec_f64 a, vec_f64 b, vec_f64 c) { return _mm256_fmadd_pd(a, b, c); }
VEC_INLINE vec_f64 vec_f64_fnma(vec_f64 a, vec_f64 b, vec_f64 c) { return _mm256_fnmadd_pd(a, b, c); }
VEC_INLINE vec_f64 vec_f64_max(vec_f64 a, vec_f64 b) { return _mm256_max_pd(a, b); }
VEC_INLINE vec_f64 vec_f64_min(vec_f64 a, vec_f64 b) { return _mm256_min_pd(a, b); }
VEC_INLINE vec_f64 vec_f64_sqrt(vec_f64 a) { return _mm256_sqrt_pd(a); }
VEC_INLINE vec_f64 vec_f64_abs(vec_f64 a) { return _mm256_andnot_pd(_mm256_set1_pd(-0.0), a); }
VEC_INLINE vec_f64 vec_f64_round(vec_f64 a) { return _mm256_round_pd(a, 8); }

/* ---- Inside a vector ---- */
VEC_INLINE vec_f32 vec_down(vec_f32 v, int k) {
    return k == 4   ? _mm256_permute2f128_ps(v, v, 0x01)
           : k == 2 ? _mm256_permute_ps(v, 0x0e)
                    : _mm256_permute_ps(v, 0x01);
}

VEC_INLINE vec_f32 vec_even(vec_f32 a, vec_f32 b) {
    __m256 mixed = _mm256_shuffle_ps(a, b, 0x88); /* a0 a2 b0 b2 a4 a6 b4 b6 */
    return _mm256_castpd_ps(_mm256_permute4x64_pd(_mm256_castps_pd(mixed), 0xd8));
}
VEC_INLINE vec_f32 vec_odd(vec_f32 a, vec_f32 b) {
    return _mm256_castpd_ps(_mm256_permute4x64_pd(_mm256_castps_pd(_mm256_shuffle_ps(a, b, 0xdd)), 0xd8));
}
VEC_INLINE vec_f32 vec_zip_lo(vec_f32 even, vec_f32 odd) {
    return _mm256_permute2f128_ps(_mm256_unpacklo_ps(even, odd), _mm256_unpackhi_ps(even, odd), 0x20);
}
VEC_INLINE vec_f32 vec_zip_hi(vec_f32 even, vec_f32 odd) {
    return _mm256_permute2f128_ps(_mm256_unpacklo_ps(even, odd), _mm256_unpackhi_ps(even, odd), 0x31);
}
VEC_INLINE vec_f32 vec_permute2(vec_f32 a, vec_f32 b, vec_i32 index) {
    vec_mask second = _mm256_castsi256_ps(_mm256_slli_epi32(index, 28)); /* bit 3 as the sign */
    return _mm256_blendv_ps(_mm256_permutevar8x32_ps(a, index), _mm256_permutevar8x32_ps(b, index), second);
}
/* Any of 8 in memory, by the low three bits of the index. */
#define VEC_HAS_TABLE8 1
VEC_INLINE vec_f32 vec_table8(const float *table, vec_i32 index) {
    return _mm256_permutevar8x32_ps(_mm256_loadu_ps(table), index);
}
VEC_INLINE vec_f32 vec_table16(const float *table, vec_i32 index) {
    return vec_permute2(_mm256_loadu_ps(table), _mm256_loadu_ps(table + 8), index);
}

/* ---- Bytes ---- */
VEC_INLINE vec_i32 vec_widen_u8(uint64_t bytes) { return _mm256_cvtepu8_epi32(_mm_cvtsi64_si128((int64_t)bytes)); }
VEC_INLINE uint64_t vec_narrow_u8(vec_i32 v) {
    __m128i half = _mm_packus_epi32(_mm256_castsi256_si128(v), _mm256_extracti128_si256(v, 1));
    return (uint64_t)_mm_cvtsi128_si64(_mm_packus_epi16(half, half));
}

#endif
