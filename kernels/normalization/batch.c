/* Batch norm over (outer, channels, inner): (N H W, C, 1) is channels-last memory, channels as lanes; (N, C, H W) is
 * contiguous memory, a row for each channel and image. sizes are (channels, outer, inner, has_...).
 *
 * Statistics come from pieces that fit in the L2: each has its own mean and centred squares, and the pieces merge in
 * order in double precision (Chan, Golub & LeVeque 1983). So a piece is read from memory once for both passes. The pass
 * that writes goes through the pieces from the last to the first, which the caches still hold. */
#include "normalization/columns.h"
#include "reduction/tree.h"
#include "runtime/kernel.h"
#include "runtime/pool.h"
#include "runtime/scratch.h"

#include <math.h>

typedef struct {
    const float *x, *grad_out;
    float *out;
    const float *mean; /* by channel, or column of a tile, and what follows: out = (x - mean) scale + shift, */
    float *scale, *shift;
    float *slope;          /* grad_x = g scale + (x - mean) slope + shift */
    float *first, *second; /* what each piece leaves, (pieces, left) each */
    int64_t channels, outer, inner;
    cutting reading, writing;
    int64_t left, widest; /* by channel for a row of memory, else by column; widest: of a tile */
} batch;

/* Pieces for both passes, space for what they leave, and for `tiles` tiles, which are returned. */
static float *open_pieces(batch *b, int tiles) {
    const int folds = b->inner == 1;
    b->reading = cut_rows(b->outer, b->channels * b->inner, folds ? fold_to_read(b->outer, b->channels) : 1);
    b->writing = cut_rows(b->outer, b->channels * b->inner, folds ? fold_to_write(b->outer, b->channels) : 1);
    b->left = folds ? b->reading.width : b->channels;
    b->widest = folds && b->writing.width > b->left ? b->writing.width : b->left;
    b->first = kg_scratch(KG_SCRATCH_PARTIAL, (size_t)(b->reading.pieces * b->left * 2) * sizeof(float) + 64);
    b->second = b->first + b->reading.pieces * b->left;
    return kg_scratch(KG_SCRATCH_ROWS, (size_t)(b->widest * tiles) * sizeof(float) + 64);
}

static void over_pieces(kg_task *task, batch *b, int64_t pieces, double ns) {
    if (pieces == 1)
        task(b, 0);
    else if (pieces > 1)
        kg_parallel(task, b, pieces, (double)(b->channels * b->outer * b->inner) * ns * 1e-3);
}

/* ---- Statistics ---- */

/* mean and sum (x - mean)^2 of each channel in one piece */
static void moments_piece(void *context, int64_t piece) {
    const batch *b = context;
    const span s = span_of(&b->reading, piece);
    int64_t c = b->channels, rows = s.rows;
    float *mean = b->first + piece * b->left, *squares = b->second + piece * b->left;
    const float *x = b->x + s.start * c * b->inner;
    if (b->inner == 1) {
        column_moments(x, mean, squares, rows, s.width);
        return;
    }
    for (int64_t i = 0; i < c; i++) { /* a channel's rows in this piece */
        float sum = 0.0f, square = 0.0f;
        for (int64_t r = 0; r < rows; r++) sum += tree_row(TREE_SUM, x + (r * c + i) * b->inner, b->inner, 0.0f);
        mean[i] = sum / (float)(rows * b->inner);
        for (int64_t r = 0; r < rows; r++)
            square += tree_row(TREE_SUM_DEVIATIONS, x + (r * c + i) * b->inner, b->inner, mean[i]);
        squares[i] = square;
    }
}

/* mean and variance of each channel (divided by the count), in double precision */
static void statistics(batch *b, double *mean, double *var) {
    int64_t c = b->channels;
    over_pieces(moments_piece, b, b->reading.pieces, 0.15);
    double count = 0;
    for (int64_t i = 0; i < c; i++) mean[i] = var[i] = 0;
    for (int64_t p = 0; p < b->reading.pieces; p++) {
        const span s = span_of(&b->reading, p);
        double rows = (double)(s.rows * b->inner);
        for (int64_t f = 0; f < s.width; f += c * b->inner) {
            const int64_t at = p * b->left + f;
            const float *first = b->first + at, *second = b->second + at;
            const double total = count + rows, share = rows / total, between = count * share;
            for (int64_t i = 0; i < c; i++) {
                double delta = first[i] - mean[i];
                mean[i] += delta * share;
                var[i] += second[i] + delta * delta * between;
            }
            count = total;
        }
    }
    for (int64_t i = 0; i < c; i++) var[i] /= count;
}

/* ---- Applying them ---- */

