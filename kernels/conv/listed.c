/* Products over taps of narrow groups, whose rows are the output pixels of a block in any order: some rows of an image,
 * or several images. A block goes through all of its groups while it is in L2; for each, the group's channels are
 * copied together, with zeros where taps leave the image. Lists say where each pixel's taps start and where it goes.
 * Of several images, the pixels are sorted by the taps that lie on the image, and others are left out. The same bits as
 * implicit.c, but for taps that read zeros. */
#include "conv/implicit.h"

#define BAND 8192       /* floats of a group's channels: L1 */
#define BLOCK 98304     /* floats of all channels of a block's pixels, read and written: 3/8 of L2 */
#define ENOUGH_IMAGES 4 /* for a tile of the pixels of one corner */
#define MOST_CLASSES 64 /* of pixels with the same taps on the image, along an axis */
#define LONG_ROW 10     /* pixels of an output row that are a tile of their own, where rows are to be evenly spaced */

typedef struct {
    int64_t first, end; /* outputs */
    conv_reach taps;
} run;

/* Runs of outputs low .. high-1 whose taps on the source are the same; 0 if they are too many. */
static int64_t runs_of(const conv_axis *a, int64_t low, int64_t high, run *runs) {
    int64_t count = 0;
    for (int64_t i = low; i < high; i++) {
        const conv_reach taps = reach_of(a, i);
        run *last = runs + count - 1;
        if (count > 0 && last->taps.low == taps.low && last->taps.high == taps.high) {
            last->end = i + 1;
            continue;
        }
        if (count == MOST_CLASSES) return 0;
        runs[count++] = (run){i, i + 1, taps};
    }
    return count;
}

/* The images and output rows of a block, and the copies of one group's channels. */
typedef struct {
    int64_t n0, n1, y0, y1;
    float *room;
    int64_t image, row, start; /* floats of an image's copy, of one row of it, and before the first tap of (y0, 0) */
} block;

/* Pixels of a block with the same taps: where each starts in the copies, and in the output. */
static int64_t list_pixels(const conv_product *z, const block *b, const run *rows, const run *columns, int64_t *from,
                           int64_t *into) {
    const conv_axis *v = z->axes, *h = z->axes + 1;
    int64_t channels = z->outs * z->groups, count = 0;
    for (int64_t n = b->n0; n < b->n1; n++)
        for (int64_t y = rows->first; y < rows->end; y++) {
            int64_t at = b->start + (n - b->n0) * b->image + (y - b->y0) * v->step * b->row;
            int64_t to = ((n * z->out_h + v->out_first + y * v->out_step) * z->out_w + h->out_first) * channels;
            for (int64_t x = columns->first; x < columns->end; x++, count++)
                from[count] = at + x * h->step * z->in, into[count] = to + x * h->out_step * channels;
        }
    return count;
}

/* One group of a block: for each panel and part the pixels of all runs. */
static void multiply_group(const conv_product *z, const block *b, int64_t group, const run *rows, int64_t row_runs,
                           const run *columns, int64_t column_runs, const int64_t *from, const int64_t *into) {
    const conv_axis *v = z->axes, *h = z->axes + 1;
    conv_segment list[KC];
    for (int64_t panel = 0; panel < z->panels; panel++)
        for (int64_t part = 0; part < z->parts.count; part++) {
            int64_t b_row = packed_row(z, panel), channel = group * z->outs + panel * PANEL, first = 0;
            int64_t width = least(PANEL, z->outs - panel * PANEL);
            const float *weights = z->packed + (group * z->panels + panel) * z->k * PANEL;
            conv_epilogue e = epilogue_of(z, part, channel);
            e.far = e.far && width > EVENLY;
            for (int64_t i = 0; i < row_runs; i++)
                for (int64_t j = 0; j < column_runs; j++) {
                    int64_t wide = columns[j].end - columns[j].first;
                    int64_t pixels = (b->n1 - b->n0) * (rows[i].end - rows[i].first) * wide;
                    conv_operand a = {.at = b->room, .row = h->step * z->in, .col = 1, .list = list};
                    a.segments = product_segments(z, part, rows[i].taps, columns[j].taps, v->gap * b->row,
                                                  h->gap * z->in, b_row, list);
                    if (width <= EVENLY && wide >= LONG_ROW)
                        for (int64_t at = first; at < first + pixels; at += wide) {
                            a.at = b->room + from[at];
                            KG_NAME(conv_gemm)(wide, width, 0, &a, weights, b_row, 0, z->out + channel + into[at],
                                               h->out_step * z->outs * z->groups, &e);
                        }
                    else {
                        a.rows = from + first, e.rows = into + first;
                        KG_NAME(conv_gemm)(pixels, width, 0, &a, weights, b_row, 0, z->out + channel, 0, &e);
                    }
                    first += pixels;
                }
        }
}

