/* A product with few channels out, as backward data of a first layer: in implicit.c its columns would be those few, and
 * most of a vector idle. Here pixels are the columns. With the source transposed, part[(o, tap)][pixel] = sum over
 * channels of weight[o, channel, tap] source[pixel, channel] is a product with full vectors; output pixel j of a row is
 * then the sum of what reaches it, j + before = x step + tap gap. Between rows lie zeros, so that no
 * sum needs an edge. Chunk: a band of output rows of an image; bands meet in source rows both work out. */
#include "conv/conv.h"
#include "matmul/transpose.h"

#define BAND 147456   /* floats of a chunk: half of L2 */
#define FEW_CHUNKS 16 /* split few images this far, for the threads to share */

/* Output i of an axis is the sum over tap and x of part[tap][x] where i + before = x step + tap gap. */
typedef struct {
    int64_t outputs, source, step, taps, gap, before;
} scatter_axis;

typedef struct {
    scatter_axis axes[2];
    const float *source, *weight, *bias;
    float *packed, *out;                                  /* packed[in][outs][taps] */
    int64_t images, in, outs, taps, blocks, width, group; /* width: of a row with its zeros */
} narrow;

/* Source rows that reach output rows y0 .. y1-1. */
static void source_rows(const scatter_axis *v, int64_t y0, int64_t y1, int64_t *first, int64_t *end) {
    int64_t low = y0 + v->before - (v->taps - 1) * v->gap, high = y1 - 1 + v->before;
    *first = least(low > 0 ? ceil_div(low, v->step) : 0, v->source);
    *end = most(least(high / v->step + 1, v->source), *first);
}

/* b[channel][ld] of `rows` rows of pixels, each `width` after the one before. What a block writes beyond the end of a
 * row is zeros, or covered by the next. */
static void transpose_rows(const narrow *z, const float *from, int64_t rows, float *b, int64_t ld) {
    int64_t pixels = z->axes[1].source, in = z->in;
    for (int64_t row = 0; row < rows; row++, from += pixels * in, b += z->width)
        for (int64_t i = 0; i < in; i += TRANSPOSE_BLOCK)
            for (int64_t x = 0; x < pixels; x += TRANSPOSE_BLOCK) {
                if (x + TRANSPOSE_BLOCK > pixels && pixels >= TRANSPOSE_BLOCK) x = pixels - TRANSPOSE_BLOCK;
                transpose_part(from + x * in + i, in, pixels - x, in - i, b + i * ld + x, ld);
            }
}

/* How far before q the parts lie that reach output row y at `phase`: `list`, returns how many. */
static int64_t parts_of(const narrow *z, int64_t ld, int64_t y, int64_t first, int64_t end, int64_t phase,
                        int64_t *list) {
    const scatter_axis *v = z->axes, *h = z->axes + 1;
    int64_t count = 0;
    for (int64_t ty = 0; ty < v->taps; ty++) {
        int64_t at = y + v->before - ty * v->gap;
        if (at < first * v->step || at >= end * v->step || at % v->step) continue;
        int64_t row = ty * h->taps * ld + (at / v->step - first) * z->width;
        for (int64_t tx = 0; tx < h->taps; tx++) {
            int64_t ahead = tx * h->gap - phase;
            if (ahead % h->step == 0) list[count++] = row + tx * ld - ahead / h->step;
        }
    }
    return count;
}

/* line[q], q step + phase - before = j: the sum of one channel's parts for one output row, in order of taps. */
static void sum_parts(const float *part, const int64_t *list, int64_t count, float bias, int64_t length, float *line) {
    for (int64_t q = 0; q < length; q += 2 * VEC_LANES) {
        vec_f32 sum = vec_zero(), next = vec_zero(), b = vec_set(bias);
        for (int64_t i = 0; i < count; i++) {
            const float *at = part + list[i] + q;
            sum = vec_add(sum, vec_loadu(at)), next = vec_add(next, vec_loadu(at + VEC_LANES));
        }
        vec_storeu(line + q, vec_add(sum, b)), vec_storeu(line + q + VEC_LANES, vec_add(next, b));
    }
}

