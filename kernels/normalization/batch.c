/* Batch norm over (outer, channels, inner): (N H W, C, 1) is channels-last memory, channels as lanes; (N, C, H W) is
 * contiguous memory, a row for each channel and image. sizes are (channels, outer, inner, has_...).
 *
 * Statistics come from pieces that fit in the L2: each has its own mean and centred squares, and the pieces merge in
 * order in double precision (Chan, Golub & LeVeque 1983). So a piece is read from memory once for both passes. The pass
 * that writes goes through the pieces from the last to the first, which the caches still hold.
 *
 * Short rows of (N, C, H W) are columns, too: of (outer, channels * inner), with a tile that says `inner` times what
 * holds for a channel. */
#include "normalization/columns.h"
#include "normalization/planes.h"
#include "runtime/kernel.h"
#include "runtime/pool.h"
#include "runtime/scratch.h"

#include <math.h>

enum { SHORT = 16 /* inner below this: columns */, MAPS = 5 };

typedef struct {
    const float *x, *grad_out;
    float *out;
    int64_t channels, outer, inner, columns;
    int reads_columns, writes_columns;
    cutting reading, writing; /* of outer */
    int64_t group, groups;    /* channels of an image that a task takes, where it takes rows; how many such groups */
    float *first, *second;    /* what each piece leaves, `left` floats of columns or channels each */
    int64_t left;
    /* By channel: y = (x - mean) scale + shift, of which relu takes max(y, 0); backward g scale + (x - mean) slope +
     * constant. The same by column. */
    float *mean, *scale, *shift, *slope, *constant;
    float *tile[MAPS];
    int relu;
} batch;

static int64_t smaller(int64_t a, int64_t b) { return a < b ? a : b; }

static batch open(void *const *arrays, const int64_t *sizes) {
    batch b = {.x = arrays[0], .channels = sizes[0], .outer = sizes[1], .inner = sizes[2]};
    b.columns = b.channels * b.inner;
    const int64_t read = fold_to_read(b.outer, b.columns), write = fold_to_write(b.outer, b.columns);
    b.reads_columns = b.inner < SHORT;
    b.writes_columns = b.inner < SHORT || (b.inner % 16 && write * b.columns <= MOST_TILE && b.outer >= 8 * write);
    b.reading = cut_rows(b.outer, b.columns, b.reads_columns ? read : 1);
    b.writing = cut_rows(b.outer, b.columns, b.writes_columns ? write : 1);
    b.group = b.inner > 0 && b.columns > PIECE ? smaller(b.channels, PIECE / b.inner + 1) : b.channels;
    b.groups = b.group > 0 ? (b.channels + b.group - 1) / b.group : 0;
    b.left = b.reads_columns ? b.reading.width : b.channels;
    const int64_t parts = b.reading.pieces * b.left;
    b.first = kg_scratch(KG_SCRATCH_PARTIAL, (size_t)(parts * 2) * sizeof(float) + 64);
    b.second = b.first + parts;
    const int64_t widest = b.reading.width > b.writing.width ? b.reading.width : b.writing.width;
    const int64_t tile = b.reads_columns || b.writes_columns ? (widest + 15) / 16 * 16 : 0;
    float *at = kg_scratch(KG_SCRATCH_ROWS, (size_t)(MAPS * (tile + b.channels)) * sizeof(float) + 64);
    for (int k = 0; k < MAPS; k++) b.tile[k] = at + k * tile;
    b.mean = at + MAPS * tile, b.scale = b.mean + b.channels, b.shift = b.scale + b.channels;
    b.slope = b.shift + b.channels, b.constant = b.slope + b.channels;
    return b;
}

static void fill_tile(const batch *b, float *tile, const float *by_channel, const cutting *c) {
    if (b->inner == 1)
        memcpy(tile, by_channel, (size_t)b->channels * sizeof(float));
    else
        for (int64_t i = 0; i < b->channels; i++)
            for (int64_t k = 0; k < b->inner; k++) tile[i * b->inner + k] = by_channel[i];
    repeat(tile, c);
}

static void over(kg_task *task, batch *b, int64_t chunks, double ns) {
    if (chunks == 1)
        task(b, 0);
    else if (chunks > 1)
        kg_parallel(task, b, chunks, (double)(b->outer * b->columns) * ns * 1e-3);
}
/* The same from the last chunk of each thread to its first. */
static void over_from_last(kg_task *task, batch *b, int64_t chunks, double ns) {
    if (chunks == 1)
        task(b, 0);
    else if (chunks > 1)
        kg_parallel_from_last(task, b, chunks, (double)(b->outer * b->columns) * ns * 1e-3);
}

