/* The general product: blocks of k, chunks of rows and columns of C, in tiles. Part of the gemm template.
 *
 * A chunk takes all blocks of k in turn, so that its part of C stays at hand and threads meet once, at the end. What
 * has to be packed is packed by the chunk that needs it, into its own L2; but what many chunks would pack again is
 * packed once for all, in a region before. */

#define SHARED_BYTES (12 << 20) /* packed for all at a time, or one block of k, if that is more */
#define SHARED_FROM 65536       /* elements packed in vain: fewer cost less than one more region */
#define CHUNK_STRIPS 6          /* at least, in a chunk of a large product: a group of panels is fetched for each */

/* Where tiles have few rows (ROWS_AS_STRIPS): */
#define STRIPS_FROM 65   /* columns, from which on they pay for strips of rows of A */
#define PACKED_B_ROWS 24 /* rows that pay for panels of a B that fits the cache, */
#define PACKED_FROM 3e6  /* and multiply-adds that do for either; small products share less packing than it costs */

enum where { IN_PLACE, BY_CHUNK, FOR_ALL };

struct blocks {
    const gemm_args *g;
    int64_t kc, count, first, last; /* blocks of k: rows of B in each; those of this pass */
    int64_t strips, panels;         /* strips: sets of at most MAX_ROWS rows */
    int64_t row_chunks, column_chunks;
    int by_rows; /* consecutive chunks, those of one thread, have the same rows, or else the same columns */
    enum where a, b;
    int rows;                  /* A is packed as rows, not as strips */
    real *shared_a, *shared_b; /* of the rows of B in this pass: strips or rows of A `apart_a`, panels `apart_b` */
    int64_t apart_a, apart_b;
};

static inline int64_t block_begin(const struct blocks *t, int64_t block) { return block * t->kc; }
static inline int64_t block_end(const struct blocks *t, int64_t block) { return at_most((block + 1) * t->kc, t->g->k); }
static inline int64_t strip_begin(const struct blocks *t, int64_t strip) { return part(t->g->m, t->strips, strip); }

/* Strips first .. first+count-1 (at most STRIPS) of A. */
static void pack_some_strips(const struct blocks *t, int64_t first, int64_t count, int64_t p0, int64_t kc, real *out,
                             int64_t apart) {
    int64_t starts[STRIPS + 1];
    for (int64_t j = 0; j <= count; j++) starts[j] = strip_begin(t, first + j);
    pack_strips(t->g, starts, count, p0, kc, out, apart);
}

/* ---- What all chunks read: STRIPS strips of A or CHUNK_PANELS panels of B, one block of k of them ---- */

static void pack_chunk(void *context, int64_t chunk) {
    const struct blocks *t = context;
    const gemm_args *g = t->g;
    const int64_t block = t->first + chunk % (t->last - t->first);
    const int64_t p0 = block_begin(t, block), kc = block_end(t, block) - p0, at = p0 - block_begin(t, t->first);
    const int64_t b_parts = t->b == FOR_ALL ? ceil_div(t->panels, CHUNK_PANELS) : 0;
    int64_t i = chunk / (t->last - t->first);
    if (i < b_parts) {
        const int64_t panel = i * CHUNK_PANELS;
        pack_panels(g, panel, at_most(panel + CHUNK_PANELS, t->panels), p0, kc,
                    t->shared_b + panel * t->apart_b + at * PANEL, t->apart_b);
        return;
    }
    const int64_t strip = (i - b_parts) * STRIPS, count = at_most(t->strips - strip, STRIPS);
    if (t->rows) {
        const int64_t row = strip_begin(t, strip);
        pack_rows((const real *)g->a + row * g->a_row + p0, g->a_row, strip_begin(t, strip + count) - row, kc,
                  t->shared_a + row * t->apart_a + at, t->apart_a);
    } else
        pack_some_strips(t, strip, count, p0, kc, t->shared_a + strip * t->apart_a + at * STRIP, t->apart_a);
}

/* ---- The product ---- */

