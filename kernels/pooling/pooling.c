/* Pooling over NHWC memory: lanes are channels. NCHW memory comes as N C images of one channel: for those the lanes are
 * outputs, where windows lie side by side, and scalars elsewhere.
 *
 * A window is rows y0 .. y1-1 and columns x0 .. x1-1 of taps, `dilation` apart, cut to the image. Backward takes the
 * rows of grad_x as work items and gathers from the windows that cover them, so that no two threads write the same
 * pixel. */
#include "pooling/pooling.h"

/* ---- Maximum ---- */

/* One window, all channels. Among equals the first wins, a nan always. */
static inline __attribute__((always_inline)) void max_window(const float *corner, int64_t rows, int64_t columns,
                                                             int64_t row, int64_t column, int64_t tap0, int64_t tap_row,
                                                             int64_t channels, float *out, int32_t *taps) {
    for (int64_t c = 0; c < channels; c += VEC_LANES) {
        int64_t left = channels - c;
        vec_f32 best = vec_load(corner + c, left);
        vec_i32 at = vec_i32_set((int32_t)tap0);
        for (int64_t y = 0; y < rows; y++)
            for (int64_t x = 0; x < columns; x++) {
                if (y == 0 && x == 0) continue;
                vec_f32 v = vec_load(corner + y * row + x * column + c, left);
                vec_mask better = vec_mask_or(vec_gt(v, best), vec_isnan(v));
                best = vec_select(better, v, best);
                if (taps) at = vec_i32_select(better, vec_i32_set((int32_t)(tap0 + y * tap_row + x)), at);
            }
        vec_store(out + c, best, left);
        if (taps) vec_store_i32(taps + c, at, left);
    }
}

/* out[n, y, x, c] = max over the window; taps (optional, int32) = which tap it was, tap_y kw + tap_x. */
static void max_pool2d_forward(void *const *arrays, const int64_t *sizes, const double *scalars, int64_t start,
                               int64_t stop) {
    const float *x = arrays[0];
    float *out = arrays[1];
    int32_t *taps = arrays[2];
    const pool_shape s = shape_of(sizes);
    (void)scalars;
    const int64_t row = (s.adaptive ? 1 : s.dilation[0]) * s.W * s.C, column = (s.adaptive ? 1 : s.dilation[1]) * s.C;
    for (int64_t i = start; i < stop; i++) {
        span v = span_of(&s, 0, i % s.OH);
        const float *image = x + i / s.OH * s.H * s.W * s.C;
        if (s.C == 1 && !s.adaptive) {
            KG_NAME(pool_max_row)(&s, v, image, out + i * s.OW, taps ? taps + i * s.OW : NULL);
            continue;
        }
        for (int64_t j = 0; j < s.OW; j++) {
            span h = span_of(&s, 1, j);
            int64_t to = (i * s.OW + j) * s.C, rows = v.last - v.first, columns = h.last - h.first;
            int64_t tap0 = v.first * s.kernel[1] + h.first, tap_row = s.kernel[1];
            const float *corner = image + v.start * s.W * s.C + v.first * row + h.start * s.C + h.first * column;
            int32_t *t = taps ? taps + to : NULL;
            if (rows == 0 || columns == 0) { /* dilated past the image on both sides */
                for (int64_t c = 0; c < s.C; c++) out[to + c] = -INFINITY;
                if (t) memset(t, 0xff, sizeof *t * s.C);
            } else if (rows == 2 && columns == 2)
                max_window(corner, 2, 2, row, column, tap0, tap_row, s.C, out + to, t);
            else
                max_window(corner, rows, columns, row, column, tap0, tap_row, s.C, out + to, t);
        }
    }
}

