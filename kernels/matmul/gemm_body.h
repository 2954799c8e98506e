/* The gemm template: blocks of k, chunks for threads, paths for small and thin products. Whoever includes it defines
 * `real`, its vectors and REAL_KERNEL, the kernel's name.
 *
 * Bits. p is cut into blocks of at most KC, by k alone. In each, an element starts at zero and takes one fma per p, in
 * order; the blocks are then added to C in order. Tile shapes, packing and threads only decide which elements are
 * computed together, so they cannot change a bit; KC can, and is the same everywhere. p is never split between threads
 * or lanes; but for a single column of B, where each element sums in 16 lanes (gemv.h).
 *
 * Speed. B is used in panels of 32 columns: in place where it is row-major, small and free of 4096-byte strides,
 * otherwise packed. A register tile multiplies a strip of rows of A, which stays in L1, with a panel that streams from
 * L2. Rows are split evenly, never padded. */
#include "matmul/gemm_tile.h"

#include "matmul/gemm_pack.h"

#define CHUNK_PANELS 8    /* 8 panels x KC = 384 KB of float32, within L2 */
#define CHUNK_WORK 262144 /* multiply-adds, about 5 us: less is not worth a chunk */
/* multiply-adds in a nanosecond, for the estimates that decide about threads: 2 vectors a cycle, at about 3.5 GHz */
#define RATE (VEC_HAS_FMA ? 55.0 * sizeof(float) / sizeof(real) : 14.0 * sizeof(float) / sizeof(real))

struct block { /* columns p0 .. p0+kc-1 of A times the same rows of B */
    const gemm_args *g;
    int64_t p0, kc, strips, panels; /* strips: sets of at most MAX_ROWS rows */
    int64_t row_chunks, column_chunks;
    int pack_a, pack_b;
    struct epilogue epilogue;
};

static inline int64_t at_most(int64_t x, int64_t limit) { return x < limit ? x : limit; }
static inline int64_t ceil_div(int64_t x, int64_t y) { return (x + y - 1) / y; }
static inline int64_t part(int64_t total, int64_t parts, int64_t i) { /* where part i starts */
    return parts == 1 ? i * total : (int64_t)((uint64_t)(i * total) / (uint64_t)parts);
}

/* How many rows of B a block has: equal shares of at most KC, whole cache lines of a row of transposed B. */
static inline int64_t block_rows(int64_t k) { return k <= KC ? k : ceil_div(ceil_div(k, ceil_div(k, KC)), 16) * 16; }

/* One strip of `rows` rows times the columns from `first` to `end`. B's panels lie `apart`, the first holds column
 * `first`. */
static inline void multiply_strip(const struct epilogue *e, int64_t rows, int64_t kc, const real *a, int64_t a_row,
                                  int64_t a_col, const real *b, int64_t ldb, int64_t apart, real *c, int64_t c_row,
                                  int64_t first, int64_t end, const real *soon, int64_t soon_row) {
    for (int64_t j = first; j < end;) {
        const real *bj = b + (j - first) / PANEL * apart + (j - first) % PANEL;
        if (rows <= WIDE_ROWS && j + WIDE <= end && (j - first) % PANEL == 0) {
            wide_tiles[rows](kc, a, a_row, a_col, bj, ldb, apart, c + j, c_row, end - j, e, j, a, 0);
            j += WIDE;
        } else if (j + 2 * LANES <= end) {
            tiles[rows](kc, a, a_row, a_col, bj, ldb, apart, c + j, c_row, end - j, e, j, soon, soon_row);
            j += 2 * LANES, soon += 2 * soon_row;
        } else {
            edge_tiles[rows](kc, a, a_row, a_col, bj, ldb, apart, c + j, c_row, at_most(end - j, LANES), e, j, soon, 0);
            j += LANES;
        }
    }
}

