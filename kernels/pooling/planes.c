/* Pooling of one-channel images (NCHW memory): lanes are neighbours along W, which for stride 2 are pulled apart and
 * put together again by shuffles; other strides gather. One pixel at a time at the edges, by the same operations in the
 * same order. */
#include "pooling/pooling.h"

/* Outputs from .. to-1 have all their columns on the image. */
static void inside(const pool_shape *s, int64_t *from, int64_t *to) {
    int64_t stride = s->stride[1], reach = (s->kernel[1] - 1) * s->dilation[1], room = s->W - 1 - reach + s->padding[1];
    *from = least((s->padding[1] + stride - 1) / stride, s->OW);
    *to = room < 0 ? *from : most(least(room / stride + 1, s->OW), *from);
    if (s->adaptive) *to = *from;
}

/* p[0], p[stride], ...: n lanes of them, the others hold anything. Reads nothing beyond the last. */
VEC_INLINE vec_f32 load_apart(const float *p, int64_t stride, int64_t n) {
    if (stride == 1) return vec_load(p, n);
    if (stride == 2) return vec_even(vec_load(p, 2 * n - 1), vec_load(p + VEC_LANES, 2 * n - 1 - VEC_LANES));
    n = least(n, VEC_LANES);
    float lanes[VEC_LANES];
    for (int64_t i = 0; i < VEC_LANES; i++) lanes[i] = p[least(i, n - 1) * stride];
    return vec_loadu(lanes);
}

/* ---- Maximum ---- */

static void max_pixel(const pool_shape *s, span v, span h, const float *image, float *out, void *taps, int64_t at,
                      int bytes) {
    int64_t dy = s->adaptive ? 1 : s->dilation[0], dx = s->adaptive ? 1 : s->dilation[1], which = -1;
    float best = -INFINITY;
    for (int64_t y = v.first; y < v.last; y++)
        for (int64_t x = h.first; x < h.last; x++) {
            float value = image[(v.start + y * dy) * s->W + h.start + x * dx];
            if (which < 0 || value > best || value != value) best = value, which = y * s->kernel[1] + x;
        }
    out[at] = best;
    set_tap(taps, at, which, bytes);
}

/* `n` outputs side by side, all of whose taps are on the image but for rows. */
VEC_INLINE void max_lanes(int bytes, int64_t stride, int64_t width, const pool_shape *s, span v, const float *corner,
                          float *out, void *taps, int64_t at, int64_t n) {
    const int64_t line = s->dilation[0] * s->W, d = s->dilation[1];
    vec_i32 which = vec_i32_set((int32_t)(v.first * width));
    vec_f32 best = load_apart(corner + v.first * line, stride, n);
    for (int64_t y = v.first; y < v.last; y++) {
        for (int64_t i = 0; i < width; i++) { /* the first tap of all meets itself, to no effect */
            vec_f32 value = load_apart(corner + y * line + i * d, stride, n);
            vec_mask better = vec_mask_or(vec_gt(value, best), vec_isnan(value));
            best = vec_select(better, value, best);
            if (bytes) which = vec_i32_select(better, vec_i32_set((int32_t)(y * width + i)), which);
        }
    }
    vec_store(out + at, best, n);
    store_taps(taps, at, which, bytes, n);
}

/* The lanes of outputs from .. to-1; `width` is that of the windows. */
VEC_INLINE void max_run(int bytes, int64_t stride, int64_t width, const pool_shape *s, span v, const float *image,
                        int64_t from, int64_t to, float *out, void *taps, int64_t at) {
    int64_t x = from;
    const float *corner = image + v.start * s->W - s->padding[1];
    for (; x + VEC_LANES < to; x += VEC_LANES) /* not the last output: shuffles read one float too many */
        max_lanes(bytes, stride, width, s, v, corner + x * stride, out, taps, at + x, VEC_LANES + 1);
    for (; x < to; x += VEC_LANES)
        max_lanes(bytes, stride, width, s, v, corner + x * stride, out, taps, at + x, least(VEC_LANES, to - x));
}

