/* Depthwise convolution, one channel in and out per group: lanes are channels. Forward and backward data are the same
 * loop over output rows, in backward once for each phase of the stride. A tile is a few pixels of an output row: their
 * sums and a row of taps stay in registers, and a source vector is loaded once for all outputs that it reaches. Taps
 * off the image are left out: rows for all the tile, columns each by a branch that goes the same way for all rows and
 * channels. */
#include "conv/conv.h"
#include "matmul/transpose.h"

#if VEC_LANES == 16
#define MOST_PIXELS 8 /* of a tile */
#else
#define MOST_PIXELS 4
#endif

#define LANES TRANSPOSE_BLOCK /* channels of a part: a vector, or two */
#define FEW_CHUNKS 32
#define ROWS_AT_ONCE 16 /* of a chunk, where there are many */

/* The compiler no longer knows the value: what is worked out from it is not worked out before, to lie on the stack. */
#define HIDE(x) __asm__ volatile("" : "+r"(x))

typedef struct {
    const conv_shape *s;
    const float *source, *bias;
    float *packed, *out; /* packed[part][tap_y kw + tap_x][lane] */
    conv_axis *vertical, *across;
    int64_t source_h, source_w, out_h, out_w, relu, parts, blocks;
    int64_t phases[2]; /* of the stride, in backward: as many axes `vertical` and `across` */
} depthwise;

static void pack_taps(const depthwise *z, const float *weight) {
    const int64_t taps = z->s->kh * z->s->kw, C = z->s->C;
    float *to = z->packed;
    for (int64_t part = 0; part < z->parts; part++, to += taps * LANES) {
        const int64_t c = most(0, least(part * LANES, C - LANES));
        for (int64_t tap = 0; tap < taps; tap += LANES) /* what is too much is covered by the next part */
            transpose_part(weight + c * taps + tap, taps, C - c, part + 1 < z->parts ? LANES : taps - tap,
                           to + tap * LANES, LANES);
    }
}

/* What the tiles of an output row have in common. */
typedef struct {
    int64_t channels, parts, relu;
    int64_t row, rows, step, taps, gap; /* of the source: floats from tap to tap down, how many; the taps of a row */
    int64_t w_row, w_gap, w_part, out_pixel;
    const float *bias;
    const float *ahead; /* rows that the next output row needs first, from the column of the first tap on */
    int64_t ahead_rows, ahead_row;
} strip;

/* Fetches what the next output row needs of `columns` columns from `column` on: an equal share with each whole part. */
VEC_INLINE void fetch(const strip *z, int columns, int64_t column, int64_t part) {
    if ((part + 1) * LANES > z->channels) return;
    const float *at = z->ahead + column * z->channels + part * columns * LANES;
    for (int64_t y = 0; y < z->ahead_rows; y++, at += z->ahead_row) UNROLL
    for (int i = 0; i < columns * LANES; i += 16) __builtin_prefetch(at + i, 0, 2);
}

VEC_INLINE void finish(const strip *z, vec_f32 v, float *out, int64_t c, int64_t left) {
    if (z->bias) v = vec_add(v, vec_load(z->bias + c, left));
    vec_store(out + c, z->relu ? vec_max(vec_zero(), v) : v, left);
}

/* `pixels` outputs whose taps begin `column` columns after the source's first: all channels, LANES or more. The last
 * part repeats some of the one before, rather than to mask a vector. */
VEC_INLINE void outputs(int step, int taps, int pixels, const strip *z, const float *source, int64_t column,
                        int64_t low, int64_t high, const float *w, float *out) {
    const int columns = (pixels - 1) * step + taps;
    const uint32_t on = (1u << most(0, least(high, columns))) - (1u << most(0, least(low, columns)));
    const int64_t C = z->channels;
    for (int64_t part = 0; part < z->parts; part++, w += z->w_part) {
        fetch(z, pixels * step, column, part);
        for (int at = 0; at < LANES; at += VEC_LANES) {
            const int64_t c = least(part * LANES, C - LANES) + at;
            vec_f32 acc[MOST_PIXELS], wv[7];
            UNROLL
            for (int i = 0; i < pixels; i++) acc[i] = vec_zero();
            const float *x = source + column * C + c, *tap = w + at;
            for (int64_t y = 0; y < z->rows; y++, x += z->row, tap += z->w_row) {
                UNROLL
                for (int t = 0; t < taps; t++) wv[t] = vec_loadu(tap + t * z->w_gap);
                uint32_t bits = on;
                const float *under = x;
                HIDE(bits);
                UNROLL
                for (int k = 0; k < columns; k++, under += C) {
                    HIDE(under);
                    if (bits & 1u << k) {
                        vec_f32 v = vec_loadu(under);
                        HIDE_VEC(v);
                        UNROLL
                        for (int t = 0; t < taps; t++)
                            if (k >= t && (k - t) % step == 0 && (k - t) / step < pixels)
                                acc[(k - t) / step] = vec_fma(v, wv[t], acc[(k - t) / step]);
                    }
                }
            }
            UNROLL
            for (int i = 0; i < pixels; i++) finish(z, acc[i], out + i * z->out_pixel, c, VEC_LANES);
        }
    }
}

