/* A product over very few values of p, such as the gradient of a matrix from one row: writing C takes the time. So C is
 * written row after row, as it lies. Part of the gemm template. */

#define OUTER_K 8

/* c[j] = x[0] b[0][j] + x[1] b[1][j] + ... */
#define OUTER(K)                                                                                          \
    static void outer_##K(const real *a, int64_t a_col, const real *b, int64_t ldb, int64_t n, real *c) { \
        real_vec x[K];                                                                                    \
        UNROLL                                                                                            \
        for (int p = 0; p < K; p++) x[p] = real_set(a[p * a_col]);                                        \
        int64_t j = 0;                                                                                    \
        for (; j + LANES <= n; j += LANES) {                                                              \
            real_vec v = real_set(0);                                                                     \
            UNROLL                                                                                        \
            for (int p = 0; p < K; p++) v = real_fma(x[p], real_loadu(b + p * ldb + j), v);               \
            real_storeu(c + j, v);                                                                        \
        }                                                                                                 \
        if (j < n) {                                                                                      \
            real_vec v = real_set(0);                                                                     \
            UNROLL                                                                                        \
            for (int p = 0; p < K; p++) v = real_fma(x[p], real_load_tail(b + p * ldb + j, n - j), v);    \
            real_store(c + j, v, n - j);                                                                  \
        }                                                                                                 \
    }
OUTER(1)
OUTER(2)
OUTER(3)
OUTER(4)
OUTER(5)
OUTER(6)
OUTER(7)
OUTER(8)

struct outer {
    const gemm_args *g;
    int64_t rows; /* of a chunk */
};

static void outer_chunk(void *context, int64_t chunk) {
    static void (*const each[])(const real *, int64_t, const real *, int64_t, int64_t,
                                real *) = {outer_1, outer_2, outer_3, outer_4, outer_5, outer_6, outer_7, outer_8};
    const struct outer *t = context;
    const gemm_args *g = t->g;
    for (int64_t i = chunk * t->rows; i < at_most(g->m, (chunk + 1) * t->rows); i++)
        each[g->k - 1]((const real *)g->a + i * g->a_row, g->a_col, g->b, g->b_row, g->n, (real *)g->c + i * g->c_row);
}

static void multiply_outer(const gemm_args *g) {
    struct outer t = {g, ceil_div(32768, g->n)};
    double us = (double)g->m * (double)g->n * (double)(g->k + 3) / (RATE * 1e3);
    kg_parallel(outer_chunk, &t, ceil_div(g->m, t.rows), us);
}

/* More than four rows of B are read at less cost by tiles, unless each of their vectors is within a cache line. */
static int pays_as_outer(const gemm_args *g) {
    const int64_t most = g->b_row % 16 == 0 ? OUTER_K : OUTER_K / 2;
    return g->k > 0 && g->k <= most && g->b_col == 1 && g->n >= 64 && g->m >= 4 && g->alpha == 1 && g->beta == 0 &&
           !g->bias && !g->activation && !g->packed_b;
}