/* While group `i` of `groups` of a block is multiplied, its share of what the next block reads is fetched. */
static void fetch_share(const conv_product *z, int64_t place, int64_t i, int64_t groups) {
    const conv_axis *v = z->axes, *h = z->axes + 1;
    if (++place == z->blocks * z->row_parts) return;
    int64_t part = place % z->row_parts, block = place / z->row_parts, row = h->source * z->in * z->groups;
    int64_t y0 = cut(v->outputs, z->row_parts, part) * v->step + v->first;
    int64_t y1 = (cut(v->outputs, z->row_parts, part + 1) - 1) * v->step + v->first + (v->taps - 1) * v->gap + 1;
    if (part > 0) y0 += (v->taps - 1) * v->gap + 1 - v->step; /* rows that this block read */
    int64_t first = cut(z->images, z->blocks, block) * v->source,
            end = cut(z->images, z->blocks, block + 1) * v->source;
    if (z->row_parts > 1) end = first + least(most(y1, 0), v->source), first += least(most(y0, 0), v->source);
    int64_t floats = most(end - first, 0) * row;
    const float *at = z->source + first * row, *stop = at + cut(floats, groups, i + 1);
    for (at += cut(floats, groups, i); at < stop; at += 16) __builtin_prefetch(at, 0, 2);
}

/* Chunk: a block of images, or of rows of one, and a range of groups. */
static void multiply_block(void *context, int64_t chunk) {
    const conv_product *z = context;
    const conv_axis *v = z->axes, *h = z->axes + 1;
    int64_t range = chunk / (z->blocks * z->row_parts), place = chunk % (z->blocks * z->row_parts);
    int64_t part = place % z->row_parts, stride = z->in * z->groups, i = place / z->row_parts;
    block b = {.n0 = cut(z->images, z->blocks, i), .n1 = cut(z->images, z->blocks, i + 1)};
    b.y0 = cut(v->outputs, z->row_parts, part), b.y1 = cut(v->outputs, z->row_parts, part + 1);
    int64_t images = b.n1 - b.n0, pixels = images * (b.y1 - b.y0) * h->outputs, count = v->source * h->source;
    run rows[MOST_CLASSES], columns[MOST_CLASSES];
    int64_t row_runs = 0, column_runs = 0;
    if (images >= ENOUGH_IMAGES)
        row_runs = runs_of(v, b.y0, b.y1, rows), column_runs = runs_of(h, 0, h->outputs, columns);
    const int sorted = row_runs > 0 && column_runs > 0; /* and no tap off the image is read */
    if (sorted) {
        b.row = h->source * z->in, b.image = count * z->in, b.start = v->first * b.row + h->first * z->in;
    } else {
        rows[0] = (run){b.y0, b.y1, {0, v->taps}}, columns[0] = (run){0, h->outputs, {0, h->taps}};
        row_runs = column_runs = 1;
        b.row = ((h->outputs - 1) * h->step + (h->taps - 1) * h->gap + 1) * z->in;
        b.image = KG_NAME(conv_band_floats)(z->axes, stride, z->in, b.y1 - b.y0);
    }
    int64_t *from =
        kg_scratch(KG_SCRATCH_CONV, sizeof *from * 2 * pixels + sizeof(float) * (images * b.image + VEC_LANES));
    int64_t *into = from + pixels;
    b.room = (float *)(into + pixels);
    for (int64_t r = 0, at = 0; r < row_runs; r++)
        for (int64_t c = 0; c < column_runs; c++) at += list_pixels(z, &b, rows + r, columns + c, from + at, into + at);
    int64_t group0 = cut(z->groups, z->ranges, range), group1 = cut(z->groups, z->ranges, range + 1);
    for (int64_t group = group0; group < group1; group++) {
        const float *source = z->source + b.n0 * count * stride + group * z->in;
        if (sorted) KG_NAME(conv_copy_pixels)(b.room, z->in, source, stride, images * count, z->in);
        for (int64_t n = 0; !sorted && n < images; n++, source += count * stride)
            KG_NAME(conv_make_band_of)(z->axes, source, stride, z->in, z->in, b.y0, b.y1, b.room + n * b.image);
        fetch_share(z, place, group - group0, group1 - group0);
        multiply_group(z, &b, group, rows, row_runs, columns, column_runs, from, into);
    }
}

int KG_NAME(conv_listed_fits)(const conv_product *z) {
    return z->groups > 1 && z->in <= 32 && z->axes[0].taps * z->axes[1].taps > 1;
}

void KG_NAME(conv_listed)(conv_product *z) {
    const conv_axis *v = z->axes, *h = z->axes + 1;
    int64_t width = (h->outputs - 1) * h->step + (h->taps - 1) * h->gap + 1,
            halo = (v->taps - 1) * v->gap + 1 - v->step;
    int64_t row = width * z->in * v->step; /* of a copy, per output row */
    int64_t all = h->outputs * (z->outs * z->groups + z->in * z->groups * v->step * h->step); /* all channels of it */
    int64_t rows = most(1, least(BLOCK / all, BAND / row - halo / v->step));                  /* of one image */
    rows = least(v->outputs, most(rows, most(2 * halo / v->step, ceil_div(TILE_ROWS, h->outputs))));
    int64_t images = most(1, least(BLOCK / (all * v->outputs), BAND / (row * v->outputs + halo * row / v->step)));
    z->row_parts = ceil_div(v->outputs, rows), z->blocks = z->row_parts > 1 ? z->images : ceil_div(z->images, images);
    z->ranges = least(z->groups, ceil_div(FEW_CHUNKS, z->row_parts * z->blocks));
    kg_parallel(multiply_block, z, z->row_parts * z->blocks * z->ranges,
                2.0 * z->pixels * z->k * z->outs * z->groups / CONV_GFLOPS_US);
}
