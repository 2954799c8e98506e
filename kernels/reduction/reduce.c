/* The engine under the reductions: pieces of 2^k blocks go to the pool, and merge in the order tree.h fixes. */
#include "reduction/reduce.h"
#include "runtime/pool.h"
#include "runtime/scratch.h"

enum {
    CHUNK = 16 * 1024, /* floats that one task takes at least, where it can */
    FAR = 4 << 20,     /* floats that are no longer in an L3 */
    WIDE = 512         /* floats of a row of columns from which on rows are read whole */
};

static int64_t ceil_div(int64_t a, int64_t b) { return (a + b - 1) / b; }
static int64_t at_least_1(int64_t a) { return a < 1 ? 1 : a; }
static int64_t smaller(int64_t a, int64_t b) { return a < b ? a : b; }

/* ---- One set of functions for each kind ---- */

typedef struct {
    void (*rows)(const float *x, const float *y, const float *c, float *out, int64_t rows, int64_t n);
    void (*piece)(const float *x, const float *y, int64_t n, float c, float *lanes, int far);
    float (*merge)(const float *lanes, int64_t pieces);
    void (*columns)(const float *x, const float *y, const float *c, float *out, int64_t n, int64_t stride,
                    int64_t width);
    void (*wide)(const float *x, const float *y, const float *c, float *out, int64_t n, int64_t stride, int64_t width);
    void (*merge_columns)(const float *x, float *out, int64_t n, int64_t stride, int64_t width);
} reducer;

VEC_INLINE float merge_lanes(tree_kind kind, const float *lanes, int64_t pieces) {
    tree_counter t;
    t.count = t.top = 0;
    for (int64_t i = 0; i < pieces; i++) tree_push(kind, &t, vec16_loadu(lanes + 16 * i));
    return tree_fold(kind, tree_finish(kind, &t));
}

#define MERGER(name, kind)                                                                                     \
    static float merge_##name(const float *lanes, int64_t pieces) { return merge_lanes(kind, lanes, pieces); } \
    static void merge_columns_##name(const float *x, float *out, int64_t n, int64_t stride, int64_t width) {   \
        tree_columns(kind, x, x, 0, out, n, stride, width, 1);                                                 \
    }
MERGER(sum, TREE_SUM)
MERGER(prod, TREE_PROD)
MERGER(max, TREE_MAX)
MERGER(min, TREE_MIN)

#define REDUCER(name, kind, merging)                                                                                  \
    static void rows_##name(const float *x, const float *y, const float *c, float *out, int64_t rows, int64_t n) {    \
        int64_t r = 0;                                                                                                \
        for (; n <= TREE_SHORT && r + TREE_FEW <= rows; r += TREE_FEW)                                                \
            tree_few_rows(kind, x + r * n, y + r * n, n, c ? c + r : 0, out + r);                                     \
        for (; r < rows; r++) out[r] = tree_fold(kind, tree_row16(kind, x + r * n, y + r * n, n, c ? c[r] : 0.0f));   \
    }                                                                                                                 \
    static void piece_##name(const float *x, const float *y, int64_t n, float c, float *lanes, int far) {             \
        vec16_storeu(lanes, tree_row16_from(kind, x, y, n, c, far));                                                  \
    }                                                                                                                 \
    static void columns_##name(const float *x, const float *y, const float *c, float *out, int64_t n, int64_t stride, \
                               int64_t width) {                                                                       \
        tree_columns(kind, x, y, c, out, n, stride, width, TREE_ROWS);                                                \
    }                                                                                                                 \
    static void wide_##name(const float *x, const float *y, const float *c, float *out, int64_t n, int64_t stride,    \
                            int64_t width) {                                                                          \
        tree_wide_block(kind, x, y, c, out, n, stride, width);                                                        \
    }                                                                                                                 \
    static const reducer reducer_##name = {rows_##name,    piece_##name, merge_##merging,                             \
                                           columns_##name, wide_##name,  merge_columns_##merging};
