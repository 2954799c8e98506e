/* Where the extrema are, and running sums: kernels over (outer, n, inner) that leave more than one number of a kind.
 *
 * The extremum is found first, then the first place that holds it: both passes run at the speed of reading. */
#include "runtime/pool.h"
#include "runtime/scratch.h"

#include "reduction/reduce.h"

enum { GROUP = 64 }; /* columns whose answers stay in registers and L1 */

#define KERNEL(name) \
    static void name(void *const *arrays, const int64_t *sizes, const double *scalars, int64_t start, int64_t stop)
#define UNUSED (void)scalars, (void)start, (void)stop
#define SIZES int64_t outer = sizes[0], n = sizes[1], inner = sizes[2]

static int64_t smaller(int64_t a, int64_t b) { return a < b ? a : b; }

/* The first i < n with x[i] == wanted, or x[i] a nan (then wanted is one); n if there is none. */
static int64_t find_first(const float *x, int64_t n, float wanted) {
    const vec_f32 w = vec_set(wanted);
    int64_t i = 0;
    for (; i < n; i += VEC_LANES) {
        vec_f32 v = vec_load(x + i, n - i);
        if (vec_any(vec_mask_and(vec_first(n - i), vec_mask_or(vec_eq(v, w), vec_isnan(v))))) break;
    }
    while (i < n && !(x[i] == wanted || x[i] != x[i])) i++;
    return smaller(i, n);
}

typedef struct {
    const float *x;
    float *values; /* of every (outer, inner); NULL: not wanted */
    int64_t *indices;
    int64_t n, inner;
    tree_kind kind;
} search;

typedef struct {
    const float *x;
    float wanted;
    int64_t n, *found;
} long_row;

static void search_piece(void *context, int64_t chunk) {
    const long_row *r = context;
    int64_t first = chunk * TREE_PIECE, count = smaller(TREE_PIECE, r->n - first),
            at = find_first(r->x + first, count, r->wanted);
    r->found[chunk] = at < count ? first + at : r->n;
}

static int64_t search_row(const float *x, int64_t n, float wanted) {
    if (n <= TREE_PIECE) return find_first(x, n, wanted);
    int64_t pieces = (n + TREE_PIECE - 1) / TREE_PIECE, best = n;
    long_row r = {x, wanted, n, kg_scratch(KG_SCRATCH_PARTIAL, (size_t)pieces * sizeof(int64_t))};
    kg_parallel(search_piece, &r, pieces, (double)n * 1e-4);
    for (int64_t i = 0; i < pieces; i++) best = smaller(best, r.found[i]);
    return best;
}

static void search_columns(const float *x, const float *values, int64_t *indices, int64_t n, int64_t inner) {
    for (int64_t j = 0; j < inner; j += GROUP) {
        int64_t width = smaller(GROUP, inner - j);
        int32_t first[GROUP];
        for (int64_t k = 0; k < width; k++) first[k] = -1;
        for (int64_t i = 0; i < n; i++) {
            const float *row = x + i * inner + j;
            for (int64_t k = 0; k < width; k++) {
                int hit = (row[k] == values[j + k]) | (row[k] != row[k]);
                first[k] = (hit & (first[k] < 0)) ? (int32_t)i : first[k];
            }
        }
        for (int64_t k = 0; k < width; k++) indices[j + k] = first[k];
    }
}

static void search_range(void *context, int64_t start, int64_t stop) {
    const search *s = context;
    int64_t count = (stop - start) * s->inner;
    float *values =
        s->values ? s->values + start * s->inner : kg_scratch(KG_SCRATCH_ROWS, (size_t)count * sizeof(float) + 64);
    reduce(s->kind, s->x + start * s->n * s->inner, 0, 0, values, stop - start, s->n, s->inner);
    for (int64_t o = start; o < stop; o++) {
        const float *x = s->x + o * s->n * s->inner, *best = values + (o - start) * s->inner;
        if (s->inner == 1)
            s->indices[o] = search_row(x, s->n, *best);
        else
            search_columns(x, best, s->indices + o * s->inner, s->n, s->inner);
    }
}

