/* One SIMD vocabulary for every kernel; a header per instruction set gives it meaning (generic.h, avx2.h, avx512.h,
 * neon.h).
 *
 * A file that includes this is compiled once per level with KG_ISA_<level> defined and -ffp-contract=off: a product and
 * a sum fuse where vec_fma is written and nowhere else. That, one definition per function (vec_math.h) and reductions
 * over 16 virtual lanes (vec16.h) give the same float32 bits on avx512, avx2 and neon. `generic` has no fma: there
 * vec_fma rounds twice.
 *
 * Types       vec_f32, vec_i32: VEC_LANES lanes; vec_f64: VEC_LANES / 2 lanes; vec_mask: one truth value per lane
 * Memory      vec_load(p, n), vec_store(p, v, n): n >= VEC_LANES is a full vector, less a masked tail (missing lanes
 *             load as 0), n <= 0 touches nothing. vec_loadu, vec_storeu: full, any alignment. Also _i32, _bool (uint8
 *             0 or 1), _bf16. vec_gather(p, index), vec_gather_i32(p, index). vec_stream(p, v): past the cache, p
 *             aligned to the vector. vec_load_u8, vec_store_u8: bytes as integers 0..255
 * Shuffles    vec_even(a, b), vec_odd(a, b): every other of both's lanes; vec_zip_lo, vec_zip_hi(even, odd): the way
 *             back; vec_permute2(a, b, index): any of both's lanes; vec_table16(table, index): any of 16 in memory, by
 *             the low four bits of the index. Where VEC_HAS_PACK, n = vec_pack(p, v, m): lanes of m to p[0..n), where a
 *             whole vector is written; n = vec_unpack(p, &v, m): from there into the lanes of m
 * Arithmetic  vec_add sub mul div fma(a, b, c) = a b + c, fnma(a, b, c) = c - a b, sqrt abs neg copysign round (half
 *             to even) floor ceil trunc ldexp(x, n) = x 2^n for whole n in [-252, 252], rounded once; vec_mul_error.
 *             VEC_ACCUMULATE(acc, a, b): acc = fma(a, b, acc), in the register that acc is in
 * min, max    vec_max(a, b) = a > b ? a : b, so b where either is nan or both are zeros; vec_min alike with <. PyTorch
 *             propagates nan: vec_max_nan, vec_min_nan do (for zeros of both signs they answer b).
 * Masks       vec_lt le gt ge eq ne (ne alone is true for nan), vec_isnan; vec_select(m, a, b) = m ? a : b;
 *             vec_mask_and or andnot(a, b) = a & ~b, xor, not, vec_any, vec_all, vec_first(n): lanes below n
 * Bits        vec_and or xor andnot(a, b) = a & ~b on floats; vec_bits(float) -> int, vec_from_bits(int) -> float
 * Integers    vec_i32_set add sub min max mul (low half) umulhi and or xor andnot shl(v, count) sar shr, eq gt lt,
 *             select; vec_to_i32 (nearest even), vec_trunc_i32, vec_from_i32; nan and what does not fit convert to
 *             anything
 * Doubles     vec_f64_lo(v), vec_f64_hi(v) widen a half, vec_f64_join(lo, hi) narrows; vec_f64_set add sub mul div fma
 *             fnma sqrt round min max abs
 */
#ifndef KG_VEC_H
#define KG_VEC_H

#include <math.h>
#include <stdint.h>
#include <string.h>

#define VEC_INLINE static inline __attribute__((always_inline, unused))
/* One copy in the file, however many callers: for bodies too long to be inlined in each. */
#ifdef __clang__
#define VEC_OUTLINE static __attribute__((noinline, unused))
#else
#define VEC_OUTLINE static __attribute__((noinline, noclone, unused))
#endif
#define VEC_PRAGMA(text) _Pragma(#text)
#if defined __clang__
#define UNROLL VEC_PRAGMA(clang loop unroll(full))
#else
#define UNROLL VEC_PRAGMA(GCC unroll 64)
#endif

#if defined KG_ISA_avx512
#include "vec/avx512.h"
#elif defined KG_ISA_avx2
#include "vec/avx2.h"
#elif defined KG_ISA_neon
#include "vec/neon.h"
#else
#include "vec/generic.h"
#endif

/* ---- What every instruction set says the same way ---- */

#ifndef VEC_ACCUMULATE
#define VEC_ACCUMULATE(acc, a, b) ((acc) = vec_fma(a, b, acc))
#define VEC_F64_ACCUMULATE(acc, a, b) ((acc) = vec_f64_fma(a, b, acc))
#endif
VEC_INLINE vec_f32 vec_zero(void) { return vec_set(0.0f); }
VEC_INLINE vec_mask vec_isnan(vec_f32 a) { return vec_ne(a, a); }
VEC_INLINE vec_f32 vec_load(const float *p, int64_t n) { return n >= VEC_LANES ? vec_loadu(p) : vec_load_tail(p, n); }
VEC_INLINE vec_i32 vec_load_i32(const int32_t *p, int64_t n) { return vec_bits(vec_load((const float *)p, n)); }
VEC_INLINE void vec_store(float *p, vec_f32 v, int64_t n) {
    if (n >= VEC_LANES)
        vec_storeu(p, v);
    else
        vec_store_tail(p, v, n);
}
VEC_INLINE void vec_store_i32(int32_t *p, vec_i32 v, int64_t n) { vec_store((float *)p, vec_from_bits(v), n); }

