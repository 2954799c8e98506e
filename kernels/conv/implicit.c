/* Implicit GEMM, any shape: rows are output pixels, columns output channels, and the reduction runs over taps and
 * channels, in parts of at most KC values whose sums are added in order. Three ways to lay out the rows, with the same
 * bits, since each element is the same chain of FMAs but for taps that read zeros off the image:
 *   images  Small images: the rows of a tile are one pixel of many images, so each tile knows its taps on the image.
 *   bands   Rows are pixels of one output row, and the left operand a band of padded image rows as it stands.
 *   gather  What is left: the pixels under the taps are copied into rows. Also 1x1, in place where that can be.
 * Backward data of stride s is s*s dense products, one per phase of the grad_x pixels: each uses the taps that reach
 * it. */
#include "conv/implicit.h"

#define BLOCK 49152      /* floats of gathered rows: a fifth of L2 */
#define BAND 24576       /* floats of a band of rows */
#define MOST_BAND 131072 /* half of L2 */
#define NEAR 4096        /* half of L1 */
#define SOON 16384       /* floats of output that are finished before the next */
#define PHASES 16        /* of backward data that are packed together */

typedef conv_product product;
typedef conv_reach reach;

/* The outputs low .. high-1 that all taps reach on the source. */
static reach whole_of(const conv_axis *a) {
    int64_t low = a->first < 0 ? least(ceil_div(-a->first, a->step), a->outputs) : 0;
    int64_t last = a->source - 1 - (a->taps - 1) * a->gap - a->first;
    return (reach){low, last < 0 ? low : most(low, least(last / a->step + 1, a->outputs))};
}

/* Chunk: a block of pixels, a range of panels, a group. */
static void multiply(void *context, int64_t chunk) {
    const product *z = context;
    int64_t block = chunk % z->blocks, range = chunk / z->blocks % z->ranges, group = chunk / z->blocks / z->ranges;
    int64_t pixel0 = cut(z->pixels, z->blocks, block), pixel1 = cut(z->pixels, z->blocks, block + 1);
    int64_t panel0 = cut(z->panels, z->ranges, range), panel1 = cut(z->panels, z->ranges, range + 1);
    int64_t first = panel0 * PANEL, n = least(panel1 * PANEL, z->outs) - first, stride = z->in * z->groups;
    float *rows = kg_scratch(KG_SCRATCH_CONV, sizeof(float) * (z->block * (z->row + n) + VEC_LANES));
    int64_t channel = group * z->outs + first, c_row = z->dense ? z->outs * z->groups : n;
    float *c = z->dense ? output_pixel(z, pixel0) + channel : rows + z->block * z->row;
    const float *source = z->source + group * z->in;
    for (int64_t part = 0; part < z->parts.count; part++) {
        int64_t k0 = part_start(&z->parts, part), k1 = part_start(&z->parts, part + 1);
        conv_operand a = {.at = source + pixel0 * stride + k0, .row = stride, .col = 1};
        if (!z->in_place) {
            KG_NAME(conv_gather)(z->axes, source, stride, z->in, pixel0, pixel1, k0, k1, rows, z->row);
            a.at = rows, a.row = z->row;
        }
        conv_epilogue e = epilogue_of(z, part, channel);
        for (int64_t panel = panel0; panel < panel1; panel++) {
            int64_t b_row = packed_row(z, panel), at = (panel - panel0) * PANEL;
            const float *b = z->packed + (group * z->panels + panel) * z->k * PANEL + k0 * b_row;
            KG_NAME(conv_gemm)(pixel1 - pixel0, least(n - at, PANEL), k1 - k0, &a, b, b_row, 0, c + at, c_row, &e);
            if (e.bias) e.bias += PANEL;
        }
    }
    if (z->dense) return;
    for (int64_t pixel = pixel0; pixel < pixel1; pixel++, c += c_row)
        memcpy(output_pixel(z, pixel) + channel, c, n * sizeof *c);
}

