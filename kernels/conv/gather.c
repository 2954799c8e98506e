/* From an image to the rows of a matrix: the source pixels under the taps of each output pixel. */
#include "conv/conv.h"
#include "conv/half.h"

conv_axis KG_NAME(conv_forward_axis)(const conv_shape *s, int axis) {
    return (conv_axis){.outputs = axis ? s->OW : s->OH,
                       .out_step = 1,
                       .source = axis ? s->W : s->H,
                       .step = s->stride[axis],
                       .taps = axis ? s->kw : s->kh,
                       .first = -s->padding[axis],
                       .gap = s->dilation[axis],
                       .kernel_gap = 1};
}

/* The grad_x pixels `phase`, phase + stride, ...: their taps in order of ascending grad_out pixels. */
conv_axis KG_NAME(conv_phase_axis)(const conv_shape *s, int axis, int64_t phase) {
    int64_t stride = s->stride[axis], dilation = s->dilation[axis], at = phase + s->padding[axis];
    int64_t size = axis ? s->W : s->H;
    conv_axis a = {.outputs = ceil_div(most(size - phase, 0), stride),
                   .out_first = phase,
                   .out_step = stride,
                   .source = axis ? s->OW : s->OH,
                   .step = 1};
    for (int64_t tap = (axis ? s->kw : s->kh) - 1; tap >= 0; tap--) {
        if ((at - tap * dilation) % stride != 0) continue;
        int64_t source = (at - tap * dilation) / stride;
        if (a.taps == 0) a.first = source, a.kernel_first = tap;
        if (a.taps == 1) a.gap = source - a.first, a.kernel_gap = tap - a.kernel_first;
        a.taps++;
    }
    if (a.taps <= 1) a.gap = 1;
    return a;
}

/* May write up to a vector beyond n: the next run, or the row's padding, comes after. Never reads beyond n. */
static inline void copy_run(float *to, const float *from, int64_t n) {
    for (; n >= VEC_LANES; n -= VEC_LANES, to += VEC_LANES, from += VEC_LANES) vec_storeu(to, vec_loadu(from));
    if (n > 0) vec_storeu(to, vec_load(from, n));
}
static inline void clear_run(float *to, int64_t n) {
    for (; n > 0; n -= VEC_LANES, to += VEC_LANES) vec_storeu(to, vec_set(0));
}

/* Whole vectors are written: the next pixel, or the row's padding, comes after. */
void KG_NAME(conv_copy_pixels)(float *to, int64_t to_step, const float *from, int64_t step, int64_t pixels,
                               int64_t channels) {
#ifdef HALF_LANES
    if (channels <= HALF_LANES) {
        for (; pixels > 0; pixels--, to += to_step, from += step) half_storeu(to, half_load_tail(from, channels));
        return;
    }
#endif
    if (channels <= VEC_LANES)
        for (; pixels > 0; pixels--, to += to_step, from += step) vec_storeu(to, vec_load_tail(from, channels));
    else
        for (; pixels > 0; pixels--, to += to_step, from += step) copy_run(to, from, channels);
}

/* out[.][0 .. width-1], width = k1 - k0, in rows of `row` >= width + VEC_LANES - 1 floats. Runs are taken in ascending
 * order. */
void KG_NAME(conv_gather)(const conv_axis axes[2], const float *image, int64_t pixel_stride, int64_t channels,
                          int64_t pixel0, int64_t pixel1, int64_t k0, int64_t k1, float *out, int64_t row) {
    const conv_axis *v = axes, *h = axes + 1;
    /* Neighbouring taps are neighbours in memory: all taps of a row are then one run. */
    int64_t merged = h->gap == 1 && pixel_stride == channels ? h->taps : 1, length = merged * channels;
    int64_t first_x = pixel0 % h->outputs, first_y = pixel0 / h->outputs % v->outputs,
            first_n = pixel0 / (h->outputs * v->outputs);
    for (int64_t run = k0 / length; run * length < k1; run++) {
        int64_t tap_y = run * merged / h->taps, tap_x = run * merged % h->taps;
        int64_t from = most(k0 - run * length, 0), to = least(k1 - run * length, length);
        float *at = out + run * length + from - k0;
        int64_t n = first_n, y = first_y, x = first_x;
        for (int64_t pixel = pixel0; pixel < pixel1; pixel++, at += row) {
            int64_t sy = y * v->step + v->first + tap_y * v->gap, sx = x * h->step + h->first + tap_x * h->gap;
            int64_t low = from, high = from; /* the part of the run that lies on the image */
            if (sy >= 0 && sy < v->source) {
                low = least(most(-sx * channels, from), to);
                high = most(least((h->source - sx) * channels, to), low);
            }
            const float *source = image + ((n * v->source + sy) * h->source + sx) * pixel_stride;
            if (low > from) clear_run(at, low - from);
            copy_run(at + low - from, source + low, high - low);
            if (high < to) clear_run(at + high - from, to - high);
            if (++x == h->outputs) {
                x = 0;
                if (++y == v->outputs) y = 0, n++;
            }
        }
    }
}