static void multiply_block(const struct blocks *t, int64_t block, int64_t strip0, int64_t strip1, int64_t panel0,
                           int64_t panel1, real *own_a, real *own_b) {
    const gemm_args *g = t->g;
    const struct epilogue e = epilogue_of(g, block == 0, block == t->count - 1);
    const int64_t p0 = block_begin(t, block), kc = block_end(t, block) - p0, at = p0 - block_begin(t, t->first);
    const int64_t end = at_most(panel1 * PANEL, g->n);
    const real *b = (const real *)g->b + p0 * g->b_row + panel0 * PANEL;
    int64_t ldb = g->b_row, apart = PANEL;
    if (g->packed_b)
        b = (const real *)g->packed_b + panel0 * PANEL * g->k + p0 * PANEL, ldb = PANEL, apart = PANEL * g->k;
    else if (t->b == FOR_ALL)
        b = t->shared_b + panel0 * t->apart_b + at * PANEL, ldb = PANEL, apart = t->apart_b;
    else if (t->b == BY_CHUNK) {
        b = own_b, ldb = PANEL, apart = PANEL_APART(kc);
        pack_panels(g, panel0, panel1, p0, kc, own_b, apart);
    }
    for (int64_t s = strip0; s < strip1; s++) {
        const int64_t first = strip_begin(t, s), rows = strip_begin(t, s + 1) - first;
        /* While a tile is multiplied it fetches two runs of the next strip into L1: `soon`, `soon_row` apart. */
        const real *a = (const real *)g->a + first * g->a_row + p0 * g->a_col, *soon = a;
        int64_t a_row = g->a_row, a_col = g->a_col, soon_row = 0;
        if (t->a == FOR_ALL && t->rows) {
            a = soon = t->shared_a + first * t->apart_a + at, a_row = t->apart_a;
            if (s + 1 < strip1) soon = a + rows * a_row, soon_row = a_row;
        } else if (t->a == FOR_ALL) {
            a = soon = t->shared_a + s * t->apart_a + at * STRIP, a_row = 1, a_col = STRIP;
            if (s + 1 < strip1) soon = a + t->apart_a, soon_row = kc;
        } else if (t->a == BY_CHUNK && t->rows) {
            if (s + 1 < strip1) soon = a + rows * a_row, soon_row = a_row;
            pack_rows(a, a_row, rows, kc, own_a, PACKED_ROW);
            a = own_a, a_row = PACKED_ROW;
        } else if (t->a == BY_CHUNK) {
            const int64_t i = (s - strip0) % STRIPS;
            if (i == 0) pack_some_strips(t, s, at_most(strip1 - s, STRIPS), p0, kc, own_a, STRIP_APART(kc));
            a = own_a + i * STRIP_APART(kc), a_row = 1, a_col = STRIP;
        } else if (a_col == 1 && s + 1 < strip1)
            soon = a + rows * a_row, soon_row = a_row;
        multiply_strip(&e, rows, kc, a, a_row, a_col, b, ldb, apart, (real *)g->c + first * g->c_row, g->c_row,
                       panel0 * PANEL, end, soon, soon_row);
    }
}

static void multiply_chunk(void *context, int64_t chunk) {
    const struct blocks *t = context;
    const int64_t row_chunk = t->by_rows ? chunk / t->column_chunks : chunk % t->row_chunks;
    const int64_t column_chunk = t->by_rows ? chunk % t->column_chunks : chunk / t->row_chunks;
    const int64_t panel0 = part(t->panels, t->column_chunks, column_chunk);
    const int64_t panel1 = part(t->panels, t->column_chunks, column_chunk + 1);
    const int64_t strip0 = part(t->strips, t->row_chunks, row_chunk);
    const int64_t strip1 = part(t->strips, t->row_chunks, row_chunk + 1);
    real *own_a = NULL, *own_b = NULL;
    if (t->a == BY_CHUNK || t->b == BY_CHUNK) {
        int64_t a_size = 0, b_size = t->b == BY_CHUNK ? (panel1 - panel0) * PANEL_APART(t->kc) : 0;
        if (t->a == BY_CHUNK) a_size = t->rows ? MAX_ROWS * PACKED_ROW : STRIPS * STRIP_APART(t->kc);
        own_a = kg_scratch(KG_SCRATCH_GEMM, (size_t)(a_size + b_size) * sizeof(real));
        own_b = own_a + a_size;
    }
    for (int64_t block = t->first; block < t->last; block++)
        multiply_block(t, block, strip0, strip1, panel0, panel1, own_a, own_b);
}

