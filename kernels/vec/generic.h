/* Any machine: four lanes in GCC's and Clang's vector types, and loops over the lanes for what these lack. No fma. */
#ifndef KG_VEC_GENERIC_H
#define KG_VEC_GENERIC_H

#define VEC_LANES 4
#define VEC_HAS_FMA 0
typedef float vec_f32 __attribute__((vector_size(16)));
typedef int32_t vec_i32 __attribute__((vector_size(16)));
typedef uint32_t vec_u32 __attribute__((vector_size(16)));
typedef double vec_f64 __attribute__((vector_size(16)));
typedef int64_t vec_i64 __attribute__((vector_size(16)));
typedef int32_t vec_mask __attribute__((vector_size(16)));

#define VEC_EACH \
    UNROLL       \
    for (int i = 0; i < 4; i++)

/* ---- Memory ---- */
VEC_INLINE vec_mask vec_first(int64_t n) {
    const vec_i32 lane = {0, 1, 2, 3};
    int32_t lanes = n >= 4 ? 4 : n <= 0 ? 0 : (int32_t)n;
    return lane < (vec_i32){lanes, lanes, lanes, lanes};
}
VEC_INLINE vec_f32 vec_loadu(const float *p) {
    vec_f32 v;
    memcpy(&v, p, 16);
    return v;
}
VEC_INLINE void vec_storeu(float *p, vec_f32 v) { memcpy(p, &v, 16); }
VEC_INLINE vec_i32 vec_loadu_i32(const int32_t *p) {
    vec_i32 v;
    memcpy(&v, p, 16);
    return v;
}
VEC_INLINE void vec_storeu_i32(int32_t *p, vec_i32 v) { memcpy(p, &v, 16); }
VEC_INLINE vec_f32 vec_load_tail(const float *p, int64_t n) {
    vec_f32 v = {0};
    if (n > 0) memcpy(&v, p, (size_t)n * 4);
    return v;
}
VEC_INLINE void vec_store_tail(float *p, vec_f32 v, int64_t n) {
    if (n > 0) memcpy(p, &v, (size_t)n * 4);
}
VEC_INLINE void vec_stream(float *p, vec_f32 v) { memcpy(p, &v, 16); }
VEC_INLINE vec_f32 vec_gather(const float *p, vec_i32 index) {
    return (vec_f32){p[index[0]], p[index[1]], p[index[2]], p[index[3]]};
}
VEC_INLINE vec_i32 vec_gather_i32(const int32_t *p, vec_i32 index) {
    return (vec_i32){p[index[0]], p[index[1]], p[index[2]], p[index[3]]};
}
VEC_INLINE vec_mask vec_loadu_bool(const uint8_t *p) { return (vec_i32){p[0], p[1], p[2], p[3]} != 0; }
VEC_INLINE void vec_storeu_bool(uint8_t *p, vec_mask m) { VEC_EACH p[i] = m[i] != 0; }
VEC_INLINE vec_f32 vec_loadu_bf16(const uint16_t *p) {
    vec_u32 bits = {p[0], p[1], p[2], p[3]};
    return (vec_f32)(bits << 16);
}
VEC_INLINE void vec_storeu_u16(uint16_t *p, vec_i32 v) { VEC_EACH p[i] = (uint16_t)v[i]; }

/* ---- Bits of floats ---- */
VEC_INLINE vec_i32 vec_i32_set(int32_t x) { return (vec_i32){x, x, x, x}; }
VEC_INLINE vec_f32 vec_set(float x) { return (vec_f32){x, x, x, x}; }
VEC_INLINE float vec_lane0(vec_f32 a) { return a[0]; }
VEC_INLINE vec_i32 vec_bits(vec_f32 a) { return (vec_i32)a; }
VEC_INLINE vec_f32 vec_from_bits(vec_i32 a) { return (vec_f32)a; }
VEC_INLINE vec_f32 vec_and(vec_f32 a, vec_f32 b) { return (vec_f32)((vec_i32)a & (vec_i32)b); }
VEC_INLINE vec_f32 vec_or(vec_f32 a, vec_f32 b) { return (vec_f32)((vec_i32)a | (vec_i32)b); }
VEC_INLINE vec_f32 vec_xor(vec_f32 a, vec_f32 b) { return (vec_f32)((vec_i32)a ^ (vec_i32)b); }
VEC_INLINE vec_f32 vec_andnot(vec_f32 a, vec_f32 b) { return (vec_f32)((vec_i32)a & ~(vec_i32)b); }
VEC_INLINE vec_f32 vec_abs(vec_f32 a) { return vec_andnot(a, vec_set(-0.0f)); }
VEC_INLINE vec_f32 vec_neg(vec_f32 a) { return vec_xor(a, vec_set(-0.0f)); }
VEC_INLINE vec_f32 vec_copysign(vec_f32 a, vec_f32 s) { return vec_or(vec_abs(a), vec_and(s, vec_set(-0.0f))); }

