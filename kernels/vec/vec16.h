/* 16 virtual lanes: one avx512, two avx2, four neon or generic vectors. A sum that keeps 16 lanes apart and folds them
 * 16 -> 8 -> 4 -> 2 -> 1 (lane i with lane i + half) has the same bits on all of them. Every reduction to a scalar goes
 * through here. */
#ifndef KG_VEC16_H
#define KG_VEC16_H

#define VEC16_PARTS (16 / VEC_LANES)
typedef struct {
    vec_f32 v[VEC16_PARTS];
} vec16;

#define VEC16_EACH \
    UNROLL         \
    for (int j = 0; j < VEC16_PARTS; j++)

VEC_INLINE vec16 vec16_set(float x) {
    vec16 r;
    VEC16_EACH r.v[j] = vec_set(x);
    return r;
}
VEC_INLINE vec16 vec16_zero(void) { return vec16_set(0.0f); }
VEC_INLINE vec16 vec16_loadu(const float *p) {
    vec16 r;
    VEC16_EACH r.v[j] = vec_loadu(p + j * VEC_LANES);
    return r;
}
/* Lanes from n on hold `fill`: 0 for a sum, -INFINITY for a maximum. */
VEC_INLINE vec16 vec16_load(const float *p, int64_t n, float fill) {
    if (n >= 16) return vec16_loadu(p);
    vec16 r;
    VEC16_EACH r.v[j] =
        vec_select(vec_first(n - j * VEC_LANES), vec_load(p + j * VEC_LANES, n - j * VEC_LANES), vec_set(fill));
    return r;
}
VEC_INLINE void vec16_storeu(float *p, vec16 a) { VEC16_EACH vec_storeu(p + j * VEC_LANES, a.v[j]); }
VEC_INLINE void vec16_store(float *p, vec16 a, int64_t n) {
    if (n >= 16)
        vec16_storeu(p, a);
    else
        VEC16_EACH vec_store(p + j * VEC_LANES, a.v[j], n - j * VEC_LANES);
}

/* vec16_name for a function of one, two or three vectors; kernels may add their own. */
#define VEC16_MAP1(name, function)            \
    VEC_INLINE vec16 name(vec16 a) {          \
        vec16 r;                              \
        VEC16_EACH r.v[j] = function(a.v[j]); \
        return r;                             \
    }
#define VEC16_MAP2(name, function)                    \
    VEC_INLINE vec16 name(vec16 a, vec16 b) {         \
        vec16 r;                                      \
        VEC16_EACH r.v[j] = function(a.v[j], b.v[j]); \
        return r;                                     \
    }
#define VEC16_MAP3(name, function)                            \
    VEC_INLINE vec16 name(vec16 a, vec16 b, vec16 c) {        \
        vec16 r;                                              \
        VEC16_EACH r.v[j] = function(a.v[j], b.v[j], c.v[j]); \
        return r;                                             \
    }
VEC16_MAP2(vec16_add, vec_add)
VEC16_MAP2(vec16_sub, vec_sub)
VEC16_MAP2(vec16_mul, vec_mul)
VEC16_MAP2(vec16_div, vec_div)
VEC16_MAP3(vec16_fma, vec_fma)   /* a b + c */
VEC16_MAP3(vec16_fnma, vec_fnma) /* c - a b */
VEC16_MAP2(vec16_max, vec_max)
VEC16_MAP2(vec16_min, vec_min)
VEC16_MAP2(vec16_max_nan, vec_max_nan)
VEC16_MAP2(vec16_min_nan, vec_min_nan)
VEC16_MAP1(vec16_abs, vec_abs)
VEC16_MAP1(vec16_neg, vec_neg)
VEC16_MAP1(vec16_sqrt, vec_sqrt)

/* Fold 16 lanes to one with `op`. vec_down(v, k) has lane i + k in lane i; what the upper lanes hold is of no account.
 */
#define VEC16_FOLD(name, op)                                                     \
    VEC_INLINE float name(vec16 a) {                                             \
        UNROLL                                                                   \
        for (int parts = VEC16_PARTS / 2; parts > 0; parts /= 2) {               \
            UNROLL                                                               \
            for (int j = 0; j < parts; j++) a.v[j] = op(a.v[j], a.v[j + parts]); \
        }                                                                        \
        vec_f32 v = a.v[0];                                                      \
        if (VEC_LANES == 16) v = op(v, vec_down(v, 8));                          \
        if (VEC_LANES >= 8) v = op(v, vec_down(v, 4));                           \
        v = op(v, vec_down(v, 2));                                               \
        v = op(v, vec_down(v, 1));                                               \
        return vec_lane0(v);                                                     \
    }
VEC16_FOLD(vec16_sum, vec_add)
VEC16_FOLD(vec16_hmax, vec_max) /* nan as in vec_max: for where nan cannot be, or does not matter */
VEC16_FOLD(vec16_hmin, vec_min)
VEC16_FOLD(vec16_hmax_nan, vec_max_nan)
VEC16_FOLD(vec16_hmin_nan, vec_min_nan)

#endif
