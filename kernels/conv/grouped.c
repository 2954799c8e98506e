/* Convolution in narrow groups: lanes are output channels, of several groups where these are narrow. Input number i of
 * its own group is brought to every lane first ("spread"), once for a band of source rows; what remains, for each i, is
 * a depthwise convolution with no lane idle. Bands are padded with zeros, so there are no edges. Every output is one
 * chain of FMAs over tap rows, inputs i, tap columns, whatever the band or the vector. */
#include "conv/conv.h"

#if VEC_LANES == 16
#define PIXELS 8 /* that share loads */
#else
#define PIXELS 4
#endif
#define BAND 40960 /* floats of a spread band: a sixth of L2 */

typedef struct {
    conv_axis axes[2];
    const float *source, *bias;
    float *packed, *out;
    int64_t images, in, outs, groups, channels, out_channels; /* in, outs: of a group; channels: of the source */
    int64_t out_h, out_w, vectors, rows, blocks, width, relu, span;
} grouped;

/* Lane j of vector `vector` is an output of group (vector LANES + j) / outs; its inputs start at offset[j], counted
 * from those of the first lane's group, whose own start is returned. Lanes beyond the last channel take the last. */
int64_t KG_NAME(conv_lane_offsets)(int64_t vector, int64_t in, int64_t outs, int64_t channels, int32_t *offset) {
    int64_t first = vector * VEC_LANES / outs;
    for (int64_t j = 0; j < VEC_LANES; j++)
        offset[j] = (int32_t)((least(vector * VEC_LANES + j, channels - 1) / outs - first) * in);
    return first * in;
}

/* As spread_row, where the lanes' inputs lie in several pairs of vectors: each lane takes its own from one of them. */
static void spread_far(const float *from, int64_t channels, int64_t pixels, const float *end, const int32_t *offset,
                       float *to) {
    int64_t pairs = offset[VEC_LANES - 1] / (2 * VEC_LANES) + 1;
    const vec_i32 all = vec_loadu_i32(offset);
    int32_t in_pair[VEC_LANES];
    for (int64_t j = 0; j < VEC_LANES; j++) in_pair[j] = offset[j] & (2 * VEC_LANES - 1);
    const vec_i32 index = vec_loadu_i32(in_pair);
    for (int64_t x = 0; x < pixels; x++, from += channels, to += VEC_LANES) {
        const int whole = end - from >= pairs * 2 * VEC_LANES;
        vec_f32 v = vec_zero();
        for (int64_t q = 0; q < pairs; q++) {
            const float *at = from + q * 2 * VEC_LANES, *next = at + VEC_LANES;
            vec_f32 a = whole ? vec_loadu(at) : vec_load(at, end - at);
            vec_f32 b = whole ? vec_loadu(next) : vec_load(next, end - next);
            vec_f32 own = vec_permute2(a, b, index);
            v = vec_select(vec_i32_gt(all, vec_i32_set((int32_t)(q * 2 * VEC_LANES - 1))), own, v);
        }
        vec_storeu(to, v);
    }
}

/* Input i of each lane's group, for the pixels `from`, from + channels, ... `end`: of the whole source; only the last
 * pixels before it need masked loads. */
static void spread_row(const float *from, int64_t channels, int64_t pixels, const float *end, const int32_t *offset,
                       float *to) {
    if (offset[VEC_LANES - 1] >= 2 * VEC_LANES) { /* beyond the reach of a shuffle */
        spread_far(from, channels, pixels, end, offset, to);
        return;
    }
    const vec_i32 index = vec_loadu_i32(offset);
    int64_t room = end - from - 2 * VEC_LANES, x = 0, free = room < 0 ? 0 : least(pixels, room / channels + 1);
    if (offset[VEC_LANES - 1] < VEC_LANES)
        for (; x < free; x++, from += channels, to += VEC_LANES) {
            vec_f32 v = vec_loadu(from);
            vec_storeu(to, vec_permute2(v, v, index));
        }
    else
        for (; x < free; x++, from += channels, to += VEC_LANES)
            vec_storeu(to, vec_permute2(vec_loadu(from), vec_loadu(from + VEC_LANES), index));
    for (; x < pixels; x++, from += channels, to += VEC_LANES)
        vec_storeu(to,
                   vec_permute2(vec_load(from, end - from), vec_load(from + VEC_LANES, end - from - VEC_LANES), index));
}

