/* The gemm template: blocks of k, chunks for threads, paths for small and thin products. Whoever includes it defines
 * `real`, its vectors and REAL_KERNEL, the kernel's name.
 *
 * Bits. p is cut into blocks of at most KC, by k alone. In each, an element starts at zero and takes one fma per p, in
 * order; the blocks are then added to C in order. Tile shapes, packing and threads only decide which elements are
 * computed together, so they cannot change a bit; KC can, and is the same everywhere. p is never split between threads
 * or lanes; but for a single column of B, where each element sums in 16 lanes (gemv.h).
 *
 * Speed. B is used in panels of 32 columns (AVX2: 16): in place where it is row-major, small and free of 4096-byte
 * strides, otherwise packed. A register tile multiplies a strip of rows of A, which stays in L1, with a panel that
 * streams from L2. Rows are split evenly, never padded. */
#include "matmul/gemm_tile.h"

#include "matmul/gemm_pack.h"

#define CHUNK_PANELS 8    /* 8 panels x KC = 384 KB of float32, or 192 of AVX2, within L2 */
#define CHUNK_WORK 262144 /* multiply-adds, about 5 us: less is not worth a chunk */
/* multiply-adds in a nanosecond, for the estimates that decide about threads: 2 vectors a cycle, at about 3.5 GHz */
#define RATE (VEC_HAS_FMA ? 55.0 * sizeof(float) / sizeof(real) : 14.0 * sizeof(float) / sizeof(real))

static inline int64_t at_most(int64_t x, int64_t limit) { return x < limit ? x : limit; }
static inline int64_t ceil_div(int64_t x, int64_t y) { return (x + y - 1) / y; }
static inline int64_t part(int64_t total, int64_t parts, int64_t i) { /* where part i starts */
    return parts == 1 ? i * total : (int64_t)((uint64_t)(i * total) / (uint64_t)parts);
}

/* What a product takes, in multiply-adds: tiles do whole vectors of columns; to store an element is as good as six
 * more, and an activation takes some 0.4 ns. */
static double work_of(const gemm_args *g) {
    return (double)g->m * (double)(ceil_div(g->n, 16) * 16) * (double)(g->k + (g->activation > GEMM_RELU ? 30 : 6));
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

static struct epilogue epilogue_of(const gemm_args *g, int first, int last) {
    struct epilogue e = {.alpha = (real)g->alpha, .beta = first ? (real)g->beta : 1};
    if (last) e.bias = g->bias, e.bias_step = 1, e.activation = g->activation;
    e.add = e.beta == 1;
    e.direct = g->alpha == 1 && (e.beta == 0 || e.beta == 1) && e.activation <= GEMM_RELU;
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

#include "matmul/gemm_blocks.h"

#include "matmul/gemm_stream.h"

static void product(gemm_args g);

#include "matmul/gemv.h"

#include "matmul/gemm_turn.h"

#include "matmul/gemm_narrow.h"

#include "matmul/gemm_outer.h"

/* ---- One product ---- */

static void product(gemm_args g) {
    if (g.m == 0 || g.n == 0) return;
    const int few_columns = g.n <= TURN_ROWS && g.m >= PANEL && g.k >= 8 && g.beta == 0 && !g.packed_b;
    if (g.n == 1)
        multiply_column(&g);
    else if (pays_as_outer(&g))
        multiply_outer(&g);
    else if (g.m <= STREAM_ROWS && g.b_col == 1 && !g.packed_b && g.n >= 64 && g.n * g.k > stream_from(&g))
        multiply_stream(&g);
    else if (pays_as_narrow(&g))
        multiply_narrow(&g);
    else if (g.m <= TURN_ROWS && g.b_row == 1 && g.b_col != 1 && (g.n >= PANEL / 2 || (g.m <= 4 && g.k >= 64)) &&
             !g.packed_b)
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
    int64_t count, chunks, parts, a_batch, b_batch, c_batch; /* parts: of the rows of each product, on their own */
};

static void product_of_batch(const struct batch *t, int64_t i) {
    const int64_t item = i / t->parts, first = part(t->g.m, t->parts, i % t->parts);
    gemm_args g = t->g;
    g.m = part(t->g.m, t->parts, i % t->parts + 1) - first;
    g.a = (const real *)g.a + item * t->a_batch + first * g.a_row;
    if (g.b) g.b = (const real *)g.b + item * t->b_batch;
    g.c = (real *)g.c + item * t->c_batch + first * g.c_row;
    product(g);
}

static void batch_chunk(void *context, int64_t chunk) {
    const struct batch *t = context;
    const int64_t all = t->count * t->parts;
    for (int64_t i = part(all, t->chunks, chunk); i < part(all, t->chunks, chunk + 1); i++) product_of_batch(t, i);
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
    const double work = work_of(&t.g), all = work * (double)t.count;
    const int64_t threads = kg_threads(), wanted = ceil_div(4, t.count) * threads;
    t.parts = 1;
    if (work < 64.0 * CHUNK_WORK) {                  /* a region for all, or else one for each product */
        if (t.count < 4 * threads && t.g.b_col == 1) /* few products give equal shares only in parts */
            t.parts = at_most(at_most(wanted, (int64_t)(work / CHUNK_WORK) + 1), t.g.m);
        t.chunks = at_most(at_most((int64_t)(all / CHUNK_WORK) + 1, t.count * t.parts), 256);
        kg_parallel(batch_chunk, &t, t.chunks, all / (RATE * 1e3));
    } else
        for (int64_t i = 0; i < t.count; i++) product_of_batch(&t, i);
}
