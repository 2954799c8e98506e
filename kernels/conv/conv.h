/* Convolution in two dimensions: what the files of this family share. Activations NHWC, weights OIHW, float32. */
#ifndef KG_CONV_H
#define KG_CONV_H

#include "runtime/kernel.h"
#include "runtime/pool.h"
#include "runtime/scratch.h"
#include "vec/vec.h"

/* The register tile: rows x 2 vectors of accumulators, and what else an iteration needs, fill the register file. */
#if VEC_LANES == 16
#define TILE_ROWS 14
#define SINGLE_ROWS 28 /* of a tile one vector wide */
#elif VEC_LANES == 8
#define TILE_ROWS 6
#define SINGLE_ROWS 12
#elif defined KG_ISA_neon
#define TILE_ROWS 8
#define SINGLE_ROWS 16
#else
#define TILE_ROWS 4
#define SINGLE_ROWS 8
#endif
#if VEC_LANES == 16
#define EVENLY 8 /* tiles of so few columns do two multiply-adds at a time: lists of their rows would hold them up */
#else
#define EVENLY 0
#endif
#define PANEL (2 * VEC_LANES) /* columns of the register tile; packed weights come in panels this wide */

#define CONV_GFLOPS_US 110e3 /* what a core does in a microsecond, for the pool's estimates */

/* A vector that was loaded is not loaded again by each multiply-add. */
#if defined KG_ISA_avx512 || defined KG_ISA_avx2
#define HIDE_VEC(v) __asm__("" : "+v"(v))
#else
#define HIDE_VEC(v) (void)(v)
#endif

/* sizes of the three kernels, in this order. Padding is that of the top and left edge; OH and OW say the rest. */
typedef struct {
    int64_t N, H, W, C, K, kh, kw, OH, OW, stride[2], padding[2], dilation[2], groups, activation, method;
    int64_t planes; /* of forward: x is NCHW memory; conv2d_keep_weight says whether it may be. 2 added to the method */
} conv_shape;
enum { CONV_AUTO, CONV_DIRECT };
enum { CONV_NONE, CONV_RELU };

static inline int64_t least(int64_t a, int64_t b) { return a < b ? a : b; }
static inline int64_t most(int64_t a, int64_t b) { return a > b ? a : b; }
static inline int64_t ceil_div(int64_t a, int64_t b) { return (a + b - 1) / b; }
static inline int64_t cut(int64_t total, int64_t parts, int64_t i) {
    return i * total / parts;
} /* where part i starts */
/* An odd number of cache lines: rows at this distance spread over all sets of L1 and L2. */
static inline int64_t odd_lines(int64_t floats) { return (ceil_div(floats, 16) | 1) * 16; }

/* Of one tap, narrow groups are done several at a time, as one product with zeros off the diagonal, so that they fill a
 * vector. The same number on every instruction set, and a reduction of one part: so zeros are all that it adds. */
static inline int64_t merged_groups(const conv_shape *s) {
    int64_t merge = 1, width = most(s->C, s->K) / s->groups;
    while (s->kh * s->kw == 1 && s->groups % (merge * 2) == 0 && merge * 2 * width <= 16) merge *= 2;
    return merge;
}

/* What becomes of a finished tile: C = activation(acc + C + bias). */
typedef struct {
    const float *bias;   /* per column, or NULL */
    int add, relu;       /* add: C counts */
    int far;             /* C was not touched lately: fetch it while the tile is computed */
    int resume;          /* C is where the accumulators start: the chain of an earlier product goes on */
    const int64_t *rows; /* where the rows of C lie, in floats from its start, if those of A are listed */
} conv_epilogue;

/* A run of k in the reduction: where it starts, in floats from `at` of A and from the start of a panel of B. */
typedef struct {
    int64_t a, b, k;
} conv_segment;

/* Memory that is wanted soon: at the start of each segment of each tile `step` floats more of it are fetched, so that
 * it arrives while others are multiplied. */
typedef struct {
    const float *at, *end;
    int64_t step;
} conv_ahead;

/* The left operand of a product: element (i, p) of a segment is at[segment.a + i row + p col]. Without a list, one
 * segment. */
typedef struct {
    const float *at;
    int64_t row, col, segments;
    const conv_segment *list;
    conv_ahead *ahead;   /* two, or NULL */
    const int64_t *rows; /* where its rows start, instead of at multiples of `row`, or NULL */
} conv_operand;

