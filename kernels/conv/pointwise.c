/* 1x1 convolution, forward and backward data: out[pixel, o] = sum over i of source[pixel, i] weight, a product whose
 * rows are pixels as they lie in memory. Nothing is used often enough to hide where it comes from, so while a block of
 * pixels is multiplied the next one, its source and its place in the output, is fetched. With a stride, pixels of one
 * image row are the rows of a product: forward leaves out some of the source, backward data fills what it skips. The
 * reduction is cut into parts of at most KC values, added in order. */
#include "conv/conv.h"
#include "matmul/transpose.h"

#define KC 384           /* decides bits */
#define RUN 32           /* of the reduction, after which more is fetched */
#define BLOCK 65536      /* floats of a block's source and output: a quarter of L2 */
#define FEW_CHUNKS 16    /* split small problems at least this far, for the threads to share */
#define BLOCKS_AT_ONCE 6 /* of a chunk, where there are many: the first is not fetched ahead */

/* An image of `row` floats a row; of its pixels the product has one in `step`, `pixel` floats apart. */
typedef struct {
    int64_t rows, row, step, pixel;
} grid;

typedef struct {
    grid from, to;
    const float *source, *weight, *bias;
    const float *packed; /* or NULL */
    float *out;
    int64_t in, outs, weight_out, weight_in; /* strides in the weight of an output and an input */
    int64_t rows, width, blocks, chunks, panels, ranges, parts, part, copied, relu, dense;
} pointwise;

/* packed[panel][in][PANEL], zeros beyond outs. Chunk: a panel. */
static void pack_panel(void *context, int64_t panel) {
    const pointwise *z = context;
    float *to = (float *)z->packed + panel * z->in * PANEL;
    int64_t o = panel * PANEL, width = least(PANEL, z->outs - o);
    const float *w = z->weight + o * z->weight_out;
    if (z->weight_out == 1) { /* outputs lie side by side */
        for (int64_t i = 0; i < z->in; i++, w += z->weight_in, to += PANEL) {
            memcpy(to, w, sizeof *to * width);
            memset(to + width, 0, sizeof *to * (PANEL - width));
        }
        return;
    }
    for (int64_t half = 0; half < PANEL; half += TRANSPOSE_BLOCK) {
        int64_t lanes = most(least(TRANSPOSE_BLOCK, width - half), 0);
        const float *from = lanes ? w + half * z->weight_out : w;
        for (int64_t i = 0; i < z->in; i += TRANSPOSE_BLOCK)
            transpose_part(from + i, z->weight_out, lanes, z->in - i, to + i * PANEL + half, PANEL);
    }
}

/* Block i is `pixels` of them: of the source from *source, of the output from *out on. */
static int64_t block_at(const pointwise *z, int64_t i, const float **source, float **out) {
    if (z->dense) {
        int64_t first = cut(z->rows, z->blocks, i);
        *source = z->source + first * z->from.pixel, *out = z->out + first * z->to.pixel;
        return cut(z->rows, z->blocks, i + 1) - first;
    }
    int64_t n = i / z->rows, y = i % z->rows;
    *source = z->source + (n * z->from.rows + y * z->from.step) * z->from.row;
    *out = z->out + (n * z->to.rows + y * z->to.step) * z->to.row;
    return z->width;
}

/* What backward data of a stride skips, from an image row with gradients to the next. */
static void clear_gaps(const pointwise *z, int64_t i, float *out) {
    const grid *g = &z->to;
    int64_t rows = least(g->step, g->rows - i % z->rows * g->step);
    if (!z->bias) {
        memset(out, 0, sizeof *out * rows * g->row);
        return;
    }
    for (const float *end = out + rows * g->row; out < end; out += z->outs) memcpy(out, z->bias, sizeof *out * z->outs);
}

/* Chunk: blocks of pixels, a range of panels. */
static void multiply(void *context, int64_t chunk) {
    const pointwise *z = context;
    int64_t range = chunk % z->ranges, block = cut(z->blocks, z->chunks, chunk / z->ranges);
    int64_t panel0 = cut(z->panels, z->ranges, range), panel1 = cut(z->panels, z->ranges, range + 1);
    int64_t channel = panel0 * PANEL, n = least(panel1 * PANEL, z->outs) - channel, ld = z->in + 16;
    const float *source, *next_source;
    float *out, *next_out, *copy = NULL;
    int64_t end = cut(z->blocks, z->chunks, chunk / z->ranges + 1), m, next_m;
    conv_segment list[KC / RUN + 1];
    if (block == end) return;
    m = block_at(z, block, &source, &out);
    if (z->copied) copy = kg_scratch(KG_SCRATCH_CONV, sizeof(float) * z->copied * ld);
    for (; block < end; block++, source = next_source, out = next_out, m = next_m) {
        conv_ahead ahead[2] = {{0}};
        next_m = 0;
        if (block + 1 < end) {
            next_m = block_at(z, block + 1, &next_source, &next_out);
            int64_t tiles = ceil_div(m, TILE_ROWS) * (panel1 - panel0) * ceil_div(z->in, RUN);
            ahead[0] = (conv_ahead){next_source, next_source + next_m * z->from.pixel, 0};
            ahead[1] = (conv_ahead){next_out, next_out + next_m * z->to.pixel, 0};
            UNROLL
            for (int i = 0; i < 2; i++) ahead[i].step = ceil_div(ceil_div(ahead[i].end - ahead[i].at, tiles), 16) * 16;
        }
        conv_operand a = {.at = source, .row = z->from.pixel, .col = 1, .list = list, .ahead = ahead};
        for (int64_t i = 0; copy && i < m; i++) memcpy(copy + i * ld, source + i * a.row, sizeof *copy * z->in);
        if (copy) a.at = copy, a.row = ld;
        if (z->to.pixel > z->outs || z->to.step > 1) clear_gaps(z, block, out);
        for (int64_t part = 0, k = 0, k1; part < z->parts; part++, a.at += k1 - k, k = k1) {
            k1 = least(k + z->part, z->in), a.segments = ceil_div(k1 - k, RUN);
            for (int64_t i = 0; i < a.segments; i++)
                list[i] = (conv_segment){i * RUN, i * RUN * PANEL, least(RUN, k1 - k - i * RUN)};
            const int last = part == z->parts - 1;
            const conv_epilogue e = {
                .bias = last && z->bias ? z->bias + channel : NULL, .add = part > 0, .relu = last && z->relu};
            KG_NAME(conv_gemm)(m, n, 0, &a, z->packed + (panel0 * z->in + k) * PANEL, PANEL, z->in * PANEL,
                               out + channel, z->to.pixel, &e);
        }
    }
}

