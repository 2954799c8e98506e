/* Matrix product in float32; see gemm.h for what it promises, gemm_body.h for how. */
#include "matmul/gemm.h"

#include "matmul/real_float32.h"
#include "runtime/pool.h"
#include "runtime/scratch.h"

#define REAL_KERNEL gemm
#include "matmul/gemm_body.h"

/* Panels of columns of B, zeros where they are missing; a chunk is 32 columns. */
static void gemm_pack_b(void *const *arrays, const int64_t *sizes, const double *scalars, int64_t start, int64_t stop) {
    const gemm_args g = {.n = sizes[1], .k = sizes[2], .b = arrays[0], .b_row = sizes[3], .b_col = sizes[4]};
    const int64_t first = start * (32 / PANEL), end = at_most(stop * (32 / PANEL), ceil_div(g.n, PANEL));
    (void)scalars;
    pack_panels(&g, first, end, 0, g.k, (float *)arrays[1] + first * PANEL * g.k, PANEL * g.k);
}

const kg_entry KG_TABLE(gemm)[] = {{"gemm", gemm}, {"gemm_pack_b", gemm_pack_b}, {0}};
