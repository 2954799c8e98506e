/* What the files of this family share: the geometry of windows. */
#ifndef KG_POOLING_H
#define KG_POOLING_H

#include "runtime/kernel.h"
#include "vec/vec.h"

/* sizes: rows (outputs: N OH forward, N H backward), H, W, C, OH, OW, kernel, stride, padding, dilation, adaptive, then
 * what is special. */
typedef struct {
    int64_t H, W, C, OH, OW, kernel[2], stride[2], padding[2], dilation[2], adaptive;
    const int64_t *rest;
} pool_shape;

static inline pool_shape shape_of(const int64_t *z) {
    return (pool_shape){z[1],         z[2],           z[3],           z[4],  z[5],  {z[6], z[7]},
                        {z[8], z[9]}, {z[10], z[11]}, {z[12], z[13]}, z[14], z + 15};
}

static inline int64_t least(int64_t a, int64_t b) { return a < b ? a : b; }
static inline int64_t most(int64_t a, int64_t b) { return a > b ? a : b; }

/* One axis of a window: tap t is input start + t dilation; taps first .. last-1 lie on the image. */
typedef struct {
    int64_t start, first, last, padded; /* padded: taps that lie on the image or its padding */
} span;

static inline span span_of(const pool_shape *s, int axis, int64_t output) {
    int64_t size = axis ? s->W : s->H, outputs = axis ? s->OW : s->OH;
    if (s->adaptive) { /* floor(i size / outputs) .. ceil((i + 1) size / outputs) */
        int64_t start = output * size / outputs, end = ((output + 1) * size + outputs - 1) / outputs;
        return (span){start, 0, end - start, end - start};
    }
    int64_t d = s->dilation[axis], start = output * s->stride[axis] - s->padding[axis];
    int64_t first = start < 0 ? (-start + d - 1) / d : 0, last = start < size ? (size - start + d - 1) / d : 0;
    return (span){start, first, most(least(last, s->kernel[axis]), first),
                  least(s->kernel[axis], size + s->padding[axis] - start)};
}

/* Outputs whose window may cover input `at`: from .. to-1. */
static inline void covering(const pool_shape *s, int axis, int64_t at, int64_t *from, int64_t *to) {
    int64_t size = axis ? s->W : s->H, outputs = axis ? s->OW : s->OH;
    if (s->adaptive) {
        *from = at * outputs / size, *to = ((at + 1) * outputs + size - 1) / size;
        return;
    }
    int64_t stride = s->stride[axis], high = at + s->padding[axis],
            low = high - (s->kernel[axis] - 1) * s->dilation[axis];
    *from = low > 0 ? (low + stride - 1) / stride : 0, *to = least(outputs, high / stride + 1);
}

/* Which tap of the window meets input `at`, or -1. */
static inline int64_t tap_at(const pool_shape *s, int axis, span window, int64_t at) {
    int64_t d = s->adaptive ? 1 : s->dilation[axis], distance = at - window.start;
    return distance < 0 || distance % d != 0 || distance / d >= window.last ? -1 : distance / d;
}

/* rest of the averages: count_include_pad, divisor_override (0: none). */
static inline float divisor(const pool_shape *s, span v, span h) {
    if (!s->adaptive && s->rest[1]) return (float)s->rest[1];
    if (!s->adaptive && s->rest[0]) return (float)(v.padded * h.padded);
    return (float)((v.last - v.first) * (h.last - h.first));
}

/* planes.c: one row of a one-channel image, windows without adaptive sizes. */
void KG_NAME(pool_max_row)(const pool_shape *s, span v, const float *image, float *out, int32_t *taps);
void KG_NAME(pool_max_row_backward)(const pool_shape *s, int64_t tap_y, const float *grad_out, const int32_t *taps,
                                    float *grad_x);
void KG_NAME(pool_avg_row)(const pool_shape *s, span v, const float *image, float *out);
void KG_NAME(pool_avg_row_backward)(const pool_shape *s, span v, const float *grad_out, float *grad_x);

#endif
