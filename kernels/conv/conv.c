/* The convolution kernels: unpack the arguments, choose the method. */
#include "conv/conv.h"

static conv_shape shape_of(const int64_t *z) {
    return (conv_shape){.N = z[0],
                        .H = z[1],
                        .W = z[2],
                        .C = z[3],
                        .K = z[4],
                        .kh = z[5],
                        .kw = z[6],
                        .OH = z[7],
                        .OW = z[8],
                        .stride = {z[9], z[10]},
                        .padding = {z[11], z[12]},
                        .dilation = {z[13], z[14]},
                        .groups = z[15],
                        .activation = z[16],
                        .method = z[17] & 1,
                        .planes = z[17] >> 1};
}

/* Winograd pays for 3x3, stride 1, groups of 16 channels and more, unless its tiles of 4x4 results hang over the image
 * too far. This may depend on the shape of one image, not on their number: a sample has the same bits alone and in a
 * batch. */
static int winograd_fits(const conv_shape *s, int64_t height, int64_t width) {
    return s->method != CONV_DIRECT && s->kh == 3 && s->kw == 3 && s->stride[0] == 1 && s->stride[1] == 1 &&
           s->dilation[0] == 1 && s->dilation[1] == 1 && s->C >= 16 * s->groups && s->K >= 16 * s->groups &&
           height * width * 20 >= 16 * ceil_div(height, 4) * ceil_div(width, 4) * 7;
}

/* Of the taps of an axis over all outputs of a convolution, the share that lies on the input. */
static double on_image(const conv_shape *s, int axis) {
    int64_t outputs = axis ? s->OW : s->OH, taps = axis ? s->kw : s->kh, source = axis ? s->W : s->H, hits = 0;
    for (int64_t tap = 0; tap < taps; tap++) {
        int64_t at = tap * s->dilation[axis] - s->padding[axis], step = s->stride[axis];
        int64_t low = at < 0 ? ceil_div(-at, step) : 0, high = at < source ? (source - 1 - at) / step + 1 : 0;
        hits += most(0, least(high, outputs) - low);
    }
    return outputs ? (double)hits / (outputs * taps) : 1;
}

/* Fewer than 16 channels out leave lanes idle in a product whose columns they are. With pixels as columns no lane is,
 * but the source is transposed first, taps are summed afterwards, and those off the image cost as much as the others.
 * Estimated in vectors of multiply-adds per pixel and channel of the source, rows of `width` pixels. */
static int narrow_pays(const conv_shape *s, int64_t in, int64_t outs, int64_t width) {
    if (s->groups != 1 || outs >= 16 || in < 4) return 0;
    double taps = s->kh * s->kw, margin = (double)((s->kw - 1) * s->dilation[1] / s->stride[1]),
           rows = outs * taps / 16;
    double columns = width >= 16 ? ceil_div(width, 16) * 16. : width + margin;
    double summed = outs * taps > 128 ? 24 : 4; /* a pixel's taps: beyond L1 where there are many */
    return rows * columns / width * 1.1 + rows * summed / in + 0.6 < taps * on_image(s, 0) * on_image(s, 1);
}
/* Whether forward is quicker with pixels in the lanes than with output channels. Estimated in cycles per output row, 16
 * multiply-adds in each; that may depend on the image, not on their number, though both have the same bits. */
#define SEGMENT 8
static int pixels_pay(const conv_shape *s) {
    if (s->groups != 1 || most(s->stride[0], s->stride[1]) > 4) return 0;
    double taps = s->kh * s->kw, k = taps * s->C, beyond = (double)((s->kw - 1) * s->dilation[1] / s->stride[1]);
    double columns = least(ceil_div(s->OW, VEC_LANES) * VEC_LANES, s->OW + beyond) / 16.;
    double vectors = ceil_div(s->K, VEC_LANES) * VEC_LANES / 16.;
    if (columns * 16 < ceil_div(s->OW, VEC_LANES) * VEC_LANES)
        columns += 0.4;                            /* rows together: what is idle at their end */
    double turned = s->C >= 16 ? s->C * 12. : 100; /* 16 pixels of a source row */
    double by_pixels = columns * (s->K * k * on_image(s, 0) + vectors * 110 + s->stride[0] * s->stride[1] * turned);
    double by_channels = s->OW * vectors * (k * on_image(s, 0) * on_image(s, 1) + 4);
    /* To begin a segment takes as long as a step of a small tile: with pixels in the lanes each tap is one, or else
     * each row of taps. */
    if (TILE_ROWS < 14) {
        by_pixels *= 1.1; /* planes are read in place, each pixel of a step from another line */
        by_pixels += SEGMENT * taps * on_image(s, 0) * ceil_div(s->K, TILE_ROWS) * columns * 16 / PANEL;
        by_channels += SEGMENT * (s->dilation[1] == 1 ? s->kh : taps) * on_image(s, 0) * ceil_div(s->OW, TILE_ROWS) *
                       vectors * 16 / PANEL;
    }
    return by_pixels < by_channels;
}

