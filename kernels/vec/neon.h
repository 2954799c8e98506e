/* Advanced SIMD of arm64: four lanes, fma and rounding in every core. */
#ifndef KG_VEC_NEON_H
#define KG_VEC_NEON_H

#include <arm_neon.h>

#define VEC_LANES 4
#define VEC_HAS_FMA 1
typedef float32x4_t vec_f32;
typedef int32x4_t vec_i32;
typedef float64x2_t vec_f64;
typedef uint32x4_t vec_mask;

/* ---- Memory ---- */
VEC_INLINE vec_mask vec_first(int64_t n) {
    static const uint32_t window[8] = {~0u, ~0u, ~0u, ~0u};
    int64_t lanes = n >= 4 ? 4 : n <= 0 ? 0 : n;
    return vld1q_u32(window + 4 - lanes);
}
VEC_INLINE vec_f32 vec_loadu(const float *p) { return vld1q_f32(p); }
VEC_INLINE void vec_storeu(float *p, vec_f32 v) { vst1q_f32(p, v); }
VEC_INLINE vec_i32 vec_loadu_i32(const int32_t *p) { return vld1q_s32(p); }
VEC_INLINE void vec_storeu_i32(int32_t *p, vec_i32 v) { vst1q_s32(p, v); }
VEC_INLINE vec_f32 vec_load_tail(const float *p, int64_t n) {
    float part[4] = {0};
    if (n > 0) memcpy(part, p, (size_t)n * 4);
    return vld1q_f32(part);
}
VEC_INLINE void vec_store_tail(float *p, vec_f32 v, int64_t n) {
    float part[4];
    vst1q_f32(part, v);
    if (n > 0) memcpy(p, part, (size_t)n * 4);
}
VEC_INLINE void vec_stream(float *p, vec_f32 v) { vst1q_f32(p, v); }
VEC_INLINE vec_f32 vec_gather(const float *p, vec_i32 index) {
    float part[4] = {p[vgetq_lane_s32(index, 0)], p[vgetq_lane_s32(index, 1)], p[vgetq_lane_s32(index, 2)],
                     p[vgetq_lane_s32(index, 3)]};
    return vld1q_f32(part);
}
VEC_INLINE vec_i32 vec_gather_i32(const int32_t *p, vec_i32 index) {
    int32_t part[4] = {p[vgetq_lane_s32(index, 0)], p[vgetq_lane_s32(index, 1)], p[vgetq_lane_s32(index, 2)],
                       p[vgetq_lane_s32(index, 3)]};
    return vld1q_s32(part);
}
VEC_INLINE vec_mask vec_loadu_bool(const uint8_t *p) {
    uint32_t bytes;
    memcpy(&bytes, p, 4);
    uint32x4_t wide = vmovl_u16(vget_low_u16(vmovl_u8(vcreate_u8(bytes))));
    return vtstq_u32(wide, wide);
}
VEC_INLINE void vec_storeu_bool(uint8_t *p, vec_mask m) {
    uint16x4_t half = vmovn_u32(vandq_u32(m, vdupq_n_u32(1)));
    uint32_t bytes = vget_lane_u32(vreinterpret_u32_u8(vmovn_u16(vcombine_u16(half, half))), 0);
    memcpy(p, &bytes, 4);
}
VEC_INLINE vec_f32 vec_loadu_bf16(const uint16_t *p) { return vreinterpretq_f32_u32(vshll_n_u16(vld1_u16(p), 16)); }
VEC_INLINE void vec_storeu_u16(uint16_t *p, vec_i32 v) { vst1_u16(p, vmovn_u32(vreinterpretq_u32_s32(v))); }

