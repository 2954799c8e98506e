/* Loops of elementwise kernels: whole vectors, then one masked tail. The value is an expression of the vectors named
 * here.
 *
 * MAP1(name, setup, value)          out = value of x                                  arrays (x, out)
 * MAP2(name, setup, value)          out = value of x and g                            arrays (x, grad_out, grad_x)
 * BROADCAST2(name, setup, value)    out = value of a and b, steps 0 or 1              sizes (n, step_a, step_b)
 * BROADCAST3(name, setup, value)    out = value of a, b and c                         sizes (n, step_a, step_b, step_c)
 * `setup` declares what the value needs besides; SCALAR(k) is the kernel's k-th scalar in every lane. */
#ifndef KG_VEC_LOOPS_H
#define KG_VEC_LOOPS_H

#include "runtime/kernel.h"
#include "vec/vec.h"

#define KERNEL_ARGUMENTS void *const *arrays, const int64_t *sizes, const double *scalars, int64_t start, int64_t stop
#define SCALAR(k) vec_set((float)scalars[k])

#define MAP1(name, setup, value)                         \
    static void name(KERNEL_ARGUMENTS) {                 \
        const float *x_ = arrays[0];                     \
        float *out_ = arrays[1];                         \
        (void)sizes, (void)scalars;                      \
        setup;                                           \
        int64_t i = start;                               \
        for (; i <= stop - VEC_LANES; i += VEC_LANES) {  \
            vec_f32 x = vec_loadu(x_ + i);               \
            vec_storeu(out_ + i, value);                 \
        }                                                \
        if (i < stop) {                                  \
            vec_f32 x = vec_load_tail(x_ + i, stop - i); \
            vec_store_tail(out_ + i, value, stop - i);   \
        }                                                \
    }

#define MAP2(name, setup, value)                                                              \
    static void name(KERNEL_ARGUMENTS) {                                                      \
        const float *x_ = arrays[0], *g_ = arrays[1];                                         \
        float *out_ = arrays[2];                                                              \
        (void)sizes, (void)scalars;                                                           \
        setup;                                                                                \
        int64_t i = start;                                                                    \
        for (; i <= stop - VEC_LANES; i += VEC_LANES) {                                       \
            vec_f32 x = vec_loadu(x_ + i), g = vec_loadu(g_ + i);                             \
            vec_storeu(out_ + i, value);                                                      \
        }                                                                                     \
        if (i < stop) {                                                                       \
            vec_f32 x = vec_load_tail(x_ + i, stop - i), g = vec_load_tail(g_ + i, stop - i); \
            vec_store_tail(out_ + i, value, stop - i);                                        \
        }                                                                                     \
    }

/* `store` and `store_tail` take (out, value, n); `type` is the element of out. Steps are constants in each of the
 * loops. */
#define BROADCAST2_STORE(name, type, store, store_tail, setup, value)                                       \
    VEC_INLINE void name##_steps(int step_a, int step_b, const float *a_, const float *b_, type *out_,      \
                                 const double *scalars, int64_t i, int64_t stop) {                          \
        (void)scalars;                                                                                      \
        setup;                                                                                              \
        const vec_f32 a0 = step_a ? vec_zero() : vec_set(*a_), b0 = step_b ? vec_zero() : vec_set(*b_);     \
        for (; i <= stop - VEC_LANES; i += VEC_LANES) {                                                     \
            vec_f32 a = step_a ? vec_loadu(a_ + i) : a0, b = step_b ? vec_loadu(b_ + i) : b0;               \
            store(out_ + i, value);                                                                         \
        }                                                                                                   \
        if (i < stop) {                                                                                     \
            int64_t n = stop - i;                                                                           \
            vec_f32 a = step_a ? vec_load_tail(a_ + i, n) : a0, b = step_b ? vec_load_tail(b_ + i, n) : b0; \
            store_tail(out_ + i, value, n);                                                                 \
        }                                                                                                   \
    }                                                                                                       \
    static void name(KERNEL_ARGUMENTS) {                                                                    \
        const float *a = arrays[0], *b = arrays[1];                                                         \
        type *out = arrays[2];                                                                              \
        if (start >= stop) return;                                                                          \
        if (sizes[1] && sizes[2])                                                                           \
            name##_steps(1, 1, a, b, out, scalars, start, stop);                                            \
        else if (sizes[1])                                                                                  \
            name##_steps(1, 0, a, b, out, scalars, start, stop);                                            \
        else if (sizes[2])                                                                                  \
            name##_steps(0, 1, a, b, out, scalars, start, stop);                                            \
        else                                                                                                \
            name##_steps(0, 0, a, b, out, scalars, start, stop);                                            \
    }
#define BROADCAST2(name, setup, value) BROADCAST2_STORE(name, float, vec_storeu, vec_store_tail, setup, value)

/* An operand of step 0 is read again and again from one vector full of it. */
typedef struct {
    const float *p;
    int64_t step; /* per vector */
    float full[VEC_LANES];
} operand;
VEC_INLINE void operand_open(operand *o, const void *array, int64_t step, int64_t start) {
    const float *p = array;
    o->step = step ? VEC_LANES : 0;
    if (!step) vec_storeu(o->full, vec_set(*p));
    o->p = step ? p + start : o->full;
}
#define OPERAND(name, k, start) \
    operand name##_;            \
    operand_open(&name##_, arrays[k], sizes[1 + (k)], start)
VEC_INLINE vec_f32 operand_next(operand *o) {
    vec_f32 v = vec_loadu(o->p);
    o->p += o->step;
    return v;
}

/* Three whole operands are read at one index, which takes fewer additions. */
#define BROADCAST3(name, setup, value)                                                                  \
    static void name(KERNEL_ARGUMENTS) {                                                                \
        float *out_ = arrays[3];                                                                        \
        (void)scalars;                                                                                  \
        if (start >= stop) return;                                                                      \
        setup;                                                                                          \
        int64_t i = start;                                                                              \
        if (sizes[1] && sizes[2] && sizes[3]) {                                                         \
            const float *pa_ = arrays[0], *pb_ = arrays[1], *pc_ = arrays[2];                           \
            for (; i <= stop - VEC_LANES; i += VEC_LANES) {                                             \
                vec_f32 a = vec_loadu(pa_ + i), b = vec_loadu(pb_ + i), c = vec_loadu(pc_ + i);         \
                vec_storeu(out_ + i, value);                                                            \
            }                                                                                           \
        }                                                                                               \
        OPERAND(a, 0, i);                                                                               \
        OPERAND(b, 1, i);                                                                               \
        OPERAND(c, 2, i);                                                                               \
        for (; i <= stop - VEC_LANES; i += VEC_LANES) {                                                 \
            vec_f32 a = operand_next(&a_), b = operand_next(&b_), c = operand_next(&c_);                \
            vec_storeu(out_ + i, value);                                                                \
        }                                                                                               \
        if (i < stop) {                                                                                 \
            int64_t n = stop - i;                                                                       \
            vec_f32 a = vec_load_tail(a_.p, n), b = vec_load_tail(b_.p, n), c = vec_load_tail(c_.p, n); \
            vec_store_tail(out_ + i, value, n);                                                         \
        }                                                                                               \
    }

#endif
