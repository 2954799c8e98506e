/* Sums, products, extrema, norms and moments over the middle axis of (outer, n, inner), forward and backward.
 *
 * All are whole kernels: sizes are (outer, n, inner), and reduce() and spread() share the work out. What is left of
 * each reduction is (outer, inner), "results" below. */
#include "runtime/scratch.h"

#include "reduction/reduce.h"

#define UNUSED (void)scalars, (void)start, (void)stop
#define SIZES int64_t outer = sizes[0], n = sizes[1], inner = sizes[2]
#define KERNEL(name) \
    static void name(void *const *arrays, const int64_t *sizes, const double *scalars, int64_t start, int64_t stop)

/* Applies a function of one vector to every result, in place. */
#define EACH_RESULT(out, count, v, expression)            \
    for (int64_t i_ = 0; i_ < (count); i_ += VEC_LANES) { \
        vec_f32 v = vec_load((out) + i_, (count) - i_);   \
        vec_store((out) + i_, expression, (count) - i_);  \
    }

static float *results(int64_t count, int of) {
    return kg_scratch(KG_SCRATCH_ROWS, (size_t)(count * of) * sizeof(float) + 64);
}

/* out = sum x */
KERNEL(sum_forward) {
    SIZES;
    UNUSED;
    reduce(TREE_SUM, arrays[0], 0, 0, arrays[1], outer, n, inner);
}

/* d(sum)/dx = 1 */
KERNEL(sum_backward) {
    SIZES;
    UNUSED;
    spread(SPREAD_COPY, 0, 0, arrays[0], arrays[1], outer, n, inner);
}

/* out = sum x / n */
KERNEL(mean_forward) {
    float *out = arrays[1];
    SIZES;
    UNUSED;
    reduce(TREE_SUM, arrays[0], 0, 0, out, outer, n, inner);
    const vec_f32 count = vec_set((float)n);
    EACH_RESULT(out, outer * inner, v, vec_div(v, count))
}

/* d(mean)/dx = 1 / n */
KERNEL(mean_backward) {
    const float *grad_out = arrays[0];
    SIZES;
    UNUSED;
    float *share = results(outer * inner, 1);
    for (int64_t i = 0; i < outer * inner; i++) share[i] = grad_out[i] / (float)n;
    spread(SPREAD_COPY, 0, 0, share, arrays[1], outer, n, inner);
}

/* out = prod x */
KERNEL(prod_forward) {
    SIZES;
    UNUSED;
    reduce(TREE_PROD, arrays[0], 0, 0, arrays[1], outer, n, inner);
}

/* d(prod)/dx_i is the product of the others: prod / x_i without zeros; with one, the rest's product there and 0
 * elsewhere. */
KERNEL(prod_backward) {
    const float *x = arrays[0], *grad_out = arrays[1];
    SIZES;
    UNUSED;
    int64_t count = outer * inner;
    float *elsewhere = results(count, 2), *at_zero = elsewhere + count;
    reduce(TREE_COUNT_ZEROS, x, 0, 0, at_zero, outer, n, inner);
    reduce(TREE_PROD_NONZERO, x, 0, 0, elsewhere, outer, n, inner);
    for (int64_t i = 0; i < count; i++) {
        float zeros = at_zero[i], slope = grad_out[i] * elsewhere[i];
        elsewhere[i] = zeros == 0.0f ? slope : 0.0f;
        at_zero[i] = zeros == 1.0f ? slope : 0.0f;
    }
    spread(SPREAD_PROD, x, elsewhere, at_zero, arrays[2], outer, n, inner);
}

/* out = max x, nan if there is one */
KERNEL(amax_forward) {
    SIZES;
    UNUSED;
    reduce(TREE_MAX, arrays[0], 0, 0, arrays[1], outer, n, inner);
}

/* out = min x, nan if there is one */
KERNEL(amin_forward) {
    SIZES;
    UNUSED;
    reduce(TREE_MIN, arrays[0], 0, 0, arrays[1], outer, n, inner);
}

/* Those that equal the extremum share the gradient evenly. amin uses it too. */
KERNEL(amax_backward) {
    const float *x = arrays[0], *out = arrays[1], *grad_out = arrays[2];
    SIZES;
    UNUSED;
    float *share = results(outer * inner, 1);
    reduce(TREE_COUNT_EQUAL, x, 0, out, share, outer, n, inner);
    for (int64_t i = 0; i < outer * inner; i++) share[i] = grad_out[i] / share[i];
    spread(SPREAD_EQUAL, x, out, share, arrays[3], outer, n, inner);
}

/* out = sqrt(sum x^2) */
KERNEL(norm_forward) {
    float *out = arrays[1];
    SIZES;
    UNUSED;
    reduce(TREE_SUM_SQUARES, arrays[0], 0, 0, out, outer, n, inner);
    EACH_RESULT(out, outer * inner, v, vec_sqrt(v))
}

/* d(norm)/dx = x / norm, 0 at the origin */
KERNEL(norm_backward) {
    const float *out = arrays[1], *grad_out = arrays[2];
    SIZES;
    UNUSED;
    float *slope = results(outer * inner, 1);
    for (int64_t i = 0; i < outer * inner; i++) slope[i] = out[i] == 0.0f ? 0.0f : grad_out[i] / out[i];
    spread(SPREAD_PRODUCT, arrays[0], 0, slope, arrays[3], outer, n, inner);
}

