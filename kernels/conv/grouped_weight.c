/* Backward weight of narrow groups, from the spread bands of grouped.c: lanes are output channels, and each tap of each
 * input i is a sum along an output row, added to those of a slice. Slices, by sizes alone, are summed in order. */
#include "conv/conv.h"
#include "matmul/transpose.h"

#define FEW_CHUNKS 32         /* a slice of 16 output channels each, at least so many where there are rows for them */
#define PARTIAL_BYTES 8388608 /* of all slices together */
#define BAND 40960            /* floats of a spread band */

typedef struct {
    conv_axis axes[2];
    const float *x, *grad_out;
    float *partial; /* [slice][vector][tap row][i][tap column][lane] */
    int64_t images, in, outs, channels, out_channels, vectors, slices, rows, width, size;
} gradient;

/* Sums along an output row for `rows` x `taps` taps of one input, added to `to`, in rows of to_row. */
VEC_INLINE void add_row(int rows, int taps, const gradient *z, const float *source, int64_t row, const float *g,
                        float *to, int64_t to_row, int64_t left) {
    const conv_axis *h = z->axes + 1;
    const int64_t next = h->step * VEC_LANES, gap = h->gap * VEC_LANES;
    vec_f32 acc[3][5];
    UNROLL
    for (int r = 0; r < rows; r++) UNROLL
    for (int t = 0; t < taps; t++) acc[r][t] = vec_zero();
    for (int64_t x = 0; x < h->outputs; x++, source += next, g += z->out_channels) {
        vec_f32 v = vec_load(g, left);
        UNROLL
        for (int r = 0; r < rows; r++) UNROLL
        for (int t = 0; t < taps; t++) acc[r][t] = vec_fma(vec_loadu(source + r * row + t * gap), v, acc[r][t]);
    }
    UNROLL
    for (int r = 0; r < rows; r++) UNROLL
    for (int t = 0; t < taps; t++) {
        float *sum = to + r * to_row + t * VEC_LANES;
        vec_storeu(sum, vec_add(vec_loadu(sum), acc[r][t]));
    }
}

/* All taps and inputs for one output row, whose band starts at `source`. */
VEC_INLINE void add_taps(const gradient *z, const float *source, const float *g, float *to, int64_t left) {
    const conv_axis *v = z->axes, *h = z->axes + 1;
    const int64_t line = z->width * VEC_LANES, row = v->gap * z->in * line;
    const int64_t to_i = h->taps * VEC_LANES, to_row = z->in * to_i;
    int64_t ty = 0;
    for (; h->taps == 3 && ty + 3 <= v->taps; ty += 3)
        for (int64_t i = 0; i < z->in; i++)
            add_row(3, 3, z, source + ty * row + i * line, row, g, to + ty * to_row + i * to_i, to_row, left);
    for (; ty < v->taps; ty++)
        for (int64_t i = 0; i < z->in; i++) {
            const float *from = source + ty * row + i * line;
            float *sum = to + ty * to_row + i * to_i;
            if (h->taps == 3)
                add_row(1, 3, z, from, 0, g, sum, 0, left);
            else if (h->taps == 5)
                add_row(1, 5, z, from, 0, g, sum, 0, left);
            else
                for (int64_t t = 0; t < h->taps; t++)
                    add_row(1, 1, z, from + t * h->gap * VEC_LANES, 0, g, sum + t * VEC_LANES, 0, left);
        }
}

/* Chunk: a slice of the output rows of all images, a vector of output channels. */
static void gradient_slice(void *context, int64_t chunk) {
    const gradient *z = context;
    const conv_axis *v = z->axes, *h = z->axes + 1;
    int64_t vector = chunk % z->vectors, slice = chunk / z->vectors, all = v->outputs * z->images;
    int64_t pixel = z->in * VEC_LANES, height = (z->rows - 1) * v->step + (v->taps - 1) * v->gap + 1;
    float *room = kg_scratch(KG_SCRATCH_CONV, sizeof(float) * height * z->width * pixel);
    float *partial = memset(z->partial + (slice * z->vectors + vector) * z->size, 0, sizeof(float) * z->size);
    int32_t offset[VEC_LANES];
    int64_t first = KG_NAME(conv_lane_offsets)(vector, z->in, z->outs, z->out_channels, offset);
    int64_t channel = vector * VEC_LANES, left = z->out_channels - channel;
    int64_t row = cut(all, z->slices, slice), end = cut(all, z->slices, slice + 1);
    for (int64_t rows; row < end; row += rows) {
        int64_t n = row / v->outputs, y = row % v->outputs;
        rows = least(least(z->rows, end - row), v->outputs - y);
        KG_NAME(conv_spread_band)(z->axes, z->x + n * v->source * h->source * z->channels + first,
                                  z->x + z->images * v->source * h->source * z->channels, z->channels, z->in, offset, y,
                                  y + rows, z->width, room);
        for (int64_t i = 0; i < rows; i++) {
            const float *source = room + i * v->step * z->width * pixel;
            const float *g = z->grad_out + (row + i) * h->outputs * z->out_channels + channel;
            if (left >= VEC_LANES)
                add_taps(z, source, g, partial, VEC_LANES);
            else
                add_taps(z, source, g, partial, left);
        }
    }
}

