/* Copies between memory layouts. copy_strided takes any strides to any strides: arrays (src, dst), sizes (number of
 * dimensions, shape..., strides of src in items..., strides of dst...).
 *
 * Dimensions are put in the order of dst's memory and merged where both sides allow. Then the innermost is a run of
 * both (rows), or src runs along another dimension: then those two are walked in square tiles, so that each cache line
 * is read and written once, 8x8 in registers for items of four bytes. */
#include "runtime/pool.h"
#include "vec/vec.h"

#define DIMS 8
#define TILE 64  /* items a side: runs of four cache lines either way, and both sides fit the first cache */
#define ROW 8192 /* items of a row that are one unit of work */

typedef struct {
    const char *src;
    char *dst;
    int nd;                                    /* outer dimensions */
    int64_t shape[DIMS], from[DIMS], to[DIMS]; /* their sizes; strides in bytes */
    int64_t n, sn, dn;                         /* innermost dimension: size, strides in items */
    int64_t m, sm, dm;                         /* with tiles, the dimension that src runs along; else m = 1 */
    int tiles;
    int64_t item, grain_n, grain_m; /* bytes of an item; a unit of work is grain_n by grain_m of n by m */
    int64_t blocks_n, blocks_m, units, chunks;
} plan;

/* One unit: n by m items. */
typedef void copier(const plan *p, const char *src, char *dst, int64_t n, int64_t m);

/* ---- Tiles ---- */

typedef float eight __attribute__((vector_size(32), aligned(4), may_alias));
#define SHUFFLE(a, b, ...) __builtin_shufflevector(a, b, __VA_ARGS__)

/* dst[i][j] = src[j][i] for 8 by 8 items of four bytes: pairs, quadruples, halves. */
VEC_INLINE void transpose8(const float *src, int64_t ss, float *dst, int64_t ds) {
    eight r[8], t[8];
    UNROLL
    for (int i = 0; i < 8; i++) r[i] = *(const eight *)(src + i * ss);
    UNROLL
    for (int i = 0; i < 8; i += 2) {
        t[i] = SHUFFLE(r[i], r[i + 1], 0, 8, 2, 10, 4, 12, 6, 14);
        t[i + 1] = SHUFFLE(r[i], r[i + 1], 1, 9, 3, 11, 5, 13, 7, 15);
    }
    UNROLL
    for (int i = 0; i < 8; i += 4) {
        UNROLL
        for (int k = 0; k < 2; k++) {
            r[i + k] = SHUFFLE(t[i + k], t[i + 2 + k], 0, 1, 8, 9, 4, 5, 12, 13);
            r[i + 2 + k] = SHUFFLE(t[i + k], t[i + 2 + k], 2, 3, 10, 11, 6, 7, 14, 15);
        }
    }
    UNROLL
    for (int i = 0; i < 4; i++) {
        *(eight *)(dst + i * ds) = SHUFFLE(r[i], r[i + 4], 0, 1, 2, 3, 8, 9, 10, 11);
        *(eight *)(dst + (i + 4) * ds) = SHUFFLE(r[i], r[i + 4], 4, 5, 6, 7, 12, 13, 14, 15);
    }
}

/* dst[i + j dm] = src[i sn + j] for whole blocks of 8 by 8 out of n by m. */
static void blocks8(const float *src, int64_t sn, float *dst, int64_t dm, int64_t n, int64_t m) {
    for (int64_t j = 0; j <= m - 8; j += 8)
        for (int64_t i = 0; i <= n - 8; i += 8) transpose8(src + i * sn + j, sn, dst + j * dm + i, dm);
}

