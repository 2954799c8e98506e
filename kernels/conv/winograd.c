/* Winograd convolution, 3x3 stride 1: forward and backward data, which is the same with taps rotated and channels
 * swapped. A chunk takes a block of tiles from image to image: transform the input to V[36][tiles][in], 36 products
 * with U to M[36][tiles][out], transform to the output. The block's V, M and, if it can be, U together fill the L2
 * cache; sizes of blocks depend on shapes alone. See winograd.h. */
#include "conv/winograd.h"
#include "matmul/transpose.h"

#define L2_BYTES (900 << 10)
#define FEW_TILES 56 /* up to these, and from so many pairs of channels on, U is not kept */
#define FEW_CHANNELS 16384
#define INPUTS 64 /* their U of one panel is a third of L2 */

typedef struct {
    winograd_tiles tiles;
    const float *x, *weight, *kept, *bias, *zero; /* kept: U from an earlier call, or NULL */
    float *y, *v, *m;
    const float *u;
    float *own_u;
    int64_t groups, in, out, in_h, in_w, out_h, out_w, up, left; /* in, out: channels of a group */
    int64_t weight_out, weight_in, rotate, relu; /* strides of an output and an input channel in the weight */
    int64_t blocks, block, ldv, ldm, v_point, m_point, u_point;
} winograd;

/* A' M A of one tile, with bias and activation, to `rows` x `columns` pixels (4 x 4 inside the image), rows `row` and
 * pixels `stride` floats apart; touches those of the next. */
static void transform_output(float *to, int64_t rows, int64_t columns, int64_t row, int64_t stride, const float *next,
                             int64_t channels, const float *m, int64_t point, const float *bias, int64_t relu) {
    static const float scale[4] = {1, P, P * P, P * P * P};
    EACH_VECTOR(c, channels) {
        vec_f32 t[24], r[4], b = bias ? vec_loadu(bias + c) : vec_zero();
        UNROLL
        for (int i = 0; i < 4; i++) UNROLL
        for (int j = 0; j < 4; j++) __builtin_prefetch(next + i * row + j * stride + c, 1);
        UNROLL
        for (int j = 0; j < 6; j++) {
            const float *q = m + j * point + c;
            winograd_output(vec_loadu(q), vec_loadu(q + 6 * point), vec_loadu(q + 12 * point),
                            vec_loadu(q + 18 * point), vec_loadu(q + 24 * point), vec_loadu(q + 30 * point), t + j, 6);
        }
        UNROLL
        for (int i = 0; i < 4; i++) {
            winograd_output(t[6 * i], t[6 * i + 1], t[6 * i + 2], t[6 * i + 3], t[6 * i + 4], t[6 * i + 5], r, 1);
            if (i >= rows) continue;
            UNROLL
            for (int j = 0; j < 4; j++) {
                vec_f32 y = vec_fma(vec_set(scale[i] * scale[j]), r[j], b);
                if (j < columns) vec_storeu(to + i * row + j * stride + c, relu ? vec_max(vec_zero(), y) : y);
            }
        }
    }
}

#define LANES TRANSPOSE_BLOCK /* output channels whose weights are transformed side by side */

/* taps[(i, tap)][lane] of inputs first .. first+count-1, at most 16, and of outputs o .. o+LANES-1. */
static void load_taps(const winograd *z, int64_t o, int64_t first, int64_t count, float *taps) {
    int64_t lanes = least(LANES, z->out - o);
    const float *w = z->weight + o * z->weight_out + first * z->weight_in;
    if (z->weight_in == 9) {
        for (int64_t i = 0; i < 9 * count; i += LANES)
            transpose_part(w + i, z->weight_out, lanes, 9 * count - i, taps + i * LANES, LANES);
        return;
    }
    for (int64_t i = 0; i < count; i++, w += z->weight_in) { /* the 9 taps of the lanes lie side by side */
        float turned[16 * LANES];
        const int last = first + i == z->in - 1; /* whole rows of it would end beyond the weights */
        for (int64_t tap = 0; tap < 9; tap += LANES)
            transpose_part(w + tap, 9, lanes, last ? 9 - tap : most(9 - tap, LANES == 16 ? LANES : 0),
                           turned + tap * LANES, LANES);
        memcpy(taps + i * 9 * LANES, turned, sizeof(float) * 9 * LANES);
    }
}

