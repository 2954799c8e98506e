/* Few rows times a transposed B: each block of B is turned in registers and used at once, not packed. And its mirror
 * image, few columns: C' = B' A', with A as the transposed matrix. Part of the gemm template. */

#if defined KG_ISA_avx2 && LANES == 8
#define TURN_ROWS 4 /* more are multiplied sooner by tiles, with panels that are packed */
#else
#define TURN_ROWS 8
#endif
#define LINE 16 /* a cache line of float32, used up while it is there */

struct turn { /* m <= TURN_ROWS rows of A; chunks are of panels of B */
    const gemm_args *g;
    int64_t panels, chunks;
    int mirror; /* C[j,i] instead of C[i,j] */
};

/* acc[i][0 .. TURN_WIDTH-1] += a[i, 0 .. count-1] turned[0 .. count-1][TURN_WIDTH]. No more columns of B at a time, for
 * each is a stream from memory: of 32 the processor loses track. */
#define TURN_WIDTH 16
#define TURN_VECS (LANES < TURN_WIDTH ? 2 : 1)
#define TURN(ROWS)                                                                                              \
    static inline void turn_##ROWS##_rows(const real *a, int64_t a_row, int64_t a_col, const real *turned,      \
                                          int64_t count, real *acc) {                                           \
        UNROLL                                                                                                  \
        for (int r = 0; r < TURN_WIDTH; r += TURN_VECS * LANES) {                                               \
            real_vec v[ROWS][TURN_VECS], b[TURN_VECS];                                                          \
            UNROLL                                                                                              \
            for (int i = 0; i < ROWS; i++) UNROLL                                                               \
            for (int j = 0; j < TURN_VECS; j++) v[i][j] = real_loadu(acc + i * PANEL + r + j * LANES);          \
            for (int64_t q = 0; q < count; q++) {                                                               \
                UNROLL                                                                                          \
                for (int j = 0; j < TURN_VECS; j++) b[j] = real_loadu(turned + q * TURN_WIDTH + r + j * LANES); \
                UNROLL                                                                                          \
                for (int i = 0; i < ROWS; i++) {                                                                \
                    const real_vec x = real_set(a[i * a_row + q * a_col]);                                      \
                    UNROLL                                                                                      \
                    for (int j = 0; j < TURN_VECS; j++) v[i][j] = real_fma(x, b[j], v[i][j]);                   \
                }                                                                                               \
            }                                                                                                   \
            UNROLL                                                                                              \
            for (int i = 0; i < ROWS; i++) UNROLL                                                               \
            for (int j = 0; j < TURN_VECS; j++) real_storeu(acc + i * PANEL + r + j * LANES, v[i][j]);          \
        }                                                                                                       \
    }
TURN(1)
TURN(2)
TURN(4)

/* At most 16 values of p; of columns that are missing nothing is stored in the end. */
static void turn_part(const gemm_args *g, const real *a, const real *b, int64_t columns, int64_t count, real *acc) {
    _Alignas(64) real turned[LINE * TURN_WIDTH];
    const int64_t a_row = g->a_row, a_col = g->a_col;
    for (int64_t r = 0; r < at_most(columns, TURN_WIDTH); r += REAL_BLOCK)
        for (int64_t q = 0; q < count; q += REAL_BLOCK)
            real_transpose(b + r * g->b_col + q, g->b_col, columns - r, count - q, turned + q * TURN_WIDTH + r,
                           TURN_WIDTH);
    int64_t i = 0;
    for (; i + 4 <= g->m; i += 4) turn_4_rows(a + i * a_row, a_row, a_col, turned, count, acc + i * PANEL);
    if (i + 2 <= g->m) turn_2_rows(a + i * a_row, a_row, a_col, turned, count, acc + i * PANEL), i += 2;
    if (i < g->m) turn_1_rows(a + i * a_row, a_row, a_col, turned, count, acc + i * PANEL);
}

typedef void turn_tile(const real *a, int64_t a_row, int64_t a_col, const real *b, int64_t b_col, int64_t blocks,
                       real *acc);
#if LANES == 16
/* The same for whole blocks, which stay in registers, as the sums do. */
#define TURN_WHOLE(ROWS)                                                                                     \
    static void turn_whole_##ROWS(const real *a, int64_t a_row, int64_t a_col, const real *b, int64_t b_col, \
                                  int64_t blocks, real *acc) {                                               \
        real_vec v[ROWS], x[2][8];                                                                           \
        UNROLL                                                                                               \
        for (int i = 0; i < ROWS; i++) v[i] = real_loadu(acc + i * PANEL);                                   \
        for (; blocks; blocks--, b += LINE) {                                                                \
            transpose_load(b, b_col, x);                                                                     \
            UNROLL                                                                                           \
            for (int half = 0; half < 2; half++) {                                                           \
                transpose_half(x[half]);                                                                     \
                UNROLL                                                                                       \
                for (int q = 0; q < 8; q++, a += a_col) UNROLL                                               \
                for (int i = 0; i < ROWS; i++) v[i] = real_fma(real_set(a[i * a_row]), x[half][q], v[i]);    \
            }                                                                                                \
        }                                                                                                    \
        UNROLL                                                                                               \
        for (int i = 0; i < ROWS; i++) real_storeu(acc + i * PANEL, v[i]);                                   \
    }