VEC_INLINE void max_row(int bytes, const pool_shape *s, span v, const span *spans, const float *image, float *out,
                        void *taps, int64_t at) {
    int64_t from, to, stride = s->stride[1], width = s->kernel[1];
    inside(s, &from, &to);
    if (v.first >= v.last) to = from;
    for (int64_t x = 0; x < from; x++) max_pixel(s, v, spans[x], image, out, taps, at + x, bytes);
    for (int64_t x = to; x < s->OW; x++) max_pixel(s, v, spans[x], image, out, taps, at + x, bytes);
    if (stride == 2 && width == 2)
        max_run(bytes, 2, 2, s, v, image, from, to, out, taps, at);
    else if (stride == 2 && width == 3)
        max_run(bytes, 2, 3, s, v, image, from, to, out, taps, at);
    else if (stride == 2)
        max_run(bytes, 2, width, s, v, image, from, to, out, taps, at);
    else if (stride == 1 && width == 3)
        max_run(bytes, 1, 3, s, v, image, from, to, out, taps, at);
    else if (stride == 1)
        max_run(bytes, 1, width, s, v, image, from, to, out, taps, at);
    else
        max_run(bytes, stride, width, s, v, image, from, to, out, taps, at);
}

void KG_NAME(pool_max_row)(const pool_shape *s, span v, const span *spans, const float *image, float *out, void *taps,
                           int64_t at, int bytes) {
    if (bytes == 0)
        max_row(0, s, v, spans, image, out, taps, at);
    else if (bytes == 1)
        max_row(1, s, v, spans, image, out, taps, at);
    else
        max_row(4, s, v, spans, image, out, taps, at);
}

/* Sums over the windows for VEC_LANES inputs `stride` apart; the first is met by tap t of output `output` - t dilation
 * / stride, t - phase being a multiple of the stride. */
VEC_INLINE vec_f32 backward_lanes(int bytes, int64_t stride, const pool_shape *s, const meeting *rows, int64_t count,
                                  const float *grad_out, const void *taps, int64_t first, int64_t output,
                                  int64_t phase) {
    vec_f32 sum = vec_zero();
    const int64_t d = s->dilation[1];
    for (int64_t r = 0; r < count; r++)
        for (int64_t t = s->kernel[1] - 1; t >= 0; t--) {
            if ((t * d - phase) % stride != 0) continue;
            int64_t x = output - (t * d - phase) / stride, at = first + rows[r].output * s->OW + x, n = s->OW - x;
            vec_mask mine =
                vec_i32_eq(load_taps(taps, at, bytes, n), vec_i32_set((int32_t)(rows[r].tap * s->kernel[1] + t)));
            sum = vec_add(sum, vec_select(mine, vec_load(grad_out + at, n), vec_zero()));
        }
    return sum;
}

static float max_input(int bytes, const pool_shape *s, const columns *h, const meeting *rows, int64_t count,
                       const float *grad_out, const void *taps, int64_t first, int64_t x) {
    float sum = 0;
    for (int64_t r = 0; r < count; r++)
        for (int64_t k = h->first[x]; k < h->first[x + 1]; k++) {
            int64_t at = first + rows[r].output * s->OW + h->list[k].output;
            sum += tap_of(taps, at, bytes) == rows[r].tap * s->kernel[1] + h->list[k].tap ? grad_out[at] : 0.0f;
        }
    return sum;
}

/* Inputs from which on no tap of an output before the first could meet them, in steps of `stride`. */
static int64_t left_edge(const pool_shape *s) {
    int64_t stride = s->stride[1], outputs = (s->kernel[1] - 1) * s->dilation[1] / stride;
    return least(s->W, most(outputs, (s->padding[1] + stride - 1) / stride) * stride - s->padding[1]);
}

