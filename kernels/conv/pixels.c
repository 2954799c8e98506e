/* Forward with pixels in the lanes: where output channels would leave many lanes idle, as 10 or 17 of them do. A row of
 * the product is an output channel, its columns are the pixels of an output row, or of several with the few source
 * pixels between them. For that the source is turned to planes: [phase y][phase x][channel][row][pixel], one for each
 * remainder of its padded coordinates by the strides, so that each tap is a plane at an offset. An element is the same
 * chain of FMAs as in implicit.c. */
#include "conv/conv.h"
#include "matmul/transpose.h"

#include <math.h>

#define ROOM 163840   /* floats of planes and results: 5/8 of L2 */
#define FEW_CHUNKS 16 /* split few images this far, for the threads to share */
#define LANES TRANSPOSE_BLOCK

typedef struct {
    conv_axis axes[2];
    const float *source, *weight, *bias;
    const float *packed; /* [outs][k], k = (tap_y, tap_x, channel) */
    float *out;
    int64_t images, in, outs, blocks, block, at_once; /* at_once: blocks of a chunk */
    int64_t width; /* of a row of a plane: an output row, and what its last taps reach beyond */
    int64_t plane, c_row, packed_row;
    int flat, relu; /* rows are multiplied together */
    conv_parts parts;
} pixels;

/* How far the last tap reaches, in steps. */
static int64_t reach_beyond(const conv_axis *a) { return (a->taps - 1) * a->gap / a->step; }

/* Of the remainders by the step, those that a tap has. */
static int used(const conv_axis *a, int64_t phase) {
    for (int64_t tap = 0; tap < a->taps; tap++)
        if (tap * a->gap % a->step == phase) return 1;
    return 0;
}

static void clear(float *to, int64_t n) {
    for (int64_t i = 0; i < n; i += VEC_LANES) vec_store(to + i, vec_zero(), n - i);
}

/* One row of a plane: to[channel][j] = from[(j step + at) in + channel], zeros where j step + at is off the image. What
 * is written beyond the row comes before the next is. */
static void turn_row(const pixels *z, const float *from, int64_t at, float *to) {
    const conv_axis *h = z->axes + 1;
    int64_t in = z->in, step = h->step, low = least(at < 0 ? ceil_div(-at, step) : 0, z->width);
    int64_t high = most(least(ceil_div(most(h->source - at, 0), step), z->width), low);
    for (int64_t j = low; j < high; j += LANES) {
        if (high - j < LANES && high - low >= LANES) j = high - LANES;
        for (int64_t c = 0; c < in; c += LANES) {
            if (in - c < LANES && in >= LANES) c = in - LANES;
            transpose_part(from + (j * step + at) * in + c, step * in, high - j, in - c, to + c * z->plane + j,
                           z->plane);
        }
    }
    if (low > 0 || high < z->width)
        for (int64_t c = 0; c < in; c++, to += z->plane) clear(to, low), clear(to + high, z->width - high);
}

/* The source rows under output rows y0 .. y1-1, as planes. */
static void turn_rows(const pixels *z, const float *image, int64_t y0, int64_t y1, float *planes) {
    const conv_axis *v = z->axes, *h = z->axes + 1;
    for (int64_t phase_y = 0; phase_y < v->step; phase_y++)
        for (int64_t phase_x = 0; phase_x < h->step; phase_x++, planes += z->in * z->plane) {
            if (!used(v, phase_y) || !used(h, phase_x)) continue;
            for (int64_t row = 0; row < y1 - y0 + reach_beyond(v); row++) {
                int64_t y = (y0 + row) * v->step + phase_y + v->first;
                if (y < 0 || y >= v->source) continue;
                turn_row(z, image + y * h->source * z->in, phase_x + h->first, planes + row * z->width);
            }
        }
}

