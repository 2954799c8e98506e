/* What this machine can do at most: multiply-adds in registers, and bytes through a buffer. Benchmarks quote shares of
 * it. */
#include "runtime/pool.h"
#include "vec/vec.h"

#define CHAINS 12 /* independent ones: two units of latency 4 need 8, of latency 5 need 10 */

struct chains {
    int64_t iterations;
    const float *start; /* CHAINS values: different, or the compiler would see that the chains are one */
    float *out;         /* keeps the work from being dropped */
};

/* x = x a + b in CHAINS chains. Named variables: an array of accumulators may go to memory. */
static void run_chains(void *context, int64_t task) {
    const struct chains *c = context;
    const float *s = c->start;
    const vec_f32 a = vec_set(s[CHAINS]), b = vec_set(s[CHAINS + 1]);
    vec_f32 x0 = vec_set(s[0]), x1 = vec_set(s[1]), x2 = vec_set(s[2]), x3 = vec_set(s[3]), x4 = vec_set(s[4]);
    vec_f32 x5 = vec_set(s[5]), x6 = vec_set(s[6]), x7 = vec_set(s[7]), x8 = vec_set(s[8]), x9 = vec_set(s[9]);
    vec_f32 x10 = vec_set(s[10]), x11 = vec_set(s[11]);
    for (int64_t i = 0; i < c->iterations; i++) {
        x0 = vec_fma(x0, a, b), x1 = vec_fma(x1, a, b), x2 = vec_fma(x2, a, b), x3 = vec_fma(x3, a, b);
        x4 = vec_fma(x4, a, b), x5 = vec_fma(x5, a, b), x6 = vec_fma(x6, a, b), x7 = vec_fma(x7, a, b);
        x8 = vec_fma(x8, a, b), x9 = vec_fma(x9, a, b), x10 = vec_fma(x10, a, b), x11 = vec_fma(x11, a, b);
    }
    vec_f32 low = vec_add(vec_add(vec_add(x0, x1), vec_add(x2, x3)), vec_add(x4, x5));
    vec_f32 high = vec_add(vec_add(vec_add(x6, x7), vec_add(x8, x9)), vec_add(x10, x11));
    c->out[task] = vec_lane0(vec_add(low, high));
}

/* arrays (start of 14 values, out of `tasks` values, flops of 1), sizes (tasks, iterations). flops: operations of one
 * task. */
static void peak_fma(void *const *arrays, const int64_t *sizes, const double *scalars, int64_t start, int64_t stop) {
    struct chains c = {sizes[1], arrays[0], arrays[1]};
    float *flops = arrays[2];
    (void)scalars, (void)start, (void)stop;
    flops[0] = 2.0f * CHAINS * VEC_LANES * (float)sizes[1];
    kg_parallel(run_chains, &c, sizes[0], 1e3 * (double)sizes[0]);
}

struct sweep {
    const float *a, *b;
    float *out;
    int64_t n, parts, repeats;
    int triad;
};

/* out = a, or out = a + b / 2, over one part of the buffers, again and again. */
static void run_sweep(void *context, int64_t part) {
    const struct sweep *s = context;
    int64_t first = part * s->n / s->parts / 16 * 16, end = (part + 1) * s->n / s->parts / 16 * 16;
    const vec_f32 half = vec_set(0.5f);
    for (int64_t r = 0; r < s->repeats; r++) {
        if (s->triad)
            for (int64_t i = first; i < end; i += VEC_LANES)
                vec_storeu(s->out + i, vec_fma(vec_loadu(s->b + i), half, vec_loadu(s->a + i)));
        else
            for (int64_t i = first; i < end; i += VEC_LANES) vec_storeu(s->out + i, vec_loadu(s->a + i));
        __asm__ volatile("" ::: "memory"); /* each sweep happens */
    }
}

/* arrays (a, b, out), sizes (n, repeats, triad), n a multiple of 16: each thread sweeps its own part of the buffers. */
static void peak_bandwidth(void *const *arrays, const int64_t *sizes, const double *scalars, int64_t start,
                           int64_t stop) {
    struct sweep s = {arrays[0], arrays[1], arrays[2], sizes[0], kg_threads(), sizes[1], (int)sizes[2]};
    (void)scalars, (void)start, (void)stop;
    kg_parallel(run_sweep, &s, s.parts, 1e3 * (double)s.parts);
}

const kg_entry KG_TABLE(roofline)[] = {{"peak_fma", peak_fma}, {"peak_bandwidth", peak_bandwidth}, {0}};
