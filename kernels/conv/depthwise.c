/* Depthwise convolution, one channel in and out per group: lanes are channels. Forward and each phase of backward data
 * are the same loop over an output row; the weights are laid out [tap][channel] first. Off-image taps are left out,
 * which splits a row into edges and inside. */
#include "conv/conv.h"

#define SLICES 16 /* of the output rows, for backward weight */

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

/* ---- grad_weight[c, tap] = sum over pixels of x[pixel under the tap, c] grad_out[pixel, c]: per output row, rows in
 * order ---- */

typedef struct {
    conv_axis axes[2];
    const float *x, *grad_out;
    float *partial; /* [slice][tap][channel] */
    int64_t images, channels, slices;
} depthwise_gradient;

/* Sums over outputs x0 .. x1-1 for `taps` neighbouring taps of a row, added to to[tap][channel]. */
VEC_INLINE void add_row(int taps, const float *x, int64_t next, int64_t gap, const float *g, int64_t C, int64_t count,
                        float *to, int64_t left) {
    vec_f32 acc[3];
    UNROLL
    for (int t = 0; t < taps; t++) acc[t] = vec_zero();
    for (int64_t i = 0; i < count; i++, x += next, g += C) {
        vec_f32 v = vec_load(g, left);
        UNROLL
        for (int t = 0; t < taps; t++) acc[t] = vec_fma(vec_load(x + t * gap, left), v, acc[t]);
    }
    UNROLL
    for (int t = 0; t < taps; t++) vec_store(to + t * C, vec_add(vec_load(to + t * C, left), acc[t]), left);
}

static void gradient_rows(void *context, int64_t slice) {
    const depthwise_gradient *z = context;
    const conv_axis *v = z->axes, *h = z->axes + 1;
    int64_t C = z->channels, rows = v->outputs * z->images, next = h->step * C, gap = h->gap * C;
    float *partial = memset(z->partial + slice * v->taps * h->taps * C, 0, sizeof(float) * v->taps * h->taps * C);
    for (int64_t row = cut(rows, z->slices, slice); row < cut(rows, z->slices, slice + 1); row++) {
        const float *g = z->grad_out + row * h->outputs * C;
        for (int64_t ty = 0; ty < v->taps; ty++) {
            int64_t sy = row % v->outputs * v->step + v->first + ty * v->gap;
            if (sy < 0 || sy >= v->source) continue;
            const float *line = z->x + (row / v->outputs * v->source + sy) * h->source * C + h->first * C;
            for (int64_t tx = 0; tx < h->taps;) {
                int64_t x0, x1, y0, y1, taps = h->taps - tx >= 3 ? 3 : 1;
                reached(h, tx, &x0, &x1), reached(h, tx + taps - 1, &y0, &y1); /* common to the taps: x0 .. y1-1 */
                for (int64_t c = 0; c < C; c += VEC_LANES) {
                    float *to = partial + (ty * h->taps + tx) * C + c;
                    const float *x = line + tx * gap + c;
                    int64_t left = C - c, inside = most(y1, x0) - x0;
                    if (taps == 1) {
                        add_row(1, x + x0 * next, next, gap, g + x0 * C + c, C, x1 - x0, to, left);
                        continue;
                    }
                    if (left >= VEC_LANES)
                        add_row(3, x + x0 * next, next, gap, g + x0 * C + c, C, inside, to, VEC_LANES);
                    else
                        add_row(3, x + x0 * next, next, gap, g + x0 * C + c, C, inside, to, left);
                    for (int64_t t = 0; t < 3;
                         t++) { /* outputs that only this tap of the three reaches, or two of them */
                        int64_t from, end;
                        reached(h, tx + t, &from, &end);
                        int64_t split = least(end, x0), after = most(from, x0 + inside);
                        if (from < split)
                            add_row(1, x + t * gap + from * next, next, gap, g + from * C + c, C, split - from,
                                    to + t * C, left);
                        if (after < end)
                            add_row(1, x + t * gap + after * next, next, gap, g + after * C + c, C, end - after,
                                    to + t * C, left);
                    }
                }
                tx += taps;
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
    z.partial = kg_scratch(KG_SCRATCH_CONV_SHARED, sizeof(float) * z.slices * size);
    kg_parallel(gradient_rows, &z, z.slices, 1e-4 * s->N * s->OH * s->OW * s->C * (1 + .1 * taps));
    for (int64_t c = 0; c < s->C; c++)
        for (int64_t tap = 0; tap < taps; tap++) {
            float sum = 0;
            for (int64_t slice = 0; slice < z.slices; slice++) sum += z.partial[slice * size + tap * s->C + c];
            grad_weight[c * taps + tap] = sum;
        }
}
