/* Maximum over windows of NHWC memory: lanes are channels. */
#include "pooling/pooling.h"

/* One window, `vecs` vectors of channels (the last of `left` lanes). Among equals the first wins, a nan always. */
VEC_INLINE void max_window(int vecs, int bytes, const float *corner, int64_t rows, int64_t columns, int64_t row,
                           int64_t column, int64_t tap0, int64_t tap_row, float *out, void *taps, int64_t at,
                           int64_t left) {
    vec_f32 best[4];
    vec_i32 which[4];
    UNROLL
    for (int j = 0; j < vecs; j++) {
        best[j] = vec_load(corner + j * VEC_LANES, left);
        which[j] = vec_i32_set((int32_t)tap0);
    }
    for (int64_t y = 0; y < rows; y++)
        for (int64_t x = y == 0; x < columns; x++) {
            const vec_i32 tap = vec_i32_set((int32_t)(tap0 + y * tap_row + x));
            const float *p = corner + y * row + x * column;
            UNROLL
            for (int j = 0; j < vecs; j++) {
                vec_f32 v = vec_load(p + j * VEC_LANES, left);
                vec_mask better = vec_mask_or(vec_gt(v, best[j]), vec_isnan(v));
                best[j] = vec_select(better, v, best[j]);
                if (bytes) which[j] = vec_i32_select(better, tap, which[j]);
            }
        }
    UNROLL
    for (int j = 0; j < vecs; j++) {
        vec_store(out + j * VEC_LANES, best[j], left);
        store_taps(taps, at + j * VEC_LANES, which[j], bytes, left);
    }
}

VEC_INLINE void max_pixel(int bytes, const float *corner, int64_t rows, int64_t columns, int64_t row, int64_t column,
                          int64_t tap0, int64_t tap_row, int64_t channels, float *out, void *taps, int64_t at) {
    int64_t c = 0;
    for (; c + 4 * VEC_LANES <= channels; c += 4 * VEC_LANES)
        max_window(4, bytes, corner + c, rows, columns, row, column, tap0, tap_row, out + c, taps, at + c, VEC_LANES);
    for (; c + VEC_LANES <= channels; c += VEC_LANES)
        max_window(1, bytes, corner + c, rows, columns, row, column, tap0, tap_row, out + c, taps, at + c, VEC_LANES);
    if (c == channels) return;
    if (channels > VEC_LANES) { /* some channels again, rather than a masked vector */
        c = channels - VEC_LANES;
        max_window(1, bytes, corner + c, rows, columns, row, column, tap0, tap_row, out + c, taps, at + c, VEC_LANES);
    } else
        max_window(1, bytes, corner + c, rows, columns, row, column, tap0, tap_row, out + c, taps, at + c,
                   channels - c);
}

/* Output row `i` of all images; the common windows have loops of constant length. */
VEC_INLINE void max_row(int bytes, const pool_shape *s, const span *spans, const float *x, int64_t i, float *out,
                        void *taps) {
    const int64_t row = (s->adaptive ? 1 : s->dilation[0]) * s->W * s->C, tap_row = s->kernel[1], C = s->C;
    const int64_t column = (s->adaptive ? 1 : s->dilation[1]) * C;
    span v = span_of(s, 0, i % s->OH);
    const float *line = x + (i / s->OH * s->H + v.start) * s->W * C + v.first * row;
    int64_t rows = v.last - v.first, at = i * s->OW * C;
    for (int64_t j = 0; j < s->OW; j++, at += C) {
        span h = spans[j];
        int64_t columns = h.last - h.first, tap0 = v.first * tap_row + h.first;
        const float *corner = line + h.start * C + h.first * column;
        if (rows == 0 || columns == 0) /* dilated past the image on both sides */
            for (int64_t c = 0; c < C; c++) out[at + c] = -INFINITY, set_tap(taps, at + c, -1, bytes);
        else if (rows == 2 && columns == 2)
            max_pixel(bytes, corner, 2, 2, row, column, tap0, tap_row, C, out + at, taps, at);
        else if (rows == 3 && columns == 3)
            max_pixel(bytes, corner, 3, 3, row, column, tap0, tap_row, C, out + at, taps, at);
        else
            max_pixel(bytes, corner, rows, columns, row, column, tap0, tap_row, C, out + at, taps, at);
    }
}

