/* Random fills and dropout over Philox words. Work items are elements in memory order; start is a multiple of 64.
 * sizes: n, seed, op (the key, see philox.h), then the kernel's own; the numbers depend on nothing else. */
#include "random/philox.h"
#include "runtime/kernel.h"
#include "vec/vec.h"
#include "vec/vec_math.h"

#define KEY const uint64_t seed = (uint64_t)sizes[1], op = (uint64_t)sizes[2]
#define EACH_GROUP(size) for (int64_t base = start, left = stop - start; left > 0; base += (size), left -= (size))
#define EACH_VECTOR(count) \
    UNROLL                 \
    for (int j = 0; j < (count); j += VEC_LANES)

VEC_INLINE vec_i32 words_at(const uint32_t *words) { return vec_bits(vec_loadu((const float *)words)); }

/* ---- float32 fills ---- */

/* low + span u, u = (word >> 8) 2^-24 in [0, 1) */
static void uniform_fill(void *const *arrays, const int64_t *sizes, const double *scalars, int64_t start,
                         int64_t stop) {
    float *out = arrays[0];
    KEY;
    const vec_f32 low = vec_set((float)scalars[0]), span = vec_set((float)scalars[1]), unit = vec_set(0x1p-24f);
    _Alignas(64) uint32_t words[PHILOX_GROUP];
    EACH_GROUP(PHILOX_GROUP) {
        philox_words(words, base / PHILOX_GROUP, seed, op);
        EACH_VECTOR(PHILOX_GROUP) {
            vec_f32 u = vec_mul(vec_from_i32(vec_i32_shr(words_at(words + j), 8)), unit);
            vec_store(out + base + j, vec_fma(u, span, low), left - j);
        }
    }
}

/* log of (word >> 1) 2^-31 + 2^-32: never of 0, nor of 1 (a draw of exactly 0 would be a pole in -log(u) / x) */
VEC_INLINE vec_f32 log_of_word(vec_i32 word) {
    vec_f32 u = vec_fma(vec_from_i32(vec_i32_shr(word, 1)), vec_set(0x1p-31f), vec_set(0x1p-32f));
    return vec_log(vec_min(u, vec_set(1.0f - 0x1p-24f)));
}

/* sin and cos of 2 pi word / 2^32. The quarter turn comes off in integers, exactly; polynomials of Cephes sinf, cosf on
 * [-pi/4, pi/4], 1 ulp. */
VEC_INLINE void sincos_of_word(vec_i32 word, vec_f32 *sine, vec_f32 *cosine) {
    vec_i32 turned = vec_i32_add(word, vec_i32_set(0x20000000)), quarter = vec_i32_shr(turned, 30);
    vec_i32 rest = vec_i32_sub(vec_i32_and(turned, vec_i32_set(0x3fffffff)), vec_i32_set(0x20000000));
    vec_f32 x = vec_mul(vec_from_i32(rest), vec_set(1.5707963267948966f * 0x1p-30f)), x2 = vec_mul(x, x);
    vec_f32 s =
        vec_fma(vec_fma(vec_set(-1.9515295891e-4f), x2, vec_set(8.3321608736e-3f)), x2, vec_set(-1.6666654611e-1f));
    s = vec_fma(vec_mul(s, x2), x, x);
    vec_f32 c = vec_fma(vec_fma(vec_set(2.443315711809948e-5f), x2, vec_set(-1.388731625493765e-3f)), x2,
                        vec_set(4.166664568298827e-2f));
    c = vec_fma(vec_mul(c, x2), x2, vec_fma(vec_set(-0.5f), x2, vec_set(1.0f)));
    const vec_i32 one = vec_i32_set(1), two = vec_i32_set(2);
    vec_mask odd = vec_i32_eq(vec_i32_and(quarter, one), one);
    vec_i32 sine_sign = vec_i32_shl(vec_i32_and(quarter, two), 30);
    vec_i32 cosine_sign = vec_i32_shl(vec_i32_and(vec_i32_add(quarter, one), two), 30);
    *sine = vec_xor(vec_select(odd, c, s), vec_from_bits(sine_sign));
    *cosine = vec_xor(vec_select(odd, s, c), vec_from_bits(cosine_sign));
}