VEC_INLINE vec_f32 vec_max_nan(vec_f32 a, vec_f32 b) { return vec_select(vec_isnan(a), a, vec_max(a, b)); }
VEC_INLINE vec_f32 vec_min_nan(vec_f32 a, vec_f32 b) { return vec_select(vec_isnan(a), a, vec_min(a, b)); }

VEC_INLINE vec_mask vec_load_bool(const uint8_t *p, int64_t n) {
    if (n >= VEC_LANES) return vec_loadu_bool(p);
    uint8_t part[VEC_LANES] = {0};
    if (n > 0) memcpy(part, p, (size_t)n);
    return vec_loadu_bool(part);
}
VEC_INLINE void vec_store_bool(uint8_t *p, vec_mask m, int64_t n) {
    if (n >= VEC_LANES) {
        vec_storeu_bool(p, m);
        return;
    }
    uint8_t part[VEC_LANES];
    vec_storeu_bool(part, m);
    if (n > 0) memcpy(p, part, (size_t)n);
}

VEC_INLINE vec_f32 vec_load_bf16(const uint16_t *p, int64_t n) {
    if (n >= VEC_LANES) return vec_loadu_bf16(p);
    uint16_t part[VEC_LANES] = {0};
    if (n > 0) memcpy(part, p, (size_t)n * sizeof *p);
    return vec_loadu_bf16(part);
}
/* Round to nearest even; a nan stays a nan (quiet bit set). */
VEC_INLINE vec_i32 vec_bf16_bits(vec_f32 v) {
    vec_i32 bits = vec_bits(v), even = vec_i32_and(vec_i32_shr(bits, 16), vec_i32_set(1));
    vec_i32 rounded = vec_i32_add(bits, vec_i32_add(even, vec_i32_set(0x7fff)));
    vec_i32 quiet = vec_i32_or(bits, vec_i32_set(0x400000));
    return vec_i32_shr(vec_i32_select(vec_isnan(v), quiet, rounded), 16);
}
VEC_INLINE void vec_store_bf16(uint16_t *p, vec_f32 v, int64_t n) {
    if (n >= VEC_LANES) {
        vec_storeu_u16(p, vec_bf16_bits(v));
        return;
    }
    uint16_t part[VEC_LANES];
    vec_storeu_u16(part, vec_bf16_bits(v));
    if (n > 0) memcpy(p, part, (size_t)n * sizeof *p);
}

/* Bytes to and from the low eighth of integers; missing lanes load as 0. The first byte is the low one of the word. */
#if VEC_LANES < 16
VEC_INLINE vec_i32 vec_load_u8(const uint8_t *p, int64_t n) {
    uint64_t bytes = 0;
    if (n >= VEC_LANES)
        memcpy(&bytes, p, VEC_LANES);
    else {
        uint32_t four = 0;
        uint16_t two = 0;
        if (n <= 0) return vec_widen_u8(0);
        if (n & 4) memcpy(&four, p, 4);
        if (n & 2) memcpy(&two, p + (n & 4), 2);
        bytes = four | (uint64_t)two << 8 * (n & 4);
        if (n & 1) bytes |= (uint64_t)p[n - 1] << 8 * (n - 1);
    }
    return vec_widen_u8(bytes);
}
VEC_INLINE void vec_store_u8(uint8_t *p, vec_i32 v, int64_t n) {
    uint64_t bytes = vec_narrow_u8(v);
    if (n >= VEC_LANES)
        memcpy(p, &bytes, VEC_LANES);
    else
        for (int64_t i = 0; i < n; i++, bytes >>= 8) p[i] = (uint8_t)bytes;
}
#endif

/* The rounding error a b - p of p = vec_mul(a, b): one fma, or without fma the products of halves (Dekker 1971). */
#if VEC_HAS_FMA
VEC_INLINE vec_f32 vec_mul_error(vec_f32 a, vec_f32 b, vec_f32 p) { return vec_fma(a, b, vec_neg(p)); }
#else
VEC_INLINE vec_f32 vec_mul_error(vec_f32 a, vec_f32 b, vec_f32 p) {
    const vec_i32 high = vec_i32_set(-4096); /* 12 bits of the fraction: halves multiply exactly */
    vec_f32 ah = vec_from_bits(vec_i32_and(vec_bits(a), high)), al = vec_sub(a, ah);
    vec_f32 bh = vec_from_bits(vec_i32_and(vec_bits(b), high)), bl = vec_sub(b, bh);
    vec_f32 e = vec_sub(vec_mul(ah, bh), p);
    return vec_add(vec_add(vec_add(e, vec_mul(ah, bl)), vec_mul(al, bh)), vec_mul(al, bl));
}
#endif

#include "vec/vec16.h"

#endif