/* out[n, y, x, c] = max over the window; taps (optional) = which tap it was, tap_y kw + tap_x. rest: bytes of a tap. */
void KG_NAME(max_pool2d_forward)(void *const *arrays, const int64_t *sizes, const double *scalars, int64_t start,
                                 int64_t stop) {
    const float *x = arrays[0];
    float *out = arrays[1];
    void *taps = arrays[2];
    const pool_shape s = shape_of(sizes);
    const int bytes = (int)s.rest[0];
    const span *spans = spans_of(&s);
    (void)scalars;
    for (int64_t i = start; i < stop; i++)
        if (s.C == 1) KG_NAME(pool_max_row)
    (&s, span_of(&s, 0, i % s.OH), spans, x + i / s.OH * s.H * s.W, out, taps, i * s.OW, bytes);
    else if (bytes == 0) max_row(0, &s, spans, x, i, out, taps);
    else if (bytes == 1) max_row(1, &s, spans, x, i, out, taps);
    else max_row(4, &s, spans, x, i, out, taps);
}

/* One input pixel: the sum of grad_out over the windows whose maximum it was. */
VEC_INLINE void max_gather(int vecs, int bytes, const pool_shape *s, const float *grad_out, const void *taps,
                           int64_t first, const meeting *rows, int64_t row_count, const meeting *list, int64_t count,
                           float *grad_x, int64_t left) {
    vec_f32 sum[4];
    UNROLL
    for (int j = 0; j < vecs; j++) sum[j] = vec_zero();
    for (int64_t r = 0; r < row_count; r++)
        for (int64_t k = 0; k < count; k++) {
            int64_t at = first + (rows[r].output * s->OW + list[k].output) * s->C;
            const vec_i32 tap = vec_i32_set((int32_t)(rows[r].tap * s->kernel[1] + list[k].tap));
            UNROLL
            for (int j = 0; j < vecs; j++) {
                vec_f32 g = vec_load(grad_out + at + j * VEC_LANES, left);
                vec_mask mine = vec_i32_eq(load_taps(taps, at + j * VEC_LANES, bytes, left), tap);
                sum[j] = vec_add(sum[j], vec_select(mine, g, vec_zero()));
            }
        }
    UNROLL
    for (int j = 0; j < vecs; j++) vec_store(grad_x + j * VEC_LANES, sum[j], left);
}

VEC_INLINE void max_row_backward(int bytes, const pool_shape *s, const columns *h, const meeting *rows,
                                 int64_t row_count, const float *grad_out, const void *taps, int64_t first,
                                 float *grad_x) {
    for (int64_t x = 0; x < s->W; x++, grad_x += s->C) {
        const meeting *list = h->list + h->first[x];
        int64_t count = h->first[x + 1] - h->first[x], c = 0;
        for (; c + 4 * VEC_LANES <= s->C; c += 4 * VEC_LANES)
            max_gather(4, bytes, s, grad_out, taps, first + c, rows, row_count, list, count, grad_x + c, VEC_LANES);
        for (; c + VEC_LANES <= s->C; c += VEC_LANES)
            max_gather(1, bytes, s, grad_out, taps, first + c, rows, row_count, list, count, grad_x + c, VEC_LANES);
        if (c == s->C) continue;
        if (s->C > VEC_LANES) {
            c = s->C - VEC_LANES;
            max_gather(1, bytes, s, grad_out, taps, first + c, rows, row_count, list, count, grad_x + c, VEC_LANES);
        } else
            max_gather(1, bytes, s, grad_out, taps, first + c, rows, row_count, list, count, grad_x + c, s->C - c);
    }
}