/* ---- The plan ---- */

static inline int collides(int64_t stride, int64_t bytes) { return stride * (int64_t)sizeof(real) % bytes == 0; }

/* Whether a row-major B is read in place: small, and free of 4096-byte strides. Two threads lose more by fetching what
 * the other has packed; where its rows begin anywhere in a cache line, each panel takes one line more. Tiles of few
 * rows take a line of B every six cycles, which only packed panels can give them, one line after the other. */
static inline int stays_in_place(const gemm_args *g) {
    const int64_t size = g->k * g->n;
    if (g->m <= 3) return 1;
    if (g->k > 64 && collides(g->b_row, 4096)) return 0;
    if (ROWS_AS_STRIPS)
        return size <= 4096 || (size <= 1 << 17 && g->m < PACKED_B_ROWS) ||
               ((double)size * (double)g->m < PACKED_FROM && !collides(g->b_row, 1024));
    if (g->b_row % 16) return size <= (kg_threads() > 1 ? 1 << 19 : 1 << 17);
    return size <= (g->m <= 512 ? 1 << 22 : 1 << 20);
}

/* Strips of A, if many columns use them; or else rows that meet in one set of the cache. */
static inline int pays_to_pack_rows(const gemm_args *g) {
    if (ROWS_AS_STRIPS) return g->n >= STRIPS_FROM && (double)g->m * (double)g->n * (double)g->k >= PACKED_FROM;
    return g->m > 4 && collides(g->a_row, 4096);
}

/* Many chunks for each thread, so that one which starts late or is slowed down takes fewer; how they are cut changes no
 * bit. Columns are cut where A fits the cache, or else rows, if all of a block of B does; large products are cut into
 * both, by groups of panels which stay in L2 for some strips. Who packs for itself cuts one way, and less. Small
 * products are cut into as many rows for each thread: two threads that write the same lines of C lose microseconds. */
static void cut(struct blocks *t, int pack_a, int pack_b, double work) {
    const gemm_args *g = t->g;
    const int64_t groups = ceil_div(t->panels, CHUNK_PANELS), threads = kg_threads();
    const int a_fits = g->m * t->kc <= 65536, b_fits = g->n * t->kc <= 131072;
    const int64_t wanted = threads == 1 ? 1 : at_most((int64_t)(work / CHUNK_WORK) + 1, 12 * threads);
    const int64_t few = at_most(wanted, 4 * threads);
    t->column_chunks = groups, t->row_chunks = 1;
    if (wanted == 1) return;
    if (a_fits && !pack_a && !pack_b && g->n * t->kc < 65536) {
        const int64_t shares = at_most(wanted, threads);
        t->by_rows = 1;
        if (t->strips < 8 * shares) t->strips = at_most(ceil_div(t->strips, shares) * shares, g->m);
        t->row_chunks = at_most(ceil_div(wanted, shares) * shares, t->strips);
        if (t->row_chunks < 2 * threads) t->column_chunks = at_most(ceil_div(few, t->row_chunks), t->panels);
    } else if (b_fits && (!a_fits || (pack_a && !pack_b))) {
        t->row_chunks = at_most(wanted, t->strips);
        if (groups < few) t->column_chunks = at_most(ceil_div(few, t->row_chunks), t->panels);
    } else if (a_fits) {
        if (groups < few) t->column_chunks = at_most(few, t->panels);
        t->row_chunks = at_most(ceil_div(pack_b ? few : wanted, t->column_chunks), t->strips);
    } else {
        t->row_chunks = at_most(ceil_div(wanted, groups), ceil_div(t->strips, CHUNK_STRIPS));
        const int64_t shares = at_most(groups, threads); /* to each thread groups of its own */
        t->column_chunks = at_most(ceil_div(groups, shares) * shares, t->panels);
        if (t->row_chunks * groups < few) t->column_chunks = at_most(few, t->panels);
    }
}

