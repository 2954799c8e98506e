/* Winograd convolution F(4x4, 3x3): the transforms in one dimension, and tiles of an image.
 *
 * Mathematics (Lavin & Gray 2015, https://arxiv.org/abs/1509.09308, section 4), with x' the transpose:
 *   y = A' [ (G g G') * (B' d B) ] A        d: 6x6 input pixels, g: 3x3 taps, y: 4x4 output pixels, *: per element
 *   B' = 4  0 -5  0  1  0     G = 1/4    0    0       A' = 1  1  1  1  1  0
 *        0 -4 -4  1  1  0        -1/6 -1/6 -1/6            0  1 -1  2 -2  0
 *        0  4 -4 -1  1  0        -1/6  1/6 -1/6            0  1  1  4  4  0
 *        0 -2 -1  2  1  0        1/24 1/12  1/6            0  1 -1  8 -8  1
 *        0  2 -1 -2  1  0        1/24 -1/12 1/6
 *        0  4  0 -5  0  1           0    0    1
 * These are the matrices for the interpolation points 0, 1, -1, 2, -2, infinity. Here the points are 0, P, -P, 2P, -2P,
 * infinity with P = 3/4: half the rounding error for the same work (every entry of B' and A' stays exact in float32).
 * Row i of A' gets the factor P^i, applied with the bias at the store; B' gets it in its constants; column j of G gets
 * P^(j-4), its last row 1/P^3 in all. Summed over C input channels, the 36 products per tile become 36 matrix products
 * M[q] = V[q] (tiles x C) U[q] (C x K): a quarter of the direct flops. Products and sums fuse where vec_fma is written,
 * so every instruction set rounds alike. */
#ifndef KG_WINOGRAD_H
#define KG_WINOGRAD_H

#include "conv/conv.h"

#define P 0.75f

/* s is the distance of the results. */
VEC_INLINE void winograd_input(vec_f32 a, vec_f32 b, vec_f32 c, vec_f32 d, vec_f32 e, vec_f32 f, vec_f32 *r,
                               int s) { /* B', 6 to 6 */
    const vec_f32 four = vec_set(4 * P * P), five = vec_set(5 * P * P), one = vec_set(P * P),
                  scale = vec_set(4 * P * P * P * P);
    const vec_f32 p1 = vec_set(P), p2 = vec_set(2 * P);
    vec_f32 p = vec_fnma(four, c, e), q = vec_fnma(four, b, d), u = vec_fnma(one, c, e), v = vec_fnma(one, b, d);
    r[0] = vec_fma(scale, a, vec_fnma(five, c, e)), r[5 * s] = vec_fma(scale, b, vec_fnma(five, d, f));
    r[s] = vec_fma(p1, q, p), r[2 * s] = vec_fnma(p1, q, p), r[3 * s] = vec_fma(p2, v, u),
    r[4 * s] = vec_fnma(p2, v, u);
}

VEC_INLINE void winograd_output(vec_f32 a, vec_f32 b, vec_f32 c, vec_f32 d, vec_f32 e, vec_f32 f, vec_f32 *r,
                                int s) { /* A' unscaled, 6 to 4 */
    vec_f32 p = vec_add(b, c), q = vec_sub(b, c), u = vec_add(d, e), v = vec_sub(d, e);
    r[0] = vec_add(vec_add(a, p), u), r[s] = vec_fma(vec_set(2), v, q);
    r[2 * s] = vec_fma(vec_set(4), u, p), r[3 * s] = vec_fma(vec_set(8), v, vec_add(q, f));
}

VEC_INLINE void winograd_gradient(vec_f32 a, vec_f32 b, vec_f32 c, vec_f32 d, vec_f32 *r, int s) { /* A, 4 to 6 */
    b = vec_mul(b, vec_set(P)), d = vec_mul(d, vec_set(P * P * P));
    vec_f32 p = vec_fma(vec_set(P * P), c, a), q = vec_add(b, d), u = vec_fma(vec_set(4 * P * P), c, a),
            v = vec_fma(vec_set(4), d, b);
    r[0] = a, r[s] = vec_add(p, q), r[2 * s] = vec_sub(p, q), r[5 * s] = d;
    r[3 * s] = vec_fma(vec_set(2), v, u), r[4 * s] = vec_fnma(vec_set(2), v, u);
}

VEC_INLINE void winograd_weight(vec_f32 a, vec_f32 b, vec_f32 c, vec_f32 *r, int s) { /* G, 3 to 6 */
    a = vec_mul(a, vec_set(1 / (P * P * P * P))), b = vec_mul(b, vec_set(1 / (P * P * P))),
    c = vec_mul(c, vec_set(1 / (P * P)));
    vec_f32 p = vec_mul(vec_add(a, c), vec_set(-1 / 6.f)), q = vec_mul(b, vec_set(1 / 6.f)),
            v = vec_mul(b, vec_set(1 / 12.f));
    vec_f32 u = vec_fma(a, vec_set(1 / 24.f), vec_mul(c, vec_set(1 / 6.f)));
    r[0] = vec_mul(a, vec_set(.25f)), r[s] = vec_sub(p, q), r[2 * s] = vec_add(p, q), r[3 * s] = vec_add(u, v),
    r[4 * s] = vec_sub(u, v);
    r[5 * s] = vec_mul(c, vec_set(1 / P));
}

