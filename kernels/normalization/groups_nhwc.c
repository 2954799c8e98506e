/* Group norm of NHWC memory (images, inner, groups, channels of a group). sizes are (images, groups, channels of a
 * group, inner, has_weight, has_bias).
 *
 * An image is cut into pieces that fit in the L2, each leaves the moments (backward: sums) of its columns, and a group
 * merges those of its channels in double precision. Where there are images enough, one task takes a whole one. */
#include "normalization/columns.h"
#include "reduction/tree.h"
#include "runtime/kernel.h"
#include "runtime/pool.h"
#include "runtime/scratch.h"

#include <math.h>

enum { PIECE = 32 * 1024 };

typedef struct {
    const float *x, *grad_out, *weight, *bias;
    float *out, *mean, *rstd; /* mean, rstd: (images, groups) */
    float *first, *second;    /* what pieces leave: (images, pieces, width) each */
    float *by_image;          /* backward: sum g, then sum g h, of each image's channels */
    int64_t images, groups, each, channels, inner;
    int64_t fold, width, piece, pieces; /* piece: pixels */
    int64_t units;                      /* images that a task takes */
    double eps;
    int is_backward;
} problem;

static int64_t smaller(int64_t a, int64_t b) { return a < b ? a : b; }

static problem open(const int64_t *sizes) {
    problem p = {.images = sizes[0], .groups = sizes[1], .each = sizes[2], .inner = sizes[3]};
    p.channels = p.groups * p.each;
    p.fold = p.inner >= 4 * fold_of(p.channels) ? fold_of(p.channels) : 1;
    p.width = p.fold * p.channels;
    int64_t whole = p.inner - p.inner % p.fold;
    p.piece = p.width > 0 && p.width < PIECE ? PIECE / p.width * p.fold : p.fold;
    p.pieces = (whole + p.piece - 1) / p.piece + (whole < p.inner);
    p.first = kg_scratch(KG_SCRATCH_PARTIAL, (size_t)(p.images * p.pieces * p.width * 2) * sizeof(float) + 64);
    p.second = p.first + p.images * p.pieces * p.width;
    return p;
}

typedef struct {
    int64_t at, rows, width; /* at: of the first float; rows of `width` */
    float *first, *second;
} span;

static span span_of(const problem *p, int64_t image, int64_t piece) {
    const int64_t whole = p->inner - p->inner % p->fold, start = smaller(piece * p->piece, whole);
    const int64_t left = (image * p->pieces + piece) * p->width;
    span s = {(image * p->inner + start) * p->channels, 0, p->width, p->first + left, p->second + left};
    if (start < whole)
        s.rows = smaller(p->piece, whole - start) / p->fold;
    else
        s.rows = p->inner - whole, s.width = p->channels;
    return s;
}

/* ---- What a piece does: the tiles of its image come first ---- */

static void gather_piece(const problem *p, int64_t image, int64_t piece) {
    const span s = span_of(p, image, piece);
    if (!p->is_backward) {
        column_moments(p->x + s.at, s.first, s.second, s.rows, s.width);
        return;
    }
    float *mean = kg_scratch(KG_SCRATCH_ROWS, (size_t)p->width * 4 * sizeof(float) + 64);
    for (int64_t i = 0; i < p->width; i++) mean[i] = p->mean[image * p->groups + i % p->channels / p->each];
    column_sums(p->x + s.at, p->grad_out + s.at, mean, s.first, s.second, s.rows, s.width);
}

static void write_piece(const problem *p, int64_t image, int64_t piece) {
    const span s = span_of(p, image, piece);
    float *mean = kg_scratch(KG_SCRATCH_ROWS, (size_t)p->width * 4 * sizeof(float) + 64);
    float *scale = mean + p->width, *shift = scale + p->width, *slope = shift + p->width;
    const float *m = p->mean + image * p->groups, *r = p->rstd + image * p->groups;
    const float *sums = p->by_image + image * p->channels, *dots = sums + p->images * p->channels;
    for (int64_t g = 0; g < p->groups; g++) {
        double mean_q = 0.0, mean_qh = 0.0;
        for (int64_t c = g * p->each; c < (g + 1) * p->each && p->is_backward; c++) {
            mean_q += (double)sums[c] * (p->weight ? p->weight[c] : 1.0f);
            mean_qh += (double)dots[c] * (p->weight ? p->weight[c] : 1.0f);
        }
        const double n = (double)(p->each * p->inner);
        for (int64_t c = g * p->each; c < (g + 1) * p->each; c++) {
            mean[c] = m[g];
            scale[c] = p->weight ? r[g] * p->weight[c] : r[g];
            shift[c] = p->is_backward ? (float)(-r[g] * (mean_q / n)) : p->bias ? p->bias[c] : 0.0f;
            slope[c] = (float)(-(double)r[g] * r[g] * (mean_qh / n));
        }
    }
    for (int64_t i = p->channels; i < p->width; i++) {
        const int64_t c = i - p->channels;
        mean[i] = mean[c], scale[i] = scale[c], shift[i] = shift[c], slope[i] = slope[c];
    }
    if (p->is_backward)
        column_gradient(p->x + s.at, p->grad_out + s.at, p->out + s.at, mean, scale, slope, shift, s.rows, s.width);
    else
        column_affine(p->x + s.at, p->out + s.at, mean, scale, shift, s.rows, s.width);
}

/* ---- Merging what an image's pieces left ---- */

