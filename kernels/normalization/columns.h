/* By channel over (rows, channels) memory, channels as lanes: moments, sums and affine maps.
 *
 * Few channels would leave lanes empty, so `fold` rows are taken as one until they fill vectors; what is kept by
 * channel is repeated as often ("tiles"), and sums of the copies of a channel are merged by the caller. A strip of four
 * vectors is worked through blocks of 64 rows that stay in the L1. */
#ifndef KG_NORMALIZATION_COLUMNS_H
#define KG_NORMALIZATION_COLUMNS_H

#include "vec/vec.h"

enum {
    COLUMN_ROWS = 64,
    STRIP = 4 * VEC_LANES,
    PIECE = 32 * 1024, /* floats: 128 KiB, and as much again for a gradient */
    MOST_TILE = 16 * 1024
};

/* For sums: at least 64 columns, of which the last vector wastes little. */
VEC_INLINE int64_t fold_to_read(int64_t rows, int64_t channels) {
    if (channels < 1 || channels >= 256) return 1;
    for (int64_t fold = 1;; fold++) {
        int64_t width = fold * channels, waste = (16 - width % 16) % 16;
        if (width >= 64 && waste * 32 <= width) return rows >= 4 * fold ? fold : 1;
    }
}

/* For maps: whole vectors, so that every access is aligned; a store that crosses cache lines costs several that do not.
 */
VEC_INLINE int64_t fold_to_write(int64_t rows, int64_t channels) {
    int64_t fold = 1;
    if (channels < 1) return 1;
    while (fold * channels % 16) fold *= 2;
    while (fold * channels < 64) fold *= 2;
    return rows >= 8 * fold && fold * channels <= MOST_TILE ? fold : 1;
}

/* `rows` rows of `channels`, in pieces of `piece` rows, which are whole multiples of fold; rows that are left make the
 * last piece. */
typedef struct {
    int64_t rows, channels, fold, width, piece, pieces;
} cutting;

static cutting cut_rows(int64_t rows, int64_t channels, int64_t fold) {
    cutting c = {.rows = rows, .channels = channels, .fold = fold, .width = fold * channels};
    const int64_t whole = rows - rows % fold;
    c.piece = c.width > 0 && c.width < PIECE ? PIECE / c.width * fold : fold;
    c.pieces = (whole + c.piece - 1) / c.piece + (whole < rows);
    return c;
}

typedef struct {
    int64_t start, rows, width; /* start in rows of channels; `rows` rows of `width` */
} span;

static span span_of(const cutting *c, int64_t piece) {
    const int64_t whole = c->rows - c->rows % c->fold, start = piece * c->piece;
    if (start >= whole) return (span){whole, c->rows - whole, c->channels};
    return (span){start, (whole - start < c->piece ? whole - start : c->piece) / c->fold, c->width};
}

/* What stands by channel at the head of a tile, repeated through it. */
static void repeat(float *tile, const cutting *c) {
    for (int64_t i = c->channels; i < c->width; i += c->channels)
        memcpy(tile + i, tile, (size_t)c->channels * sizeof(float));
}

/* Calls strip(..., columns left, vectors) for each strip of `width` columns at j; `vectors` is a constant for each. */
#define EACH_STRIP(strip, width, ...)              \
    for (int64_t j = 0; j < (width); j += STRIP) { \
        const int64_t rest = (width) - j;          \
        if (rest > 3 * VEC_LANES)                  \
            strip(__VA_ARGS__, rest, 4);           \
        else if (rest > 2 * VEC_LANES)             \
            strip(__VA_ARGS__, rest, 3);           \
        else if (rest > VEC_LANES)                 \
            strip(__VA_ARGS__, rest, 2);           \
        else                                       \
            strip(__VA_ARGS__, rest, 1);           \
    }

