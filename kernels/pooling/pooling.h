/* What the files of this family share: the geometry of windows. */
#ifndef KG_POOLING_H
#define KG_POOLING_H

#include "runtime/kernel.h"
#include "runtime/scratch.h"
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
    int64_t first = start < 0 ? -start : 0, last = start < size ? size - start : 0;
    if (d > 1) first = (first + d - 1) / d, last = (last + d - 1) / d;
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
    if (distance < 0) return -1;
    if (d > 1) {
        if (distance % d != 0) return -1;
        distance /= d;
    }
    return distance < window.last ? distance : -1;
}

/* A window that covers an input, and which of its taps meets it. */
typedef struct {
    int32_t output, tap;
} meeting;

static inline int64_t meet(const pool_shape *s, int axis, int64_t at, meeting *to) {
    int64_t from, end, n = 0;
    covering(s, axis, at, &from, &end);
    for (int64_t output = from; output < end; output++) {
        int64_t tap = tap_at(s, axis, span_of(s, axis, output), at);
        if (tap >= 0) to[n++] = (meeting){(int32_t)output, (int32_t)tap};
    }
    return n;
}

/* What a chunk works out once for all its rows: the windows along W, and from the side of the inputs: input x is met by
 * list[first[x]] .. list[first[x + 1] - 1], outputs ascending. `rows`: room for the meetings of a row. */
typedef struct {
    const span *spans;
    const int32_t *first;
    const meeting *list;
    meeting *rows;
    float *inverse; /* OH rows' worth of 1 / divisor, for averages */
} columns;

static inline const span *spans_of(const pool_shape *s) {
    span *spans = kg_scratch(KG_SCRATCH_ROWS, sizeof *spans * s->OW);
    for (int64_t x = 0; x < s->OW; x++) spans[x] = span_of(s, 1, x);
    return spans;
}

static inline columns columns_of(const pool_shape *s) {
    int64_t listed = 0, height = least(s->OH, s->adaptive ? s->OH / s->H + 2 : s->kernel[0]);
    const span *spans = spans_of(s);
    for (int64_t x = 0; x < s->OW; x++) listed += spans[x].last - spans[x].first;
    int32_t *first = kg_scratch(KG_SCRATCH_OTHER, sizeof(int32_t) * (s->W + 1) + sizeof(meeting) * (listed + height) +
                                                      sizeof(float) * height * s->OW);
    meeting *list = (meeting *)(first + s->W + 1);
    first[0] = 0;
    for (int64_t x = 0; x < s->W; x++) first[x + 1] = first[x] + (int32_t)meet(s, 1, x, list + first[x]);
    return (columns){spans, first, list, list + listed, (float *)(list + listed + height)};
}

/* The divisor of an average is a product over the axes. rest: count_include_pad, divisor_override (0: none). */
static inline float divisor(const pool_shape *s, int axis, span w) {
    if (!s->adaptive && s->rest[1]) return axis ? 1.0f : (float)s->rest[1];
    return (float)(!s->adaptive && s->rest[0] ? w.padded : w.last - w.first);
}

/* Which tap of a window was the maximum, in one byte (bytes = 1) where there are at most 255, else in four; all bits
 * set: none. `bytes` is a constant wherever this is inlined; 0: not kept. */
VEC_INLINE vec_i32 load_taps(const void *taps, int64_t at, int bytes, int64_t n) {
    return bytes == 1 ? vec_load_u8((const uint8_t *)taps + at, n) : vec_load_i32((const int32_t *)taps + at, n);
}
VEC_INLINE void store_taps(void *taps, int64_t at, vec_i32 v, int bytes, int64_t n) {
    if (bytes == 1) vec_store_u8((uint8_t *)taps + at, v, n);
    if (bytes == 4) vec_store_i32((int32_t *)taps + at, v, n);
}
static inline int64_t tap_of(const void *taps, int64_t at, int bytes) {
    return bytes == 1 ? ((const uint8_t *)taps)[at] : ((const int32_t *)taps)[at];
}
static inline void set_tap(void *taps, int64_t at, int64_t tap, int bytes) {
    if (bytes == 1) ((uint8_t *)taps)[at] = (uint8_t)tap;
    if (bytes == 4) ((int32_t *)taps)[at] = (int32_t)tap;
}

/* max.c, average.c, whole.c: the kernels. */
kg_kernel KG_NAME(max_pool2d_forward), KG_NAME(max_pool2d_backward), KG_NAME(max_pool2d_indices),
    KG_NAME(avg_pool2d_forward), KG_NAME(avg_pool2d_backward), KG_NAME(global_avg_pool2d_forward),
    KG_NAME(global_avg_pool2d_backward);

/* planes.c: rows of one-channel images (NCHW memory). `at`: of the row's first output among all. */
void KG_NAME(pool_max_row)(const pool_shape *s, span v, const span *spans, const float *image, float *out, void *taps,
                           int64_t at, int bytes);
void KG_NAME(pool_max_row_backward)(const pool_shape *s, const columns *h, const meeting *rows, int64_t count,
                                    const float *grad_out, const void *taps, int64_t at, int bytes, float *grad_x);
void KG_NAME(pool_avg_row)(const pool_shape *s, span v, const span *spans, const float *image, float *out);
void KG_NAME(pool_avg_row_backward)(const pool_shape *s, const columns *h, const meeting *rows, int64_t count,
                                    const float *grad_out, float *grad_x);

#endif