static int depthwise(const conv_shape *s) { return s->groups == s->C && s->K == s->C && s->C > 1; }

/* Products of narrow groups leave lanes idle. With lanes of several groups none is, but each input is brought to its
 * lanes first, the dearer the farther apart the lanes' inputs lie. Estimated in vectors of 16 multiply-adds per output
 * pixel, of `in` channels of a group to `outs`; fitted to measurements. One tap alone would not repay it. */
static int grouped_pays(const conv_shape *s, int64_t in, int64_t outs, int data) {
    if (s->groups == 1 || s->kh * s->kw < 4) return 0;
    const double stride = (double)(s->stride[0] * s->stride[1]), step = data ? 1 : stride; /* source pixels an output */
    const double taps = s->kh * s->kw / (data ? stride : 1);
    const int64_t own = 16 % outs ? 14 / outs + 2 : 16 / outs; /* groups that a vector may be of */
    const double pairs = (double)(least(own - 1, s->groups - 1) * in / 32 + 1);
    const double by_lanes = ceil_div(s->groups * outs, 16) * in * (1.05 * taps + pairs * (7 * step - 1.5));
    const double halves = ceil_div(outs, 8); /* of vectors that hold a group's outputs */
    return by_lanes < s->groups * (halves / 2 * 1.06 * in * taps + 5 + 5 * step);
}

/* Of the gradient of the weight, likewise. */
static int grouped_weight_pays(const conv_shape *s) {
    if (s->groups == 1 || s->kh * s->kw < 4) return 0;
    const double in = (double)(s->C / s->groups), taps = s->kh * s->kw, step = (double)(s->stride[0] * s->stride[1]);
    const double by_lanes = 1.4 * ceil_div(s->K, 16) * in * (taps + 7 * step - 1.5);
    const double halves = ceil_div(s->K / s->groups, 8);
    return by_lanes < s->groups * (halves / 2 * 1.05 * in * taps + 15 + 7 * step);
}

typedef enum { DEPTHWISE, GROUPED, WINOGRAD, POINTWISE, PIXELS, IMPLICIT } method;
static method forward_method(const conv_shape *s) {
    if (winograd_fits(s, s->OH, s->OW)) return WINOGRAD;
    if (depthwise(s)) return DEPTHWISE;
    if (grouped_pays(s, s->C / s->groups, s->K / s->groups, 0)) return GROUPED;
    if (KG_NAME(conv_pointwise_fits)(s)) return POINTWISE;
    return pixels_pay(s) ? PIXELS : IMPLICIT;
}

/* Few planes are interleaved as the bands of rows are copied, and not in a pass before. */
static int takes_planes(const conv_shape *s) {
    return s->groups == 1 && s->C >= 2 && s->C <= 4 && s->kh * s->kw > 1 && most(s->OH, s->OW) >= 6 &&
           forward_method(s) == IMPLICIT;
}

/* In backward the number of tiles counts too: each call transforms the weights anew, */
static int winograd_data_pays(const conv_shape *s) {
    return winograd_fits(s, s->H, s->W) && s->N * ceil_div(s->H, 4) * ceil_div(s->W, 4) >= 4;
}
/* or their gradient, which is four times as large as that of the taps. */
static int winograd_weight_pays(const conv_shape *s) {
    int64_t tiles = s->N * ceil_div(s->OH, 4) * ceil_div(s->OW, 4);
    return winograd_fits(s, s->OH, s->OW) && tiles >= (s->C * s->K > 100000 * s->groups * s->groups ? 32 : 8);
}