VEC_INLINE void max_row_backward(int bytes, const pool_shape *s, const columns *h, const meeting *rows, int64_t count,
                                 const float *grad_out, const void *taps, int64_t first, float *grad_x) {
    int64_t x = 0, edge = left_edge(s), p = s->padding[1];
    for (; x < edge; x++) grad_x[x] = max_input(bytes, s, h, rows, count, grad_out, taps, first, x);
    if (s->stride[1] == 1)
        for (; x < s->W; x += VEC_LANES)
            vec_store(grad_x + x, backward_lanes(bytes, 1, s, rows, count, grad_out, taps, first, x + p, 0), s->W - x);
    else
        for (; x < s->W; x += 2 * VEC_LANES) {
            vec_f32 even = backward_lanes(bytes, 2, s, rows, count, grad_out, taps, first, (x + p) / 2, 0);
            vec_f32 odd = backward_lanes(bytes, 2, s, rows, count, grad_out, taps, first, (x + p) / 2, 1);
            vec_store(grad_x + x, vec_zip_lo(even, odd), s->W - x);
            vec_store(grad_x + x + VEC_LANES, vec_zip_hi(even, odd), s->W - x - VEC_LANES);
        }
}

/* For strides beyond 2 and adaptive windows. Whether a tap lies in this row is anybody's guess, so a miss goes to a
 * sink instead of a branch; to one of eight, or each would wait for the one before. */
static void max_row_scatter(int bytes, const pool_shape *s, const columns *h, const meeting *rows, int64_t count,
                            const float *grad_out, const void *taps, int64_t first, float *grad_x) {
    float sink[8] = {0};
    int64_t d = s->adaptive ? 1 : s->dilation[1];
    memset(grad_x, 0, sizeof *grad_x * s->W);
    for (int64_t r = 0; r < count; r++)
        for (int64_t x = 0, at = first + rows[r].output * s->OW; x < s->OW; x++, at++) {
            uint64_t tap = (uint64_t)(tap_of(taps, at, bytes) - rows[r].tap * s->kernel[1]);
            float *to = tap < (uint64_t)s->kernel[1] ? grad_x + h->spans[x].start + (int64_t)tap * d : sink + x % 8;
            *to += grad_out[at];
        }
}

void KG_NAME(pool_max_row_backward)(const pool_shape *s, const columns *h, const meeting *rows, int64_t count,
                                    const float *grad_out, const void *taps, int64_t first, int bytes, float *grad_x) {
    if (s->adaptive || s->stride[1] > 2)
        max_row_scatter(bytes, s, h, rows, count, grad_out, taps, first, grad_x);
    else if (bytes == 1)
        max_row_backward(1, s, h, rows, count, grad_out, taps, first, grad_x);
    else
        max_row_backward(4, s, h, rows, count, grad_out, taps, first, grad_x);
}

/* ---- Average: sums over the rows of the windows first, with zeros before and after, then along W ---- */

/* image: the first row of the windows. */
void KG_NAME(pool_avg_row)(const pool_shape *s, span v, const span *spans, const float *image, float *out) {
    const int64_t W = s->W, stride = s->stride[1], rows = v.last - v.first, before = s->adaptive ? 0 : s->padding[1];
    const int64_t after = s->adaptive ? 0 : most(0, (s->OW - 1) * stride + s->kernel[1] - before - W);
    float *sums = kg_scratch(KG_SCRATCH_OTHER, sizeof(float) * (before + W + after + VEC_LANES)), *line = sums + before;
    const float by_rows = divisor(s, 0, v);
    int64_t from, to;
    for (int64_t x = 0; x < before; x++) sums[x] = 0;
    for (int64_t x = 0; x < W; x += VEC_LANES) {
        vec_f32 sum = vec_zero();
        for (int64_t y = 0; y < rows; y++) sum = vec_add(sum, vec_load(image + y * W + x, W - x));
        vec_storeu(line + x, sum);
    }
    for (int64_t x = 0; x < after; x++) line[W + x] = 0;
    if (s->adaptive) {
        for (int64_t x = 0; x < s->OW; x++) {
            float sum = 0;
            for (int64_t i = 0; i < spans[x].last; i++) sum += line[spans[x].start + i];
            out[x] = sum / (by_rows * divisor(s, 1, spans[x]));
        }
        return;
    }
    inside(s, &from, &to);
    for (int64_t x = 0; x < s->OW; x += VEC_LANES) {
        int64_t n = least(VEC_LANES, s->OW - x);
        vec_f32 sum = vec_zero(), by = vec_set(by_rows * divisor(s, 1, spans[x]));
        for (int64_t i = 0; i < s->kernel[1]; i++) sum = vec_add(sum, load_apart(sums + x * stride + i, stride, n));
        if (x < from || x + n > to) { /* not all the same */
            float each[VEC_LANES];
            for (int64_t i = 0; i < VEC_LANES; i++) each[i] = by_rows * divisor(s, 1, spans[x + least(i, n - 1)]);
            by = vec_loadu(each);
        }
        vec_store(out + x, vec_div(sum, by), n);
    }
}

