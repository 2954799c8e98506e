/* grad_bias[c] = sum over pixels of g[pixel, c], g = grad_out, or grad_out where a relu's `out` is positive (and
 * then stored): parts by sizes alone, in each runs of 64 pixels by fours, in order */
#include "conv/conv.h"

#define PARTS 16

typedef struct {
    const float *grad_out, *out; /* out: of the relu, or NULL */
    float *before, *partial;
    int64_t pixels, channels, parts;
} bias_sum;

static inline vec_f32 upstream(const bias_sum *z, int64_t at, int64_t left, int relu) {
    vec_f32 g = vec_load(z->grad_out + at, left);
    if (relu) {
        g = vec_select(vec_le(vec_load(z->out + at, left), vec_zero()), vec_zero(), g);
        vec_store(z->before + at, g, left);
    }
    return g;
}

static inline void sum_part(const bias_sum *z, int64_t part, int relu) {
    int64_t first = cut(z->pixels, z->parts, part), end = cut(z->pixels, z->parts, part + 1), channels = z->channels;
    float *partial = z->partial + part * channels;
    for (int64_t c = 0; c < channels; c += VEC_LANES) vec_store(partial + c, vec_zero(), channels - c);
    for (int64_t p0 = first; p0 < end; p0 += 64)
        for (int64_t c = 0; c < channels; c += VEC_LANES) {
            vec_f32 sum[4];
            int64_t p = p0, p1 = least(p0 + 64, end), at = p0 * channels + c, left = channels - c;
            UNROLL
            for (int i = 0; i < 4; i++) sum[i] = vec_zero();
            for (; p + 4 <= p1; p += 4, at += 4 * channels) UNROLL
            for (int i = 0; i < 4; i++) sum[i] = vec_add(sum[i], upstream(z, at + i * channels, left, relu));
            for (; p < p1; p++, at += channels) sum[0] = vec_add(sum[0], upstream(z, at, left, relu));
            vec_f32 run = vec_add(vec_add(sum[0], sum[1]), vec_add(sum[2], sum[3]));
            vec_store(partial + c, vec_add(vec_load(partial + c, left), run), left);
        }
}

static void bias_part(void *context, int64_t part) {
    const bias_sum *z = context;
    if (z->out)
        sum_part(z, part, 1);
    else
        sum_part(z, part, 0);
}

static void finish_bias(bias_sum *z, float *grad_bias, double ns) {
    z->parts = most(1, least(PARTS, z->pixels / 128));
    z->partial = kg_scratch(KG_SCRATCH_CONV_SHARED, sizeof(float) * z->parts * z->channels);
    kg_parallel(bias_part, z, z->parts, 1e-3 * ns * z->pixels * z->channels);
    for (int64_t c = 0; c < z->channels; c++) {
        float sum = z->partial[c];
        for (int64_t part = 1; part < z->parts; part++) sum += z->partial[part * z->channels + c];
        grad_bias[c] = sum;
    }
}

void KG_NAME(conv_bias_gradient)(const float *grad_out, int64_t pixels, int64_t channels, float *grad_bias) {
    bias_sum z = {.grad_out = grad_out, .pixels = pixels, .channels = channels};
    finish_bias(&z, grad_bias, 0.1);
}

void KG_NAME(conv_relu_bias_gradient)(const float *out, const float *grad_out, int64_t pixels, int64_t channels,
                                      float *before, float *grad_bias) {
    bias_sum z = {.grad_out = grad_out, .out = out, .before = before, .pixels = pixels, .channels = channels};
    finish_bias(&z, grad_bias, 0.3);
}
