/* Backward weight, any shape: grad_weight[(tap, c), k] = sum over pixels of x[pixel under the tap, c] grad_out[pixel,
 * k], a GEMM whose reduction runs over pixels. The pixels are cut into slices and the (tap, c) rows into ranges, both
 * by sizes alone. A chunk, one slice and one range, adds up blocks of pixels in order; at the end slices are summed in
 * order into OIHW. Three ways to find the rows:
 *   taps    One product for each tap, over the pixels where it lies on the image; x is read as it stands.
 *   band    Few channels: the taps of a row and their channels lie side by side in a band of padded rows.
 *   gather  Few channels, and taps apart or images narrow: rows are copied together. */
#include "conv/conv.h"
#include "matmul/transpose.h"

#define SLICES 8
#define FEW_CHUNKS 16
#define MAX_ROWS 32           /* of a band */
#define RUN 256               /* pixels of a block of bands, of several rows or of a piece of one, at least */
#define MAX_SEGMENTS 256      /* rows of a block of pixels */
#define BLOCK 65536           /* floats of gathered rows: a quarter of L2 */
#define BLOCK_TAPS 131072     /* floats of x and grad_out: half of L2 */
#define PARTIAL_TAPS 2097152  /* bytes of all slices together in the first way: more slices, more traffic */
#define FEW_PIXELS 128        /* multiplied in little more time than it takes to write a large gradient */
#define CHANNEL_BYTES 655360  /* of the gradient of some channels: 5/8 of L2 */
#define PARTIAL_BYTES 8388608 /* of all slices together; beyond, ranges take the place of slices */

typedef struct {
    conv_axis axes[2];
    const float *x, *grad_out;
    float *partial, *grad_weight; /* partial[slice][group][(tap, c)][ldc] */
    float *bias;                  /* [slice][channel], or NULL */
    int64_t images, groups, merge, in, outs, k, pixels, slices, ranges, range, block, ldc, taps, cuts;
    int64_t pieces; /* of an output row, for bands; 1 without groups */
    int fetch;      /* rows of x and grad_out are not in a cache: each block fetches the next */
    int turned;     /* partial[slice][group][tap][k][ldc], for few output channels */
} gradient;

/* The bias's part of a block of pixels, while that is in the cache; `first`: of its slice. */
static void add_to_bias(const gradient *z, int64_t slice, int64_t group, int64_t range, int64_t p0, int64_t p1,
                        int first) {
    int64_t all = z->outs * z->groups;
    if (!z->bias || range > 0) return;
    float *sums = z->bias + slice * all + group * z->outs;
    if (first) memset(sums, 0, sizeof *sums * z->outs);
    KG_NAME(conv_add_pixels)(z->grad_out + p0 * all + group * z->outs, p1 - p0, all, z->outs, sums);
}

/* Whether tiles take grad_out as it lies. Those of few rows want a line of it every six cycles, which only packed
 * panels can give them. */
static int reads_in_place(const gradient *z) { return z->turned || (z->outs % VEC_LANES == 0 && TILE_ROWS > 6); }

/* Floats from pixel to pixel of a packed panel. */
static int64_t panel_row(const gradient *z) { return z->outs <= VEC_LANES ? VEC_LANES : PANEL; }

/* grad_out of pixels p0 .. p1-1 in panels, zeros beyond the last channel. */
static void pack_panels(const gradient *z, int64_t group, int64_t p0, int64_t p1, float *packed) {
    int64_t row = panel_row(z), all = z->outs * z->groups;
    if (z->outs <= VEC_LANES) {
        const float *from = z->grad_out + p0 * all + group * z->outs;
        KG_NAME(conv_copy_pixels)(packed, row, from, all, p1 - p0, z->outs);
        return;
    }
    for (int64_t p = p0; p < p1; p++) {
        const float *from = z->grad_out + (p * z->groups + group) * z->outs;
        for (int64_t j = 0; j < z->outs; j += VEC_LANES)
            vec_storeu(packed + (j / PANEL * (p1 - p0) + p - p0) * row + j % PANEL, vec_load(from + j, z->outs - j));
    }
}