/* grad_x[pixel] = sum of grad_out over the windows whose maximum it was. */
static void max_pool2d_backward(void *const *arrays, const int64_t *sizes, const double *scalars, int64_t start,
                                int64_t stop) {
    const float *grad_out = arrays[0];
    const int32_t *taps = arrays[1];
    float *grad_x = arrays[2];
    const pool_shape s = shape_of(sizes);
    (void)scalars;
    const int64_t column = s.adaptive ? 1 : s.dilation[1];
    /* Each pixel is met at most once: store instead of add. */
    const int once = !s.adaptive && s.stride[0] >= (s.kernel[0] - 1) * s.dilation[0] + 1 &&
                     s.stride[1] >= (s.kernel[1] - 1) * column + 1;
    for (int64_t i = start; i < stop; i++) {
        int64_t n = i / s.H, from, to;
        float *line = grad_x + i * s.W * s.C;
        memset(line, 0, sizeof(float) * s.W * s.C);
        covering(&s, 0, i % s.H, &from, &to);
        for (int64_t oy = from; oy < to; oy++) {
            int64_t tap_y = tap_at(&s, 0, span_of(&s, 0, oy), i % s.H);
            if (tap_y < 0) continue;
            if (s.C == 1 && !s.adaptive) {
                int64_t source = (n * s.OH + oy) * s.OW;
                KG_NAME(pool_max_row_backward)(&s, tap_y, grad_out + source, taps + source, line);
                continue;
            }
            for (int64_t ox = 0; ox < s.OW; ox++) {
                span h = span_of(&s, 1, ox);
                int64_t source = ((n * s.OH + oy) * s.OW + ox) * s.C, tap0 = tap_y * s.kernel[1];
                float *pixel = line + h.start * s.C;
                for (int64_t c = 0; c < s.C; c += VEC_LANES) {
                    int64_t left = s.C - c;
                    vec_f32 g = vec_load(grad_out + source + c, left);
                    vec_i32 at = vec_load_i32(taps + source + c, left);
                    for (int64_t tap = h.first; tap < h.last; tap++) {
                        float *p = pixel + tap * column * s.C + c;
                        vec_f32 share = vec_select(vec_i32_eq(at, vec_i32_set((int32_t)(tap0 + tap))), g, vec_zero());
                        vec_store(p, once ? share : vec_add(vec_load(p, left), share), left);
                    }
                }
            }
        }
    }
}

/* indices[n, y, x, c] = flat index (y W + x) of the maximum, int64 as PyTorch returns it. */
static void max_pool2d_indices(void *const *arrays, const int64_t *sizes, const double *scalars, int64_t start,
                               int64_t stop) {
    const int32_t *taps = arrays[0];
    int64_t *indices = arrays[1];
    const pool_shape s = shape_of(sizes);
    (void)scalars;
    for (int64_t i = start; i < stop; i++) {
        int64_t y0 = span_of(&s, 0, i % s.OH).start;
        for (int64_t j = 0; j < s.OW; j++) {
            int64_t x0 = span_of(&s, 1, j).start, at = (i * s.OW + j) * s.C;
            for (int64_t c = at; c < at + s.C; c++)
                indices[c] =
                    (y0 + taps[c] / s.kernel[1] * s.dilation[0]) * s.W + x0 + taps[c] % s.kernel[1] * s.dilation[1];
        }
    }
}

/* ---- Average ---- */

/* Sum of n neighbours, in 16 lanes. */
static inline float sum_run(const float *p, int64_t n) {
    float sum = 0;
    if (n < 16) {
        for (int64_t i = 0; i < n; i++) sum += p[i];
        return sum;
    }
    vec16 lanes = vec16_zero();
    for (int64_t i = 0; i < n; i += 16) lanes = vec16_add(lanes, vec16_load(p + i, n - i, 0));
    return vec16_sum(lanes);
}