/* The same for wide windows, most of whose taps are in other places: each output adds to the one it chose. */
VEC_INLINE void max_row_scatter(int bytes, const pool_shape *s, const columns *h, const meeting *rows,
                                int64_t row_count, const float *grad_out, const void *taps, int64_t first,
                                float *grad_x) {
    const int64_t C = s->C, kw = s->kernel[1], column = (s->adaptive ? 1 : s->dilation[1]) * C;
    memset(grad_x, 0, sizeof *grad_x * s->W * C);
    for (int64_t r = 0; r < row_count; r++) {
        const vec_i32 below = vec_i32_set((int32_t)(rows[r].tap * kw - 1)),
                      above = vec_i32_set((int32_t)((rows[r].tap + 1) * kw));
        for (int64_t x = 0; x < s->OW; x++) {
            int64_t at = first + (rows[r].output * s->OW + x) * C;
            float *to = grad_x + h->spans[x].start * C;
            for (int64_t c = 0; c < C; c += VEC_LANES) {
                vec_i32 tap = load_taps(taps, at + c, bytes, C - c);
                if (!vec_any(vec_mask_and(vec_i32_gt(tap, below), vec_i32_lt(tap, above)))) continue;
                for (int64_t i = c; i < least(C, c + VEC_LANES); i++) {
                    uint64_t t = (uint64_t)(tap_of(taps, at + i, bytes) - rows[r].tap * kw);
                    if (t < (uint64_t)kw) to[(int64_t)t * column + i] += grad_out[at + i];
                }
            }
        }
    }
}

/* grad_x[pixel] = sum of grad_out over the windows whose maximum it was. rest: bytes of a tap. */
void KG_NAME(max_pool2d_backward)(void *const *arrays, const int64_t *sizes, const double *scalars, int64_t start,
                                  int64_t stop) {
    const float *grad_out = arrays[0];
    const void *taps = arrays[1];
    float *grad_x = arrays[2];
    const pool_shape s = shape_of(sizes);
    const int bytes = (int)s.rest[0];
    const columns h = columns_of(&s);
    const int wide = s.kernel[1] * 16 >= 20 * least(s.C, 16);
    (void)scalars;
    for (int64_t i = start; i < stop; i++) {
        int64_t count = meet(&s, 0, i % s.H, h.rows), first = i / s.H * s.OH * s.OW * s.C;
        float *line = grad_x + i * s.W * s.C;
        if (s.C == 1)
            KG_NAME(pool_max_row_backward)(&s, &h, h.rows, count, grad_out, taps, first, bytes, line);
        else if (wide && bytes == 1)
            max_row_scatter(1, &s, &h, h.rows, count, grad_out, taps, first, line);
        else if (wide)
            max_row_scatter(4, &s, &h, h.rows, count, grad_out, taps, first, line);
        else if (bytes == 1)
            max_row_backward(1, &s, &h, h.rows, count, grad_out, taps, first, line);
        else
            max_row_backward(4, &s, &h, h.rows, count, grad_out, taps, first, line);
    }
}

/* indices[n, y, x, c] = flat index (y W + x) of the maximum, int64 as PyTorch returns it. */
void KG_NAME(max_pool2d_indices)(void *const *arrays, const int64_t *sizes, const double *scalars, int64_t start,
                                 int64_t stop) {
    const int32_t *taps = arrays[0];
    int64_t *indices = arrays[1];
    const pool_shape s = shape_of(sizes);
    const int32_t kw = (int32_t)s.kernel[1];
    const span *spans = spans_of(&s);
    (void)scalars;
    for (int64_t i = start; i < stop; i++) {
        int64_t y0 = span_of(&s, 0, i % s.OH).start;
        for (int64_t j = 0; j < s.OW; j++) {
            int64_t x0 = spans[j].start, at = (i * s.OW + j) * s.C;
            for (int64_t c = at; c < at + s.C; c++)
                indices[c] = (y0 + taps[c] / kw * s.dilation[0]) * s.W + x0 + taps[c] % kw * s.dilation[1];
        }
    }
}
