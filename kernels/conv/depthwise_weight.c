/* Depthwise backward weight: grad_weight[c, tap] = sum over pixels of x[pixel under the tap, c] grad_out[pixel, c], and
 * grad_bias from the same rows. Lanes are channels; the taps of a window stay in registers along some output rows,
 * whose sums are added to those of a slice. Slices, by sizes alone, are summed in order. */
#include "conv/conv.h"

#define SLICES 16
#define RUN 32 /* outputs at least, where rows are short: less would be spent on the sums than on moving them */

typedef struct {
    conv_axis axes[2];
    const float *x, *grad_out;
    float *partial; /* [slice][tap, then bias][channel]; a last vector that is not full is kept in a full one */
    int64_t images, channels, slices, row; /* row: floats of a tap in `partial` */
} gradient;

/* Output columns: x0 .. x1-1 have all taps on the image, tap t is on it for from[t] .. to[t]-1. */
typedef struct {
    int64_t x0, x1, from[7], to[7];
} extent;

/* Sums over `lines` output rows for `rows` x `taps` taps, added to `to`, in rows of to_row. `x` is under the first tap
 * of the first output. */
VEC_INLINE void add_lines(int rows, int taps, const conv_axis *h, const extent *e, const float *x, int64_t x_row,
                          int64_t x_line, const float *g, int64_t C, int64_t lines, float *to, int64_t to_tap,
                          int64_t to_row, int64_t left) {
    vec_f32 acc[3][7];
    const int64_t next = h->step * C, gap = h->gap * C;
    UNROLL
    for (int r = 0; r < rows; r++) UNROLL
    for (int t = 0; t < taps; t++) acc[r][t] = vec_zero();
    for (int64_t line = 0; line < lines; line++, x += x_line) {
        const float *p = x;
        for (int64_t i = 0; i < h->outputs; i++, p += next, g += C) {
            vec_f32 v = vec_load(g, left);
            if (i < e->x0 || i >= e->x1) {
                UNROLL
                for (int t = 0; t < taps; t++)
                    if (i >= e->from[t] && i < e->to[t]) {
                        UNROLL
                        for (int r = 0; r < rows; r++)
                            acc[r][t] = vec_fma(vec_load(p + r * x_row + t * gap, left), v, acc[r][t]);
                    }
                continue;
            }
            UNROLL
            for (int r = 0; r < rows; r++) UNROLL
            for (int t = 0; t < taps; t++) acc[r][t] = vec_fma(vec_load(p + r * x_row + t * gap, left), v, acc[r][t]);
        }
    }
    UNROLL
    for (int r = 0; r < rows; r++) UNROLL
    for (int t = 0; t < taps; t++) {
        float *sum = to + r * to_row + t * to_tap;
        vec_store(sum, vec_add(vec_load(sum, left), acc[r][t]), left);
    }
}

static void add_bias(const float *g, int64_t pixels, int64_t C, float *to, int64_t left) {
    vec_f32 sum = vec_zero();
    for (int64_t i = 0; i < pixels; i++, g += C) sum = vec_add(sum, vec_load(g, left));
    vec_store(to, vec_add(vec_load(to, left), sum), left);
}

/* One vector of channels (`left` of them real) of `lines` output rows, of which tap rows t0 .. t1-1 are on the image.
 */
VEC_INLINE void add_vector(const gradient *z, const extent *columns, const float *x, const float *g, int64_t t0,
                           int64_t t1, int64_t lines, float *to, int64_t left) {
    const conv_axis *v = z->axes, *h = z->axes + 1;
    const int64_t C = z->channels, line = h->source * C, x_row = v->gap * line, x_line = v->step * line;
    const int64_t taps = h->taps, tap = z->row, row = taps * tap;
    int64_t t = t0;
    for (; taps == 3 && t + 3 <= t1; t += 3)
        add_lines(3, 3, h, columns, x + t * x_row, x_row, x_line, g, C, lines, to + t * row, tap, row, left);
    for (; t < t1; t++) {
        if (taps == 3)
            add_lines(1, 3, h, columns, x + t * x_row, 0, x_line, g, C, lines, to + t * row, tap, 0, left);
        else if (taps == 5)
            add_lines(1, 5, h, columns, x + t * x_row, 0, x_line, g, C, lines, to + t * row, tap, 0, left);
        else if (taps == 7)
            add_lines(1, 7, h, columns, x + t * x_row, 0, x_line, g, C, lines, to + t * row, tap, 0, left);
        else
            for (int64_t i = 0; i < taps; i++)
                add_lines(1, 1, h, columns + i, x + t * x_row + i * h->gap * C, 0, x_line, g, C, lines,
                          to + t * row + i * tap, tap, 0, left);
    }
    add_bias(g, lines * h->outputs, C, to + v->taps * row, left);
}

