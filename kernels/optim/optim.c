/* One step of each optimizer for one tensor: read parameter, gradient and state once, write parameter and state once.
 * core/stepper.pyx calls these over all parameters of a group in a single parallel loop.
 *
 * Everywhere: scalars[0] = gradient scale (clip factor, loss scale, -1 to maximize), scalars[1] = weight decay added to
 * the gradient, scalars[2] = factor on the parameter (decoupled weight decay: 1 - lr weight_decay). The bias
 * corrections arrive folded into the other scalars, which the caller computes in double. Formulas and their order are
 * PyTorch's. */
#include "runtime/kernel.h"
#include "vec/vec.h"

#define EACH for (int64_t i = start, left = stop - start; left > 0; i += VEC_LANES, left -= VEC_LANES)
#define LOAD(p) vec_load((p) + i, left)
#define STORE(p, v) vec_store((p) + i, v, left)
#define SCALAR(k) vec_set((float)scalars[k])

/* scale grad + weight_decay param */
#define GRADIENT(p) vec_fma(weight_decay, p, vec_mul(scale, LOAD(grad)))
#define GRADIENT_SCALARS const vec_f32 scale = SCALAR(0), weight_decay = SCALAR(1), shrink = SCALAR(2)

/* buffer = keep buffer + gain g; param = param - lr d, with d = g, buffer, or (nesterov) g + momentum buffer.
 * scalars[3..]: lr, keep, gain, momentum. The first step has keep 0 and gain 1: the buffer starts as g. */
VEC_INLINE void sgd(void *const *arrays, const double *scalars, int64_t start, int64_t stop, const int momentum,
                    const int nesterov) {
    float *param = arrays[0], *buffer = arrays[2];
    const float *grad = arrays[1];
    GRADIENT_SCALARS;
    const vec_f32 lr = SCALAR(3), keep = SCALAR(4), gain = SCALAR(5), mu = SCALAR(6);
    EACH {
        vec_f32 p = LOAD(param), g = GRADIENT(p);
        if (momentum) {
            vec_f32 b = vec_fma(keep, LOAD(buffer), vec_mul(gain, g));
            STORE(buffer, b);
            g = nesterov ? vec_fma(mu, b, g) : b;
        }
        STORE(param, vec_fnma(lr, g, vec_mul(shrink, p)));
    }
}
static void sgd_step(void *const *arrays, const int64_t *sizes, const double *scalars, int64_t start, int64_t stop) {
    if (!sizes[1])
        sgd(arrays, scalars, start, stop, 0, 0);
    else if (!sizes[2])
        sgd(arrays, scalars, start, stop, 1, 0);
    else
        sgd(arrays, scalars, start, stop, 1, 1);
}

/* m = m + (1 - beta1)(g - m); v = beta2 v + (1 - beta2) g^2; param = param - size m / (sqrt(v) correction + eps);
 * amsgrad takes the largest v so far. scalars[3..]: 1 - beta1, beta2, 1 - beta2, size = lr / (1 - beta1^t), correction
 * = 1 / sqrt(1 - beta2^t), eps. Kingma & Ba 2015, arXiv 1412.6980; decoupled decay 1711.05101; amsgrad 1904.09237. */
VEC_INLINE void adam(void *const *arrays, const double *scalars, int64_t start, int64_t stop, const int amsgrad) {
    float *param = arrays[0], *exp_avg = arrays[2], *exp_avg_sq = arrays[3], *max_exp_avg_sq = arrays[4];
    const float *grad = arrays[1];
    GRADIENT_SCALARS;
    const vec_f32 weight1 = SCALAR(3), beta2 = SCALAR(4), weight2 = SCALAR(5), size = SCALAR(6), correction = SCALAR(7),
                  eps = SCALAR(8);
    EACH {
        vec_f32 p = LOAD(param), g = GRADIENT(p), m = LOAD(exp_avg);
        m = vec_fma(weight1, vec_sub(g, m), m);
        vec_f32 v = vec_fma(beta2, LOAD(exp_avg_sq), vec_mul(weight2, vec_mul(g, g)));
        STORE(exp_avg, m);
        STORE(exp_avg_sq, v);
        if (amsgrad) {
            v = vec_max_nan(LOAD(max_exp_avg_sq), v);
            STORE(max_exp_avg_sq, v);
        }
        vec_f32 step = vec_div(m, vec_fma(vec_sqrt(v), correction, eps));
        STORE(param, vec_fnma(size, step, vec_mul(shrink, p)));
    }
}
static void adam_step(void *const *arrays, const int64_t *sizes, const double *scalars, int64_t start, int64_t stop) {
    if (sizes[1])
        adam(arrays, scalars, start, stop, 1);
    else
        adam(arrays, scalars, start, stop, 0);
}

