/* Convolution in narrow groups: lanes are output channels, of several groups where these are narrow. Input number i of
 * its own group is brought to every lane first ("spread"), once for a band of source rows; what remains, for each i, is
 * a depthwise convolution with no lane idle. Bands are padded with zeros, so there are no edges. Every output is one
 * chain of FMAs over tap rows, inputs i, tap columns, whatever the band or the vector. */
#include "conv/conv.h"

#if VEC_LANES == 16
#define MOST_PIXELS 8 /* of a tile */
#else
#define MOST_PIXELS 4
#endif
#define FEW_CHUNKS 32
#define BAND 40960 /* floats of a spread band: a sixth of L2 */

typedef struct {
    conv_axis axes[2];
    const float *source, *bias;
    float *packed, *out;
    int64_t images, in, outs, groups, channels, out_channels; /* in, outs: of a group; channels: of the source */
    int64_t out_h, out_w, vectors, ranges, rows, blocks, width, relu;
    int64_t out_row, out_pixel; /* floats from one output of a phase to the next */
} grouped;

/* Lane j of vector `vector` is an output of group (vector LANES + j) / outs; its inputs start at offset[j], counted
 * from those of the first lane's group, whose own start is returned. Lanes beyond the last channel take the last. */
int64_t KG_NAME(conv_lane_offsets)(int64_t vector, int64_t in, int64_t outs, int64_t channels, int32_t *offset) {
    int64_t first = vector * VEC_LANES / outs;
    for (int64_t j = 0; j < VEC_LANES; j++)
        offset[j] = (int32_t)((least(vector * VEC_LANES + j, channels - 1) / outs - first) * in);
    return first * in;
}

/* As spread_row, where the lanes' inputs lie in several pairs of vectors: each lane takes its own from one of them. */
static void spread_far(const float *from, int64_t channels, int64_t pixels, const float *end, const int32_t *offset,
                       float *to) {
    int64_t pairs = offset[VEC_LANES - 1] / (2 * VEC_LANES) + 1;
    const vec_i32 all = vec_loadu_i32(offset);
    int32_t in_pair[VEC_LANES];
    for (int64_t j = 0; j < VEC_LANES; j++) in_pair[j] = offset[j] & (2 * VEC_LANES - 1);
    const vec_i32 index = vec_loadu_i32(in_pair);
    for (int64_t x = 0; x < pixels; x++, from += channels, to += VEC_LANES) {
        const int whole = end - from >= pairs * 2 * VEC_LANES;
        vec_f32 v = vec_zero();
        for (int64_t q = 0; q < pairs; q++) {
            const float *at = from + q * 2 * VEC_LANES, *next = at + VEC_LANES;
            vec_f32 a = whole ? vec_loadu(at) : vec_load(at, end - at);
            vec_f32 b = whole ? vec_loadu(next) : vec_load(next, end - next);
            vec_f32 own = vec_permute2(a, b, index);
            v = vec_select(vec_i32_gt(all, vec_i32_set((int32_t)(q * 2 * VEC_LANES - 1))), own, v);
        }
        vec_storeu(to, v);
    }
}

/* Input i of each lane's group, for the pixels `from`, from + channels, ... `end`: of the whole source; only the last
 * pixels before it need masked loads. */
static void spread_row(const float *from, int64_t channels, int64_t pixels, const float *end, const int32_t *offset,
                       float *to) {
    if (offset[VEC_LANES - 1] >= 2 * VEC_LANES) { /* beyond the reach of a shuffle */
        spread_far(from, channels, pixels, end, offset, to);
        return;
    }
    const vec_i32 index = vec_loadu_i32(offset);
    int64_t room = end - from - 2 * VEC_LANES, x = 0, free = room < 0 ? 0 : least(pixels, room / channels + 1);
    if (offset[VEC_LANES - 1] < VEC_LANES)
        for (; x < free; x++, from += channels, to += VEC_LANES) {
            vec_f32 v = vec_loadu(from);
            vec_storeu(to, vec_permute2(v, v, index));
        }
    else
        for (; x < free; x++, from += channels, to += VEC_LANES)
            vec_storeu(to, vec_permute2(vec_loadu(from), vec_loadu(from + VEC_LANES), index));
    for (; x < pixels; x++, from += channels, to += VEC_LANES)
        vec_storeu(to,
                   vec_permute2(vec_load(from, end - from), vec_load(from + VEC_LANES, end - from - VEC_LANES), index));
}

