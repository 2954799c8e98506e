/* Small blocks of float32 transposed in registers: out[p * to + r] = in[r * ld + p]. */
#ifndef KG_TRANSPOSE_H
#define KG_TRANSPOSE_H

#include "vec/vec.h"

#if defined KG_ISA_avx512
#define TRANSPOSE_BLOCK 16

/* Rows r, r + 4, r + 8, r + 12 meet in one register as they are loaded; then 4 x 4 within each quarter. */
VEC_INLINE void transpose_whole(const float *in, int64_t ld, float *out, int64_t to) {
    UNROLL
    for (int p = 0; p < 16; p += 4) {
        __m512 x[4];
        UNROLL
        for (int r = 0; r < 4; r++) {
            const float *row = in + r * ld + p;
            __m512 v = _mm512_castps128_ps512(_mm_loadu_ps(row));
            v = _mm512_insertf32x4(v, _mm_loadu_ps(row + 4 * ld), 1);
            v = _mm512_insertf32x4(v, _mm_loadu_ps(row + 8 * ld), 2);
            x[r] = _mm512_insertf32x4(v, _mm_loadu_ps(row + 12 * ld), 3);
        }
        __m512d low01 = _mm512_castps_pd(_mm512_unpacklo_ps(x[0], x[1]));
        __m512d high01 = _mm512_castps_pd(_mm512_unpackhi_ps(x[0], x[1]));
        __m512d low23 = _mm512_castps_pd(_mm512_unpacklo_ps(x[2], x[3]));
        __m512d high23 = _mm512_castps_pd(_mm512_unpackhi_ps(x[2], x[3]));
        _mm512_storeu_pd((double *)(out + p * to), _mm512_unpacklo_pd(low01, low23));
        _mm512_storeu_pd((double *)(out + (p + 1) * to), _mm512_unpackhi_pd(low01, low23));
        _mm512_storeu_pd((double *)(out + (p + 2) * to), _mm512_unpacklo_pd(high01, high23));
        _mm512_storeu_pd((double *)(out + (p + 3) * to), _mm512_unpackhi_pd(high01, high23));
    }
}

#else
#define TRANSPOSE_BLOCK 8

typedef float transpose_four __attribute__((vector_size(16), aligned(4), may_alias));
typedef float transpose_eight __attribute__((vector_size(32)));
typedef transpose_eight transpose_eight_at __attribute__((aligned(4), may_alias));

VEC_INLINE void transpose_whole(const float *in, int64_t ld, float *out, int64_t to) {
    for (int half = 0; half < 2; half++, in += 4, out += 4 * to) {
        transpose_eight x[4], y[4];
        UNROLL
        for (int r = 0; r < 4; r++) /* rows r and r + 4 side by side */
            x[r] = __builtin_shufflevector(*(const transpose_four *)(in + r * ld),
                                           *(const transpose_four *)(in + (r + 4) * ld), 0, 1, 2, 3, 4, 5, 6, 7);
        UNROLL
        for (int r = 0; r < 4; r += 2) {
            y[r] = __builtin_shufflevector(x[r], x[r + 1], 0, 8, 1, 9, 4, 12, 5, 13);
            y[r + 1] = __builtin_shufflevector(x[r], x[r + 1], 2, 10, 3, 11, 6, 14, 7, 15);
        }
        UNROLL
        for (int r = 0; r < 2; r++) {
            *(transpose_eight_at *)(out + 2 * r * to) =
                __builtin_shufflevector(y[r], y[r + 2], 0, 1, 8, 9, 4, 5, 12, 13);
            *(transpose_eight_at *)(out + (2 * r + 1) * to) =
                __builtin_shufflevector(y[r], y[r + 2], 2, 3, 10, 11, 6, 7, 14, 15);
        }
    }
}
#endif

/* `rows` and `columns` of the input, at most a block; out gets `columns` rows of a whole block each, zeros beyond
 * `rows`. */
static inline void transpose_part(const float *in, int64_t ld, int64_t rows, int64_t columns, float *out, int64_t to) {
    if (rows >= TRANSPOSE_BLOCK && columns >= TRANSPOSE_BLOCK) {
        transpose_whole(in, ld, out, to);
        return;
    }
    float part[TRANSPOSE_BLOCK * TRANSPOSE_BLOCK], turned[TRANSPOSE_BLOCK * TRANSPOSE_BLOCK];
    for (int64_t r = 0; r < TRANSPOSE_BLOCK; r++)
        for (int64_t p = 0; p < TRANSPOSE_BLOCK; p += VEC_LANES)
            vec_storeu(part + r * TRANSPOSE_BLOCK + p, r < rows ? vec_load(in + r * ld + p, columns - p) : vec_zero());
    transpose_whole(part, TRANSPOSE_BLOCK, turned, TRANSPOSE_BLOCK);
    for (int64_t p = 0; p < columns && p < TRANSPOSE_BLOCK; p++)
        memcpy(out + p * to, turned + p * TRANSPOSE_BLOCK, TRANSPOSE_BLOCK * sizeof *out);
}

#endif
