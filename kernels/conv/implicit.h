/* Products over taps, of an image or of a gradient with packed weights: what implicit.c and its companions share. */
#ifndef KG_CONV_IMPLICIT_H
#define KG_CONV_IMPLICIT_H

#include "conv/conv.h"
#include "matmul/transpose.h"

#define FEW_CHUNKS 16 /* split small problems at least this far, for the threads to share */

typedef struct {
    conv_axis axes[2];
    const float *source, *weight, *bias;
    float *packed, *out;
    int64_t groups, images, in, outs, out_h, out_w; /* in, outs: channels of one group, or of several that are merged */
    int64_t merge, own_in, own_outs;                /* how many; channels of one group */
    int64_t weight_out, weight_in, weight_group, kernel_w,
        kernel_taps; /* strides in the weight, of an output and an input channel */
    int64_t k, row, pixels, block, blocks, panels, ranges, relu;
    int64_t row_parts, pixel; /* floats of a band's pixel */
    conv_parts parts;
    int in_place, dense, edges, upright; /* A is the source as it stands; outputs are all of `out`, in order */
    int planes;                          /* the source is NCHW; then it is multiplied in bands */
} conv_product;

/* Floats of a packed row of a panel: a last one of few columns is one vector wide. */
static inline int64_t packed_row(const conv_product *z, int64_t panel) {
    return z->outs - panel * PANEL <= TRANSPOSE_BLOCK ? TRANSPOSE_BLOCK : PANEL;
}

/* Where output pixel `pixel` of this product lies in `out`. */
static inline float *output_pixel(const conv_product *z, int64_t pixel) {
    const conv_axis *v = z->axes, *h = z->axes + 1;
    int64_t x = h->out_first + pixel % h->outputs * h->out_step, row = pixel / h->outputs;
    int64_t y = v->out_first + row % v->outputs * v->out_step, n = row / v->outputs;
    return z->out + ((n * z->out_h + y) * z->out_w + x) * z->outs * z->groups;
}

static inline conv_epilogue epilogue_of(const conv_product *z, int64_t part, int64_t channel) {
    const int last = part == z->parts.count - 1;
    return (conv_epilogue){
        .bias = last && z->bias ? z->bias + channel : NULL, .add = part > 0, .relu = last && z->relu, .far = part == 0};
}

/* The runs of a part that are left of taps v x h; `row`, `pixel`: floats from tap to tap of A. */
static inline int64_t product_segments(const conv_product *z, int64_t part, conv_reach v, conv_reach h, int64_t row,
                                       int64_t pixel, int64_t b_row, conv_segment *list) {
    int64_t k0 = part_start(&z->parts, part), k1 = part_start(&z->parts, part + 1), across = z->axes[1].taps, count = 0;
    for (int64_t tap = k0 / z->in; tap * z->in < k1; tap++) {
        int64_t ty = tap / across, tx = tap % across;
        if (ty < v.low || ty >= v.high || tx < h.low || tx >= h.high) continue;
        int64_t c0 = most(k0 - tap * z->in, 0), c1 = least(k1 - tap * z->in, z->in);
        conv_segment s = {ty * row + tx * pixel + c0, (tap * z->in + c0) * b_row, c1 - c0}, *last = list + count - 1;
        if (count > 0 && last->a + last->k == s.a && last->b + last->k * b_row == s.b)
            last->k += s.k;
        else
            list[count++] = s;
    }
    return count;
}

static inline int64_t packed_floats(conv_product *z) {
    z->panels = ceil_div(z->outs, PANEL), z->k = z->axes[0].taps * z->axes[1].taps * z->in;
    return z->groups * z->panels * z->k * PANEL;
}

/* implicit_pack.c: the weights of `count` products to `to`, or to the memory that they share. */
void KG_NAME(conv_pack_products)(conv_product *of, int64_t count, float *to);

/* listed.c: narrow groups. */
int KG_NAME(conv_listed_fits)(const conv_product *z);
void KG_NAME(conv_listed)(conv_product *z);

#endif