/* out[n, y, x, k] = activation(bias[k] + sum over taps and c of x[n, y stride + tap_y dilation - padding, ..., c]
 * weight[k, c, tap]) */
static void conv2d_forward(void *const *arrays, const int64_t *sizes, const double *scalars, int64_t start,
                           int64_t stop) {
    const float *x = arrays[0], *weight = arrays[1], *bias = arrays[2], *kept = arrays[3];
    float *out = arrays[4];
    const conv_shape s = shape_of(sizes);
    (void)scalars, (void)start, (void)stop;
    switch (forward_method(&s)) {
    case WINOGRAD:
        return KG_NAME(conv_winograd_forward)(&s, x, weight, kept, bias, out);
    case DEPTHWISE:
        return KG_NAME(conv_depthwise_forward)(&s, x, weight, bias, out);
    case GROUPED:
        return KG_NAME(conv_grouped_forward)(&s, x, weight, bias, out);
    case POINTWISE:
        return KG_NAME(conv_pointwise_forward)(&s, x, weight, kept, bias, out);
    case PIXELS:
        return KG_NAME(conv_pixels_forward)(&s, x, weight, kept, bias, out);
    case IMPLICIT:
        return KG_NAME(conv_implicit_forward)(&s, x, weight, kept, bias, out);
    }
}

/* Weights as conv2d_forward's method for these sizes takes them, for calls that use the same ones again and again.
 * Without `kept` only `about` is set: about[0] to the number of floats, 0 where nothing is worth keeping, about[1],
 * which tells forms of different methods apart, and about[2] to 1 where forward takes x in NCHW memory, too. */
static void conv2d_keep_weight(void *const *arrays, const int64_t *sizes, const double *scalars, int64_t start,
                               int64_t stop) {
    const float *weight = arrays[0];
    float *kept = arrays[1];
    int64_t *about = arrays[2];
    const conv_shape s = shape_of(sizes);
    (void)scalars, (void)start, (void)stop;
    about[0] = 0, about[1] = forward_method(&s), about[2] = takes_planes(&s);
    if (about[1] == WINOGRAD) {
        about[0] = KG_NAME(conv_winograd_kept)(&s);
        if (kept && about[0]) KG_NAME(conv_winograd_keep)(&s, weight, kept);
    } else if (about[1] == PIXELS) {
        about[0] = KG_NAME(conv_pixels_kept)(&s);
        if (kept) KG_NAME(conv_pixels_keep)(&s, weight, kept);
    } else if (about[1] == POINTWISE) {
        about[0] = KG_NAME(conv_pointwise_kept)(&s);
        if (kept) KG_NAME(conv_pointwise_keep)(&s, weight, kept);
    } else if (about[1] == IMPLICIT) {
        about[0] = KG_NAME(conv_implicit_kept)(&s);
        if (kept && about[0]) KG_NAME(conv_implicit_keep)(&s, weight, kept);
    }
}

/* grad_x[n, i, j, c] = sum over taps and k of grad_out[n, y, x, k] weight[k, c, tap], y stride + tap_y dilation -
 * padding = i */
static void conv2d_backward_data(void *const *arrays, const int64_t *sizes, const double *scalars, int64_t start,
                                 int64_t stop) {
    const float *grad_out = arrays[0], *weight = arrays[1];
    float *grad_x = arrays[2];
    const conv_shape s = shape_of(sizes);
    (void)scalars, (void)start, (void)stop;
    if (winograd_data_pays(&s))
        KG_NAME(conv_winograd_data)(&s, grad_out, weight, NULL, grad_x);
    else if (depthwise(&s))
        KG_NAME(conv_depthwise_data)(&s, grad_out, weight, NULL, grad_x);
    else if (grouped_pays(&s, s.K / s.groups, s.C / s.groups, 1))
        KG_NAME(conv_grouped_data)(&s, grad_out, weight, NULL, grad_x);
    else if (KG_NAME(conv_pointwise_fits)(&s))
        KG_NAME(conv_pointwise_data)(&s, grad_out, weight, NULL, grad_x);
    else if (narrow_pays(&s, s.K, s.C, s.OW))
        KG_NAME(conv_narrow_data)(&s, grad_out, weight, NULL, grad_x);
    else
        KG_NAME(conv_implicit_data)(&s, grad_out, weight, NULL, grad_x);
}

