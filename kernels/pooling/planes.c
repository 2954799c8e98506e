/* Pooling of one-channel images (NCHW memory): lanes are neighbouring outputs, gathered `stride` apart, where all taps
 * of a row lie on the image; one output at a time at the edges. Each output sees the same operations in the same order
 * either way. */
#include "pooling/pooling.h"

/* Outputs from .. to-1 have all their columns on the image. */
static void inside(const pool_shape *s, int64_t *from, int64_t *to) {
    int64_t stride = s->stride[1], reach = (s->kernel[1] - 1) * s->dilation[1], room = s->W - 1 - reach + s->padding[1];
    *from = least((s->padding[1] + stride - 1) / stride, s->OW);
    *to = room < 0 ? *from : most(least(room / stride + 1, s->OW), *from);
}

/* Where lane i finds its input; lanes from n on repeat the last. */
static vec_i32 lane_index(int64_t stride, int64_t n) {
    int32_t index[VEC_LANES];
    for (int64_t i = 0; i < VEC_LANES; i++) index[i] = (int32_t)(least(i, n - 1) * stride);
    return vec_load_i32(index, VEC_LANES);
}

VEC_INLINE vec_f32 load_lanes(const float *p, int64_t stride, vec_i32 index, int64_t n) {
    return stride == 1 ? vec_load(p, n) : vec_gather(p, index);
}

static void max_pixel(const pool_shape *s, span v, span h, const float *image, float *out, int32_t *tap) {
    float best = -INFINITY;
    int64_t at = -1;
    for (int64_t y = v.first; y < v.last; y++)
        for (int64_t x = h.first; x < h.last; x++) {
            float value = image[(v.start + y * s->dilation[0]) * s->W + h.start + x * s->dilation[1]];
            if (at < 0 || value > best || value != value) best = value, at = y * s->kernel[1] + x;
        }
    *out = best;
    if (tap) *tap = (int32_t)at;
}

void KG_NAME(pool_max_row)(const pool_shape *s, span v, const float *image, float *out, int32_t *taps) {
    int64_t from, to, stride = s->stride[1];
    inside(s, &from, &to);
    if (v.first == v.last) to = from;
    for (int64_t x = 0, n; x < s->OW; x += n) {
        n = 1;
        if (x < from || x >= to) {
            max_pixel(s, v, span_of(s, 1, x), image, out + x, taps ? taps + x : NULL);
            continue;
        }
        n = least(VEC_LANES, to - x);
        vec_i32 index = lane_index(stride, n), at = vec_i32_set((int32_t)(v.first * s->kernel[1]));
        const float *corner = image + v.start * s->W + x * stride - s->padding[1];
        vec_f32 best = load_lanes(corner + v.first * s->dilation[0] * s->W, stride, index, n);
        for (int64_t y = v.first; y < v.last; y++)
            for (int64_t i = y == v.first; i < s->kernel[1]; i++) {
                vec_f32 value = load_lanes(corner + y * s->dilation[0] * s->W + i * s->dilation[1], stride, index, n);
                vec_mask better = vec_mask_or(vec_gt(value, best), vec_isnan(value));
                best = vec_select(better, value, best);
                at = vec_i32_select(better, vec_i32_set((int32_t)(y * s->kernel[1] + i)), at);
            }
        vec_store(out + x, best, n);
        if (taps) vec_store_i32(taps + x, at, n);
    }
}

/* Whether a tap lies in this row is anybody's guess, so a miss goes to a sink instead of a branch; to one of
 * eight, or each would wait for the one before. */
void KG_NAME(pool_max_row_backward)(const pool_shape *s, int64_t tap_y, const float *grad_out, const int32_t *taps,
                                    float *grad_x) {
    const uint32_t tap0 = (uint32_t)(tap_y * s->kernel[1]), width = (uint32_t)s->kernel[1];
    float sink[8] = {0}, *line = grad_x - s->padding[1];
    for (int64_t x = 0; x < s->OW; x++, line += s->stride[1]) {
        uint32_t tap = (uint32_t)taps[x] - tap0;
        float *to = tap < width ? line + tap * s->dilation[1] : sink + x % 8;
        *to += grad_out[x];
    }
}

void KG_NAME(pool_avg_row)(const pool_shape *s, span v, const float *image, float *out) {
    int64_t from, to, stride = s->stride[1], rows = v.last - v.first;
    inside(s, &from, &to);
    for (int64_t x = 0, n; x < s->OW; x += n) {
        span h = span_of(s, 1, x);
        vec_f32 sum = vec_zero();
        const float by = divisor(s, v, h), *corner = image + h.start;
        n = 1;
        if (x < from || x >= to) {
            float total = 0;
            for (int64_t y = 0; y < rows; y++)
                for (int64_t i = h.first; i < h.last; i++) total += corner[y * s->W + i];
            out[x] = total / by;
            continue;
        }
        n = least(VEC_LANES, to - x);
        vec_i32 index = lane_index(stride, n);
        for (int64_t y = 0; y < rows; y++)
            for (int64_t i = 0; i < s->kernel[1]; i++)
                sum = vec_add(sum, load_lanes(corner + y * s->W + i, stride, index, n));
        vec_store(out + x, vec_div(sum, vec_set(by)), n);
    }
}

void KG_NAME(pool_avg_row_backward)(const pool_shape *s, span v, const float *grad_out, float *grad_x) {
    int64_t from, to;
    inside(s, &from, &to);
    const float whole = divisor(s, v, span_of(s, 1, from)); /* the same for all windows inside */
    for (int64_t x = 0; x < s->OW; x++) {
        if (x >= from && x < to) {
            float share = grad_out[x] / whole, *line = grad_x + x * s->stride[1] - s->padding[1];
            for (int64_t i = 0; i < s->kernel[1]; i++) line[i] += share;
            continue;
        }
        span h = span_of(s, 1, x);
        float share = grad_out[x] / divisor(s, v, h);
        for (int64_t i = h.first; i < h.last; i++) grad_x[h.start + i] += share;
    }
}
