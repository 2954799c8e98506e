/* Small blocks of float32 transposed in registers: out[p * to + r] = in[r * ld + p]. */
#ifndef KG_TRANSPOSE_H
#define KG_TRANSPOSE_H

#include "vec/vec.h"

#if defined KG_ISA_avx512
#define TRANSPOSE_BLOCK 16

/* Rows r and r + 4 side by side, by half a register each: the load does what would be a fourth of the shuffles. Then
 * pairs of rows, fours, and the quarters of two fours. Both halves of a row are loaded together: where `ld` is a power
 * of two all rows fall into one set of the cache, and would not stay for a second look. */
VEC_INLINE __m512 transpose_pair(const float *low, const float *high) {
    return _mm512_castpd_ps(_mm512_insertf64x4(_mm512_castpd256_pd512(_mm256_loadu_pd((const double *)low)),
                                               _mm256_loadu_pd((const double *)high), 1));
}
VEC_INLINE void transpose_load(const float *in, int64_t ld, __m512 x[2][8]) { /* x[half]: 8 columns of 16 rows */
    UNROLL
    for (int r = 0; r < 8; r++) { /* rows 0 .. 3 with 4 .. 7, then 8 .. 11 with 12 .. 15 */
        const float *low = in + (r < 4 ? r : r + 4) * ld, *high = low + 4 * ld;
        x[0][r] = transpose_pair(low, high), x[1][r] = transpose_pair(low + 8, high + 8);
    }
}
VEC_INLINE void transpose_half(__m512 h[8]) { /* h[c] becomes column c */
    __m512 y[8];
    UNROLL
    for (int r = 0; r < 8; r += 2) {
        y[r] = _mm512_unpacklo_ps(h[r], h[r + 1]);
        y[r + 1] = _mm512_unpackhi_ps(h[r], h[r + 1]);
    }
    UNROLL
    for (int r = 0; r < 8; r += 4) { /* h[r + c]: quarters are columns c and c + 4 of four rows, then of four more */
        __m512d low = _mm512_castps_pd(y[r]), high = _mm512_castps_pd(y[r + 1]);
        __m512d low2 = _mm512_castps_pd(y[r + 2]), high2 = _mm512_castps_pd(y[r + 3]);
        h[r] = _mm512_castpd_ps(_mm512_unpacklo_pd(low, low2));
        h[r + 1] = _mm512_castpd_ps(_mm512_unpackhi_pd(low, low2));
        h[r + 2] = _mm512_castpd_ps(_mm512_unpacklo_pd(high, high2));
        h[r + 3] = _mm512_castpd_ps(_mm512_unpackhi_pd(high, high2));
    }
    UNROLL
    for (int c = 0; c < 4; c++) { /* 0x88 takes the even quarters of both, 0xdd the odd ones */
        y[c] = _mm512_shuffle_f32x4(h[c], h[c + 4], 0x88);
        h[c + 4] = _mm512_shuffle_f32x4(h[c], h[c + 4], 0xdd);
        h[c] = y[c];
    }
}
VEC_INLINE void transpose_whole(const float *in, int64_t ld, float *out, int64_t to) {
    __m512 x[2][8];
    transpose_load(in, ld, x);
    UNROLL
    for (int half = 0; half < 2; half++) {
        transpose_half(x[half]);
        UNROLL
        for (int c = 0; c < 8; c++) _mm512_storeu_ps(out + (8 * half + c) * to, x[half][c]);
    }
}

#else
#define TRANSPOSE_BLOCK 8

typedef float transpose_four __attribute__((vector_size(16), aligned(4), may_alias));
typedef float transpose_eight __attribute__((vector_size(32)));
typedef transpose_eight transpose_eight_at __attribute__((aligned(4), may_alias));

/* Rows r and r + 4 side by side, which the load does; then pairs of rows, and fours. x[c] becomes column c of four. */
VEC_INLINE void transpose_half(const float *in, int64_t ld, transpose_eight x[4]) {
    transpose_eight y[4];
    UNROLL
    for (int r = 0; r < 4; r++)
        x[r] = __builtin_shufflevector(*(const transpose_four *)(in + r * ld),
                                       *(const transpose_four *)(in + (r + 4) * ld), 0, 1, 2, 3, 4, 5, 6, 7);
    UNROLL
    for (int r = 0; r < 4; r += 2) {
        y[r] = __builtin_shufflevector(x[r], x[r + 1], 0, 8, 1, 9, 4, 12, 5, 13);
        y[r + 1] = __builtin_shufflevector(x[r], x[r + 1], 2, 10, 3, 11, 6, 14, 7, 15);
    }
    UNROLL
    for (int r = 0; r < 2; r++) {
        x[2 * r] = __builtin_shufflevector(y[r], y[r + 2], 0, 1, 8, 9, 4, 5, 12, 13);
        x[2 * r + 1] = __builtin_shufflevector(y[r], y[r + 2], 2, 3, 10, 11, 6, 7, 14, 15);
    }
}
VEC_INLINE void transpose_whole(const float *in, int64_t ld, float *out, int64_t to) {
    for (int half = 0; half < 2; half++, in += 4, out += 4 * to) {
        transpose_eight x[4];
        transpose_half(in, ld, x);
        UNROLL
        for (int c = 0; c < 4; c++) *(transpose_eight_at *)(out + c * to) = x[c];
    }
}
#endif

/* The same for a block at the edge, of fewer rows or columns. */
static __attribute__((noinline)) void transpose_edge(const float *in, int64_t ld, int64_t rows, int64_t columns,
                                                     float *out, int64_t to) {
    float part[TRANSPOSE_BLOCK * TRANSPOSE_BLOCK], turned[TRANSPOSE_BLOCK * TRANSPOSE_BLOCK];
    for (int64_t r = 0; r < TRANSPOSE_BLOCK; r++)
        for (int64_t p = 0; p < TRANSPOSE_BLOCK; p += VEC_LANES)
            vec_storeu(part + r * TRANSPOSE_BLOCK + p, r < rows ? vec_load(in + r * ld + p, columns - p) : vec_zero());
    transpose_whole(part, TRANSPOSE_BLOCK, turned, TRANSPOSE_BLOCK);
    for (int64_t p = 0; p < columns && p < TRANSPOSE_BLOCK; p++)
        memcpy(out + p * to, turned + p * TRANSPOSE_BLOCK, TRANSPOSE_BLOCK * sizeof *out);
}

/* `rows` and `columns` of the input; out gets `columns` rows of a whole block each, with zeros beyond `rows`. */
static inline void transpose_part(const float *in, int64_t ld, int64_t rows, int64_t columns, float *out, int64_t to) {
    if (rows >= TRANSPOSE_BLOCK && columns >= TRANSPOSE_BLOCK)
        transpose_whole(in, ld, out, to);
    else
        transpose_edge(in, ld, rows, columns, out, to);
}

#endif
