/* Packing: panels of 32 columns of B, strips of rows of A. Part of the gemm template. */

#define KC 384 /* rows of a block of B: 8 panels of them are 384 KB of float32 and stay in L2 */
#define STRIP ((MAX_ROWS + LANES - 1) / LANES * LANES)
#define PACKED_ROW (KC + 16) /* spreads the rows of a packed strip over the sets of L1 */

/* Panels j0 .. j1-1, rows p0 .. p0+kc-1, to out[j][kc][PANEL], panels `apart`; missing columns are zero. */
static void pack_panels(const gemm_args *g, int64_t j0, int64_t j1, int64_t p0, int64_t kc, real *out, int64_t apart) {
    const real *b = (const real *)g->b + p0 * g->b_row;
    if (g->b_col == 1) { /* all panels of a row together: rows are often a memory page apart */
        for (int64_t p = 0; p < kc; p++, b += g->b_row, out += PANEL)
            for (int64_t j = j0; j < j1; j++) {
                int64_t columns = g->n - j * PANEL;
                real *to = out + (j - j0) * apart;
                __builtin_prefetch(b + 8 * g->b_row + j * PANEL);
                __builtin_prefetch(b + 8 * g->b_row + j * PANEL + PANEL / 2);
                if (columns >= PANEL)
                    memcpy(to, b + j * PANEL, PANEL * sizeof *to);
                else
                    for (int64_t r = 0; r < PANEL; r++) to[r] = r < columns ? b[j * PANEL + r] : 0;
            }
        return;
    }
    for (int64_t j = j0; j < j1; j++, out += apart)
        for (int64_t r = 0; r < PANEL; r += REAL_BLOCK) {
            const real *from = b + (j * PANEL + r) * g->b_col;
            int64_t columns = g->n - j * PANEL - r;
            if (g->b_row == 1)
                for (int64_t p = 0; p < kc; p += REAL_BLOCK)
                    real_transpose(from + p, g->b_col, columns, kc - p, out + p * PANEL + r, PANEL);
            else
                for (int64_t p = 0; p < kc; p++)
                    for (int64_t q = 0; q < REAL_BLOCK; q++)
                        out[p * PANEL + r + q] = q < columns ? from[p * g->b_row + q * g->b_col] : 0;
        }
}

/* `rows` rows of A. Where p has unit stride it keeps it: out[rows][PACKED_ROW]; otherwise out[kc][STRIP],
 * whole vectors. `room` says how many rows A has from here on: with a vector's worth a read may go beyond `rows`. */
static void pack_strip(const gemm_args *g, const real *a, int64_t rows, int64_t room, int64_t kc, real *out) {
    if (g->a_col == 1)
        for (int64_t i = 0; i < rows; i++) memcpy(out + i * PACKED_ROW, a + i * g->a_row, (size_t)kc * sizeof *a);
    else if (g->a_row == 1 && room >= STRIP)
        for (int64_t p = 0; p < kc; p++, a += g->a_col, out += STRIP) {
            UNROLL
            for (int i = 0; i < STRIP; i += LANES) real_storeu(out + i, real_loadu(a + i));
            __builtin_prefetch(a + STRIP); /* the next strip */
        }
    else
        for (int64_t p = 0; p < kc; p++, a += g->a_col, out += STRIP)
            for (int64_t i = 0; i < rows; i++) out[i] = a[i * g->a_row];
}
