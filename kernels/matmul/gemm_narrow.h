/* A few rows times a few columns stored one after the other, as two thin matrices meet in a @ b.T: columns are turned
 * four at a time into rows of four, and tiles do the rest. Part of the gemm template. */

#define NARROW 8

typedef real real_four __attribute__((vector_size(4 * sizeof(real))));
typedef real_four real_four_at __attribute__((aligned(sizeof(real)), may_alias));

/* out[p * to + r] = B[p, r] for four columns r; those that are missing repeat the last. */
static void turn_four(const real *b, int64_t ldb, int64_t columns, int64_t kc, real *out, int64_t to) {
    const real *b0 = b, *b1 = b + (columns > 1 ? ldb : 0);
    const real *b2 = columns > 2 ? b1 + ldb : b1, *b3 = columns > 3 ? b2 + ldb : b2;
    int64_t p = 0;
    for (; p + 4 <= kc; p += 4, out += 4 * to) {
        const real_four x0 = *(const real_four_at *)(b0 + p), x1 = *(const real_four_at *)(b1 + p);
        const real_four x2 = *(const real_four_at *)(b2 + p), x3 = *(const real_four_at *)(b3 + p);
        const real_four low = __builtin_shufflevector(x0, x1, 0, 4, 1, 5);
        const real_four high = __builtin_shufflevector(x0, x1, 2, 6, 3, 7);
        const real_four low2 = __builtin_shufflevector(x2, x3, 0, 4, 1, 5);
        const real_four high2 = __builtin_shufflevector(x2, x3, 2, 6, 3, 7);
        *(real_four_at *)out = __builtin_shufflevector(low, low2, 0, 1, 4, 5);
        *(real_four_at *)(out + to) = __builtin_shufflevector(low, low2, 2, 3, 6, 7);
        *(real_four_at *)(out + 2 * to) = __builtin_shufflevector(high, high2, 0, 1, 4, 5);
        *(real_four_at *)(out + 3 * to) = __builtin_shufflevector(high, high2, 2, 3, 6, 7);
    }
    for (; p < kc; p++, out += to) out[0] = b0[p], out[1] = b1[p], out[2] = b2[p], out[3] = b3[p];
}

static int pays_as_narrow(const gemm_args *g) {
    return g->m <= TURN_ROWS && g->n <= NARROW && g->b_row == 1 && g->b_col != 1 && !g->packed_b;
}

static void multiply_narrow(const gemm_args *g) {
    _Alignas(64) real turned[KC * NARROW];
    const int64_t kc = block_rows(g->k), blocks = g->k > KC ? ceil_div(g->k, kc) : 1;
    for (int64_t block = 0; block < blocks; block++) {
        const struct epilogue e = epilogue_of(g, block == 0, block == blocks - 1);
        const int64_t p0 = block * kc, len = at_most(g->k - p0, kc);
        for (int64_t j = 0; j < g->n; j += 4)
            turn_four((const real *)g->b + p0 + j * g->b_col, g->b_col, g->n - j, len, turned + j, NARROW);
        for (int64_t i = 0; i < g->m; i += MAX_ROWS) {
            const real *a = (const real *)g->a + i * g->a_row + p0 * g->a_col;
            multiply_strip(&e, at_most(g->m - i, MAX_ROWS), len, a, g->a_row, g->a_col, turned, NARROW, 0,
                           (real *)g->c + i * g->c_row, g->c_row, 0, g->n, a, 0);
        }
    }
}
