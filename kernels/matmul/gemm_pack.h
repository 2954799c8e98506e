/* Packing: panels of columns of B, strips of rows of A. Part of the gemm template. */

#define KC 384 /* rows of a block of B: 8 panels of them are 384 KB of float32 and stay in L2 */
#define PANEL_APART(kc) ((kc) * PANEL + 16) /* panels of a power of two would meet in one set of the cache */
#define STRIPS 8                            /* packed together where A is stored by columns */
#define STRIP_APART(kc) (((kc) + 2) * STRIP)
#define PACKED_ROW (KC + 16) /* spreads the rows of a packed strip over the sets of L1 */

/* How many values there are up to the next multiple of `line` values in memory, where rows `ld` apart all have it at
 * once. Rows 4096 bytes apart fall into one set of the cache: a line met a second time would be fetched a second time.
 */
static inline int64_t to_next_line(const real *p, int64_t ld, int64_t line) {
    return ld % line == 0 ? line - (int64_t)((uintptr_t)p / sizeof(real) % (uintptr_t)line) : line;
}

/* Panels j0 .. j1-1, rows p0 .. p0+kc-1, to out[j][kc][PANEL], panels `apart`; missing columns are zero. */
static void pack_panels(const gemm_args *g, int64_t j0, int64_t j1, int64_t p0, int64_t kc, real *out, int64_t apart) {
    const real *b = (const real *)g->b + p0 * g->b_row;
    if (g->b_col == 1) { /* all panels of a row together: rows are often a memory page apart */
        for (int64_t p = 0; p < kc; p++, b += g->b_row, out += PANEL)
            for (int64_t j = j0; j < j1; j++) {
                int64_t columns = g->n - j * PANEL;
                real *to = out + (j - j0) * apart;
                __builtin_prefetch(b + 8 * g->b_row + j * PANEL);
                if (PANEL > 16) __builtin_prefetch(b + 8 * g->b_row + j * PANEL + PANEL / 2);
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
                for (int64_t p = 0, step = to_next_line(from, g->b_col, REAL_BLOCK); p < kc;
                     p += step, step = REAL_BLOCK)
                    real_transpose(from + p, g->b_col, columns, kc - p < step ? kc - p : step, out + p * PANEL + r,
                                   PANEL);
            else
                for (int64_t p = 0; p < kc; p++)
                    for (int64_t q = 0; q < REAL_BLOCK; q++)
                        out[p * PANEL + r + q] = q < columns ? from[p * g->b_row + q * g->b_col] : 0;
        }
}

/* `rows` rows of A whose p has unit stride, to rows `apart`. */
static void pack_rows(const real *a, int64_t a_row, int64_t rows, int64_t kc, real *out, int64_t apart) {
    for (int64_t i = 0; i < rows; i++) memcpy(out + i * apart, a + i * a_row, (size_t)kc * sizeof *a);
}

/* Whether rows of A whose p has unit stride are packed as rows, or turned into strips as well: a tile of few rows takes
 * its values from one line instead of six, which it does 5 to 10 % faster. */
#define ROWS_AS_STRIPS (MAX_ROWS == 6)

/* Strips of other rows of A, strip i from first[i] to first[i + 1]: out[i][kc][STRIP], whole vectors, strips `apart`.
 * All of them together, for a long run in each column of A: columns are often a memory page apart. */
static void pack_strips(const gemm_args *g, const int64_t *first, int64_t count, int64_t p0, int64_t kc, real *out,
                        int64_t apart) {
    const real *a = (const real *)g->a + p0 * g->a_col;
    if (g->a_col == 1) {
        for (int64_t i = 0; i < count; i++, out += apart)
            for (int64_t r = 0; r < STRIP; r += REAL_BLOCK) { /* rows of the next strip do no harm */
                const real *from = a + (first[i] + r) * g->a_row;
                for (int64_t p = 0; p < kc; p += REAL_BLOCK)
                    real_transpose(from + p, g->a_row, g->m - first[i] - r, kc - p, out + p * STRIP + r, STRIP);
            }
        return;
    }
    for (int64_t p = 0; p < kc; p++, a += g->a_col, out += STRIP)
        for (int64_t i = 0; i < count; i++) {
            const real *from = a + first[i] * g->a_row;
            real *to = out + i * apart;
            __builtin_prefetch(from + 4 * g->a_col);
            if (g->a_row == 1 && g->m - first[i] >= STRIP) { /* a read may go beyond the strip */
                UNROLL
                for (int r = 0; r < STRIP; r += LANES) real_storeu(to + r, real_loadu(from + r));
            } else
                for (int64_t r = 0; r < first[i + 1] - first[i]; r++) to[r] = from[r * g->a_row];
        }
}