/* u[36][count][PANEL] = G g G' for some lanes, points `point` apart. */
static void transform_taps(const float *taps, int64_t count, int rotate, float *u, int64_t point) {
    int64_t tap0 = rotate ? 8 : 0, step = rotate ? -LANES : LANES;
    for (int64_t i = 0; i < count; i++, u += PANEL)
        for (int64_t lane = 0; lane < LANES; lane += VEC_LANES) {
            vec_f32 t[18], r[6];
            const float *g = taps + (i * 9 + tap0) * LANES + lane;
            UNROLL
            for (int j = 0; j < 3; j++)
                winograd_weight(vec_loadu(g + j * step), vec_loadu(g + (3 + j) * step), vec_loadu(g + (6 + j) * step),
                                t + j, 3);
            UNROLL
            for (int q = 0; q < 6; q++) {
                winograd_weight(t[3 * q], t[3 * q + 1], t[3 * q + 2], r, 1);
                UNROLL
                for (int j = 0; j < 6; j++) vec_storeu(u + (6 * q + j) * point + lane, r[j]);
            }
        }
}

/* Of one panel and inputs first .. end-1. */
static void transform_panel(const winograd *z, int64_t panel, int64_t first, int64_t end, float *u, int64_t point) {
    float taps[16 * 9 * LANES + 16 * LANES];
    for (int64_t i = first; i < end; i += 16)
        for (int64_t half = 0; half < PANEL; half += LANES) {
            int64_t count = least(16, end - i), o = panel * PANEL + half;
            if (o < z->out)
                load_taps(z, o, i, count, taps);
            else
                memset(taps, 0, sizeof(float) * count * 9 * LANES);
            transform_taps(taps, count, z->rotate, u + (i - first) * PANEL + half, point);
        }
}

/* What a group sees of it all. */
static winograd group_of(const winograd *all, int64_t group) {
    winograd z = *all;
    z.x += group * z.in, z.y += group * z.out, z.weight += group * z.in * z.out * 9;
    z.u += group * 36 * z.u_point, z.own_u += group * 36 * z.u_point;
    if (z.bias) z.bias += group * z.out;
    return z;
}

/* U[36][out / PANEL][in][PANEL], zeros beyond `out`. Chunk: a group, one panel and 16 input channels. */
static void transform_weights(void *context, int64_t chunk) {
    const winograd *all = context;
    int64_t parts = ceil_div(all->in, 16), panels = ceil_div(all->out, PANEL), panel = chunk / parts % panels;
    int64_t first = chunk % parts * 16;
    const winograd own = group_of(all, chunk / parts / panels), *z = &own;
    transform_panel(z, panel, first, least(first + 16, z->in), z->own_u + (panel * z->in + first) * PANEL, z->u_point);
}

/* Tiles first .. first+count-1 from x to v, from m to y. */
static void transform_tiles(const winograd *z, int64_t first, int64_t count, float *v) {
    tile_place place = place_of(&z->tiles, first);
    tile_pixels p = pixels_at(place, 6, z->up, z->left, z->in_h, z->in_w, z->in * z->groups, z->x, z->zero), next;
    for (int64_t t = 0; t < count; t++, p = next) {
        if (t + 1 < count) next_place(&z->tiles, &place);
        next = pixels_at(place, 6, z->up, z->left, z->in_h, z->in_w, z->in * z->groups, z->x, z->zero);
        winograd_transform_input(&p, &next, z->in * z->groups, z->in, v + t * z->ldv, z->v_point);
    }
}
static void finish_tiles(const winograd *z, int64_t first, int64_t count, const float *m) {
    int64_t stride = z->out * z->groups, row = z->out_w * stride;
    tile_place place = place_of(&z->tiles, first);
    for (int64_t t = 0; t < count; t++) {
        int64_t y = place.y * 4, x = place.x * 4;
        float *to = z->y + ((place.n * z->out_h + y) * z->out_w + x) * stride;
        if (t + 1 < count) next_place(&z->tiles, &place);
        const float *soon = z->y + ((place.n * z->out_h + place.y * 4) * z->out_w + place.x * 4) * stride;
        transform_output(to, least(4, z->out_h - y), least(4, z->out_w - x), row, stride, soon, z->out, m + t * z->ldm,
                         z->m_point, z->bias, z->relu);
    }
}

