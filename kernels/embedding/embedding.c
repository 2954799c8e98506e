/* Rows by index: embedding tables, index_select and the gradients of both.
 * Indices are int64 and have been checked (normalize_index). Layouts: weight and x (outer, rows, inner), what is taken
 * from them (outer, count, inner), all contiguous; an embedding has outer = 1. */
#include "runtime/kernel.h"
#include "runtime/pool.h"
#include "runtime/scratch.h"
#include "vec/vec.h"

enum { AHEAD = 6 }; /* rows that are asked for before their turn: an L2 miss or two long */

/* Copies n bytes by pieces of one size, the last one ending where the row ends. */
#define COPY_BY(size)                                                                         \
    {                                                                                         \
        for (int64_t at = 0; at + (size) < n; at += (size)) memcpy(to + at, from + at, size); \
        memcpy(to + n - (size), from + n - (size), size);                                     \
        return;                                                                               \
    }
VEC_INLINE void copy_row(char *to, const char *from, int64_t n) {
    if (n >= 64) COPY_BY(64)
    if (n >= 16) COPY_BY(16)
    if (n >= 4) COPY_BY(4)
    for (int64_t at = 0; at < n; at++) to[at] = from[at];
}

/* out[o, i, :] = weight[o, index[i], :]. sizes: outer count, count, rows, inner. The item is one taken row. */
VEC_INLINE void take_rows(void *const *arrays, const int64_t *sizes, int64_t start, int64_t stop,
                          const int64_t itemsize) {
    const char *weight = arrays[0];
    const int64_t *index = arrays[1];
    char *out = arrays[2];
    const int64_t count = sizes[1], rows = sizes[2], nbytes = sizes[3] * itemsize;
    int64_t i = start % count;
    const char *from = weight + start / count * rows * nbytes;
    for (int64_t item = start; item < stop; i = 0, from += rows * nbytes) {
        const int64_t n = count - i < stop - item ? count - i : stop - item;
        char *to = out + item * nbytes;
        if (nbytes == itemsize)
            for (int64_t k = 0; k < n; k++)
                memcpy(to + k * itemsize, from + index[i + k] * itemsize, (size_t)itemsize); /* one move */
        else
            for (int64_t k = 0; k < n; k++) {
                const char *next = from + index[i + (k + AHEAD < n ? k + AHEAD : k)] * nbytes;
                for (int64_t at = 0; at < nbytes && at < 1024; at += 64) __builtin_prefetch(next + at);
                copy_row(to + k * nbytes, from + index[i + k] * nbytes, nbytes);
            }
        item += n;
    }
}
#define TAKE_ROWS(bytes)                                                                                    \
    static void embedding_forward_##bytes(void *const *arrays, const int64_t *sizes, const double *scalars, \
                                          int64_t start, int64_t stop) {                                    \
        (void)scalars;                                                                                      \
        take_rows(arrays, sizes, start, stop, bytes);                                                       \
    }
TAKE_ROWS(1)
TAKE_ROWS(2)
TAKE_ROWS(4)
TAKE_ROWS(8)

/* Positions 0 .. count-1 sorted by index, equal ones in order of position: a least-significant-digit radix sort (up to
 * 2048 rows it is one counting sort). Then the runs of equal indices: run r is positions order[starts[r]] ..
 * order[starts[r+1]-1], all of row rows[r]. arrays: index, order, starts (count + 1), rows, runs (1). sizes: count,
 * number of rows. */
