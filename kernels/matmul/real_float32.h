/* What the gemm template calls its number type, for float32: names from vec.h. */
#include "matmul/transpose.h"
#include "vec/vec.h"
#include "vec/vec_math.h"

typedef float real;
typedef vec_f32 real_vec;
#define REAL_LANES VEC_LANES
#define real_set vec_set
#define real_add vec_add
#define real_fma vec_fma
#define REAL_ACCUMULATE VEC_ACCUMULATE
#define real_loadu vec_loadu
#define real_storeu vec_storeu
#define real_load vec_load
#define real_store vec_store
#define real_load_tail vec_load_tail
#define REAL_BLOCK TRANSPOSE_BLOCK
#define real_transpose transpose_part

VEC_INLINE float real_fold(vec_f32 v) { /* lanes 8, 4, 2, 1 apart */
    if (VEC_LANES == 16) v = vec_add(v, vec_down(v, 8));
    if (VEC_LANES >= 8) v = vec_add(v, vec_down(v, 4));
    v = vec_add(v, vec_down(v, 2));
    return vec_lane0(vec_add(v, vec_down(v, 1)));
}

VEC_INLINE real_vec real_activation(real_vec x, int activation) {
    switch (activation) {
    case GEMM_RELU:
        return vec_max(vec_zero(), x); /* nan stays */
    case GEMM_GELU_TANH:
        return vec_gelu_tanh(x);
    case GEMM_GELU:
        return vec_gelu(x);
    case GEMM_SILU:
        return vec_silu(x);
    case GEMM_TANH:
        return vec_tanh(x);
    case GEMM_SIGMOID:
        return vec_sigmoid(x);
    default:
        return x;
    }
}
