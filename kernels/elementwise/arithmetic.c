/* Arithmetic, comparison and choice of two or three operands. Sizes: (n, one step of 0 or 1 per operand); a step of 0
 * repeats the operand's one element. Each body is compiled for the steps that occur, so that no loop asks. Formulas
 * stand in the list at the end; x and y are vectors of the operands, g of the upstream gradient. */
#include "runtime/kernel.h"
#include "vec/far.h"

#define ARGUMENTS void *const *arrays, const int64_t *sizes, const double *scalars, int64_t start, int64_t stop

typedef vec_f32 binary(vec_f32 x, vec_f32 y);
typedef vec_f32 slope(vec_f32 x, vec_f32 y, vec_f32 g);
typedef vec_mask relation(vec_f32 x, vec_f32 y);

/* Full vectors four at a time, then one by one, then the masked rest. X and Y: whether the operand moves. All four are
 * loaded before the first is stored: a load that follows a store to the same place in another page waits for it. */
#define LOOP(X, Y)                                                                                                   \
    do {                                                                                                             \
        int64_t i = start;                                                                                           \
        vec_f32 x0 = X ? vec_zero() : vec_set(*x), y0 = Y ? vec_zero() : vec_set(*y), v[4];                          \
        for (; i + 4 * VEC_LANES <= stop; i += 4 * VEC_LANES) {                                                      \
            UNROLL                                                                                                   \
            for (int u = 0; u < 4; u++) {                                                                            \
                int64_t at = i + u * VEC_LANES;                                                                      \
                v[u] = f(X ? vec_loadu_far(x + at) : x0, Y ? vec_loadu_far(y + at) : y0);                            \
            }                                                                                                        \
            UNROLL                                                                                                   \
            for (int u = 0; u < 4; u++) vec_storeu(out + i + u * VEC_LANES, v[u]);                                   \
        }                                                                                                            \
        for (; i < stop; i += VEC_LANES)                                                                             \
            vec_store(out + i, f(X ? vec_load(x + i, stop - i) : x0, Y ? vec_load(y + i, stop - i) : y0), stop - i); \
    } while (0)

VEC_INLINE void run_binary(binary *f, void *const *arrays, const int64_t *sizes, int64_t start, int64_t stop) {
    const float *x = arrays[0], *y = arrays[1];
    float *out = arrays[2];
    if (sizes[1] && sizes[2])
        LOOP(1, 1);
    else if (sizes[1])
        LOOP(1, 0);
    else
        LOOP(0, sizes[2] != 0);
}

VEC_INLINE void run_relation(relation *f, void *const *arrays, const int64_t *sizes, int64_t start, int64_t stop) {
    const float *x = arrays[0], *y = arrays[1];
    uint8_t *out = arrays[2];
    vec_f32 x0 = vec_set(*x), y0 = vec_set(*y);
    for (int64_t i = start; i < stop; i += VEC_LANES)
        vec_store_bool(out + i, f(sizes[1] ? vec_load(x + i, stop - i) : x0, sizes[2] ? vec_load(y + i, stop - i) : y0),
                       stop - i);
}

VEC_INLINE void run_slope(slope *f, void *const *arrays, const int64_t *sizes, int64_t start, int64_t stop) {
    const float *x = arrays[0], *y = arrays[1], *g = arrays[2];
    float *out = arrays[3];
    vec_f32 x0 = vec_set(*x), y0 = vec_set(*y), g0 = vec_set(*g);
    for (int64_t i = start; i < stop; i += VEC_LANES) {
        int64_t n = stop - i;
        vec_f32 gv = sizes[3] ? vec_load(g + i, n) : g0;
        vec_store(out + i, f(sizes[1] ? vec_load(x + i, n) : x0, sizes[2] ? vec_load(y + i, n) : y0, gv), n);
    }
}

