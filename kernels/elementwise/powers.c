/* Powers, angles, remainders and weighted sums of two or three operands, broadcast by steps, and the slopes of those
 * whose gradient is a kernel. */
#include "vec/loops.h"
#include "vec/vec_math.h"

#define NONE (void)0
#define ZERO vec_zero()

/* a^b; slopes b a^(b - 1), 0 for b = 0, and a^b log a, 0 at a = 0 for b >= 0 */
BROADCAST2(any_power, NONE, vec_pow(a, b))
BROADCAST3(any_slope, NONE,
           vec_select(vec_eq(b, ZERO), ZERO, vec_mul(vec_mul(c, b), vec_pow(a, vec_sub(b, vec_set(1.0f))))))
BROADCAST3(pow_backward_y, NONE,
           vec_select(vec_mask_and(vec_eq(a, ZERO), vec_ge(b, ZERO)), ZERO,
                      vec_mul(c, vec_mul(vec_pow(a, b), vec_log(a)))))

/* One exponent for all elements is mostly one of these: three multiplications cost a hundredth of a power. */
VEC_INLINE vec_f32 inverse(vec_f32 a) { return vec_div(vec_set(1.0f), a); }
VEC_INLINE vec_f32 root(vec_f32 a) { /* of -0 and -infinity as C's pow has it */
    return vec_select(vec_eq(a, vec_set(-INFINITY)), vec_set(INFINITY), vec_sqrt(vec_add(a, ZERO)));
}
#define POWER(name, forward, slope)                       \
    BROADCAST2(power_##name, (void)0, ((void)b, forward)) \
    BROADCAST3(slope_##name, (void)0, ((void)b, vec_mul(c, slope)))
POWER(2, vec_mul(a, a), vec_add(a, a))
POWER(3, vec_mul(vec_mul(a, a), a), vec_mul(vec_set(3.0f), vec_mul(a, a)))
POWER(4, vec_mul(vec_mul(a, a), vec_mul(a, a)), vec_mul(vec_set(4.0f), vec_mul(vec_mul(a, a), a)))
POWER(half, root(a), vec_mul(vec_set(0.5f), inverse(root(a))))
POWER(minus_half, inverse(root(a)), vec_mul(vec_set(-0.5f), vec_mul(inverse(a), inverse(root(a)))))
POWER(minus_1, inverse(a), vec_neg(vec_mul(inverse(a), inverse(a))))
POWER(minus_2, vec_mul(inverse(a), inverse(a)),
      vec_mul(vec_set(-2.0f), vec_mul(inverse(a), vec_mul(inverse(a), inverse(a)))))

static const struct {
    float exponent;
    kg_kernel *power, *slope;
} special[] = {{2.0f, power_2, slope_2},
               {3.0f, power_3, slope_3},
               {4.0f, power_4, slope_4},
               {0.5f, power_half, slope_half},
               {-0.5f, power_minus_half, slope_minus_half},
               {-1.0f, power_minus_1, slope_minus_1},
               {-2.0f, power_minus_2, slope_minus_2}};
#define SPECIAL (int)(sizeof special / sizeof *special)

static void pow_forward(KERNEL_ARGUMENTS) {
    kg_kernel *run = any_power;
    for (int i = 0; i < SPECIAL && !sizes[2]; i++)
        if (*(const float *)arrays[1] == special[i].exponent) run = special[i].power;
    run(arrays, sizes, scalars, start, stop);
}
static void pow_backward_x(KERNEL_ARGUMENTS) {
    kg_kernel *run = any_slope;
    for (int i = 0; i < SPECIAL && !sizes[2]; i++)
        if (*(const float *)arrays[1] == special[i].exponent) run = special[i].slope;
    run(arrays, sizes, scalars, start, stop);
}

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