/* ---- Bits of floats ---- */
VEC_INLINE vec_f32 vec_set(float x) { return vdupq_n_f32(x); }
VEC_INLINE float vec_lane0(vec_f32 a) { return vgetq_lane_f32(a, 0); }
VEC_INLINE vec_i32 vec_bits(vec_f32 a) { return vreinterpretq_s32_f32(a); }
VEC_INLINE vec_f32 vec_from_bits(vec_i32 a) { return vreinterpretq_f32_s32(a); }
VEC_INLINE vec_f32 vec_and(vec_f32 a, vec_f32 b) { return vec_from_bits(vandq_s32(vec_bits(a), vec_bits(b))); }
VEC_INLINE vec_f32 vec_or(vec_f32 a, vec_f32 b) { return vec_from_bits(vorrq_s32(vec_bits(a), vec_bits(b))); }
VEC_INLINE vec_f32 vec_xor(vec_f32 a, vec_f32 b) { return vec_from_bits(veorq_s32(vec_bits(a), vec_bits(b))); }
VEC_INLINE vec_f32 vec_andnot(vec_f32 a, vec_f32 b) { return vec_from_bits(vbicq_s32(vec_bits(a), vec_bits(b))); }
VEC_INLINE vec_f32 vec_abs(vec_f32 a) { return vabsq_f32(a); }
VEC_INLINE vec_f32 vec_neg(vec_f32 a) { return vnegq_f32(a); }
VEC_INLINE vec_f32 vec_copysign(vec_f32 a, vec_f32 s) { return vbslq_f32(vdupq_n_u32(0x80000000u), s, a); }

/* ---- Masks ---- */
VEC_INLINE vec_mask vec_lt(vec_f32 a, vec_f32 b) { return vcltq_f32(a, b); }
VEC_INLINE vec_mask vec_le(vec_f32 a, vec_f32 b) { return vcleq_f32(a, b); }
VEC_INLINE vec_mask vec_gt(vec_f32 a, vec_f32 b) { return vcgtq_f32(a, b); }
VEC_INLINE vec_mask vec_ge(vec_f32 a, vec_f32 b) { return vcgeq_f32(a, b); }
VEC_INLINE vec_mask vec_eq(vec_f32 a, vec_f32 b) { return vceqq_f32(a, b); }
VEC_INLINE vec_mask vec_ne(vec_f32 a, vec_f32 b) { return vmvnq_u32(vceqq_f32(a, b)); }
VEC_INLINE vec_f32 vec_select(vec_mask m, vec_f32 a, vec_f32 b) { return vbslq_f32(m, a, b); }
VEC_INLINE vec_mask vec_mask_and(vec_mask a, vec_mask b) { return vandq_u32(a, b); }
VEC_INLINE vec_mask vec_mask_or(vec_mask a, vec_mask b) { return vorrq_u32(a, b); }
VEC_INLINE vec_mask vec_mask_xor(vec_mask a, vec_mask b) { return veorq_u32(a, b); }
VEC_INLINE vec_mask vec_mask_andnot(vec_mask a, vec_mask b) { return vbicq_u32(a, b); }
VEC_INLINE vec_mask vec_mask_not(vec_mask a) { return vmvnq_u32(a); }
VEC_INLINE int vec_any(vec_mask m) { return vmaxvq_u32(m) != 0; }
VEC_INLINE int vec_all(vec_mask m) { return vminvq_u32(m) != 0; }

/* ---- Arithmetic ---- */
VEC_INLINE vec_f32 vec_add(vec_f32 a, vec_f32 b) { return vaddq_f32(a, b); }
VEC_INLINE vec_f32 vec_sub(vec_f32 a, vec_f32 b) { return vsubq_f32(a, b); }
VEC_INLINE vec_f32 vec_mul(vec_f32 a, vec_f32 b) { return vmulq_f32(a, b); }
VEC_INLINE vec_f32 vec_div(vec_f32 a, vec_f32 b) { return vdivq_f32(a, b); }
VEC_INLINE vec_f32 vec_fma(vec_f32 a, vec_f32 b, vec_f32 c) { return vfmaq_f32(c, a, b); }
VEC_INLINE vec_f32 vec_fnma(vec_f32 a, vec_f32 b, vec_f32 c) { return vfmsq_f32(c, a, b); }
/* vmaxq and vminq treat nan and zeros differently from x86; the comparison is what vec.h promises. */
VEC_INLINE vec_f32 vec_max(vec_f32 a, vec_f32 b) { return vbslq_f32(vcgtq_f32(a, b), a, b); }
VEC_INLINE vec_f32 vec_min(vec_f32 a, vec_f32 b) { return vbslq_f32(vcltq_f32(a, b), a, b); }
VEC_INLINE vec_f32 vec_sqrt(vec_f32 a) { return vsqrtq_f32(a); }
VEC_INLINE vec_f32 vec_round(vec_f32 a) { return vrndnq_f32(a); }
VEC_INLINE vec_f32 vec_floor(vec_f32 a) { return vrndmq_f32(a); }
VEC_INLINE vec_f32 vec_ceil(vec_f32 a) { return vrndpq_f32(a); }
VEC_INLINE vec_f32 vec_trunc(vec_f32 a) { return vrndq_f32(a); }
/* In two steps, for 2^n itself may lie outside of the normal range; the first multiplication is exact. */
VEC_INLINE vec_f32 vec_ldexp(vec_f32 x, vec_f32 n) {
    int32x4_t whole = vcvtq_s32_f32(n), half = vshrq_n_s32(whole, 1), bias = vdupq_n_s32(127);
    int32x4_t first = vshlq_n_s32(vaddq_s32(half, bias), 23);
    int32x4_t second = vshlq_n_s32(vaddq_s32(vsubq_s32(whole, half), bias), 23);
    return vmulq_f32(vmulq_f32(x, vreinterpretq_f32_s32(first)), vreinterpretq_f32_s32(second));
}

