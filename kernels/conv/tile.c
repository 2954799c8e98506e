/* Register tiles, and the product of a block of rows with packed panels. Every element of C is one chain of FMAs over
 * k, from zero, whatever tile it falls in; so tiles, blocks and vector lengths cannot change a bit. */
#include "conv/conv.h"
#include "conv/half.h"

#include <math.h>

typedef void tile(const conv_operand *A, int64_t first, const float *b, int64_t b_row, float *c, int64_t c_row,
                  int64_t n, const float *bias, const conv_epilogue *e);

/* The compiler no longer knows the value: what is worked out from it is not worked out before, to lie on the stack. */
#define HIDE(x) __asm__("" : "+r"(x))

#define vec_accumulate VEC_ACCUMULATE
#define half_accumulate(acc, a, b) ((acc) = half_fma(a, b, acc))

static inline const float *beyond(const float *p, int64_t bytes) { return (const float *)((const char *)p + bytes); }

static inline void fetch(conv_ahead *two) {
    for (conv_ahead *z = two; z < two + 2; z++) {
        if (z->at >= z->end) continue;
        const float *stop = z->end - z->at < z->step ? z->end : z->at + z->step;
        for (; z->at < stop; z->at += 16) __builtin_prefetch(z->at, 0, 2);
    }
}

/* acc[i][j] += a[i] b[j] for one p of the reduction, whose values lie at A_AT and B_AT. */
#define TILE_STEP(V, LANES, LISTED, ROWS, VECS, A_AT, B_AT)                                         \
    {                                                                                               \
        const float *row = A_AT;                                                                    \
        V##_f32 bv[VECS];                                                                           \
        UNROLL                                                                                      \
        for (int j = 0; j < VECS; j++) bv[j] = V##_loadu((B_AT) + j * LANES);                       \
        if (LISTED) HIDE(from);                                                                     \
        UNROLL                                                                                      \
        for (int i = 0; i < ROWS; i++) {                                                            \
            V##_f32 xv = V##_set(LISTED ? row[from[i]] : row[i % 4 == 3 ? a_row3 : i % 4 * a_row]); \
            if (!LISTED && i % 4 == 3) row += 4 * a_row;                                            \
            UNROLL                                                                                  \
            for (int j = 0; j < VECS; j++) V##_accumulate(acc[i][j], xv, bv[j]);                    \
        }                                                                                           \
    }

/* Tiles of 12 accumulators, of AVX2, take their products as fast as the processor decodes instructions, or less fast
 * where it shares the decoder with another thread: four steps at a time, of values of A side by side, spare a tenth. */
#if TILE_ROWS == 6
#define TILE_FOURS(V, LANES, LISTED, ROWS, VECS)                                  \
    const int64_t b_step3 = 3 * b_step;                                           \
    if (a_step == sizeof *x)                                                      \
        for (; p >= 4; p -= 4, x += 4, y = beyond(y, 4 * b_step)) {               \
            TILE_STEP(V, LANES, LISTED, ROWS, VECS, x, y)                         \
            TILE_STEP(V, LANES, LISTED, ROWS, VECS, x + 1, beyond(y, b_step))     \
            TILE_STEP(V, LANES, LISTED, ROWS, VECS, x + 2, beyond(y, 2 * b_step)) \
            TILE_STEP(V, LANES, LISTED, ROWS, VECS, x + 3, beyond(y, b_step3))    \
        }
#else
#define TILE_FOURS(V, LANES, LISTED, ROWS, VECS)
#endif

/* c[i][j] = sum_p a[first + i, p] b[p][j]: ROWS rows, VECS vectors, whole (`vec`) or `half` ones. The scalar times
 * vector form broadcasts from memory. LISTED: rows lie where lists say. */