/* ---- Reading ---- */

static void moments_columns(void *context, int64_t piece) {
    const batch *b = context;
    const span s = span_of(&b->reading, piece);
    const int64_t left = piece * b->left;
    column_moments(b->x + s.start * b->columns, b->first + left, b->second + left, s.rows, s.width);
}
static void moments_planes(void *context, int64_t chunk) {
    const batch *b = context;
    const int64_t piece = chunk / b->groups, from = chunk % b->groups * b->group, left = piece * b->left;
    const span s = span_of(&b->reading, piece);
    for (int64_t i = from; i < smaller(from + b->group, b->channels); i++)
        plane_moments(b->x + s.start * b->columns + i * b->inner, s.rows, b->columns, b->inner, b->first + left + i,
                      b->second + left + i);
}
static void sums_columns(void *context, int64_t piece) {
    const batch *b = context;
    const span s = span_of(&b->reading, piece);
    const int64_t at = s.start * b->columns, left = piece * b->left;
    const float *x = b->x + at, *g = b->grad_out + at;
    const float *mean = b->tile[0], *scale = b->tile[1], *shift = b->tile[2];
    if (b->relu)
        column_sums(x, g, mean, scale, shift, b->first + left, b->second + left, s.rows, s.width, 1);
    else
        column_sums(x, g, mean, NULL, NULL, b->first + left, b->second + left, s.rows, s.width, 0);
}
static void sums_planes(void *context, int64_t chunk) {
    const batch *b = context;
    const int64_t piece = chunk / b->groups, from = chunk % b->groups * b->group, left = piece * b->left;
    const span s = span_of(&b->reading, piece);
    for (int64_t i = from; i < smaller(from + b->group, b->channels); i++) {
        const int64_t at = s.start * b->columns + i * b->inner;
        const float *x = b->x + at, *g = b->grad_out + at;
        float *sum = b->first + left + i, *dot = b->second + left + i;
        if (b->relu)
            plane_sums(x, g, s.rows, b->columns, b->inner, b->mean[i], b->scale[i], b->shift[i], sum, dot, 1);
        else
            plane_sums(x, g, s.rows, b->columns, b->inner, b->mean[i], 0, 0, sum, dot, 0);
    }
}

/* mean and variance of each channel (divided by the count), in double precision; the arrays hold `left` numbers */
static void statistics(batch *b, double *mean, double *var) {
    const int64_t lanes = b->reads_columns ? b->columns : b->channels;
    if (b->reads_columns)
        over(moments_columns, b, b->reading.pieces, 0.15);
    else
        over(moments_planes, b, b->reading.pieces * b->groups, 0.15);
    double count = 0;
    for (int64_t i = 0; i < lanes; i++) mean[i] = var[i] = 0;
    for (int64_t p = 0; p < b->reading.pieces; p++) {
        const span s = span_of(&b->reading, p);
        const double rows = (double)(b->reads_columns ? s.rows : s.rows * b->inner);
        for (int64_t f = 0; f < s.width; f += b->columns) {
            const float *first = b->first + p * b->left + f, *second = b->second + p * b->left + f;
            const double total = count + rows, share = rows / total, between = count * share;
            for (int64_t i = 0; i < lanes; i++) {
                double delta = first[i] - mean[i];
                mean[i] += delta * share;
                var[i] += second[i] + delta * delta * between;
            }
            count = total;
        }
    }
    if (lanes > b->channels) /* columns of a channel, of as many rows each */
        for (int64_t i = 0; i < b->channels; i++) {
            double m = 0, squares = 0;
            for (int64_t k = 0; k < b->inner; k++) {
                double delta = mean[i * b->inner + k] - m, n = (double)k;
                m += delta / (n + 1);
                squares += var[i * b->inner + k] + delta * delta * count * n / (n + 1);
            }
            mean[i] = m, var[i] = squares;
        }
    for (int64_t i = 0; i < b->channels; i++) var[i] /= (double)(b->outer * b->inner);
}

