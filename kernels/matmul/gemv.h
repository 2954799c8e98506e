/* A matrix times one column, n = 1: a product that reads A once and is bound by that. Part of the gemm template.
 *
 * Bits. Each element is summed in 16 lanes, p in lane p % 16, each lane one fma after the other in order of p, and the
 * lanes are folded 8, 4, 2, 1 apart. So for every layout of A: a row alone is the row among others. No product with
 * n > 1 has this order: there one lane is one column. */

#define V16 (16 / LANES)
#define GEMV_BYTES 131072 /* of A in a chunk, about 2 us: less is not worth a chunk */
#define GEMV_RUN 1024     /* rows summed together where A lies by columns */

typedef struct {
    real_vec v[V16];
} real_v16;

static inline real_v16 v16_zero(void) {
    real_v16 x;
    UNROLL
    for (int j = 0; j < V16; j++) x.v[j] = real_set(0);
    return x;
}

static inline real v16_fold(real_v16 x) {
    UNROLL
    for (int parts = V16 / 2; parts > 0; parts /= 2) UNROLL
    for (int j = 0; j < parts; j++) x.v[j] = real_add(x.v[j], x.v[j + parts]);
    return real_fold(x.v[0]) + 0; /* -0 becomes 0: whether lanes beyond the end were touched must not show */
}

/* out[0 .. ROWS-1] = rows of A, of unit stride, times x. */
#define GEMV_ROWS(ROWS)                                                                                        \
    static inline void gemv_##ROWS##_rows(const real *a, int64_t a_row, const real *x, int64_t k, real *out) { \
        real_v16 sum[ROWS];                                                                                    \
        UNROLL                                                                                                 \
        for (int i = 0; i < ROWS; i++) sum[i] = v16_zero();                                                    \
        int64_t p = 0;                                                                                         \
        for (; p + 16 <= k; p += 16) UNROLL                                                                    \
        for (int j = 0; j < V16; j++) {                                                                        \
            const real_vec v = real_loadu(x + p + j * LANES);                                                  \
            UNROLL                                                                                             \
            for (int i = 0; i < ROWS; i++)                                                                     \
                sum[i].v[j] = real_fma(real_loadu(a + i * a_row + p + j * LANES), v, sum[i].v[j]);             \
        }                                                                                                      \
        UNROLL                                                                                                 \
        for (int j = 0; j < V16; j++)                                                                          \
            if (p + j * LANES < k) {                                                                           \
                const int64_t at = p + j * LANES;                                                              \
                const real_vec v = real_load(x + at, k - at);                                                  \
                UNROLL                                                                                         \
                for (int i = 0; i < ROWS; i++)                                                                 \
                    sum[i].v[j] = real_fma(real_load(a + i * a_row + at, k - at), v, sum[i].v[j]);             \
            }                                                                                                  \
        for (int i = 0; i < ROWS; i++) out[i] = v16_fold(sum[i]);                                              \
    }
GEMV_ROWS(1)
GEMV_ROWS(4)

/* Rows of A that lie in columns: lane after lane, so that only its sums are at hand; lanes are folded as soon as both
 * halves of a pair are there, which the order 0, 8, 4, 12, 2, ... brings about early. */
static void gemv_columns(const real *a, int64_t a_col, const real *x, int64_t k, int64_t rows, real *out) {
    static const int order[16] = {0, 8, 4, 12, 2, 10, 6, 14, 1, 9, 5, 13, 3, 11, 7, 15};
    real sums[5][GEMV_RUN];
    const int64_t whole = k / 16;
    int depth = 0;
    for (int t = 0; t < 16; t++) {
        const int lane = order[t];
        real *sum = sums[depth++];
        int64_t q = 0, count = whole + (lane < k % 16);
        memset(sum, 0, (size_t)at_most((rows + LANES - 1) / LANES * LANES, GEMV_RUN) * sizeof *sum);
        for (; q + 4 <= count; q += 4) {
            const real *c = a + (q * 16 + lane) * a_col, *xs = x + q * 16 + lane;
            const real_vec x0 = real_set(xs[0]), x1 = real_set(xs[16]), x2 = real_set(xs[32]), x3 = real_set(xs[48]);
            for (int64_t i = 0; i < rows; i += LANES) {
                real_vec v = real_fma(real_load(c + i, rows - i), x0, real_loadu(sum + i));
                v = real_fma(real_load(c + 16 * a_col + i, rows - i), x1, v);
                v = real_fma(real_load(c + 32 * a_col + i, rows - i), x2, v);
                real_storeu(sum + i, real_fma(real_load(c + 48 * a_col + i, rows - i), x3, v));
            }
        }
        for (; q < count; q++) {
            const real *c = a + (q * 16 + lane) * a_col;
            const real_vec x0 = real_set(x[q * 16 + lane]);
            for (int64_t i = 0; i < rows; i += LANES)
                real_storeu(sum + i, real_fma(real_load(c + i, rows - i), x0, real_loadu(sum + i)));
        }
        for (int folds = t; folds & 1; folds >>= 1, depth--)
            for (int64_t i = 0; i < rows; i += LANES)
                real_storeu(sums[depth - 2] + i,
                            real_add(real_loadu(sums[depth - 2] + i), real_loadu(sums[depth - 1] + i)));
    }
    for (int64_t i = 0; i < rows; i++) out[i] = sums[0][i] + 0;
}