/* ---- Integers ---- */
VEC_INLINE vec_i32 vec_i32_set(int32_t x) { return vdupq_n_s32(x); }
VEC_INLINE vec_i32 vec_i32_add(vec_i32 a, vec_i32 b) { return vaddq_s32(a, b); }
VEC_INLINE vec_i32 vec_i32_sub(vec_i32 a, vec_i32 b) { return vsubq_s32(a, b); }
VEC_INLINE vec_i32 vec_i32_max(vec_i32 a, vec_i32 b) { return vmaxq_s32(a, b); }
VEC_INLINE vec_i32 vec_i32_min(vec_i32 a, vec_i32 b) { return vminq_s32(a, b); }
VEC_INLINE vec_i32 vec_i32_mul(vec_i32 a, vec_i32 b) { return vmulq_s32(a, b); }
VEC_INLINE vec_i32 vec_i32_umulhi(vec_i32 a, vec_i32 b) {
    uint32x4_t x = vreinterpretq_u32_s32(a), y = vreinterpretq_u32_s32(b);
    uint32x4_t lo = vreinterpretq_u32_u64(vmull_u32(vget_low_u32(x), vget_low_u32(y)));
    uint32x4_t hi = vreinterpretq_u32_u64(vmull_high_u32(x, y));
    return vreinterpretq_s32_u32(vuzp2q_u32(lo, hi));
}
VEC_INLINE vec_i32 vec_i32_and(vec_i32 a, vec_i32 b) { return vandq_s32(a, b); }
VEC_INLINE vec_i32 vec_i32_or(vec_i32 a, vec_i32 b) { return vorrq_s32(a, b); }
VEC_INLINE vec_i32 vec_i32_xor(vec_i32 a, vec_i32 b) { return veorq_s32(a, b); }
VEC_INLINE vec_i32 vec_i32_andnot(vec_i32 a, vec_i32 b) { return vbicq_s32(a, b); }
VEC_INLINE vec_i32 vec_i32_shl(vec_i32 a, int count) { return vshlq_s32(a, vdupq_n_s32(count)); }
VEC_INLINE vec_i32 vec_i32_shr(vec_i32 a, int count) {
    return vreinterpretq_s32_u32(vshlq_u32(vreinterpretq_u32_s32(a), vdupq_n_s32(-count)));
}
VEC_INLINE vec_i32 vec_i32_sar(vec_i32 a, int count) { return vshlq_s32(a, vdupq_n_s32(-count)); }
VEC_INLINE vec_mask vec_i32_eq(vec_i32 a, vec_i32 b) { return vceqq_s32(a, b); }
VEC_INLINE vec_mask vec_i32_gt(vec_i32 a, vec_i32 b) { return vcgtq_s32(a, b); }
VEC_INLINE vec_mask vec_i32_lt(vec_i32 a, vec_i32 b) { return vcltq_s32(a, b); }
VEC_INLINE vec_i32 vec_i32_select(vec_mask m, vec_i32 a, vec_i32 b) { return vbslq_s32(m, a, b); }
VEC_INLINE vec_i32 vec_to_i32(vec_f32 a) { return vcvtnq_s32_f32(a); }
VEC_INLINE vec_i32 vec_trunc_i32(vec_f32 a) { return vcvtq_s32_f32(a); }
VEC_INLINE vec_f32 vec_from_i32(vec_i32 a) { return vcvtq_f32_s32(a); }

