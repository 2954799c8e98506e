/* grad_bias[c] = sum over pixels of g[pixel, c], g = grad_out, or grad_out where a relu's `out` is positive (and
 * then stored): parts by sizes alone, in each runs of 64 pixels by fours, in order */
#include "conv/conv.h"

#define PARTS 16

typedef struct {
    const float *grad_out, *out; /* out: of the relu, or NULL */
    float *before, *partial;
    int64_t pixels, channels, parts;
} bias_sum;

VEC_INLINE vec_f32 upstream(int relu, const float *grad_out, const float *out, float *before, int64_t at,
                            int64_t left) {
    vec_f32 g = vec_load(grad_out + at, left);
    if (relu) {
        g = vec_select(vec_le(vec_load(out + at, left), vec_zero()), vec_zero(), g);
        vec_store(before + at, g, left);
    }
    return g;
}

/* sums[c] += sum over pixels of g[pixel stride + c] */
VEC_INLINE void add_upstream(int relu, const float *grad_out, const float *out, float *before, int64_t pixels,
                             int64_t stride, int64_t channels, float *sums) {
    for (int64_t p0 = 0; p0 < pixels; p0 += 64)
        for (int64_t c = 0; c < channels; c += VEC_LANES) {
            vec_f32 sum[4];
            int64_t p = p0, p1 = least(p0 + 64, pixels), at = p0 * stride + c, left = channels - c;
            UNROLL
            for (int i = 0; i < 4; i++) sum[i] = vec_zero();
            for (; p + 4 <= p1; p += 4, at += 4 * stride) UNROLL
            for (int i = 0; i < 4; i++)
                sum[i] = vec_add(sum[i], upstream(relu, grad_out, out, before, at + i * stride, left));
            for (; p < p1; p++, at += stride) sum[0] = vec_add(sum[0], upstream(relu, grad_out, out, before, at, left));
            vec_f32 run = vec_add(vec_add(sum[0], sum[1]), vec_add(sum[2], sum[3]));
            vec_store(sums + c, vec_add(vec_load(sums + c, left), run), left);
        }
}

void KG_NAME(conv_add_pixels)(const float *g, int64_t pixels, int64_t stride, int64_t channels, float *sums) {
    add_upstream(0, g, NULL, NULL, pixels, stride, channels, sums);
}

static void bias_part(void *context, int64_t part) {
    const bias_sum *z = context;
    int64_t channels = z->channels, p0 = cut(z->pixels, z->parts, part), p1 = cut(z->pixels, z->parts, part + 1);
    const float *g = z->grad_out + p0 * channels;
    float *sums = memset(z->partial + part * channels, 0, sizeof *sums * channels);
    if (z->out)
        add_upstream(1, g, z->out + p0 * channels, z->before + p0 * channels, p1 - p0, channels, channels, sums);
    else
        add_upstream(0, g, NULL, NULL, p1 - p0, channels, channels, sums);
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