#define COPIER(bits)                                                                                         \
    static void copy_##bits(const plan *p, const char *src, char *dst, int64_t n, int64_t m) {               \
        const uint##bits##_t *restrict s = (const void *)src;                                                \
        uint##bits##_t *restrict d = (void *)dst;                                                            \
        const int64_t sn = p->sn, dn = p->dn, sm = p->sm, dm = p->dm;                                        \
        if (!p->tiles) {                                                                                     \
            if (sn == 1 && dn == 1)                                                                          \
                for (int64_t i = 0; i < n; i++) d[i] = s[i];                                                 \
            else if (sn == -1 && dn == 1)                                                                    \
                for (int64_t i = 0; i < n; i++) d[i] = s[-i];                                                \
            else if (sn == 0 && dn == 1)                                                                     \
                for (int64_t i = 0; i < n; i++) d[i] = *s;                                                   \
            else                                                                                             \
                for (int64_t i = 0; i < n; i++) d[i * dn] = s[i * sn];                                       \
            return;                                                                                          \
        }                                                                                                    \
        if (sm == 1 && dn == 1 && dm == n && n <= 4) { /* planes of few channels to pixels */                \
            const uint##bits##_t *s1 = s + sn, *s2 = s + 2 * sn, *s3 = s + 3 * sn;                           \
            if (n == 2)                                                                                      \
                for (int64_t j = 0; j < m; j++) d[2 * j] = s[j], d[2 * j + 1] = s1[j];                       \
            if (n == 3)                                                                                      \
                for (int64_t j = 0; j < m; j++) d[3 * j] = s[j], d[3 * j + 1] = s1[j], d[3 * j + 2] = s2[j]; \
            if (n == 4)                                                                                      \
                for (int64_t j = 0; j < m; j++)                                                              \
                    d[4 * j] = s[j], d[4 * j + 1] = s1[j], d[4 * j + 2] = s2[j], d[4 * j + 3] = s3[j];       \
            if (n > 1) return;                                                                               \
        }                                                                                                    \
        int64_t done_n = 0, done_m = 0;                                                                      \
        if (bits == 32 && sm == 1 && dn == 1) {                                                              \
            blocks8((const void *)src, sn, (void *)dst, dm, n, m);                                           \
            done_n = n & ~7, done_m = m & ~7;                                                                \
        }                                                                                                    \
        for (int64_t j = 0; j < m; j++)                                                                      \
            for (int64_t i = j < done_m ? done_n : 0; i < n; i++) d[i * dn + j * dm] = s[i * sn + j * sm];   \
    }
COPIER(8)
COPIER(16)
COPIER(32)
COPIER(64)

/* ---- The plan, and its walk ---- */

typedef struct {
    const plan *p;
    copier *copy;
} job;

static void run_chunk(void *context, int64_t chunk) {
    const job *work = context;
    const plan *p = work->p;
    int64_t start = chunk * p->units / p->chunks, stop = (chunk + 1) * p->units / p->chunks;
    int64_t blocks = p->blocks_n * p->blocks_m, block = start % blocks, rest = start / blocks, at[DIMS];
    const char *src = p->src;
    char *dst = p->dst;
    for (int d = p->nd - 1; d >= 0; d--) {
        at[d] = rest % p->shape[d];
        rest /= p->shape[d];
        src += at[d] * p->from[d];
        dst += at[d] * p->to[d];
    }
    for (int64_t unit = start; unit < stop; unit++) {
        int64_t i = block % p->blocks_n * p->grain_n, n = p->n - i < p->grain_n ? p->n - i : p->grain_n;
        int64_t j = block / p->blocks_n * p->grain_m, m = p->m - j < p->grain_m ? p->m - j : p->grain_m;
        work->copy(p, src + (i * p->sn + j * p->sm) * p->item, dst + (i * p->dn + j * p->dm) * p->item, n, m);
        if (++block < blocks) continue;
        block = 0;
        for (int d = p->nd - 1; d >= 0; d--) {
            src += p->from[d];
            dst += p->to[d];
            if (++at[d] < p->shape[d]) break;
            src -= at[d] * p->from[d];
            dst -= at[d] * p->to[d];
            at[d] = 0;
        }
    }
}

