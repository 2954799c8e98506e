/* Softmax and its logarithm over the middle axis of (outer, n, inner). sizes are (rows, n, inner), rows = outer *
 * inner; row o * inner + j is x[o, :, j]. With inner == 1 a row lies together and stays in the cache for all passes
 * over it; else up to 64 neighbouring rows go at once, a lane each. */
#include "reduction/tree.h"
#include "runtime/kernel.h"

enum { FEW_FLOATS = 4096 }; /* rows up to 16 of which take their logarithms side by side stay in the L1 together */

typedef struct {
    int64_t at, width; /* where the first of `width` neighbouring rows begins */
} strip;

static strip strip_of(int64_t row, int64_t stop, int64_t n, int64_t inner) {
    int64_t o = row / inner, j = row % inner, width = inner - j;
    if (width > TREE_WIDTH) width = TREE_WIDTH;
    if (width > stop - row) width = stop - row;
    return (strip){o * n * inner + j, width};
}

/* out = exp(x - m) of 16 floats, or n if that is less, added to sum. */
VEC_INLINE vec16 exp_sixteen(vec16 sum, const float *x, float *out, int64_t n, vec_f32 m) {
    VEC16_EACH {
        int64_t at = j * VEC_LANES, rest = n - at;
        if (rest >= VEC_LANES) {
            vec_f32 e = vec_exp(vec_sub(vec_loadu(x + at), m));
            vec_storeu(out + at, e);
            sum.v[j] = vec_add(sum.v[j], e);
        } else if (rest > 0) {
            vec_f32 e = vec_exp(vec_sub(vec_load_tail(x + at, rest), m));
            vec_store_tail(out + at, e, rest);
            sum.v[j] = vec_add(sum.v[j], vec_select(vec_first(rest), e, vec_zero()));
        }
    }
    return sum;
}
/* The same of at most TREE_BLOCK floats; the sum in 16 lanes, as that of TREE_SUM_EXP. */
VEC_INLINE vec16 exp_block(const float *x, float *out, int64_t n, vec_f32 m) {
    const vec16 none = vec16_zero();
    if (n <= 64) {
        vec16 sum = exp_sixteen(none, x, out, n, m);
        if (n > 16) sum = vec16_add(sum, exp_sixteen(none, x + 16, out + 16, n - 16, m));
        if (n <= 32) return sum;
        vec16 more = exp_sixteen(none, x + 32, out + 32, n - 32, m);
        if (n > 48) more = vec16_add(more, exp_sixteen(none, x + 48, out + 48, n - 48, m));
        return vec16_add(sum, more);
    }
    vec16 acc[4] = {none, none, none, none};
    for (int64_t i = 0; i < n; i += 64) UNROLL
    for (int k = 0; k < 4; k++) {
        int64_t at = i + k * 16;
        acc[k] = exp_sixteen(acc[k], x + at, out + at, n - at, m);
    }
    return vec16_add(vec16_add(acc[0], acc[1]), vec16_add(acc[2], acc[3]));
}

static float exp_row(const float *x, float *out, int64_t n, float m) {
    vec_f32 mv = vec_set(m);
    if (n <= TREE_BLOCK) return vec16_sum(exp_block(x, out, n, mv));
    tree_counter t;
    t.count = t.top = 0;
    for (int64_t i = 0; i < n; i += TREE_BLOCK)
        tree_push(TREE_SUM, &t, exp_block(x + i, out + i, n - i < TREE_BLOCK ? n - i : TREE_BLOCK, mv));
    return vec16_sum(tree_finish(TREE_SUM, &t));
}

static void scale_row(float *y, int64_t n, float sum) {
    const vec_f32 scale = vec_set(1.0f / sum);
    for (int64_t i = 0; i < n; i += VEC_LANES) vec_store(y + i, vec_mul(vec_load(y + i, n - i), scale), n - i);
}