/* Chunk: a group, a block of tiles. */
static void convolve_block(void *context, int64_t chunk) {
    const winograd *all = context, own = group_of(all, chunk / all->blocks), *z = &own;
    int64_t first = chunk % z->blocks * z->block, count = least(z->block, z->tiles.tiles - first);
    float *v = kg_scratch(KG_SCRATCH_CONV, sizeof(float) * 36 * (z->v_point + z->m_point)), *m = v + 36 * z->v_point;
    const conv_epilogue plain = {0};
    transform_tiles(z, first, count, v);
    for (int64_t q = 0; q < 36; q++) {
        conv_operand a = {.at = v + q * z->v_point, .row = z->ldv, .col = 1};
        KG_NAME(conv_gemm)(count, z->out, z->in, &a, z->u + q * z->u_point, PANEL, z->in * PANEL, m + q * z->m_point,
                           z->ldm, &plain);
    }
    finish_tiles(z, first, count, m);
}

/* ---- Few tiles: U would be written and read for hardly any use of it. Here a chunk is a panel of output channels; it
 * transforms the weights of some input channels at a time and multiplies them with all tiles while they are in L2. ----
 */

static void transform_some_tiles(void *context, int64_t chunk) {
    const winograd *z = context;
    transform_tiles(z, chunk * 4, least(4, z->tiles.tiles - chunk * 4), z->v + chunk * 4 * z->ldv);
}
static void finish_some_tiles(void *context, int64_t chunk) {
    const winograd *z = context;
    finish_tiles(z, chunk * 4, least(4, z->tiles.tiles - chunk * 4), z->m + chunk * 4 * z->ldm);
}
static void multiply_panel(void *context, int64_t panel) {
    const winograd *z = context;
    int64_t width = least(PANEL, z->out - panel * PANEL);
    if (z->kept) {
        const conv_epilogue plain = {0};
        for (int64_t q = 0; q < 36; q++) {
            conv_operand a = {.at = z->v + q * z->v_point, .row = z->ldv, .col = 1};
            KG_NAME(conv_gemm)(z->tiles.tiles, width, z->in, &a, z->kept + q * z->u_point + panel * z->in * PANEL,
                               PANEL, 0, z->m + q * z->m_point + panel * PANEL, z->ldm, &plain);
        }
        return;
    }
    const int64_t point = INPUTS * PANEL + 16;
    float *u = kg_scratch(KG_SCRATCH_CONV, sizeof(float) * 36 * point);
    for (int64_t first = 0; first < z->in; first += INPUTS) {
        int64_t end = least(first + INPUTS, z->in);
        const conv_epilogue e = {.resume = first > 0};
        transform_panel(z, panel, first, end, u, point);
        for (int64_t q = 0; q < 36; q++) {
            conv_operand a = {.at = z->v + q * z->v_point + first, .row = z->ldv, .col = 1};
            KG_NAME(conv_gemm)(z->tiles.tiles, width, end - first, &a, u + q * point, PANEL, 0,
                               z->m + q * z->m_point + panel * PANEL, z->ldm, &e);
        }
    }
}

static void convolve_few(winograd *z) {
    int64_t tiles = z->tiles.tiles, chunks = ceil_div(tiles, 4);
    double channels = (double)z->in * z->out;
    z->ldv = odd_lines(z->in), z->ldm = odd_lines(z->out);
    z->v_point = odd_lines(tiles * z->ldv), z->m_point = odd_lines(tiles * z->ldm);
    z->v = kg_scratch(KG_SCRATCH_CONV_SHARED, sizeof(float) * (36 * (z->v_point + z->m_point) + 6 * z->in));
    z->m = z->v + 36 * z->v_point;
    z->zero = memset(z->m + 36 * z->m_point, 0, sizeof(float) * 6 * z->in);
    kg_parallel(transform_some_tiles, z, chunks, 1e-2 * tiles * z->in);
    kg_parallel(multiply_panel, z, ceil_div(z->out, PANEL), channels * (72. * tiles / CONV_GFLOPS_US + 3e-3));
    kg_parallel(finish_some_tiles, z, chunks, 1e-2 * tiles * z->out);
}

/* V and M take 36 T (in + out) floats. If U fits in L2 beside them, T fills what U leaves; otherwise U streams from L3
 * and T is at least 28, so that each line of U is loaded once per two register tiles. At least 8 blocks for the threads
 * to share, an even number of equal ones. */
static int64_t block_tiles(const winograd *z) {
    int64_t tile = 36 * 4 * (z->in + z->out), left = L2_BYTES - 36 * 4 * z->in * z->out;
    int64_t limit = left > 14 * tile ? least(112, left / tile / 14 * 14) : 28;
    int64_t blocks = most(ceil_div(z->tiles.tiles, limit), least(ceil_div(8, z->groups), ceil_div(z->tiles.tiles, 14)));
    return ceil_div(z->tiles.tiles, blocks + (blocks & 1));
}

