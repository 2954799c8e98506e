/* Elements by index: gather, scatter, masks, triangles.
 * gather and scatter see x as (outer, size, inner) and index, src or out as (outer, count, inner), contiguous; the item
 * is one outer slice, so that duplicates of an index meet in one thread and in order. Indices have been checked by
 * normalize_index. */
#include "runtime/kernel.h"
#include "vec/vec.h"

/* out = index, negative ones + size if wrap; bad = the first position whose index is then outside [0, size), or -1.
 * Without wrap out may be absent. sizes: n, size, wrap */
#define NORMALIZE_INDEX(type)                                                                              \
    static void normalize_index_##type(void *const *arrays, const int64_t *sizes, const double *scalars,   \
                                       int64_t start, int64_t stop) {                                      \
        const type *index = arrays[0];                                                                     \
        int64_t *out = arrays[1], *bad = arrays[2];                                                        \
        const int64_t size = sizes[1], wrap = sizes[2] ? size : 0;                                         \
        int wrong = 0;                                                                                     \
        (void)scalars;                                                                                     \
        if (out)                                                                                           \
            for (int64_t i = start; i < stop; i++) {                                                       \
                int64_t k = index[i];                                                                      \
                out[i] = k += k < 0 ? wrap : 0;                                                            \
                wrong |= (uint64_t)k >= (uint64_t)size;                                                    \
            }                                                                                              \
        else                                                                                               \
            for (int64_t i = start; i < stop; i++) wrong |= (uint64_t)(int64_t)index[i] >= (uint64_t)size; \
        *bad = -1;                                                                                         \
        for (int64_t i = start; wrong && i < stop; i++) {                                                  \
            int64_t k = index[i];                                                                          \
            k += k < 0 ? wrap : 0;                                                                         \
            if ((uint64_t)k >= (uint64_t)size) {                                                           \
                *bad = i;                                                                                  \
                break;                                                                                     \
            }                                                                                              \
        }                                                                                                  \
    }
NORMALIZE_INDEX(int64_t)
NORMALIZE_INDEX(int32_t)

/* gather:  out[o, i, j] = x[o, index[o, i, j], j]      scatter: out[o, index[o, i, j], j] = src[o, i, j]
 * scatter_fill: = value, scatter_add: += src[o, i, j].  sizes: outer, count, size, inner */
#define ELEMENTS(body)                                                                                              \
    const int64_t count = sizes[1], size = sizes[2], inner = sizes[3];                                              \
    for (int64_t o = start; o < stop; o++)                                                                          \
        if (inner == 1)                                                                                             \
            for (int64_t i = 0; i < count; i++) {                                                                   \
                const int64_t small = o * count + i, big = o * size + index[small];                                 \
                body;                                                                                               \
            }                                                                                                       \
        else                                                                                                        \
            for (int64_t i = 0; i < count; i++)                                                                     \
                for (int64_t j = 0; j < inner; j++) {                                                               \
                    const int64_t small = (o * count + i) * inner + j, big = (o * size + index[small]) * inner + j; \
                    body;                                                                                           \
                }
#define SCATTERS(type)                                                                                                 \
    static void gather_forward_##type(void *const *arrays, const int64_t *sizes, const double *scalars, int64_t start, \
                                      int64_t stop) {                                                                  \
        const type *x = arrays[0];                                                                                     \
        const int64_t *index = arrays[1];                                                                              \
        type *out = arrays[2];                                                                                         \
        (void)scalars;                                                                                                 \
        ELEMENTS(out[small] = x[big])                                                                                  \
    }                                                                                                                  \
    static void scatter_forward_##type(void *const *arrays, const int64_t *sizes, const double *scalars,               \
                                       int64_t start, int64_t stop) {                                                  \
        const type *src = arrays[0];                                                                                   \
        const int64_t *index = arrays[1];                                                                              \
        type *out = arrays[2];                                                                                         \
        (void)scalars;                                                                                                 \
        ELEMENTS(out[big] = src[small])                                                                                \
    }
SCATTERS(int8_t)
SCATTERS(int16_t)
SCATTERS(int32_t)
SCATTERS(int64_t)

