/* Backward weight, any shape: grad_weight[(tap, c), k] = sum over pixels of x[pixel under the tap, c] grad_out[pixel,
 * k], a GEMM whose reduction runs over pixels. The pixels are cut into slices and the (tap, c) rows into ranges, both
 * by sizes alone. A chunk, one slice and one range, adds up blocks of pixels in order; at the end slices are summed in
 * order into OIHW. */
#include "conv/conv.h"

#define SLICES 8
#define FEW_CHUNKS 16
#define BLOCK 65536           /* floats of gathered rows: a quarter of L2 */
#define PARTIAL_BYTES 8388608 /* of all slices together; beyond, ranges take the place of slices */

typedef struct {
    conv_axis axes[2];
    const float *x, *grad_out;
    float *partial, *grad_weight; /* partial[slice][group][(tap, c)][ldc] */
    int64_t images, groups, merge, in, outs, k, pixels, slices, ranges, range, block, ldc, taps;
} gradient;

/* grad_out of pixels p0 .. p1-1 in panels, zeros beyond the last channel. */
static void pack_panels(const gradient *z, int64_t group, int64_t p0, int64_t p1, float *packed) {
    for (int64_t p = p0; p < p1; p++) {
        const float *from = z->grad_out + (p * z->groups + group) * z->outs;
        for (int64_t j = 0; j < z->outs; j += VEC_LANES)
            vec_storeu(packed + (j / PANEL * (p1 - p0) + p - p0) * PANEL + j % PANEL, vec_load(from + j, z->outs - j));
    }
}

static void slice_gradient(void *context, int64_t chunk) {
    const gradient *z = context;
    int64_t range = chunk % z->ranges, group = chunk / z->ranges % z->groups, slice = chunk / z->ranges / z->groups;
    int64_t k0 = range * z->range, k1 = least(k0 + z->range, z->k), row = odd_lines(z->range + VEC_LANES - 1);
    int64_t end = cut(z->pixels, z->slices, slice + 1), panels = ceil_div(z->outs, PANEL);
    float *rows = kg_scratch(KG_SCRATCH_CONV, sizeof(float) * (z->block * (row + panels * PANEL) + VEC_LANES));
    float *packed = rows + z->block * row, *to = z->partial + ((slice * z->groups + group) * z->k + k0) * z->ldc;
    conv_epilogue e = {0};
    for (int64_t p0 = cut(z->pixels, z->slices, slice), p1; p0 < end; p0 = p1, e.add = 1) {
        p1 = least(p0 + z->block, end);
        KG_NAME(conv_gather)(z->axes, z->x + group * z->in, z->groups * z->in, z->in, p0, p1, k0, k1, rows, row);
        pack_panels(z, group, p0, p1, packed);
        conv_operand a = {rows, 1, row, 1, 0};
        KG_NAME(conv_gemm)(k1 - k0, z->outs, p1 - p0, &a, packed, PANEL, (p1 - p0) * PANEL, to, z->ldc, &e);
    }
}

/* The same without gathering, for enough slices to go round: chunk, a slice of the output rows of all images, and a
 * group. A band of padded rows is the left operand as it stands, one product for each row of taps. */
static void slice_gradient_band(void *context, int64_t chunk) {
    const gradient *z = context;
    const conv_axis *v = z->axes, *h = z->axes + 1;
    int64_t slice = chunk / z->groups, group = chunk % z->groups, stride = z->in * z->groups, k = h->taps * z->in;
    int64_t row = cut(v->outputs * z->images, z->slices, slice),
            end = cut(v->outputs * z->images, z->slices, slice + 1);
    int64_t room = KG_NAME(conv_band_floats)(z->axes, stride, z->in, z->block), panels = ceil_div(z->outs, PANEL);
    const int in_place = z->outs % VEC_LANES == 0;
    float *band_room = kg_scratch(KG_SCRATCH_CONV, sizeof(float) * (room + z->block * h->outputs * panels * PANEL));
    float *packed = band_room + room;
    conv_epilogue e = {0};
    for (int64_t rows; row < end; row += rows, e.add = 1) {
        int64_t n = row / v->outputs, y = row % v->outputs;
        rows = least(least(z->block, end - row), v->outputs - y);
        const float *image = z->x + n * v->source * h->source * stride + group * z->in;
        conv_band band = KG_NAME(conv_make_band)(z->axes, image, stride, z->in, y, y + rows, band_room);
        const float *b = z->grad_out + (row * h->outputs * z->groups + group) * z->outs;
        int64_t pixels = rows * h->outputs;
        if (!in_place) pack_panels(z, group, row * h->outputs, row * h->outputs + pixels, packed), b = packed;
        for (int64_t tap = 0; tap < v->taps; tap++) {
            conv_operand a = {band.at + tap * v->gap * band.row, 1, h->step * z->in, rows, v->step * band.row};
            KG_NAME(conv_gemm)(k, z->outs, h->outputs, &a, b, in_place ? z->outs * z->groups : PANEL,
                               in_place ? PANEL : pixels * PANEL,
                               z->partial + ((slice * z->groups + group) * z->k + tap * k) * z->ldc, z->ldc, &e);
        }
    }
}