static int64_t packed_floats(const pointwise *z) { return ceil_div(z->outs, PANEL) * z->in * PANEL; }
static void pack(pointwise *z, float *to) {
    z->packed = to;
    kg_parallel(pack_panel, z, ceil_div(z->outs, PANEL), 3e-4 * z->in * z->outs);
}

static void run(pointwise *z, int64_t images, int64_t height, int64_t width) {
    int64_t pixels = images * height * width;
    if (pixels == 0) return;
    z->panels = ceil_div(z->outs, PANEL), z->parts = ceil_div(z->in, KC);
    z->part = ceil_div(ceil_div(z->in, z->parts), 16) * 16;
    if (z->dense) {
        int64_t limit = most(2 * TILE_ROWS, least(72, BLOCK / (z->in + z->outs)));
        z->rows = pixels;
        z->blocks = most(ceil_div(pixels, limit), least(FEW_CHUNKS, ceil_div(pixels, 14)));
        z->copied = z->in % 512 == 0 && z->outs > PANEL ? ceil_div(pixels, z->blocks) : 0; /* rows would meet in L1 */
    } else {
        z->rows = height, z->width = width, z->blocks = images * height;
        z->copied = z->from.pixel % 512 == 0 && z->outs > PANEL ? width : 0;
    }
    z->chunks = least(z->blocks, most(FEW_CHUNKS, z->blocks / BLOCKS_AT_ONCE));
    z->ranges = z->dense ? least(z->panels, ceil_div(FEW_CHUNKS / 2, z->chunks)) : 1;
    if (!z->packed) pack(z, kg_scratch(KG_SCRATCH_CONV_SHARED, sizeof(float) * packed_floats(z)));
    kg_parallel(multiply, z, z->chunks * z->ranges, 2.0 * pixels * z->in * z->outs / CONV_GFLOPS_US);
}

static int dense(const conv_shape *s) { return s->stride[0] == 1 && s->stride[1] == 1; }

/* Short image rows are left to implicit.c, which puts several of them into one product. */
int KG_NAME(conv_pointwise_fits)(const conv_shape *s) {
    return s->kh == 1 && s->kw == 1 && s->groups == 1 && s->padding[0] == 0 && s->padding[1] == 0 &&
           s->H <= s->OH * s->stride[0] && s->W <= s->OW * s->stride[1] && (dense(s) || s->OW >= 10);
}

static grid image_of(const conv_shape *s) { return (grid){s->H, s->W * s->C, s->stride[0], s->stride[1] * s->C}; }
static grid result_of(const conv_shape *s) { return (grid){s->OH, s->OW * s->K, 1, s->K}; }

static pointwise forward_of(const conv_shape *s, const float *weight) {
    return (pointwise){.from = image_of(s),
                       .to = result_of(s),
                       .weight = weight,
                       .in = s->C,
                       .outs = s->K,
                       .dense = dense(s),
                       .weight_out = s->C,
                       .weight_in = 1,
                       .relu = s->activation == CONV_RELU};
}

int64_t KG_NAME(conv_pointwise_kept)(const conv_shape *s) {
    const pointwise z = forward_of(s, NULL);
    return packed_floats(&z);
}

void KG_NAME(conv_pointwise_keep)(const conv_shape *s, const float *weight, float *kept) {
    pointwise z = forward_of(s, weight);
    pack(&z, kept);
}

void KG_NAME(conv_pointwise_forward)(const conv_shape *s, const float *x, const float *weight, const float *kept,
                                     const float *bias, float *out) {
    pointwise z = forward_of(s, weight);
    z.source = x, z.packed = kept, z.bias = bias, z.out = out;
    run(&z, s->N, s->OH, s->OW);
}

void KG_NAME(conv_pointwise_data)(const conv_shape *s, const float *grad_out, const float *weight, const float *bias,
                                  float *grad_x) {
    run(&(pointwise){.from = result_of(s),
                     .to = image_of(s),
                     .source = grad_out,
                     .weight = weight,
                     .bias = bias,
                     .out = grad_x,
                     .in = s->K,
                     .outs = s->C,
                     .dense = dense(s),
                     .weight_out = 1,
                     .weight_in = s->C},
        s->N, s->OH, s->OW);
}