/* The same for any step, taps and distance of taps, and for any number of channels. */
VEC_INLINE void outputs_any(int pixels, const strip *z, const float *source, int64_t column, int64_t low, int64_t high,
                            const float *w, float *out) {
    const int64_t C = z->channels;
    for (int64_t part = 0; part < z->parts; part++, w += z->w_part)
        for (int at = 0; at < LANES; at += VEC_LANES) {
            const int64_t c = most(0, least(part * LANES, C - LANES)) + at, left = C - c;
            vec_f32 acc[MOST_PIXELS];
            UNROLL
            for (int i = 0; i < pixels; i++) acc[i] = vec_zero();
            const float *x = source + column * C + c, *tap = w + at;
            for (int64_t y = 0; y < z->rows; y++, x += z->row, tap += z->w_row)
                for (int64_t t = 0; t < z->taps; t++) {
                    vec_f32 wv = vec_loadu(tap + t * z->w_gap);
                    int64_t k = t * z->gap;
                    UNROLL
                    for (int i = 0; i < pixels; i++, k += z->step)
                        if (k >= low && k < high) acc[i] = vec_fma(vec_load(x + k * C, left), wv, acc[i]);
                }
            UNROLL
            for (int i = 0; i < pixels; i++) finish(z, acc[i], out + i * z->out_pixel, c, left);
        }
}

typedef void tile(const strip *z, const float *source, int64_t column, int64_t low, int64_t high, const float *w,
                  float *out);
#define TILE(STEP, TAPS, PIXELS)                                                                                  \
    static void tile_##STEP##_##TAPS##_##PIXELS(const strip *z, const float *source, int64_t column, int64_t low, \
                                                int64_t high, const float *w, float *out) {                       \
        if (TAPS)                                                                                                 \
            outputs(STEP, TAPS, PIXELS, z, source, column, low, high, w, out);                                    \
        else                                                                                                      \
            outputs_any(PIXELS, z, source, column, low, high, w, out);                                            \
    }
#define NAME(STEP, TAPS, PIXELS) tile_##STEP##_##TAPS##_##PIXELS,
#define ALL_4(F, S, T) F(S, T, 1) F(S, T, 2) F(S, T, 3) F(S, T, 4)
#define ALL_8(F, S, T) ALL_4(F, S, T) F(S, T, 5) F(S, T, 6) F(S, T, 7) F(S, T, 8)
#define CAT_(a, b) a##b
#define CAT(a, b) CAT_(a, b)
#define TILES(S, T) \
    CAT(ALL_, MOST_PIXELS)(TILE, S, T) static tile *const tiles_##S##_##T[] = {0, CAT(ALL_, MOST_PIXELS)(NAME, S, T)};
/* clang-format off */
TILES(1, 0) TILES(1, 1) TILES(1, 2) TILES(1, 3) TILES(1, 4) TILES(1, 5) TILES(1, 7)
TILES(2, 3) TILES(2, 5) TILES(2, 7)
    /* clang-format on */

    static tile *const *tiles_of(const conv_axis *h, int64_t channels) {
    static tile *const *const known[][8] = {
        {tiles_1_0, tiles_1_1, tiles_1_2, tiles_1_3, tiles_1_4, tiles_1_5, tiles_1_0, tiles_1_7},
        {tiles_1_0, tiles_1_0, tiles_1_0, tiles_2_3, tiles_1_0, tiles_2_5, tiles_1_0, tiles_2_7}};
    return channels < LANES || h->gap > 1 || h->step > 2 || h->taps > 7 ? tiles_1_0 : known[h->step - 1][h->taps];
}