#define SCATTER_ADD(type)                                                                                    \
    static void scatter_add_forward_##type(void *const *arrays, const int64_t *sizes, const double *scalars, \
                                           int64_t start, int64_t stop) {                                    \
        const type *src = arrays[0];                                                                         \
        const int64_t *index = arrays[1];                                                                    \
        type *out = arrays[2];                                                                               \
        (void)scalars;                                                                                       \
        ELEMENTS(out[big] += src[small])                                                                     \
    }
SCATTER_ADD(float)
SCATTER_ADD(double)
SCATTER_ADD(int64_t)

/* out = mask ? value : x, broadcasting. arrays: x, mask, out. sizes: n, step of x, step of mask */
static void masked_fill_forward(void *const *arrays, const int64_t *sizes, const double *scalars, int64_t start,
                                int64_t stop) {
    const float *x = arrays[0];
    const uint8_t *mask = arrays[1];
    float *out = arrays[2];
    const int64_t step_x = sizes[1], step_mask = sizes[2];
    const vec_f32 value = vec_set((float)scalars[0]);
    const vec_mask all = step_mask ? vec_first(0) : vec_first(mask[0] ? VEC_LANES : 0);
    for (int64_t i = start; i < stop; i += VEC_LANES) {
        vec_f32 v = step_x ? vec_load(x + i, stop - i) : vec_set(x[0]);
        vec_mask m = step_mask ? vec_load_bool(mask + i, stop - i) : all;
        vec_store(out + i, vec_select(m, value, v), stop - i);
    }
}

/* Rows of matrices (.., rows, columns): row i keeps columns up to i + diagonal (lower), or from there on (upper); the
 * rest is 0. sizes: all rows, rows of one matrix, columns, diagonal, upper */
VEC_INLINE void triangle(void *const *arrays, const int64_t *sizes, int64_t start, int64_t stop,
                         const int64_t itemsize) {
    const char *x = arrays[0];
    char *out = arrays[1];
    const int64_t rows = sizes[1], columns = sizes[2], diagonal = sizes[3], upper = sizes[4];
    for (int64_t r = start; r < stop; r++) {
        int64_t cut = r % rows + diagonal + (upper ? 0 : 1);
        cut = cut < 0 ? 0 : cut > columns ? columns : cut;
        const char *from = x + r * columns * itemsize;
        char *to = out + r * columns * itemsize;
        const size_t head = (size_t)(cut * itemsize), tail = (size_t)((columns - cut) * itemsize);
        if (upper) {
            memset(to, 0, head);
            memcpy(to + head, from + head, tail);
        } else {
            memcpy(to, from, head);
            memset(to + head, 0, tail);
        }
    }
}
#define TRIANGLE(bytes)                                                                                    \
    static void triangle_forward_##bytes(void *const *arrays, const int64_t *sizes, const double *scalars, \
                                         int64_t start, int64_t stop) {                                    \
        (void)scalars;                                                                                     \
        triangle(arrays, sizes, start, stop, bytes);                                                       \
    }
TRIANGLE(1)
TRIANGLE(2)
TRIANGLE(4)
TRIANGLE(8)

#define EVERY_DTYPE(name, one, two, four, eight)                                                                    \
    {name, four}, {name ":int32", four}, {name ":float64", eight}, {name ":int64", eight}, {name ":bfloat16", two}, \
        {name ":int8", one}, {name ":uint8", one}, {                                                                \
        name ":bool", one                                                                                           \
    }

const kg_entry KG_TABLE(indexing)[] = {
    {"normalize_index:int64", normalize_index_int64_t},
    {"normalize_index:int32", normalize_index_int32_t},
    EVERY_DTYPE("gather_forward", gather_forward_int8_t, gather_forward_int16_t, gather_forward_int32_t,
                gather_forward_int64_t),
    EVERY_DTYPE("scatter_forward", scatter_forward_int8_t, scatter_forward_int16_t, scatter_forward_int32_t,
                scatter_forward_int64_t),
    {"scatter_add_forward", scatter_add_forward_float},
    {"scatter_add_forward:float64", scatter_add_forward_double},
    {"scatter_add_forward:int64", scatter_add_forward_int64_t},
    {"masked_fill_forward", masked_fill_forward},
    EVERY_DTYPE("triangle_forward", triangle_forward_1, triangle_forward_2, triangle_forward_4, triangle_forward_8),
    {0},
};