/* Each chunk packs what it needs into its own L2: no shared buffers, no region of its own. */
static void multiply_chunk(void *context, int64_t chunk) {
    const struct block *t = context;
    const gemm_args *g = t->g;
    int64_t row_chunk = chunk % t->row_chunks, column_chunk = chunk / t->row_chunks;
    int64_t panel0 = part(t->panels, t->column_chunks, column_chunk);
    int64_t panel1 = part(t->panels, t->column_chunks, column_chunk + 1);
    real *packed_b = NULL, *packed_a = NULL;
    const real *b;
    int64_t ldb = PANEL, apart = PANEL * t->kc, end = at_most(panel1 * PANEL, g->n);
    if (t->pack_a || t->pack_b) {
        const size_t a_size =
            STRIPS * STRIP_APART(KC) > MAX_ROWS * PACKED_ROW ? STRIPS * STRIP_APART(KC) : MAX_ROWS * PACKED_ROW;
        packed_a = kg_scratch(KG_SCRATCH_GEMM, (a_size + (t->pack_b ? CHUNK_PANELS * PANEL * KC : 0)) * sizeof(real));
        packed_b = packed_a + a_size;
    }
    if (g->packed_b)
        b = (const real *)g->packed_b + panel0 * PANEL * g->k + t->p0 * PANEL, apart = PANEL * g->k;
    else if (t->pack_b)
        pack_panels(g, panel0, panel1, t->p0, t->kc, packed_b, apart), b = packed_b;
    else
        b = (const real *)g->b + t->p0 * g->b_row + panel0 * PANEL, ldb = g->b_row, apart = PANEL;

    int64_t strip0 = part(t->strips, t->row_chunks, row_chunk), strip1 = part(t->strips, t->row_chunks, row_chunk + 1);
    for (int64_t s = strip0; s < strip1; s++) {
        int64_t first = part(g->m, t->strips, s), rows = part(g->m, t->strips, s + 1) - first;
        int64_t a_row = g->a_row, a_col = g->a_col, soon_row = 0;
        const real *a = (const real *)g->a + first * a_row + t->p0 * a_col, *soon = a;
        if (t->pack_a && a_col == 1) {
            if (s + 1 < t->strips) soon = a + rows * a_row, soon_row = a_row;
            pack_rows(a, a_row, rows, t->kc, packed_a);
            a = packed_a, a_row = PACKED_ROW;
        } else if (t->pack_a) {
            int64_t i = (s - strip0) % STRIPS;
            if (i == 0) {
                int64_t starts[STRIPS + 1], count = at_most(strip1 - s, STRIPS);
                for (int64_t j = 0; j <= count; j++) starts[j] = part(g->m, t->strips, s + j);
                pack_strips(g, starts, count, t->p0, t->kc, packed_a);
            }
            a = packed_a + i * STRIP_APART(t->kc), a_row = 1, a_col = STRIP;
        }
        multiply_strip(&t->epilogue, rows, t->kc, a, a_row, a_col, b, ldb, apart, (real *)g->c + first * g->c_row,
                       g->c_row, panel0 * PANEL, end, soon, soon_row);
    }
}

static struct epilogue epilogue_of(const gemm_args *g, int first, int last) {
    struct epilogue e = {.alpha = (real)g->alpha, .beta = first ? (real)g->beta : 1};
    if (last) e.bias = g->bias, e.bias_step = 1, e.activation = g->activation;
    e.add = e.beta == 1;
    e.plain = g->alpha == 1 && (e.beta == 0 || e.beta == 1) && !e.bias;
    return e;
}

/* One chunk's work with B in place: nothing to decide, nothing to pack, nobody to wake. */
static void multiply_small(const gemm_args *g) {
    const struct epilogue e = epilogue_of(g, 1, 1);
    const real *a = g->a;
    real *c = g->c;
    int64_t strips = (g->m + MAX_ROWS - 1) / MAX_ROWS;
    int64_t rows = strips == 1 ? g->m : (int64_t)((uint32_t)g->m / (uint32_t)strips), more = g->m - rows * strips;
    for (int64_t s = 0; s < strips; s++) {
        int64_t own = rows + (s < more);
        multiply_strip(&e, own, g->k, a, g->a_row, g->a_col, g->b, g->b_row, PANEL, c, g->c_row, 0, g->n, a, 0);
        a += own * g->a_row, c += own * g->c_row;
    }
}

static inline int collides(int64_t stride, int64_t bytes) { return stride * (int64_t)sizeof(real) % bytes == 0; }

static void multiply(const gemm_args *g) {
    struct block t = {.g = g, .strips = ceil_div(g->m, MAX_ROWS), .panels = ceil_div(g->n, PANEL)};
    double work = (double)g->m * (double)g->n * (double)g->k;
    t.pack_a = g->n > 2 * PANEL && (g->a_col != 1 ? g->m * g->k > 32768 : g->m > 4 && collides(g->a_row, 2048));
    t.pack_b = !g->packed_b &&
               (g->b_col != 1 || (g->m > 3 && (g->k * g->n > 131072 || (g->k > 64 && collides(g->b_row, 4096)))));
    if (!t.pack_b && !g->packed_b && work <= CHUNK_WORK && g->k <= KC) {
        multiply_small(g);
        return;
    }
    /* Columns first, then rows; chunks of at least CHUNK_WORK, 4 for each thread: how many changes no bit. */
    const int64_t kc = block_rows(g->k), blocks = g->k > KC ? ceil_div(g->k, kc) : 1;
    int64_t wanted =
        kg_threads() == 1 ? 1 : at_most((int64_t)(work / (double)blocks / CHUNK_WORK) + 1, 4 * kg_threads());
    t.column_chunks = ceil_div(t.panels, CHUNK_PANELS);
    int64_t narrowest = t.pack_a ? 4 : 1; /* panels in a chunk: each packs its strips of A again */
    if (t.column_chunks < wanted) t.column_chunks = at_most(wanted, ceil_div(t.panels, narrowest));
    t.row_chunks = at_most(ceil_div(wanted, t.column_chunks), t.strips);

    double us = work / (double)blocks / (RATE * 1e3), read_us = (double)g->n * (double)kc * sizeof(real) / 40e3;
    for (int64_t block = 0; block < blocks; block++, t.p0 += kc) {
        t.epilogue = epilogue_of(g, block == 0, block == blocks - 1);
        t.kc = at_most(g->k - t.p0, kc);
        kg_parallel(multiply_chunk, &t, t.row_chunks * t.column_chunks, us > read_us ? us : read_us);
    }
}