static void index_order_int64(void *const *arrays, const int64_t *sizes, const double *scalars, int64_t start,
                              int64_t stop) {
    enum { BITS = 11, BUCKETS = 1 << BITS };
    const int64_t *index = arrays[0];
    int64_t *order = arrays[1], *starts = arrays[2], *rows = arrays[3], *runs = arrays[4];
    const int64_t count = sizes[0], row_count = sizes[1];
    (void)scalars, (void)start, (void)stop;
    int64_t *spare = kg_scratch(KG_SCRATCH_OTHER, (size_t)(count > 0 ? count : 1) * sizeof *spare), *from = NULL;
    int passes = 0;
    for (int64_t most = row_count - 1; most > 0; most >>= BITS) passes++;
    if (passes == 0) passes = 1;
    for (int pass = 0; pass < passes; pass++) {
        int64_t *to = (passes - pass) % 2 ? order : spare, next[BUCKETS] = {0}, total = 0;
        const int shift = pass * BITS;
        for (int64_t i = 0; i < count; i++) next[index[i] >> shift & (BUCKETS - 1)]++;
        for (int b = 0; b < BUCKETS; b++) {
            int64_t n = next[b];
            next[b] = total, total += n;
        }
        for (int64_t i = 0; i < count; i++) {
            int64_t position = from ? from[i] : i;
            to[next[index[position] >> shift & (BUCKETS - 1)]++] = position;
        }
        from = to;
    }
    int64_t r = 0;
    for (int64_t i = 0; i < count; i++)
        if (i == 0 || index[order[i]] != index[order[i - 1]]) starts[r] = i, rows[r++] = index[order[i]];
    starts[r] = count, *runs = r;
}

/* out[o, rows[r], :] += sum of grad_out[o, order[k], :] over run r, in order of position: each touched row is written
 * once, by one thread. arrays: grad_out, order, starts, rows, out. sizes: outer runs, runs, count, rows, inner. The
 * item is one run. */
static void embedding_backward(void *const *arrays, const int64_t *sizes, const double *scalars, int64_t start,
                               int64_t stop) {
    const float *grad_out = arrays[0];
    const int64_t *order = arrays[1], *starts = arrays[2], *row_of = arrays[3];
    float *out = arrays[4];
    const int64_t runs = sizes[1], count = sizes[2], rows = sizes[3], inner = sizes[4];
    (void)scalars;
    for (int64_t item = start; item < stop; item++) {
        const int64_t o = item / runs, r = item % runs, first = starts[r], last = starts[r + 1];
        const float *from = grad_out + o * count * inner;
        float *to = out + (o * rows + row_of[r]) * inner;
        if (inner == 1) {
            float total = *to;
            for (int64_t k = first; k < last; k++) total += from[order[k]];
            *to = total;
            continue;
        }
        for (int64_t j = 0; j < inner; j += VEC_LANES) {
            vec_f32 total = vec_load(to + j, inner - j);
            for (int64_t k = first; k < last; k++)
                total = vec_add(total, vec_load(from + order[k] * inner + j, inner - j));
            vec_store(to + j, total, inner - j);
        }
    }
}

/* ---- Sums of rows by index, in one call ---- */

enum {
    SLICE = 64 * 1024, /* floats of out that one task fills: they stay in the L2 between clearing and adding */
    MOST_PARTS = 1024
};

typedef struct {
    const float *src;
    const int64_t *index, *order; /* order: positions by the part of out that they go to, NULL for one part */
    float *out;
    int64_t outer, count, rows, inner, fresh;
    int64_t units;        /* outer indices that a task takes, where out is not cut */
    int64_t parts, shift; /* else: index >> shift is its part */
    const int64_t *first; /* of each part's positions in order */
} row_sums;

VEC_INLINE void add_row(float *to, const float *from, int64_t n) {
    if (n == 1)
        *to += *from;
    else
        for (int64_t j = 0; j < n; j += VEC_LANES)
            vec_store(to + j, vec_add(vec_load(to + j, n - j), vec_load(from + j, n - j)), n - j);
}

static void add_to_slices(void *context, int64_t chunk) {
    const row_sums *s = context;
    const int64_t stop = (chunk + 1) * s->units < s->outer ? (chunk + 1) * s->units : s->outer, n = s->inner;
    for (int64_t o = chunk * s->units; o < stop; o++) {
        float *out = s->out + o * s->rows * n;
        const float *src = s->src + o * s->count * n;
        if (s->fresh) memset(out, 0, (size_t)(s->rows * n) * sizeof(float));
        for (int64_t i = 0; i < s->count; i++) add_row(out + s->index[i] * n, src + i * n, n);
    }
}