REDUCER(plain, TREE_SUM, sum)
REDUCER(squares, TREE_SUM_SQUARES, sum)
REDUCER(products, TREE_SUM_PRODUCTS, sum)
REDUCER(deviations, TREE_SUM_DEVIATIONS, sum)
REDUCER(exp, TREE_SUM_EXP, sum)
REDUCER(equal, TREE_COUNT_EQUAL, sum)
REDUCER(zeros, TREE_COUNT_ZEROS, sum)
REDUCER(product, TREE_PROD, prod)
REDUCER(nonzero, TREE_PROD_NONZERO, prod)
REDUCER(largest, TREE_MAX, max)
REDUCER(smallest, TREE_MIN, min)

static const reducer *const reducers[] = {
    [TREE_SUM] = &reducer_plain,
    [TREE_SUM_SQUARES] = &reducer_squares,
    [TREE_SUM_PRODUCTS] = &reducer_products,
    [TREE_SUM_DEVIATIONS] = &reducer_deviations,
    [TREE_SUM_EXP] = &reducer_exp,
    [TREE_COUNT_EQUAL] = &reducer_equal,
    [TREE_COUNT_ZEROS] = &reducer_zeros,
    [TREE_PROD] = &reducer_product,
    [TREE_PROD_NONZERO] = &reducer_nonzero,
    [TREE_MAX] = &reducer_largest,
    [TREE_MIN] = &reducer_smallest,
};

/* ---- Sharing the work out ---- */

typedef struct {
    const reducer *with;
    const float *x, *y, *c;
    float *out, *partial;
    int64_t outer, n, inner;
    int64_t piece, pieces; /* floats of a row, or rows of columns, that a task takes; how many of them */
    int64_t group, groups; /* columns that a task takes; how many such groups */
    int64_t units;         /* rows, or (outer, group), that a task takes */
    int wide;              /* rows of a group are read whole */
} reduction;

static void reduce_rows(void *context, int64_t chunk) {
    const reduction *r = context;
    int64_t first = chunk * r->units, rows = smaller(r->units, r->outer - first), at = first * r->n;
    r->with->rows(r->x + at, r->y + at, r->c ? r->c + first : 0, r->out + first, rows, r->n);
}

static void reduce_row_piece(void *context, int64_t chunk) {
    const reduction *r = context;
    int64_t o = chunk / r->pieces, first = chunk % r->pieces * r->piece, at = o * r->n + first;
    r->with->piece(r->x + at, r->y + at, smaller(r->piece, r->n - first), r->c ? r->c[o] : 0.0f,
                   r->partial + 16 * chunk, r->outer * r->n > FAR);
}

static void reduce_column_group(const reduction *r, int64_t unit) {
    int64_t piece = unit % r->pieces, o = unit / r->pieces / r->groups, j = unit / r->pieces % r->groups * r->group;
    int64_t first = piece * r->piece, at = (o * r->n + first) * r->inner + j;
    float *out = r->pieces > 1 ? r->partial + (o * r->pieces + piece) * r->inner + j : r->out + o * r->inner + j;
    const float *c = r->c ? r->c + o * r->inner + j : 0;
    int64_t rows = smaller(r->piece, r->n - first), width = smaller(r->group, r->inner - j);
    (r->wide ? r->with->wide : r->with->columns)(r->x + at, r->y + at, c, out, rows, r->inner, width);
}

static void reduce_columns(void *context, int64_t chunk) {
    const reduction *r = context;
    int64_t stop = smaller((chunk + 1) * r->units, r->outer * r->groups * r->pieces);
    for (int64_t unit = chunk * r->units; unit < stop; unit++) reduce_column_group(r, unit);
}

