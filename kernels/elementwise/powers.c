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

/* a - b trunc(a / b), a - b floor(a / b), and the quotient that goes with the latter */
BROADCAST2(fmod_forward, NONE, vec_fmod(a, b))
BROADCAST2(remainder_forward, NONE, vec_remainder(a, b))
BROADCAST2(floor_divide_forward, NONE, vec_floor_divide(a, b))

#define ENTRY(name) {#name, name}
const kg_entry KG_TABLE(powers)[] = {ENTRY(pow_forward),          ENTRY(pow_backward_x),
                                     ENTRY(pow_backward_y),       ENTRY(atan2_forward),
                                     ENTRY(atan2_backward_x),     ENTRY(atan2_backward_y),
                                     ENTRY(fmod_forward),         ENTRY(remainder_forward),
                                     ENTRY(floor_divide_forward), {0}};