/* Chunk: a vector of output channels. Per output channel the gradient is a row of (input, tap). */
typedef struct {
    const gradient *z;
    float *grad_weight;
} finishing;

static void finish(void *context, int64_t vector) {
    const finishing *f = context;
    const gradient *z = f->z;
    int64_t taps_y = z->axes[0].taps, taps_x = z->axes[1].taps, slice = z->vectors * z->size;
    int64_t row = z->in * taps_y * taps_x, lanes = least(VEC_LANES, z->out_channels - vector * VEC_LANES);
    const float *from = z->partial + vector * z->size;
    float *sums = kg_scratch(KG_SCRATCH_CONV, sizeof(float) * z->size);
    float *to = f->grad_weight + vector * VEC_LANES * row;
    for (int64_t ty = 0; ty < taps_y; ty++)
        for (int64_t i = 0; i < z->in; i++)
            for (int64_t tx = 0; tx < taps_x; tx++, from += VEC_LANES) {
                vec_f32 sum = vec_loadu(from);
                for (int64_t part = 1; part < z->slices; part++) sum = vec_add(sum, vec_loadu(from + part * slice));
                vec_storeu(sums + ((i * taps_y + ty) * taps_x + tx) * VEC_LANES, sum);
            }
    for (int64_t r = 0; r < row; r += TRANSPOSE_BLOCK) {
        float turned[VEC_LANES * TRANSPOSE_BLOCK];
        int64_t count = least(TRANSPOSE_BLOCK, row - r);
        transpose_part(sums + r * VEC_LANES, VEC_LANES, count, VEC_LANES, turned, TRANSPOSE_BLOCK);
        for (int64_t lane = 0; lane < lanes; lane++)
            memcpy(to + lane * row + r, turned + lane * TRANSPOSE_BLOCK, sizeof *to * count);
    }
}

void KG_NAME(conv_grouped_weight)(const conv_shape *s, const float *x, const float *grad_out, float *grad_weight) {
    int64_t in = s->C / s->groups, bytes = 4 * s->kh * s->kw * in * s->K;
    gradient z = {
        .axes = {KG_NAME(conv_forward_axis)(s, 0), KG_NAME(conv_forward_axis)(s, 1)},
        .x = x,
        .grad_out = grad_out,
        .images = s->N,
        .in = in,
        .outs = s->K / s->groups,
        .channels = s->C,
        .out_channels = s->K,
        .vectors = ceil_div(s->K, VEC_LANES),
        .slices = most(1, least(least(s->N * s->OH, PARTIAL_BYTES / bytes), ceil_div(FEW_CHUNKS, ceil_div(s->K, 16)))),
        .size = s->kh * s->kw * in * VEC_LANES};
    const conv_axis *v = z.axes, *h = z.axes + 1;
    z.width = (h->outputs - 1) * h->step + (h->taps - 1) * h->gap + 1;
    z.rows = least(s->OH, most((BAND / (z.width * in * VEC_LANES) - (v->taps - 1) * v->gap) / v->step, 4));
    z.partial = kg_scratch(KG_SCRATCH_CONV_SHARED, sizeof(float) * z.slices * z.vectors * z.size);
    double us = 2.0 * s->N * s->OH * s->OW * s->K * in * s->kh * s->kw / CONV_GFLOPS_US;
    kg_parallel(gradient_slice, &z, z.slices * z.vectors, us);
    kg_parallel(finish, &(finishing){&z, grad_weight}, z.vectors, 2e-4 * z.slices * z.vectors * z.size);
}
