/* Register tiles: ROWS x VECS vectors of accumulators, and what happens to them when they are full. Part of the gemm
 * template; `real` and its vectors are defined by whoever includes it.
 *
 * 14 x 2 vectors of AVX-512 use 28 of 32 registers, 6 x 2 of AVX2 12 of 16: both reach the peak of two fma a cycle. */

#if defined KG_ISA_avx512
#define MAX_ROWS 14
#elif defined KG_ISA_avx2
#define MAX_ROWS 6
#elif defined KG_ISA_neon
#define MAX_ROWS 10
#else
#define MAX_ROWS 4
#endif
#if defined KG_ISA_avx2
#define PANEL 16 /* columns of a packed panel of B: a tile reads whole lines, one after the other */
#else
#define PANEL 32
#endif
#define LANES REAL_LANES
#define STRIP ((MAX_ROWS + LANES - 1) / LANES * LANES) /* rows of a packed strip of A that is stored by columns */

struct epilogue { /* what a finished block of accumulators becomes */
    real alpha, beta;
    int plain, add; /* plain: C = acc, or C += acc when add */
    int direct;     /* no more than that, a bias of columns and relu: done in registers */
    const real *bias;
    int bias_step; /* 0: one value for all columns */
    int activation;
};

/* activation(alpha acc + (beta C + bias)) for rows of `n` columns, vectors of accumulators lying `width` apart. */
static __attribute__((noinline)) void finish(const struct epilogue *e, const real *acc, int64_t width, int64_t rows,
                                             int64_t column, real *c, int64_t c_row, int64_t n) {
    const real_vec alpha = real_set(e->alpha), beta = real_set(e->beta);
    for (int64_t i = 0; i < rows; i++, acc += width, c += c_row)
        for (int64_t j = 0; j < n; j += LANES) {
            real_vec v = real_load(acc + j, n - j), rest = real_set(0);
            if (!e->plain) {
                if (e->bias) rest = e->bias_step ? real_load(e->bias + column + j, n - j) : real_set(e->bias[0]);
                if (e->beta != 0) rest = real_fma(beta, real_load(c + j, n - j), rest);
                v = real_fma(alpha, v, rest);
            } else if (e->add)
                v = real_add(v, real_load(c + j, n - j));
            if (e->activation) v = real_activation(v, e->activation);
            real_store(c + j, v, n - j);
        }
}

#define TILE_ARGS                                                                                               \
    int64_t k, const real *a, int64_t a_row, int64_t a_col, const real *b, int64_t ldb, int64_t apart, real *c, \
        int64_t c_row, int64_t n, const struct epilogue *e, int64_t column, const real *soon, int64_t soon_row
typedef void tile(TILE_ARGS);

/* acc[i][j] += A[i,p] B[p,j] for one p; A_AT is A[i,p], B_AT where row p of B begins. */
#define TILE_STEP(ROWS, VECS, A_AT, B_AT)                                                                          \
    {                                                                                                              \
        real_vec bv[VECS];                                                                                         \
        UNROLL                                                                                                     \
        for (int j = 0; j < VECS; j++) bv[j] = real_loadu((B_AT) + j * LANES / PANEL * apart + j * LANES % PANEL); \
        UNROLL                                                                                                     \
        for (int i = 0; i < ROWS; i++) {                                                                           \
            real_vec x = real_set(A_AT);                                                                           \
            UNROLL                                                                                                 \
            for (int j = 0; j < VECS; j++) REAL_ACCUMULATE(acc[i][j], x, bv[j]);                                   \
        }                                                                                                          \
    }

/* Tiles of 12 accumulators, of AVX2, take their products as fast as the processor decodes instructions, or less fast
 * where it shares the decoder with another thread: four steps with strides that are constants spare a fifth of them. */
#if MAX_ROWS == 6
#define TILE_FOUR(ROWS, VECS, A_AT)                                                \
    for (; p + 4 <= k; p += 4, b += 4 * PANEL) {                                   \
        __builtin_prefetch(soon + p), __builtin_prefetch(soon + soon_row + p);     \
        UNROLL                                                                     \
        for (int u = 0; u < 4; u++) { TILE_STEP(ROWS, VECS, A_AT, b + u * PANEL) } \
        UNROLL                                                                     \
        for (int i = 0; i < ROWS; i += 5) base[i / 5] += 4 * a_col;                \
    }
