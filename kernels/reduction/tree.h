/* Reductions in one fixed order: what a sum, a maximum or a sum of squares over n floats is, to the bit.
 *
 * A row is cut into blocks of 1024. A block keeps four vec16 accumulators and merges them; blocks are merged pairwise,
 * as a binary counter carries, and at last the 16 lanes are folded. Columns go 64 rows at a time, and these blocks
 * merge the same way. Merging like a counter makes the tree depend on n alone: any piece of 2^k whole blocks may be
 * reduced by another thread, and merging the pieces as a counter again gives the same tree. Error grows with log n, not
 * with n.
 */
#ifndef KG_REDUCTION_TREE_H
#define KG_REDUCTION_TREE_H

#include "matmul/transpose.h"
#include "vec/far.h"
#include "vec/vec_math.h"

enum {
    TREE_BLOCK = 1024,      /* floats of a row */
    TREE_PIECE = 64 * 1024, /* floats of a row that one task takes: 2^k blocks, an L2's worth */
    TREE_ROWS = 64,         /* rows of a column block */
    TREE_WIDTH = 64,        /* columns that one pass takes */
    TREE_LEVELS = 40        /* carries of the counter: enough for 2^40 blocks */
};

/* What is accumulated for each x; c is a value per row or column, where the kind speaks of it. */
typedef enum {
    TREE_SUM,
    TREE_SUM_SQUARES,
    TREE_SUM_PRODUCTS,   /* x y, y in the second array */
    TREE_SUM_DEVIATIONS, /* (x - c)^2 */
    TREE_SUM_EXP,        /* exp(x - c) */
    TREE_COUNT_EQUAL,    /* x == c */
    TREE_COUNT_ZEROS,
    TREE_PROD,
    TREE_PROD_NONZERO, /* of all x but the zeros */
    TREE_MAX,          /* nan if there is one */
    TREE_MIN,
    TREE_SHIFT /* the largest of those that are not nan: what softmax subtracts; faster than TREE_MAX */
} tree_kind;

VEC_INLINE float tree_identity(tree_kind kind) {
    if (kind == TREE_PROD || kind == TREE_PROD_NONZERO) return 1.0f;
    if (kind == TREE_MAX || kind == TREE_SHIFT) return -INFINITY;
    return kind == TREE_MIN ? INFINITY : 0.0f;
}

VEC_INLINE vec_f32 tree_accumulate(tree_kind kind, vec_f32 acc, vec_f32 x, vec_f32 c) {
    switch (kind) {
    case TREE_SUM:
        return vec_add(acc, x);
    case TREE_SUM_SQUARES:
        return vec_fma(x, x, acc);
    case TREE_SUM_PRODUCTS:
        return vec_fma(x, c, acc);
    case TREE_SUM_DEVIATIONS: {
        vec_f32 d = vec_sub(x, c);
        return vec_fma(d, d, acc);
    }
    case TREE_SUM_EXP:
        return vec_add(acc, vec_exp(vec_sub(x, c)));
    case TREE_COUNT_EQUAL:
        return vec_add(acc, vec_select(vec_eq(x, c), vec_set(1.0f), vec_zero()));
    case TREE_COUNT_ZEROS:
        return vec_add(acc, vec_select(vec_eq(x, vec_zero()), vec_set(1.0f), vec_zero()));
    case TREE_PROD:
        return vec_mul(acc, x);
    case TREE_PROD_NONZERO:
        return vec_mul(acc, vec_select(vec_eq(x, vec_zero()), vec_set(1.0f), x));
    case TREE_MAX:
        return vec_max_nan(acc, x);
    case TREE_SHIFT:
        return vec_max(x, acc); /* acc where x is nan */
    default:
        return vec_min_nan(acc, x);
    }
}

/* Missing lanes load as 0, which these add without a trace: a sum that starts at +0 is never -0. */
VEC_INLINE int tree_ignores_zero(tree_kind kind) {
    return kind == TREE_SUM || kind == TREE_SUM_SQUARES || kind == TREE_SUM_PRODUCTS;
}

VEC_INLINE vec_f32 tree_op(tree_kind kind, vec_f32 a, vec_f32 b) {
    switch (kind) {
    case TREE_PROD:
    case TREE_PROD_NONZERO:
        return vec_mul(a, b);
    case TREE_MAX:
        return vec_max_nan(a, b);
    case TREE_SHIFT:
        return vec_max(a, b);
    case TREE_MIN:
        return vec_min_nan(a, b);
    default:
        return vec_add(a, b);
    }
}
VEC_INLINE vec16 tree_merge(tree_kind kind, vec16 a, vec16 b) {
    VEC16_EACH a.v[j] = tree_op(kind, a.v[j], b.v[j]);
    return a;
}