static void narrow_band(void *context, int64_t chunk) {
    const narrow *z = context;
    const scatter_axis *v = z->axes, *h = z->axes + 1;
    int64_t n = chunk / z->blocks, y0 = cut(v->outputs, z->blocks, chunk % z->blocks),
            y1 = cut(v->outputs, z->blocks, chunk % z->blocks + 1), first, end;
    source_rows(v, y0, y1, &first, &end);
    int64_t margin = z->width - h->source, rows = z->outs * z->taps;
    int64_t ld = odd_lines(margin + (end - first) * z->width + 4 * VEC_LANES);
    int64_t b_row = odd_lines(z->group * z->width + TRANSPOSE_BLOCK + PANEL);
    int64_t line_floats = ceil_div(h->outputs, h->step) + 2 * VEC_LANES, b_floats = z->in * b_row;
    float *b = kg_scratch(KG_SCRATCH_CONV, sizeof(float) * (b_floats + rows * ld + line_floats + 2 * z->taps));
    float *part = memset(b + b_floats, 0, sizeof(float) * rows * ld);
    int64_t *list = (int64_t *)(part + rows * ld);
    float *line = (float *)(list + z->taps);
    conv_operand a = {.at = z->packed, .row = 1, .col = rows};
    const conv_epilogue plain = {0};
    memset(b, 0, sizeof(float) * b_floats);
    for (int64_t row = first, some; row < end; row += some) {
        some = least(z->group, end - row);
        transpose_rows(z, z->source + (n * v->source + row) * h->source * z->in, some, b, b_row);
        KG_NAME(conv_gemm)(rows, some * z->width - margin, z->in, &a, b, b_row, PANEL,
                           part + margin + (row - first) * z->width, ld, &plain);
    }
    for (int64_t y = y0; y < y1; y++) {
        float *to = z->out + (n * v->outputs + y) * h->outputs * z->outs;
        for (int64_t phase = 0; phase < h->step; phase++) {
            int64_t count = parts_of(z, ld, y, first, end, phase, list);
            int64_t q0 = h->before > phase ? ceil_div(h->before - phase, h->step) : 0;
            int64_t j0 = q0 * h->step + phase - h->before, n_out = ceil_div(h->outputs - j0, h->step);
            int64_t step = h->step * z->outs;
            for (int64_t o = 0; o < z->outs; o++) {
                sum_parts(part + o * z->taps * ld + margin + q0, list, count, z->bias ? z->bias[o] : 0, n_out, line);
                float *at = to + j0 * z->outs + o;
                if (step == 1)
                    memcpy(at, line, sizeof(float) * n_out);
                else
                    for (int64_t q = 0; q < n_out; q++) at[q * step] = line[q];
            }
        }
    }
}

/* Weights as A wants them. */
static void pack_rows(const narrow *z, int64_t weight_out, int64_t weight_in) {
    float *to = z->packed;
    for (int64_t i = 0; i < z->in; i++)
        for (int64_t o = 0; o < z->outs; o++)
            for (int64_t tap = 0; tap < z->taps; tap++) *to++ = z->weight[o * weight_out + i * weight_in + tap];
}

static void run_narrow(narrow *z, int64_t weight_out, int64_t weight_in) {
    const scatter_axis *v = z->axes, *h = z->axes + 1;
    if (z->images * v->outputs * h->outputs == 0) return;
    z->width = h->source + ((h->taps - 1) * h->gap + h->step - 1) / h->step;
    /* Rows are multiplied as many at a time as leave the fewest lanes idle. */
    double best = 0;
    for (int64_t rows = 1; rows <= 4; rows++) {
        int64_t columns = rows * z->width - (z->width - h->source);
        double used = (double)rows * h->source / (ceil_div(columns, 16) * 16);
        if (used > best * 1.05) best = used, z->group = rows;
    }
    int64_t rows = z->outs * z->taps, halo = ceil_div((v->taps - 1) * v->gap, v->step);
    int64_t source = most(BAND / ((rows + z->in) * z->width) - halo, 2 * halo + 1); /* rows of it, new to the band */
    z->blocks = most(ceil_div(v->outputs, source * v->step),
                     least(ceil_div(FEW_CHUNKS, z->images), ceil_div(v->outputs, (2 * halo + 1) * v->step)));
    z->packed = kg_scratch(KG_SCRATCH_CONV_SHARED, sizeof(float) * (z->in * rows + TILE_ROWS));
    pack_rows(z, weight_out, weight_in);
    kg_parallel(narrow_band, z, z->images * z->blocks,
                3.0 * z->images * v->source * h->source * z->in * rows / CONV_GFLOPS_US);
}

void KG_NAME(conv_narrow_data)(const conv_shape *s, const float *grad_out, const float *weight, const float *bias,
                               float *grad_x) {
    int64_t taps = s->kh * s->kw;
    run_narrow(&(narrow){.axes = {{s->H, s->OH, s->stride[0], s->kh, s->dilation[0], s->padding[0]},
                                  {s->W, s->OW, s->stride[1], s->kw, s->dilation[1], s->padding[1]}},
                         .source = grad_out,
                         .weight = weight,
                         .bias = bias,
                         .out = grad_x,
                         .images = s->N,
                         .in = s->K,
                         .outs = s->C,
                         .taps = taps},
               taps, s->C * taps);
}