#define TILE(NAME, V, LANES, LISTED, ROWS, VECS)                                                                      \
    static void NAME(const conv_operand *A, int64_t first, const float *b, int64_t b_row, float *c, int64_t c_row,    \
                     int64_t n, const float *bias, const conv_epilogue *e) {                                          \
        V##_f32 acc[ROWS][VECS];                                                                                      \
        const int64_t a_row = A->row, a_row3 = 3 * a_row;                                                             \
        int64_t a_step = A->col * sizeof *b, b_step = b_row * sizeof *b;                                              \
        const int64_t *from = LISTED ? A->rows + first : NULL, *into = LISTED ? e->rows + first : NULL;               \
        const float *a = LISTED ? A->at : A->at + first * a_row;                                                      \
        float *to = c;                                                                                                \
        HIDE(a_step);                                                                                                 \
        HIDE(b_step);                                                                                                 \
        if (!LISTED && e->resume) UNROLL                                                                              \
        for (int i = 0; i < ROWS; i++, to += c_row) {                                                                 \
            UNROLL                                                                                                    \
            for (int j = 0; j < VECS; j++) acc[i][j] = V##_load(to + j * LANES, n - j * LANES);                       \
        }                                                                                                             \
        else UNROLL                                                                                                   \
        for (int i = 0; i < ROWS; i++) UNROLL                                                                         \
        for (int j = 0; j < VECS; j++) acc[i][j] = V##_zero();                                                        \
        for (const conv_segment *s = A->list, *end = s + A->segments; s < end; s++) {                                 \
            const float *x = a + s->a, *y = b + s->b;                                                                 \
            if (A->ahead) fetch(A->ahead);                                                                            \
            int64_t p = s->k;                                                                                         \
            TILE_FOURS(V, LANES, LISTED, ROWS, VECS)                                                                  \
            for (; p > 0; p--, x = beyond(x, a_step), y = beyond(y, b_step))                                          \
                TILE_STEP(V, LANES, LISTED, ROWS, VECS, x, y)                                                         \
        }                                                                                                             \
        HIDE(c_row);                                                                                                  \
        const V##_f32 least_value = V##_set(e->relu ? 0 : -INFINITY);                                                 \
        UNROLL                                                                                                        \
        for (int j = 0; j < VECS; j++) {                                                                              \
            const int64_t left = n - j * LANES;                                                                       \
            const V##_f32 b0 = bias ? V##_load(bias + j * LANES, left) : V##_zero();                                  \
            to = c + j * LANES;                                                                                       \
            if (e->add) UNROLL                                                                                        \
            for (int i = 0; i < ROWS; i++, to += c_row) {                                                             \
                if (LISTED) to = c + j * LANES + into[i];                                                             \
                acc[i][j] = V##_add(acc[i][j], V##_load(to, left));                                                   \
            }                                                                                                         \
            to = c + j * LANES;                                                                                       \
            UNROLL                                                                                                    \
            for (int i = 0; i < ROWS; i++) acc[i][j] = V##_max(least_value, V##_add(acc[i][j], b0));                  \
            if (left >= LANES) UNROLL                                                                                 \
            for (int i = 0; i < ROWS; i++, to += c_row) V##_storeu(LISTED ? c + j * LANES + into[i] : to, acc[i][j]); \
            else UNROLL                                                                                               \
            for (int i = 0; i < ROWS; i++, to += c_row)                                                               \
                V##_store(LISTED ? c + j * LANES + into[i] : to, acc[i][j], left);                                    \
        }                                                                                                             \
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
#define NAME(ROWS, PREFIX) PREFIX##ROWS,
#define TABLE(PREFIX, ROWS) {0, CAT(ALL_, ROWS)(NAME, PREFIX)}
#define SINGLE(ROWS, V) TILE(single_##ROWS, vec, VEC_LANES, 0, ROWS, 1)
#define PAIR(ROWS, V) TILE(pair_##ROWS, vec, VEC_LANES, 0, ROWS, 2)
#define LISTED_SINGLE(ROWS, V) TILE(listed_single_##ROWS, vec, VEC_LANES, 1, ROWS, 1)
#define LISTED_PAIR(ROWS, V) TILE(listed_pair_##ROWS, vec, VEC_LANES, 1, ROWS, 2)
/* clang-format off */
CAT(ALL_, SINGLE_ROWS)(SINGLE, 1)
CAT(ALL_, TILE_ROWS)(PAIR, 2)
CAT(ALL_, SINGLE_ROWS)(LISTED_SINGLE, 1)
CAT(ALL_, TILE_ROWS)(LISTED_PAIR, 2)

/* By whether rows are listed. */
static tile *const singles[2][SINGLE_ROWS + 1] = {TABLE(single_, SINGLE_ROWS), TABLE(listed_single_, SINGLE_ROWS)};
static tile *const pairs[2][TILE_ROWS + 1] = {TABLE(pair_, TILE_ROWS), TABLE(listed_pair_, TILE_ROWS)};
#ifdef HALF_LANES
#define HALF(ROWS, V) TILE(half_##ROWS, half, HALF_LANES, 0, ROWS, 1)
#define LISTED_HALF(ROWS, V) TILE(listed_half_##ROWS, half, HALF_LANES, 1, ROWS, 1)
CAT(ALL_, SINGLE_ROWS)(HALF, 1)
CAT(ALL_, SINGLE_ROWS)(LISTED_HALF, 1)
static tile *const halves[2][SINGLE_ROWS + 1] = {TABLE(half_, SINGLE_ROWS), TABLE(listed_half_, SINGLE_ROWS)};
#endif
/* clang-format on */

/* The tiles for n columns, how many rows they have at most, and of how many columns they are. */
static tile *const *tiles_for(int64_t n, int listed, int64_t *rows, int64_t *columns) {
    *rows = SINGLE_ROWS, *columns = VEC_LANES;
#ifdef HALF_LANES
    if (n <= HALF_LANES) return halves[listed];
    if (n > VEC_LANES && n <= VEC_LANES + HALF_LANES) return singles[listed]; /* and a half */
#endif
    if (n <= VEC_LANES) return singles[listed];
    *rows = TILE_ROWS, *columns = PANEL;
    return pairs[listed];
}

void KG_NAME(conv_gemm)(int64_t m, int64_t n, int64_t k, const conv_operand *A, const float *b, int64_t b_row,
                        int64_t panel, float *c, int64_t c_row, const conv_epilogue *e) {
    const conv_segment whole = {0, 0, k};
    conv_operand plain;
    const int listed = A->rows != NULL;
    if (m <= 0) return;
    if (A->list == NULL) plain = *A, plain.list = &whole, plain.segments = 1, A = &plain;
    for (int64_t j = 0, most_rows, columns; j < n; j += columns) {
        tile *const *tiles = tiles_for(n - j, listed, &most_rows, &columns);
        const float *of_panel = b + j / PANEL * panel + j % PANEL;
        int64_t strips = m <= most_rows ? 1 : ceil_div(m, most_rows);
        int64_t few = strips == 1 ? m : m / strips, longer = m - few * strips; /* rows split evenly, never padded */
        for (int64_t s = 0, i = 0, rows; s < strips; s++, i += rows) {
            rows = few + (s < longer);
            float *to = listed ? c + j : c + i * c_row + j;
            if (e->add ||
                e->far) /* C comes from beyond L1; inside the tile these addresses would crowd the registers */
                for (int64_t r = 0; r < rows; r++) {
                    const float *at = listed ? to + e->rows[i + r] : to + r * c_row;
                    __builtin_prefetch(at, 1);
                    __builtin_prefetch(at + least(n - j, columns) - 1, 1);
                }
            tiles[rows](A, i, of_panel, b_row, to, c_row, n - j, e->bias ? e->bias + j : NULL, e);
        }
    }
}