/* What the next band needs of the source and this one does not, in steps for each tile and run of its taps. */
static void fetch_next_band(const product *z, int64_t place, int64_t tiles, conv_ahead *two) {
    const conv_axis *v = z->axes;
    int64_t row = z->axes[1].source * z->in * z->groups, n = place / z->blocks, block = place % z->blocks;
    two[0] = two[1] = (conv_ahead){0};
    if (place + 1 == z->images * z->blocks || z->planes) return;
    int64_t y0 = cut(v->outputs, z->blocks, block + 1), y1 = cut(v->outputs, z->blocks, block + 2),
            reach = (v->taps - 1) * v->gap + 1;
    int64_t from = y0 * v->step + v->first + reach, to = (y1 - 1) * v->step + v->first + reach;
    if (block + 1 == z->blocks)
        n++, from = v->first, to = (cut(v->outputs, z->blocks, 1) - 1) * v->step + v->first + reach;
    from = least(most(from, 0), v->source), to = least(most(to, from), v->source);
    const float *image = z->source + n * v->source * row;
    two[0] = (conv_ahead){image + from * row, image + to * row, ceil_div(ceil_div((to - from) * row, tiles), 16) * 16};
}

/* A band in work: its source, and steps in it and in the output. */
typedef struct {
    const product *z;
    conv_band source;
    int64_t n, y0, channel; /* image, first output row, first channel of the group */
    int64_t tap_row, tap_pixel, next_pixel, out_pixel, out_row;
    conv_ahead ahead[2];
} band;

/* Output rows ya .. yb-1 of one panel. A tile is a piece of one output row; or, for columns that some taps miss, one
 * pixel of several rows. */
static void multiply_band_rows(band *t, int64_t panel, int64_t part, int64_t ya, int64_t yb) {
    const product *z = t->z;
    const conv_axis *v = z->axes, *h = z->axes + 1;
    reach rows = whole_of(v), columns = whole_of(h), all_v = {0, v->taps}, all_h = {0, h->taps}, last = {-1, -1};
    rows.low = least(most(rows.low, ya), yb), rows.high = most(least(rows.high, yb), rows.low);
    if (z->upright)
        rows = (reach){ya, yb}, columns = (reach){0, 0};
    else if (rows.high - rows.low < 3 || !z->edges)
        rows.low = rows.high = ya, columns = (reach){0, h->outputs};
    int64_t b_row = packed_row(z, panel), channel = t->channel + panel * PANEL,
            width = least(PANEL, z->outs - panel * PANEL);
    const conv_epilogue e = epilogue_of(z, part, channel);
    const float *b = z->packed + (t->channel / z->outs * z->panels + panel) * z->k * PANEL;
    float *out = output_pixel(z, t->n * v->outputs * h->outputs) + channel;
    conv_segment list[KC];
    conv_operand a = {.row = t->next_pixel, .col = 1, .list = list, .ahead = t->ahead};
    for (int64_t y = ya; y < yb; y++) {
        reach r = reach_of(v, y);
        if (r.low != last.low || r.high != last.high)
            a.segments = product_segments(z, part, r, all_h, t->tap_row, t->tap_pixel, b_row, list), last = r;
        const int inner = y >= rows.low && y < rows.high;
        int64_t x0 = inner ? columns.low : 0, x1 = inner ? columns.high : h->outputs;
        a.at = t->source.at + (y - t->y0) * v->step * t->source.row + x0 * t->next_pixel;
        KG_NAME(conv_gemm)(x1 - x0, width, 0, &a, b, b_row, 0, out + y * t->out_row + x0 * t->out_pixel, t->out_pixel,
                           &e);
    }
    if (rows.high == rows.low) return;
    a.row = v->step * t->source.row;
    for (int64_t x = 0; x < h->outputs; x++) {
        if (x == columns.low) x = columns.high;
        if (x == h->outputs) break;
        a.segments = product_segments(z, part, all_v, reach_of(h, x), t->tap_row, t->tap_pixel, b_row, list);
        a.at = t->source.at + (rows.low - t->y0) * v->step * t->source.row + x * t->next_pixel;
        KG_NAME(conv_gemm)(rows.high - rows.low, width, 0, &a, b, b_row, 0,
                           out + rows.low * t->out_row + x * t->out_pixel, t->out_row, &e);
    }
}

/* Chunk: a band of output rows of one image, a range of panels, a group. Where the weights of all panels stay in L1, a
 * few output rows are finished before the next ones: panels share lines of the output, which are then still there. */