/* Adam with Nesterov momentum: param = param - (size_g g + size_m m) / (sqrt(v) correction + eps). scalars[3..]: 1 -
 * beta1, beta2, 1 - beta2, size_g = lr (1 - mu_t) / (1 - prod mu), size_m = lr mu_(t+1) / (1 - prod mu mu_(t+1)),
 * correction, eps. Dozat 2016, https://openreview.net/forum?id=OM0jvwB8jIp57ZJjtNEZ */
static void nadam_step(void *const *arrays, const int64_t *sizes, const double *scalars, int64_t start, int64_t stop) {
    float *param = arrays[0], *exp_avg = arrays[2], *exp_avg_sq = arrays[3];
    const float *grad = arrays[1];
    (void)sizes;
    GRADIENT_SCALARS;
    const vec_f32 weight1 = SCALAR(3), beta2 = SCALAR(4), weight2 = SCALAR(5), size_g = SCALAR(6), size_m = SCALAR(7),
                  correction = SCALAR(8), eps = SCALAR(9);
    EACH {
        vec_f32 p = vec_mul(shrink, LOAD(param)), g = GRADIENT(p), m = LOAD(exp_avg);
        m = vec_fma(weight1, vec_sub(g, m), m);
        vec_f32 v = vec_fma(beta2, LOAD(exp_avg_sq), vec_mul(weight2, vec_mul(g, g)));
        STORE(exp_avg, m);
        STORE(exp_avg_sq, v);
        vec_f32 step = vec_fma(size_g, g, vec_mul(size_m, m));
        STORE(param, vec_sub(p, vec_div(step, vec_fma(vec_sqrt(v), correction, eps))));
    }
}

/* Adam while the variance of its step is known well enough, else momentum alone: param = param - size m / (sqrt(v) +
 * eps), or param - size m. scalars[3..]: 1 - beta1, beta2, 1 - beta2, size = lr / (1 - beta1^t), times rect sqrt(1 -
 * beta2^t) in the first form, eps. Liu et al. 2020, arXiv 1908.03265 */
VEC_INLINE void radam(void *const *arrays, const double *scalars, int64_t start, int64_t stop, const int rectified) {
    float *param = arrays[0], *exp_avg = arrays[2], *exp_avg_sq = arrays[3];
    const float *grad = arrays[1];
    GRADIENT_SCALARS;
    const vec_f32 weight1 = SCALAR(3), beta2 = SCALAR(4), weight2 = SCALAR(5), size = SCALAR(6), eps = SCALAR(7);
    EACH {
        vec_f32 p = LOAD(param), g = GRADIENT(p), m = LOAD(exp_avg);
        m = vec_fma(weight1, vec_sub(g, m), m);
        vec_f32 v = vec_fma(beta2, LOAD(exp_avg_sq), vec_mul(weight2, vec_mul(g, g)));
        STORE(exp_avg, m);
        STORE(exp_avg_sq, v);
        vec_f32 step = rectified ? vec_div(m, vec_add(vec_sqrt(v), eps)) : m;
        STORE(param, vec_fnma(size, step, vec_mul(shrink, p)));
    }
}
static void radam_step(void *const *arrays, const int64_t *sizes, const double *scalars, int64_t start, int64_t stop) {
    if (sizes[1])
        radam(arrays, scalars, start, stop, 1);
    else
        radam(arrays, scalars, start, stop, 0);
}

