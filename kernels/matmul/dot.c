/* The product of two vectors. No row of a larger product: free to sum in 64 lanes, where gemm goes one by one. */
#include "runtime/pool.h"
#include "runtime/scratch.h"
#include "vec/vec.h"

#define BLOCK 16384 /* summed alone; blocks are then added in order, whoever summed them */

struct dot {
    const float *a, *b;
    float *parts;
    int64_t n;
};

static void dot_block(void *context, int64_t block) {
    const struct dot *d = context;
    int64_t i = block * BLOCK, end = d->n - i < BLOCK ? d->n : i + BLOCK;
    const float *a = d->a, *b = d->b;
    vec16 sum0 = vec16_zero(), sum1 = sum0, sum2 = sum0, sum3 = sum0;
    for (; i + 64 <= end; i += 64) {
        sum0 = vec16_fma(vec16_loadu(a + i), vec16_loadu(b + i), sum0);
        sum1 = vec16_fma(vec16_loadu(a + i + 16), vec16_loadu(b + i + 16), sum1);
        sum2 = vec16_fma(vec16_loadu(a + i + 32), vec16_loadu(b + i + 32), sum2);
        sum3 = vec16_fma(vec16_loadu(a + i + 48), vec16_loadu(b + i + 48), sum3);
    }
    for (; i < end; i += 16) sum0 = vec16_fma(vec16_load(a + i, end - i, 0), vec16_load(b + i, end - i, 0), sum0);
    d->parts[block] = vec16_sum(vec16_add(vec16_add(sum0, sum1), vec16_add(sum2, sum3)));
}

/* arrays (a, b, out), sizes (n): out[0] = sum of a[i] b[i]. */
static void dot_product(void *const *arrays, const int64_t *sizes, const double *scalars, int64_t start, int64_t stop) {
    struct dot d = {arrays[0], arrays[1], arrays[2], sizes[0]};
    float *out = arrays[2];
    int64_t blocks = d.n ? (d.n + BLOCK - 1) / BLOCK : 1;
    (void)scalars, (void)start, (void)stop;
    if (blocks > 1) d.parts = kg_scratch(KG_SCRATCH_PARTIAL, (size_t)blocks * sizeof *out);
    kg_parallel(dot_block, &d, blocks, (double)d.n * 5e-5);
    if (blocks == 1) return;
    out[0] = d.parts[0];
    for (int64_t i = 1; i < blocks; i++) out[0] += d.parts[i];
}

const kg_entry KG_TABLE(dot)[] = {{"dot_product", dot_product}, {0}};
