/* Depthwise convolution, one channel in and out per group: lanes are channels. Forward and each phase of backward data
 * are the same loop over an output row; the weights are laid out [tap][channel] first. Off-image taps are left out,
 * which splits a row into edges and inside. */
#include "conv/conv.h"

#define SLICES 16  /* of the output rows, for backward weight */
#define BAND 65536 /* floats of a band of rows: a quarter of L2 */

typedef struct {
    conv_axis axes[2];
    const float *source, *bias;
    float *packed, *out; /* packed[tap_y kw + tap_x][channel] */
    int64_t channels, out_h, out_w, kernel_w, relu;
} depthwise;

static void pack_taps(const float *weight, int64_t taps, int64_t channels, float *packed) {
    for (int64_t c = 0; c < channels; c++)
        for (int64_t tap = 0; tap < taps; tap++) packed[tap * channels + c] = weight[c * taps + tap];
}

/* Outputs from .. to-1 for which tap `tap` of the axis lies on the source. */
static void reached(const conv_axis *a, int64_t tap, int64_t *from, int64_t *to) {
    int64_t at = a->first + tap * a->gap; /* of output 0 */
    *from = at >= 0 ? 0 : ceil_div(-at, a->step);
    *to = at >= a->source ? 0 : least(a->outputs, ceil_div(a->source - at, a->step));
    *to = most(*to, *from);
}

/* PIXELS neighbouring outputs, VEC_LANES channels (`left` of them real), given taps. */
VEC_INLINE void outputs(int pixels, const float *source, int64_t next, int64_t row, int64_t gap, const float *w,
                        int64_t w_row, int64_t w_gap, int64_t rows, int64_t columns, const float *bias, int64_t relu,
                        float *out, int64_t out_next, int64_t left) {
    vec_f32 acc[4];
    UNROLL
    for (int i = 0; i < pixels; i++) acc[i] = vec_zero();
    for (int64_t y = 0; y < rows; y++, source += row, w += w_row)
        for (int64_t x = 0; x < columns; x++) {
            vec_f32 tap = vec_load(w + x * w_gap, left);
            UNROLL
            for (int i = 0; i < pixels; i++) acc[i] = vec_fma(vec_load(source + x * gap + i * next, left), tap, acc[i]);
        }
    UNROLL
    for (int i = 0; i < pixels; i++) {
        vec_f32 v = bias ? vec_add(acc[i], vec_load(bias, left)) : acc[i];
        vec_store(out + i * out_next, relu ? vec_max(vec_zero(), v) : v, left);
    }
}

/* Chunk: an output row. */
static void depthwise_row(void *context, int64_t chunk) {
    const depthwise *z = context;
    const conv_axis *v = z->axes, *h = z->axes + 1;
    int64_t n = chunk / v->outputs, y = chunk % v->outputs, C = z->channels, sy = y * v->step + v->first;
    /* tap rows t0 .. t1-1 lie on the image; outputs x0 .. x1-1 have all their taps on it */
    int64_t t0 = 0, t1 = v->taps, x0, x1, unused;
    while (t0 < t1 && sy + t0 * v->gap < 0) t0++;
    while (t1 > t0 && sy + (t1 - 1) * v->gap >= v->source) t1--;
    reached(h, 0, &x0, &unused), reached(h, most(h->taps - 1, 0), &unused, &x1);
    x1 = most(x1, x0);
    const float *line = z->source + (n * v->source + sy + t0 * v->gap) * h->source * C;
    const float *w = z->packed + (v->kernel_first + t0 * v->kernel_gap) * z->kernel_w * C + h->kernel_first * C;
    float *out = z->out + ((n * z->out_h + v->out_first + y * v->out_step) * z->out_w + h->out_first) * C;
    int64_t row = v->gap * h->source * C, gap = h->gap * C, next = h->step * C, w_row = v->kernel_gap * z->kernel_w * C,
            w_gap = h->kernel_gap * C, out_next = h->out_step * C;
    for (int64_t x = 0, count; x < h->outputs; x += count) {
        int64_t sx = x * h->step + h->first, s0 = 0, s1 = h->taps;
        count = x >= x0 && x + 4 <= x1 ? 4 : 1;
        while (s0 < s1 && sx + s0 * h->gap < 0) s0++;
        while (s1 > s0 && sx + (s1 - 1) * h->gap >= h->source) s1--;
        for (int64_t c = 0; c < C; c += VEC_LANES) {
            const float *source = line + (sx + s0 * h->gap) * C + c, *taps = w + c + s0 * w_gap,
                        *bias = z->bias ? z->bias + c : NULL;
            float *to = out + x * out_next + c;
            int64_t left = C - c;
            if (count == 1)
                outputs(1, source, next, row, gap, taps, w_row, w_gap, t1 - t0, s1 - s0, bias, z->relu, to, out_next,
                        left);
            else if (left >= VEC_LANES && h->taps == 3)
                outputs(4, source, next, row, gap, taps, w_row, w_gap, t1 - t0, 3, bias, z->relu, to, out_next,
                        VEC_LANES);
            else
                outputs(4, source, next, row, gap, taps, w_row, w_gap, t1 - t0, s1 - s0, bias, z->relu, to, out_next,
                        left);
        }
    }
}

