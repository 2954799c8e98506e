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

typedef struct {
    const float *x, *grad_out, *weight, *bias;
    float *out, *mean, *rstd; /* mean, rstd: (images, groups) */
    float *first, *second;    /* what pieces leave: (images, pieces, width) of `reading` each */
    float *by_image;          /* backward: sum g, then sum g h, of each image's channels */
    int64_t images, groups, each, channels, inner;
    cutting reading, writing; /* of an image */
    int64_t units;            /* images that a task takes */
    double eps;
    int is_backward;
} problem;

static int64_t smaller(int64_t a, int64_t b) { return a < b ? a : b; }

static problem open(const int64_t *sizes) {
    problem p = {.images = sizes[0], .groups = sizes[1], .each = sizes[2], .inner = sizes[3]};
    p.channels = p.groups * p.each;
    p.reading = cut_rows(p.inner, p.channels, fold_to_read(p.inner, p.channels));
    p.writing = cut_rows(p.inner, p.channels, fold_to_write(p.inner, p.channels));
    const int64_t left = p.images * p.reading.pieces * p.reading.width;
    p.first = kg_scratch(KG_SCRATCH_PARTIAL, (size_t)(left * 2) * sizeof(float) + 64);
    p.second = p.first + left;
    return p;
}

static int64_t left_at(const problem *p, int64_t image, int64_t piece) {
    return (image * p->reading.pieces + piece) * p->reading.width;
}

/* ---- What a piece does ---- */

static void gather_piece(const problem *p, int64_t image, int64_t piece) {
    const cutting *r = &p->reading;
    const span s = span_of(r, piece);
    const int64_t at = (image * p->inner + s.start) * p->channels, left = left_at(p, image, piece);
    if (!p->is_backward) {
        column_moments(p->x + at, p->first + left, p->second + left, s.rows, s.width);
        return;
    }
    float *mean = kg_scratch(KG_SCRATCH_ROWS, (size_t)r->width * sizeof(float) + 64);
    for (int64_t g = 0; g < p->groups; g++)
        for (int64_t c = g * p->each; c < (g + 1) * p->each; c++) mean[c] = p->mean[image * p->groups + g];
    repeat(mean, r);
    column_sums(p->x + at, p->grad_out + at, mean, NULL, NULL, p->first + left, p->second + left, s.rows, s.width, 0);
}

/* Pieces of one image one after the other share the tiles: `fresh` says that they are to be filled. */
static void write_piece(const problem *p, int64_t image, int64_t piece, int fresh) {
    const cutting *w = &p->writing;
    const span s = span_of(w, piece);
    float *mean = kg_scratch(KG_SCRATCH_ROWS, (size_t)w->width * 4 * sizeof(float) + 64);
    float *scale = mean + w->width, *shift = scale + w->width, *slope = shift + w->width;
    const float *m = p->mean + image * p->groups, *r = p->rstd + image * p->groups;
    const float *sums = p->by_image + image * p->channels, *dots = sums + p->images * p->channels;
    for (int64_t g = 0; g < p->groups && fresh; g++) {
        double mean_q = 0.0, mean_qh = 0.0;
        for (int64_t c = g * p->each; c < (g + 1) * p->each && p->is_backward; c++) {
            mean_q += (double)sums[c] * (p->weight ? p->weight[c] : 1.0f);
            mean_qh += (double)dots[c] * (p->weight ? p->weight[c] : 1.0f);
        }
        const double n = (double)(p->each * p->inner);
        const float centred = (float)(-r[g] * (mean_q / n)), tilt = (float)(-(double)r[g] * r[g] * (mean_qh / n));
        for (int64_t c = g * p->each; c < (g + 1) * p->each; c++) {
            mean[c] = m[g];
            scale[c] = p->weight ? r[g] * p->weight[c] : r[g];
            shift[c] = p->is_backward ? centred : p->bias ? p->bias[c] : 0.0f;
            slope[c] = tilt;
        }
    }
    if (fresh) repeat(mean, w), repeat(scale, w), repeat(shift, w), repeat(slope, w);
    const int64_t at = (image * p->inner + s.start) * p->channels;
    if (p->is_backward)
        column_gradient(p->x + at, p->grad_out + at, p->out + at, mean, scale, NULL, slope, shift, s.rows, s.width, 0);
    else
        column_affine(p->x + at, p->out + at, mean, scale, shift, s.rows, s.width, 0);
}

