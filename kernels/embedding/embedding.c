/* Rows by index: embedding tables, index_select and the gradients of both.
 * Indices are int64 and have been checked (normalize_index). Layouts: weight and x (outer, rows, inner), what is taken
 * from them (outer, count, inner), all contiguous; an embedding has outer = 1. */
#include "runtime/kernel.h"
#include "runtime/scratch.h"
#include "vec/vec.h"

/* out[o, i, :] = weight[o, index[i], :]. sizes: outer count, count, rows, inner. The item is one taken row. */
VEC_INLINE void take_rows(void *const *arrays, const int64_t *sizes, int64_t start, int64_t stop,
                          const int64_t itemsize) {
    const char *weight = arrays[0];
    const int64_t *index = arrays[1];
    char *out = arrays[2];
    const int64_t count = sizes[1], rows = sizes[2], nbytes = sizes[3] * itemsize;
    int64_t o = start / count, i = start % count;
    for (int64_t item = start; item < stop; item++) {
        const char *from = weight + (o * rows + index[i]) * nbytes;
        char *to = out + item * nbytes;
        if (nbytes == itemsize)
            memcpy(to, from, (size_t)itemsize); /* a constant size: one move */
        else
            memcpy(to, from, (size_t)nbytes);
        if (++i == count) i = 0, o++;
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
    {0},
};