static void add_to_part(void *context, int64_t chunk) {
    const row_sums *s = context;
    const int64_t o = chunk / s->parts, part = chunk % s->parts, n = s->inner, begin = part << s->shift;
    const int64_t end = begin + ((int64_t)1 << s->shift) < s->rows ? begin + ((int64_t)1 << s->shift) : s->rows;
    float *out = s->out + o * s->rows * n;
    const float *src = s->src + o * s->count * n;
    if (s->fresh && end > begin) memset(out + begin * n, 0, (size_t)((end - begin) * n) * sizeof(float));
    for (int64_t k = s->first[part]; k < s->first[part + 1]; k++) {
        const int64_t i = s->order[k];
        add_row(out + s->index[i] * n, src + i * n, n);
    }
}

/* out[o, index[i], :] += src[o, i, :], each row in order of i; out is zeros before where `fresh`. sizes: outer, count,
 * rows, inner, fresh. Where outer is short, out is cut into parts of neighbouring rows, and positions are sorted by
 * part. */
static void add_rows_forward(void *const *arrays, const int64_t *sizes, const double *scalars, int64_t start,
                             int64_t stop) {
    row_sums s = {.src = arrays[0], .index = arrays[1], .out = arrays[2]};
    s.outer = sizes[0], s.count = sizes[1], s.rows = sizes[2], s.inner = sizes[3], s.fresh = sizes[4];
    (void)scalars, (void)start, (void)stop;
    if (s.outer * s.rows * s.inner == 0) return;
    const int64_t taken = s.count * s.inner, slice = s.rows * s.inner, work = (s.fresh ? slice : 0) + 3 * taken;
    const double us = (double)(s.outer * work) * 1e-4;
    if (s.outer >= 8 || slice <= SLICE / 8) {
        s.units = SLICE / 4 / (work > 0 ? work : 1);
        if (s.units < 1) s.units = 1;
        kg_parallel(add_to_slices, &s, (s.outer + s.units - 1) / s.units, us);
        return;
    }
    const int64_t part = slice / 8 < SLICE ? slice / 8 : SLICE;
    while ((s.inner << s.shift) < part || (s.rows - 1) >> s.shift >= MOST_PARTS) s.shift++;
    s.parts = ((s.rows - 1) >> s.shift) + 1;
    int64_t *order = kg_scratch(KG_SCRATCH_OTHER, (size_t)(s.count + 2 * s.parts + 2) * sizeof *order);
    int64_t *first = order + s.count, *next = first + s.parts + 1;
    memset(first, 0, (size_t)(s.parts + 1) * sizeof *first);
    for (int64_t i = 0; i < s.count; i++) first[(s.index[i] >> s.shift) + 1]++;
    for (int64_t p = 0; p < s.parts; p++) first[p + 1] += next[p] = first[p];
    for (int64_t i = 0; i < s.count; i++) order[next[s.index[i] >> s.shift]++] = i;
    s.order = order, s.first = first;
    kg_parallel(add_to_part, &s, s.outer * s.parts, us);
}

const kg_entry KG_TABLE(embedding)[] = {
    {"embedding_forward", embedding_forward_4},
    {"embedding_forward:int32", embedding_forward_4},
    {"embedding_forward:float64", embedding_forward_8},
    {"embedding_forward:int64", embedding_forward_8},
    {"embedding_forward:bfloat16", embedding_forward_2},
    {"embedding_forward:int8", embedding_forward_1},
    {"embedding_forward:uint8", embedding_forward_1},
    {"embedding_forward:bool", embedding_forward_1},
    {"index_order:int64", index_order_int64},
    {"embedding_backward", embedding_backward},
    {"add_rows_forward", add_rows_forward},
    {0},
};