static void multiply(const gemm_args *g) {
    struct blocks t = {.g = g,
                       .rows = g->a_col == 1 && !ROWS_AS_STRIPS,
                       .strips = ceil_div(g->m, MAX_ROWS),
                       .panels = ceil_div(g->n, PANEL)};
    const double work = work_of(g);
    /* Chunks of columns, each with panels to pack, would all pack A, too, or wait until it is packed for them. */
    const int64_t in_place = g->b_col != 1 && !collides(g->a_col, 2048) ? 65536 : 32768;
    const int pack_a = g->n > 64 && (g->a_col != 1 ? g->m * g->k > in_place : pays_to_pack_rows(g));
    const int pack_b = !g->packed_b && (g->b_col != 1 || !stays_in_place(g));
    if (!pack_b && !g->packed_b && work <= CHUNK_WORK && g->k <= KC) {
        multiply_small(g);
        return;
    }
    t.kc = block_rows(g->k), t.count = g->k > KC ? ceil_div(g->k, t.kc) : 1;
    cut(&t, pack_a, pack_b, work);
    t.a = pack_a ? BY_CHUNK : IN_PLACE, t.b = pack_b ? BY_CHUNK : IN_PLACE;
    int64_t vain = pack_a ? (t.column_chunks - 1) * g->m * g->k : 0;
    if (pack_b) vain += (t.row_chunks - 1) * g->n * g->k;
    if (vain > SHARED_FROM) {
        if (pack_a && t.column_chunks > 1) t.a = FOR_ALL;
        if (pack_b && t.row_chunks > 1) t.b = FOR_ALL;
    }
    const int64_t rows = t.a == FOR_ALL ? ceil_div(g->m, 16) * 16 + STRIP * t.strips : 0;
    const int64_t columns = t.b == FOR_ALL ? t.panels * PANEL : 0;
    int64_t together = t.count;
    if (rows + columns)
        together = at_most(t.count, SHARED_BYTES / ((rows + columns) * t.kc * (int64_t)sizeof(real)) + 1);

    const double read_us = (double)g->n * (double)g->k * sizeof(real) / 40e3;
    double us = work / (RATE * 1e3);
    if (us < read_us) us = read_us;
    for (; t.first < t.count; t.first = t.last) {
        t.last = at_most(t.first + together, t.count);
        const int64_t k = block_end(&t, t.last - 1) - block_begin(&t, t.first);
        if (rows + columns) {
            t.apart_b = PANEL_APART(k);
            t.apart_a = t.rows ? ceil_div(k, 16) * 16 + 16 : STRIP_APART(k);
            if (t.rows && collides(t.apart_a, 2048)) t.apart_a += 16;
            const int64_t a_size = t.a == FOR_ALL ? (t.rows ? g->m : t.strips) * t.apart_a : 0;
            const int64_t b_size = t.b == FOR_ALL ? t.panels * t.apart_b : 0;
            t.shared_b = kg_scratch(KG_SCRATCH_GEMM_SHARED, (size_t)(a_size + b_size) * sizeof(real));
            t.shared_a = t.shared_b + b_size;
            const int64_t parts = (t.b == FOR_ALL ? ceil_div(t.panels, CHUNK_PANELS) : 0) +
                                  (t.a == FOR_ALL ? ceil_div(t.strips, STRIPS) : 0);
            kg_parallel(pack_chunk, &t, parts * (t.last - t.first), (double)(a_size + b_size) * 3e-4);
        }
        kg_parallel(multiply_chunk, &t, t.row_chunks * t.column_chunks, us * (double)k / (double)g->k);
    }
}