void reduce(tree_kind kind, const float *x, const float *y, const float *c, float *out, int64_t outer, int64_t n,
            int64_t inner) {
    if (outer * inner == 0) return;
    reduction r = {
        .with = reducers[kind], .x = x, .y = y ? y : x, .c = c, .out = out, .outer = outer, .n = n, .inner = inner};
    double us = (double)(outer * n * inner) * (kind == TREE_SUM_EXP ? 4e-4 : 1.5e-4);
    if (inner == 1 && n <= TREE_PIECE) {
        r.units = at_least_1(CHUNK / at_least_1(n));
        kg_parallel(reduce_rows, &r, ceil_div(outer, r.units), us);
    } else if (inner == 1) {
        r.piece = TREE_PIECE;
        r.pieces = ceil_div(n, r.piece);
        r.partial = kg_scratch(KG_SCRATCH_PARTIAL, (size_t)(outer * r.pieces) * 16 * sizeof(float));
        kg_parallel(reduce_row_piece, &r, outer * r.pieces, us);
        for (int64_t o = 0; o < outer; o++) out[o] = r.with->merge(r.partial + o * r.pieces * 16, r.pieces);
    } else {
        r.group = TREE_WIDTH * at_least_1(CHUNK / TREE_WIDTH / at_least_1(n));
        r.piece = at_least_1(n);
        r.wide = inner >= WIDE && n > TREE_ROWS; /* 64 columns at a time would touch a page for each row */
        if (r.wide) r.group = TREE_WIDTH * ceil_div(smaller(inner, 8 * WIDE), TREE_WIDTH), r.piece = TREE_ROWS;
        r.groups = ceil_div(inner, r.group);
        int64_t width = smaller(r.group, inner);
        if (!r.wide && outer * r.groups < 16 && n * width > 4 * CHUNK) /* few and long: cut the rows, too */
            for (r.piece = TREE_ROWS; r.piece * width < CHUNK;) r.piece *= 2;
        r.pieces = at_least_1(ceil_div(n, r.piece));
        r.units = at_least_1(CHUNK / (r.piece * width));
        if (r.pieces > 1)
            r.partial = kg_scratch(KG_SCRATCH_PARTIAL, (size_t)(outer * r.pieces * inner) * sizeof(float));
        kg_parallel(reduce_columns, &r, ceil_div(outer * r.groups * r.pieces, r.units), us);
        for (int64_t o = 0; o < outer && r.pieces > 1; o++)
            r.with->merge_columns(r.partial + o * r.pieces * inner, out + o * inner, r.pieces, inner, inner);
    }
}

/* ---- Backward: from (outer, inner) to (outer, n, inner) ---- */

VEC_INLINE vec_f32 spread_value(spread_kind kind, vec_f32 x, vec_f32 a, vec_f32 b) {
    switch (kind) {
    case SPREAD_PRODUCT:
        return vec_mul(x, b);
    case SPREAD_CENTERED:
        return vec_mul(vec_sub(x, a), b);
    case SPREAD_EXP:
        return vec_mul(vec_exp(vec_sub(x, a)), b);
    case SPREAD_EQUAL:
        return vec_mul(vec_select(vec_eq(x, a), vec_set(1.0f), vec_zero()), b); /* a nan in b spreads */
    case SPREAD_PROD:
        return vec_select(vec_eq(x, vec_zero()), b, vec_div(a, x));
    default:
        return b;
    }
}

/* `rows` rows of `inner`; with inner == 1 they are `rows` floats of one a and b. */
VEC_INLINE void spread_rows(spread_kind kind, const float *x, const float *a, const float *b, float *out, int64_t rows,
                            int64_t inner) {
    if (inner == 1) {
        vec_f32 av = vec_set(a ? *a : 0.0f), bv = vec_set(*b);
        for (int64_t i = 0; i < rows; i += VEC_LANES) {
            vec_f32 v = kind == SPREAD_COPY ? bv : vec_load(x + i, rows - i);
            vec_store(out + i, spread_value(kind, v, av, bv), rows - i);
        }
        return;
    }
    for (int64_t r = 0; r < rows; r++)
        for (int64_t j = 0; j < inner; j += VEC_LANES) {
            int64_t at = r * inner + j, rest = inner - j;
            vec_f32 v = kind == SPREAD_COPY ? vec_zero() : vec_load(x + at, rest);
            vec_f32 av = a ? vec_load(a + j, rest) : vec_zero();
            vec_store(out + at, spread_value(kind, v, av, vec_load(b + j, rest)), rest);
        }
}