/* ---- Doubles ---- */
VEC_INLINE vec_f64 vec_f64_lo(vec_f32 a) { return vcvt_f64_f32(vget_low_f32(a)); }
VEC_INLINE vec_f64 vec_f64_hi(vec_f32 a) { return vcvt_high_f64_f32(a); }
VEC_INLINE vec_f32 vec_f64_join(vec_f64 lo, vec_f64 hi) { return vcvt_high_f32_f64(vcvt_f32_f64(lo), hi); }
VEC_INLINE vec_f64 vec_f64_set(double x) { return vdupq_n_f64(x); }
VEC_INLINE vec_f64 vec_f64_add(vec_f64 a, vec_f64 b) { return vaddq_f64(a, b); }
VEC_INLINE vec_f64 vec_f64_sub(vec_f64 a, vec_f64 b) { return vsubq_f64(a, b); }
VEC_INLINE vec_f64 vec_f64_mul(vec_f64 a, vec_f64 b) { return vmulq_f64(a, b); }
VEC_INLINE vec_f64 vec_f64_div(vec_f64 a, vec_f64 b) { return vdivq_f64(a, b); }
VEC_INLINE vec_f64 vec_f64_fma(vec_f64 a, vec_f64 b, vec_f64 c) { return vfmaq_f64(c, a, b); }
VEC_INLINE vec_f64 vec_f64_fnma(vec_f64 a, vec_f64 b, vec_f64 c) { return vfmsq_f64(c, a, b); }
VEC_INLINE vec_f64 vec_f64_max(vec_f64 a, vec_f64 b) { return vbslq_f64(vcgtq_f64(a, b), a, b); }
VEC_INLINE vec_f64 vec_f64_min(vec_f64 a, vec_f64 b) { return vbslq_f64(vcltq_f64(a, b), a, b); }
VEC_INLINE vec_f64 vec_f64_sqrt(vec_f64 a) { return vsqrtq_f64(a); }
VEC_INLINE vec_f64 vec_f64_abs(vec_f64 a) { return vabsq_f64(a); }
VEC_INLINE vec_f64 vec_f64_round(vec_f64 a) { return vrndnq_f64(a); }

/* ---- Inside a vector ---- */
VEC_INLINE vec_f32 vec_down(vec_f32 v, int k) { return k == 2 ? vextq_f32(v, v, 2) : vextq_f32(v, v, 1); }

VEC_INLINE vec_f32 vec_even(vec_f32 a, vec_f32 b) { return vuzp1q_f32(a, b); }
VEC_INLINE vec_f32 vec_odd(vec_f32 a, vec_f32 b) { return vuzp2q_f32(a, b); }
VEC_INLINE vec_f32 vec_zip_lo(vec_f32 even, vec_f32 odd) { return vzip1q_f32(even, odd); }
VEC_INLINE vec_f32 vec_zip_hi(vec_f32 even, vec_f32 odd) { return vzip2q_f32(even, odd); }
VEC_INLINE vec_f32 vec_permute2(vec_f32 a, vec_f32 b, vec_i32 index) {
    /* byte j of lane i is byte 4 index[i] + j of a, b */
    uint8x16_t bytes = vreinterpretq_u8_s32(vmlaq_n_s32(vdupq_n_s32(0x03020100), index, 0x04040404));
    uint8x16x2_t table = {{vreinterpretq_u8_f32(a), vreinterpretq_u8_f32(b)}};
    return vreinterpretq_f32_u8(vqtbl2q_u8(table, bytes));
}
VEC_INLINE vec_f32 vec_table16(const float *table, vec_i32 index) {
    int32x4_t low = vandq_s32(index, vdupq_n_s32(15));
    uint8x16_t bytes = vreinterpretq_u8_s32(vmlaq_n_s32(vdupq_n_s32(0x03020100), low, 0x04040404));
    const uint8_t *p = (const uint8_t *)table;
    uint8x16x4_t all = {{vld1q_u8(p), vld1q_u8(p + 16), vld1q_u8(p + 32), vld1q_u8(p + 48)}};
    return vreinterpretq_f32_u8(vqtbl4q_u8(all, bytes));
}

/* ---- Bytes ---- */
VEC_INLINE vec_i32 vec_widen_u8(uint64_t bytes) {
    return vreinterpretq_s32_u32(vmovl_u16(vget_low_u16(vmovl_u8(vcreate_u8(bytes)))));
}
VEC_INLINE uint64_t vec_narrow_u8(vec_i32 v) {
    uint16x4_t half = vmovn_u32(vreinterpretq_u32_s32(v));
    return vget_lane_u64(vreinterpret_u64_u8(vmovn_u16(vcombine_u16(half, half))), 0);
}

#endif