static void apply_piece(void *context, int64_t chunk) {
    const batch *b = context;
    const span s = span_of(&b->writing, b->writing.pieces - 1 - chunk);
    int64_t c = b->channels;
    if (b->inner == 1) {
        int64_t at = s.start * c;
        column_affine(b->x + at, b->out + at, b->mean, b->scale, b->shift, s.rows, s.width);
        return;
    }
    for (int64_t o = s.start; o < s.start + s.rows; o++) {
        const float *x = b->x + o * c * b->inner;
        float *out = b->out + o * c * b->inner;
        for (int64_t i = 0; i < c; i++) {
            const vec_f32 mean = vec_set(b->mean[i]), scale = vec_set(b->scale[i]), shift = vec_set(b->shift[i]);
            const float *row = x + i * b->inner;
            for (int64_t k = 0; k < b->inner; k += VEC_LANES) {
                int64_t rest = b->inner - k;
                vec_store(out + i * b->inner + k, vec_fma(vec_sub(vec_load(row + k, rest), mean), scale, shift), rest);
            }
        }
    }
}

static void apply(batch *b, float *tiles, const float *weight, const float *bias, const float *mean,
                  const float *rstd) {
    float *centre = tiles + 2 * b->widest;
    b->scale = tiles, b->shift = tiles + b->widest, b->mean = centre;
    for (int64_t i = 0; i < b->channels; i++) {
        b->scale[i] = weight ? weight[i] * rstd[i] : rstd[i];
        b->shift[i] = bias ? bias[i] : 0.0f;
        centre[i] = mean[i];
    }
    if (b->inner == 1) repeat(b->scale, &b->writing), repeat(b->shift, &b->writing), repeat(centre, &b->writing);
    over_pieces(apply_piece, b, b->writing.pieces, 0.15);
}

#define KERNEL(name) \
    static void name(void *const *arrays, const int64_t *sizes, const double *scalars, int64_t start, int64_t stop)

/* y = (x - mean) / sqrt(var + eps) weight + bias with the batch's own statistics; running += momentum (batch -
 * running), where the running variance takes the unbiased one. Ioffe & Szegedy 2015, arXiv:1502.03167. Keeps mean and
 * rstd. */
KERNEL(batch_norm_forward) {
    float *running_mean = arrays[3], *running_var = arrays[4], *mean = arrays[6], *rstd = arrays[7];
    batch b = {.x = arrays[0], .out = arrays[5], .channels = sizes[0], .outer = sizes[1], .inner = sizes[2]};
    int64_t c = b.channels;
    double momentum = scalars[0], eps = scalars[1], count = (double)(b.outer * b.inner);
    (void)start, (void)stop;
    float *tiles = open_pieces(&b, 3);
    double *m = kg_scratch(KG_SCRATCH_OTHER, (size_t)c * 2 * sizeof(double) + 64), *var = m + c;
    statistics(&b, m, var);
    for (int64_t i = 0; i < c; i++) {
        mean[i] = (float)m[i];
        rstd[i] = (float)(1.0 / sqrt(var[i] + eps));
        if (!running_mean) continue;
        running_mean[i] = (float)(running_mean[i] + momentum * (m[i] - running_mean[i]));
        running_var[i] = (float)(running_var[i] + momentum * (var[i] * (count / (count - 1.0)) - running_var[i]));
    }
    apply(&b, tiles, arrays[1], arrays[2], mean, rstd);
}

/* The same with the running statistics, which it leaves alone. */
KERNEL(batch_norm_inference) {
    const float *running_mean = arrays[3], *running_var = arrays[4];
    float *mean = arrays[6], *rstd = arrays[7];
    batch b = {.x = arrays[0], .out = arrays[5], .channels = sizes[0], .outer = sizes[1], .inner = sizes[2]};
    (void)start, (void)stop;
    float *tiles = open_pieces(&b, 3);
    for (int64_t i = 0; i < b.channels; i++) {
        mean[i] = running_mean[i];
        rstd[i] = (float)(1.0 / sqrt(running_var[i] + scalars[0]));
    }
    apply(&b, tiles, arrays[1], arrays[2], mean, rstd);
}

/* ---- Backward ---- */

/* sum g and sum g (x - mean) of one row, in 32 lanes each */
static void sums_of_row(const float *x, const float *g, int64_t n, float mean, float *sum, float *dot) {
    const vec_f32 m = vec_set(mean);
    vec16 s[2] = {vec16_zero(), vec16_zero()}, d[2] = {vec16_zero(), vec16_zero()};
    for (int64_t i = 0; i < n; i += 32) UNROLL
    for (int k = 0; k < 2; k++) VEC16_EACH {
            int64_t at = i + k * 16 + j * VEC_LANES, rest = n - at;
            vec_f32 gv = vec_load(g + at, rest), centred = vec_sub(vec_load(x + at, rest), m);
            if (at + VEC_LANES > n) centred = vec_select(vec_first(rest), centred, vec_zero());
            s[k].v[j] = vec_add(s[k].v[j], gv);
            d[k].v[j] = vec_fma(gv, centred, d[k].v[j]);
        }
    *sum += vec16_sum(vec16_add(s[0], s[1]));
    *dot += vec16_sum(vec16_add(d[0], d[1]));
}