static void find(tree_kind kind, const float *x, float *values, int64_t *indices, const int64_t *sizes) {
    SIZES;
    search s = {x, values, indices, n, inner, kind};
    over_outer(search_range, &s, outer, n * inner, 0.2);
}

/* out = max x and where it is first; a nan is greater than all */
KERNEL(max_forward) {
    UNUSED;
    find(TREE_MAX, arrays[0], arrays[1], arrays[2], sizes);
}
KERNEL(min_forward) {
    UNUSED;
    find(TREE_MIN, arrays[0], arrays[1], arrays[2], sizes);
}
KERNEL(argmax_forward) {
    UNUSED;
    find(TREE_MAX, arrays[0], 0, arrays[1], sizes);
}
KERNEL(argmin_forward) {
    UNUSED;
    find(TREE_MIN, arrays[0], 0, arrays[1], sizes);
}

typedef struct {
    const int64_t *indices;
    const float *grad_out;
    float *grad_x;
    int64_t n, inner;
} scattering;

static void scatter_range(void *context, int64_t start, int64_t stop) {
    const scattering *s = context;
    for (int64_t o = start; o < stop; o++) {
        float *grad_x = s->grad_x + o * s->n * s->inner;
        memset(grad_x, 0, (size_t)(s->n * s->inner) * sizeof(float));
        for (int64_t j = 0; j < s->inner; j++)
            grad_x[s->indices[o * s->inner + j] * s->inner + j] = s->grad_out[o * s->inner + j];
    }
}

/* The whole gradient goes to the place that max or min named. */
KERNEL(max_backward) {
    SIZES;
    UNUSED;
    scattering s = {arrays[0], arrays[1], arrays[2], n, inner};
    over_outer(scatter_range, &s, outer, n * inner, 0.1);
}

typedef struct {
    const float *x;
    float *out;
    int64_t n, inner;
    int reversed;
} scan;

/* `rows` rows that lie together, side by side: a sum waits for the addition before it, four sums do not wait for each
 * other. */
VEC_INLINE void scan_rows(const scan *s, int64_t row, int rows) {
    double sum[4] = {0};
    for (int64_t i = 0; i < s->n; i++) UNROLL
    for (int k = 0; k < rows; k++) {
        int64_t at = (row + k) * s->n + (s->reversed ? s->n - 1 - i : i);
        sum[k] += s->x[at];
        s->out[at] = (float)sum[k];
    }
}

/* Sums run in double precision, as PyTorch's do: a running sum cannot be a tree. */
static void scan_range(void *context, int64_t start, int64_t stop) {
    const scan *s = context;
    for (; s->inner == 1 && start + 4 <= stop; start += 4) scan_rows(s, start, 4);
    for (; s->inner == 1 && start < stop; start++) scan_rows(s, start, 1);
    for (int64_t o = start; o < stop; o++)
        for (int64_t j = 0; j < s->inner; j += GROUP) {
            int64_t width = smaller(GROUP, s->inner - j);
            double sum[GROUP] = {0};
            for (int64_t i = 0; i < s->n; i++) {
                int64_t at = (o * s->n + (s->reversed ? s->n - 1 - i : i)) * s->inner + j;
                for (int64_t k = 0; k < width; k++) {
                    sum[k] += s->x[at + k];
                    s->out[at + k] = (float)sum[k];
                }
            }
        }
}

/* out_i = sum over k <= i of x_k */
KERNEL(cumsum_forward) {
    SIZES;
    UNUSED;
    scan s = {arrays[0], arrays[1], n, inner, 0};
    over_outer(scan_range, &s, outer, n * inner, 1.0);
}

/* grad_x_i = sum over k >= i of grad_out_k */
KERNEL(cumsum_backward) {
    SIZES;
    UNUSED;
    scan s = {arrays[0], arrays[1], n, inner, 1};
    over_outer(scan_range, &s, outer, n * inner, 1.0);
}

const kg_entry KG_TABLE(reduction_index)[] = {{"max_forward", max_forward},         {"min_forward", min_forward},
                                              {"argmax_forward", argmax_forward},   {"argmin_forward", argmin_forward},
                                              {"max_backward", max_backward},       {"cumsum_forward", cumsum_forward},
                                              {"cumsum_backward", cumsum_backward}, {0}};