static void slice_gradient(void *context, int64_t chunk) {
    const gradient *z = context;
    int64_t range = chunk % z->ranges, group = chunk / z->ranges % z->groups, slice = chunk / z->ranges / z->groups;
    int64_t k0 = range * z->range, k1 = least(k0 + z->range, z->k), row = odd_lines(z->range + VEC_LANES - 1);
    int64_t end = cut(z->pixels, z->slices, slice + 1), panels = ceil_div(z->outs, PANEL);
    float *rows = kg_scratch(KG_SCRATCH_CONV, sizeof(float) * (z->block * (row + panels * PANEL) + VEC_LANES));
    float *packed = rows + z->block * row, *to = z->partial + ((slice * z->groups + group) * z->k + k0) * z->ldc;
    conv_epilogue e = {0};
    for (int64_t p0 = cut(z->pixels, z->slices, slice), p1; p0 < end; p0 = p1, e.add = 1) {
        p1 = least(p0 + z->block, end);
        add_to_bias(z, slice, group, range, p0, p1, !e.add);
        KG_NAME(conv_gather)(z->axes, z->x + group * z->in, z->groups * z->in, z->in, p0, p1, k0, k1, rows, row);
        pack_panels(z, group, p0, p1, packed);
        conv_operand a = {.at = rows, .row = 1, .col = row};
        KG_NAME(conv_gemm)(k1 - k0, z->outs, p1 - p0, &a, packed, panel_row(z), (p1 - p0) * PANEL, to, z->ldc, &e);
    }
}

/* Pixels of a block of output rows, row0 .. row1-1 counted through all images, where a tap lies on the image: x_row and
 * g_row are the floats from pixel to pixel. */
static int64_t segments_of(const gradient *z, int64_t tap, int64_t row0, int64_t row1, int64_t x_row, int64_t g_row,
                           conv_segment *list) {
    const conv_axis *v = z->axes, *h = z->axes + 1;
    int64_t at_y = v->first + tap / h->taps * v->gap, at_x = h->first + tap % h->taps * h->gap, count = 0;
    int64_t low = at_x < 0 ? ceil_div(-at_x, h->step) : 0;
    int64_t high = at_x < h->source ? least((h->source - 1 - at_x) / h->step + 1, h->outputs) : 0;
    if (low >= high) return 0;
    for (int64_t row = row0; row < row1; row++) {
        int64_t n = row / v->outputs, y = row % v->outputs * v->step + at_y;
        if (y < 0 || y >= v->source) continue;
        conv_segment s = {((n * v->source + y) * h->source + low * h->step + at_x) * z->in * z->groups,
                          ((row - row0) * h->outputs + low) * g_row, high - low},
                     *last = list + count - 1;
        if (count > 0 && last->a + last->k * x_row == s.a && last->b + last->k * g_row == s.b)
            last->k += s.k;
        else
            list[count++] = s;
    }
    return count;
}

/* Segments of at most `run` pixels instead of `list`; returns how many. */
static int64_t split(const conv_segment *list, int64_t count, int64_t run, int64_t x_row, int64_t g_row,
                     conv_segment *pieces) {
    int64_t n = 0;
    for (int64_t i = 0; i < count; i++)
        for (int64_t k = 0; k < list[i].k; k += run)
            pieces[n++] = (conv_segment){list[i].a + k * x_row, list[i].b + k * g_row, least(run, list[i].k - k)};
    return n;
}

/* The last source row that output rows before `row`, counted through all images, are made of. */
static int64_t source_row(const gradient *z, int64_t row) {
    const conv_axis *v = z->axes;
    int64_t n = row / v->outputs, y = row % v->outputs * v->step + v->first + (v->taps - 1) * v->gap;
    return least(n * v->source + least(most(y, 0), v->source), z->images * v->source);
}

