/* Winograd backward weight, 3x3 stride 1: the exact derivative of the forward formula (winograd.h), F(3x3, 4x4) on the
 * same 36 points: dg = G' [ (A dy A') * (B' d B) ] G      summed over all tiles, the outer G' .. G applied once at the
 * end. The tiles are cut into slices by sizes alone; each slice adds up its blocks of tiles in order, and the slices
 * are summed in order. */
#include "conv/winograd.h"

#define L2_BYTES (768 << 10)     /* for V and D */
#define PARTIAL_BYTES (10 << 20) /* of all slices */

typedef struct {
    winograd_tiles tiles;
    conv_shape s;
    const float *x, *grad_out, *zero;
    float *grad_weight, *du; /* du[slice][group][36][in][ldu] */
    int64_t in, out;         /* channels of a group */
    int64_t slices, ranges, slice, range, block, ldv, ldd, ldu, v_point, d_point, u_point;
} winograd_gradients;

static void transform_gradient(const tile_pixels *p, const tile_pixels *next, int64_t stride, int64_t channels,
                               float *d, int64_t point) { /* A dy A' */
    EACH_VECTOR(c, channels) {
        vec_f32 t[24], r[6];
        UNROLL
        for (int i = 0; i < 4; i++) UNROLL
        for (int j = 0; j < 4; j++) __builtin_prefetch(next->row[i] + j * stride + c);
        UNROLL
        for (int j = 0; j < 4; j++) {
            int64_t at = j * stride + c;
            if (j < p->high)
                winograd_gradient(vec_loadu(p->row[0] + at), vec_loadu(p->row[1] + at), vec_loadu(p->row[2] + at),
                                  vec_loadu(p->row[3] + at), t + j, 4);
            else
                UNROLL
            for (int i = 0; i < 6; i++) t[4 * i + j] = vec_zero();
        }
        UNROLL
        for (int i = 0; i < 6; i++) {
            winograd_gradient(t[4 * i], t[4 * i + 1], t[4 * i + 2], t[4 * i + 3], r, 1);
            UNROLL
            for (int j = 0; j < 6; j++) vec_storeu(d + (6 * i + j) * point + c, r[j]);
        }
    }
}

/* Chunk: one slice of the tiles, one group, one range of its output channels, from images to its part of du. */
static void gradient_slice(void *context, int64_t chunk) {
    const winograd_gradients *z = context;
    const conv_shape *s = &z->s;
    int64_t group = chunk / z->ranges % s->groups, slice = chunk / z->ranges / s->groups;
    int64_t end = least((slice + 1) * z->slice, z->tiles.tiles);
    int64_t k = chunk % z->ranges * z->range, count_k = k + 2 * z->range > z->out ? z->out - k : z->range;
    float *v = kg_scratch(KG_SCRATCH_CONV, sizeof(float) * (36 * (z->v_point + z->d_point) + PANEL)),
          *d = v + 36 * z->v_point;
    const float *x = z->x + group * z->in, *grad_out = z->grad_out + group * z->out + k;
    conv_epilogue e = {0};
    for (int64_t first = slice * z->slice; first < end; first += z->block, e.add = 1) {
        int64_t count = least(z->block, end - first);
        tile_place place = place_of(&z->tiles, first);
        tile_pixels p = pixels_at(place, 6, s->padding[0], s->padding[1], s->H, s->W, s->C, x, z->zero), next;
        tile_pixels g = pixels_at(place, 4, 0, 0, s->OH, s->OW, s->K, grad_out, z->zero), next_g;
        for (int64_t t = 0; t < count; t++, p = next, g = next_g) {
            if (t + 1 < count) next_place(&z->tiles, &place);
            next = pixels_at(place, 6, s->padding[0], s->padding[1], s->H, s->W, s->C, x, z->zero);
            next_g = pixels_at(place, 4, 0, 0, s->OH, s->OW, s->K, grad_out, z->zero);
            winograd_transform_input(&p, &next, s->C, z->in, v + t * z->ldv, z->v_point);
            transform_gradient(&g, &next_g, s->K, count_k, d + t * z->ldd, z->d_point);
        }
        for (int64_t q = 0; q < 36; q++) {
            conv_operand a = {.at = v + q * z->v_point, .row = 1, .col = z->ldv};
            KG_NAME(conv_gemm)(z->in, count_k, count, &a, d + q * z->d_point, z->ldd, PANEL,
                               z->du + ((slice * s->groups + group) * 36 + q) * z->u_point + k, z->ldu, &e);
        }
    }
}

