/* The matrix product against float64, and bit for bit: every instruction set with fma that this processor has, 1 2 3 7
 * threads, packed or not, a row alone or in a batch. Link with the objects of kernels/matmul and kernels/runtime.
 * Exit status 0 when nothing is wrong. */
#include "matmul/gemm.h"
#include "runtime/cpu.h"
#include "runtime/pool.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

extern const kg_entry kg_gemm_generic[], kg_gemm_avx2[], kg_gemm_avx512[];
extern const kg_entry kg_gemm_float64_generic[], kg_gemm_float64_avx2[], kg_gemm_float64_avx512[];

enum { BATCH, M, N, K, A_ROW, A_COL, B_ROW, B_COL, C_ROW, A_BATCH, B_BATCH, C_BATCH, ACTIVATION, SIZES };

struct problem {
    void *arrays[5];
    int64_t sizes[SIZES];
    double scalars[2];
};

static const kg_entry *level[3]; /* [0] is the yardstick */
static int levels;

static void run(int l, const struct problem *p) { level[l][0].run(p->arrays, p->sizes, p->scalars, 0, p->sizes[0]); }

static float *noise(int64_t n, unsigned seed) {
    float *x = malloc((size_t)n * sizeof *x + 1);
    for (int64_t i = 0; i < n; i++) seed = seed * 1664525 + 1013904223, x[i] = (float)(int)seed / 2147483648.0f;
    return x;
}

static double worst;
static long differing, products;

static void compare(const float *c, const float *first, int64_t n) {
    differing += memcmp(c, first, (size_t)n * 4) != 0, products++;
}

static double expected(const struct problem *p, const float *a, const float *b, const float *bias, const float *c0,
                       int64_t i, int64_t j, double *size) {
    double sum = 0;
    for (int64_t q = 0; q < p->sizes[K]; q++) {
        double term =
            (double)a[i * p->sizes[A_ROW] + q * p->sizes[A_COL]] * b[q * p->sizes[B_ROW] + j * p->sizes[B_COL]];
        sum += term, *size += fabs(term);
    }
    double beta = p->scalars[1], v = p->scalars[0] * sum;
    v += (beta != 0 ? beta * c0[i * p->sizes[C_ROW] + j] : 0) + (bias ? bias[j] : 0);
    return p->sizes[ACTIVATION] == GEMM_RELU && v < 0 ? 0 : v;
}

static void check(int64_t m, int64_t n, int64_t k, int trans_a, int trans_b, int pad, int variant) {
    int64_t lda = (trans_a ? m : k) + pad, ldb = (trans_b ? k : n) + pad, ldc = n + (n == 1 ? 0 : pad), nc = m * ldc;
    int64_t panels = (n + 31) / 32;
    float *a = noise((trans_a ? k : m) * lda, 1), *b = noise((trans_b ? n : k) * ldb, 2), *c0 = noise(nc, 3);
    float *bias = noise(n, 4), *first = malloc((size_t)nc * 4 + 4), *c = malloc((size_t)nc * 4 + 4);
    float *packed = malloc((size_t)(panels * 32 * k) * 4 + 4), *again = malloc((size_t)(panels * 32 * k) * 4 + 4);
    struct problem p = {{a, b, NULL, NULL, first},
                        {1, m, n, k, trans_a ? 1 : lda, trans_a ? lda : 1, trans_b ? 1 : ldb, trans_b ? ldb : 1, ldc},
                        {1, variant == 1}};
    if (variant == 2) p.scalars[0] = 0.7f, p.scalars[1] = -0.3f, p.arrays[2] = bias;
    if (variant == 3) p.arrays[2] = bias, p.sizes[ACTIVATION] = GEMM_RELU;
    memcpy(first, c0, (size_t)nc * 4);
    kg_set_threads(1);
    run(0, &p);
    for (int64_t i = 0; i < m; i++)
        for (int64_t j = 0; j < ldc; j++) {
            double size = 0;
            if (j >= n) {
                if (first[i * ldc + j] != c0[i * ldc + j]) puts("padding overwritten"), exit(1);
                continue;
            }
            double want = expected(&p, a, b, p.arrays[2], c0, i, j, &size);
            double error = fabs(first[i * ldc + j] - want) / (size + 1) / 5.96e-8;
            if (!(error <= worst)) worst = error;
        }
    p.arrays[4] = c;
    const void *pack_arrays[] = {b, packed};
    const int64_t pack_sizes[] = {panels, n, k, p.sizes[B_ROW], p.sizes[B_COL]};
    level[0][1].run((void *const *)pack_arrays, pack_sizes, NULL, 0, panels);
    for (int l = 0; l < levels; l++) {
        pack_arrays[1] = again; /* one packed form for all */
        level[l][1].run((void *const *)pack_arrays, pack_sizes, NULL, 0, panels);
        compare(again, packed, panels * 32 * k);
        for (int threads = 1; threads <= 7; threads += threads < 3 ? 1 : 4)
            for (int with_packed = 0; with_packed < 2; with_packed++) {
                kg_set_threads(threads);
                memcpy(c, c0, (size_t)nc * 4);
                p.arrays[3] = with_packed ? packed : NULL;
                run(l, &p);
                compare(c, first, nc);
            }
        for (int turn = 0; turn < 12; turn++) { /* rows alone, in threes; without and with the packed form */
            int64_t rows = turn < 6 || m < 3 ? 1 : 3, i = (int64_t)((double)(m - rows) * (turn % 6 / 5.0));
            struct problem alone = p;
            memcpy(c, c0, (size_t)nc * 4);
            alone.sizes[M] = rows, alone.arrays[0] = a + i * p.sizes[A_ROW], alone.arrays[4] = c + i * ldc;
            alone.arrays[3] = turn % 2 ? packed : NULL;
            run(l, &alone);
            compare(c + i * ldc, first + i * ldc, (rows - 1) * ldc + n);
        }
    }
    /* a batch of the same product three times */
    struct problem batch = p;
    float *c3 = malloc((size_t)nc * 12 + 4);
    for (int t = 0; t < 3; t++) memcpy(c3 + t * nc, c0, (size_t)nc * 4);
    batch.sizes[BATCH] = 3, batch.sizes[C_BATCH] = nc, batch.arrays[4] = c3, batch.arrays[3] = NULL;
    run(levels - 1, &batch);
    for (int t = 0; t < 3; t++) compare(c3 + t * nc, first, nc);
    free(a), free(b), free(c0), free(bias), free(first), free(c), free(packed), free(again), free(c3);
}