/* Mean and sum of centred squares of each column; blocks of rows are merged (Chan, Golub & LeVeque 1983). */
VEC_INLINE void moments_strip_of(const float *x, float *mean, float *squares, int64_t rows, int64_t stride,
                                 int64_t rest, int vectors, int full) {
    vec_f32 m[4], q[4];
    UNROLL
    for (int k = 0; k < vectors; k++) m[k] = q[k] = vec_zero();
    for (int64_t block = 0; block < rows; block += COLUMN_ROWS) {
        const int64_t n = rows - block < COLUMN_ROWS ? rows - block : COLUMN_ROWS;
        const float *from = x + block * stride;
        vec_f32 s[4], d[4];
        UNROLL
        for (int k = 0; k < vectors; k++) s[k] = d[k] = vec_zero();
        for (int64_t r = 0; r < n; r++) UNROLL
        for (int k = 0; k < vectors; k++)
            s[k] = vec_add(s[k], vec_load(from + r * stride + k * VEC_LANES, full ? STRIP : rest - k * VEC_LANES));
        UNROLL
        for (int k = 0; k < vectors; k++) s[k] = vec_div(s[k], vec_set((float)n));
        for (int64_t r = 0; r < n; r++) UNROLL
        for (int k = 0; k < vectors; k++) {
            vec_f32 v = vec_load(from + r * stride + k * VEC_LANES, full ? STRIP : rest - k * VEC_LANES);
            v = vec_sub(v, s[k]);
            d[k] = vec_fma(v, v, d[k]);
        }
        const float share = (float)n / (float)(block + n);
        const vec_f32 part = vec_set(share), between = vec_set((float)block * share);
        UNROLL
        for (int k = 0; k < vectors; k++) {
            vec_f32 delta = vec_sub(s[k], m[k]);
            m[k] = vec_fma(delta, part, m[k]);
            q[k] = vec_fma(vec_mul(delta, delta), between, vec_add(q[k], d[k]));
        }
    }
    UNROLL
    for (int k = 0; k < vectors; k++) {
        vec_store(mean + k * VEC_LANES, m[k], rest - k * VEC_LANES);
        vec_store(squares + k * VEC_LANES, q[k], rest - k * VEC_LANES);
    }
}
VEC_INLINE void moments_strip(const float *x, float *mean, float *squares, int64_t rows, int64_t stride, int64_t rest,
                              int vectors) {
    if (rest >= STRIP)
        moments_strip_of(x, mean, squares, rows, stride, STRIP, 4, 1);
    else
        moments_strip_of(x, mean, squares, rows, stride, rest, vectors, 0);
}
static void column_moments(const float *x, float *mean, float *squares, int64_t rows,
                           int64_t width){EACH_STRIP(moments_strip, width, x + j, mean + j, squares + j, rows, width)}

/* The upstream gradient g of max(y, 0), y = d scale + shift with d = x - mean; just g without `relu`. */
VEC_INLINE vec_f32 through_relu(vec_f32 g, vec_f32 d, vec_f32 scale, vec_f32 shift, int relu) {
    return relu ? vec_select(vec_le(vec_fma(d, scale, shift), vec_zero()), vec_zero(), g) : g;
}

/* sum g and sum g (x - mean) of each column; `relu` as above */
VEC_INLINE void sums_strip_of(const float *x, const float *g, const float *mean, const float *scale, const float *shift,
                              float *sum, float *dot, int64_t rows, int64_t stride, int64_t rest, int vectors, int full,
                              int relu) {
    vec_f32 m[4], y_scale[4], y_shift[4], total[4], total_dot[4];
    UNROLL
    for (int k = 0; k < vectors; k++) {
        m[k] = vec_load(mean + k * VEC_LANES, rest - k * VEC_LANES);
        y_scale[k] = relu ? vec_load(scale + k * VEC_LANES, rest - k * VEC_LANES) : vec_zero();
        y_shift[k] = relu ? vec_load(shift + k * VEC_LANES, rest - k * VEC_LANES) : vec_zero();
        total[k] = total_dot[k] = vec_zero();
    }
    for (int64_t block = 0; block < rows; block += COLUMN_ROWS) {
        const int64_t stop = rows - block < COLUMN_ROWS ? rows : block + COLUMN_ROWS;
        vec_f32 s[4], d[4];
        UNROLL
        for (int k = 0; k < vectors; k++) s[k] = d[k] = vec_zero();
        for (int64_t r = block; r < stop; r++) UNROLL
        for (int k = 0; k < vectors; k++) {
            const int64_t at = r * stride + k * VEC_LANES, left = full ? STRIP : rest - k * VEC_LANES;
            vec_f32 centred = vec_sub(vec_load(x + at, left), m[k]);
            vec_f32 v = through_relu(vec_load(g + at, left), centred, y_scale[k], y_shift[k], relu);
            s[k] = vec_add(s[k], v);
            d[k] = vec_fma(v, centred, d[k]);
        }
        UNROLL
        for (int k = 0; k < vectors; k++) {
            total[k] = vec_add(total[k], s[k]);
            total_dot[k] = vec_add(total_dot[k], d[k]);
        }
    }
    UNROLL
    for (int k = 0; k < vectors; k++) {
        vec_store(sum + k * VEC_LANES, total[k], rest - k * VEC_LANES);
        vec_store(dot + k * VEC_LANES, total_dot[k], rest - k * VEC_LANES);
    }
}
VEC_INLINE void sums_strip(const float *x, const float *g, const float *mean, const float *scale, const float *shift,
                           float *sum, float *dot, int64_t rows, int64_t stride, int relu, int64_t rest, int vectors) {
    if (rest >= STRIP)
        sums_strip_of(x, g, mean, scale, shift, sum, dot, rows, stride, STRIP, 4, 1, relu);
    else
        sums_strip_of(x, g, mean, scale, shift, sum, dot, rows, stride, rest, vectors, 0, relu);
}
VEC_INLINE void column_sums(const float *x, const float *g, const float *mean, const float *scale, const float *shift,
                            float *sum, float *dot, int64_t rows, int64_t width, int relu) {
    const float *a = relu ? scale : mean, *b = relu ? shift : mean;
    EACH_STRIP(sums_strip, width, x + j, g + j, mean + j, a + j, b + j, sum + j, dot + j, rows, width, relu)
}