/* What output rows row0 .. row1-1 need of x and of grad_out, for `segments` segments to fetch. */
static void fetch_rows(const gradient *z, int64_t row0, int64_t row1, int64_t segments, conv_ahead *two) {
    int64_t x_row = z->axes[1].source * z->in, g_row = z->axes[1].outputs * z->outs;
    two[0] = (conv_ahead){z->x + source_row(z, row0) * x_row, z->x + source_row(z, row1) * x_row, 0};
    two[1] = (conv_ahead){z->grad_out + row0 * g_row, z->grad_out + row1 * g_row, 0};
    for (int i = 0; i < 2; i++) two[i].step = ceil_div(ceil_div(two[i].end - two[i].at, segments), 16) * 16;
}

/* Few channels, without gathering, for enough slices to go round: chunk, a slice of the output rows of all images, or
 * of the pieces of long ones, and a group. Bands of padded rows, of one image or of several, are the left operand as
 * they stand: its rows, (tap, c), are listed by where they start. */
static void slice_gradient_band(void *context, int64_t chunk) {
    const gradient *z = context;
    conv_axis axes[2] = {z->axes[0], z->axes[1]}, *v = axes, *h = axes + 1;
    int64_t slice = chunk / z->groups, group = chunk % z->groups, stride = z->in * z->groups, width = h->outputs;
    int64_t units = v->outputs * z->images * z->pieces, first = h->first;
    int64_t unit = cut(units, z->slices, slice), end = cut(units, z->slices, slice + 1);
    h->outputs = ceil_div(width, z->pieces);
    int64_t room = KG_NAME(conv_band_floats)(axes, stride, z->in, least(z->block, v->outputs));
    int64_t bands = ceil_div(z->block - 1, v->outputs) + 1, panels = ceil_div(z->outs, PANEL);
    const int in_place = z->groups == 1 && reads_in_place(z);
    int64_t g_row = in_place ? z->outs : panel_row(z);
    int64_t *from =
        kg_scratch(KG_SCRATCH_CONV,
                   sizeof *from * 2 * z->k + sizeof(float) * (bands * room + z->block * h->outputs * panels * PANEL));
    int64_t *into = from + z->k;
    float *band_room = (float *)(into + z->k), *packed = band_room + bands * room;
    conv_epilogue e = {0};
    conv_segment list[MAX_ROWS];
    for (int64_t rows; unit < end; unit += rows, e.add = 1) {
        conv_ahead ahead[2] = {{0}};
        conv_band band = {0};
        int64_t row = unit / z->pieces, x0 = cut(width, z->pieces, unit % z->pieces);
        int64_t across = cut(width, z->pieces, unit % z->pieces + 1) - x0;
        h->first = first + x0 * h->step;
        rows = least(z->block, end - unit);
        if (z->groups == 1) rows = least(rows, v->outputs - row % v->outputs);
        if (z->groups == 1 && row + rows < end)
            fetch_rows(z, row + rows, least(row + rows + z->block, end), panels * ceil_div(z->k, TILE_ROWS) * rows,
                       ahead);
        int64_t pixel = row * width + x0, pixels = rows * across;
        add_to_bias(z, slice, group, 0, pixel, pixel + pixels, !e.add);
        for (int64_t i = 0, count, at = 0; i < rows; i += count, at += room) {
            int64_t n = (row + i) / v->outputs, y = (row + i) % v->outputs;
            count = least(rows - i, v->outputs - y);
            const float *image = z->x + n * v->source * h->source * stride + group * z->in;
            conv_band next = KG_NAME(conv_make_band)(axes, image, stride, z->in, y, y + count, band_room + at);
            if (i == 0) band = next;
            for (int64_t j = 0; j < count; j++)
                list[i + j] = (conv_segment){at + j * v->step * band.row, (i + j) * across * g_row, across};
        }
        const float *g = z->grad_out + pixel * z->outs;
        if (!in_place) pack_panels(z, group, pixel, pixel + pixels, packed), g = packed;
        conv_operand a = {.at = band.at, .col = h->step * z->in, .segments = rows, .list = list, .ahead = ahead};
        float *to = z->partial + (slice * z->groups + group) * z->k * z->ldc;
        int64_t panel = in_place ? PANEL : pixels * PANEL, line = h->taps * z->in;
        if (z->outs <= EVENLY && h->gap == 1) {
            a.row = 1;
            for (int64_t tap = 0; tap < v->taps; tap++, to += line * z->ldc, a.at += v->gap * band.row)
                KG_NAME(conv_gemm)(line, z->outs, 0, &a, g, g_row, panel, to, z->ldc, &e);
            continue;
        }
        for (int64_t i = 0; !e.add && i < z->k; i++) {
            from[i] = i / line * v->gap * band.row + i % line / z->in * h->gap * z->in + i % z->in;
            into[i] = i * z->ldc;
        }
        a.rows = from, e.rows = into;
        KG_NAME(conv_gemm)(z->k, z->outs, 0, &a, g, g_row, panel, to, 0, &e);
    }
}

