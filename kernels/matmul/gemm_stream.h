/* Few rows times a row-major B larger than the cache: p outside, so that B is read as it lies. Part of the gemm
 * template. */

#define STREAM_ROWS (ROWS_AS_STRIPS ? 16 : 56) /* more are done sooner by tiles and packed panels */
#define STREAM_FLOATS 8192                     /* accumulators of all rows stay in L1 */
#define STREAM_PAD 32

/* acc[i][j] += a[i, p .. p+3] B[p .. p+3, j], accumulators `width` apart. */
#define STREAM(ROWS)                                                                                                 \
    static inline void stream_##ROWS##_rows(const real *a, int64_t a_row, int64_t a_col, const real *b, int64_t ldb, \
                                            int64_t n, real *acc, int64_t width) {                                   \
        real_vec x[ROWS][4];                                                                                         \
        UNROLL                                                                                                       \
        for (int i = 0; i < ROWS; i++) UNROLL                                                                        \
        for (int q = 0; q < 4; q++) x[i][q] = real_set(a[i * a_row + q * a_col]);                                    \
        for (int64_t j = 0; j < n; j += LANES) {                                                                     \
            const real_vec b0 = real_load(b + j, n - j), b1 = real_load(b + ldb + j, n - j);                         \
            const real_vec b2 = real_load(b + 2 * ldb + j, n - j), b3 = real_load(b + 3 * ldb + j, n - j);           \
            UNROLL                                                                                                   \
            for (int i = 0; i < ROWS; i++) {                                                                         \
                real_vec v = real_fma(x[i][0], b0, real_loadu(acc + i * width + j));                                 \
                v = real_fma(x[i][2], b2, real_fma(x[i][1], b1, v));                                                 \
                real_storeu(acc + i * width + j, real_fma(x[i][3], b3, v));                                          \
            }                                                                                                        \
        }                                                                                                            \
    }
STREAM(1)
STREAM(2)
STREAM(3)
STREAM(4)

struct stream {
    const gemm_args *g;
    int64_t p0, kc, columns;
    struct epilogue epilogue;
};

static void stream_chunk(void *context, int64_t chunk) {
    const struct stream *t = context;
    const gemm_args *g = t->g;
    _Alignas(64) real space[STREAM_FLOATS + STREAM_ROWS * STREAM_PAD + 4096 / sizeof(real)];
    const int64_t first = chunk * t->columns, n = at_most(g->n - first, t->columns), ld = g->b_row;
    const int64_t width = ceil_div(n, LANES) * LANES + STREAM_PAD, a_row = g->a_row, a_col = g->a_col;
    const real *a = (const real *)g->a + t->p0 * a_col, *b = (const real *)g->b + t->p0 * ld + first;
    /* Half a page away from B: a load seems to depend on a store not long ago with the same last 12 bits of address. */
    real *sums = space + ((((uintptr_t)b + 2048 - (uintptr_t)space) & 4095) / sizeof(real));
    int64_t p = 0;
    memset(sums, 0, (size_t)(width * g->m) * sizeof *sums);
    for (; p + 4 <= t->kc; p += 4, a += 4 * a_col, b += 4 * ld) {
        int64_t i = 0;
        for (; i + 4 <= g->m; i += 4) stream_4_rows(a + i * a_row, a_row, a_col, b, ld, n, sums + i * width, width);
        const real *rest = a + i * a_row;
        real *sum = sums + i * width;
        switch (g->m - i) {
        case 3:
            stream_3_rows(rest, a_row, a_col, b, ld, n, sum, width);
            break;
        case 2:
            stream_2_rows(rest, a_row, a_col, b, ld, n, sum, width);
            break;
        case 1:
            stream_1_rows(rest, a_row, a_col, b, ld, n, sum, width);
        }
    }
    for (; p < t->kc; p++, a += a_col, b += ld)
        for (int64_t i = 0; i < g->m; i++)
            for (int64_t j = 0; j < n; j += LANES) {
                real *at = sums + i * width + j;
                real_storeu(at, real_fma(real_set(a[i * a_row]), real_load(b + j, n - j), real_loadu(at)));
            }
    finish(&t->epilogue, sums, width, g->m, first, (real *)g->c + first, g->c_row, n);
}

/* Elements of B: below that tiles are faster, which read B in place from the cache. They share their work between
 * threads in finer chunks; on one thread they need some rows, and rows of B that are whole cache lines. */
static inline int64_t stream_from(const gemm_args *g) {
    if (g->m == 1) return 1 << 18;
    if (g->m > 3 && g->m < 24 && collides(g->b_row, 4096)) return 1 << 17; /* tiles would pack */
    if (kg_threads() > 1 || (g->m >= 8 && g->b_row % 16 == 0)) return g->m < 16 ? 1 << 20 : 1 << 21;
    return g->m <= 3 ? 1 << 15 : 1 << 17;
}

static void multiply_stream(const gemm_args *g) {
    const int64_t kc = block_rows(g->k), blocks = ceil_div(g->k, kc);
    struct stream t = {.g = g, .columns = STREAM_FLOATS / g->m / 64 * 64};
    if (kg_threads() > 1) t.columns = at_most(t.columns, ceil_div(ceil_div(g->n, 4 * kg_threads()), 64) * 64);
    double us = (double)g->n * (double)kc * (double)(g->m + 2) / (RATE * 1e3);
    for (int64_t block = 0; block < blocks; block++, t.p0 += kc) {
        t.epilogue = epilogue_of(g, block == 0, block == blocks - 1);
        t.kc = at_most(g->k - t.p0, kc);
        kg_parallel(stream_chunk, &t, ceil_div(g->n, t.columns), us);
    }
}