/* Source rows for outputs y0 .. y1-1, as room[row][i][x][lane]. */
void KG_NAME(conv_spread_band)(const conv_axis axes[2], const float *image, const float *end, int64_t channels,
                               int64_t in, const int32_t *offset, int64_t y0, int64_t y1, int64_t width, float *room) {
    const conv_axis *v = axes, *h = axes + 1;
    int64_t top = y0 * v->step + v->first, height = (y1 - y0 - 1) * v->step + (v->taps - 1) * v->gap + 1;
    int64_t low = least(most(-h->first, 0), width), high = most(least(h->source - h->first, width), low);
    for (int64_t y = top; y < top + height; y++) {
        if (y < 0 || y >= v->source) {
            memset(room, 0, sizeof *room * width * in * VEC_LANES), room += width * in * VEC_LANES;
            continue;
        }
        const float *from = image + (y * h->source + h->first + low) * channels;
        for (int64_t i = 0; i < in; i++, room += width * VEC_LANES) {
            memset(room, 0, sizeof *room * low * VEC_LANES);
            spread_row(from + i, channels, high - low, end, offset, room + low * VEC_LANES);
            memset(room + high * VEC_LANES, 0, sizeof *room * (width - high) * VEC_LANES);
        }
    }
}

/* packed[vector][tap row][i][tap column][lane]. Chunk: a vector. */
typedef struct {
    const grouped *z;
    const float *weight;
    int64_t weight_out, weight_in, weight_group, kernel_w; /* strides of an output and an input within the group */
} packing;

static void pack_vector(void *context, int64_t vector) {
    const packing *p = context;
    const grouped *z = p->z;
    const conv_axis *v = z->axes, *h = z->axes + 1;
    float *to = z->packed + vector * v->taps * h->taps * z->in * VEC_LANES;
    int64_t of_lane[VEC_LANES], lanes = least(VEC_LANES, z->out_channels - vector * VEC_LANES);
    for (int64_t j = 0; j < lanes; j++) {
        int64_t k = vector * VEC_LANES + j;
        of_lane[j] = k / z->outs * p->weight_group + k % z->outs * p->weight_out;
    }
    for (int64_t ty = 0; ty < v->taps; ty++)
        for (int64_t i = 0; i < z->in; i++)
            for (int64_t tx = 0; tx < h->taps; tx++, to += VEC_LANES) {
                int64_t tap =
                    (v->kernel_first + ty * v->kernel_gap) * p->kernel_w + h->kernel_first + tx * h->kernel_gap;
                const float *from = p->weight + i * p->weight_in + tap;
                for (int64_t j = 0; j < lanes; j++) to[j] = from[of_lane[j]];
                for (int64_t j = lanes; j < VEC_LANES; j++) to[j] = 0;
            }
}