typedef void spread_function(const float *x, const float *a, const float *b, float *out, int64_t rows, int64_t inner);
#define SPREADER(name, kind)                                                                            \
    static void spread_##name(const float *x, const float *a, const float *b, float *out, int64_t rows, \
                              int64_t inner) {                                                          \
        spread_rows(kind, x, a, b, out, rows, inner);                                                   \
    }
SPREADER(copy, SPREAD_COPY)
SPREADER(product, SPREAD_PRODUCT)
SPREADER(centered, SPREAD_CENTERED)
SPREADER(exp, SPREAD_EXP)
SPREADER(equal, SPREAD_EQUAL)
SPREADER(prod, SPREAD_PROD)
static spread_function *const spreaders[] = {
    [SPREAD_COPY] = spread_copy, [SPREAD_PRODUCT] = spread_product, [SPREAD_CENTERED] = spread_centered,
    [SPREAD_EXP] = spread_exp,   [SPREAD_EQUAL] = spread_equal,     [SPREAD_PROD] = spread_prod,
};

typedef struct {
    spread_function *with;
    const float *x, *a, *b;
    float *out;
    int64_t outer, n, inner, piece, pieces, units;
} spreading;

static void spread_chunk(void *context, int64_t chunk) {
    const spreading *s = context;
    int64_t stop = smaller((chunk + 1) * s->units, s->outer * s->pieces);
    for (int64_t unit = chunk * s->units; unit < stop; unit++) {
        int64_t o = unit / s->pieces, first = unit % s->pieces * s->piece, at = (o * s->n + first) * s->inner;
        s->with(s->x ? s->x + at : 0, s->a ? s->a + o * s->inner : 0, s->b + o * s->inner, s->out + at,
                smaller(s->piece, s->n - first), s->inner);
    }
}

void spread(spread_kind kind, const float *x, const float *a, const float *b, float *out, int64_t outer, int64_t n,
            int64_t inner) {
    if (outer * n * inner == 0) return;
    spreading s = {.with = spreaders[kind], .x = x, .a = a, .b = b, .out = out, .outer = outer, .n = n, .inner = inner};
    s.piece = smaller(n, at_least_1(CHUNK / inner));
    s.pieces = ceil_div(n, s.piece);
    s.units = at_least_1(CHUNK / (s.piece * inner));
    kg_parallel(spread_chunk, &s, ceil_div(outer * s.pieces, s.units),
                (double)(outer * n * inner) * (kind == SPREAD_EXP ? 4e-4 : 2e-4));
}

/* ---- Bodies of several passes ---- */

typedef struct {
    outer_body *body;
    void *context;
    int64_t outer, units;
} outer_loop;

static void outer_chunk(void *context, int64_t chunk) {
    const outer_loop *l = context;
    l->body(l->context, chunk * l->units, smaller((chunk + 1) * l->units, l->outer));
}

void over_outer(outer_body *body, void *context, int64_t outer, int64_t elements, double ns) {
    outer_loop l = {
        .body = body, .context = context, .outer = outer, .units = at_least_1(CHUNK / at_least_1(elements))};
    int64_t chunks = ceil_div(outer, l.units);
    if (chunks < 8)
        body(context, 0, outer); /* too few to share: each pass of the body does */
    else
        kg_parallel(outer_chunk, &l, chunks, (double)(outer * elements) * ns * 1e-3);
}