static int64_t point_floats(int64_t in, int64_t out) { return odd_lines(ceil_div(out, PANEL) * PANEL * in); }

static void make_u(winograd *z) {
    double channels = (double)z->groups * z->in * z->out;
    kg_parallel(transform_weights, z, z->groups * ceil_div(z->out, PANEL) * ceil_div(z->in, 16), 5e-3 * channels);
}

static void convolve(winograd *z) {
    z->tiles = tiles_of(z->tiles.images, z->out_h, z->out_w);
    if (z->tiles.tiles == 0) return;
    z->u_point = point_floats(z->in, z->out);
    /* a kept U is read once here, and once for each block below */
    const int very_few = z->kept && z->tiles.tiles <= 8 && z->out > PANEL && z->in * z->out >= FEW_CHANNELS / 4;
    if (z->groups == 1 && (very_few || (z->tiles.tiles <= FEW_TILES && z->in * z->out >= FEW_CHANNELS))) {
        convolve_few(z);
        return;
    }
    z->block = block_tiles(z);
    z->ldv = odd_lines(z->in), z->ldm = odd_lines(z->out);
    z->v_point = odd_lines(z->block * z->ldv), z->m_point = odd_lines(z->block * z->ldm);
    int64_t floats = z->kept ? 0 : z->groups * 36 * z->u_point, zeros = 6 * z->in * z->groups;
    z->own_u = kg_scratch(KG_SCRATCH_CONV_SHARED, sizeof(float) * (floats + zeros));
    z->zero = memset(z->own_u + floats, 0, sizeof(float) * zeros);
    if (!z->kept) make_u(z);
    z->u = z->kept ? z->kept : z->own_u;
    double flops = 72. * z->groups * z->in * z->out * z->tiles.tiles;
    z->blocks = ceil_div(z->tiles.tiles, z->block);
    double transforms = 7e-3 * z->groups * (z->in + z->out) * z->tiles.tiles;
    kg_parallel(convolve_block, z, z->groups * z->blocks, flops / CONV_GFLOPS_US + transforms);
}

int64_t KG_NAME(conv_winograd_kept)(const conv_shape *s) {
    return s->groups * 36 * point_floats(s->C / s->groups, s->K / s->groups);
}

void KG_NAME(conv_winograd_keep)(const conv_shape *s, const float *weight, float *kept) {
    make_u(&(winograd){.weight = weight,
                       .own_u = kept,
                       .groups = s->groups,
                       .in = s->C / s->groups,
                       .out = s->K / s->groups,
                       .u_point = point_floats(s->C / s->groups, s->K / s->groups),
                       .weight_out = s->C / s->groups * 9,
                       .weight_in = 9});
}

void KG_NAME(conv_winograd_forward)(const conv_shape *s, const float *x, const float *weight, const float *kept,
                                    const float *bias, float *out) {
    convolve(&(winograd){.tiles.images = s->N,
                         .x = x,
                         .weight = weight,
                         .kept = kept,
                         .bias = bias,
                         .y = out,
                         .groups = s->groups,
                         .in = s->C / s->groups,
                         .out = s->K / s->groups,
                         .in_h = s->H,
                         .in_w = s->W,
                         .out_h = s->OH,
                         .out_w = s->OW,
                         .up = s->padding[0],
                         .left = s->padding[1],
                         .weight_out = s->C / s->groups * 9,
                         .weight_in = 9,
                         .relu = s->activation == CONV_RELU});
}

void KG_NAME(conv_winograd_data)(const conv_shape *s, const float *grad_out, const float *weight, const float *bias,
                                 float *grad_x) {
    convolve(&(winograd){.tiles.images = s->N,
                         .x = grad_out,
                         .weight = weight,
                         .bias = bias,
                         .y = grad_x,
                         .groups = s->groups,
                         .in = s->K / s->groups,
                         .out = s->C / s->groups,
                         .in_h = s->OH,
                         .in_w = s->OW,
                         .out_h = s->H,
                         .out_w = s->W,
                         .up = 2 - s->padding[0],
                         .left = 2 - s->padding[1],
                         .weight_out = 9,
                         .weight_in = s->C / s->groups * 9,
                         .rotate = 1});
}