/* sum g and sum g (x - mean) of each channel; the arrays hold `left` numbers */
static void sums(batch *b, double *sum, double *dot) {
    if (b->reads_columns) {
        const float *const by_channel[3] = {b->mean, b->scale, b->shift};
        for (int k = 0; k < (b->relu ? 3 : 1); k++) fill_tile(b, b->tile[k], by_channel[k], &b->reading);
        over(sums_columns, b, b->reading.pieces, 0.2);
    } else
        over(sums_planes, b, b->reading.pieces * b->groups, 0.2);
    const int64_t lanes = b->reads_columns ? b->columns : b->channels;
    for (int64_t i = 0; i < lanes; i++) sum[i] = dot[i] = 0;
    for (int64_t p = 0; p < b->reading.pieces; p++)
        for (int64_t f = 0; f < span_of(&b->reading, p).width; f += b->columns) {
            const float *first = b->first + p * b->left + f, *second = b->second + p * b->left + f;
            for (int64_t i = 0; i < lanes; i++) sum[i] += first[i], dot[i] += second[i];
        }
    for (int64_t i = 0; i < b->channels && lanes > b->channels; i++) {
        double s = 0, d = 0;
        for (int64_t k = 0; k < b->inner; k++) s += sum[i * b->inner + k], d += dot[i * b->inner + k];
        sum[i] = s, dot[i] = d;
    }
}

/* ---- Writing ---- */

VEC_INLINE void affine_rows(const batch *b, int64_t piece, int relu) {
    const span s = span_of(&b->writing, piece);
    int64_t at = s.start * b->columns;
    if (b->writes_columns) {
        column_affine(b->x + at, b->out + at, b->tile[0], b->tile[1], b->tile[2], s.rows, s.width, relu);
        return;
    }
    for (int64_t r = 0; r < s.rows; r++)
        for (int64_t i = 0; i < b->channels; i++, at += b->inner)
            plane_affine(b->x + at, b->out + at, b->inner, b->mean[i], b->scale[i], b->shift[i], relu);
}
static void affine_piece(void *context, int64_t piece) { affine_rows(context, piece, 0); }
static void affine_relu_piece(void *context, int64_t piece) { affine_rows(context, piece, 1); }

VEC_INLINE void gradient_rows(const batch *b, int64_t piece, int relu) {
    const span s = span_of(&b->writing, piece);
    int64_t at = s.start * b->columns;
    if (b->writes_columns) {
        column_gradient(b->x + at, b->grad_out + at, b->out + at, b->tile[0], b->tile[1], b->tile[2], b->tile[3],
                        b->tile[4], s.rows, s.width, relu);
        return;
    }
    for (int64_t r = 0; r < s.rows; r++)
        for (int64_t i = 0; i < b->channels; i++, at += b->inner)
            plane_gradient(b->x + at, b->grad_out + at, b->out + at, b->inner, b->mean[i], b->scale[i], b->shift[i],
                           b->slope[i], b->constant[i], relu);
}
static void gradient_piece(void *context, int64_t piece) { gradient_rows(context, piece, 0); }
static void gradient_relu_piece(void *context, int64_t piece) { gradient_rows(context, piece, 1); }

static void write(batch *b, kg_task *task, int maps, double ns) {
    const float *const by_channel[MAPS] = {b->mean, b->scale, b->shift, b->slope, b->constant};
    for (int k = 0; k < maps && b->writes_columns; k++) fill_tile(b, b->tile[k], by_channel[k], &b->writing);
    over_from_last(task, b, b->writing.pieces, ns);
}

/* ---- The kernels ---- */

static void affine(batch *b, const float *weight, const float *bias, const float *mean, const float *rstd) {
    for (int64_t i = 0; i < b->channels; i++) {
        b->mean[i] = mean[i];
        b->scale[i] = weight ? weight[i] * rstd[i] : rstd[i];
        b->shift[i] = bias ? bias[i] : 0.0f;
    }
    write(b, b->relu ? affine_relu_piece : affine_piece, 3, 0.15);
}

#define KERNEL(name) \
    static void name(void *const *arrays, const int64_t *sizes, const double *scalars, int64_t start, int64_t stop)

/* y = (x - mean) / sqrt(var + eps) weight + bias with the batch's own statistics; running += momentum (batch -
 * running), where the running variance takes the unbiased one. Ioffe & Szegedy 2015, arXiv:1502.03167. Keeps mean and
 * rstd. */