static void multiply_band(void *context, int64_t chunk) {
    const product *z = context;
    const conv_axis *v = z->axes, *h = z->axes + 1;
    int64_t range = chunk % z->ranges, group = chunk / z->ranges % z->groups, place = chunk / z->ranges / z->groups;
    int64_t block = place % z->blocks, stride = z->planes ? 0 : z->in * z->groups;
    int64_t y0 = cut(v->outputs, z->blocks, block), y1 = cut(v->outputs, z->blocks, block + 1);
    int64_t panel0 = cut(z->panels, z->ranges, range), panel1 = cut(z->panels, z->ranges, range + 1);
    size_t floats = KG_NAME(conv_band_floats)(z->axes, stride, z->pixel, z->block);
    band t = {.z = z, .n = place / z->blocks, .y0 = y0, .channel = group * z->outs};
    const float *image = z->source + t.n * v->source * h->source * z->in * z->groups + group * z->in;
    t.source = KG_NAME(conv_make_band_of)(z->axes, image, stride, z->in, z->pixel, y0, y1,
                                          kg_scratch(KG_SCRATCH_CONV, sizeof(float) * floats));
    t.tap_row = v->gap * t.source.row, t.tap_pixel = h->gap * t.source.pixel, t.next_pixel = h->step * t.source.pixel;
    t.out_pixel = h->out_step * z->outs * z->groups, t.out_row = v->out_step * z->out_w * z->outs * z->groups;
    fetch_next_band(z, place,
                    (y1 - y0) * ceil_div(h->outputs, TILE_ROWS) * z->parts.count * most(1, z->panels / z->ranges),
                    t.ahead);
    int64_t some = y1 - y0, own = panel1 - panel0, out_row = h->outputs * z->outs;
    if (own * z->k * PANEL <= NEAR) some = most(1, SOON / (h->outputs * own * PANEL));
    int64_t tiles = some * ceil_div(h->outputs, TILE_ROWS) * own * z->parts.count;
    for (int64_t y = y0; y < y1; y += some) {
        const float *out = output_pixel(z, (t.n * v->outputs + least(y + some, y1)) * h->outputs);
        if (z->dense && own == z->panels && z->groups == 1)
            t.ahead[1] = (conv_ahead){out, out + least(some, most(y1 - y - some, 0)) * out_row,
                                      ceil_div(ceil_div(some * out_row, tiles), 16) * 16};
        for (int64_t panel = panel0; panel < panel1; panel++)
            for (int64_t part = 0; part < z->parts.count; part++)
                multiply_band_rows(&t, panel, part, y, least(y + some, y1));
    }
}

/* Chunk: a block of images, a range of panels, a group, a part of the output rows. The left operand is [source
 * pixel][image][channel]. */
static void multiply_images(void *context, int64_t chunk) {
    const product *z = context;
    const conv_axis *v = z->axes, *h = z->axes + 1;
    int64_t range = chunk % z->ranges, part_y = chunk / z->ranges % z->row_parts,
            place = chunk / z->ranges / z->row_parts;
    int64_t group = place % z->groups, block = place / z->groups;
    int64_t n0 = cut(z->images, z->blocks, block), count = cut(z->images, z->blocks, block + 1) - n0;
    int64_t stride = z->in * z->groups, pixels = v->source * h->source, ld = odd_lines(z->in), pixel = count * ld;
    float *source = kg_scratch(KG_SCRATCH_CONV, sizeof(float) * pixels * pixel);
    for (int64_t i = 0; i < count; i++) {
        const float *from = z->source + (n0 + i) * pixels * stride + group * z->in;
        for (int64_t p = 0; p < pixels; p++)
            memcpy(source + p * pixel + i * ld, from + p * stride, sizeof(float) * z->in);
    }
    int64_t out_image = z->out_h * z->out_w * z->outs * z->groups;
    conv_segment list[KC];
    for (int64_t panel = cut(z->panels, z->ranges, range); panel < cut(z->panels, z->ranges, range + 1); panel++)
        for (int64_t part = 0; part < z->parts.count; part++) {
            int64_t b_row = packed_row(z, panel), channel = group * z->outs + panel * PANEL;
            const conv_epilogue e = epilogue_of(z, part, channel);
            const float *b = z->packed + (group * z->panels + panel) * z->k * PANEL;
            for (int64_t y = cut(v->outputs, z->row_parts, part_y); y < cut(v->outputs, z->row_parts, part_y + 1); y++)
                for (int64_t x = 0; x < h->outputs; x++) {
                    conv_operand a = {.row = ld, .col = 1, .list = list};
                    a.at = source + ((y * v->step + v->first) * h->source + x * h->step + h->first) * pixel;
                    a.segments = product_segments(z, part, reach_of(v, y), reach_of(h, x), v->gap * h->source * pixel,
                                                  h->gap * pixel, b_row, list);
                    KG_NAME(conv_gemm)(count, least(PANEL, z->outs - panel * PANEL), 0, &a, b, b_row, 0,
                                       output_pixel(z, (n0 * v->outputs + y) * h->outputs + x) + channel, out_image,
                                       &e);
                }
        }
}

