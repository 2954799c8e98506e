/* Implicit GEMM, any shape: rows are output pixels, columns output channels, and the reduction runs over taps and
 * channels. A chunk gathers the source pixels of a block of outputs into rows, at most KC values at a time, and
 * multiplies them with packed weights. Where the reduction is short, gathering would cost too much: see multiply_band.
 * Backward data of stride s is s*s dense products, one per phase of the grad_x pixels: each uses the taps that reach
 * it. */
#include "conv/conv.h"

#define KC 384        /* part of the reduction done at a time; sums of parts are added in order, so KC decides bits */
#define BLOCK 49152   /* floats of gathered rows: a fifth of L2 */
#define BAND 24576    /* floats of a band of rows */
#define FEW_CHUNKS 16 /* split small problems at least this far, for the threads to share */

typedef struct {
    conv_axis axes[2];
    const float *source, *weight, *bias;
    float *packed, *out;
    int64_t groups, images, in, outs, out_h, out_w; /* in, outs: channels of one group, or of several that are merged */
    int64_t merge, own_in, own_outs;                /* how many; channels of one group */
    int64_t weight_out, weight_in, weight_group,
        kernel_w; /* strides in the weight, of an output and an input channel */
    int64_t k, kc, row, pixels, block, blocks, panels, ranges, relu;
    int in_place, dense; /* A is the source as it stands; outputs are all of `out`, in order */
} product;

/* packed[group][panel][k][PANEL], k = (tap_y, tap_x, in), zeros beyond outs. Chunk: one panel and 16 input channels. */
static void pack_weights(void *context, int64_t chunk) {
    const product *z = context;
    const conv_axis *v = z->axes, *h = z->axes + 1;
    int64_t parts = ceil_div(z->in, 16), first = chunk % parts * 16, panel = chunk / parts % z->panels,
            group = chunk / parts / z->panels;
    float *to = z->packed + (group * z->panels + panel) * z->k * PANEL;
    for (int64_t i = first; i < least(first + 16, z->in); i++) {
        /* the group that input i is of, and the lanes that are outputs of the same */
        int64_t own = i / z->own_in, lane0 = own * z->own_outs - panel * PANEL;
        int64_t low = least(most(lane0, 0), PANEL), high = most(least(lane0 + z->own_outs, PANEL), low);
        const float *w = z->weight + (group * z->merge + own) * z->weight_group - lane0 * z->weight_out +
                         (i - own * z->own_in) * z->weight_in;
        for (int64_t ty = 0; ty < v->taps; ty++)
            for (int64_t tx = 0; tx < h->taps; tx++) {
                int64_t tap =
                    (v->kernel_first + ty * v->kernel_gap) * z->kernel_w + h->kernel_first + tx * h->kernel_gap;
                const float *from = w + tap;
                float *row = to + ((ty * h->taps + tx) * z->in + i) * PANEL;
                for (int64_t lane = low; lane < high; lane++) row[lane] = from[lane * z->weight_out];
                for (int64_t lane = 0; lane < low; lane++) row[lane] = 0;
                for (int64_t lane = high; lane < PANEL; lane++) row[lane] = 0;
            }
    }
}

/* Where output pixel `pixel` of this product lies in `out`. */
static float *output_pixel(const product *z, int64_t pixel) {
    const conv_axis *v = z->axes, *h = z->axes + 1;
    int64_t x = h->out_first + pixel % h->outputs * h->out_step, row = pixel / h->outputs;
    int64_t y = v->out_first + row % v->outputs * v->out_step, n = row / v->outputs;
    return z->out + ((n * z->out_h + y) * z->out_w + x) * z->outs * z->groups;
}