typedef struct {
    const float *x;
    float *shift, *out;
    int64_t n, inner;
    double correction;
    int root;
} passes;

/* out = log(sum exp(x - m)) + m, m = max x, or 0 where that is infinite: a row of -inf gives -inf, not nan. */
static void logsumexp_range(void *context, int64_t start, int64_t stop) {
    const passes *p = context;
    const float *x = p->x + start * p->n * p->inner;
    int64_t count = (stop - start) * p->inner;
    float *shift = results(count, 1), *out = p->out + start * p->inner;
    const vec_f32 infinity = vec_set(INFINITY);
    reduce(TREE_MAX, x, 0, 0, shift, stop - start, p->n, p->inner);
    EACH_RESULT(shift, count, m, vec_select(vec_eq(vec_abs(m), infinity), vec_zero(), m))
    reduce(TREE_SUM_EXP, x, 0, shift, out, stop - start, p->n, p->inner);
    EACH_RESULT(out, count, v, vec_add(vec_log(v), vec_load(shift + i_, count - i_)))
}
KERNEL(logsumexp_forward) {
    SIZES;
    UNUSED;
    passes p = {.x = arrays[0], .out = arrays[1], .n = n, .inner = inner};
    over_outer(logsumexp_range, &p, outer, n * inner, 0.4);
}

/* d(lse)/dx = exp(x - lse) */
KERNEL(logsumexp_backward) {
    SIZES;
    UNUSED;
    spread(SPREAD_EXP, arrays[0], arrays[1], arrays[2], arrays[3], outer, n, inner);
}

/* mean = sum x / n; out = sum (x - mean)^2 / (n - correction), or its root. Two passes, the second with the mean of the
 * first. */
static void moments_range(void *context, int64_t start, int64_t stop) {
    const passes *p = context;
    const float *x = p->x + start * p->n * p->inner;
    int64_t count = (stop - start) * p->inner;
    float *mean = p->shift + start * p->inner, *out = p->out + start * p->inner;
    double left = (double)p->n - p->correction;
    const vec_f32 n = vec_set((float)p->n), divisor = vec_set((float)(left > 0 ? left : 0));
    reduce(TREE_SUM, x, 0, 0, mean, stop - start, p->n, p->inner);
    EACH_RESULT(mean, count, v, vec_div(v, n))
    reduce(TREE_SUM_DEVIATIONS, x, 0, mean, out, stop - start, p->n, p->inner);
    EACH_RESULT(out, count, v, vec_div(v, divisor))
    if (p->root) EACH_RESULT(out, count, v, vec_sqrt(v))
}
static void moments(void *const *arrays, const int64_t *sizes, const double *scalars, int root) {
    SIZES;
    passes p = {.x = arrays[0],
                .shift = arrays[1],
                .out = arrays[2],
                .n = n,
                .inner = inner,
                .correction = scalars[0],
                .root = root};
    over_outer(moments_range, &p, outer, n * inner, 0.2);
}
KERNEL(var_forward) {
    UNUSED;
    moments(arrays, sizes, scalars, 0);
}
KERNEL(std_forward) {
    UNUSED;
    moments(arrays, sizes, scalars, 1);
}

/* d(var)/dx = 2 (x - mean) / (n - correction) */
KERNEL(var_backward) {
    const float *grad_out = arrays[2];
    SIZES;
    UNUSED;
    float *slope = results(outer * inner, 1), factor = (float)(2.0 / ((double)n - scalars[0]));
    for (int64_t i = 0; i < outer * inner; i++) slope[i] = grad_out[i] * factor;
    spread(SPREAD_CENTERED, arrays[0], arrays[1], slope, arrays[3], outer, n, inner);
}

/* d(std)/dx = (x - mean) / (std (n - correction)), 0 where all are alike */
KERNEL(std_backward) {
    const float *out = arrays[2], *grad_out = arrays[3];
    SIZES;
    UNUSED;
    float *slope = results(outer * inner, 1), divisor = (float)((double)n - scalars[0]);
    for (int64_t i = 0; i < outer * inner; i++) slope[i] = out[i] == 0.0f ? 0.0f : grad_out[i] / (out[i] * divisor);
    spread(SPREAD_CENTERED, arrays[0], arrays[1], slope, arrays[4], outer, n, inner);
}

const kg_entry KG_TABLE(reduction)[] = {{"sum_forward", sum_forward},
                                        {"sum_backward", sum_backward},
                                        {"mean_forward", mean_forward},
                                        {"mean_backward", mean_backward},
                                        {"prod_forward", prod_forward},
                                        {"prod_backward", prod_backward},
                                        {"amax_forward", amax_forward},
                                        {"amin_forward", amin_forward},
                                        {"amax_backward", amax_backward},
                                        {"norm_forward", norm_forward},
                                        {"norm_backward", norm_backward},
                                        {"logsumexp_forward", logsumexp_forward},
                                        {"logsumexp_backward", logsumexp_backward},
                                        {"var_forward", var_forward},
                                        {"var_backward", var_backward},
                                        {"std_forward", std_forward},
                                        {"std_backward", std_backward},
                                        {0}};