/* Pixels that no tap reaches. Chunk: an output row. */
static void fill_row(void *context, int64_t chunk) {
    const product *z = context;
    const conv_axis *h = z->axes + 1;
    int64_t channels = z->outs * z->groups;
    float *to = output_pixel(z, chunk * h->outputs);
    for (int64_t x = 0; x < h->outputs; x++, to += h->out_step * channels)
        for (int64_t c = 0; c < channels; c++) to[c] = z->bias ? z->bias[c] : 0;
}

/* The share of taps that miss the source. */
static double missed(const conv_axis *a) {
    int64_t hits = 0;
    for (int64_t i = 0; i < a->outputs; i++) {
        reach r = reach_of(a, i);
        hits += r.high - r.low;
    }
    return 1 - (double)hits / (a->outputs * a->taps);
}

/* With weights that are packed already. */
static void run(product *z) {
    const conv_axis *v = z->axes, *h = z->axes + 1;
    z->pixels = z->images * v->outputs * h->outputs;
    packed_floats(z);
    if (z->pixels == 0) return;
    if (z->k == 0) {
        kg_parallel(fill_row, z, z->images * v->outputs, 1e-4 * z->pixels * z->outs * z->groups);
        return;
    }
    int64_t taps = v->taps * h->taps;
    z->parts = reduction_of(z->in, taps);
    if (KG_NAME(conv_listed_fits)(z)) {
        KG_NAME(conv_listed)(z);
        return;
    }
    z->row = odd_lines(least(z->in, KC) * ceil_div(taps, z->parts.count) + VEC_LANES - 1);
    z->ranges = 1;
    z->dense = v->out_step == 1 && h->out_step == 1;
    z->in_place = z->dense && taps == 1 && v->step == 1 && h->step == 1 && v->first == 0 && h->first == 0 &&
                  v->source == v->outputs && h->source == h->outputs &&
                  (z->in * z->groups % 512 != 0 || z->outs <= PANEL); /* at 2048 bytes rows would meet in L1 */
    z->pixel = h->step * z->in % 512 == 0 ? z->in + 16 : z->in;
    z->edges = missed(h) > 0.04;
    kg_task *task = multiply;
    int64_t shared = z->images * z->groups; /* what there is for threads to share */
    /* Where bands have hardly a column that all taps reach. The images of a tile are to stay near L2. */
    const double off = missed(v) + missed(h);
    const int many = z->images >= (off > 0.15 ? 5 : 8) && (h->outputs < 8 || off > 0.3) &&
                     v->source * h->source * odd_lines(z->in) * least(z->images, 8) <= 2 * MOST_BAND;
    z->row_parts = 1;
    if (taps > 1 && z->in >= 16 && many) {
        task = multiply_images;
        z->blocks = most(ceil_div(z->images, 14), least(8, z->images / 6)), shared = z->blocks * z->groups;
    } else if (!z->in_place && (taps > 1 || h->step == 1) && most(h->outputs, v->outputs) >= 6) {
        task = multiply_band;
        z->upright = h->outputs < 6 && v->outputs > h->outputs;
        int64_t row = v->step * ((h->outputs - 1) * h->step + (h->taps - 1) * h->gap + 1) * z->pixel;
        /* Rows that two bands share are copied twice: bands grow where there are many of them to the own ones. */
        int64_t rows = most(BAND / row, 1), halo = (v->taps - 1) * v->gap + 1 - v->step;
        while (rows * v->step < 3 * halo && (rows + 1) * row + halo * row / v->step < MOST_BAND) rows++;
        z->blocks = ceil_div(v->outputs, rows);
        /* Panels are shared out before rows: few rows leave no room for edges, and each band reads all weights. */
        z->ranges = least(z->panels, ceil_div(FEW_CHUNKS, shared * z->blocks));
        z->blocks = least(v->outputs, most(z->blocks, ceil_div(FEW_CHUNKS, shared * z->ranges)));
        if (z->upright) z->blocks = least(z->blocks, ceil_div(v->outputs, 14));
        z->block = ceil_div(v->outputs, z->blocks), shared *= z->blocks;
    } else {
        int64_t limit = most(14, least(168, BLOCK / z->row));
        z->blocks = most(ceil_div(z->pixels, limit), least(ceil_div(FEW_CHUNKS, z->groups), ceil_div(z->pixels, 14)));
        z->block = ceil_div(z->pixels, z->blocks), shared = z->blocks * z->groups;
    }
    if (task != multiply_band) z->ranges = least(z->panels, ceil_div(FEW_CHUNKS / 2, shared));
    if (task == multiply_images)
        z->row_parts = least(v->outputs, ceil_div(FEW_CHUNKS, shared * z->ranges)), shared *= z->row_parts;
    double us = 2.0 * z->pixels * z->k * z->outs * z->groups / CONV_GFLOPS_US;
    kg_parallel(task, z, shared * z->ranges, us);
}

