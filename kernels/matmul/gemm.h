/* C = activation(alpha op(A) op(B) + beta C + bias), for a batch of matrices.
 *
 * Kernels `gemm` (float32) and `gemm:float64`, registered as whole. The order of their arguments, for all twins:
 *
 *   arrays   a, b, bias, packed_b, c
 *            bias: n values or NULL. packed_b: what gemm_pack_b made of b, or NULL; b may then be NULL. c: the output
 *   sizes    batch, m, n, k, a_row, a_col, b_row, b_col, c_row, a_batch, b_batch, c_batch, activation, has_bias
 *            A[i,p] of batch item t is a[t a_batch + i a_row + p a_col], B[p,j] is b[t b_batch + p b_row + j b_col],
 *            C[i,j] is c[t c_batch + i c_row + j], all in elements: swap two strides to transpose.
 *            packed_b stands for one B, common to the batch.
 *   scalars  alpha, beta; C is not read when beta is 0
 *
 * Kernel `gemm_pack_b`: arrays (b, out), sizes (panels, n, k, b_row, b_col), panels = ceil(n / 32); out has
 * panels * 32 * k elements. It writes panels of columns, out[..][k][PANEL], with zeros for those that are missing; how
 * wide they are is the instruction set's affair, so only the gemm of the same set can read them.
 *
 * Promises: an element of C is the same sequence of roundings whatever m, n (but for n = 1, see gemv.h), its place, the
 * strides, the batch, the number of threads, with or without packing; and the same on every instruction set that has
 * fma.
 */
#ifndef KG_GEMM_H
#define KG_GEMM_H

#include "runtime/kernel.h"

enum { GEMM_NONE, GEMM_RELU, GEMM_GELU_TANH, GEMM_GELU, GEMM_SILU, GEMM_TANH, GEMM_SIGMOID };

typedef struct { /* one product; real is float or double */
    int64_t m, n, k;
    const void *a, *b, *bias, *packed_b;
    void *c;
    int64_t a_row, a_col, b_row, b_col, c_row;
    double alpha, beta;
    int activation;
} gemm_args;

#endif