#define TILE_FOURS(ROWS, VECS)                                    \
    if (VECS == 2 && ldb == PANEL) {                              \
        if (a_col == 1)                                           \
            TILE_FOUR(ROWS, VECS, base[i / 5][i % 5 * a_row + u]) \
        else if (a_col == STRIP && a_row == 1)                    \
            TILE_FOUR(ROWS, VECS, base[0][u * STRIP + i])         \
    }
#else
#define TILE_FOURS(ROWS, VECS)
#endif

#define TWO_LINES (MAX_ROWS == 6) /* of C, where a tile is a line wide and may begin anywhere in one */

/* ROWS rows and VECS vectors, whose panels are `apart`. A scalar times a vector: the broadcast comes straight from
 * memory; five rows hang on one pointer, at 0, 1, 2, 3, 4 strides, which spares registers. Each p fetches two values of
 * the next strip of A into the cache. */
#define TILE(ROWS, VECS)                                                                               \
    static void tile_##ROWS##x##VECS(TILE_ARGS) {                                                      \
        real_vec acc[ROWS][VECS];                                                                      \
        UNROLL                                                                                         \
        for (int i = 0; i < ROWS; i++) UNROLL                                                          \
        for (int j = 0; j < VECS; j++) acc[i][j] = real_set(0);                                        \
        UNROLL                                                                                         \
        for (int i = 0; i < ROWS; i++) {                                                               \
            __builtin_prefetch(c + i * c_row, 1);                                                      \
            if (TWO_LINES) __builtin_prefetch(c + i * c_row + VECS * LANES - 1, 1);                    \
        }                                                                                              \
        const real *base[(ROWS + 4) / 5];                                                              \
        UNROLL                                                                                         \
        for (int i = 0; i < ROWS; i += 5) base[i / 5] = a + i * a_row;                                 \
        int64_t p = 0;                                                                                 \
        TILE_FOURS(ROWS, VECS)                                                                         \
        for (; p < k; p++, b += ldb) {                                                                 \
            if (VECS == 2) __builtin_prefetch(soon + p), __builtin_prefetch(soon + soon_row + p);      \
            TILE_STEP(ROWS, VECS, base[i / 5][i % 5 * a_row], b)                                       \
            UNROLL                                                                                     \
            for (int i = 0; i < ROWS; i += 5) base[i / 5] += a_col;                                    \
        }                                                                                              \
        if (e->direct && n >= VECS * LANES) {                                                          \
            if (e->add) {                                                                              \
                UNROLL                                                                                 \
                for (int i = 0; i < ROWS; i++) UNROLL                                                  \
                for (int j = 0; j < VECS; j++) {                                                       \
                    real_vec rest = real_loadu(c + i * c_row + j * LANES);                             \
                    if (e->bias) rest = real_add(rest, real_loadu(e->bias + column + j * LANES));      \
                    acc[i][j] = real_add(acc[i][j], rest);                                             \
                }                                                                                      \
            } else if (e->bias) {                                                                      \
                UNROLL                                                                                 \
                for (int j = 0; j < VECS; j++) {                                                       \
                    const real_vec bias = real_loadu(e->bias + column + j * LANES);                    \
                    UNROLL                                                                             \
                    for (int i = 0; i < ROWS; i++) acc[i][j] = real_add(acc[i][j], bias);              \
                }                                                                                      \
            }                                                                                          \
            if (e->activation) {                                                                       \
                UNROLL                                                                                 \
                for (int i = 0; i < ROWS; i++) UNROLL                                                  \
                for (int j = 0; j < VECS; j++) acc[i][j] = real_activation(acc[i][j], GEMM_RELU);      \
            }                                                                                          \
            UNROLL                                                                                     \
            for (int i = 0; i < ROWS; i++) UNROLL                                                      \
            for (int j = 0; j < VECS; j++) real_storeu(c + i * c_row + j * LANES, acc[i][j]);          \
        } else {                                                                                       \
            real out[ROWS * VECS * LANES];                                                             \
            UNROLL                                                                                     \
            for (int i = 0; i < ROWS; i++) UNROLL                                                      \
            for (int j = 0; j < VECS; j++) real_storeu(out + (i * VECS + j) * LANES, acc[i][j]);       \
            finish(e, out, VECS * LANES, ROWS, column, c, c_row, n < VECS * LANES ? n : VECS * LANES); \
        }                                                                                              \
    }