VEC_INLINE void winograd_weight_gradient(vec_f32 a, vec_f32 b, vec_f32 c, vec_f32 d, vec_f32 e, vec_f32 f, vec_f32 *r,
                                         int s) { /* G', 6 to 3 */
    const vec_f32 sixth = vec_set(1 / 6.f);
    vec_f32 p = vec_mul(vec_add(b, c), sixth), q = vec_mul(vec_sub(c, b), sixth), u = vec_add(d, e), v = vec_sub(d, e);
    vec_f32 first = vec_fma(vec_set(.25f), a, vec_fma(vec_set(1 / 24.f), u, vec_sub(vec_zero(), p)));
    r[0] = vec_mul(first, vec_set(1 / (P * P * P * P))),
    r[s] = vec_mul(vec_fma(vec_set(1 / 12.f), v, q), vec_set(1 / (P * P * P)));
    r[2 * s] = vec_mul(vec_fma(sixth, u, vec_fma(vec_set(1 / P), f, vec_sub(vec_zero(), p))), vec_set(1 / (P * P)));
}

typedef struct {
    int64_t images, rows, cols, tiles; /* rows x cols tiles of 4x4 outputs per image */
} winograd_tiles;

static inline winograd_tiles tiles_of(int64_t images, int64_t height, int64_t width) {
    int64_t rows = ceil_div(height, 4), cols = ceil_div(width, 4);
    return (winograd_tiles){images, rows, cols, images * rows * cols};
}

/* Which tile, counted up along the rows of one image after the other. */
typedef struct {
    int64_t n, y, x;
} tile_place;

static inline tile_place place_of(const winograd_tiles *s, int64_t tile) {
    return (tile_place){tile / (s->rows * s->cols), tile / s->cols % s->rows, tile % s->cols};
}
static inline void next_place(const winograd_tiles *s, tile_place *p) {
    if (++p->x < s->cols) return;
    p->x = 0;
    if (++p->y == s->rows) p->y = 0, p->n++;
}

/* The pixels of a tile: rows that lie off the image point to zeros (6 pixels of them), of the columns only low ..
 * high-1 lie on it. */
typedef struct {
    const float *row[6];
    int64_t low, high;
} tile_pixels;

static inline tile_pixels pixels_at(tile_place p, int64_t size, int64_t up, int64_t left, int64_t height, int64_t width,
                                    int64_t stride, const float *image, const float *zero) {
    tile_pixels r;
    int64_t y = p.y * 4 - up, x = p.x * 4 - left;
    const float *at = image + ((p.n * height + y) * width + x) * stride;
    for (int64_t i = 0; i < size; i++, at += width * stride) r.row[i] = y + i >= 0 && y + i < height ? at : zero;
    r.low = most(0, -x), r.high = least(size, width - x);
    return r;
}

/* Channels in vectors; the last vector overlaps the one before instead of using a mask (channels >= 16). */
#define EACH_VECTOR(c, channels) \
    for (int64_t c##_ = 0, c; c##_ < (channels) && (c = least(c##_, (channels) - VEC_LANES), 1); c##_ += VEC_LANES)

/* B' d B of one tile, whose pixels are `stride` floats apart; touches the pixels of the next. */
VEC_INLINE void transform_columns(const tile_pixels *p, const tile_pixels *next, int64_t stride, int64_t channels,
                                  float *v, int64_t point, int whole) {
    EACH_VECTOR(c, channels) {
        vec_f32 t[36], r[6];
        UNROLL
        for (int i = 2; i < 6; i++) UNROLL
        for (int j = 2; j < 6; j++) __builtin_prefetch(next->row[i] + j * stride + c);
        UNROLL
        for (int j = 0; j < 6; j++) {
            int64_t at = j * stride + c;
            if (whole || (j >= p->low && j < p->high))
                winograd_input(vec_loadu(p->row[0] + at), vec_loadu(p->row[1] + at), vec_loadu(p->row[2] + at),
                               vec_loadu(p->row[3] + at), vec_loadu(p->row[4] + at), vec_loadu(p->row[5] + at), t + j,
                               6);
            else
                UNROLL
            for (int i = 0; i < 6; i++) t[6 * i + j] = vec_zero();
        }
        UNROLL
        for (int i = 0; i < 36; i += 6) {
            winograd_input(t[i], t[i + 1], t[i + 2], t[i + 3], t[i + 4], t[i + 5], r, 1);
            UNROLL
            for (int j = 0; j < 6; j++) vec_storeu(v + (i + j) * point + c, r[j]);
        }
    }
}

static inline void winograd_transform_input(const tile_pixels *p, const tile_pixels *next, int64_t stride,
                                            int64_t channels, float *v, int64_t point) {
    if (p->low == 0 && p->high == 6)
        transform_columns(p, next, stride, channels, v, point, 1);
    else
        transform_columns(p, next, stride, channels, v, point, 0);
}

#endif