/* out = (x - mean) scale + shift, or max(out, 0): four rows share what is loaded for a column. */
VEC_INLINE void affine_few(const float *x, float *out, const float *mean, const float *scale, const float *shift,
                           int64_t width, int rows, int relu) {
    for (int64_t j = 0; j < width; j += VEC_LANES) {
        const int64_t rest = width - j;
        const vec_f32 m = vec_load(mean + j, rest), a = vec_load(scale + j, rest), b = vec_load(shift + j, rest);
        vec_f32 v[4];
        UNROLL
        for (int r = 0; r < rows; r++) {
            v[r] = vec_fma(vec_sub(vec_load(x + r * width + j, rest), m), a, b);
            if (relu) v[r] = vec_max(vec_zero(), v[r]);
        }
        UNROLL
        for (int r = 0; r < rows; r++) vec_store(out + r * width + j, v[r], rest);
    }
}
VEC_INLINE void column_affine(const float *x, float *out, const float *mean, const float *scale, const float *shift,
                              int64_t rows, int64_t width, int relu) {
    int64_t r = 0;
    for (; r + 4 <= rows && width % 16 == 0; r += 4)
        affine_few(x + r * width, out + r * width, mean, scale, shift, width, 4, relu);
    for (; r < rows; r++) affine_few(x + r * width, out + r * width, mean, scale, shift, width, 1, relu);
}

/* out = g scale + (x - mean) slope + constant; `shift` is y's, for `relu`. */
VEC_INLINE void gradient_few(const float *x, const float *g, float *out, const float *mean, const float *scale,
                             const float *shift, const float *slope, const float *constant, int64_t width, int rows,
                             int relu) {
    for (int64_t j = 0; j < width; j += VEC_LANES) {
        const int64_t rest = width - j;
        const vec_f32 m = vec_load(mean + j, rest), a = vec_load(scale + j, rest);
        const vec_f32 c = vec_load(slope + j, rest), b = vec_load(constant + j, rest);
        const vec_f32 y_shift = relu ? vec_load(shift + j, rest) : vec_zero();
        vec_f32 v[4];
        UNROLL
        for (int r = 0; r < rows; r++) {
            const int64_t at = r * width + j;
            vec_f32 d = vec_sub(vec_load(x + at, rest), m);
            v[r] = vec_fma(through_relu(vec_load(g + at, rest), d, a, y_shift, relu), a, vec_fma(d, c, b));
        }
        UNROLL
        for (int r = 0; r < rows; r++) vec_store(out + r * width + j, v[r], rest);
    }
}
VEC_INLINE void column_gradient(const float *x, const float *g, float *out, const float *mean, const float *scale,
                                const float *shift, const float *slope, const float *constant, int64_t rows,
                                int64_t width, int relu) {
    int64_t r = 0;
    for (; r + 4 <= rows && width % 16 == 0; r += 4) {
        const int64_t at = r * width;
        gradient_few(x + at, g + at, out + at, mean, scale, shift, slope, constant, width, 4, relu);
    }
    for (; r < rows; r++) {
        const int64_t at = r * width;
        gradient_few(x + at, g + at, out + at, mean, scale, shift, slope, constant, width, 1, relu);
    }
}

#endif
