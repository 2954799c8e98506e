/* Powers, angles and remainders of two operands, broadcast by steps, and the slopes of those whose gradient is a
 * kernel. */
#include "vec/loops.h"
#include "vec/vec_math.h"

#define NONE (void)0
#define ZERO vec_zero()

/* a^b; slopes b a^(b - 1), 0 for b = 0, and a^b log a, 0 at a = 0 for b >= 0 */
BROADCAST2(pow_forward, NONE, vec_pow(a, b))
BROADCAST3(pow_backward_x, NONE,
           vec_select(vec_eq(b, ZERO), ZERO, vec_mul(vec_mul(c, b), vec_pow(a, vec_sub(b, vec_set(1.0f))))))
BROADCAST3(pow_backward_y, NONE,
           vec_select(vec_mask_and(vec_eq(a, ZERO), vec_ge(b, ZERO)), ZERO,
                      vec_mul(c, vec_mul(vec_pow(a, b), vec_log(a)))))

/* The angle of the point (b, a); slopes b / (a^2 + b^2) and -a / (a^2 + b^2) */
BROADCAST2(atan2_forward, NONE, vec_atan2(a, b))
VEC_INLINE vec_f32 norm(vec_f32 a, vec_f32 b) { return vec_fma(a, a, vec_mul(b, b)); }
BROADCAST3(atan2_backward_x, NONE, vec_div(vec_mul(c, b), norm(a, b)))
BROADCAST3(atan2_backward_y, NONE, vec_div(vec_neg(vec_mul(c, a)), norm(a, b)))

/* Remainders are exact, so they come from the C library: a - b trunc(a / b), and the same moved to the sign of b. */
static float floor_mod(float a, float b) {
    float r = fmodf(a, b);
    return r != 0 && (r < 0) != (b < 0) ? r + b : r == 0 ? copysignf(0, b) : r;
}
/* As Python: the quotient that goes with floor_mod, to the nearest whole number. */
static float floor_divide(float a, float b) {
    if (b == 0) return a / b;
    float r = fmodf(a, b), q = (a - r) / b;
    if (r != 0 && (r < 0) != (b < 0)) q -= 1;
    if (q == 0) return copysignf(0, a / b);
    float whole = floorf(q);
    return q - whole > 0.5f ? whole + 1 : whole;
}
#define BY_LANE(name, function)                                          \
    VEC_INLINE vec_f32 name(vec_f32 a, vec_f32 b) {                      \
        float p[VEC_LANES], q[VEC_LANES];                                \
        vec_storeu(p, a);                                                \
        vec_storeu(q, b);                                                \
        for (int i = 0; i < VEC_LANES; i++) p[i] = function(p[i], q[i]); \
        return vec_loadu(p);                                             \
    }
BY_LANE(vec_fmod, fmodf)
BY_LANE(vec_remainder, floor_mod)
BY_LANE(vec_floor_divide, floor_divide)
BROADCAST2(fmod_forward, NONE, vec_fmod(a, b))
BROADCAST2(remainder_forward, NONE, vec_remainder(a, b))
BROADCAST2(floor_divide_forward, NONE, vec_floor_divide(a, b))

#define ENTRY(name) {#name, name}
const kg_entry KG_TABLE(powers)[] = {ENTRY(pow_forward),          ENTRY(pow_backward_x),
                                     ENTRY(pow_backward_y),       ENTRY(atan2_forward),
                                     ENTRY(atan2_backward_x),     ENTRY(atan2_backward_y),
                                     ENTRY(fmod_forward),         ENTRY(remainder_forward),
                                     ENTRY(floor_divide_forward), {0}};