/* grad_weight = G' (sum of slices, in order) G. Chunk: a group, VEC_LANES of its output channels. */
static void gradient_finish(void *context, int64_t chunk) {
    const winograd_gradients *z = context;
    int64_t chunks = ceil_div(z->out, VEC_LANES), group = chunk / chunks, first = chunk % chunks * VEC_LANES;
    int64_t k = least(first, z->out - VEC_LANES), slice_floats = z->s.groups * 36 * z->u_point;
    const float *du = z->du + group * 36 * z->u_point;
    for (int64_t c = 0; c < z->in; c++) {
        vec_f32 t[18], r[3];
        float g[9][VEC_LANES];
        UNROLL
        for (int j = 0; j < 6; j++) {
            vec_f32 a[6];
            UNROLL
            for (int i = 0; i < 6; i++) {
                const float *u = du + (6 * i + j) * z->u_point + c * z->ldu + k;
                a[i] = vec_loadu(u);
                for (int64_t slice = 1; slice < z->slices; slice++)
                    a[i] = vec_add(a[i], vec_loadu(u + slice * slice_floats));
            }
            winograd_weight_gradient(a[0], a[1], a[2], a[3], a[4], a[5], t + j, 6);
        }
        UNROLL
        for (int i = 0; i < 3; i++) {
            winograd_weight_gradient(t[6 * i], t[6 * i + 1], t[6 * i + 2], t[6 * i + 3], t[6 * i + 4], t[6 * i + 5], r,
                                     1);
            UNROLL
            for (int j = 0; j < 3; j++) vec_storeu(g[3 * i + j], r[j]);
        }
        for (int64_t lane = first - k; lane < VEC_LANES; lane++) /* the last chunk overlaps the one before */
            for (int tap = 0; tap < 9; tap++)
                z->grad_weight[((group * z->out + k + lane) * z->in + c) * 9 + tap] = g[tap][lane];
    }
}

void KG_NAME(conv_winograd_weight)(const conv_shape *s, const float *x, const float *grad_out, float *grad_weight) {
    winograd_gradients z = {
        .tiles = tiles_of(s->N, s->OH, s->OW), .s = *s, .x = x, .grad_out = grad_out, .grad_weight = grad_weight};
    int64_t tiles = z.tiles.tiles, groups = s->groups, C = s->C / groups, K = s->K / groups;
    z.in = C, z.out = K;
    /* While du is small each slice gets its own; a large du would cost more memory traffic than transforming x again
     * per range of K. */
    z.slices = least(least(8, PARTIAL_BYTES / (36 * 4 * groups * C * K)), tiles / 56) & ~1;
    z.ranges = z.slices || K < 64 || groups > 1 ? 1 : 2;
    z.slice = ceil_div(tiles, most(1, z.slices)), z.slices = ceil_div(tiles, z.slice);
    z.range = z.ranges == 1 ? K : K / 32 * 16; /* the second range takes the rest */
    int64_t widest = K - (z.ranges - 1) * z.range;
    z.block = most(28, least(112, L2_BYTES / (36 * 4) / (C + widest)));
    z.block = ceil_div(z.slice, ceil_div(z.slice, z.block));
    z.ldv = odd_lines(C), z.ldd = odd_lines(ceil_div(widest, PANEL) * PANEL), z.ldu = odd_lines(K);
    z.v_point = odd_lines(z.block * z.ldv), z.d_point = odd_lines(z.block * z.ldd), z.u_point = odd_lines(C * z.ldu);
    int64_t floats = z.slices * groups * 36 * z.u_point, zeros = 6 * most(s->C, s->K);
    z.du = kg_scratch(KG_SCRATCH_CONV_SHARED, sizeof(float) * (floats + zeros));
    z.zero = memset(z.du + floats, 0, sizeof(float) * zeros);
    double channels = (double)groups * C * K;
    kg_parallel(gradient_slice, &z, z.slices * groups * z.ranges, 72 * channels * tiles / CONV_GFLOPS_US);
    kg_parallel(gradient_finish, &z, groups * ceil_div(K, VEC_LANES), 1e-2 * channels);
}