/* `pixels` outputs from the spread pixels at `source`; constant `taps` lie side by side and share loads, 0: any. */
VEC_INLINE void outputs(int pixels, int step, int taps, const grouped *z, const float *source, const float *w,
                        float *out, int64_t out_next, int64_t channel, int64_t left) {
    const conv_axis *v = z->axes, *h = z->axes + 1;
    const int64_t row = v->gap * z->width * z->in * VEC_LANES;
    vec_f32 acc[PIXELS], wv[5];
    UNROLL
    for (int p = 0; p < pixels; p++) acc[p] = vec_zero();
    for (int64_t ty = 0; ty < v->taps; ty++, source += row)
        for (int64_t i = 0; i < z->in; i++) {
            const float *from = source + i * z->width * VEC_LANES;
            if (taps == 0) {
                for (int64_t t = 0; t < h->taps; t++, w += VEC_LANES) {
                    vec_f32 tap = vec_loadu(w);
                    UNROLL
                    for (int p = 0; p < pixels; p++)
                        acc[p] = vec_fma(vec_loadu(from + (p * h->step + t * h->gap) * VEC_LANES), tap, acc[p]);
                }
                continue;
            }
            UNROLL
            for (int t = 0; t < taps; t++) wv[t] = vec_loadu(w + t * VEC_LANES);
            w += taps * VEC_LANES;
            UNROLL
            for (int k = 0; k < (pixels - 1) * step + taps; k++) {
                vec_f32 value = vec_loadu(from + k * VEC_LANES);
                UNROLL
                for (int t = 0; t < taps; t++)
                    if (k >= t && (k - t) % step == 0 && (k - t) / step < pixels)
                        acc[(k - t) / step] = vec_fma(value, wv[t], acc[(k - t) / step]);
            }
        }
    UNROLL
    for (int p = 0; p < pixels; p++) {
        vec_f32 r = z->bias ? vec_add(acc[p], vec_load(z->bias + channel, left)) : acc[p];
        vec_store(out + p * out_next, z->relu ? vec_max(vec_zero(), r) : r, left);
    }
}

VEC_INLINE void outputs_row(int step, int taps, const grouped *z, const float *source, const float *w, float *out,
                            int64_t channel, int64_t left) {
    const conv_axis *h = z->axes + 1;
    const int64_t next = h->step * VEC_LANES, out_next = h->out_step * z->out_channels;
    int64_t x = 0;
    if (h->outputs >= PIXELS) /* the last pixels may be done twice */
        for (; x < h->outputs; x += PIXELS) {
            int64_t at = least(x, h->outputs - PIXELS);
            outputs(PIXELS, step, taps, z, source + at * next, w, out + at * out_next, out_next, channel, left);
        }
#if PIXELS == 8
    else if (step == 1 && taps == 3 && h->outputs >= 5) { /* the small images of a network's end: a row at once */
        if (h->outputs == 7)
            outputs(7, step, taps, z, source, w, out, out_next, channel, left);
        else if (h->outputs == 6)
            outputs(6, step, taps, z, source, w, out, out_next, channel, left);
        else
            outputs(5, step, taps, z, source, w, out, out_next, channel, left);
        return;
    }
#endif
    for (; x + 3 <= h->outputs; x += 3)
        outputs(3, step, taps, z, source + x * next, w, out + x * out_next, out_next, channel, left);
    for (; x < h->outputs; x++)
        outputs(1, step, taps, z, source + x * next, w, out + x * out_next, out_next, channel, left);
}

/* Chunk: a vector of output channels, a block of output rows of an image. */
static void grouped_block(void *context, int64_t chunk) {
    const grouped *z = context;
    const conv_axis *v = z->axes, *h = z->axes + 1;
    int64_t vector = chunk % z->vectors, block = chunk / z->vectors % z->blocks, n = chunk / z->vectors / z->blocks;
    int64_t y0 = cut(v->outputs, z->blocks, block), y1 = cut(v->outputs, z->blocks, block + 1);
    int64_t pixel = z->in * VEC_LANES, height = (z->rows - 1) * v->step + (v->taps - 1) * v->gap + 1;
    float *room = kg_scratch(KG_SCRATCH_CONV, sizeof(float) * height * z->width * pixel);
    int32_t offset[VEC_LANES];
    int64_t first = KG_NAME(conv_lane_offsets)(vector, z->in, z->outs, z->out_channels, offset),
            channel = vector * VEC_LANES, left = z->out_channels - channel;
    KG_NAME(conv_spread_band)(z->axes, z->source + n * v->source * h->source * z->channels + first,
                              z->source + z->images * v->source * h->source * z->channels, z->channels, z->in, offset,
                              y0, y1, z->width, room);
    const float *w = z->packed + vector * v->taps * h->taps * pixel;
    for (int64_t y = y0; y < y1; y++) {
        const float *source = room + (y - y0) * v->step * z->width * pixel;
        float *out = z->out + channel +
                     ((n * z->out_h + v->out_first + y * v->out_step) * z->out_w + h->out_first) * z->out_channels;
        if (h->gap == 1 && h->step == 1 && h->taps == 3)
            outputs_row(1, 3, z, source, w, out, channel, left);
        else if (h->gap == 1 && h->step == 1 && h->taps == 5)
            outputs_row(1, 5, z, source, w, out, channel, left);
        else if (h->gap == 1 && h->step == 1 && h->taps == 2)
            outputs_row(1, 2, z, source, w, out, channel, left);
        else if (h->gap == 1 && h->step == 2 && h->taps == 3)
            outputs_row(2, 3, z, source, w, out, channel, left);
        else
            outputs_row(1, 0, z, source, w, out, channel, left);
    }
}