/* tile.c: C[m, n] = epilogue(A B), a reduction over k, or over the segments of A. B in panels of PANEL columns, `panel`
 * floats apart, with rows b_row apart. What lies in a panel beyond column n is read up to the next whole vector, and
 * does not count. */
void KG_NAME(conv_gemm)(int64_t m, int64_t n, int64_t k, const conv_operand *A, const float *b, int64_t b_row,
                        int64_t panel, float *c, int64_t c_row, const conv_epilogue *e);

/* One axis of a product over taps: output i at `out_first + i out_step` is made of the source pixels
 * `i step + first + tap gap`, whose weights have index `kernel_first + tap kernel_gap`. */
typedef struct {
    int64_t outputs, out_first, out_step, source, step, taps, first, gap, kernel_first, kernel_gap;
} conv_axis;

/* The reduction over taps and channels is done in parts of at most KC values, whose sums are added in order: whole
 * taps, or pieces of one where a tap is more than KC. */
#define KC 384 /* decides bits */
typedef struct {
    int64_t in, taps, pieces, count;
} conv_parts;
static inline conv_parts reduction_of(int64_t in, int64_t taps) {
    int64_t pieces = ceil_div(in, KC);
    return (conv_parts){in, taps, pieces, pieces > 1 ? taps * pieces : ceil_div(taps, KC / in)};
}
static inline int64_t part_start(const conv_parts *p, int64_t i) {
    if (p->pieces == 1) return cut(p->taps, p->count, i) * p->in;
    return i / p->pieces * p->in + least(i % p->pieces * ceil_div(ceil_div(p->in, p->pieces), 16) * 16, p->in);
}

/* Taps of an axis that lie on the source for output i. */
typedef struct {
    int64_t low, high;
} conv_reach;
static inline conv_reach reach_of(const conv_axis *a, int64_t i) {
    int64_t at = i * a->step + a->first;
    conv_reach r = {at < 0 ? least(ceil_div(-at, a->gap), a->taps) : 0, 0};
    r.high = at >= a->source ? r.low : most(r.low, least((a->source - 1 - at) / a->gap + 1, a->taps));
    return r;
}

/* gather.c: out[pixel][row] = the source's values, off-image ones 0, for output pixels pixel0 .. pixel1-1 (in the order
 * n, y, x) and reduction indices k0 .. k1-1 = (tap_y, tap_x, channel). `image` points at the first channel of the
 * group. */
void KG_NAME(conv_gather)(const conv_axis axes[2], const float *image, int64_t pixel_stride, int64_t channels,
                          int64_t pixel0, int64_t pixel1, int64_t k0, int64_t k1, float *out, int64_t row);
/* `channels` of each of so many pixels, `step` floats apart, to others `to_step` apart. Up to a vector more is written.
 */
void KG_NAME(conv_copy_pixels)(float *to, int64_t to_step, const float *from, int64_t step, int64_t pixels,
                               int64_t channels);
conv_axis KG_NAME(conv_forward_axis)(const conv_shape *s, int axis);
conv_axis KG_NAME(conv_phase_axis)(const conv_shape *s, int axis, int64_t phase); /* of backward data */

/* Rows of an image as they are needed for output rows y0 .. y1-1, with zeros where taps leave the image: `step` and
 * `gap` of the axes apply to the rows and pixels of a band as to those of the image. */
typedef struct {
    const float *at;    /* the first tap of output (y0, 0) */
    int64_t row, pixel; /* floats from row to row, from pixel to pixel */
} conv_band;
/* With a pixel_stride of 0 the image is planes, two to four of them. */
int64_t KG_NAME(conv_band_floats)(const conv_axis axes[2], int64_t pixel_stride, int64_t pixel, int64_t rows);
conv_band KG_NAME(conv_make_band_of)(const conv_axis axes[2], const float *image, int64_t pixel_stride,
                                     int64_t channels, int64_t pixel, int64_t y0, int64_t y1, float *room);
conv_band KG_NAME(conv_make_band)(const conv_axis axes[2], const float *image, int64_t pixel_stride, int64_t channels,
                                  int64_t y0, int64_t y1, float *room); /* with pixels side by side */

/* Of forward methods: `kept` is what `keep` made of the weights, or NULL. */
/* implicit.c, backward_weight.c: any shape. */
void KG_NAME(conv_implicit_forward)(const conv_shape *s, const float *x, const float *weight, const float *kept,
                                    const float *bias, float *out);
