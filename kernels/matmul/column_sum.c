/* Sums over the rows of a matrix: the gradient of a bias. */
#include "runtime/pool.h"
#include "runtime/scratch.h"
#include "vec/vec.h"

#define ROWS 512 /* summed one after the other; blocks of them are then added in order. Depends on no thread count. */
#define COLUMNS 1024 /* accumulators stay in L1 */

struct sums {
    const float *x;
    float *out; /* blocks x columns */
    int64_t columns, rows, row_stride, column_chunks;
};

/* out[j] = sum of x[i][j] over one block of rows, four rows at a time as (0 + 1) + (2 + 3). */
static void sum_block(void *context, int64_t chunk) {
    const struct sums *s = context;
    int64_t block = chunk / s->column_chunks, first = chunk % s->column_chunks * COLUMNS, ld = s->row_stride;
    int64_t n = s->columns - first < COLUMNS ? s->columns - first : COLUMNS;
    int64_t rows = s->rows - block * ROWS < ROWS ? s->rows - block * ROWS : ROWS, i = 0;
    const float *x = s->x + block * ROWS * ld + first;
    float *out = s->out + block * s->columns + first;
    for (int64_t j = 0; j < n; j += VEC_LANES) vec_store(out + j, vec_zero(), n - j);
    for (; i + 4 <= rows; i += 4, x += 4 * ld)
        for (int64_t j = 0; j < n; j += VEC_LANES) {
            vec_f32 low = vec_add(vec_load(x + j, n - j), vec_load(x + ld + j, n - j));
            vec_f32 high = vec_add(vec_load(x + 2 * ld + j, n - j), vec_load(x + 3 * ld + j, n - j));
            vec_store(out + j, vec_add(vec_load(out + j, n - j), vec_add(low, high)), n - j);
        }
    for (; i < rows; i++, x += ld)
        for (int64_t j = 0; j < n; j += VEC_LANES)
            vec_store(out + j, vec_add(vec_load(out + j, n - j), vec_load(x + j, n - j)), n - j);
}

/* arrays (x, out), sizes (columns, rows, row_stride): out[j] = sum over i of x[i * row_stride + j]. */
static void column_sum(void *const *arrays, const int64_t *sizes, const double *scalars, int64_t start, int64_t stop) {
    struct sums s = {.x = arrays[0], .out = arrays[1], .columns = sizes[0], .rows = sizes[1], .row_stride = sizes[2]};
    float *out = s.out;
    int64_t blocks = s.rows ? (s.rows + ROWS - 1) / ROWS : 1;
    (void)scalars, (void)start, (void)stop;
    s.column_chunks = (s.columns + COLUMNS - 1) / COLUMNS;
    if (blocks > 1) s.out = kg_scratch(KG_SCRATCH_PARTIAL, (size_t)(blocks * s.columns) * sizeof *out);
    kg_parallel(sum_block, &s, blocks * s.column_chunks, (double)s.rows * (double)s.columns / 5e3);
    if (blocks == 1) return;
    for (int64_t j = 0; j < s.columns; j += VEC_LANES) {
        vec_f32 sum = vec_load(s.out + j, s.columns - j);
        for (int64_t b = 1; b < blocks; b++) sum = vec_add(sum, vec_load(s.out + b * s.columns + j, s.columns - j));
        vec_store(out + j, sum, s.columns - j);
    }
}

const kg_entry KG_TABLE(column_sum)[] = {{"column_sum", column_sum}, {0}};
