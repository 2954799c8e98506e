/* Copies between dtypes, all pairs: cast_to_<dtype> is keyed by the dtype it reads. Floats to integers cut towards
 * zero, to bool ask for not zero, to bfloat16 round to nearest even. Plain loops; the compiler makes vectors of them.
 */
#include "runtime/kernel.h"
#include "vec/vec.h"

#define ARGUMENTS void *const *arrays, const int64_t *sizes, const double *scalars, int64_t start, int64_t stop

typedef uint16_t bf16;
VEC_INLINE float from_bf16(bf16 x) {
    uint32_t bits = (uint32_t)x << 16;
    float f;
    memcpy(&f, &bits, 4);
    return f;
}
VEC_INLINE bf16 to_bf16(float f) {
    uint32_t bits;
    memcpy(&bits, &f, 4);
    uint32_t rounded = bits + 0x7fff + ((bits >> 16) & 1);
    return (bf16)((f != f ? bits | 0x400000 : rounded) >> 16);
}

/* Through int32 to the small integers: what does not fit wraps, as in NumPy. */
#define AS_IS(x) (x)
#define WIDE(x) from_bf16(x)
#define TO_float32(x) (float)(x)
#define TO_float64(x) (double)(x)
#define TO_bfloat16(x) to_bf16((float)(x))
#define TO_int64(x) (int64_t)(x)
#define TO_int32(x) (int32_t)(x)
#define TO_int8(x) (int8_t)(int32_t)(x)
#define TO_uint8(x) (uint8_t)(int32_t)(x)
#define TO_bool(x) ((x) != 0)

#define CAST(name, from, read, target, to)                                      \
    static void name(ARGUMENTS) {                                               \
        const from *restrict x = arrays[0];                                     \
        target *restrict out = arrays[1];                                       \
        (void)sizes, (void)scalars;                                             \
        for (int64_t i = start; i < stop; i++) out[i] = (target)to(read(x[i])); \
    }
#define CASTS_TO(dtype, target, to)                     \
    CAST(float32_to_##dtype, float, AS_IS, target, to)  \
    CAST(float64_to_##dtype, double, AS_IS, target, to) \
    CAST(bfloat16_to_##dtype, bf16, WIDE, target, to)   \
    CAST(int64_to_##dtype, int64_t, AS_IS, target, to)  \
    CAST(int32_to_##dtype, int32_t, AS_IS, target, to)  \
    CAST(int8_to_##dtype, int8_t, AS_IS, target, to)    \
    CAST(uint8_to_##dtype, uint8_t, AS_IS, target, to)  \
    CAST(bool_to_##dtype, uint8_t, AS_IS, target, to)
CASTS_TO(float32, float, TO_float32)
CASTS_TO(float64, double, TO_float64)
CASTS_TO(bfloat16, bf16, TO_bfloat16)
CASTS_TO(int64, int64_t, TO_int64)
CASTS_TO(int32, int32_t, TO_int32)
CASTS_TO(int8, int8_t, TO_int8)
CASTS_TO(uint8, uint8_t, TO_uint8)
CASTS_TO(bool, uint8_t, TO_bool)

#define ENTRIES(dtype)                                                                                        \
    {"cast_to_" #dtype, float32_to_##dtype}, {"cast_to_" #dtype ":float64", float64_to_##dtype},              \
        {"cast_to_" #dtype ":bfloat16", bfloat16_to_##dtype}, {"cast_to_" #dtype ":int64", int64_to_##dtype}, \
        {"cast_to_" #dtype ":int32", int32_to_##dtype}, {"cast_to_" #dtype ":int8", int8_to_##dtype},         \
        {"cast_to_" #dtype ":uint8", uint8_to_##dtype}, {                                                     \
        "cast_to_" #dtype ":bool", bool_to_##dtype                                                            \
    }
const kg_entry KG_TABLE(casts)[] = {ENTRIES(float32), ENTRIES(float64), ENTRIES(bfloat16),
                                    ENTRIES(int64),   ENTRIES(int32),   ENTRIES(int8),
                                    ENTRIES(uint8),   ENTRIES(bool),    {0, 0}};