static void run(const conv_shape *s, depthwise *z) {
    int64_t taps = z->axes[0].taps * z->axes[1].taps;
    double elements = (double)s->N * z->axes[0].outputs * z->axes[1].outputs * z->channels;
    kg_parallel(depthwise_row, z, s->N * z->axes[0].outputs, 1e-4 * elements * (1 + .1 * taps));
}

void KG_NAME(conv_depthwise_forward)(const conv_shape *s, const float *x, const float *weight, const float *bias,
                                     float *out) {
    depthwise z = {.axes = {KG_NAME(conv_forward_axis)(s, 0), KG_NAME(conv_forward_axis)(s, 1)},
                   .source = x,
                   .bias = bias,
                   .out = out,
                   .channels = s->C,
                   .out_h = s->OH,
                   .out_w = s->OW,
                   .kernel_w = s->kw,
                   .relu = s->activation == CONV_RELU};
    z.packed = kg_scratch(KG_SCRATCH_CONV_SHARED, sizeof(float) * s->kh * s->kw * s->C);
    pack_taps(weight, s->kh * s->kw, s->C, z.packed);
    run(s, &z);
}

void KG_NAME(conv_depthwise_data)(const conv_shape *s, const float *grad_out, const float *weight, const float *bias,
                                  float *grad_x) {
    depthwise z = {.source = grad_out,
                   .bias = bias,
                   .out = grad_x,
                   .channels = s->C,
                   .out_h = s->H,
                   .out_w = s->W,
                   .kernel_w = s->kw};
    z.packed = kg_scratch(KG_SCRATCH_CONV_SHARED, sizeof(float) * s->kh * s->kw * s->C);
    pack_taps(weight, s->kh * s->kw, s->C, z.packed);
    for (int64_t y = 0; y < s->stride[0]; y++)
        for (int64_t x = 0; x < s->stride[1]; x++) {
            z.axes[0] = KG_NAME(conv_phase_axis)(s, 0, y), z.axes[1] = KG_NAME(conv_phase_axis)(s, 1, x);
            run(s, &z);
        }
}

/* ---- grad_weight[c, tap] = sum over pixels of x[pixel under the tap, c] grad_out[pixel, c], from bands of padded rows
 * ---- */

typedef struct {
    conv_axis axes[2];
    const float *x, *grad_out;
    float *partial;                         /* [slice][tap][channel] */
    int64_t images, channels, slices, rows; /* rows: of a band at most */
} depthwise_gradient;

/* Sums over the outputs of a band for `taps` neighbouring taps and `vecs` vectors of channels, added to
 * to[tap][channel]. */