static void sums_piece(void *context, int64_t piece) {
    const batch *b = context;
    const span s = span_of(&b->reading, piece);
    int64_t c = b->channels;
    float *sum = b->first + piece * b->left, *dot = b->second + piece * b->left;
    const float *x = b->x + s.start * c * b->inner, *g = b->grad_out + s.start * c * b->inner;
    if (b->inner == 1) {
        column_sums(x, g, b->mean, sum, dot, s.rows, s.width);
        for (int64_t i = s.width; i < b->left; i++) sum[i] = dot[i] = 0.0f;
        return;
    }
    for (int64_t i = 0; i < c; i++) {
        sum[i] = dot[i] = 0.0f;
        for (int64_t r = 0; r < s.rows; r++) {
            int64_t at = (r * c + i) * b->inner;
            sums_of_row(x + at, g + at, b->inner, b->mean[i], sum + i, dot + i);
        }
    }
}

static void grad_piece(void *context, int64_t chunk) {
    const batch *b = context;
    const span s = span_of(&b->writing, b->writing.pieces - 1 - chunk);
    int64_t c = b->channels;
    if (b->inner == 1) {
        const int64_t at = s.start * c;
        column_gradient(b->x + at, b->grad_out + at, b->out + at, b->mean, b->scale, b->slope, b->shift, s.rows,
                        s.width);
        return;
    }
    for (int64_t o = s.start; o < s.start + s.rows; o++) {
        const float *x = b->x + o * c * b->inner, *g = b->grad_out + o * c * b->inner;
        float *out = b->out + o * c * b->inner;
        for (int64_t i = 0; i < c; i++) {
            const vec_f32 mean = vec_set(b->mean[i]), scale = vec_set(b->scale[i]), shift = vec_set(b->shift[i]);
            const vec_f32 slope = vec_set(b->slope[i]);
            for (int64_t k = i * b->inner; k < (i + 1) * b->inner; k += VEC_LANES) {
                int64_t rest = (i + 1) * b->inner - k;
                vec_f32 v = vec_fma(vec_sub(vec_load(x + k, rest), mean), slope, shift);
                vec_store(out + k, vec_fma(vec_load(g + k, rest), scale, v), rest);
            }
        }
    }
}

/* With a = weight rstd and h = (x - mean) rstd: dx = a (g - mean(g) - h mean(g h)), or a g where the statistics are
 * constants; dweight = sum g h, dbias = sum g. */
static void backward(void *const *arrays, const int64_t *sizes, int training) {
    const float *weight = arrays[1], *mean = arrays[2], *rstd = arrays[3];
    float *grad_weight = arrays[6], *grad_bias = arrays[7];
    batch b = {.x = arrays[0], .grad_out = arrays[4], .out = arrays[5]};
    b.channels = sizes[0], b.outer = sizes[1], b.inner = sizes[2];
    int64_t c = b.channels;
    float count = (float)(b.outer * b.inner);
    float *tiles = open_pieces(&b, 6), *centre = tiles;
    const cutting *r = &b.reading, *w = &b.writing;
    float *sum = tiles + 4 * b.widest, *dot = sum + b.widest;
    b.scale = tiles + b.widest, b.slope = b.scale + b.widest, b.shift = b.slope + b.widest, b.mean = centre;
    memcpy(centre, mean, (size_t)c * sizeof(float));
    if (b.inner == 1) repeat(centre, r);
    over_pieces(sums_piece, &b, r->pieces, 0.2);
    tree_columns(TREE_SUM, b.first, b.first, 0, sum, r->pieces, b.left, b.left, 1);
    tree_columns(TREE_SUM, b.second, b.second, 0, dot, r->pieces, b.left, b.left, 1);
    for (int64_t i = c; i < b.left; i++) sum[i % c] += sum[i], dot[i % c] += dot[i];
    for (int64_t i = 0; i < c; i++) {
        float a = weight ? weight[i] * rstd[i] : rstd[i];
        b.scale[i] = a;
        b.slope[i] = training ? -a * rstd[i] * rstd[i] * (dot[i] / count) : 0.0f;
        b.shift[i] = training ? -a * (sum[i] / count) : 0.0f;
        if (grad_weight) grad_weight[i] = dot[i] * rstd[i];
        if (grad_bias) grad_bias[i] = sum[i];
    }
    if (b.inner == 1) repeat(centre, w), repeat(b.scale, w), repeat(b.slope, w), repeat(b.shift, w);
    over_pieces(grad_piece, &b, w->pieces, 0.2);
}
KERNEL(batch_norm_backward) {
    (void)scalars, (void)start, (void)stop;
    backward(arrays, sizes, 1);
}
KERNEL(batch_norm_inference_backward) {
    (void)scalars, (void)start, (void)stop;
    backward(arrays, sizes, 0);
}

const kg_entry KG_TABLE(normalization_batch)[] = {{"batch_norm_forward", batch_norm_forward},
                                                  {"batch_norm_inference", batch_norm_inference},
                                                  {"batch_norm_backward", batch_norm_backward},
                                                  {"batch_norm_inference_backward", batch_norm_inference_backward},
                                                  {0}};