static void reached(const conv_axis *a, int64_t tap, int64_t *from, int64_t *to) {
    int64_t at = a->first + tap * a->gap;
    *from = at >= 0 ? 0 : ceil_div(-at, a->step);
    *to = at >= a->source ? 0 : least(a->outputs, ceil_div(a->source - at, a->step));
    *to = most(*to, *from);
}

/* For 3, 5 and 7 taps one extent; otherwise one for each tap alone. */
static void extents(const conv_axis *h, extent *e) {
    const int joint = h->taps == 3 || h->taps == 5 || h->taps == 7;
    for (int64_t t = 0; t < h->taps; t++) {
        extent *own = joint ? e : e + t;
        int64_t at = joint ? t : 0, *from = own->from + at, *to = own->to + at;
        reached(h, t, from, to);
        own->x0 = at == 0 ? *from : most(own->x0, *from), own->x1 = at == 0 ? *to : least(own->x1, *to);
    }
}

/* Chunk: a slice of the output rows of all images. */
static void gradient_rows(void *context, int64_t slice) {
    const gradient *z = context;
    const conv_axis *v = z->axes, *h = z->axes + 1;
    int64_t C = z->channels, all = v->outputs * z->images, size = (v->taps * h->taps + 1) * z->row;
    float *partial = memset(z->partial + slice * size, 0, sizeof(float) * size);
    extent *columns = kg_scratch(KG_SCRATCH_CONV, sizeof(extent) * most(1, h->taps));
    extents(h, columns);
    int64_t row = cut(all, z->slices, slice), end = cut(all, z->slices, slice + 1);
    for (int64_t lines; row < end; row += lines) {
        int64_t n = row / v->outputs, y = row % v->outputs, sy = y * v->step + v->first, t0 = 0, t1 = v->taps;
        while (t0 < t1 && sy + t0 * v->gap < 0) t0++;
        while (t1 > t0 && sy + (t1 - 1) * v->gap >= v->source) t1--;
        lines = 1;
        if (t0 == 0 && t1 == v->taps) { /* as many as have all their tap rows on the image, too */
            int64_t whole = (v->source - 1 - (t1 - 1) * v->gap - v->first) / v->step + 1;
            lines = least(least(ceil_div(RUN, h->outputs), whole - y), least(end - row, v->outputs - y));
        }
        const float *x = z->x + ((n * v->source + sy) * h->source + h->first) * C;
        const float *g = z->grad_out + row * h->outputs * C;
        int64_t c = 0;
        for (; c + VEC_LANES <= C; c += VEC_LANES)
            add_vector(z, columns, x + c, g + c, t0, t1, lines, partial + c, VEC_LANES);
        if (c < C && C > VEC_LANES) { /* some channels again, rather than a masked vector */
            int64_t last = C - VEC_LANES;
            add_vector(z, columns, x + last, g + last, t0, t1, lines, partial + c, VEC_LANES);
        } else if (c < C) {
            add_vector(z, columns, x + c, g + c, t0, t1, lines, partial + c, C - c);
        }
    }
}

void KG_NAME(conv_depthwise_weight)(const conv_shape *s, const float *x, const float *grad_out, float *grad_weight,
                                    float *grad_bias) {
    gradient z = {.axes = {KG_NAME(conv_forward_axis)(s, 0), KG_NAME(conv_forward_axis)(s, 1)},
                  .x = x,
                  .grad_out = grad_out,
                  .images = s->N,
                  .channels = s->C,
                  .slices = most(1, least(SLICES, s->N * s->OH))};
    int64_t taps = s->kh * s->kw, C = s->C, whole = C / VEC_LANES * VEC_LANES;
    z.row = ceil_div(C, VEC_LANES) * VEC_LANES;
    int64_t size = (taps + 1) * z.row, shift = C > VEC_LANES ? z.row - C : 0; /* of the channels in the last vector */
    z.partial = kg_scratch(KG_SCRATCH_CONV_SHARED, sizeof(float) * z.slices * size);
    kg_parallel(gradient_rows, &z, z.slices, 1e-4 * s->N * s->OH * s->OW * C * (1 + .1 * taps));
    for (int64_t slice = 1; slice < z.slices; slice++)
        for (int64_t i = 0; i < size; i++) z.partial[i] += z.partial[slice * size + i];
    for (int64_t c = 0; c < C; c++) {
        const float *sum = z.partial + c + (c < whole ? 0 : shift);
        for (int64_t tap = 0; tap < taps; tap++) grad_weight[c * taps + tap] = sum[tap * z.row];
        if (grad_bias) grad_bias[c] = sum[taps * z.row];
    }
}