/* The taps of a part that lie on the source for output rows of this reach. */
static int64_t segments_of(const pixels *z, int64_t part, conv_reach rows, conv_segment *list) {
    const conv_axis *v = z->axes, *h = z->axes + 1;
    int64_t k0 = part_start(&z->parts, part), k1 = part_start(&z->parts, part + 1), count = 0;
    for (int64_t tap = k0 / z->in; tap * z->in < k1; tap++) {
        int64_t y = tap / h->taps, x = tap % h->taps;
        if (y < rows.low || y >= rows.high) continue;
        y *= v->gap, x *= h->gap;
        int64_t plane = (y % v->step * h->step + x % h->step) * z->in;
        int64_t c0 = most(k0 - tap * z->in, 0), c1 = least(k1 - tap * z->in, z->in);
        list[count++] =
            (conv_segment){tap * z->in + c0, (plane + c0) * z->plane + y / v->step * z->width + x / h->step, c1 - c0};
    }
    return count;
}

/* From results [channel][pixel] to pixels of `out`, with what an epilogue adds. */
static void write_row(const pixels *z, const float *c, float *to) {
    const vec_f32 least_value = vec_set(z->relu ? 0 : -INFINITY);
    float turned[LANES * LANES] __attribute__((aligned(64)));
    int64_t outputs = z->axes[1].outputs, outs = z->outs;
    for (int64_t x = 0; x < outputs; x += LANES)
        for (int64_t k = 0; k < outs; k += LANES) {
            transpose_whole(c + k * z->c_row + x, z->c_row, turned, LANES);
            for (int64_t lane = 0; lane < LANES && k + lane < outs; lane += VEC_LANES) {
                int64_t first = k + lane, left = outs - first;
                const vec_f32 b = z->bias ? vec_load(z->bias + first, left) : vec_zero();
                for (int64_t i = 0; i < least(LANES, outputs - x); i++)
                    vec_store(to + (x + i) * outs + first,
                              vec_max(least_value, vec_add(vec_loadu(turned + i * LANES + lane), b)), left);
            }
        }
}

/* The end of what block `at` reads of the source. */
static const float *source_end(const pixels *z, int64_t at) {
    const conv_axis *v = z->axes, *h = z->axes + 1;
    int64_t y = cut(v->outputs, z->blocks, at % z->blocks + 1) - 1;
    int64_t rows = least(most(y * v->step + v->first + (v->taps - 1) * v->gap + 1, 0), v->source);
    return z->source + (at / z->blocks * v->source + rows) * h->source * z->in;
}

/* Chunk: some blocks, each a few output rows of an image. While one is multiplied its lines of the output are fetched,
 * and what the next one reads of the source. */
static void multiply_rows(void *context, int64_t chunk) {
    const pixels *z = context;
    const conv_axis *v = z->axes, *h = z->axes + 1;
    int64_t all = z->images * z->blocks, end = least((chunk + 1) * z->at_once, all), out_row = h->outputs * z->outs;
    int64_t floats = v->step * h->step * z->in * z->plane;
    float *planes = kg_scratch(KG_SCRATCH_CONV, sizeof(float) * (floats + ceil_div(z->outs, LANES) * LANES * z->c_row));
    float *c = planes + floats;
    conv_segment list[KC];
    for (int64_t at = chunk * z->at_once; at < end; at++) {
        int64_t n = at / z->blocks, y0 = cut(v->outputs, z->blocks, at % z->blocks),
                y1 = cut(v->outputs, z->blocks, at % z->blocks + 1);
        float *out = z->out + (n * v->outputs + y0) * out_row;
        turn_rows(z, z->source + n * v->source * h->source * z->in, y0, y1, planes);
        conv_ahead ahead[2] = {{source_end(z, at), at + 1 < end ? source_end(z, at + 1) : NULL, 0},
                               {out, out + (y1 - y0) * out_row, 0}};
        if (ahead[0].end == NULL) ahead[0].end = ahead[0].at;
        int64_t tiles = ceil_div(z->outs, TILE_ROWS) * ceil_div((y1 - y0) * z->width, PANEL) * v->taps * h->taps;
        UNROLL
        for (int i = 0; i < 2; i++) ahead[i].step = ceil_div(ceil_div(ahead[i].end - ahead[i].at, tiles), 16) * 16;
        for (int64_t part = 0; part < z->parts.count; part++) {
            const conv_epilogue e = {.add = part > 0};
            for (int64_t y = y0, next; y < y1; y = next) {
                const conv_reach reach = reach_of(v, y);
                for (next = y + 1; z->flat && next < y1; next++) {
                    const conv_reach other = reach_of(v, next);
                    if (other.low != reach.low || other.high != reach.high) break;
                }
                conv_operand a = {.at = z->packed, .row = z->packed_row, .col = 1, .list = list, .ahead = ahead};
                a.segments = segments_of(z, part, reach, list);
                KG_NAME(conv_gemm)(z->outs, (next - y - 1) * z->width + h->outputs, 0, &a, planes + (y - y0) * z->width,
                                   z->plane, PANEL, c + (y - y0) * z->width, z->c_row, &e);
            }
        }
        for (int64_t y = y0; y < y1; y++, out += out_row) write_row(z, c + (y - y0) * z->width, out);
    }
}

