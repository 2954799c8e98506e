/* What the gemm template calls its number type, for float64. Tails go through a buffer: this type is for checking and
 * small science, not for records. */
#include "vec/vec.h"

typedef double real;
typedef vec_f64 real_vec;
typedef vec_f64 real_vec_at __attribute__((aligned(8), may_alias));
#define REAL_LANES (VEC_LANES / 2)
#define real_set vec_f64_set
#define real_add vec_f64_add
#define real_fma vec_f64_fma
#define REAL_ACCUMULATE VEC_F64_ACCUMULATE

VEC_INLINE real_vec real_loadu(const double *p) { return *(const real_vec_at *)p; }
VEC_INLINE void real_storeu(double *p, real_vec v) { *(real_vec_at *)p = v; }
VEC_INLINE real_vec real_load_tail(const double *p, int64_t n) {
    double part[REAL_LANES] = {0};
    for (int64_t i = 0; i < n; i++) part[i] = p[i];
    return real_loadu(part);
}
VEC_INLINE real_vec real_load(const double *p, int64_t n) {
    return n >= REAL_LANES ? real_loadu(p) : real_load_tail(p, n);
}
VEC_INLINE void real_store(double *p, real_vec v, int64_t n) {
    double part[REAL_LANES];
    real_storeu(part, v);
    for (int64_t i = 0; i < n && i < REAL_LANES; i++) p[i] = part[i];
}
VEC_INLINE double real_fold(real_vec v) { /* lanes 4, 2, 1 apart */
    double lanes[REAL_LANES];
    real_storeu(lanes, v);
    for (int apart = REAL_LANES / 2; apart > 0; apart /= 2)
        for (int i = 0; i < apart; i++) lanes[i] += lanes[i + apart];
    return lanes[0];
}

#define REAL_BLOCK 4
static void real_transpose(const double *in, int64_t ld, int64_t rows, int64_t columns, double *out, int64_t to) {
    for (int64_t p = 0; p < columns && p < REAL_BLOCK; p++)
        for (int64_t r = 0; r < REAL_BLOCK; r++) out[p * to + r] = r < rows ? in[r * ld + p] : 0;
}

static double activation_of(double x, int activation) {
    switch (activation) {
    case GEMM_RELU:
        return x < 0 ? 0 : x;
    case GEMM_GELU_TANH:
        return 0.5 * x * (1 + tanh(0.79788456080286535588 * (x + 0.044715 * x * x * x)));
    case GEMM_GELU:
        return 0.5 * x * (1 + erf(x * 0.70710678118654752440));
    case GEMM_SILU:
        return x / (1 + exp(-x));
    case GEMM_TANH:
        return tanh(x);
    case GEMM_SIGMOID:
        return 1 / (1 + exp(-x));
    default:
        return x;
    }
}

static real_vec real_activation(real_vec x, int activation) {
    double part[REAL_LANES];
    real_storeu(part, x);
    for (int i = 0; i < REAL_LANES; i++) part[i] = activation_of(part[i], activation);
    return real_loadu(part);
}