EACH_ROWS_6(TURN_WHOLE)
TURN_WHOLE(7)
TURN_WHOLE(8)
static turn_tile *const turn_whole[] = {
    0, turn_whole_1, turn_whole_2, turn_whole_3, turn_whole_4, turn_whole_5, turn_whole_6, turn_whole_7, turn_whole_8};
#define TURN_IN_REGISTERS 1
#define turn_sixteen(m, ...) turn_whole[m](__VA_ARGS__)
#elif defined KG_ISA_avx2 && LANES == 8
/* The same for `eights` times 8 columns side by side, STEP values of p at a time. One or two rows make two chains of
 * FMAs, which then wait less for each other; but lines of 16 columns that are a multiple of 4096 bytes apart do not
 * stay in the cache until they are used up. */
#define TURN_WHOLE(ROWS, EIGHTS, STEP)                                                                   \
    static void turn_whole_##ROWS##x##EIGHTS(const real *a, int64_t a_row, int64_t a_col, const real *b, \
                                             int64_t b_col, int64_t blocks, real *acc) {                 \
        real_vec v[ROWS][EIGHTS];                                                                        \
        UNROLL                                                                                           \
        for (int i = 0; i < ROWS; i++) UNROLL                                                            \
        for (int j = 0; j < EIGHTS; j++) v[i][j] = real_loadu(acc + i * PANEL + j * LANES);              \
        for (const real *end = b + blocks * LINE; b < end; b += STEP, a += STEP * a_col) UNROLL          \
        for (int p = 0; p < STEP; p += 4) UNROLL                                                         \
        for (int j = 0; j < EIGHTS; j++) {                                                               \
            transpose_eight x[4];                                                                        \
            transpose_half(b + j * LANES * b_col + p, b_col, x);                                         \
            UNROLL                                                                                       \
            for (int q = 0; q < 4; q++) UNROLL                                                           \
            for (int i = 0; i < ROWS; i++)                                                               \
                v[i][j] = real_fma(real_set(a[i * a_row + (p + q) * a_col]), (real_vec)x[q], v[i][j]);   \
        }                                                                                                \
        UNROLL                                                                                           \
        for (int i = 0; i < ROWS; i++) UNROLL                                                            \
        for (int j = 0; j < EIGHTS; j++) real_storeu(acc + i * PANEL + j * LANES, v[i][j]);              \
    }
#define TURN_ONE(ROWS) TURN_WHOLE(ROWS, 1, LINE)
EACH_ROWS_4(TURN_ONE)
TURN_WHOLE(1, 2, 4)
TURN_WHOLE(2, 2, 4)
static turn_tile *const turn_one[] = {0, turn_whole_1x1, turn_whole_2x1, turn_whole_3x1, turn_whole_4x1};
static turn_tile *const turn_two[] = {0, turn_whole_1x2, turn_whole_2x2};
#define TURN_IN_REGISTERS 1
static inline void turn_sixteen(int64_t m, const real *a, int64_t a_row, int64_t a_col, const real *b, int64_t b_col,
                                int64_t blocks, real *acc) {
    if (m <= 2 && b_col % 1024) {
        turn_two[m](a, a_row, a_col, b, b_col, blocks, acc);
        return;
    }
    turn_one[m](a, a_row, a_col, b, b_col, blocks, acc);
    turn_one[m](a, a_row, a_col, b + LANES * b_col, b_col, blocks, acc + LANES);
}
#endif

/* acc[i][j] = the products of kc values of p, for one panel of B. */
static void turn_panel(const gemm_args *g, const real *a, const real *b, int64_t kc, int64_t columns, real *acc) {
    memset(acc, 0, (size_t)(g->m * PANEL) * sizeof *acc);
    for (int64_t r = 0; r < columns; r += TURN_WIDTH, b += TURN_WIDTH * g->b_col, acc += TURN_WIDTH)
        for (int64_t p = 0, count = to_next_line(b, g->b_col, LINE); p < kc;
             p += count, count = at_most(kc - p, LINE)) {
            count = at_most(kc, count);
#ifdef TURN_IN_REGISTERS
            if (count == LINE && columns - r >= TURN_WIDTH) {
                count = (kc - p) / LINE * LINE;
                turn_sixteen(g->m, a + p * g->a_col, g->a_row, g->a_col, b + p, g->b_col, count / LINE, acc);
                continue;
            }
#endif
            turn_part(g, a + p * g->a_col, b + p, columns - r, count, acc);
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
