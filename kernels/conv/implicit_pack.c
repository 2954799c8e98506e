/* Weights as conv_products over taps read them: panels of columns, rows in order of the reduction. */
#include "conv/implicit.h"

#define MOST_TAPS 64 /* of kernels whose weights are packed by transposing */
#define LANES TRANSPOSE_BLOCK

/* Weights are packed for several products at a time: those of all phases of backward data, each of which uses some of
 * the taps. */
typedef struct {
    const conv_product *of;
    int64_t count;
} packing;

/* places[tap] = where the first input's weights of a tap go, for a panel of a group. Not those of taps without use. */
static void find_places(const packing *p, int64_t group, int64_t panel, int64_t row, float **places) {
    for (const conv_product *z = p->of; z < p->of + p->count; z++) {
        const conv_axis *v = z->axes, *h = z->axes + 1;
        float *to = z->packed + (group * z->panels + panel) * z->k * PANEL;
        for (int64_t ty = 0; ty < v->taps; ty++)
            for (int64_t tx = 0; tx < h->taps; tx++, to += z->in * row)
                places[(v->kernel_first + ty * v->kernel_gap) * z->kernel_w + h->kernel_first + tx * h->kernel_gap] =
                    to;
    }
}

/* The weights of one input, LANES outputs, to packed rows: t[tap][LANES] holds all taps of the kernel. */
static void place_taps(const float *t, int64_t taps, int64_t at, float *const *places) {
    for (int64_t tap = 0; tap < taps; tap++)
        if (places[tap]) memcpy(places[tap] + at, t + tap * LANES, sizeof(float) * LANES);
}

/* Of inputs first .. end-1 and LANES outputs, of which some may not be there, by blocks transposed in registers. */
static void pack_lanes(const conv_product *z, const float *w, int64_t lanes, int64_t first, int64_t end, int64_t row,
                       int64_t half, float *const *places) {
    float t[MOST_TAPS + 2 * LANES][LANES];
    int64_t taps = z->kernel_taps, at = first * row + half;
    w += first * z->weight_in;
    if (z->weight_in == taps) {                                  /* the taps of all inputs are a run for each output */
        int64_t ready = 0, done = 0, all = (end - first) * taps; /* of the run: transposed to t, taken from t */
        for (int64_t i = first; i < end; i++, at += row) {
            while (ready - done < taps && ready < all) {
                transpose_part(w + ready, z->weight_out, lanes, all - ready, t[ready - done], LANES);
                ready = least(ready + LANES, all);
            }
            place_taps(t[0], taps, at, places);
            done += taps;
            memmove(t[0], t[taps], sizeof(float) * LANES * (ready - done));
        }
        return;
    }
    for (int64_t i = first; i < end; i++, w += z->weight_in, at += row) { /* outputs lie side by side */
        if (taps == 1) {
            for (int64_t lane = 0; lane < LANES; lane += VEC_LANES)
                vec_storeu(places[0] + at + lane, vec_load(w + lane, lanes - lane));
            continue;
        }
        /* whole blocks read into what lies behind the taps: not at the end of the weights */
        const int more = i + 1 < z->in && z->weight_in >= LANES;
        for (int64_t tap = 0; tap < taps; tap += LANES)
            transpose_part(w + tap, taps, lanes, more ? LANES : taps - tap, t[tap], LANES);
        place_taps(t[0], taps, at, places);
    }
}

/* Of inputs first .. end-1 one by one, from `row` outputs on, which may be of several groups. */
static void pack_each(const conv_product *z, int64_t group, int64_t panel, int64_t first, int64_t end, int64_t wide) {
    const conv_axis *v = z->axes, *h = z->axes + 1;
    float *to = z->packed + (group * z->panels + panel) * z->k * PANEL;
    for (int64_t i = first; i < end; i++) {
        /* the group that input i is of, and the lanes that are outputs of the same */
        int64_t own = i / z->own_in, lane0 = own * z->own_outs - panel * PANEL;
        int64_t low = least(most(lane0, 0), wide), high = most(least(lane0 + z->own_outs, wide), low);
        const float *w = z->weight + (group * z->merge + own) * z->weight_group - lane0 * z->weight_out +
                         (i - own * z->own_in) * z->weight_in;
        for (int64_t ty = 0; ty < v->taps; ty++)
            for (int64_t tx = 0; tx < h->taps; tx++) {
                int64_t tap =
                    (v->kernel_first + ty * v->kernel_gap) * z->kernel_w + h->kernel_first + tx * h->kernel_gap;
                const float *from = w + tap;
                float *row = to + ((ty * h->taps + tx) * z->in + i) * wide;
                for (int64_t lane = low; lane < high; lane++) row[lane] = from[lane * z->weight_out];
                for (int64_t lane = 0; lane < low; lane++) row[lane] = 0;
                for (int64_t lane = high; lane < wide; lane++) row[lane] = 0;
            }
    }
}

/* packed[group][panel][k][row_of panel], k = (tap_y, tap_x, in), zeros beyond outs. Chunk: one panel and 16 input
 * channels. */
static void pack_weights(void *context, int64_t chunk) {
    const packing *p = context;
    const conv_product *z = p->of;
    int64_t parts = ceil_div(z->in, 16), first = chunk % parts * 16, end = least(first + 16, z->in);
    int64_t panel = chunk / parts % z->panels, group = chunk / parts / z->panels, wide = packed_row(z, panel);
    if (z->merge > 1 || z->kernel_taps > MOST_TAPS) {
        for (; z < p->of + p->count; z++) pack_each(z, group, panel, first, end, wide);
        return;
    }
    float *places[MOST_TAPS] = {NULL};
    find_places(p, group, panel, wide, places);
    for (int64_t half = 0; half < wide; half += LANES) {
        int64_t o = panel * PANEL + half, lanes = most(least(LANES, z->outs - o), 0);
        const float *w = z->weight + group * z->weight_group + least(o, z->outs - 1) * z->weight_out;
        pack_lanes(z, w, lanes, first, end, wide, half, places);
    }
}

/* The weights of `count` products to `to`, or to the memory that all of this file share. */
void KG_NAME(conv_pack_products)(conv_product *of, int64_t count, float *to) {
    packing p = {of, count};
    int64_t floats = 0;
    for (conv_product *z = of; z < of + count; z++) floats += packed_floats(z);
    if (to == NULL) to = kg_scratch(KG_SCRATCH_CONV_SHARED, sizeof(float) * floats);
    for (conv_product *z = of; z < of + count; z++) z->packed = to, to += packed_floats(z);
    if (floats > 0) kg_parallel(pack_weights, &p, of->groups * of->panels * ceil_div(of->in, 16), 1e-3 * floats);
}