VEC_INLINE void add_band(int taps, int vecs, const conv_axis *h, const float *x, int64_t x_row, const float *g,
                         int64_t C, int64_t rows, float *to, int64_t left) {
    vec_f32 acc[3][4];
    int64_t next = h->step * C, gap = h->gap * C;
    UNROLL
    for (int t = 0; t < taps; t++) UNROLL
    for (int j = 0; j < vecs; j++) acc[t][j] = vec_zero();
    for (int64_t row = 0; row < rows; row++, x += x_row) {
        const float *p = x;
        for (int64_t i = 0; i < h->outputs; i++, p += next, g += C) UNROLL
        for (int j = 0; j < vecs; j++) {
            vec_f32 v = vec_load(g + j * VEC_LANES, left);
            UNROLL
            for (int t = 0; t < taps; t++)
                acc[t][j] = vec_fma(vec_load(p + t * gap + j * VEC_LANES, left), v, acc[t][j]);
        }
    }
    UNROLL
    for (int t = 0; t < taps; t++) UNROLL
    for (int j = 0; j < vecs; j++) {
        float *sum = to + t * C + j * VEC_LANES;
        vec_store(sum, vec_add(vec_load(sum, left), acc[t][j]), left);
    }
}

/* Chunk: a slice of the output rows of all images. */
static void gradient_rows(void *context, int64_t slice) {
    const depthwise_gradient *z = context;
    const conv_axis *v = z->axes, *h = z->axes + 1;
    int64_t C = z->channels, all = v->outputs * z->images, end = cut(all, z->slices, slice + 1);
    float *partial = memset(z->partial + slice * v->taps * h->taps * C, 0, sizeof(float) * v->taps * h->taps * C);
    float *room = kg_scratch(KG_SCRATCH_CONV, sizeof(float) * KG_NAME(conv_band_floats)(z->axes, C, C, z->rows));
    for (int64_t row = cut(all, z->slices, slice), rows; row < end; row += rows) {
        int64_t n = row / v->outputs, y = row % v->outputs;
        rows = least(least(z->rows, end - row), v->outputs - y);
        conv_band band =
            KG_NAME(conv_make_band)(z->axes, z->x + n * v->source * h->source * C, C, C, y, y + rows, room);
        for (int64_t c = 0, width; c < C; c += width) {
            const float *g = z->grad_out + row * h->outputs * C + c;
            width = c + 4 * VEC_LANES <= C ? 4 * VEC_LANES : VEC_LANES;
            for (int64_t ty = 0; ty < v->taps; ty++)
                for (int64_t tx = 0, taps; tx < h->taps; tx += taps) {
                    const float *x = band.at + ty * v->gap * band.row + tx * h->gap * C + c;
                    float *to = partial + (ty * h->taps + tx) * C + c;
                    int64_t x_row = v->step * band.row;
                    taps = h->taps - tx >= 3 ? 3 : 1;
                    if (taps == 3 && width > VEC_LANES)
                        add_band(3, 4, h, x, x_row, g, C, rows, to, VEC_LANES);
                    else if (taps == 3)
                        add_band(3, 1, h, x, x_row, g, C, rows, to, C - c);
                    else if (width > VEC_LANES)
                        add_band(1, 4, h, x, x_row, g, C, rows, to, VEC_LANES);
                    else
                        add_band(1, 1, h, x, x_row, g, C, rows, to, C - c);
                }
        }
    }
}

void KG_NAME(conv_depthwise_weight)(const conv_shape *s, const float *x, const float *grad_out, float *grad_weight) {
    depthwise_gradient z = {.axes = {KG_NAME(conv_forward_axis)(s, 0), KG_NAME(conv_forward_axis)(s, 1)},
                            .x = x,
                            .grad_out = grad_out,
                            .images = s->N,
                            .channels = s->C,
                            .slices = most(1, least(SLICES, s->N * s->OH))};
    int64_t taps = s->kh * s->kw, size = taps * s->C;
    z.rows = most(1, least(s->OH, BAND / (s->OW * s->stride[1] * s->stride[0] * s->C)));
    z.partial = kg_scratch(KG_SCRATCH_CONV_SHARED, sizeof(float) * z.slices * size);
    kg_parallel(gradient_rows, &z, z.slices, 1e-4 * s->N * s->OH * s->OW * s->C * (1 + .1 * taps));
    for (int64_t c = 0; c < s->C; c++)
        for (int64_t tap = 0; tap < taps; tap++) {
            float sum = 0;
            for (int64_t slice = 0; slice < z.slices; slice++) sum += z.partial[slice * size + tap * s->C + c];
            grad_weight[c * taps + tap] = sum;
        }
}