/* Chunk: one output channel; of merged groups the diagonal. */
static void finish(void *context, int64_t chunk) {
    const gradient *z = context;
    int64_t group = chunk / z->outs, o = chunk % z->outs, slice = z->groups * z->k * z->ldc, in = z->in / z->merge;
    const float *from = z->partial + (group * z->k + o / (z->outs / z->merge) * in) * z->ldc + o;
    float *to = z->grad_weight + chunk * in * z->taps;
    for (int64_t tap = 0; tap < z->taps; tap++, from += (z->in - in) * z->ldc)
        for (int64_t c = 0; c < in; c++, from += z->ldc) {
            float sum = *from;
            for (int64_t i = 1; i < z->slices; i++) sum += from[i * slice];
            to[c * z->taps + tap] = sum;
        }
}

void KG_NAME(conv_implicit_weight)(const conv_shape *s, const float *x, const float *grad_out, float *grad_weight) {
    int64_t merge = merged_groups(s), groups = s->groups / merge;
    gradient z = {.axes = {KG_NAME(conv_forward_axis)(s, 0), KG_NAME(conv_forward_axis)(s, 1)},
                  .x = x,
                  .grad_out = grad_out,
                  .grad_weight = grad_weight,
                  .images = s->N,
                  .groups = groups,
                  .merge = merge,
                  .in = s->C / groups,
                  .outs = s->K / groups,
                  .pixels = s->N * s->OH * s->OW,
                  .taps = s->kh * s->kw};
    z.k = z.taps * z.in, z.ldc = odd_lines(z.outs);
    int64_t bytes = z.groups * z.k * z.ldc * 4;
    if (z.pixels == 0 || bytes == 0) {
        memset(grad_weight, 0, sizeof(float) * s->K * z.k / merge);
        return;
    }
    z.slices = most(1, least(SLICES, least(PARTIAL_BYTES / bytes, z.pixels / 128)));
    double us = 2.0 * z.pixels * z.k * z.outs * z.groups / CONV_GFLOPS_US;
    const int band =
        s->dilation[1] == 1 && s->OW >= 8 && s->C % 512 != 0 && z.slices >= SLICES / 2 && s->N * s->OH >= z.slices;
    if (band) {
        z.block = least(s->OH, ceil_div(256, s->OW));
        z.partial = kg_scratch(KG_SCRATCH_CONV_SHARED, bytes * z.slices);
        kg_parallel(slice_gradient_band, &z, z.slices * z.groups, us);
        kg_parallel(finish, &z, s->K, 1e-3 * z.slices * s->K * z.k);
        return;
    }
    /* A range so wide that the gathered rows of 64 pixels fit; more of them if the chunks are few. */
    int64_t ranges = most(ceil_div(z.k, BLOCK / 64), least(ceil_div(FEW_CHUNKS, z.slices * z.groups), z.k / 64));
    z.range = ceil_div(ceil_div(z.k, ranges ? ranges : 1), 16) * 16, z.ranges = ceil_div(z.k, z.range);
    z.block = most(64, least(256, BLOCK / odd_lines(z.range + 15)));
    z.partial = kg_scratch(KG_SCRATCH_CONV_SHARED, bytes * z.slices);
    kg_parallel(slice_gradient, &z, z.slices * z.groups * z.ranges, us);
    kg_parallel(finish, &z, s->K, 1e-3 * z.slices * s->K * z.k);
}

/* ---- grad_bias[c] = sum over pixels of grad_out[pixel, c]: parts by sizes alone, in each runs of 64 pixels by fours,
 * in order ---- */

#define PARTS 16

typedef struct {
    const float *grad_out;
    float *partial;
    int64_t pixels, channels, parts;
} bias_sum;

static void bias_part(void *context, int64_t part) {
    const bias_sum *z = context;
    int64_t first = cut(z->pixels, z->parts, part), end = cut(z->pixels, z->parts, part + 1), channels = z->channels;
    for (int64_t c = 0; c < channels; c += VEC_LANES) {
        vec_f32 total = vec_zero();
        int64_t left = channels - c;
        for (int64_t p0 = first; p0 < end; p0 += 64) {
            vec_f32 sum[4];
            int64_t p = p0, p1 = least(p0 + 64, end);
            const float *from = z->grad_out + p0 * channels + c;
            UNROLL
            for (int i = 0; i < 4; i++) sum[i] = vec_zero();
            for (; p + 4 <= p1; p += 4, from += 4 * channels) UNROLL
            for (int i = 0; i < 4; i++) sum[i] = vec_add(sum[i], vec_load(from + i * channels, left));
            for (; p < p1; p++, from += channels) sum[0] = vec_add(sum[0], vec_load(from, left));
            total = vec_add(total, vec_add(vec_add(sum[0], sum[1]), vec_add(sum[2], sum[3])));
        }
        vec_store(z->partial + part * channels + c, total, left);
    }
}

void KG_NAME(conv_bias_gradient)(const float *grad_out, int64_t pixels, int64_t channels, float *grad_bias) {
    bias_sum z = {grad_out, NULL, pixels, channels, most(1, least(PARTS, pixels / 128))};
    z.partial = kg_scratch(KG_SCRATCH_CONV_SHARED, sizeof(float) * z.parts * channels);
    kg_parallel(bias_part, &z, z.parts, 1e-4 * pixels * channels);
    for (int64_t c = 0; c < channels; c++) {
        float sum = z.partial[c];
        for (int64_t part = 1; part < z.parts; part++) sum += z.partial[part * channels + c];
        grad_bias[c] = sum;
    }
}