/* y = exp(x - max x) / sum of the same. A row of -inf alone, and one with inf or nan, is nan. */
static void softmax_forward(void *const *arrays, const int64_t *sizes, const double *scalars, int64_t start,
                            int64_t stop) {
    const float *x = arrays[0];
    float *out = arrays[1];
    int64_t n = sizes[1], inner = sizes[2];
    (void)scalars;
    int64_t row = start;
    for (; n <= TREE_SHORT && inner == 1 && row + TREE_FEW <= stop; row += TREE_FEW) {
        const float *xr = x + row * n;
        float *yr = out + row * n, m[TREE_FEW], sum[TREE_FEW], kept[TREE_FEW * TREE_FEW];
        tree_few_rows(TREE_SHIFT, xr, xr, n, 0, m);
        for (int64_t r = 0; r < TREE_FEW; r++)
            tree_keep(TREE_SUM, exp_block(xr + r * n, yr + r * n, n, vec_set(m[r])), kept, r);
        tree_fold_kept(TREE_SUM, kept, sum);
        for (int64_t r = 0; r < TREE_FEW; r++, yr += n) scale_row(yr, n, sum[r]);
    }
    for (; row < stop && inner == 1; row++) {
        float *yr = out + row * n;
        scale_row(yr, n, exp_row(x + row * n, yr, n, tree_row(TREE_SHIFT, x + row * n, n, 0.0f)));
    }
    while (row < stop && inner > 1) {
        strip s = strip_of(row, stop, n, inner);
        float m[TREE_WIDTH], sum[TREE_WIDTH];
        tree_columns(TREE_SHIFT, x + s.at, x, 0, m, n, inner, s.width, TREE_ROWS);
        for (int64_t i = 0; i < n; i++)
            for (int64_t j = 0; j < s.width; j += VEC_LANES) {
                int64_t at = s.at + i * inner + j, rest = s.width - j;
                vec_store(out + at, vec_exp(vec_sub(vec_load(x + at, rest), vec_load(m + j, rest))), rest);
            }
        tree_columns(TREE_SUM, out + s.at, out, 0, sum, n, inner, s.width, TREE_ROWS);
        for (int64_t j = 0; j < s.width; j++) sum[j] = 1.0f / sum[j];
        for (int64_t i = 0; i < n; i++)
            for (int64_t j = 0; j < s.width; j += VEC_LANES) {
                int64_t at = s.at + i * inner + j, rest = s.width - j;
                vec_store(out + at, vec_mul(vec_load(out + at, rest), vec_load(sum + j, rest)), rest);
            }
        row += s.width;
    }
}

/* dx = y (g - sum(g y)) */
static void softmax_backward(void *const *arrays, const int64_t *sizes, const double *scalars, int64_t start,
                             int64_t stop) {
    const float *out = arrays[0], *grad_out = arrays[1];
    float *grad_x = arrays[2];
    int64_t n = sizes[1], inner = sizes[2];
    (void)scalars;
    for (int64_t row = start; row < stop && inner == 1; row++) {
        const float *yr = out + row * n, *gr = grad_out + row * n;
        vec_f32 dot = vec_set(tree_dot(gr, yr, n));
        for (int64_t i = 0; i < n; i += VEC_LANES)
            vec_store(grad_x + row * n + i, vec_mul(vec_load(yr + i, n - i), vec_sub(vec_load(gr + i, n - i), dot)),
                      n - i);
    }
    for (int64_t row = start; row < stop && inner > 1;) {
        strip s = strip_of(row, stop, n, inner);
        float dot[TREE_WIDTH];
        tree_columns(TREE_SUM_PRODUCTS, grad_out + s.at, out + s.at, 0, dot, n, inner, s.width, TREE_ROWS);
        for (int64_t i = 0; i < n; i++)
            for (int64_t j = 0; j < s.width; j += VEC_LANES) {
                int64_t at = s.at + i * inner + j, rest = s.width - j;
                vec_f32 g = vec_sub(vec_load(grad_out + at, rest), vec_load(dot + j, rest));
                vec_store(grad_x + at, vec_mul(vec_load(out + at, rest), g), rest);
            }
        row += s.width;
    }
}