/* Chunk: a slice of the output rows of all images, a group, a range of taps and of pieces of the input channels. */
static void slice_gradient_taps(void *context, int64_t chunk) {
    const gradient *z = context;
    const conv_axis *v = z->axes, *h = z->axes + 1;
    int64_t range = chunk % z->ranges, group = chunk / z->ranges % z->groups, slice = chunk / z->ranges / z->groups;
    int64_t rows = v->outputs * z->images, end = cut(rows, z->slices, slice + 1), stride = z->outs * z->groups;
    const int in_place = reads_in_place(z);
    int64_t panels = ceil_div(z->outs, PANEL), x_row = h->step * z->in * z->groups;
    int64_t g_row = in_place ? stride : panel_row(z);
    float *packed =
        in_place ? NULL : kg_scratch(KG_SCRATCH_CONV, sizeof(float) * z->block * h->outputs * panels * PANEL);
    float *partial = z->partial + (slice * z->groups + group) * z->taps * (z->turned ? z->outs : z->in) * z->ldc;
    conv_segment list[MAX_SEGMENTS], pieces[2 * MAX_SEGMENTS];
    conv_epilogue e = {.far = 1};
    int64_t unit0 = cut(z->taps * z->cuts, z->ranges, range), unit1 = cut(z->taps * z->cuts, z->ranges, range + 1);
    for (int64_t row = cut(rows, z->slices, slice), row1; row < end; row = row1, e.add = 1) {
        conv_ahead ahead[2] = {{0}};
        row1 = least(row + z->block, end);
        const float *g = z->grad_out + (row * h->outputs * z->groups + group) * z->outs, *x = z->x + group * z->in;
        int64_t pixels = (row1 - row) * h->outputs, count = 0, of_tap = -1;
        conv_segment *now = z->fetch ? pieces : list;
        int64_t run = most(32, ceil_div(pixels, MAX_SEGMENTS));
        if (z->fetch && row1 < end)
            fetch_rows(z, row1, least(row1 + z->block, end),
                       (unit1 - unit0) * panels * ceil_div(z->in, z->cuts * TILE_ROWS) * ceil_div(pixels, run), ahead);
        add_to_bias(z, slice, group, range, row * h->outputs, row * h->outputs + pixels, !e.add);
        if (!in_place) pack_panels(z, group, row * h->outputs, row * h->outputs + pixels, packed), g = packed;
        for (int64_t unit = unit0; unit < unit1; unit++) {
            int64_t tap = unit / z->cuts, c = cut(z->in, z->cuts, unit % z->cuts);
            int64_t channels = cut(z->in, z->cuts, unit % z->cuts + 1) - c;
            if (tap != of_tap) {
                count = segments_of(z, tap, row, row1, x_row, g_row, list), of_tap = tap;
                if (z->fetch) count = split(list, count, run, x_row, g_row, pieces);
                for (int64_t i = 0; z->turned && i < count; i++) now[i] = (conv_segment){now[i].b, now[i].a, now[i].k};
            }
            if (z->turned) {
                conv_operand a = {.at = g, .row = 1, .col = g_row, .segments = count, .list = now, .ahead = ahead};
                KG_NAME(conv_gemm)(z->outs, z->in, 0, &a, x, x_row, PANEL, partial + tap * z->outs * z->ldc, z->ldc,
                                   &e);
            } else {
                conv_operand a = {.at = x + c, .row = 1, .col = x_row, .segments = count, .list = now, .ahead = ahead};
                KG_NAME(conv_gemm)(channels, z->outs, 0, &a, g, g_row, in_place ? PANEL : pixels * PANEL,
                                   partial + (tap * z->in + c) * z->ldc, z->ldc, &e);
            }
        }
    }
}