VEC16_FOLD(tree_hprod, vec_mul)

VEC_INLINE float tree_fold(tree_kind kind, vec16 a) {
    switch (kind) {
    case TREE_PROD:
    case TREE_PROD_NONZERO:
        return tree_hprod(a);
    case TREE_MAX:
        return vec16_hmax_nan(a);
    case TREE_SHIFT:
        return vec16_hmax(a);
    case TREE_MIN:
        return vec16_hmin_nan(a);
    default:
        return vec16_sum(a);
    }
}

/* x[0 .. 15] taken into acc; lanes from n on keep what they hold. */
VEC_INLINE vec16 tree_sixteen(tree_kind kind, vec16 acc, const float *x, const float *y, int64_t n, vec_f32 c) {
    VEC16_EACH {
        int64_t at = j * VEC_LANES, rest = n - at;
        if (tree_ignores_zero(kind)) {
            if (rest <= 0) continue;
            vec_f32 second = kind == TREE_SUM_PRODUCTS ? vec_load(y + at, rest) : c;
            acc.v[j] = tree_accumulate(kind, acc.v[j], vec_load(x + at, rest), second);
        } else if (rest >= VEC_LANES)
            acc.v[j] = tree_accumulate(kind, acc.v[j], vec_loadu(x + at), c);
        else if (rest > 0) {
            vec_f32 next = tree_accumulate(kind, acc.v[j], vec_load_tail(x + at, rest), c);
            acc.v[j] = vec_select(vec_first(rest), next, acc.v[j]);
        }
    }
    return acc;
}

/* A block of at most 64 floats: each accumulator takes one value, and merged at once it needs no register. */
VEC_INLINE vec16 tree_short_block(tree_kind kind, const float *x, const float *y, int64_t n, float c) {
    const vec16 none = vec16_set(tree_identity(kind));
    vec_f32 cv = vec_set(c);
    vec16 sum = tree_sixteen(kind, none, x, y, n, cv);
    if (n > 16) sum = tree_merge(kind, sum, tree_sixteen(kind, none, x + 16, y + 16, n - 16, cv));
    if (n <= 32) return sum;
    vec16 more = tree_sixteen(kind, none, x + 32, y + 32, n - 32, cv);
    if (n > 48) more = tree_merge(kind, more, tree_sixteen(kind, none, x + 48, y + 48, n - 48, cv));
    return tree_merge(kind, sum, more);
}

VEC_INLINE vec16 tree_long_block(tree_kind kind, const float *x, const float *y, int64_t n, float c, int far) {
    vec16 acc[4];
    vec_f32 cv = vec_set(c);
    UNROLL
    for (int k = 0; k < 4; k++) acc[k] = vec16_set(tree_identity(kind));
    int64_t i = 0;
    for (; i + 64 <= n; i += 64) UNROLL
    for (int k = 0; k < 4; k++) VEC16_EACH {
            int64_t at = i + k * 16 + j * VEC_LANES;
            vec_f32 second = kind == TREE_SUM_PRODUCTS ? vec_loadu(y + at) : cv;
            acc[k].v[j] = tree_accumulate(kind, acc[k].v[j], far ? vec_loadu_far(x + at) : vec_loadu(x + at), second);
        }
    if (i < n) UNROLL
    for (int k = 0; k < 4; k++) {
        int64_t at = i + k * 16;
        acc[k] = tree_sixteen(kind, acc[k], x + at, y + at, n - at, cv);
    }
    return tree_merge(kind, tree_merge(kind, acc[0], acc[1]), tree_merge(kind, acc[2], acc[3]));
}

/* One block of at most TREE_BLOCK floats; y is read by TREE_SUM_PRODUCTS alone. Lanes past the end keep what they hold.
 * far: the floats come from memory. A function for each kind: inlined wherever rows are reduced, these made a megabyte.
 */
#define TREE_KIND_BLOCK(kind)                                                                     \
    VEC_OUTLINE vec16 kind##_block(const float *x, const float *y, int64_t n, float c, int far) { \
        if (n <= 64) return tree_short_block(kind, x, y, n, c);                                   \
        return tree_long_block(kind, x, y, n, c, far);                                            \
    }
/* clang-format off */
#define TREE_KINDS(X)                                                                           \
    X(TREE_SUM) X(TREE_SUM_SQUARES) X(TREE_SUM_PRODUCTS) X(TREE_SUM_DEVIATIONS) X(TREE_SUM_EXP) \
    X(TREE_COUNT_EQUAL) X(TREE_COUNT_ZEROS) X(TREE_PROD) X(TREE_PROD_NONZERO)                   \
    X(TREE_MAX) X(TREE_MIN) X(TREE_SHIFT)
/* clang-format on */
TREE_KINDS(TREE_KIND_BLOCK)

