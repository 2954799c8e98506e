/* Powers, angles, remainders and weighted sums of two or three operands, broadcast by steps, and the slopes of those
 * whose gradient is a kernel. */
#include "vec/loops.h"
#include "vec/vec_math.h"

#define NONE (void)0
#define ZERO vec_zero()

/* Exponents of which a few operations make the power: three multiplications cost a hundredth of one. `apply` is given a
 * name, the exponent, a^b and its slope. Each element has the formula of its exponent whatever stands beside it. */
VEC_INLINE vec_f32 inverse(vec_f32 a) { return vec_div(vec_set(1.0f), a); }
VEC_INLINE vec_f32 root(vec_f32 a) { /* of -0 and -infinity as C's pow has it */
    return vec_select(vec_eq(a, vec_set(-INFINITY)), vec_set(INFINITY), vec_sqrt(vec_add(a, ZERO)));
}
/* clang-format off */
#define SPECIAL(apply)                                                                                                 \
    apply(1, 1.0f, a, vec_set(1.0f))                                                                                   \
    apply(2, 2.0f, vec_mul(a, a), vec_add(a, a))                                                                       \
    apply(3, 3.0f, vec_mul(vec_mul(a, a), a), vec_mul(vec_set(3.0f), vec_mul(a, a)))                                   \
    apply(4, 4.0f, vec_mul(vec_mul(a, a), vec_mul(a, a)), vec_mul(vec_set(4.0f), vec_mul(vec_mul(a, a), a)))           \
    apply(half, 0.5f, root(a), vec_mul(vec_set(0.5f), inverse(root(a))))                                               \
    apply(minus_half, -0.5f, inverse(root(a)),                                                                         \
          vec_mul(vec_set(-0.5f), vec_mul(inverse(vec_abs(a)), inverse(root(a)))))                                     \
    apply(minus_1, -1.0f, inverse(a), vec_neg(vec_mul(inverse(a), inverse(a))))                                        \
    apply(minus_2, -2.0f, vec_mul(inverse(a), inverse(a)),                                                             \
          vec_mul(vec_set(-2.0f), vec_mul(inverse(a), vec_mul(inverse(a), inverse(a)))))
/* clang-format on */

/* Where one number is the exponent of all elements, */
#define POWER(name, exponent, power, slope)             \
    BROADCAST2(power_##name, (void)0, ((void)b, power)) \
    BROADCAST3(slope_##name, (void)0, ((void)a, (void)b, vec_mul(c, slope)))
SPECIAL(POWER)

/* and where lanes may have one of them, all of which are whole numbers of halves. */
#define OR_EQUAL(name, exponent, power, slope) m = vec_mask_or(m, vec_eq(b, vec_set(exponent)));
VEC_INLINE int any_special(vec_f32 b) {
    const vec_f32 halves = vec_add(b, b);
    vec_mask m = vec_ne(b, b);
    if (!vec_any(vec_eq(vec_trunc(halves), halves))) return 0;
    SPECIAL(OR_EQUAL)
    return vec_any(m);
}
#define POWER_IN_LANES(name, exponent, power, slope) y = vec_select(vec_eq(b, vec_set(exponent)), power, y);
#define SLOPE_IN_LANES(name, exponent, power, slope) y = vec_select(vec_eq(b, vec_set(exponent)), vec_mul(c, slope), y);

/* a^b; slopes b a^(b - 1), 0 for b = 0, and a^b log a, 0 at a = 0 for b >= 0 */
VEC_INLINE vec_f32 power_of(vec_f32 a, vec_f32 b) {
    vec_f32 y = vec_pow(a, b);
    if (any_special(b)) { SPECIAL(POWER_IN_LANES) }
    return y;
}
VEC_INLINE vec_f32 slope_of(vec_f32 a, vec_f32 b, vec_f32 c) {
    vec_f32 y = vec_mul(vec_mul(c, b), vec_pow(a, vec_sub(b, vec_set(1.0f))));
    y = vec_select(vec_eq(b, ZERO), ZERO, y);
    if (any_special(b)) { SPECIAL(SLOPE_IN_LANES) }
    return y;
}
BROADCAST2(any_power, NONE, power_of(a, b))
BROADCAST3(any_slope, NONE, slope_of(a, b, c))
BROADCAST3(pow_backward_y, NONE,
           vec_select(vec_mask_and(vec_eq(a, ZERO), vec_ge(b, ZERO)), ZERO,
                      vec_mul(c, vec_mul(vec_pow(a, b), vec_log(a)))))

typedef struct {
    float exponent;
    kg_kernel *power, *slope;
} loops;
#define LOOPS(name, exponent, power, slope) {exponent, power_##name, slope_##name},

static loops loops_for(void *const *arrays, const int64_t *sizes) {
    static const loops special[] = {SPECIAL(LOOPS)};
    for (size_t i = 0; i < sizeof special / sizeof *special && !sizes[2]; i++)
        if (*(const float *)arrays[1] == special[i].exponent) return special[i];
    return (loops){0, any_power, any_slope};
}
static void pow_forward(KERNEL_ARGUMENTS) { loops_for(arrays, sizes).power(arrays, sizes, scalars, start, stop); }
static void pow_backward_x(KERNEL_ARGUMENTS) { loops_for(arrays, sizes).slope(arrays, sizes, scalars, start, stop); }

/* a + c (b - a) with the weight c, from the nearer end, so that c = 1 gives b; a + s b c and a + s b / c */
VEC_INLINE vec_f32 between(vec_f32 a, vec_f32 b, vec_f32 c) {
    const vec_f32 way = vec_sub(b, a);
    return vec_select(vec_lt(vec_abs(c), vec_set(0.5f)), vec_fma(c, way, a),
                      vec_fma(vec_sub(c, vec_set(1.0f)), way, b));
}
BROADCAST3(lerp_forward, NONE, between(a, b, c))
BROADCAST3(addcmul_forward, const vec_f32 s = SCALAR(0), vec_fma(vec_mul(s, b), c, a))
BROADCAST3(addcdiv_forward, const vec_f32 s = SCALAR(0), vec_fma(s, vec_div(b, c), a))

/* The angle of the point (b, a); slopes b / (a^2 + b^2) and -a / (a^2 + b^2) */
BROADCAST2(atan2_forward, NONE, vec_atan2(a, b))
VEC_INLINE vec_f32 norm(vec_f32 a, vec_f32 b) { return vec_fma(a, a, vec_mul(b, b)); }
BROADCAST3(atan2_backward_x, NONE, vec_div(vec_mul(c, b), norm(a, b)))
BROADCAST3(atan2_backward_y, NONE, vec_div(vec_neg(vec_mul(c, a)), norm(a, b)))

/* a - b trunc(a / b), a - b floor(a / b), and the quotient that goes with the latter */
BROADCAST2(fmod_forward, NONE, vec_fmod(a, b))
BROADCAST2(remainder_forward, NONE, vec_remainder(a, b))
BROADCAST2(floor_divide_forward, NONE, vec_floor_divide(a, b))

#define ENTRY(name) {#name, name}
const kg_entry KG_TABLE(powers)[] = {ENTRY(pow_forward),
                                     ENTRY(pow_backward_x),
                                     ENTRY(pow_backward_y),
                                     ENTRY(atan2_forward),
                                     ENTRY(atan2_backward_x),
                                     ENTRY(atan2_backward_y),
                                     ENTRY(fmod_forward),
                                     ENTRY(remainder_forward),
                                     ENTRY(floor_divide_forward),
                                     ENTRY(lerp_forward),
                                     ENTRY(addcmul_forward),
                                     ENTRY(addcdiv_forward),
                                     {0}};