/* Chunk: an output channel. */
static void pack_channel(void *context, int64_t o) {
    const pixels *z = context;
    int64_t taps = z->axes[0].taps * z->axes[1].taps;
    float *to = (float *)z->packed + o * z->packed_row;
    const float *from = z->weight + o * z->in * taps;
    for (int64_t tap = 0; tap < taps; tap++)
        for (int64_t c = 0; c < z->in; c++) *to++ = from[c * taps + tap];
}

static pixels pixels_of(const conv_shape *s, const float *weight) {
    return (pixels){.axes = {KG_NAME(conv_forward_axis)(s, 0), KG_NAME(conv_forward_axis)(s, 1)},
                    .weight = weight,
                    .packed_row = odd_lines(s->C * s->kh * s->kw),
                    .images = s->N,
                    .in = s->C,
                    .outs = s->K,
                    .relu = s->activation == CONV_RELU};
}

static void pack(pixels *z, float *to) {
    z->packed = to;
    kg_parallel(pack_channel, z, z->outs, 1e-3 * z->in * z->axes[0].taps * z->axes[1].taps * z->outs);
}

int64_t KG_NAME(conv_pixels_kept)(const conv_shape *s) { return pixels_of(s, NULL).packed_row * s->K; }

void KG_NAME(conv_pixels_keep)(const conv_shape *s, const float *weight, float *kept) {
    pixels z = pixels_of(s, weight);
    pack(&z, kept);
}

void KG_NAME(conv_pixels_forward)(const conv_shape *s, const float *x, const float *weight, const float *kept,
                                  const float *bias, float *out) {
    pixels z = pixels_of(s, weight);
    const conv_axis *v = z.axes, *h = z.axes + 1;
    if (z.images * v->outputs * h->outputs == 0) return;
    z.source = x, z.bias = bias, z.out = out, z.parts = reduction_of(z.in, v->taps * h->taps);
    z.width = h->outputs + reach_beyond(h);
    z.flat = ceil_div(h->outputs, 16) * 16 > z.width;
    int64_t row = v->step * h->step * z.in * z.width, c_row = ceil_div(z.outs, LANES) * LANES * z.width;
    int64_t most_rows = most(1, (ROOM - row * reach_beyond(v)) / (row + c_row));
    z.blocks = least(v->outputs, most(ceil_div(v->outputs, most_rows), ceil_div(FEW_CHUNKS, z.images)));
    z.block = ceil_div(v->outputs, z.blocks);
    z.plane = odd_lines((z.block + reach_beyond(v)) * z.width + PANEL + LANES);
    z.c_row = odd_lines(z.block * z.width + PANEL);
    z.packed = kept;
    if (!kept) pack(&z, kg_scratch(KG_SCRATCH_CONV_SHARED, sizeof(float) * KG_NAME(conv_pixels_kept)(s)));
    z.at_once = most(1, least(8, z.images * z.blocks / 16));
    kg_parallel(multiply_rows, &z, ceil_div(z.images * z.blocks, z.at_once),
                2.0 * z.images * v->outputs * h->outputs * z.in * v->taps * h->taps * z.outs / CONV_GFLOPS_US);
}