VEC_INLINE vec16 tree_block(tree_kind kind, const float *x, const float *y, int64_t n, float c, int far) {
#define TREE_CHOOSE(one) \
    if (kind == one) return one##_block(x, y, n, c, far);
    TREE_KINDS(TREE_CHOOSE)
    __builtin_unreachable();
}

typedef struct {
    int64_t count;
    int top;
    vec16 level[TREE_LEVELS];
} tree_counter;

VEC_INLINE void tree_push(tree_kind kind, tree_counter *t, vec16 s) {
    for (int64_t carry = t->count++; carry & 1; carry >>= 1) s = tree_merge(kind, t->level[--t->top], s);
    t->level[t->top++] = s;
}
VEC_INLINE vec16 tree_finish(tree_kind kind, tree_counter *t) {
    if (t->top == 0) return vec16_set(tree_identity(kind));
    vec16 s = t->level[--t->top];
    while (t->top > 0) s = tree_merge(kind, t->level[--t->top], s);
    return s;
}

/* All n floats of a row, in 16 lanes still. */
VEC_INLINE vec16 tree_row16_from(tree_kind kind, const float *x, const float *y, int64_t n, float c, int far) {
    if (n <= TREE_BLOCK) return tree_block(kind, x, y, n, c, far);
    tree_counter t;
    t.count = t.top = 0;
    for (int64_t i = 0; i < n; i += TREE_BLOCK)
        tree_push(kind, &t, tree_block(kind, x + i, y + i, n - i < TREE_BLOCK ? n - i : TREE_BLOCK, c, far));
    return tree_finish(kind, &t);
}
VEC_INLINE vec16 tree_row16(tree_kind kind, const float *x, const float *y, int64_t n, float c) {
    return tree_row16_from(kind, x, y, n, c, 0);
}
VEC_INLINE float tree_row(tree_kind kind, const float *x, int64_t n, float c) {
    return tree_fold(kind, tree_row16(kind, x, x, n, c));
}
VEC_INLINE float tree_dot(const float *x, const float *y, int64_t n) {
    return tree_fold(TREE_SUM_PRODUCTS, tree_row16(TREE_SUM_PRODUCTS, x, y, n, 0.0f));
}

/* ---- Several short rows together: to fold one alone takes longer than to read it ---- */

enum {
    TREE_FEW = TRANSPOSE_BLOCK, /* rows */
    TREE_SHORT = 256            /* floats of a row, at most */
};

/* The lanes of row r of the few, 16 or folded to 8. */
VEC_INLINE void tree_keep(tree_kind kind, vec16 a, float *kept, int64_t r) {
    UNROLL
    for (int parts = VEC16_PARTS / 2; parts * VEC_LANES >= TREE_FEW; parts /= 2) UNROLL
    for (int j = 0; j < parts; j++) a.v[j] = tree_op(kind, a.v[j], a.v[j + parts]);
    UNROLL
    for (int j = 0; j < TREE_FEW / VEC_LANES; j++) vec_storeu(kept + r * TREE_FEW + j * VEC_LANES, a.v[j]);
}
/* out[r] = what folding row r makes of its lanes, all rows side by side. */
VEC_INLINE void tree_fold_kept(tree_kind kind, const float *kept, float *out) {
    enum { VECS = TREE_FEW / VEC_LANES };
    _Alignas(64) float lanes[TREE_FEW * TREE_FEW];
    vec_f32 v[TREE_FEW * VECS];
    transpose_whole(kept, TREE_FEW, lanes, TREE_FEW);
    UNROLL
    for (int i = 0; i < TREE_FEW * VECS; i++) v[i] = vec_loadu(lanes + i * VEC_LANES);
    UNROLL
    for (int half = TREE_FEW * VECS / 2; half >= VECS; half /= 2) UNROLL
    for (int i = 0; i < half; i++) v[i] = tree_op(kind, v[i], v[i + half]);
    UNROLL
    for (int j = 0; j < VECS; j++) vec_storeu(out + j * VEC_LANES, v[j]);
}
/* out[r] = tree_row of TREE_FEW rows of n <= TREE_SHORT floats; c: one per row, or NULL. */
VEC_INLINE void tree_few_rows(tree_kind kind, const float *x, const float *y, int64_t n, const float *c, float *out) {
    _Alignas(64) float kept[TREE_FEW * TREE_FEW];
    for (int64_t r = 0; r < TREE_FEW; r++) {
        float cr = c ? c[r] : 0.0f;
        const float *xr = x + r * n, *yr = y + r * n;
        tree_keep(kind, n <= 64 ? tree_short_block(kind, xr, yr, n, cr) : tree_long_block(kind, xr, yr, n, cr, 0), kept,
                  r);
    }
    tree_fold_kept(kind, kept, out);
}