/* mean and rstd of each group */
static void merge_moments(const problem *p, int64_t image) {
    for (int64_t g = 0; g < p->groups; g++) {
        double count = 0.0, mean = 0.0, squares = 0.0;
        for (int64_t piece = 0; piece < p->pieces; piece++) {
            const span s = span_of(p, image, piece);
            const double rows = (double)s.rows;
            for (int64_t f = 0; f < s.width; f += p->channels)
                for (int64_t i = f + g * p->each; i < f + (g + 1) * p->each; i++) {
                    const double total = count + rows, share = rows / total, delta = s.first[i] - mean;
                    mean += delta * share;
                    squares += s.second[i] + delta * delta * count * share;
                    count = total;
                }
        }
        p->mean[image * p->groups + g] = (float)mean;
        p->rstd[image * p->groups + g] = (float)(1.0 / sqrt(squares / count + p->eps));
    }
}

/* sum g and sum g h of each channel, h = (x - mean) rstd */
static void merge_sums(const problem *p, int64_t image) {
    float *sums = p->by_image + image * p->channels, *dots = sums + p->images * p->channels;
    for (int64_t c = 0; c < p->channels; c++) sums[c] = dots[c] = 0.0f;
    for (int64_t piece = 0; piece < p->pieces; piece++) {
        const span s = span_of(p, image, piece);
        for (int64_t i = 0; i < s.width; i++) sums[i % p->channels] += s.first[i], dots[i % p->channels] += s.second[i];
    }
    for (int64_t c = 0; c < p->channels; c++) dots[c] *= p->rstd[image * p->groups + c / p->each];
}

static void merge(const problem *p, int64_t image) { (p->is_backward ? merge_sums : merge_moments)(p, image); }

static void gather_task(void *context, int64_t chunk) {
    const problem *p = context;
    gather_piece(p, chunk / p->pieces, chunk % p->pieces);
}
static void write_task(void *context, int64_t chunk) {
    const problem *p = context;
    chunk = p->images * p->pieces - 1 - chunk; /* what was read last is still in the caches */
    write_piece(p, chunk / p->pieces, chunk % p->pieces);
}
static void image_task(void *context, int64_t chunk) {
    const problem *p = context;
    for (int64_t image = chunk * p->units; image < smaller((chunk + 1) * p->units, p->images); image++) {
        for (int64_t piece = 0; piece < p->pieces; piece++) gather_piece(p, image, piece);
        merge(p, image);
        for (int64_t piece = p->pieces - 1; piece >= 0; piece--) write_piece(p, image, piece);
    }
}

static void run(problem *p, double ns) {
    const int64_t one = p->inner * p->channels;
    const double us = (double)(p->images * one) * ns * 1e-3;
    if (p->images >= 8 || one * p->images <= PIECE) {
        p->units = one > 0 && one < PIECE / 2 ? PIECE / 2 / one : 1;
        kg_parallel(image_task, p, (p->images + p->units - 1) / p->units, us);
        return;
    }
    kg_parallel(gather_task, p, p->images * p->pieces, us / 2);
    for (int64_t image = 0; image < p->images; image++) merge(p, image);
    kg_parallel(write_task, p, p->images * p->pieces, us / 2);
}

/* y = (x - mean) / sqrt(var + eps) weight + bias, statistics of a group. Wu & He 2018, arXiv:1803.08494. Keeps mean,
 * rstd. */
static void group_norm_nhwc_forward(void *const *arrays, const int64_t *sizes, const double *scalars, int64_t start,
                                    int64_t stop) {
    (void)start, (void)stop;
    if (sizes[0] * sizes[1] * sizes[2] * sizes[3] == 0) return;
    problem p = open(sizes);
    p.x = arrays[0], p.weight = arrays[1], p.bias = arrays[2], p.out = arrays[3], p.mean = arrays[4];
    p.rstd = arrays[5], p.eps = scalars[0];
    run(&p, 0.3);
}

/* With h = (x - mean) rstd and q = g weight: dx = rstd (q - mean(q) - h mean(q h)), means over the group; dweight = sum
 * g h, dbias = sum g. */
static void group_norm_nhwc_backward(void *const *arrays, const int64_t *sizes, const double *scalars, int64_t start,
                                     int64_t stop) {
    float *grad_weight = arrays[6], *grad_bias = arrays[7];
    (void)scalars, (void)start, (void)stop;
    problem p = open(sizes);
    p.x = arrays[0], p.weight = arrays[1], p.mean = arrays[2], p.rstd = arrays[3], p.grad_out = arrays[4];
    p.out = arrays[5], p.is_backward = 1;
    p.by_image = kg_scratch(KG_SCRATCH_OTHER, (size_t)(p.images * p.channels * 2) * sizeof(float) + 64);
    if (p.images * p.inner * p.channels > 0) run(&p, 0.4);
    const float *sums = p.by_image, *dots = sums + p.images * p.channels;
    const int64_t n = p.inner > 0 ? p.images : 0;
    if (grad_weight) tree_columns(TREE_SUM, dots, dots, 0, grad_weight, n, p.channels, p.channels, 1);
    if (grad_bias) tree_columns(TREE_SUM, sums, sums, 0, grad_bias, n, p.channels, p.channels, 1);
}

const kg_entry KG_TABLE(normalization_groups_nhwc)[] = {
    {"group_norm_nhwc_forward", group_norm_nhwc_forward}, {"group_norm_nhwc_backward", group_norm_nhwc_backward}, {0}};