/* Sums along W of shares[output - t / stride] for t - phase a multiple of the stride. */
VEC_INLINE vec_f32 avg_lanes(int64_t stride, const pool_shape *s, const float *shares, int64_t phase) {
    vec_f32 sum = vec_zero();
    for (int64_t t = s->kernel[1] - 1; t >= 0; t--)
        if ((t - phase) % stride == 0) sum = vec_add(sum, vec_loadu(shares - (t - phase) / stride));
    return sum;
}

void KG_NAME(pool_avg_row_backward)(const pool_shape *s, const columns *h, const meeting *rows, int64_t count,
                                    const float *grad_out, float *grad_x) {
    const int64_t W = s->W, OW = s->OW, before = s->adaptive ? 0 : s->kernel[1], p = s->padding[1];
    const int64_t room = before + most(OW, W + p) + 2 * VEC_LANES;
    float *shares = kg_scratch(KG_SCRATCH_PARTIAL, sizeof(float) * room), *line = shares + before;
    for (int64_t x = 0; x < before; x++) shares[x] = 0;
    for (int64_t x = OW; x < room - before; x++) line[x] = 0;
    for (int64_t x = 0; x < OW; x += VEC_LANES) {
        vec_f32 sum = vec_zero();
        for (int64_t r = 0; r < count; r++)
            sum = vec_fma(vec_load(grad_out + rows[r].output * OW + x, OW - x),
                          vec_load(h->inverse + r * OW + x, OW - x), sum);
        vec_store(line + x, sum, OW - x);
    }
    if (s->adaptive && OW == 1) {
        for (int64_t x = 0; x < W; x += VEC_LANES) vec_store(grad_x + x, vec_set(line[0]), W - x);
    } else if (s->adaptive || s->stride[1] > 2) {
        for (int64_t x = 0; x < W; x++) {
            float sum = 0;
            for (int64_t k = h->first[x]; k < h->first[x + 1]; k++) sum += line[h->list[k].output];
            grad_x[x] = sum;
        }
    } else if (s->stride[1] == 1) {
        for (int64_t x = 0; x < W; x += VEC_LANES) vec_store(grad_x + x, avg_lanes(1, s, line + x + p, 0), W - x);
    } else {
        /* an odd padding would put the first pair half before the image */
        int64_t x = p % 2;
        if (x) {
            float sum = 0;
            for (int64_t k = h->first[0]; k < h->first[1]; k++) sum += line[h->list[k].output];
            grad_x[0] = sum;
        }
        for (; x < W; x += 2 * VEC_LANES) {
            vec_f32 even = avg_lanes(2, s, line + (x + p) / 2, 0), odd = avg_lanes(2, s, line + (x + p) / 2, 1);
            vec_store(grad_x + x, vec_zip_lo(even, odd), W - x);
            vec_store(grad_x + x + VEC_LANES, vec_zip_hi(even, odd), W - x - VEC_LANES);
        }
    }
}