/* to[lane][r] = sum over slices of from[tap of r][input of r][lane], r = (input, tap), for up to 16 lanes. */
static void turn_columns(const gradient *z, const float *from, int64_t inputs, int64_t slice, int64_t lanes,
                         float *to) {
    int64_t rows = inputs * z->taps, step = TRANSPOSE_BLOCK;
    for (int64_t r = 0; r < rows; r += step) {
        float block[TRANSPOSE_BLOCK * 16], turned[16 * TRANSPOSE_BLOCK];
        int64_t count = least(step, rows - r);
        for (int64_t i = 0; i < count; i++) {
            const float *row = from + ((r + i) % z->taps * inputs + (r + i) / z->taps) * z->ldc;
            for (int64_t lane = 0; lane < 16; lane += VEC_LANES) {
                vec_f32 sum = vec_loadu(row + lane);
                for (int64_t p = 1; p < z->slices; p++) sum = vec_add(sum, vec_loadu(row + p * slice + lane));
                vec_storeu(block + i * 16 + lane, sum);
            }
        }
        for (int64_t lane = 0; lane < 16; lane += step)
            transpose_part(block + lane, 16, count, step, turned + lane * step, step);
        for (int64_t lane = 0; lane < lanes; lane++)
            memcpy(to + lane * z->k + r, turned + lane * step, sizeof(float) * count);
    }
}

/* Chunk: a group, and 16 of its output channels. Per output channel the gradient is a row of (c, tap). */
static void finish_columns(void *context, int64_t chunk) {
    const gradient *z = context;
    int64_t chunks = ceil_div(z->outs, 16), group = chunk / chunks, o = chunk % chunks * 16, all = z->k * z->ldc;
    turn_columns(z, z->partial + group * all + o, z->in, z->groups * all, least(16, z->outs - o),
                 z->grad_weight + (group * z->outs + o) * z->k);
}

/* Large gradients of one slice. Chunk: some input channels of a group; their part of the gradient, of all taps, is
 * turned while it is in L2. */
static void channel_gradient(void *context, int64_t chunk) {
    const gradient *z = context;
    const conv_axis *v = z->axes, *h = z->axes + 1;
    int64_t part = chunk % z->cuts, group = chunk / z->cuts, c0 = cut(z->in, z->cuts, part);
    int64_t channels = cut(z->in, z->cuts, part + 1) - c0, end = v->outputs * z->images;
    const int in_place = reads_in_place(z);
    int64_t panels = ceil_div(z->outs, PANEL), x_row = h->step * z->in * z->groups;
    int64_t g_row = in_place ? z->outs * z->groups : panel_row(z), floats = z->taps * channels * z->ldc;
    float *partial = kg_scratch(KG_SCRATCH_CONV, sizeof(float) * (floats + z->block * h->outputs * panels * PANEL));
    conv_segment list[MAX_SEGMENTS];
    conv_epilogue e = {0};
    for (int64_t row = 0, row1; row < end; row = row1, e.add = 1) {
        row1 = least(row + z->block, end);
        const float *g = z->grad_out + (row * h->outputs * z->groups + group) * z->outs;
        int64_t pixels = (row1 - row) * h->outputs;
        add_to_bias(z, 0, group, part, row * h->outputs, row * h->outputs + pixels, !e.add);
        if (!in_place)
            pack_panels(z, group, row * h->outputs, row * h->outputs + pixels, partial + floats), g = partial + floats;
        for (int64_t tap = 0; tap < z->taps; tap++) {
            conv_operand a = {.at = z->x + group * z->in + c0, .row = 1, .col = x_row, .list = list};
            a.segments = segments_of(z, tap, row, row1, x_row, g_row, list);
            KG_NAME(conv_gemm)(channels, z->outs, 0, &a, g, g_row, in_place ? PANEL : pixels * PANEL,
                               partial + tap * channels * z->ldc, z->ldc, &e);
        }
    }
    for (int64_t o = 0; o < z->outs; o += 16)
        turn_columns(z, partial + o, channels, 0, least(16, z->outs - o),
                     z->grad_weight + (group * z->outs + o) * z->k + c0 * z->taps);
}