/* Source rows for outputs y0 .. y1-1, as room[row][i][x][lane]. */
void KG_NAME(conv_spread_band)(const conv_axis axes[2], const float *image, const float *end, int64_t channels,
                               int64_t in, const int32_t *offset, int64_t y0, int64_t y1, int64_t width, float *room) {
    const conv_axis *v = axes, *h = axes + 1;
    int64_t top = y0 * v->step + v->first, height = (y1 - y0 - 1) * v->step + (v->taps - 1) * v->gap + 1;
    int64_t low = least(most(-h->first, 0), width), high = most(least(h->source - h->first, width), low);
    for (int64_t y = top; y < top + height; y++) {
        if (y < 0 || y >= v->source) {
            memset(room, 0, sizeof *room * width * in * VEC_LANES), room += width * in * VEC_LANES;
            continue;
        }
        const float *from = image + (y * h->source + h->first + low) * channels;
        for (int64_t i = 0; i < in; i++, room += width * VEC_LANES) {
            for (int64_t x = 0; x < low; x++) vec_storeu(room + x * VEC_LANES, vec_zero());
            spread_row(from + i, channels, high - low, end, offset, room + low * VEC_LANES);
            for (int64_t x = high; x < width; x++) vec_storeu(room + x * VEC_LANES, vec_zero());
        }
    }
}

/* packed[vector][tap row][i][tap column][lane]. Chunk: a vector. */
typedef struct {
    const grouped *z;
    const float *weight;
    int64_t weight_out, weight_in, weight_group, kernel_w; /* strides of an output and an input within the group */
} packing;

static void pack_vector(void *context, int64_t vector) {
    const packing *p = context;
    const grouped *z = p->z;
    const conv_axis *v = z->axes, *h = z->axes + 1;
    float *to = z->packed + vector * v->taps * h->taps * z->in * VEC_LANES;
    int64_t of_lane[VEC_LANES], lanes = least(VEC_LANES, z->out_channels - vector * VEC_LANES);
    for (int64_t j = 0; j < lanes; j++) {
        int64_t k = vector * VEC_LANES + j;
        of_lane[j] = k / z->outs * p->weight_group + k % z->outs * p->weight_out;
    }
    for (int64_t ty = 0; ty < v->taps; ty++)
        for (int64_t i = 0; i < z->in; i++)
            for (int64_t tx = 0; tx < h->taps; tx++, to += VEC_LANES) {
                int64_t tap =
                    (v->kernel_first + ty * v->kernel_gap) * p->kernel_w + h->kernel_first + tx * h->kernel_gap;
                const float *from = p->weight + i * p->weight_in + tap;
                for (int64_t j = 0; j < lanes; j++) to[j] = from[of_lane[j]];
                for (int64_t j = lanes; j < VEC_LANES; j++) to[j] = 0;
            }
}

/* What row r of the source, and all inputs in it, adds to those of the output rows y and y + 1 that are wanted: to row
 * y by tap row r, whose weights `w` are, to the next by the one before. */
VEC_INLINE void add_row(int first, int end, int step, int taps, int pixels, const grouped *z, const float *from,
                        const float *w, vec_f32 acc[2][MOST_PIXELS]) {
    const int64_t w_row = z->in * taps * VEC_LANES, line = z->width * VEC_LANES;
    for (int64_t i = 0; i < z->in; i++, from += line, w += taps * VEC_LANES) {
        vec_f32 wv[2][5];
        UNROLL
        for (int r = first; r < end; r++) UNROLL
        for (int t = 0; t < taps; t++) wv[r][t] = vec_loadu(w - r * w_row + t * VEC_LANES);
        UNROLL
        for (int k = 0; k < (pixels - 1) * step + taps; k++) {
            vec_f32 value = vec_loadu(from + k * VEC_LANES);
            HIDE_VEC(value);
            UNROLL
            for (int r = first; r < end; r++) UNROLL
            for (int t = 0; t < taps; t++)
                if (k >= t && (k - t) % step == 0 && (k - t) / step < pixels)
                    acc[r][(k - t) / step] = vec_fma(value, wv[r][t], acc[r][(k - t) / step]);
        }
    }
}

/* The same to one output row, for any step, taps and distance of taps. */
VEC_INLINE void add_row_any(int pixels, const grouped *z, const float *from, const float *w,
                            vec_f32 acc[2][MOST_PIXELS]) {
    const conv_axis *h = z->axes + 1;
    for (int64_t i = 0; i < z->in; i++, from += z->width * VEC_LANES)
        for (int64_t t = 0; t < h->taps; t++, w += VEC_LANES) {
            vec_f32 tap = vec_loadu(w);
            UNROLL
            for (int p = 0; p < pixels; p++)
                acc[0][p] = vec_fma(vec_loadu(from + (p * h->step + t * h->gap) * VEC_LANES), tap, acc[0][p]);
        }
}

