/* Few rows times a transposed B: each block of B is turned in registers and used at once, not packed. And its mirror
 * image, few columns: C' = B' A', with A as the transposed matrix. Part of the gemm template. */

#define TURN_ROWS 8
#define LINE 16 /* a cache line of float32, used up while it is there */

struct turn { /* m <= TURN_ROWS rows of A; chunks are of panels of B */
    const gemm_args *g;
    int64_t panels, chunks;
    int mirror; /* C[j,i] instead of C[i,j] */
};

/* acc[i][0 .. PANEL-1] += a[i, 0 .. count-1] turned[0 .. count-1][PANEL]. */
#define TURN(ROWS)                                                                                         \
    static inline void turn_##ROWS##_rows(const real *a, int64_t a_row, int64_t a_col, const real *turned, \
                                          int64_t count, real *acc) {                                      \
        UNROLL                                                                                             \
        for (int r = 0; r < PANEL; r += 2 * LANES) {                                                       \
            real_vec v[ROWS], w[ROWS];                                                                     \
            UNROLL                                                                                         \
            for (int i = 0; i < ROWS; i++)                                                                 \
                v[i] = real_loadu(acc + i * PANEL + r), w[i] = real_loadu(acc + i * PANEL + r + LANES);    \
            for (int64_t q = 0; q < count; q++) {                                                          \
                const real_vec b0 = real_loadu(turned + q * PANEL + r);                                    \
                const real_vec b1 = real_loadu(turned + q * PANEL + r + LANES);                            \
                UNROLL                                                                                     \
                for (int i = 0; i < ROWS; i++) {                                                           \
                    const real_vec x = real_set(a[i * a_row + q * a_col]);                                 \
                    v[i] = real_fma(x, b0, v[i]), w[i] = real_fma(x, b1, w[i]);                            \
                }                                                                                          \
            }                                                                                              \
            UNROLL                                                                                         \
            for (int i = 0; i < ROWS; i++)                                                                 \
                real_storeu(acc + i * PANEL + r, v[i]), real_storeu(acc + i * PANEL + r + LANES, w[i]);    \
        }                                                                                                  \
    }
TURN(1)
TURN(2)
TURN(4)

/* acc[i][j] = the products of kc values of p, for one panel of B. */
static void turn_panel(const gemm_args *g, const real *a, const real *b, int64_t kc, int64_t columns, real *acc) {
    _Alignas(64) real turned[LINE * PANEL];
    memset(acc, 0, (size_t)(g->m * PANEL) * sizeof *acc);
    const int64_t a_row = g->a_row, a_col = g->a_col;
    for (int64_t p = 0, step = to_next_line(b, g->b_col, LINE); p < kc; p += step, a += step * a_col, step = LINE) {
        const int64_t count = at_most(kc - p, step);
        for (int64_t r = 0; r < columns; r += REAL_BLOCK)
            for (int64_t q = 0; q < count; q += REAL_BLOCK)
                real_transpose(b + r * g->b_col + p + q, g->b_col, columns - r, count - q, turned + q * PANEL + r,
                               PANEL);
        int64_t i = 0; /* of columns that are missing nothing is stored */
        for (; i + 4 <= g->m; i += 4) turn_4_rows(a + i * a_row, a_row, a_col, turned, count, acc + i * PANEL);
        if (i + 2 <= g->m) turn_2_rows(a + i * a_row, a_row, a_col, turned, count, acc + i * PANEL), i += 2;
        if (i < g->m) turn_1_rows(a + i * a_row, a_row, a_col, turned, count, acc + i * PANEL);
    }
}

static void store_mirror(const struct epilogue *e, const real *acc, int64_t m, real *c, int64_t c_row,
                         int64_t columns) {
    real rows[PANEL * TURN_ROWS];
    if (e->plain && !e->activation) {
        for (int64_t j = 0; j < columns; j++)
            for (int64_t i = 0; i < m; i++)
                c[j * c_row + i] = e->add ? acc[i * PANEL + j] + c[j * c_row + i] : acc[i * PANEL + j];
        return;
    }
    for (int64_t j = 0; j < columns; j++)
        for (int64_t i = 0; i < m; i++) rows[j * TURN_ROWS + i] = acc[i * PANEL + j];
    finish(e, rows, TURN_ROWS, columns, 0, c, c_row, m);
}

static void turn_chunk(void *context, int64_t chunk) {
    const struct turn *t = context;
    const gemm_args *g = t->g;
    const int64_t kc = block_rows(g->k), blocks = g->k > KC ? ceil_div(g->k, kc) : 1;
    _Alignas(64) real acc[TURN_ROWS * PANEL];
    for (int64_t j = part(t->panels, t->chunks, chunk); j < part(t->panels, t->chunks, chunk + 1); j++)
        for (int64_t block = 0; block < blocks; block++) {
            const struct epilogue e = epilogue_of(g, block == 0, block == blocks - 1);
            const int64_t p0 = block * kc, columns = at_most(g->n - j * PANEL, PANEL);
            turn_panel(g, (const real *)g->a + p0 * g->a_col, (const real *)g->b + p0 + j * PANEL * g->b_col,
                       at_most(g->k - p0, kc), columns, acc);
            if (t->mirror)
                store_mirror(&e, acc, g->m, (real *)g->c + j * PANEL * g->c_row, g->c_row, columns);
            else
                finish(&e, acc, PANEL, g->m, j * PANEL, (real *)g->c + j * PANEL, g->c_row, columns);
        }
}

static void multiply_turned(const gemm_args *g, int mirror) {
    struct turn t = {.g = g, .panels = ceil_div(g->n, PANEL), .mirror = mirror};
    /* 0.02 ns for each byte that is turned */
    double us = (double)g->n * (double)g->k * (2e-5 * sizeof(real) + (double)g->m / (RATE * 1e3));
    t.chunks = at_most((int64_t)(us / 3) + 1, t.panels);
    kg_parallel(turn_chunk, &t, t.chunks, us);
}

/* The mirror image: B' has few rows, A' is "B". */
static gemm_args mirrored(const gemm_args *g) {
    gemm_args other = *g;
    other.m = g->n, other.n = g->m;
    other.a = g->b, other.a_row = g->b_col, other.a_col = g->b_row;
    other.b = g->a, other.b_row = g->a_col, other.b_col = g->a_row;
    return other;
}

/* Few columns, A stored by columns: C' in a workspace, then turned. */
static void multiply_few_columns(const gemm_args *g) {
    gemm_args other = mirrored(g);
    const struct epilogue e = epilogue_of(g, 1, 1);
    real *out = kg_scratch(KG_SCRATCH_OTHER, (size_t)(g->m * g->n) * sizeof *out);
    other.c = out, other.c_row = g->m, other.bias = NULL, other.activation = 0, other.alpha = 1;
    product(other);
    for (int64_t first = 0; first < g->m; first += PANEL) {
        real acc[TURN_ROWS * PANEL];
        const int64_t rows = at_most(g->m - first, PANEL);
        for (int64_t j = 0; j < g->n; j++) memcpy(acc + j * PANEL, out + j * g->m + first, (size_t)rows * sizeof *acc);
        store_mirror(&e, acc, g->n, (real *)g->c + first * g->c_row, g->c_row, rows);
    }
}