/* Chunk: one output channel. */
static void finish_turned(void *context, int64_t chunk) {
    const gradient *z = context;
    int64_t group = chunk / z->outs, o = chunk % z->outs, slice = z->groups * z->taps * z->outs * z->ldc;
    float *to = z->grad_weight + chunk * z->in * z->taps;
    for (int64_t tap = 0; tap < z->taps; tap++) {
        const float *from = z->partial + ((group * z->taps + tap) * z->outs + o) * z->ldc;
        for (int64_t c = 0; c < z->in; c++) {
            float sum = from[c];
            for (int64_t p = 1; p < z->slices; p++) sum += from[p * slice + c];
            to[c * z->taps + tap] = sum;
        }
    }
}

/* The same of merged groups, the diagonal. Chunk: one output channel. */
static void finish_merged(void *context, int64_t chunk) {
    const gradient *z = context;
    int64_t group = chunk / z->outs, o = chunk % z->outs, slice = z->groups * z->k * z->ldc, in = z->in / z->merge;
    const float *from = z->partial + (group * z->k + o / (z->outs / z->merge) * in) * z->ldc + o;
    float *to = z->grad_weight + chunk * in * z->taps;
    for (int64_t tap = 0; tap < z->taps; tap++, from += (z->in - in) * z->ldc)
        for (int64_t c = 0; c < in; c++, from += z->ldc) {
            float sum = *from;
            for (int64_t i = 1; i < z->slices; i++) sum += from[i * slice];
            to[c * z->taps + tap] = sum;
        }
}

static void finish_slices(gradient *z) {
    int64_t outs = z->groups * z->outs;
    double us = 5e-4 * z->slices * outs * z->k;
    if (z->turned)
        kg_parallel(finish_turned, z, outs, us);
    else if (z->merge == 1)
        kg_parallel(finish_columns, z, z->groups * ceil_div(z->outs, 16), us);
    else
        kg_parallel(finish_merged, z, outs, us);
}

static void make_room(gradient *z, int64_t bytes, int biased) {
    int64_t sums = biased ? z->slices * z->groups * z->outs : 0;
    z->partial = kg_scratch(KG_SCRATCH_CONV_SHARED, bytes * z->slices + sizeof(float) * sums);
    z->bias = biased ? z->partial + bytes / 4 * z->slices : NULL;
}

static void sum_bias(const gradient *z, float *grad_bias) {
    int64_t channels = z->groups * z->outs;
    for (int64_t c = 0; grad_bias && c < channels; c++) {
        float sum = z->bias[c];
        for (int64_t slice = 1; slice < z->slices; slice++) sum += z->bias[slice * channels + c];
        grad_bias[c] = sum;
    }
}