/* What forward and backward data have alike, of groups with `in` channels read and `outs` written. */
static product product_of(const conv_shape *s, const float *weight, int64_t in, int64_t outs) {
    int64_t taps = s->kh * s->kw, merge = merged_groups(s);
    return (product){.weight = weight,
                     .groups = s->groups / merge,
                     .images = s->N,
                     .in = in * merge,
                     .outs = outs * merge,
                     .merge = merge,
                     .own_in = in,
                     .own_outs = outs,
                     .weight_group = in * outs * taps,
                     .kernel_w = s->kw,
                     .kernel_taps = taps};
}

static product forward_of(const conv_shape *s, const float *weight) {
    product z = product_of(s, weight, s->C / s->groups, s->K / s->groups);
    z.axes[0] = KG_NAME(conv_forward_axis)(s, 0), z.axes[1] = KG_NAME(conv_forward_axis)(s, 1);
    z.out_h = s->OH, z.out_w = s->OW, z.relu = s->activation == CONV_RELU;
    z.weight_out = z.own_in * z.kernel_taps, z.weight_in = z.kernel_taps;
    return z;
}

void KG_NAME(conv_implicit_forward)(const conv_shape *s, const float *x, const float *weight, const float *kept,
                                    const float *bias, float *out) {
    product z = forward_of(s, weight);
    z.source = x, z.packed = (float *)kept, z.bias = bias, z.out = out, z.planes = s->planes;
    if (!kept) KG_NAME(conv_pack_products)(&z, 1, NULL);
    run(&z);
}

int64_t KG_NAME(conv_implicit_kept)(const conv_shape *s) {
    product z = forward_of(s, NULL);
    return packed_floats(&z);
}

void KG_NAME(conv_implicit_keep)(const conv_shape *s, const float *weight, float *kept) {
    product z = forward_of(s, weight);
    KG_NAME(conv_pack_products)(&z, 1, kept);
}

void KG_NAME(conv_implicit_data)(const conv_shape *s, const float *grad_out, const float *weight, const float *bias,
                                 float *grad_x) {
    int64_t phases = s->stride[0] * s->stride[1];
    product z = product_of(s, weight, s->K / s->groups, s->C / s->groups), of[PHASES];
    z.source = grad_out, z.bias = bias, z.out = grad_x, z.out_h = s->H, z.out_w = s->W;
    z.weight_out = z.kernel_taps, z.weight_in = z.own_outs * z.kernel_taps;
    for (int64_t first = 0; first < phases; first += PHASES) {
        int64_t count = least(phases - first, PHASES);
        for (int64_t i = 0; i < count; i++) {
            of[i] = z;
            of[i].axes[0] = KG_NAME(conv_phase_axis)(s, 0, (first + i) / s->stride[1]);
            of[i].axes[1] = KG_NAME(conv_phase_axis)(s, 1, (first + i) % s->stride[1]);
        }
        KG_NAME(conv_pack_products)(of, count, NULL);
        for (int64_t i = 0; i < count; i++) run(of + i);
    }
}