struct gemv {
    const gemm_args *g;
    const real *x;
    int64_t rows; /* of a chunk */
    struct epilogue epilogue;
};

static void gemv_chunk(void *context, int64_t chunk) {
    const struct gemv *t = context;
    const gemm_args *g = t->g;
    real out[GEMV_RUN];
    for (int64_t i = chunk * t->rows, end = at_most(g->m, i + t->rows); i < end;) {
        const real *a = (const real *)g->a + i * g->a_row;
        real *c = (real *)g->c + i * g->c_row;
        int64_t rows = at_most(end - i, GEMV_RUN), r = 0;
        if (g->a_col == 1 || g->k == 1) {
            for (; r + 4 <= rows; r += 4) gemv_4_rows(a + r * g->a_row, g->a_row, t->x, g->k, out + r);
            for (; r < rows; r++) gemv_1_rows(a + r * g->a_row, g->a_row, t->x, g->k, out + r);
        } else if (g->a_row == 1) {
            gemv_columns(a, g->a_col, t->x, g->k, rows, out);
        } else
            for (; r < rows; r++) { /* neither: 16 numbers of a row at a time */
                real row[16];
                real_v16 sum = v16_zero();
                for (int64_t p = 0; p < g->k; p += 16) {
                    for (int64_t j = 0; j < 16; j++) row[j] = p + j < g->k ? a[r * g->a_row + (p + j) * g->a_col] : 0;
                    for (int64_t j = 0; j < V16 && p + j * LANES < g->k; j++)
                        sum.v[j] = real_fma(real_loadu(row + j * LANES),
                                            real_load(t->x + p + j * LANES, g->k - p - j * LANES), sum.v[j]);
                }
                out[r] = v16_fold(sum);
            }
        if (g->c_row == 1)
            finish(&t->epilogue, out, 0, 1, 0, c, 0, rows);
        else
            finish(&t->epilogue, out, 1, rows, 0, c, g->c_row, 1);
        i += rows;
    }
}

static void multiply_column(const gemm_args *g) {
    struct gemv t = {.g = g, .x = g->b, .epilogue = epilogue_of(g, 1, 1)};
    int64_t x_step = g->b_row;
    t.epilogue.bias_step = 0;
    if (g->packed_b) t.x = g->packed_b, x_step = PANEL;
    if (x_step != 1 && g->k > 1) {
        real *x = kg_scratch(KG_SCRATCH_GEMM_SHARED, (size_t)g->k * sizeof *x);
        for (int64_t p = 0; p < g->k; p++) x[p] = t.x[p * x_step];
        t.x = x;
    }
    int64_t row_bytes = (g->k + 1) * (int64_t)sizeof(real);
    /* Rows that are whole lines of C. Where A lies by columns, long runs in each, but work for all threads. */
    if (g->a_col == 1)
        t.rows = ceil_div(at_most(ceil_div(GEMV_BYTES, row_bytes), g->m), 16) * 16;
    else
        t.rows =
            kg_threads() == 1 ? GEMV_RUN : ceil_div(at_most(ceil_div(g->m, 2 * kg_threads()), GEMV_RUN), 256) * 256;
    kg_parallel(gemv_chunk, &t, ceil_div(g->m, t.rows), (double)g->m * (double)row_bytes / 60e3);
}