/* ---- Masks ---- */
VEC_INLINE vec_mask vec_lt(vec_f32 a, vec_f32 b) { return a < b; }
VEC_INLINE vec_mask vec_le(vec_f32 a, vec_f32 b) { return a <= b; }
VEC_INLINE vec_mask vec_gt(vec_f32 a, vec_f32 b) { return a > b; }
VEC_INLINE vec_mask vec_ge(vec_f32 a, vec_f32 b) { return a >= b; }
VEC_INLINE vec_mask vec_eq(vec_f32 a, vec_f32 b) { return a == b; }
VEC_INLINE vec_mask vec_ne(vec_f32 a, vec_f32 b) { return a != b; }
VEC_INLINE vec_i32 vec_i32_select(vec_mask m, vec_i32 a, vec_i32 b) { return (a & m) | (b & ~m); }
VEC_INLINE vec_f32 vec_select(vec_mask m, vec_f32 a, vec_f32 b) {
    return (vec_f32)vec_i32_select(m, (vec_i32)a, (vec_i32)b);
}
VEC_INLINE vec_mask vec_mask_and(vec_mask a, vec_mask b) { return a & b; }
VEC_INLINE vec_mask vec_mask_or(vec_mask a, vec_mask b) { return a | b; }
VEC_INLINE vec_mask vec_mask_xor(vec_mask a, vec_mask b) { return a ^ b; }
VEC_INLINE vec_mask vec_mask_andnot(vec_mask a, vec_mask b) { return a & ~b; }
VEC_INLINE vec_mask vec_mask_not(vec_mask a) { return ~a; }
VEC_INLINE int vec_any(vec_mask m) {
    vec_i64 both = (vec_i64)m;
    return (both[0] | both[1]) != 0;
}
VEC_INLINE int vec_all(vec_mask m) {
    vec_i64 both = (vec_i64)m;
    return (both[0] & both[1]) == -1;
}

/* ---- Arithmetic ---- */
VEC_INLINE vec_f32 vec_add(vec_f32 a, vec_f32 b) { return a + b; }
VEC_INLINE vec_f32 vec_sub(vec_f32 a, vec_f32 b) { return a - b; }
VEC_INLINE vec_f32 vec_mul(vec_f32 a, vec_f32 b) { return a * b; }
VEC_INLINE vec_f32 vec_div(vec_f32 a, vec_f32 b) { return a / b; }
VEC_INLINE vec_f32 vec_fma(vec_f32 a, vec_f32 b, vec_f32 c) { return a * b + c; }
VEC_INLINE vec_f32 vec_fnma(vec_f32 a, vec_f32 b, vec_f32 c) { return c - a * b; }
VEC_INLINE vec_f32 vec_max(vec_f32 a, vec_f32 b) { return vec_select(a > b, a, b); }
VEC_INLINE vec_f32 vec_min(vec_f32 a, vec_f32 b) { return vec_select(a < b, a, b); }
VEC_INLINE vec_f32 vec_sqrt(vec_f32 a) { return (vec_f32){sqrtf(a[0]), sqrtf(a[1]), sqrtf(a[2]), sqrtf(a[3])}; }
/* Adding and taking away 2^23 leaves the nearest whole number, half to even; from 2^23 on floats are whole (or nan). */
VEC_INLINE vec_f32 vec_round(vec_f32 a) {
    vec_f32 big = vec_copysign(vec_set(8388608.0f), a);
    return vec_select(vec_abs(a) < vec_set(8388608.0f), vec_copysign((a + big) - big, a), a);
}
VEC_INLINE vec_f32 vec_floor(vec_f32 a) {
    vec_f32 near = vec_round(a);
    return vec_copysign(near - vec_and((vec_f32)(near > a), vec_set(1.0f)), a);
}
VEC_INLINE vec_f32 vec_ceil(vec_f32 a) {
    vec_f32 near = vec_round(a);
    return vec_copysign(near + vec_and((vec_f32)(near < a), vec_set(1.0f)), a);
}
VEC_INLINE vec_f32 vec_trunc(vec_f32 a) { return vec_copysign(vec_floor(vec_abs(a)), a); }