/* Box-Muller: r = sqrt(-2 log u), mean + std r cos(a) and mean + std r sin(a), 16 elements apart */
static void normal_fill(void *const *arrays, const int64_t *sizes, const double *scalars, int64_t start, int64_t stop) {
    float *out = arrays[0];
    KEY;
    const vec_f32 mean = vec_set((float)scalars[0]), std = vec_set((float)scalars[1]), minus_two = vec_set(-2.0f);
    _Alignas(64) uint32_t words[PHILOX_GROUP];
    EACH_GROUP(PHILOX_GROUP) {
        philox_words(words, base / PHILOX_GROUP, seed, op);
        for (int half = 0; half < PHILOX_GROUP; half += 32) EACH_VECTOR(16) {
                vec_f32 r = vec_sqrt(vec_mul(minus_two, log_of_word(words_at(words + half + j)))), sine, cosine;
                sincos_of_word(words_at(words + half + 16 + j), &sine, &cosine);
                float *to = out + base + half + j;
                vec_store(to, vec_fma(vec_mul(r, cosine), std, mean), left - half - j);
                vec_store(to + 16, vec_fma(vec_mul(r, sine), std, mean), left - half - j - 16);
            }
    }
}

/* -log(u) / rate */
static void exponential_fill(void *const *arrays, const int64_t *sizes, const double *scalars, int64_t start,
                             int64_t stop) {
    float *out = arrays[0];
    KEY;
    const vec_f32 scale = vec_set((float)(-1.0 / scalars[0]));
    _Alignas(64) uint32_t words[PHILOX_GROUP];
    EACH_GROUP(PHILOX_GROUP) {
        philox_words(words, base / PHILOX_GROUP, seed, op);
        EACH_VECTOR(PHILOX_GROUP)
        vec_store(out + base + j, vec_mul(log_of_word(words_at(words + j)), scale), left - j);
    }
}

/* ---- Events of probability p: word < p 2^32 ---- */

typedef struct {
    vec_i32 below; /* p 2^32 with its top bit turned, for a signed comparison */
    int always;    /* p 2^32 is 2^32, one more than a word can say */
} event;

VEC_INLINE event event_of(double p) {
    uint64_t threshold = (uint64_t)rint(p * 0x1p32);
    event e = {vec_i32_set((int32_t)((uint32_t)threshold ^ 0x80000000u)), threshold >> 32 != 0};
    return e;
}
VEC_INLINE vec_mask event_happens(event e, vec_i32 word) {
    return vec_i32_gt(e.below, vec_i32_xor(word, vec_i32_set(INT32_MIN)));
}

/* 1 with probability p, else 0 */
static void bernoulli_fill(void *const *arrays, const int64_t *sizes, const double *scalars, int64_t start,
                           int64_t stop) {
    float *out = arrays[0];
    KEY;
    const event happens = event_of(scalars[0]);
    const vec_f32 one = vec_set(1.0f), otherwise = vec_set(happens.always ? 1.0f : 0.0f);
    _Alignas(64) uint32_t words[PHILOX_GROUP];
    EACH_GROUP(PHILOX_GROUP) {
        philox_words(words, base / PHILOX_GROUP, seed, op);
        EACH_VECTOR(PHILOX_GROUP) {
            vec_mask m = event_happens(happens, words_at(words + j));
            vec_store(out + base + j, vec_select(m, one, otherwise), left - j);
        }
    }
}

/* x / (1 - p) with probability 1 - p, else x 0 (so that nan stays nan). Backward is this kernel on grad_out with the
 * same key: the mask is drawn again, not kept. */