/* Sizes above 1, largest stride of dst first, neighbours merged where both arrays step through them as through one. */
static int ordered(const int64_t *sizes, int64_t *shape, int64_t *from, int64_t *to) {
    int nd = (int)sizes[0], kept = 0;
    const int64_t *given = sizes + 1, *src = given + nd, *dst = src + nd;
    for (int d = 0; d < nd; d++) {
        if (given[d] == 1) continue;
        int at = kept++;
        for (; at > 0 && to[at - 1] < dst[d]; at--)
            shape[at] = shape[at - 1], from[at] = from[at - 1], to[at] = to[at - 1];
        shape[at] = given[d], from[at] = src[d], to[at] = dst[d];
    }
    int merged = kept > 0;
    for (int d = 1; d < kept; d++) {
        int last = merged - 1;
        if (from[last] == from[d] * shape[d] && to[last] == to[d] * shape[d]) {
            shape[last] *= shape[d], from[last] = from[d], to[last] = to[d];
            continue;
        }
        shape[merged] = shape[d], from[merged] = from[d], to[merged] = to[d];
        merged++;
    }
    return merged;
}

static void copy_strided(void *const *arrays, const int64_t *sizes, int64_t item, copier *copy) {
    plan p = {.src = arrays[0], .dst = arrays[1], .n = 1, .sn = 1, .dn = 1, .m = 1, .item = item};
    int64_t shape[DIMS], from[DIMS], to[DIMS], total = 1;
    for (int d = 0; d < sizes[0]; d++) total *= sizes[1 + d];
    if (!total) return;
    int nd = ordered(sizes, shape, from, to), run = -1;
    if (nd) {
        nd--;
        p.n = shape[nd], p.sn = from[nd], p.dn = to[nd];
        for (int d = 0; d < nd; d++)
            if (from[d] == 1 && shape[d] > 1 && p.sn != 0) run = d;
    }
    if (run >= 0) p.m = shape[run], p.sm = from[run], p.dm = to[run];
    for (int d = 0; d < nd; d++)
        if (d != run) p.shape[p.nd] = shape[d], p.from[p.nd] = from[d] * item, p.to[p.nd++] = to[d] * item;
    p.tiles = run >= 0;
    p.grain_n = p.tiles ? TILE : ROW;
    p.grain_m = p.n <= 4 ? ROW / 4 : TILE;
    p.blocks_n = (p.n + p.grain_n - 1) / p.grain_n;
    p.blocks_m = (p.m + p.grain_m - 1) / p.grain_m;
    p.units = total / (p.n * p.m) * p.blocks_n * p.blocks_m;
    p.chunks = total / 32768 + 1;
    if (p.chunks > 64) p.chunks = 64;
    if (p.chunks > p.units) p.chunks = p.units;
    job work = {&p, copy};
    kg_parallel(run_chunk, &work, p.chunks, (double)total * (double)item * 8e-5); /* 12 GB/s, read and written */
}

#define COPY(bits)                                                                                                   \
    static void copy_strided_##bits(void *const *arrays, const int64_t *sizes, const double *scalars, int64_t start, \
                                    int64_t stop) {                                                                  \
        (void)scalars, (void)start, (void)stop;                                                                      \
        copy_strided(arrays, sizes, bits / 8, copy_##bits);                                                          \
    }
COPY(8)
COPY(16)
COPY(32)
COPY(64)

const kg_entry KG_TABLE(copies)[] = {{"copy_strided", copy_strided_32},
                                     {"copy_strided:int32", copy_strided_32},
                                     {"copy_strided:float64", copy_strided_64},
                                     {"copy_strided:int64", copy_strided_64},
                                     {"copy_strided:bfloat16", copy_strided_16},
                                     {"copy_strided:int8", copy_strided_8},
                                     {"copy_strided:uint8", copy_strided_8},
                                     {"copy_strided:bool", copy_strided_8},
                                     {0, 0}};