/* `pixels` outputs of a row, or of two (then source rows of one are `row` apart from those of the other). */
VEC_INLINE void outputs(int rows, int step, int taps, int pixels, const grouped *z, const float *source, const float *w,
                        float *out, int64_t channel) {
    const conv_axis *v = z->axes, *h = z->axes + 1;
    const int64_t row = v->gap * z->width * z->in * VEC_LANES, w_row = z->in * h->taps * VEC_LANES;
    vec_f32 acc[2][MOST_PIXELS];
    UNROLL
    for (int r = 0; r < rows; r++) UNROLL
    for (int p = 0; p < pixels; p++) acc[r][p] = vec_zero();
    if (rows == 2) {
        add_row(0, 1, step, taps, pixels, z, source, w, acc);
        for (int64_t ty = 1; ty < v->taps; ty++) {
            source += row, w += w_row;
            add_row(0, 2, step, taps, pixels, z, source, w, acc);
        }
        add_row(1, 2, step, taps, pixels, z, source + row, w + w_row, acc);
    } else
        for (int64_t ty = 0; ty < v->taps; ty++, source += row, w += w_row) {
            if (taps)
                add_row(0, 1, step, taps, pixels, z, source, w, acc);
            else
                add_row_any(pixels, z, source, w, acc);
        }
    const int64_t left = z->out_channels - channel;
    const vec_f32 bias = z->bias ? vec_load(z->bias + channel, left) : vec_zero();
    const vec_f32 least_value = vec_set(z->relu ? 0 : -INFINITY);
    UNROLL
    for (int r = 0; r < rows; r++, out += z->out_row) UNROLL
    for (int p = 0; p < pixels; p++)
        vec_store(out + p * z->out_pixel, vec_max(least_value, vec_add(acc[r][p], bias)), left);
}

typedef void tile(const grouped *z, const float *source, const float *w, float *out, int64_t channel);
#define TILE(ROWS, STEP, TAPS, PIXELS)                                                                          \
    static void tile_##ROWS##_##STEP##_##TAPS##_##PIXELS(const grouped *z, const float *source, const float *w, \
                                                         float *out, int64_t channel) {                         \
        outputs(ROWS, STEP, TAPS, PIXELS, z, source, w, out, channel);                                          \
    }
#define NAME(ROWS, STEP, TAPS, PIXELS) tile_##ROWS##_##STEP##_##TAPS##_##PIXELS,
#define ALL_4(F, R, S, T) F(R, S, T, 1) F(R, S, T, 2) F(R, S, T, 3) F(R, S, T, 4)
#define ALL_8(F, R, S, T) ALL_4(F, R, S, T) F(R, S, T, 5) F(R, S, T, 6) F(R, S, T, 7) F(R, S, T, 8)
#define CAT_(a, b) a##b
#define CAT(a, b) CAT_(a, b)
#define TILES(R, S, T)                 \
    CAT(ALL_, MOST_PIXELS)(TILE, R, S, \
                           T) static tile *const tiles_##R##_##S##_##T[] = {0, CAT(ALL_, MOST_PIXELS)(NAME, R, S, T)};
/* clang-format off */
TILES(1, 1, 0) TILES(1, 1, 2) TILES(1, 1, 3) TILES(1, 1, 5) TILES(1, 2, 3)
TILES(2, 1, 2) TILES(2, 1, 3)
    /* clang-format on */

    /* The tiles for one output row, and for two, or NULL. */
    static tile *const *tiles_of(const grouped *z, int rows) {
    const conv_axis *v = z->axes, *h = z->axes + 1;
    const int pairs = v->step == v->gap && v->taps > 1 && h->step == 1 && h->gap == 1;
    if (rows == 2) return pairs && h->taps == 2 ? tiles_2_1_2 : pairs && h->taps == 3 ? tiles_2_1_3 : NULL;
    if (h->gap != 1) return tiles_1_1_0;
    if (h->step == 1 && h->taps == 2) return tiles_1_1_2;
    if (h->step == 1 && h->taps == 3) return tiles_1_1_3;
    if (h->step == 1 && h->taps == 5) return tiles_1_1_5;
    return h->step == 2 && h->taps == 3 ? tiles_1_2_3 : tiles_1_1_0;
}

/* A vector of output channels, rows y0 .. y1-1 of image n. */
static void grouped_vector(const grouped *z, int64_t n, int64_t y0, int64_t y1, int64_t vector) {
    const conv_axis *v = z->axes, *h = z->axes + 1;
    int64_t pixel = z->in * VEC_LANES, height = (z->rows - 1) * v->step + (v->taps - 1) * v->gap + 1;
    float *room = kg_scratch(KG_SCRATCH_CONV, sizeof(float) * height * z->width * pixel);
    int32_t offset[VEC_LANES];
    int64_t first = KG_NAME(conv_lane_offsets)(vector, z->in, z->outs, z->out_channels, offset),
            channel = vector * VEC_LANES;
    KG_NAME(conv_spread_band)(z->axes, z->source + n * v->source * h->source * z->channels + first,
                              z->source + z->images * v->source * h->source * z->channels, z->channels, z->in, offset,
                              y0, y1, z->width, room);
    const float *w = z->packed + vector * v->taps * h->taps * pixel;
    tile *const *one = tiles_of(z, 1), *const *two = tiles_of(z, 2);
    const int64_t strips = ceil_div(h->outputs, MOST_PIXELS);
    for (int64_t y = y0, rows; y < y1; y += rows) {
        rows = two && y + 2 <= y1 ? 2 : 1;
        const float *source = room + (y - y0) * v->step * z->width * pixel;
        float *out = z->out + channel +
                     ((n * z->out_h + v->out_first + y * v->out_step) * z->out_w + h->out_first) * z->out_channels;
        for (int64_t i = 0, x = 0, next; i < strips; i++, x = next) {
            next = cut(h->outputs, strips, i + 1);
            (rows == 2 ? two : one)[next - x](z, source + x * h->step * VEC_LANES, w, out + x * z->out_pixel, channel);
        }
    }
}