/* One vector wide, n <= LANES columns: reads no further, so that B may end there. */
#define EDGE_TILE(ROWS)                                                                                         \
    static void edge_tile_##ROWS(TILE_ARGS) {                                                                   \
        (void)apart, (void)soon, (void)soon_row;                                                                \
        real_vec acc[ROWS];                                                                                     \
        UNROLL                                                                                                  \
        for (int i = 0; i < ROWS; i++) acc[i] = real_set(0);                                                    \
        const real *base[(ROWS + 4) / 5];                                                                       \
        UNROLL                                                                                                  \
        for (int i = 0; i < ROWS; i += 5) base[i / 5] = a + i * a_row;                                          \
        for (int64_t p = 0; p < k; p++, b += ldb) {                                                             \
            real_vec bv = real_load_tail(b, n);                                                                 \
            UNROLL                                                                                              \
            for (int i = 0; i < ROWS; i++) acc[i] = real_fma(real_set(base[i / 5][i % 5 * a_row]), bv, acc[i]); \
            UNROLL                                                                                              \
            for (int i = 0; i < ROWS; i += 5) base[i / 5] += a_col;                                             \
        }                                                                                                       \
        if (e->plain && !e->activation) {                                                                       \
            UNROLL                                                                                              \
            for (int i = 0; i < ROWS; i++) {                                                                    \
                real *at = c + i * c_row;                                                                       \
                real_store(at, e->add ? real_add(acc[i], real_load_tail(at, n)) : acc[i], n);                   \
            }                                                                                                   \
            return;                                                                                             \
        }                                                                                                       \
        real out[ROWS * LANES];                                                                                 \
        UNROLL                                                                                                  \
        for (int i = 0; i < ROWS; i++) real_storeu(out + i * LANES, acc[i]);                                    \
        finish(e, out, LANES, ROWS, column, c, c_row, n);                                                       \
    }

/* clang-format off */
#define EACH_ROWS_4(DO) DO(1) DO(2) DO(3) DO(4)
#define EACH_ROWS_6(DO) EACH_ROWS_4(DO) DO(5) DO(6)
#define EACH_ROWS_10(DO) EACH_ROWS_6(DO) DO(7) DO(8) DO(9) DO(10)
#define EACH_ROWS_14(DO) EACH_ROWS_10(DO) DO(11) DO(12) DO(13) DO(14)
#define EACH_ROWS__(n, DO) EACH_ROWS_##n(DO)
#define EACH_ROWS_(n, DO) EACH_ROWS__(n, DO)
#define EACH_ROWS(DO) EACH_ROWS_(MAX_ROWS, DO)
#define TILE_X2(ROWS) TILE(ROWS, 2)
EACH_ROWS(TILE_X2)
EACH_ROWS(EDGE_TILE)
TILE(1, 8) /* for one to three rows: longer runs along each row of B */
#if MAX_ROWS == 14
TILE(2, 8)
TILE(3, 8)
#endif
#define NAME_TILE(ROWS) tile_##ROWS##x2,
#define NAME_EDGE_TILE(ROWS) edge_tile_##ROWS,
static tile *const tiles[] = {0, EACH_ROWS(NAME_TILE)};
static tile *const edge_tiles[] = {0, EACH_ROWS(NAME_EDGE_TILE)};
/* clang-format on */
#define WIDE (8 * LANES)
#if MAX_ROWS == 14 /* three rows of 8 vectors need more than 16 registers */
static tile *const wide_tiles[] = {0, tile_1x8, tile_2x8, tile_3x8};
#define WIDE_ROWS 3
#else
static tile *const wide_tiles[] = {0, tile_1x8};
#define WIDE_ROWS 1
#endif