static void forward(void *const *arrays, const int64_t *sizes, const double *scalars, int relu) {
    float *running_mean = arrays[3], *running_var = arrays[4], *mean = arrays[6], *rstd = arrays[7];
    batch b = open(arrays, sizes);
    b.out = arrays[5], b.relu = relu;
    double momentum = scalars[0], eps = scalars[1], count = (double)(b.outer * b.inner);
    double *m = kg_scratch(KG_SCRATCH_OTHER, (size_t)b.left * 2 * sizeof(double) + 64), *var = m + b.left;
    statistics(&b, m, var);
    for (int64_t i = 0; i < b.channels; i++) {
        mean[i] = (float)m[i];
        rstd[i] = (float)(1.0 / sqrt(var[i] + eps));
        if (!running_mean) continue;
        running_mean[i] = (float)(running_mean[i] + momentum * (m[i] - running_mean[i]));
        running_var[i] = (float)(running_var[i] + momentum * (var[i] * (count / (count - 1.0)) - running_var[i]));
    }
    affine(&b, arrays[1], arrays[2], mean, rstd);
}
KERNEL(batch_norm_forward) {
    (void)start, (void)stop;
    forward(arrays, sizes, scalars, 0);
}
/* max(y, 0) */
KERNEL(batch_norm_relu_forward) {
    (void)start, (void)stop;
    forward(arrays, sizes, scalars, 1);
}

/* The same with the running statistics, which it leaves alone. */
KERNEL(batch_norm_inference) {
    const float *running_mean = arrays[3], *running_var = arrays[4];
    float *mean = arrays[6], *rstd = arrays[7];
    (void)start, (void)stop;
    batch b = open(arrays, sizes);
    b.out = arrays[5];
    for (int64_t i = 0; i < b.channels; i++) {
        mean[i] = running_mean[i];
        rstd[i] = (float)(1.0 / sqrt(running_var[i] + scalars[0]));
    }
    affine(&b, arrays[1], arrays[2], mean, rstd);
}

/* With a = weight rstd and h = (x - mean) rstd: dx = a (g - mean(g) - h mean(g h)), or a g where the statistics are
 * constants; dweight = sum g h, dbias = sum g. With a relu behind it, of which `bias` tells the sign, g is 0 where y <=
 * 0. */
static void backward(void *const *arrays, const int64_t *sizes, int training, int relu, const float *bias) {
    const float *weight = arrays[1], *rstd = arrays[3];
    float *grad_weight = arrays[6], *grad_bias = arrays[7];
    batch b = open(arrays, sizes);
    b.grad_out = arrays[4], b.out = arrays[5], b.relu = relu;
    const double count = (double)(b.outer * b.inner);
    double *sum = kg_scratch(KG_SCRATCH_OTHER, (size_t)b.left * 2 * sizeof(double) + 64), *dot = sum + b.left;
    memcpy(b.mean, arrays[2], (size_t)b.channels * sizeof(float));
    for (int64_t i = 0; i < b.channels; i++) {
        b.scale[i] = weight ? weight[i] * rstd[i] : rstd[i];
        b.shift[i] = bias ? bias[i] : 0.0f;
    }
    sums(&b, sum, dot);
    for (int64_t i = 0; i < b.channels; i++) {
        const float a = b.scale[i];
        b.slope[i] = training ? (float)(-a * rstd[i] * rstd[i] * (dot[i] / count)) : 0.0f;
        b.constant[i] = training ? (float)(-a * (sum[i] / count)) : 0.0f;
        if (grad_weight) grad_weight[i] = (float)(dot[i] * rstd[i]);
        if (grad_bias) grad_bias[i] = (float)sum[i];
    }
    write(&b, relu ? gradient_relu_piece : gradient_piece, MAPS, 0.2);
}
KERNEL(batch_norm_backward) {
    (void)scalars, (void)start, (void)stop;
    backward(arrays, sizes, 1, 0, NULL);
}
KERNEL(batch_norm_inference_backward) {
    (void)scalars, (void)start, (void)stop;
    backward(arrays, sizes, 0, 0, NULL);
}
KERNEL(batch_norm_relu_backward) {
    (void)scalars, (void)start, (void)stop;
    backward(arrays, sizes, 1, 1, arrays[8]);
}

const kg_entry KG_TABLE(normalization_batch)[] = {{"batch_norm_forward", batch_norm_forward},
                                                  {"batch_norm_inference", batch_norm_inference},
                                                  {"batch_norm_backward", batch_norm_backward},
                                                  {"batch_norm_inference_backward", batch_norm_inference_backward},
                                                  {"batch_norm_relu_forward", batch_norm_relu_forward},
                                                  {"batch_norm_relu_backward", batch_norm_relu_backward},
                                                  {0}};