/* Work items are output channels: sizes[0] is K, and N stands where K is in the other kernels.
 * grad_weight[k, c, tap] = sum over n, y, x of grad_out[n, y, x, k] x[n, y stride + tap_y dilation - padding, ..., c];
 * grad_bias[k] = sum grad_out */
static void conv2d_backward_weight(void *const *arrays, const int64_t *sizes, const double *scalars, int64_t start,
                                   int64_t stop) {
    const float *x = arrays[0], *grad_out = arrays[1];
    float *grad_weight = arrays[2], *grad_bias = arrays[3];
    conv_shape s = shape_of(sizes);
    s.K = sizes[0], s.N = sizes[4];
    (void)scalars, (void)start, (void)stop;
    const int winograd = winograd_weight_pays(&s);
    if (depthwise(&s)) return KG_NAME(conv_depthwise_weight)(&s, x, grad_out, grad_weight, grad_bias);
    if (!winograd && !grouped_weight_pays(&s))
        return KG_NAME(conv_implicit_weight)(&s, x, grad_out, grad_weight, grad_bias);
    if (winograd)
        KG_NAME(conv_winograd_weight)(&s, x, grad_out, grad_weight);
    else
        KG_NAME(conv_grouped_weight)(&s, x, grad_out, grad_weight);
    if (grad_bias) KG_NAME(conv_bias_gradient)(grad_out, s.N * s.OH * s.OW, s.K, grad_bias);
}

/* Transposed convolution: backward data as the forward, with x in the place of grad_out, and a bias. */
static void conv_transpose2d_forward(void *const *arrays, const int64_t *sizes, const double *scalars, int64_t start,
                                     int64_t stop) {
    const float *x = arrays[0], *weight = arrays[1], *bias = arrays[2];
    float *out = arrays[3];
    const conv_shape s = shape_of(sizes);
    (void)scalars, (void)start, (void)stop;
    if (winograd_fits(&s, s.H, s.W))
        KG_NAME(conv_winograd_data)(&s, x, weight, bias, out);
    else if (depthwise(&s))
        KG_NAME(conv_depthwise_data)(&s, x, weight, bias, out);
    else if (grouped_pays(&s, s.K / s.groups, s.C / s.groups, 1))
        KG_NAME(conv_grouped_data)(&s, x, weight, bias, out);
    else if (KG_NAME(conv_pointwise_fits)(&s))
        KG_NAME(conv_pointwise_data)(&s, x, weight, bias, out);
    else if (narrow_pays(&s, s.K, s.C, s.OW))
        KG_NAME(conv_narrow_data)(&s, x, weight, bias, out);
    else
        KG_NAME(conv_implicit_data)(&s, x, weight, bias, out);
}

/* grad_bias[c] = sum over pixels of grad_out[pixel, c]; sizes: channels, pixels */
static void conv_backward_bias(void *const *arrays, const int64_t *sizes, const double *scalars, int64_t start,
                               int64_t stop) {
    const float *grad_out = arrays[0];
    float *grad_bias = arrays[1];
    (void)scalars, (void)start, (void)stop;
    KG_NAME(conv_bias_gradient)(grad_out, sizes[1], sizes[0], grad_bias);
}

/* g = grad_out where out > 0, else 0; grad_bias[c] = sum over pixels of g[pixel, c]; sizes: channels, pixels. g may be
 * grad_out. */
static void conv_backward_relu_bias(void *const *arrays, const int64_t *sizes, const double *scalars, int64_t start,
                                    int64_t stop) {
    (void)scalars, (void)start, (void)stop;
    KG_NAME(conv_relu_bias_gradient)(arrays[0], arrays[1], sizes[1], sizes[0], arrays[2], arrays[3]);
}

const kg_entry KG_TABLE(conv)[] = {{"conv2d_forward", conv2d_forward},
                                   {"conv2d_keep_weight", conv2d_keep_weight},
                                   {"conv2d_backward_data", conv2d_backward_data},
                                   {"conv2d_backward_weight", conv2d_backward_weight},
                                   {"conv_transpose2d_forward", conv_transpose2d_forward},
                                   {"conv_backward_bias", conv_backward_bias},
                                   {"conv_backward_relu_bias", conv_backward_relu_bias},
                                   {0}};