static void check_float64(const kg_entry *entry, int64_t m, int64_t n, int64_t k, int trans_b) {
    double *a = malloc((size_t)(m * k + 1) * 8), *b = malloc((size_t)(k * n + 1) * 8), *c = malloc((size_t)(m * n) * 8);
    for (int64_t i = 0; i < m * k; i++) a[i] = sin((double)i);
    for (int64_t i = 0; i < k * n; i++) b[i] = cos((double)i * 1.7);
    struct problem p = {{a, b, NULL, NULL, c}, {1, m, n, k, k, 1, trans_b ? 1 : n, trans_b ? k : 1, n}, {1, 0}};
    entry[0].run(p.arrays, p.sizes, p.scalars, 0, 1);
    for (int64_t i = 0; i < m; i++)
        for (int64_t j = 0; j < n; j++) {
            double sum = 0;
            for (int64_t q = 0; q < k; q++) sum += a[i * k + q] * b[q * p.sizes[B_ROW] + j * p.sizes[B_COL]];
            if (!(fabs(sum - c[i * n + j]) <= 1e-13 * (double)(k + 1))) {
                printf("float64 %ld x %ld x %ld: %g, not %g\n", (long)m, (long)k, (long)n, c[i * n + j], sum);
                exit(1);
            }
        }
    free(a), free(b), free(c);
}

int main(int argc, char **argv) {
    static const int64_t shapes[][3] = {
        {1, 1, 1},       {1, 33, 7},      {2, 128, 40},     {3, 300, 385},   {5, 31, 0},     {7, 64, 64},
        {64, 64, 64},    {13, 17, 19},    {14, 32, 384},    {15, 47, 400},   {37, 150, 300}, {32, 128, 784},
        {64, 256, 1024}, {64, 1024, 256}, {129, 1023, 129}, {28, 544, 2048}, {40, 1, 70},    {33, 10, 64},
        {1, 1000, 900},  {2, 2048, 200},  {300, 520, 800},  {512, 512, 512}};
    static const kg_entry *const all[] = {kg_gemm_generic, kg_gemm_avx2, kg_gemm_avx512};
    static const kg_entry *const all64[] = {kg_gemm_float64_generic, kg_gemm_float64_avx2, kg_gemm_float64_avx512};
    static const char *const names[] = {"generic", "avx2", "avx512"};
    (void)argv;
    for (int generic = 1; generic >= 0; generic--) { /* generic has no fma: it agrees with itself only */
        levels = 0;
        for (int l = 2; l >= 0; l--)
            if ((l == 0) == generic && kg_cpu_has(names[l])) level[levels++] = all[l];
        if (!levels) continue;
        worst = 0, products = differing = 0;
        for (unsigned s = 0; s < sizeof shapes / sizeof *shapes - (argc > 1 || generic ? 2 : 0); s++)
            for (int t = 0; t < 16; t++)
                check(shapes[s][0], shapes[s][1], shapes[s][2], t & 1, t >> 1 & 1, t & 4 ? 3 : 0, (t >> 2) ^ (t & 3));
        printf("%s: %ld products, %ld differ in a bit; worst error %.1f units of 2^-24 (sum |a b| + 1)\n",
               generic ? "generic" : "with fma", products, differing, worst);
        if (differing || !(worst < 30)) return 1;
    }
    for (int l = 0; l < 3; l++)
        for (unsigned s = 0; kg_cpu_has(names[l]) && s < 18; s++)
            for (int t = 0; t < 2; t++) check_float64(all64[l], shapes[s][0], shapes[s][1], shapes[s][2], t);
    puts("ok");
    return 0;
}