static void dropout_forward(void *const *arrays, const int64_t *sizes, const double *scalars, int64_t start,
                            int64_t stop) {
    const float *x = arrays[0];
    float *out = arrays[1];
    KEY;
    const double p = scalars[0];
    const event drop = event_of(p);
    const vec_f32 zero = vec_zero(), scale = vec_set(drop.always ? 0.0f : (float)(1.0 / (1.0 - p)));
    _Alignas(64) uint32_t words[PHILOX_GROUP];
    EACH_GROUP(PHILOX_GROUP) {
        philox_words(words, base / PHILOX_GROUP, seed, op);
        EACH_VECTOR(PHILOX_GROUP) {
            vec_f32 factor = vec_select(event_happens(drop, words_at(words + j)), zero, scale);
            vec_store(out + base + j, vec_mul(vec_load(x + base + j, left - j), factor), left - j);
        }
    }
}

/* ---- Integers ---- */

static void random_bits_fill_int32(void *const *arrays, const int64_t *sizes, const double *scalars, int64_t start,
                                   int64_t stop) {
    int32_t *out = arrays[0];
    KEY;
    (void)scalars;
    _Alignas(64) uint32_t words[PHILOX_GROUP];
    EACH_GROUP(PHILOX_GROUP) {
        philox_words(words, base / PHILOX_GROUP, seed, op);
        memcpy(out + base, words, (size_t)(left < PHILOX_GROUP ? left : PHILOX_GROUP) * sizeof *out);
    }
}

/* 32 values of 64 bits: outputs 0, 1 of sixteen counters, then outputs 2, 3 */
VEC_INLINE void pair_words(uint64_t *pairs, int64_t group, uint64_t seed, uint64_t op) {
    _Alignas(64) uint32_t words[PHILOX_GROUP];
    philox_words(words, group, seed, op);
    for (int h = 0; h < 2; h++)
        for (int j = 0; j < 16; j++) pairs[16 * h + j] = words[32 * h + j] | (uint64_t)words[32 * h + 16 + j] << 32;
}

static void random_bits_fill_int64(void *const *arrays, const int64_t *sizes, const double *scalars, int64_t start,
                                   int64_t stop) {
    int64_t *out = arrays[0];
    KEY;
    (void)scalars;
    _Alignas(64) uint64_t pairs[32];
    EACH_GROUP(32) {
        pair_words(pairs, base / 32, seed, op);
        memcpy(out + base, pairs, (size_t)(left < 32 ? left : 32) * sizeof *out);
    }
}

/* low + floor(bits span / 2^64) for a span up to 2^32; above, low + bits mod span. span 0 stands for 2^64. */
static void randint_fill_int64(void *const *arrays, const int64_t *sizes, const double *scalars, int64_t start,
                               int64_t stop) {
    int64_t *out = arrays[0];
    KEY;
    const uint64_t low = (uint64_t)sizes[3], span = (uint64_t)sizes[4];
    const int narrow = span > 0 && span <= (uint64_t)1 << 32;
    (void)scalars;
    _Alignas(64) uint64_t pairs[32];
    EACH_GROUP(32) {
        pair_words(pairs, base / 32, seed, op);
        const int count = left < 32 ? (int)left : 32;
        if (narrow)
            for (int j = 0; j < count; j++) {
                uint64_t high = pairs[j] >> 32, rest = pairs[j] & 0xffffffffu;
                out[base + j] = (int64_t)(low + ((high * span + (rest * span >> 32)) >> 32));
            }
        else
            for (int j = 0; j < count; j++) out[base + j] = (int64_t)(low + (span ? pairs[j] % span : pairs[j]));
    }
}

const kg_entry KG_TABLE(random)[] = {
    {"uniform_fill", uniform_fill},
    {"normal_fill", normal_fill},
    {"exponential_fill", exponential_fill},
    {"bernoulli_fill", bernoulli_fill},
    {"dropout_forward", dropout_forward},
    {"random_bits_fill:int32", random_bits_fill_int32},
    {"random_bits_fill:int64", random_bits_fill_int64},
    {"randint_fill:int64", randint_fill_int64},
    {0},
};