/* `width` columns (at most 16 nv) over n rows that are `stride` floats apart, in blocks of `block` rows. c: one per
 * column. */
VEC_INLINE void tree_columns_pass(tree_kind kind, const float *x, const float *y, const float *c, float *out, int64_t n,
                                  int64_t stride, int64_t width, int64_t block, int nv) {
    tree_counter t[4]; /* the counters carry together; nv of them are used */
    vec16 cv[4];
    UNROLL
    for (int k = 0; k < nv; k++) {
        t[k].count = t[k].top = 0;
        if (c)
            cv[k] = vec16_load(c + 16 * k, width - 16 * k, 0.0f);
        else
            cv[k] = vec16_zero();
    }
    for (int64_t i = 0; i < n; i += block) {
        int64_t stop = i + block < n ? i + block : n;
        vec16 acc[4];
        UNROLL
        for (int k = 0; k < nv; k++) acc[k] = vec16_set(tree_identity(kind));
        for (int64_t r = i; r < stop; r++) UNROLL
        for (int k = 0; k < nv; k++) VEC16_EACH {
                int64_t at = 16 * k + j * VEC_LANES;
                vec_f32 second = kind == TREE_SUM_PRODUCTS ? vec_load(y + r * stride + at, width - at) : cv[k].v[j];
                acc[k].v[j] = tree_accumulate(kind, acc[k].v[j], vec_load(x + r * stride + at, width - at), second);
            }
        UNROLL
        for (int k = 0; k < nv; k++) tree_push(kind, &t[k], acc[k]);
    }
    UNROLL
    for (int k = 0; k < nv; k++) vec16_store(out + 16 * k, tree_finish(kind, &t[k]), width - 16 * k);
}

/* The same for any width. `block` is TREE_ROWS for data, 1 to merge what pieces of 2^k blocks left. */
VEC_INLINE void tree_columns(tree_kind kind, const float *x, const float *y, const float *c, float *out, int64_t n,
                             int64_t stride, int64_t width, int64_t block) {
    int64_t j = 0;
    for (; width - j >= 64; j += 64)
        tree_columns_pass(kind, x + j, y + j, c ? c + j : c, out + j, n, stride, 64, block, 4);
    if (width - j >= 32) {
        tree_columns_pass(kind, x + j, y + j, c ? c + j : c, out + j, n, stride, 32, block, 2);
        j += 32;
    }
    for (; j < width; j += 16) {
        int64_t rest = width - j < 16 ? width - j : 16;
        tree_columns_pass(kind, x + j, y + j, c ? c + j : c, out + j, n, stride, rest, block, 1);
    }
}

/* `few` rows of many columns, added to out. */
VEC_INLINE void tree_wide_rows(tree_kind kind, const float *x, const float *y, const float *c, float *out,
                               int64_t stride, int64_t width, int few) {
    int64_t j = 0;
    for (; j + VEC_LANES <= width; j += VEC_LANES) {
        vec_f32 acc = vec_loadu(out + j), cv = c ? vec_loadu(c + j) : vec_zero();
        UNROLL
        for (int k = 0; k < few; k++) {
            vec_f32 second = kind == TREE_SUM_PRODUCTS ? vec_loadu(y + k * stride + j) : cv;
            acc = tree_accumulate(kind, acc, vec_loadu(x + k * stride + j), second);
        }
        vec_storeu(out + j, acc);
    }
    if (j == width) return;
    vec_f32 acc = vec_load_tail(out + j, width - j), cv = c ? vec_load_tail(c + j, width - j) : vec_zero();
    UNROLL
    for (int k = 0; k < few; k++) {
        vec_f32 second = kind == TREE_SUM_PRODUCTS ? vec_load_tail(y + k * stride + j, width - j) : cv;
        acc = tree_accumulate(kind, acc, vec_load_tail(x + k * stride + j, width - j), second);
    }
    vec_store_tail(out + j, acc, width - j);
}

/* One block (at most TREE_ROWS rows) of many columns, read row by row as memory lies: out holds the sums on the way.
 * The same order of additions, so the same bits, as a block of tree_columns. */
VEC_INLINE void tree_wide_block(tree_kind kind, const float *x, const float *y, const float *c, float *out,
                                int64_t rows, int64_t stride, int64_t width) {
    int64_t r = 0;
    for (int64_t j = 0; j < width; j++) out[j] = tree_identity(kind);
    /* Short rows one after the other keep to one stream, long ones save passes over out. */
    for (; width > 1024 && r + 4 <= rows; r += 4)
        tree_wide_rows(kind, x + r * stride, y + r * stride, c, out, stride, width, 4);
    for (; r < rows; r++) tree_wide_rows(kind, x + r * stride, y + r * stride, c, out, stride, width, 1);
}

#endif