/* ---- Integers ---- */
VEC_INLINE vec_i32 vec_i32_add(vec_i32 a, vec_i32 b) { return (vec_i32)((vec_u32)a + (vec_u32)b); }
VEC_INLINE vec_i32 vec_i32_sub(vec_i32 a, vec_i32 b) { return (vec_i32)((vec_u32)a - (vec_u32)b); }
VEC_INLINE vec_i32 vec_i32_max(vec_i32 a, vec_i32 b) { return (a & (a > b)) | (b & ~(a > b)); }
VEC_INLINE vec_i32 vec_i32_min(vec_i32 a, vec_i32 b) { return (a & (a < b)) | (b & ~(a < b)); }
VEC_INLINE vec_i32 vec_i32_mul(vec_i32 a, vec_i32 b) { return (vec_i32)((vec_u32)a * (vec_u32)b); }
VEC_INLINE vec_i32 vec_i32_umulhi(vec_i32 a, vec_i32 b) {
    vec_u32 x = (vec_u32)a, y = (vec_u32)b, r;
    VEC_EACH r[i] = (uint32_t)(((uint64_t)x[i] * y[i]) >> 32);
    return (vec_i32)r;
}
VEC_INLINE vec_i32 vec_i32_and(vec_i32 a, vec_i32 b) { return a & b; }
VEC_INLINE vec_i32 vec_i32_or(vec_i32 a, vec_i32 b) { return a | b; }
VEC_INLINE vec_i32 vec_i32_xor(vec_i32 a, vec_i32 b) { return a ^ b; }
VEC_INLINE vec_i32 vec_i32_andnot(vec_i32 a, vec_i32 b) { return a & ~b; }
VEC_INLINE vec_i32 vec_i32_shl(vec_i32 a, int count) { return (vec_i32)((vec_u32)a << (uint32_t)count); }
VEC_INLINE vec_i32 vec_i32_shr(vec_i32 a, int count) { return (vec_i32)((vec_u32)a >> (uint32_t)count); }
VEC_INLINE vec_i32 vec_i32_sar(vec_i32 a, int count) { return a >> count; }
VEC_INLINE vec_mask vec_i32_eq(vec_i32 a, vec_i32 b) { return a == b; }
VEC_INLINE vec_mask vec_i32_gt(vec_i32 a, vec_i32 b) { return a > b; }
VEC_INLINE vec_mask vec_i32_lt(vec_i32 a, vec_i32 b) { return a < b; }
VEC_INLINE vec_i32 vec_trunc_i32(vec_f32 a) { return __builtin_convertvector(a, vec_i32); }
VEC_INLINE vec_i32 vec_to_i32(vec_f32 a) { return vec_trunc_i32(vec_round(a)); }
VEC_INLINE vec_f32 vec_from_i32(vec_i32 a) { return __builtin_convertvector(a, vec_f32); }

/* In two steps, for 2^n itself may lie outside of the normal range; the first multiplication is exact. */
VEC_INLINE vec_f32 vec_ldexp(vec_f32 x, vec_f32 n) {
    vec_i32 whole = vec_trunc_i32(n), half = whole >> 1;
    return x * (vec_f32)((half + 127) << 23) * (vec_f32)((whole - half + 127) << 23);
}