/* Chunk: a block of pixels, a range of panels, a group. */
static void multiply(void *context, int64_t chunk) {
    const product *z = context;
    int64_t block = chunk % z->blocks, range = chunk / z->blocks % z->ranges, group = chunk / z->blocks / z->ranges;
    int64_t pixel0 = cut(z->pixels, z->blocks, block), pixel1 = cut(z->pixels, z->blocks, block + 1);
    int64_t panel0 = cut(z->panels, z->ranges, range), panel1 = cut(z->panels, z->ranges, range + 1);
    int64_t first = panel0 * PANEL, n = least(panel1 * PANEL, z->outs) - first, stride = z->in * z->groups;
    float *rows = kg_scratch(KG_SCRATCH_CONV, sizeof(float) * (z->block * (z->row + n) + VEC_LANES));
    int64_t channel = group * z->outs + first, c_row = z->dense ? z->outs * z->groups : n;
    float *c = z->dense ? output_pixel(z, pixel0) + channel : rows + z->block * z->row;
    const float *bias = z->bias ? z->bias + channel : NULL, *source = z->source + group * z->in;
    for (int64_t k0 = 0, k1; k0 < z->k; k0 = k1) {
        k1 = least(k0 + z->kc, z->k);
        conv_operand a = {source + pixel0 * stride + k0, stride, 1, 1, 0};
        if (!z->in_place) {
            KG_NAME(conv_gather)(z->axes, source, stride, z->in, pixel0, pixel1, k0, k1, rows, z->row);
            a.at = rows, a.row = z->row;
        }
        conv_epilogue e = {k1 == z->k ? bias : NULL, k0 > 0, z->relu && k1 == z->k};
        const float *b = z->packed + ((group * z->panels + panel0) * z->k + k0) * PANEL;
        KG_NAME(conv_gemm)(pixel1 - pixel0, n, k1 - k0, &a, b, PANEL, z->k * PANEL, c, c_row, &e);
    }
    if (z->dense) return;
    for (int64_t pixel = pixel0; pixel < pixel1; pixel++, c += c_row)
        memcpy(output_pixel(z, pixel) + channel, c, n * sizeof *c);
}

/* Chunk: a band of output rows of one image and group. Taps and channels of a row lie
 * side by side in the band, so it is the left operand as it stands; each output row is a product of its own. */
static void multiply_band(void *context, int64_t chunk) {
    const product *z = context;
    const conv_axis *v = z->axes, *h = z->axes + 1;
    int64_t block = chunk % z->blocks, group = chunk / z->blocks % z->groups, n = chunk / z->blocks / z->groups;
    int64_t y0 = cut(v->outputs, z->blocks, block), y1 = cut(v->outputs, z->blocks, block + 1),
            stride = z->in * z->groups;
    float *room =
        kg_scratch(KG_SCRATCH_CONV, sizeof(float) * KG_NAME(conv_band_floats)(z->axes, stride, z->in, z->block));
    const float *image = z->source + n * v->source * h->source * stride + group * z->in;
    conv_band band = KG_NAME(conv_make_band)(z->axes, image, stride, z->in, y0, y1, room);
    int64_t k = h->taps * z->in, parts = ceil_div(v->taps, KC / k);
    for (int64_t panel = 0; panel < z->panels; panel++)
        for (int64_t part = 0; part < parts; part++) {
            int64_t t0 = cut(v->taps, parts, part), t1 = cut(v->taps, parts, part + 1),
                    channel = group * z->outs + panel * PANEL;
            const int last = part == parts - 1;
            conv_epilogue e = {last && z->bias ? z->bias + channel : NULL, part > 0, last && z->relu};
            const float *b = z->packed + ((group * z->panels + panel) * z->k + t0 * k) * PANEL;
            for (int64_t y = y0; y < y1; y++) {
                const float *first = band.at + ((y - y0) * v->step + t0 * v->gap) * band.row;
                conv_operand a = {first, h->step * z->in, 1, t1 - t0, v->gap * band.row};
                KG_NAME(conv_gemm)(h->outputs, least(PANEL, z->outs - panel * PANEL), k, &a, b, PANEL, 0,
                                   output_pixel(z, (n * v->outputs + y) * h->outputs) + channel,
                                   h->out_step * z->outs * z->groups, &e);
            }
        }
}

/* Pixels that no tap reaches. Chunk: an output row. */
static void fill_row(void *context, int64_t chunk) {
    const product *z = context;
    const conv_axis *h = z->axes + 1;
    int64_t channels = z->outs * z->groups;
    float *to = output_pixel(z, chunk * h->outputs);
    for (int64_t x = 0; x < h->outputs; x++, to += h->out_step * channels)
        for (int64_t c = 0; c < channels; c++) to[c] = z->bias ? z->bias[c] : 0;
}