/* ---- Merging what an image's pieces left ---- */

/* sum of f(v[i]) in four strands, which do not wait for each other: f is v, or (v - mean)^2 */
VEC_INLINE double sum_of(const float *v, int64_t n, double mean, int squares) {
    double sum[4] = {0};
    for (int64_t i = 0; i < n; i += 4) UNROLL
    for (int k = 0; k < 4; k++)
        if (i + k < n) {
            const double d = v[i + k] - mean;
            sum[k] += squares ? d * d : d;
        }
    return (sum[0] + sum[1]) + (sum[2] + sum[3]);
}

/* mean and rstd of each group: columns of as many rows first, then what pieces and folded rows have of them */
static void merge_moments(const problem *p, int64_t image) {
    for (int64_t g = 0; g < p->groups; g++) {
        double count = 0.0, mean = 0.0, squares = 0.0;
        for (int64_t piece = 0; piece < p->reading.pieces; piece++) {
            const span s = span_of(&p->reading, piece);
            const int64_t left = left_at(p, image, piece) + g * p->each;
            for (int64_t f = left; f < left + s.width; f += p->channels) {
                const double m = sum_of(p->first + f, p->each, 0.0, 0) / (double)p->each;
                const double inside = sum_of(p->second + f, p->each, 0.0, 0);
                const double among = sum_of(p->first + f, p->each, m, 1) * (double)s.rows;
                const double n = (double)(s.rows * p->each), share = n / (count + n), delta = m - mean;
                mean += delta * share;
                squares += inside + among + delta * delta * count * share;
                count += n;
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
    for (int64_t piece = 0; piece < p->reading.pieces; piece++) {
        const float *first = p->first + left_at(p, image, piece), *second = p->second + left_at(p, image, piece);
        for (int64_t f = 0; f < span_of(&p->reading, piece).width; f += p->channels)
            for (int64_t c = 0; c < p->channels; c++) sums[c] += first[f + c], dots[c] += second[f + c];
    }
    for (int64_t c = 0; c < p->channels; c++) dots[c] *= p->rstd[image * p->groups + c / p->each];
}

static void merge(const problem *p, int64_t image) { (p->is_backward ? merge_sums : merge_moments)(p, image); }

static void gather_task(void *context, int64_t chunk) {
    const problem *p = context;
    gather_piece(p, chunk / p->reading.pieces, chunk % p->reading.pieces);
}
static void write_task(void *context, int64_t chunk) {
    const problem *p = context;
    chunk = p->images * p->writing.pieces - 1 - chunk; /* what was read last is still in the caches */
    write_piece(p, chunk / p->writing.pieces, chunk % p->writing.pieces, 1);
}
static void image_task(void *context, int64_t chunk) {
    const problem *p = context;
    for (int64_t image = chunk * p->units; image < smaller((chunk + 1) * p->units, p->images); image++) {
        for (int64_t piece = 0; piece < p->reading.pieces; piece++) gather_piece(p, image, piece);
        merge(p, image);
        for (int64_t piece = p->writing.pieces - 1; piece >= 0; piece--)
            write_piece(p, image, piece, piece == p->writing.pieces - 1);
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
    kg_parallel(gather_task, p, p->images * p->reading.pieces, us / 2);
    for (int64_t image = 0; image < p->images; image++) merge(p, image);
    kg_parallel(write_task, p, p->images * p->writing.pieces, us / 2);
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