/* ---- Doubles ---- */
VEC_INLINE vec_f64 vec_f64_lo(vec_f32 a) { return (vec_f64){a[0], a[1]}; }
VEC_INLINE vec_f64 vec_f64_hi(vec_f32 a) { return (vec_f64){a[2], a[3]}; }
VEC_INLINE vec_f32 vec_f64_join(vec_f64 lo, vec_f64 hi) {
    return (vec_f32){(float)lo[0], (float)lo[1], (float)hi[0], (float)hi[1]};
}
VEC_INLINE vec_f64 vec_f64_set(double x) { return (vec_f64){x, x}; }
VEC_INLINE vec_f64 vec_f64_add(vec_f64 a, vec_f64 b) { return a + b; }
VEC_INLINE vec_f64 vec_f64_sub(vec_f64 a, vec_f64 b) { return a - b; }
VEC_INLINE vec_f64 vec_f64_mul(vec_f64 a, vec_f64 b) { return a * b; }
VEC_INLINE vec_f64 vec_f64_div(vec_f64 a, vec_f64 b) { return a / b; }
VEC_INLINE vec_f64 vec_f64_fma(vec_f64 a, vec_f64 b, vec_f64 c) { return a * b + c; }
VEC_INLINE vec_f64 vec_f64_fnma(vec_f64 a, vec_f64 b, vec_f64 c) { return c - a * b; }
VEC_INLINE vec_f64 vec_f64_max(vec_f64 a, vec_f64 b) {
    return (vec_f64){a[0] > b[0] ? a[0] : b[0], a[1] > b[1] ? a[1] : b[1]};
}
VEC_INLINE vec_f64 vec_f64_min(vec_f64 a, vec_f64 b) {
    return (vec_f64){a[0] < b[0] ? a[0] : b[0], a[1] < b[1] ? a[1] : b[1]};
}
VEC_INLINE vec_f64 vec_f64_sqrt(vec_f64 a) { return (vec_f64){sqrt(a[0]), sqrt(a[1])}; }
VEC_INLINE vec_f64 vec_f64_abs(vec_f64 a) { return (vec_f64)((vec_i64)a & INT64_MAX); }
/* For |a| < 2^51, the only use. The sign of zero is not kept. */
VEC_INLINE vec_f64 vec_f64_round(vec_f64 a) { return (a + 0x1.8p52) - 0x1.8p52; }

/* ---- Inside a vector ---- */
VEC_INLINE vec_f32 vec_down(vec_f32 v, int k) {
    return k == 2 ? (vec_f32){v[2], v[3], v[2], v[3]} : (vec_f32){v[1], v[1], v[3], v[3]};
}

VEC_INLINE vec_f32 vec_even(vec_f32 a, vec_f32 b) { return (vec_f32){a[0], a[2], b[0], b[2]}; }
VEC_INLINE vec_f32 vec_odd(vec_f32 a, vec_f32 b) { return (vec_f32){a[1], a[3], b[1], b[3]}; }
VEC_INLINE vec_f32 vec_zip_lo(vec_f32 even, vec_f32 odd) { return (vec_f32){even[0], odd[0], even[1], odd[1]}; }
VEC_INLINE vec_f32 vec_zip_hi(vec_f32 even, vec_f32 odd) { return (vec_f32){even[2], odd[2], even[3], odd[3]}; }
VEC_INLINE vec_f32 vec_permute2(vec_f32 a, vec_f32 b, vec_i32 index) {
    vec_f32 v;
    VEC_EACH v[i] = index[i] < 4 ? a[index[i]] : b[index[i] - 4];
    return v;
}
VEC_INLINE vec_f32 vec_table16(const float *table, vec_i32 index) {
    vec_f32 v;
    VEC_EACH v[i] = table[index[i] & 15];
    return v;
}

/* ---- Bytes ---- */
VEC_INLINE vec_i32 vec_widen_u8(uint64_t bytes) {
    return (vec_i32){bytes & 255, bytes >> 8 & 255, bytes >> 16 & 255, bytes >> 24 & 255};
}
VEC_INLINE uint64_t vec_narrow_u8(vec_i32 v) {
    return (uint64_t)(v[0] & 255) | (uint64_t)(v[1] & 255) << 8 | (uint64_t)(v[2] & 255) << 16 |
           (uint64_t)(v[3] & 255) << 24;
}

#endif