static void run(product *z) {
    const conv_axis *v = z->axes, *h = z->axes + 1;
    z->pixels = z->images * v->outputs * h->outputs, z->k = v->taps * h->taps * z->in;
    if (z->pixels == 0) return;
    if (z->k == 0) {
        kg_parallel(fill_row, z, z->images * v->outputs, 1e-4 * z->pixels * z->outs * z->groups);
        return;
    }
    z->kc = ceil_div(ceil_div(z->k, ceil_div(z->k, KC)), 16) * 16;
    z->row = odd_lines(least(z->k, z->kc) + VEC_LANES - 1);
    z->panels = ceil_div(z->outs, PANEL);
    z->dense = v->out_step == 1 && h->out_step == 1;
    z->in_place = z->dense && v->taps == 1 && h->taps == 1 && v->step == 1 && h->step == 1 && v->first == 0 &&
                  h->first == 0 && v->source == v->outputs && h->source == h->outputs &&
                  (z->in * z->groups % 512 != 0 || z->outs <= PANEL); /* at 2048 bytes rows would meet in L1 */
    const int band = h->taps * z->in <= KC && h->gap == 1 && h->outputs >= 6 && !z->in_place;
    if (band) {
        int64_t row = v->step * ((h->outputs - 1) * h->step + h->taps) * z->in; /* floats that an output row adds */
        z->blocks =
            least(v->outputs, most(ceil_div(v->outputs * row, BAND), ceil_div(FEW_CHUNKS, z->images * z->groups)));
        z->block = ceil_div(v->outputs, z->blocks);
    } else {
        int64_t limit = most(14, least(168, BLOCK / z->row));
        z->blocks = most(ceil_div(z->pixels, limit), least(ceil_div(FEW_CHUNKS, z->groups), ceil_div(z->pixels, 14)));
        z->block = ceil_div(z->pixels, z->blocks);
        z->ranges = least(z->panels, ceil_div(FEW_CHUNKS / 2, z->blocks * z->groups));
    }
    double us = 2.0 * z->pixels * z->k * z->outs * z->groups / CONV_GFLOPS_US;
    z->packed = kg_scratch(KG_SCRATCH_CONV_SHARED, sizeof(float) * z->groups * z->panels * z->k * PANEL);
    kg_parallel(pack_weights, z, z->groups * z->panels * ceil_div(z->in, 16), 1e-3 * z->k * z->outs * z->groups);
    if (band)
        kg_parallel(multiply_band, z, z->images * z->groups * z->blocks, us);
    else
        kg_parallel(multiply, z, z->groups * z->blocks * z->ranges, us);
}

void KG_NAME(conv_implicit_forward)(const conv_shape *s, const float *x, const float *weight, const float *bias,
                                    float *out) {
    int64_t taps = s->kh * s->kw, in = s->C / s->groups, outs = s->K / s->groups, merge = merged_groups(s);
    run(&(product){.axes = {KG_NAME(conv_forward_axis)(s, 0), KG_NAME(conv_forward_axis)(s, 1)},
                   .source = x,
                   .weight = weight,
                   .bias = bias,
                   .out = out,
                   .groups = s->groups / merge,
                   .images = s->N,
                   .in = in * merge,
                   .outs = outs * merge,
                   .merge = merge,
                   .own_in = in,
                   .own_outs = outs,
                   .out_h = s->OH,
                   .out_w = s->OW,
                   .weight_out = in * taps,
                   .weight_in = taps,
                   .weight_group = outs * in * taps,
                   .kernel_w = s->kw,
                   .relu = s->activation == CONV_RELU});
}

void KG_NAME(conv_implicit_data)(const conv_shape *s, const float *grad_out, const float *weight, const float *bias,
                                 float *grad_x) {
    int64_t taps = s->kh * s->kw, in = s->K / s->groups, outs = s->C / s->groups, merge = merged_groups(s);
    for (int64_t y = 0; y < s->stride[0]; y++)
        for (int64_t x = 0; x < s->stride[1]; x++)
            run(&(product){.axes = {KG_NAME(conv_phase_axis)(s, 0, y), KG_NAME(conv_phase_axis)(s, 1, x)},
                           .source = grad_out,
                           .weight = weight,
                           .bias = bias,
                           .out = grad_x,
                           .groups = s->groups / merge,
                           .images = s->N,
                           .in = in * merge,
                           .outs = outs * merge,
                           .merge = merge,
                           .own_in = in,
                           .own_outs = outs,
                           .out_h = s->H,
                           .out_w = s->W,
                           .weight_out = taps,
                           .weight_in = outs * taps,
                           .weight_group = in * outs * taps,
                           .kernel_w = s->kw});
}