typedef float four __attribute__((vector_size(16), aligned(4), may_alias));
#define FOUR(a, b, ...) __builtin_shufflevector(a, b, __VA_ARGS__)

/* to[x][channel] = from[channel][x], of two to four planes. */
static void interleave(float *to, const float *from, int64_t plane, int64_t channels, int64_t pixels) {
    int64_t x = 0;
    for (; x + 4 <= pixels; x += 4, to += 4 * channels) {
        const four a = *(const four *)(from + x), b = *(const four *)(from + plane + x);
        const four low = FOUR(a, b, 0, 4, 1, 5), high = FOUR(a, b, 2, 6, 3, 7);
        four *out = (four *)to;
        if (channels == 2) {
            out[0] = low, out[1] = high;
        } else if (channels == 3) {
            const four c = *(const four *)(from + 2 * plane + x), bc = FOUR(b, c, 1, 5, 2, 6);
            out[0] = FOUR(low, c, 0, 1, 4, 2), out[1] = FOUR(bc, a, 0, 1, 6, 2), out[2] = FOUR(c, high, 2, 6, 7, 3);
        } else {
            const four c = *(const four *)(from + 2 * plane + x), d = *(const four *)(from + 3 * plane + x);
            const four low2 = FOUR(c, d, 0, 4, 1, 5), high2 = FOUR(c, d, 2, 6, 3, 7);
            out[0] = FOUR(low, low2, 0, 1, 4, 5), out[1] = FOUR(low, low2, 2, 3, 6, 7);
            out[2] = FOUR(high, high2, 0, 1, 4, 5), out[3] = FOUR(high, high2, 2, 3, 6, 7);
        }
    }
    for (; x < pixels; x++)
        for (int64_t c = 0; c < channels; c++) *to++ = from[c * plane + x];
}

/* All taps of all outputs lie on the image. */
static int inside(const conv_axis *a) {
    return a->first >= 0 && (a->outputs - 1) * a->step + a->first + (a->taps - 1) * a->gap < a->source;
}

/* The band is part of the image as it stands. */
static int as_it_stands(const conv_axis axes[2], int64_t pixel_stride, int64_t pixel) {
    return inside(axes) && inside(axes + 1) && pixel_stride == pixel;
}

int64_t KG_NAME(conv_band_floats)(const conv_axis axes[2], int64_t pixel_stride, int64_t pixel, int64_t rows) {
    const conv_axis *v = axes, *h = axes + 1;
    if (as_it_stands(axes, pixel_stride, pixel)) return 0;
    int64_t width = (h->outputs - 1) * h->step + (h->taps - 1) * h->gap + 1;
    int64_t height = (rows - 1) * v->step + (v->taps - 1) * v->gap + 1;
    return height * width * pixel + VEC_LANES;
}

conv_band KG_NAME(conv_make_band_of)(const conv_axis axes[2], const float *image, int64_t pixel_stride,
                                     int64_t channels, int64_t pixel, int64_t y0, int64_t y1, float *room) {
    const conv_axis *v = axes, *h = axes + 1;
    int64_t top = y0 * v->step + v->first, row = h->source * pixel_stride;
    if (as_it_stands(axes, pixel_stride, pixel))
        return (conv_band){image + top * row + h->first * channels, row, pixel};
    int64_t width = (h->outputs - 1) * h->step + (h->taps - 1) * h->gap + 1;
    int64_t height = (y1 - y0 - 1) * v->step + (v->taps - 1) * v->gap + 1;
    int64_t low = least(most(-h->first, 0), width), high = most(least(h->source - h->first, width), low);
    float *to = room;
    for (int64_t y = top; y < top + height; y++, to += width * pixel) {
        if (y < 0 || y >= v->source) {
            clear_run(to, width * pixel);
            continue;
        }
        const float *from = image + y * row + (h->first + low) * pixel_stride;
        clear_run(to, low * pixel);
        if (pixel_stride == 0)
            interleave(to + low * pixel, image + y * h->source + h->first + low, v->source * h->source, channels,
                       high - low);
        else if (pixel_stride == pixel)
            copy_run(to + low * pixel, from, (high - low) * pixel);
        else
            KG_NAME(conv_copy_pixels)(to + low * pixel, pixel, from, pixel_stride, high - low, channels);
        clear_run(to + high * pixel, (width - high) * pixel);
    }
    return (conv_band){room, width * pixel, pixel};
}

conv_band KG_NAME(conv_make_band)(const conv_axis axes[2], const float *image, int64_t pixel_stride, int64_t channels,
                                  int64_t y0, int64_t y1, float *room) {
    return KG_NAME(conv_make_band_of)(axes, image, pixel_stride, channels, channels, y0, y1, room);
}
