/* Register tiles, and the product of a block of rows with packed panels. Every element of C is one chain of FMAs over
 * k, from zero, whatever tile it falls in; so tiles, blocks and vector lengths cannot change a bit. */
#include "conv/conv.h"

#include <math.h>

typedef void tile(const float *a, const conv_operand *A, const float *b, int64_t b_row, float *c, int64_t c_row,
                  int64_t n, const float *bias, const conv_epilogue *e);

/* The compiler no longer knows the value: what is worked out from it is not worked out before, to lie on the stack. */
#define HIDE(x) __asm__("" : "+r"(x))

static inline void fetch(conv_ahead *two) {
    for (conv_ahead *z = two; z < two + 2; z++) {
        const float *stop = z->end - z->at < z->step ? z->end : z->at + z->step;
        for (; z->at < stop; z->at += 16) __builtin_prefetch(z->at, 0, 2);
    }
}

/* c[i][j] = sum_p a[i, p] b[p][j]: ROWS rows, VECS vectors. The scalar times vector form broadcasts from memory. */
#define TILE(ROWS, VECS)                                                                                             \
    static void tile_##ROWS##x##VECS(const float *a, const conv_operand *A, const float *b, int64_t b_row, float *c, \
                                     int64_t c_row, int64_t n, const float *bias, const conv_epilogue *e) {          \
        vec_f32 acc[ROWS][VECS];                                                                                     \
        const int64_t a_row = A->row, a_row3 = 3 * a_row, a_col = A->col;                                            \
        float *to = c;                                                                                               \
        if (e->resume) UNROLL                                                                                        \
        for (int i = 0; i < ROWS; i++, to += c_row) UNROLL                                                           \
        for (int j = 0; j < VECS; j++) acc[i][j] = vec_load(to + j * VEC_LANES, n - j * VEC_LANES);                  \
        else UNROLL                                                                                                  \
        for (int i = 0; i < ROWS; i++) UNROLL                                                                        \
        for (int j = 0; j < VECS; j++) acc[i][j] = vec_zero();                                                       \
        for (const conv_segment *s = A->list, *end = s + A->segments; s < end; s++) {                                \
            const float *x = a + s->a, *y = b + s->b;                                                                \
            if (A->ahead) fetch(A->ahead);                                                                           \
            for (int64_t p = s->k; p > 0; p--, x += a_col, y += b_row) {                                             \
                const float *row = x;                                                                                \
                vec_f32 bv[VECS];                                                                                    \
                UNROLL                                                                                               \
                for (int j = 0; j < VECS; j++) bv[j] = vec_loadu(y + j * VEC_LANES);                                 \
                UNROLL                                                                                               \
                for (int i = 0; i < ROWS; i++) {                                                                     \
                    vec_f32 xv = vec_set(row[i % 4 == 3 ? a_row3 : i % 4 * a_row]);                                  \
                    if (i % 4 == 3) row += 4 * a_row;                                                                \
                    UNROLL                                                                                           \
                    for (int j = 0; j < VECS; j++) acc[i][j] = vec_fma(xv, bv[j], acc[i][j]);                        \
                }                                                                                                    \
            }                                                                                                        \
        }                                                                                                            \
        HIDE(c_row);                                                                                                 \
        const vec_f32 least_value = vec_set(e->relu ? 0 : -INFINITY);                                                \
        UNROLL                                                                                                       \
        for (int j = 0; j < VECS; j++) {                                                                             \
            const int64_t left = n - j * VEC_LANES;                                                                  \
            const vec_f32 b0 = bias ? vec_load(bias + j * VEC_LANES, left) : vec_zero();                             \
            to = c + j * VEC_LANES;                                                                                  \
            if (e->add) UNROLL                                                                                       \
            for (int i = 0; i < ROWS; i++, to += c_row) acc[i][j] = vec_add(acc[i][j], vec_load(to, left));          \
            to = c + j * VEC_LANES;                                                                                  \
            UNROLL                                                                                                   \
            for (int i = 0; i < ROWS; i++) acc[i][j] = vec_max(least_value, vec_add(acc[i][j], b0));                 \
            if (left >= VEC_LANES) UNROLL                                                                            \
            for (int i = 0; i < ROWS; i++, to += c_row) vec_storeu(to, acc[i][j]);                                   \
            else UNROLL                                                                                              \
            for (int i = 0; i < ROWS; i++, to += c_row) vec_store(to, acc[i][j], left);                              \
        }                                                                                                            \
    }

#define ALL_4(F, V) F(1, V) F(2, V) F(3, V) F(4, V)
#define ALL_6(F, V) ALL_4(F, V) F(5, V) F(6, V)
#define ALL_8(F, V) ALL_6(F, V) F(7, V) F(8, V)
#define ALL_12(F, V) ALL_8(F, V) F(9, V) F(10, V) F(11, V) F(12, V)
#define ALL_14(F, V) ALL_12(F, V) F(13, V) F(14, V)
#define ALL_16(F, V) ALL_14(F, V) F(15, V) F(16, V)
#define ALL_28(F, V) \
    ALL_16(F, V)     \
    F(17, V) F(18, V) F(19, V) F(20, V) F(21, V) F(22, V) F(23, V) F(24, V) F(25, V) F(26, V) F(27, V) F(28, V)
#define CAT_(a, b) a##b
#define CAT(a, b) CAT_(a, b)
#define NAME(ROWS, VECS) tile_##ROWS##x##VECS,
#define TABLE(ROWS, VECS) {0, CAT(ALL_, ROWS)(NAME, VECS)}
/* clang-format off */
CAT(ALL_, SINGLE_ROWS)(TILE, 1)
CAT(ALL_, TILE_ROWS)(TILE, 2)
/* clang-format on */
static tile *const single[] = TABLE(SINGLE_ROWS, 1), *const pairs[] = TABLE(TILE_ROWS, 2);

void KG_NAME(conv_gemm)(int64_t m, int64_t n, int64_t k, const conv_operand *A, const float *b, int64_t b_row,
                        int64_t panel, float *c, int64_t c_row, const conv_epilogue *e) {
    const conv_segment whole = {0, 0, k};
    conv_operand plain;
    if (m <= 0) return;
    if (A->list == NULL) plain = *A, plain.list = &whole, plain.segments = 1, A = &plain;
    for (int64_t j = 0; j < n; j += PANEL, b += panel) {
        const int two = n - j > VEC_LANES;
        tile *const *tiles = two ? pairs : single;
        int64_t strips = ceil_div(m, two ? TILE_ROWS : SINGLE_ROWS);
        int64_t few = m / strips, longer = m % strips; /* rows split evenly, never padded */
        for (int64_t s = 0, i = 0, rows; s < strips; s++, i += rows) {
            rows = few + (s < longer);
            float *to = c + i * c_row + j;
            if (e->add ||
                e->far) /* C comes from beyond L1; inside the tile these addresses would crowd the registers */
                for (int64_t r = 0; r < rows; r++) {
                    __builtin_prefetch(to + r * c_row, 1);
                    __builtin_prefetch(to + r * c_row + VEC_LANES, 1);
                }
            tiles[rows](A->at + i * A->row, A, b, b_row, to, c_row, n - j, e->bias ? e->bias + j : NULL, e);
        }
    }
}