void KG_NAME(conv_implicit_weight)(const conv_shape *s, const float *x, const float *grad_out, float *grad_weight,
                                   float *grad_bias) {
    int64_t merge = merged_groups(s), groups = s->groups / merge;
    gradient z = {.axes = {KG_NAME(conv_forward_axis)(s, 0), KG_NAME(conv_forward_axis)(s, 1)},
                  .x = x,
                  .grad_out = grad_out,
                  .grad_weight = grad_weight,
                  .images = s->N,
                  .groups = groups,
                  .merge = merge,
                  .in = s->C / groups,
                  .outs = s->K / groups,
                  .pixels = s->N * s->OH * s->OW,
                  .taps = s->kh * s->kw};
    z.k = z.taps * z.in, z.ldc = odd_lines(z.outs);
    int64_t bytes = z.groups * z.k * z.ldc * 4;
    if (z.pixels == 0 || bytes == 0) {
        memset(grad_weight, 0, sizeof(float) * s->K * z.k / merge);
        if (grad_bias) memset(grad_bias, 0, sizeof(float) * s->K);
        return;
    }
    double us = 2.0 * z.pixels * z.k * z.outs * z.groups / CONV_GFLOPS_US;
    const int wide = z.in > 32 || (groups == 1 && (z.in >= 12 || (z.in >= 8 && s->dilation[1] > 1)));
    if (wide) {
        z.turned = merge == 1 && z.outs < 16 && z.in % 16 == 0;
        if (z.turned) z.ldc = odd_lines(z.in), bytes = z.groups * z.taps * z.outs * z.ldc * 4;
        int64_t rows = s->N * s->OH;
        z.slices = most(1, least(least(SLICES, rows), least(PARTIAL_TAPS / bytes, z.pixels / 128)));
        z.cuts = z.turned || z.taps >= SLICES ? 1 : most(1, least(z.in / 28, ceil_div(FEW_CHUNKS, z.taps * z.slices)));
        z.ranges = least(z.taps * z.cuts, ceil_div(FEW_CHUNKS, z.slices * z.groups));
        int64_t floats = (s->C * s->stride[0] * s->stride[1] + s->K) * s->OW;
        z.block = least(least(MAX_SEGMENTS, ceil_div(512, s->OW)), most(ceil_div(64, s->OW), BLOCK_TAPS / floats));
        z.fetch = groups == 1 && s->stride[0] == 1 && s->stride[1] == 1;
        if (z.pixels <= FEW_PIXELS && !z.turned && merge == 1 && bytes > PARTIAL_BYTES / 8) {
            int64_t tiles = CHANNEL_BYTES / (z.taps * z.ldc * 4 * 14); /* of the input channels of a chunk */
            int64_t cuts = ceil_div(z.in, 14 * most(tiles, 1));
            if (cuts * groups < FEW_CHUNKS) cuts = ceil_div(z.in, 14), tiles = least(tiles, 1);
            if (tiles > 0) {
                z.cuts = cuts;
                make_room(&z, 0, grad_bias != NULL);
                kg_parallel(channel_gradient, &z, z.groups * z.cuts, us);
                sum_bias(&z, grad_bias);
                return;
            }
        }
        make_room(&z, bytes, grad_bias != NULL);
        kg_parallel(slice_gradient_taps, &z, z.slices * z.groups * z.ranges, us);
        sum_bias(&z, grad_bias);
        finish_slices(&z);
        return;
    }
    z.slices = most(1, least(SLICES, least(PARTIAL_BYTES / bytes, z.pixels / 128)));
    const int band =
        groups > 1 || (s->dilation[1] == 1 && s->OW >= 8 && z.slices >= SLICES / 2 && s->N * s->OH >= z.slices);
    if (band) {
        z.block = least(groups == 1 ? s->OH : s->N * s->OH, least(MAX_ROWS, ceil_div(RUN, s->OW)));
        z.pieces = groups == 1 ? 1 : most(1, s->OW / RUN);
        z.slices = least(z.slices, s->N * s->OH * z.pieces);
        make_room(&z, bytes, grad_bias != NULL);
        kg_parallel(slice_gradient_band, &z, z.slices * z.groups, us);
        sum_bias(&z, grad_bias);
        finish_slices(&z);
        return;
    }
    /* A range so wide that the gathered rows of 64 pixels fit; more of them if the chunks are few. */
    int64_t ranges = most(ceil_div(z.k, BLOCK / 64), least(ceil_div(FEW_CHUNKS, z.slices * z.groups), z.k / 64));
    z.range = ceil_div(ceil_div(z.k, ranges ? ranges : 1), 16) * 16, z.ranges = ceil_div(z.k, z.range);
    z.block = most(64, least(256, BLOCK / odd_lines(z.range + 15)));
    make_room(&z, bytes, grad_bias != NULL);
    kg_parallel(slice_gradient, &z, z.slices * z.groups * z.ranges, us);
    sum_bias(&z, grad_bias);
    finish_slices(&z);
}