/* Output row y of one phase across. */
static void output_row(const depthwise *z, const conv_axis *v, const conv_axis *h, int64_t n, int64_t y) {
    const int64_t C = z->s->C, kw = z->s->kw, line = z->source_w * C, top = y * v->step + v->first;
    const conv_reach r = reach_of(v, y);
    const float *image = z->source + n * z->source_h * line + h->first * C;
    const strip strip = {.channels = C,
                         .parts = z->parts,
                         .relu = z->relu,
                         .row = v->gap * line,
                         .rows = r.high - r.low,
                         .step = h->step,
                         .taps = h->taps,
                         .gap = h->gap,
                         .w_row = v->kernel_gap * kw * LANES,
                         .w_gap = h->kernel_gap * LANES,
                         .w_part = z->s->kh * kw * LANES,
                         .out_pixel = h->out_step * C,
                         .bias = z->bias,
                         .ahead = image + (top + v->taps * v->gap) * line,
                         .ahead_rows = v->step,
                         .ahead_row = line};
    tile *const *tiles = tiles_of(h, C);
    const float *source = image + (top + r.low * v->gap) * line;
    const float *w = z->packed + ((v->kernel_first + r.low * v->kernel_gap) * kw + h->kernel_first) * LANES;
    float *out = z->out + ((n * z->out_h + v->out_first + y * v->out_step) * z->out_w + h->out_first) * C;
    const int64_t strips = ceil_div(h->outputs, MOST_PIXELS);
    for (int64_t i = 0, x = 0, next; i < strips; i++, x = next) {
        next = cut(h->outputs, strips, i + 1);
        const int64_t column = x * h->step, at = column + h->first; /* on the image: columns -at .. source_w - at */
        tiles[next - x](&strip, source, column, -at, z->source_w - at, w, out + x * strip.out_pixel);
    }
}

/* Chunk: a block of output rows of an image; of backward data all phases. */
static void depthwise_chunk(void *context, int64_t chunk) {
    const depthwise *z = context;
    const int64_t n = chunk / z->blocks, block = chunk % z->blocks;
    for (int64_t y = cut(z->out_h, z->blocks, block); y < cut(z->out_h, z->blocks, block + 1); y++)
        for (int64_t x = 0; x < z->phases[1]; x++)
            output_row(z, z->vertical + y % z->phases[0], z->across + x, n, y / z->phases[0]);
}

static void run(depthwise *z, const float *weight, int data) {
    const conv_shape *s = z->s;
    if (s->N * z->out_h * z->out_w == 0) return;
    const int64_t taps = s->kh * s->kw, stride = s->stride[0] * s->stride[1];
    for (int axis = 0; axis < 2; axis++) z->phases[axis] = data ? s->stride[axis] : 1;
    z->parts = ceil_div(s->C, LANES);
    const int64_t axes = z->phases[0] + z->phases[1], floats = (z->parts * taps + LANES) * LANES;
    z->packed = kg_scratch(KG_SCRATCH_CONV_SHARED, sizeof(float) * floats + sizeof(conv_axis) * axes);
    z->vertical = (conv_axis *)(z->packed + floats), z->across = z->vertical + z->phases[0];
    for (int axis = 0; axis < 2; axis++)
        for (int64_t i = 0; i < z->phases[axis]; i++)
            (axis ? z->across : z->vertical)[i] =
                data ? KG_NAME(conv_phase_axis)(s, axis, i) : KG_NAME(conv_forward_axis)(s, axis);
    pack_taps(z, weight);
    /* Neighbours share source rows, so they are one thread's. */
    z->blocks = most(ceil_div(z->out_h, ROWS_AT_ONCE), least(ceil_div(FEW_CHUNKS, s->N), ceil_div(z->out_h, 2)));
    const double lanes = (double)s->N * z->out_h * z->out_w * z->parts * LANES,
                 each = data ? (double)taps / stride : taps;
    kg_parallel(depthwise_chunk, z, s->N * z->blocks, 1e-4 * lanes * (1 + .2 * each));
}

void KG_NAME(conv_depthwise_forward)(const conv_shape *s, const float *x, const float *weight, const float *bias,
                                     float *out) {
    run(&(depthwise){.s = s,
                     .source = x,
                     .bias = bias,
                     .out = out,
                     .source_h = s->H,
                     .source_w = s->W,
                     .out_h = s->OH,
                     .out_w = s->OW,
                     .relu = s->activation == CONV_RELU},
        weight, 0);
}

void KG_NAME(conv_depthwise_data)(const conv_shape *s, const float *grad_out, const float *weight, const float *bias,
                                  float *grad_x) {
    run(&(depthwise){.s = s,
                     .source = grad_out,
                     .bias = bias,
                     .out = grad_x,
                     .source_h = s->OH,
                     .source_w = s->OW,
                     .out_h = s->H,
                     .out_w = s->W},
        weight, 1);
}