/* out[n, y, x, c] = (sum over the window) / divisor */
static void avg_pool2d_forward(void *const *arrays, const int64_t *sizes, const double *scalars, int64_t start,
                               int64_t stop) {
    const float *x = arrays[0];
    float *out = arrays[1];
    const pool_shape s = shape_of(sizes);
    (void)scalars;
    for (int64_t i = start; i < stop; i++) {
        span v = span_of(&s, 0, i % s.OH);
        const float *image = x + (i / s.OH * s.H + v.start + v.first) * s.W * s.C;
        if (s.C == 1 && !s.adaptive && s.OW >= 4) {
            KG_NAME(pool_avg_row)(&s, v, image, out + i * s.OW);
            continue;
        }
        for (int64_t j = 0; j < s.OW; j++) {
            span h = span_of(&s, 1, j);
            int64_t rows = v.last - v.first, columns = h.last - h.first;
            const float *corner = image + (h.start + h.first) * s.C;
            float *to = out + (i * s.OW + j) * s.C, by = divisor(&s, v, h);
            if (s.C == 1) {
                float sum = 0;
                if (columns == s.W)
                    sum = sum_run(corner, rows * columns);
                else
                    for (int64_t y = 0; y < rows; y++) sum += sum_run(corner + y * s.W, columns);
                *to = sum / by;
                continue;
            }
            for (int64_t c = 0; c < s.C; c += VEC_LANES) {
                vec_f32 sum = vec_zero();
                for (int64_t y = 0; y < rows; y++)
                    for (int64_t k = 0; k < columns; k++)
                        sum = vec_add(sum, vec_load(corner + (y * s.W + k) * s.C + c, s.C - c));
                vec_store(to + c, vec_div(sum, vec_set(by)), s.C - c);
            }
        }
    }
}

/* grad_x[pixel] = sum of grad_out / divisor over the windows that cover it. */
static void avg_pool2d_backward(void *const *arrays, const int64_t *sizes, const double *scalars, int64_t start,
                                int64_t stop) {
    const float *grad_out = arrays[0];
    float *grad_x = arrays[1];
    const pool_shape s = shape_of(sizes);
    (void)scalars;
    for (int64_t i = start; i < stop; i++) {
        int64_t n = i / s.H, from, to;
        float *line = grad_x + i * s.W * s.C;
        memset(line, 0, sizeof(float) * s.W * s.C);
        covering(&s, 0, i % s.H, &from, &to);
        for (int64_t oy = from; oy < to; oy++) {
            span v = span_of(&s, 0, oy);
            if (tap_at(&s, 0, v, i % s.H) < 0) continue;
            if (s.C == 1 && !s.adaptive) {
                KG_NAME(pool_avg_row_backward)(&s, v, grad_out + (n * s.OH + oy) * s.OW, line);
                continue;
            }
            for (int64_t ox = 0; ox < s.OW; ox++) {
                span h = span_of(&s, 1, ox);
                const float *g = grad_out + ((n * s.OH + oy) * s.OW + ox) * s.C;
                float *pixel = line + (h.start + h.first) * s.C, by = divisor(&s, v, h);
                if (s.C == 1) {
                    float share = *g / by;
                    for (int64_t k = 0; k < h.last - h.first; k++) pixel[k] += share;
                    continue;
                }
                for (int64_t c = 0; c < s.C; c += VEC_LANES) {
                    vec_f32 share = vec_div(vec_load(g + c, s.C - c), vec_set(by));
                    for (int64_t k = 0; k < h.last - h.first; k++) {
                        float *p = pixel + k * s.C + c;
                        vec_store(p, vec_add(vec_load(p, s.C - c), share), s.C - c);
                    }
                }
            }
        }
    }
}

const kg_entry KG_TABLE(pooling)[] = {
    {"max_pool2d_forward", max_pool2d_forward},       {"max_pool2d_backward", max_pool2d_backward},
    {"max_pool2d_indices:int32", max_pool2d_indices}, {"avg_pool2d_forward", avg_pool2d_forward},
    {"avg_pool2d_backward", avg_pool2d_backward},     {0}};