/* y = x - max x - log(sum exp(x - max x)) */
static void log_softmax_forward(void *const *arrays, const int64_t *sizes, const double *scalars, int64_t start,
                                int64_t stop) {
    const float *x = arrays[0];
    float *out = arrays[1];
    int64_t n = sizes[1], inner = sizes[2];
    (void)scalars;
    const int64_t few = n > 0 && n <= FEW_FLOATS / 16 ? 16 : n > 0 && n < FEW_FLOATS ? FEW_FLOATS / n : 1;
    for (int64_t row = start; row < stop && inner == 1; row += few) {
        const int64_t rows = few < stop - row ? few : stop - row;
        float m[16] = {0}, sum[16] = {0};
        int64_t r = 0;
        for (; n <= TREE_SHORT && r + TREE_FEW <= rows; r += TREE_FEW) {
            const float *xr = x + (row + r) * n;
            tree_few_rows(TREE_SHIFT, xr, xr, n, 0, m + r);
            tree_few_rows(TREE_SUM_EXP, xr, xr, n, m + r, sum + r);
        }
        for (; r < rows; r++) {
            m[r] = tree_row(TREE_SHIFT, x + (row + r) * n, n, 0.0f);
            sum[r] = tree_row(TREE_SUM_EXP, x + (row + r) * n, n, m[r]);
        }
        for (r = 0; r < rows; r += VEC_LANES) vec_storeu(sum + r, vec_log(vec_loadu(sum + r)));
        for (r = 0; r < rows; r++) {
            const float *xr = x + (row + r) * n;
            const vec_f32 mv = vec_set(m[r]), log_sum = vec_set(sum[r]);
            for (int64_t i = 0; i < n; i += VEC_LANES)
                vec_store(out + (row + r) * n + i, vec_sub(vec_sub(vec_load(xr + i, n - i), mv), log_sum), n - i);
        }
    }
    for (int64_t row = start; row < stop && inner > 1;) {
        strip s = strip_of(row, stop, n, inner);
        float m[TREE_WIDTH], log_sum[TREE_WIDTH];
        tree_columns(TREE_SHIFT, x + s.at, x, 0, m, n, inner, s.width, TREE_ROWS);
        tree_columns(TREE_SUM_EXP, x + s.at, x, m, log_sum, n, inner, s.width, TREE_ROWS);
        for (int64_t j = 0; j < s.width; j += VEC_LANES)
            vec_store(log_sum + j, vec_log(vec_load(log_sum + j, s.width - j)), s.width - j);
        for (int64_t i = 0; i < n; i++)
            for (int64_t j = 0; j < s.width; j += VEC_LANES) {
                int64_t at = s.at + i * inner + j, rest = s.width - j;
                vec_f32 v = vec_sub(vec_load(x + at, rest), vec_load(m + j, rest));
                vec_store(out + at, vec_sub(v, vec_load(log_sum + j, rest)), rest);
            }
        row += s.width;
    }
}

/* dx = g - exp(y) sum(g) */
static void log_softmax_backward(void *const *arrays, const int64_t *sizes, const double *scalars, int64_t start,
                                 int64_t stop) {
    const float *out = arrays[0], *grad_out = arrays[1];
    float *grad_x = arrays[2];
    int64_t n = sizes[1], inner = sizes[2];
    (void)scalars;
    for (int64_t row = start; row < stop && inner == 1; row++) {
        const float *yr = out + row * n, *gr = grad_out + row * n;
        vec_f32 sum = vec_set(tree_row(TREE_SUM, gr, n, 0.0f));
        for (int64_t i = 0; i < n; i += VEC_LANES) {
            vec_f32 p = vec_exp(vec_load(yr + i, n - i));
            vec_store(grad_x + row * n + i, vec_fnma(p, sum, vec_load(gr + i, n - i)), n - i);
        }
    }
    for (int64_t row = start; row < stop && inner > 1;) {
        strip s = strip_of(row, stop, n, inner);
        float sum[TREE_WIDTH];
        tree_columns(TREE_SUM, grad_out + s.at, out, 0, sum, n, inner, s.width, TREE_ROWS);
        for (int64_t i = 0; i < n; i++)
            for (int64_t j = 0; j < s.width; j += VEC_LANES) {
                int64_t at = s.at + i * inner + j, rest = s.width - j;
                vec_f32 p = vec_exp(vec_load(out + at, rest));
                vec_store(grad_x + at, vec_fnma(p, vec_load(sum + j, rest), vec_load(grad_out + at, rest)), rest);
            }
        row += s.width;
    }
}

const kg_entry KG_TABLE(softmax)[] = {{"softmax_forward", softmax_forward},
                                      {"softmax_backward", softmax_backward},
                                      {"log_softmax_forward", log_softmax_forward},
                                      {"log_softmax_backward", log_softmax_backward},
                                      {0}};