/* ---- Few rows times a row-major B larger than the cache: p outside, so that B is read as it lies ---- */

#define STREAM_ROWS 56
#define STREAM_FLOATS 8192 /* accumulators of all rows stay in L1 */
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

/* Elements of B: below that tiles are faster, which read B in place from L2. */
static inline int64_t stream_from(int64_t m) { return m == 1 ? 262144 : m <= 3 ? 32768 : 131072; }

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

static void product(gemm_args g);

#include "matmul/gemv.h"

#include "matmul/gemm_turn.h"

#include "matmul/gemm_outer.h"

/* ---- One product ---- */

static void product(gemm_args g) {
    if (g.m == 0 || g.n == 0) return;
    const int few_columns = g.n <= TURN_ROWS && g.m >= PANEL && g.k >= 8 && g.beta == 0 && !g.packed_b;
    if (g.n == 1)
        multiply_column(&g);
    else if (pays_as_outer(&g))
        multiply_outer(&g);
    else if (g.m <= STREAM_ROWS && g.b_col == 1 && !g.packed_b && g.n >= 64 && g.n * g.k > stream_from(g.m))
        multiply_stream(&g);
    else if (g.m <= TURN_ROWS && g.b_row == 1 && g.b_col != 1 && (g.m == 1 || !collides(g.b_col, 2048)) &&
             (g.n >= PANEL / 2 || (g.m <= 4 && g.k >= 64)) && !g.packed_b)
        multiply_turned(&g, 0);
    else if (few_columns && g.a_col == 1) {
        const gemm_args other = mirrored(&g);
        multiply_turned(&other, 1);
    } else if (few_columns && g.a_row == 1 && (g.k <= KC || (!g.bias && g.alpha == 1)))
        multiply_few_columns(&g);
    else
        multiply(&g);
}

/* ---- The batch ---- */

struct batch {
    gemm_args g;
    int64_t count, chunks, a_batch, b_batch, c_batch;
};

static void product_of_batch(const struct batch *t, int64_t i) {
    gemm_args g = t->g;
    g.a = (const real *)g.a + i * t->a_batch;
    if (g.b) g.b = (const real *)g.b + i * t->b_batch;
    g.c = (real *)g.c + i * t->c_batch;
    product(g);
}

static void batch_chunk(void *context, int64_t chunk) {
    const struct batch *t = context;
    for (int64_t i = part(t->count, t->chunks, chunk); i < part(t->count, t->chunks, chunk + 1); i++)
        product_of_batch(t, i);
}

/* See gemm.h for the arguments. */
static void REAL_KERNEL(void *const *arrays, const int64_t *sizes, const double *scalars, int64_t start, int64_t stop) {
    struct batch t = {.count = sizes[0], .a_batch = sizes[9], .b_batch = sizes[10], .c_batch = sizes[11]};
    t.g = (gemm_args){.m = sizes[1],
                      .n = sizes[2],
                      .k = sizes[3],
                      .a = arrays[0],
                      .b = arrays[1],
                      .bias = arrays[2],
                      .packed_b = arrays[3],
                      .c = arrays[4],
                      .a_row = sizes[4],
                      .a_col = sizes[5],
                      .b_row = sizes[6],
                      .b_col = sizes[7],
                      .c_row = sizes[8],
                      .alpha = scalars[0],
                      .beta = scalars[1],
                      .activation = (int)sizes[12]};
    (void)start, (void)stop;
    if (t.count == 1) {
        product(t.g);
        return;
    }
    double work = (double)t.g.m * (double)t.g.n * (double)t.g.k;
    if (work < 64.0 * CHUNK_WORK) { /* a region for all, or else one for each product */
        t.chunks = (int64_t)(work * (double)t.count / CHUNK_WORK) + 1;
        t.chunks = at_most(at_most(t.chunks, t.count), 256);
        kg_parallel(batch_chunk, &t, t.chunks, work * (double)t.count / (RATE * 1e3));
    } else
        for (int64_t i = 0; i < t.count; i++) product_of_batch(&t, i);
}