static void run(grouped *z, const packing *p) {
    const conv_axis *v = z->axes, *h = z->axes + 1;
    if (v->outputs == 0 || h->outputs == 0) return;
    z->vectors = ceil_div(z->out_channels, VEC_LANES);
    z->width = most(1, (h->outputs - 1) * h->step + (h->taps - 1) * h->gap + 1);
    int64_t line = z->width * z->in * VEC_LANES, fit = BAND / line - (v->taps - 1) * v->gap;
    z->rows = least(v->outputs, most(fit / v->step, 4)), z->blocks = ceil_div(v->outputs, z->rows);
    z->packed = kg_scratch(KG_SCRATCH_CONV_SHARED, sizeof(float) * z->vectors * v->taps * h->taps * z->in * VEC_LANES);
    kg_parallel(pack_vector, (void *)p, z->vectors, 2e-3 * z->vectors * v->taps * h->taps * z->in * VEC_LANES);
    kg_parallel(grouped_block, z, z->images * z->blocks * z->vectors,
                2.0 * z->images * v->outputs * h->outputs * z->out_channels * z->in * v->taps * h->taps /
                    CONV_GFLOPS_US);
}

void KG_NAME(conv_grouped_forward)(const conv_shape *s, const float *x, const float *weight, const float *bias,
                                   float *out) {
    int64_t taps = s->kh * s->kw, in = s->C / s->groups, outs = s->K / s->groups;
    grouped z = {.axes = {KG_NAME(conv_forward_axis)(s, 0), KG_NAME(conv_forward_axis)(s, 1)},
                 .source = x,
                 .bias = bias,
                 .out = out,
                 .images = s->N,
                 .in = in,
                 .outs = outs,
                 .groups = s->groups,
                 .channels = s->C,
                 .out_channels = s->K,
                 .out_h = s->OH,
                 .out_w = s->OW,
                 .relu = s->activation == CONV_RELU};
    run(&z, &(packing){&z, weight, in * taps, taps, outs * in * taps, s->kw});
}

void KG_NAME(conv_grouped_data)(const conv_shape *s, const float *grad_out, const float *weight, const float *bias,
                                float *grad_x) {
    int64_t taps = s->kh * s->kw, in = s->K / s->groups, outs = s->C / s->groups;
    for (int64_t y = 0; y < s->stride[0]; y++)
        for (int64_t x = 0; x < s->stride[1]; x++) {
            grouped z = {.axes = {KG_NAME(conv_phase_axis)(s, 0, y), KG_NAME(conv_phase_axis)(s, 1, x)},
                         .source = grad_out,
                         .bias = bias,
                         .out = grad_x,
                         .images = s->N,
                         .in = in,
                         .outs = outs,
                         .groups = s->groups,
                         .channels = s->K,
                         .out_channels = s->C,
                         .out_h = s->H,
                         .out_w = s->W};
            run(&z, &(packing){&z, weight, taps, outs * taps, in * outs * taps, s->kw});
        }
}