int64_t KG_NAME(conv_implicit_kept)(const conv_shape *s); /* floats of it */
void KG_NAME(conv_implicit_keep)(const conv_shape *s, const float *weight, float *kept);
void KG_NAME(conv_implicit_data)(const conv_shape *s, const float *grad_out, const float *weight, const float *bias,
                                 float *grad_x);
void KG_NAME(conv_implicit_weight)(const conv_shape *s, const float *x, const float *grad_out, float *grad_weight,
                                   float *grad_bias);

/* bias.c. sums[c] += sum over pixels of g[pixel stride + c]: runs of 64 pixels by fours, in order. */
void KG_NAME(conv_add_pixels)(const float *g, int64_t pixels, int64_t stride, int64_t channels, float *sums);
void KG_NAME(conv_bias_gradient)(const float *grad_out, int64_t pixels, int64_t channels, float *grad_bias);
void KG_NAME(conv_relu_bias_gradient)(const float *out, const float *grad_out, int64_t pixels, int64_t channels,
                                      float *before, float *grad_bias);

/* pixels.c: forward for outputs that would leave lanes idle, groups 1. */
void KG_NAME(conv_pixels_forward)(const conv_shape *s, const float *x, const float *weight, const float *kept,
                                  const float *bias, float *out);
int64_t KG_NAME(conv_pixels_kept)(const conv_shape *s);
void KG_NAME(conv_pixels_keep)(const conv_shape *s, const float *weight, float *kept);

/* narrow.c: few channels of grad_x, groups 1. */
void KG_NAME(conv_narrow_data)(const conv_shape *s, const float *grad_out, const float *weight, const float *bias,
                               float *grad_x);

/* pointwise.c: 1x1 without padding, groups 1. */
int KG_NAME(conv_pointwise_fits)(const conv_shape *s);
int64_t KG_NAME(conv_pointwise_kept)(const conv_shape *s);
void KG_NAME(conv_pointwise_keep)(const conv_shape *s, const float *weight, float *kept);
void KG_NAME(conv_pointwise_forward)(const conv_shape *s, const float *x, const float *weight, const float *kept,
                                     const float *bias, float *out);
void KG_NAME(conv_pointwise_data)(const conv_shape *s, const float *grad_out, const float *weight, const float *bias,
                                  float *grad_x);

/* winograd.c, winograd_weight.c: 3x3, stride 1, dilation 1, at least 16 channels in and out of a group. */
void KG_NAME(conv_winograd_forward)(const conv_shape *s, const float *x, const float *weight, const float *kept,
                                    const float *bias, float *out);
int64_t KG_NAME(conv_winograd_kept)(const conv_shape *s);
void KG_NAME(conv_winograd_keep)(const conv_shape *s, const float *weight, float *kept);
void KG_NAME(conv_winograd_data)(const conv_shape *s, const float *grad_out, const float *weight, const float *bias,
                                 float *grad_x);
void KG_NAME(conv_winograd_weight)(const conv_shape *s, const float *x, const float *grad_out, float *grad_weight);

/* depthwise.c, depthwise_weight.c: groups = C = K. */
void KG_NAME(conv_depthwise_forward)(const conv_shape *s, const float *x, const float *weight, const float *bias,
                                     float *out);
void KG_NAME(conv_depthwise_data)(const conv_shape *s, const float *grad_out, const float *weight, const float *bias,
                                  float *grad_x);
void KG_NAME(conv_depthwise_weight)(const conv_shape *s, const float *x, const float *grad_out, float *grad_weight,
                                    float *grad_bias);

/* grouped.c, grouped_weight.c: groups of few channels. */
void KG_NAME(conv_grouped_forward)(const conv_shape *s, const float *x, const float *weight, const float *bias,
                                   float *out);
void KG_NAME(conv_grouped_data)(const conv_shape *s, const float *grad_out, const float *weight, const float *bias,
                                float *grad_x);
int64_t KG_NAME(conv_lane_offsets)(int64_t vector, int64_t in, int64_t outs, int64_t channels, int32_t *offset);
void KG_NAME(conv_spread_band)(const conv_axis axes[2], const float *image, const float *end, int64_t channels,
                               int64_t in, const int32_t *offset, int64_t y0, int64_t y1, int64_t width, float *room);
void KG_NAME(conv_grouped_weight)(const conv_shape *s, const float *x, const float *grad_out, float *grad_weight);

#endif