#define BINARY(name, formula)                                              \
    VEC_INLINE vec_f32 name##_of(vec_f32 x, vec_f32 y) { return formula; } \
    static void name(ARGUMENTS) {                                          \
        (void)scalars;                                                     \
        run_binary(name##_of, arrays, sizes, start, stop);                 \
    }
#define RELATION(name, formula)                                             \
    VEC_INLINE vec_mask name##_of(vec_f32 x, vec_f32 y) { return formula; } \
    static void name(ARGUMENTS) {                                           \
        (void)scalars;                                                      \
        run_relation(name##_of, arrays, sizes, start, stop);                \
    }
#define SLOPE(name, formula)                                                          \
    VEC_INLINE vec_f32 name##_of(vec_f32 x, vec_f32 y, vec_f32 g) { return formula; } \
    static void name(ARGUMENTS) {                                                     \
        (void)scalars;                                                                \
        run_slope(name##_of, arrays, sizes, start, stop);                             \
    }

/* Half of the gradient to each of a tie; a nan operand is what the output is, so it gets the gradient. */
VEC_INLINE vec_f32 share(vec_mask wins, vec_mask ties, vec_f32 g) {
    return vec_select(wins, g, vec_select(ties, vec_mul(vec_set(0.5f), g), vec_zero()));
}

BINARY(add_forward, vec_add(x, y))
BINARY(sub_forward, vec_sub(x, y))
BINARY(mul_forward, vec_mul(x, y))
BINARY(div_forward, vec_div(x, y))
SLOPE(div_backward_y, vec_neg(vec_div(vec_mul(g, vec_div(x, y)), y)))
BINARY(maximum_forward, vec_max_nan(x, y))
BINARY(minimum_forward, vec_min_nan(x, y))
SLOPE(maximum_backward_x, share(vec_mask_or(vec_gt(x, y), vec_isnan(x)), vec_eq(x, y), g))
SLOPE(maximum_backward_y, share(vec_mask_or(vec_gt(y, x), vec_isnan(y)), vec_eq(x, y), g))
SLOPE(minimum_backward_x, share(vec_mask_or(vec_lt(x, y), vec_isnan(x)), vec_eq(x, y), g))
SLOPE(minimum_backward_y, share(vec_mask_or(vec_lt(y, x), vec_isnan(y)), vec_eq(x, y), g))
RELATION(eq_forward, vec_eq(x, y))
RELATION(ne_forward, vec_ne(x, y))
RELATION(lt_forward, vec_lt(x, y))
RELATION(le_forward, vec_le(x, y))
RELATION(gt_forward, vec_gt(x, y))
RELATION(ge_forward, vec_ge(x, y))
RELATION(logical_and_forward, vec_mask_and(vec_ne(x, vec_zero()), vec_ne(y, vec_zero())))
RELATION(logical_or_forward, vec_mask_or(vec_ne(x, vec_zero()), vec_ne(y, vec_zero())))
RELATION(logical_xor_forward, vec_mask_xor(vec_ne(x, vec_zero()), vec_ne(y, vec_zero())))

/* out = condition ? x : y; condition is bytes 0 or 1. */
static void where_forward(ARGUMENTS) {
    const uint8_t *condition = arrays[0];
    const float *x = arrays[1], *y = arrays[2];
    float *out = arrays[3];
    vec_f32 x0 = vec_set(*x), y0 = vec_set(*y);
    (void)scalars;
    if (!sizes[1]) {
        for (int64_t i = start; i < stop; i += VEC_LANES) {
            const float *from = *condition ? x : y;
            vec_f32 one = *condition ? x0 : y0;
            vec_store(out + i, sizes[*condition ? 2 : 3] ? vec_load(from + i, stop - i) : one, stop - i);
        }
        return;
    }
    for (int64_t i = start; i < stop; i += VEC_LANES) {
        int64_t n = stop - i;
        vec_f32 a = sizes[2] ? vec_load(x + i, n) : x0, b = sizes[3] ? vec_load(y + i, n) : y0;
        vec_store(out + i, vec_select(vec_load_bool(condition + i, n), a, b), n);
    }
}

#define ENTRY(name) {#name, name}
const kg_entry KG_TABLE(arithmetic)[] = {
    ENTRY(add_forward),         ENTRY(sub_forward),
    ENTRY(mul_forward),         ENTRY(div_forward),
    ENTRY(div_backward_y),      ENTRY(maximum_forward),
    ENTRY(minimum_forward),     ENTRY(maximum_backward_x),
    ENTRY(maximum_backward_y),  ENTRY(minimum_backward_x),
    ENTRY(minimum_backward_y),  ENTRY(eq_forward),
    ENTRY(ne_forward),          ENTRY(lt_forward),
    ENTRY(le_forward),          ENTRY(gt_forward),
    ENTRY(ge_forward),          ENTRY(where_forward),
    ENTRY(logical_and_forward), ENTRY(logical_or_forward),
    ENTRY(logical_xor_forward), {0},
};
