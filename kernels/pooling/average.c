/* Average over windows of NHWC memory: lanes are channels. */
#include "pooling/pooling.h"

/* One window, `vecs` vectors of channels (the last of `left` lanes). */
VEC_INLINE void avg_window(int vecs, const float *corner, int64_t rows, int64_t columns, int64_t row, int64_t column,
                           float by, float *out, int64_t left) {
    vec_f32 sum[4];
    UNROLL
    for (int j = 0; j < vecs; j++) sum[j] = vec_zero();
    for (int64_t y = 0; y < rows; y++)
        for (int64_t x = 0; x < columns; x++) {
            const float *p = corner + y * row + x * column;
            UNROLL
            for (int j = 0; j < vecs; j++) sum[j] = vec_add(sum[j], vec_load(p + j * VEC_LANES, left));
        }
    UNROLL
    for (int j = 0; j < vecs; j++) vec_store(out + j * VEC_LANES, vec_div(sum[j], vec_set(by)), left);
}

VEC_INLINE void avg_pixel(const float *corner, int64_t rows, int64_t columns, int64_t row, int64_t channels, float by,
                          float *out) {
    int64_t c = 0;
    for (; c + 4 * VEC_LANES <= channels; c += 4 * VEC_LANES)
        avg_window(4, corner + c, rows, columns, row, channels, by, out + c, VEC_LANES);
    for (; c + VEC_LANES <= channels; c += VEC_LANES)
        avg_window(1, corner + c, rows, columns, row, channels, by, out + c, VEC_LANES);
    if (c == channels) return;
    if (channels > VEC_LANES) { /* some channels again, rather than a masked vector */
        c = channels - VEC_LANES;
        avg_window(1, corner + c, rows, columns, row, channels, by, out + c, VEC_LANES);
    } else
        avg_window(1, corner + c, rows, columns, row, channels, by, out + c, channels - c);
}

/* out[n, y, x, c] = (sum over the window) / divisor */
void KG_NAME(avg_pool2d_forward)(void *const *arrays, const int64_t *sizes, const double *scalars, int64_t start,
                                 int64_t stop) {
    const float *x = arrays[0];
    float *out = arrays[1];
    const pool_shape s = shape_of(sizes);
    const span *spans = spans_of(&s);
    const int64_t row = s.W * s.C;
    (void)scalars;
    for (int64_t i = start; i < stop; i++) {
        span v = span_of(&s, 0, i % s.OH);
        const float *image = x + (i / s.OH * s.H + v.start + v.first) * row;
        if (s.C == 1) {
            KG_NAME(pool_avg_row)(&s, v, spans, image, out + i * s.OW);
            continue;
        }
        float by_rows = divisor(&s, 0, v), *to = out + i * s.OW * s.C;
        int64_t rows = v.last - v.first;
        for (int64_t j = 0; j < s.OW; j++, to += s.C) {
            span h = spans[j];
            const float *corner = image + (h.start + h.first) * s.C, by = by_rows * divisor(&s, 1, h);
            int64_t columns = h.last - h.first;
            if (rows == 2 && columns == 2)
                avg_pixel(corner, 2, 2, row, s.C, by, to);
            else if (rows == 3 && columns == 3)
                avg_pixel(corner, 3, 3, row, s.C, by, to);
            else
                avg_pixel(corner, rows, columns, row, s.C, by, to);
        }
    }
}

/* One input pixel: the sum of grad_out / divisor over the windows that cover it. */
VEC_INLINE void avg_gather(int vecs, const pool_shape *s, const float *grad_out, const float *inverse,
                           const meeting *rows, int64_t row_count, const meeting *list, int64_t count, float *grad_x,
                           int64_t left) {
    vec_f32 sum[4];
    UNROLL
    for (int j = 0; j < vecs; j++) sum[j] = vec_zero();
    for (int64_t r = 0; r < row_count; r++)
        for (int64_t k = 0; k < count; k++) {
            const float *g = grad_out + (rows[r].output * s->OW + list[k].output) * s->C;
            const vec_f32 by = vec_set(inverse[r * s->OW + list[k].output]);
            UNROLL
            for (int j = 0; j < vecs; j++) sum[j] = vec_fma(vec_load(g + j * VEC_LANES, left), by, sum[j]);
        }
    UNROLL
    for (int j = 0; j < vecs; j++) vec_store(grad_x + j * VEC_LANES, sum[j], left);
}

static void avg_row_backward(const pool_shape *s, const columns *h, int64_t rows, const float *grad_out,
                             float *grad_x) {
    for (int64_t x = 0; x < s->W; x++, grad_x += s->C) {
        const meeting *list = h->list + h->first[x];
        int64_t count = h->first[x + 1] - h->first[x], c = 0;
        for (; c + 4 * VEC_LANES <= s->C; c += 4 * VEC_LANES)
            avg_gather(4, s, grad_out + c, h->inverse, h->rows, rows, list, count, grad_x + c, VEC_LANES);
        for (; c + VEC_LANES <= s->C; c += VEC_LANES)
            avg_gather(1, s, grad_out + c, h->inverse, h->rows, rows, list, count, grad_x + c, VEC_LANES);
        if (c == s->C) continue;
        if (s->C > VEC_LANES) {
            c = s->C - VEC_LANES;
            avg_gather(1, s, grad_out + c, h->inverse, h->rows, rows, list, count, grad_x + c, VEC_LANES);
        } else
            avg_gather(1, s, grad_out + c, h->inverse, h->rows, rows, list, count, grad_x + c, s->C - c);
    }
}

/* Whether the outputs that meet input row `y` are those that meet the row before. */
static int same_outputs(const pool_shape *s, int64_t y, const meeting *rows, int64_t count) {
    for (int64_t r = 0; r < count; r++)
        if (tap_at(s, 0, span_of(s, 0, rows[r].output), y - 1) < 0) return 0;
    int64_t before = 0, from, to;
    covering(s, 0, y - 1, &from, &to);
    for (int64_t output = from; output < to; output++) before += tap_at(s, 0, span_of(s, 0, output), y - 1) >= 0;
    return before == count;
}

/* grad_x[pixel] = sum of grad_out / divisor over the windows that cover it. Where neighbouring rows are covered by the
 * same windows, the second is a copy. */
void KG_NAME(avg_pool2d_backward)(void *const *arrays, const int64_t *sizes, const double *scalars, int64_t start,
                                  int64_t stop) {
    const float *grad_out = arrays[0];
    float *grad_x = arrays[1];
    const pool_shape s = shape_of(sizes);
    const columns h = columns_of(&s);
    (void)scalars;
    for (int64_t i = start; i < stop; i++) {
        int64_t rows = meet(&s, 0, i % s.H, h.rows);
        const float *g = grad_out + i / s.H * s.OH * s.OW * s.C;
        float *to = grad_x + i * s.W * s.C;
        if (i > start && i % s.H && same_outputs(&s, i % s.H, h.rows, rows)) {
            memcpy(to, to - s.W * s.C, sizeof *to * s.W * s.C);
            continue;
        }
        for (int64_t r = 0; r < rows; r++) {
            float by_rows = divisor(&s, 0, span_of(&s, 0, h.rows[r].output));
            for (int64_t j = 0; j < s.OW; j++) h.inverse[r * s.OW + j] = 1.0f / (by_rows * divisor(&s, 1, h.spans[j]));
        }
        if (s.C == 1)
            KG_NAME(pool_avg_row_backward)(&s, &h, h.rows, rows, g, to);
        else
            avg_row_backward(&s, &h, rows, g, to);
    }
}
