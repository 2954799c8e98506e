/* Depthwise convolution, one channel in and out per group: lanes are channels. Forward and backward data are the same
 * loop over an output row, in backward once for each phase of the stride; the weights are laid out [tap][channel]
 * first. Off-image taps are left out, which splits a row into edges and inside. */
#include "conv/conv.h"

#if VEC_LANES == 16
#define PIXELS 8 /* that share loads: accumulators, a row of taps and a source vector stay in registers */
#else
#define PIXELS 4
#endif

#define FEW_CHUNKS 32
#define ROWS_AT_ONCE 16 /* of a chunk, where there are many */

typedef struct {
    const conv_shape *s;
    const float *source, *bias;
    float *packed, *out; /* packed[tap_y kw + tap_x][channel] */
    int64_t out_h, out_w, relu, data, chunks;
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

/* An output row: where its first tap and output lie, and the strides of both, of the taps and of their weights. */
typedef struct {
    const float *source, *w, *bias;
    float *out;
    int64_t row, gap, next, w_row, w_gap, out_next, rows, relu;
    const float *ahead; /* the rows that the next output row will need first, from the pixel of output 0; or NULL */
    int64_t ahead_rows, ahead_row;
} strip;

VEC_INLINE void finish(vec_f32 v, const strip *z, int64_t c, float *out, int64_t left) {
    if (z->bias) v = vec_add(v, vec_load(z->bias + c, left));
    vec_store(out, z->relu ? vec_max(vec_zero(), v) : v, left);
}

/* One output, taps s0 .. s1-1 of each row, `vecs` vectors of channels. */
VEC_INLINE void output(int vecs, const strip *z, int64_t x, int64_t c, int64_t s0, int64_t s1, int64_t left) {
    vec_f32 acc[4];
    UNROLL
    for (int j = 0; j < vecs; j++) acc[j] = vec_zero();
    const float *source = z->source + x * z->next + c, *w = z->w + c;
    for (int64_t y = 0; y < z->rows; y++, source += z->row, w += z->w_row)
        for (int64_t t = s0; t < s1; t++) {
            const float *v = source + t * z->gap, *tap = w + t * z->w_gap;
            UNROLL
            for (int j = 0; j < vecs; j++)
                acc[j] = vec_fma(vec_load(v + j * VEC_LANES, left), vec_load(tap + j * VEC_LANES, left), acc[j]);
        }
    UNROLL
    for (int j = 0; j < vecs; j++)
        finish(acc[j], z, c + j * VEC_LANES, z->out + x * z->out_next + c + j * VEC_LANES, left);
}

/* `pixels` outputs from x on, `step` source pixels apart, all `taps` on the image and side by side: a source vector is
 * loaded once and goes to every output that it is a tap of. */
VEC_INLINE void outputs(int pixels, int step, int taps, const strip *z, int64_t x, int64_t c, int64_t left) {
    vec_f32 acc[PIXELS], w[7];
    UNROLL
    for (int i = 0; i < pixels; i++) acc[i] = vec_zero();
    const float *source = z->source + x * z->next + c, *weight = z->w + c;
    for (int64_t y = 0; y < z->rows; y++, source += z->row, weight += z->w_row) {
        UNROLL
        for (int t = 0; t < taps; t++) w[t] = vec_load(weight + t * z->w_gap, left);
        UNROLL
        for (int k = 0; k < (pixels - 1) * step + taps; k++) {
            vec_f32 v = vec_load(source + k * z->gap, left);
            UNROLL
            for (int t = 0; t < taps; t++)
                if (k >= t && (k - t) % step == 0 && (k - t) / step < pixels)
                    acc[(k - t) / step] = vec_fma(v, w[t], acc[(k - t) / step]);
        }
    }
    float *out = z->out + x * z->out_next + c;
    UNROLL
    for (int i = 0; i < pixels; i++) finish(acc[i], z, c, out + i * z->out_next, left);
}

/* The same for all channels of the pixels. */
VEC_INLINE void outputs_row(int pixels, int step, int taps, const strip *z, int64_t x, int64_t channels) {
    int64_t c = 0;
    for (; c + VEC_LANES <= channels; c += VEC_LANES) {
        if (z->ahead && c % 16 == 0) {
            const float *ahead = z->ahead + x * z->next + c;
            for (int64_t y = 0; y < z->ahead_rows; y++, ahead += z->ahead_row) UNROLL
            for (int i = 0; i < pixels * step; i++) __builtin_prefetch(ahead + i * z->gap, 0, 2);
        }
        outputs(pixels, step, taps, z, x, c, VEC_LANES);
    }
    if (c == channels) return;
    if (channels > VEC_LANES) /* some channels again, rather than a masked vector */
        outputs(pixels, step, taps, z, x, channels - VEC_LANES, VEC_LANES);
    else
        outputs(pixels, step, taps, z, x, c, channels - c);
}

/* Outputs x0 .. x1-1, whose taps all lie on the image; the last pixels may be done twice. */
VEC_INLINE void inside(int step, int taps, const strip *z, int64_t x0, int64_t x1, int64_t channels) {
    int64_t x = x0;
    if (x1 - x0 >= PIXELS)
        for (; x < x1; x += PIXELS) outputs_row(PIXELS, step, taps, z, least(x, x1 - PIXELS), channels);
    else
        for (; x < x1; x += 3) outputs_row(3, step, taps, z, least(x, x1 - 3), channels);
}

/* One row of one phase. */
static void depthwise_row(const depthwise *z, const conv_axis *v, const conv_axis *h, int64_t n, int64_t y) {
    const conv_shape *s = z->s;
    int64_t C = s->C, sy = y * v->step + v->first;
    /* tap rows t0 .. t1-1 lie on the image; outputs x0 .. x1-1 have all their taps on it */
    int64_t t0 = 0, t1 = v->taps, x0, x1, unused;
    while (t0 < t1 && sy + t0 * v->gap < 0) t0++;
    while (t1 > t0 && sy + (t1 - 1) * v->gap >= v->source) t1--;
    reached(h, 0, &x0, &unused), reached(h, most(h->taps - 1, 0), &unused, &x1);
    x1 = most(x1, x0);
    const float *line = z->source + n * v->source * h->source * C + h->first * C;
    const strip strip = {.source = line + (sy + t0 * v->gap) * h->source * C,
                         .w = z->packed + ((v->kernel_first + t0 * v->kernel_gap) * s->kw + h->kernel_first) * C,
                         .bias = z->bias,
                         .out =
                             z->out + ((n * z->out_h + v->out_first + y * v->out_step) * z->out_w + h->out_first) * C,
                         .row = v->gap * h->source * C,
                         .gap = h->gap * C,
                         .next = h->step * C,
                         .w_row = v->kernel_gap * s->kw * C,
                         .w_gap = h->kernel_gap * C,
                         .out_next = h->out_step * C,
                         .rows = t1 - t0,
                         .relu = z->relu,
                         .ahead = h->gap == 1 ? line + (sy + v->taps * v->gap) * h->source * C : NULL,
                         .ahead_rows = v->step,
                         .ahead_row = h->source * C};
    /* what has no body of its own is done one by one, as the edges are */
    int known = x1 - x0 >= 3 && h->gap == 1 && strip.rows > 0;
    if (known && h->step == 1 && h->taps == 3)
        inside(1, 3, &strip, x0, x1, C);
    else if (known && h->step == 1 && h->taps == 5)
        inside(1, 5, &strip, x0, x1, C);
    else if (known && h->step == 1 && h->taps == 7)
        inside(1, 7, &strip, x0, x1, C);
    else if (known && h->step == 1 && h->taps == 2)
        inside(1, 2, &strip, x0, x1, C);
    else if (known && h->step == 1 && h->taps == 1)
        inside(1, 1, &strip, x0, x1, C);
    else if (known && h->step == 2 && h->taps == 3)
        inside(2, 3, &strip, x0, x1, C);
    else if (known && h->step == 2 && h->taps == 5)
        inside(2, 5, &strip, x0, x1, C);
    else
        known = 0;
    for (int64_t x = 0; x < h->outputs; x++) {
        if (known && x == x0) x = x1;
        if (x >= h->outputs) break;
        int64_t sx = x * h->step + h->first, s0 = 0, s1 = h->taps;
        while (s0 < s1 && sx + s0 * h->gap < 0) s0++;
        while (s1 > s0 && sx + (s1 - 1) * h->gap >= h->source) s1--;
        int64_t c = 0;
        for (; c + 4 * VEC_LANES <= C; c += 4 * VEC_LANES) output(4, &strip, x, c, s0, s1, VEC_LANES);
        for (; c + VEC_LANES <= C; c += VEC_LANES) output(1, &strip, x, c, s0, s1, VEC_LANES);
        if (c < C) output(1, &strip, x, c, s0, s1, C - c);
    }
}

/* An output row; of backward data all phases along W. */
static void all_phases(const depthwise *z, int64_t n, int64_t y) {
    if (!z->data) {
        conv_axis v = KG_NAME(conv_forward_axis)(z->s, 0), h = KG_NAME(conv_forward_axis)(z->s, 1);
        depthwise_row(z, &v, &h, n, y);
        return;
    }
    conv_axis v = KG_NAME(conv_phase_axis)(z->s, 0, y % z->s->stride[0]);
    for (int64_t x = 0; x < z->s->stride[1]; x++) {
        conv_axis h = KG_NAME(conv_phase_axis)(z->s, 1, x);
        depthwise_row(z, &v, &h, n, y / z->s->stride[0]);
    }
}

/* Chunk: some output rows, counted through all images. Neighbours share source rows, so they are one thread's. */
static void depthwise_chunk(void *context, int64_t chunk) {
    const depthwise *z = context;
    int64_t rows = z->s->N * z->out_h;
    for (int64_t row = cut(rows, z->chunks, chunk); row < cut(rows, z->chunks, chunk + 1); row++)
        all_phases(z, row / z->out_h, row % z->out_h);
}

static void run(depthwise *z, const float *weight) {
    const conv_shape *s = z->s;
    int64_t taps = s->kh * s->kw;
    z->packed = kg_scratch(KG_SCRATCH_CONV_SHARED, sizeof(float) * taps * s->C);
    pack_taps(weight, taps, s->C, z->packed);
    double elements = (double)s->N * z->out_h * z->out_w * s->C, each = taps;
    if (z->data) each /= (double)(s->stride[0] * s->stride[1]);
    int64_t rows = s->N * z->out_h;
    z->chunks = least(rows, most(FEW_CHUNKS, rows / ROWS_AT_ONCE));
    kg_parallel(depthwise_chunk, z, z->chunks, 1e-4 * elements * (1 + .1 * each));
}

void KG_NAME(conv_depthwise_forward)(const conv_shape *s, const float *x, const float *weight, const float *bias,
                                     float *out) {
    run(&(depthwise){.s = s,
                     .source = x,
                     .bias = bias,
                     .out = out,
                     .out_h = s->OH,
                     .out_w = s->OW,
                     .relu = s->activation == CONV_RELU},
        weight);
}

void KG_NAME(conv_depthwise_data)(const conv_shape *s, const float *grad_out, const float *weight, const float *bias,
                                  float *grad_x) {
    run(&(depthwise){.s = s, .source = grad_out, .bias = bias, .out = grad_x, .out_h = s->H, .out_w = s->W, .data = 1},
        weight);
}