/* m as in Adam; u = max(beta2 u, |g| + eps); param = param - size m / u. scalars[3..]: 1 - beta1, beta2, size, eps */
static void adamax_step(void *const *arrays, const int64_t *sizes, const double *scalars, int64_t start, int64_t stop) {
    float *param = arrays[0], *exp_avg = arrays[2], *exp_inf = arrays[3];
    const float *grad = arrays[1];
    (void)sizes;
    GRADIENT_SCALARS;
    const vec_f32 weight1 = SCALAR(3), beta2 = SCALAR(4), size = SCALAR(5), eps = SCALAR(6);
    EACH {
        vec_f32 p = LOAD(param), g = GRADIENT(p), m = LOAD(exp_avg);
        m = vec_fma(weight1, vec_sub(g, m), m);
        vec_f32 u = vec_max_nan(vec_mul(beta2, LOAD(exp_inf)), vec_add(vec_abs(g), eps));
        STORE(exp_avg, m);
        STORE(exp_inf, u);
        STORE(param, vec_fnma(size, vec_div(m, u), vec_mul(shrink, p)));
    }
}

/* v = alpha v + (1 - alpha) g^2; centered: a = a + (1 - alpha)(g - a), v - a^2 in place of v; s = g / (sqrt(v) + eps);
 * param = param - lr s, or with momentum b = momentum b + s, param = param - lr b.
 * scalars[3..]: alpha, 1 - alpha, lr, eps, momentum. Hinton's lecture notes; centred form arXiv 1308.0850. */
VEC_INLINE void rmsprop(void *const *arrays, const double *scalars, int64_t start, int64_t stop, const int centered,
                        const int momentum) {
    float *param = arrays[0], *square_avg = arrays[2], *grad_avg = arrays[3], *buffer = arrays[4];
    const float *grad = arrays[1];
    GRADIENT_SCALARS;
    const vec_f32 alpha = SCALAR(3), weight = SCALAR(4), lr = SCALAR(5), eps = SCALAR(6), mu = SCALAR(7);
    EACH {
        vec_f32 p = LOAD(param), g = GRADIENT(p);
        vec_f32 v = vec_fma(alpha, LOAD(square_avg), vec_mul(weight, vec_mul(g, g)));
        STORE(square_avg, v);
        if (centered) {
            vec_f32 a = LOAD(grad_avg);
            a = vec_fma(weight, vec_sub(g, a), a);
            STORE(grad_avg, a);
            v = vec_fnma(a, a, v);
        }
        vec_f32 s = vec_div(g, vec_add(vec_sqrt(v), eps));
        if (momentum) {
            s = vec_fma(mu, LOAD(buffer), s);
            STORE(buffer, s);
        }
        STORE(param, vec_fnma(lr, s, vec_mul(shrink, p)));
    }
}
static void rmsprop_step(void *const *arrays, const int64_t *sizes, const double *scalars, int64_t start,
                         int64_t stop) {
    if (sizes[1])
        if (sizes[2])
            rmsprop(arrays, scalars, start, stop, 1, 1);
        else
            rmsprop(arrays, scalars, start, stop, 1, 0);
    else if (sizes[2])
        rmsprop(arrays, scalars, start, stop, 0, 1);
    else
        rmsprop(arrays, scalars, start, stop, 0, 0);
}

/* s = s + g^2; param = param - lr_t g / (sqrt(s) + eps). scalars[3..]: lr_t = lr / (1 + (t - 1) lr_decay), eps.
 * Duchi, Hazan & Singer 2011, https://jmlr.org/papers/v12/duchi11a.html */
static void adagrad_step(void *const *arrays, const int64_t *sizes, const double *scalars, int64_t start,
                         int64_t stop) {
    float *param = arrays[0], *sum = arrays[2];
    const float *grad = arrays[1];
    (void)sizes;
    GRADIENT_SCALARS;
    const vec_f32 lr = SCALAR(3), eps = SCALAR(4);
    EACH {
        vec_f32 p = LOAD(param), g = GRADIENT(p), s = vec_fma(g, g, LOAD(sum));
        STORE(sum, s);
        STORE(param, vec_fnma(lr, vec_div(g, vec_add(vec_sqrt(s), eps)), vec_mul(shrink, p)));
    }
}

