/* Philox4x32-10, 64 words at a time (Salmon et al. 2011, "Parallel random numbers: as easy as 1, 2, 3",
 * https://doi.org/10.1145/2063384.2063405).
 *
 * Which word belongs to which element is part of the library's promise (same numbers on every machine):
 *   key     = (seed & 0xffffffff, seed >> 32)
 *   counter = (c & 0xffffffff, c >> 32, op & 0xffffffff, op >> 32), c = 0, 1, 2, ...; op is the number of the random
 * call words are numbered in groups of 64: word 64 g + 16 w + j is output w (0..3) of counter c = 16 g + j (j = 0..15).
 * Sixteen counters side by side fill four vectors of 16 words, so the words are stored without a shuffle.
 * float32 and 32-bit integers take one word per element: element i takes word i. 64-bit values take two: value 32 g +
 * 16 h + j has output 2h of counter 16 g + j as its low half and output 2h + 1 as its high half. */
#ifndef KG_PHILOX_H
#define KG_PHILOX_H

#include <stdint.h>

#if defined KG_ISA_avx512 || defined KG_ISA_avx2
#include <immintrin.h>
#endif

enum { PHILOX_GROUP = 64 };
#define PHILOX_M0 0xD2511F53u
#define PHILOX_M1 0xCD9E8D57u
#define PHILOX_W0 0x9E3779B9u
#define PHILOX_W1 0xBB67AE85u

#if defined KG_ISA_avx512 || defined KG_ISA_avx2

/* Every 32-bit word sits in the low half of a 64-bit lane: the multiply reads only that half, so what a round leaves in
 * the upper half need not be cleared. */
#if defined KG_ISA_avx512
typedef __m512i philox_lanes;
#define PHILOX_SETS 2 /* counters 0, 2, .. 14 and 1, 3, .. 15 */
#define philox_mul(a, b) _mm512_mul_epu32(a, b)
#define philox_high(a) _mm512_srli_epi64(a, 32)
#define philox_xor3(a, b, c) _mm512_ternarylogic_epi64(a, b, c, 0x96)
#define philox_set(x) _mm512_set1_epi64((long long)(x))
#define philox_steps() _mm512_set_epi64(14, 12, 10, 8, 6, 4, 2, 0)
#define philox_add(a, b) _mm512_add_epi64(a, b)
#define philox_merge(even, odd) _mm512_mask_blend_epi32(0xAAAA, even, _mm512_slli_epi64(odd, 32))
#define philox_store(p, v) _mm512_storeu_si512(p, v)
#else
typedef __m256i philox_lanes;
#define PHILOX_SETS 4 /* counters 0, 2, 4, 6; 1, 3, 5, 7; and the same 8 on */
#define philox_mul(a, b) _mm256_mul_epu32(a, b)
#define philox_high(a) _mm256_srli_epi64(a, 32)
#define philox_xor3(a, b, c) _mm256_xor_si256(_mm256_xor_si256(a, b), c)
#define philox_set(x) _mm256_set1_epi64x((long long)(x))
#define philox_steps() _mm256_set_epi64x(6, 4, 2, 0)
#define philox_add(a, b) _mm256_add_epi64(a, b)
#define philox_merge(even, odd) _mm256_blend_epi32(even, _mm256_slli_epi64(odd, 32), 0xAA)
#define philox_store(p, v) _mm256_storeu_si256((__m256i *)(p), v)
#endif

static inline void philox_words(uint32_t *words, int64_t group, uint64_t seed, uint64_t op) {
    enum { SPAN = 64 / PHILOX_SETS * 2 / 4 }; /* counters per merged vector */
    const uint64_t first = (uint64_t)group * 16;
    const philox_lanes m0 = philox_set(PHILOX_M0), m1 = philox_set(PHILOX_M1);
    philox_lanes x0[PHILOX_SETS], x1[PHILOX_SETS], x2[PHILOX_SETS], x3[PHILOX_SETS];
#pragma GCC unroll 4
    for (int s = 0; s < PHILOX_SETS; s++) {
        x0[s] = philox_add(philox_set((first & 0xffffffffu) + (uint64_t)(s / 2 * SPAN + s % 2)), philox_steps());
        x1[s] = philox_set(first >> 32), x2[s] = philox_set(op & 0xffffffffu), x3[s] = philox_set(op >> 32);
    }
    uint32_t key0 = (uint32_t)seed, key1 = (uint32_t)(seed >> 32);
#pragma GCC unroll 10
    for (int round = 0; round < 10; round++) {
        const philox_lanes k0 = philox_set(key0), k1 = philox_set(key1);
#pragma GCC unroll 4
        for (int s = 0; s < PHILOX_SETS; s++) {
            philox_lanes p0 = philox_mul(m0, x0[s]), p1 = philox_mul(m1, x2[s]);
            x0[s] = philox_xor3(philox_high(p1), x1[s], k0);
            x1[s] = p1;
            x2[s] = philox_xor3(philox_high(p0), x3[s], k1);
            x3[s] = p0;
        }
        key0 += PHILOX_W0, key1 += PHILOX_W1;
    }
#pragma GCC unroll 4
    for (int s = 0; s < PHILOX_SETS; s += 2) {
        philox_store(words + s / 2 * SPAN, philox_merge(x0[s], x0[s + 1]));
        philox_store(words + 16 + s / 2 * SPAN, philox_merge(x1[s], x1[s + 1]));
        philox_store(words + 32 + s / 2 * SPAN, philox_merge(x2[s], x2[s + 1]));
        philox_store(words + 48 + s / 2 * SPAN, philox_merge(x3[s], x3[s + 1]));
    }
}

#else

static inline void philox_words(uint32_t *words, int64_t group, uint64_t seed, uint64_t op) {
    const uint64_t first = (uint64_t)group * 16;
    uint32_t x0[16], x1[16], x2[16], x3[16], key0 = (uint32_t)seed, key1 = (uint32_t)(seed >> 32);
    for (int j = 0; j < 16; j++) {
        x0[j] = (uint32_t)first + (uint32_t)j, x1[j] = (uint32_t)(first >> 32);
        x2[j] = (uint32_t)op, x3[j] = (uint32_t)(op >> 32);
    }
    for (int round = 0; round < 10; round++) {
        for (int j = 0; j < 16; j++) {
            uint64_t p0 = (uint64_t)PHILOX_M0 * x0[j], p1 = (uint64_t)PHILOX_M1 * x2[j];
            x0[j] = (uint32_t)(p1 >> 32) ^ x1[j] ^ key0;
            x1[j] = (uint32_t)p1;
            x2[j] = (uint32_t)(p0 >> 32) ^ x3[j] ^ key1;
            x3[j] = (uint32_t)p0;
        }
        key0 += PHILOX_W0, key1 += PHILOX_W1;
    }
    for (int j = 0; j < 16; j++) words[j] = x0[j], words[16 + j] = x1[j], words[32 + j] = x2[j], words[48 + j] = x3[j];
}

#endif
#endif