/* Chunk: a range of vectors, a block of output rows of an image. Neighbouring vectors share cache lines of the output
 * and of the source, so they are one thread's where there is enough else to share. */
static void grouped_block(void *context, int64_t chunk) {
    const grouped *z = context;
    int64_t range = chunk % z->ranges, block = chunk / z->ranges % z->blocks, n = chunk / z->ranges / z->blocks;
    int64_t y0 = cut(z->axes[0].outputs, z->blocks, block), y1 = cut(z->axes[0].outputs, z->blocks, block + 1);
    for (int64_t i = cut(z->vectors, z->ranges, range); i < cut(z->vectors, z->ranges, range + 1); i++)
        grouped_vector(z, n, y0, y1, i);
}

static void run(grouped *z, const packing *p) {
    const conv_axis *v = z->axes, *h = z->axes + 1;
    if (v->outputs == 0 || h->outputs == 0) return;
    z->vectors = ceil_div(z->out_channels, VEC_LANES);
    z->out_row = v->out_step * z->out_w * z->out_channels, z->out_pixel = h->out_step * z->out_channels;
    z->width = most(1, (h->outputs - 1) * h->step + (h->taps - 1) * h->gap + 1);
    int64_t line = z->width * z->in * VEC_LANES, fit = BAND / line - (v->taps - 1) * v->gap;
    z->rows = least(v->outputs, most(fit / v->step, 4)), z->blocks = ceil_div(v->outputs, z->rows);
    z->packed = kg_scratch(KG_SCRATCH_CONV_SHARED, sizeof(float) * z->vectors * v->taps * h->taps * z->in * VEC_LANES);
    kg_parallel(pack_vector, (void *)p, z->vectors, 2e-3 * z->vectors * v->taps * h->taps * z->in * VEC_LANES);
    z->ranges = least(z->vectors, ceil_div(FEW_CHUNKS, z->images * z->blocks));
    kg_parallel(grouped_block, z, z->images * z->blocks * z->ranges,
                2.0 * z->images * v->outputs * h->outputs * z->out_channels * z->in * v->taps * h->taps /
                    CONV_GFLOPS_US);
}

void KG_NAME(conv_grouped_forward)(const conv_shape *s, const float *x, const float *weight, const float *bias,
                                   float *out) {
    int64_t taps = s->kh * s->kw, in = s->C / s->groups, outs = s->K / s->groups;
    grouped z = {.axes = {KG_NAME(conv_forward_axis)(s, 0), KG_NAME(conv_forward_axis)(s, 1)},
                 .source = x,
                 .bias = bias,
                 .out = out,
                 .images = s->N,
                 .in = in,
                 .outs = outs,
                 .groups = s->groups,
                 .channels = s->C,
                 .out_channels = s->K,
                 .out_h = s->OH,
                 .out_w = s->OW,
                 .relu = s->activation == CONV_RELU};
    run(&z, &(packing){&z, weight, in * taps, taps, outs * in * taps, s->kw});
}

void KG_NAME(conv_grouped_data)(const conv_shape *s, const float *grad_out, const float *weight, const float *bias,
                                float *grad_x) {
    int64_t taps = s->kh * s->kw, in = s->K / s->groups, outs = s->C / s->groups;
    for (int64_t y = 0; y < s->stride[0]; y++)
        for (int64_t x = 0; x < s->stride[1]; x++) {
            grouped z = {.axes = {KG_NAME(conv_phase_axis)(s, 0, y), KG_NAME(conv_phase_axis)(s, 1, x)},
                         .source = grad_out,
                         .bias = bias,
                         .out = grad_x,
                         .images = s->N,
                         .in = in,
                         .outs = outs,
                         .groups = s->groups,
                         .channels = s->K,
                         .out_channels = s->C,
                         .out_h = s->H,
                         .out_w = s->W};
            run(&z, &(packing){&z, weight, taps, outs * taps, in * outs * taps, s->kw});
        }
}