/* v = rho v + (1 - rho) g^2; d = g sqrt(a + eps) / sqrt(v + eps); a = rho a + (1 - rho) d^2; param = param - lr d.
 * scalars[3..]: rho, 1 - rho, lr, eps. Zeiler 2012, arXiv 1212.5701 */
static void adadelta_step(void *const *arrays, const int64_t *sizes, const double *scalars, int64_t start,
                          int64_t stop) {
    float *param = arrays[0], *square_avg = arrays[2], *acc_delta = arrays[3];
    const float *grad = arrays[1];
    (void)sizes;
    GRADIENT_SCALARS;
    const vec_f32 rho = SCALAR(3), weight = SCALAR(4), lr = SCALAR(5), eps = SCALAR(6);
    EACH {
        vec_f32 p = LOAD(param), g = GRADIENT(p), a = LOAD(acc_delta);
        vec_f32 v = vec_fma(rho, LOAD(square_avg), vec_mul(weight, vec_mul(g, g)));
        vec_f32 d = vec_mul(g, vec_div(vec_sqrt(vec_add(a, eps)), vec_sqrt(vec_add(v, eps))));
        STORE(square_avg, v);
        STORE(acc_delta, vec_fma(rho, a, vec_mul(weight, vec_mul(d, d))));
        STORE(param, vec_fnma(lr, d, vec_mul(shrink, p)));
    }
}

/* grad = scale grad */
static void scale_step(void *const *arrays, const int64_t *sizes, const double *scalars, int64_t start, int64_t stop) {
    float *grad = arrays[0];
    (void)sizes;
    const vec_f32 scale = SCALAR(0);
    EACH STORE(grad, vec_mul(scale, LOAD(grad)));
}

/* parts[k] = sum of squares of elements 16384 k .. 16384 (k + 1) - 1, in double over 16 virtual lanes. sizes: parts, n
 */
static void squared_norm_forward(void *const *arrays, const int64_t *sizes, const double *scalars, int64_t start,
                                 int64_t stop) {
    enum { PIECE = 16384, PARTS = 16 / VEC_LANES };
    const float *x = arrays[0];
    double *parts = arrays[1];
    (void)scalars;
    for (int64_t part = start; part < stop; part++) {
        const int64_t first = part * PIECE, n = sizes[1] - first < PIECE ? sizes[1] - first : PIECE;
        vec_f64 lo[PARTS], hi[PARTS];
        UNROLL
        for (int k = 0; k < PARTS; k++) lo[k] = hi[k] = vec_f64_set(0.0);
        for (int64_t i = 0; i < n; i += 16) UNROLL
        for (int k = 0; k < PARTS; k++) {
            vec_f32 v = vec_load(x + first + i + k * VEC_LANES, n - i - k * VEC_LANES);
            vec_f64 a = vec_f64_lo(v), b = vec_f64_hi(v);
            lo[k] = vec_f64_fma(a, a, lo[k]);
            hi[k] = vec_f64_fma(b, b, hi[k]);
        }
        double lanes[16], total = 0.0;
        UNROLL
        for (int k = 0; k < PARTS; k++) {
            memcpy(lanes + k * VEC_LANES, &lo[k], VEC_LANES / 2 * sizeof(double));
            memcpy(lanes + k * VEC_LANES + VEC_LANES / 2, &hi[k], VEC_LANES / 2 * sizeof(double));
        }
        for (int j = 0; j < 16; j++) total += lanes[j];
        parts[part] = total;
    }
}

const kg_entry KG_TABLE(optim)[] = {
    {"sgd_step", sgd_step},
    {"adam_step", adam_step},
    {"nadam_step", nadam_step},
    {"radam_step", radam_step},
    {"adamax_step", adamax_step},
    {"rmsprop_step", rmsprop_step},
    {"adagrad_step", adagrad_step},
    {"adadelta_step", adadelta_step},
    {"scale_step", scale_step},
    {"squared_norm_forward", squared_norm_forward},
    {0},
};
