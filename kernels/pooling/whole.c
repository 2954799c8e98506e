/* Average over the whole image. NHWC memory: lanes are channels; NCHW memory: images of one channel, lanes are pixels.
 */
#include "pooling/pooling.h"
#include "vec/far.h"

enum { FAR = 4 << 20 }; /* floats that are no longer in an L3 */

#define RUN 16 /* pixels summed before they are added to the total: rounding grows with the length of a chain */

/* Sums over `pixels` <= RUN of `vecs` vectors of channels, added to total. */
VEC_INLINE void add_run(int vecs, int far, const float *x, int64_t pixels, int64_t channels, float *total,
                        int64_t left) {
    vec_f32 sum[4];
    UNROLL
    for (int j = 0; j < vecs; j++) sum[j] = vec_load(x + j * VEC_LANES, left);
    for (int64_t p = 1; p < pixels; p++) {
        x += channels;
        UNROLL
        for (int j = 0; j < vecs; j++)
            sum[j] = vec_add(sum[j], far ? vec_loadu_far(x + j * VEC_LANES) : vec_load(x + j * VEC_LANES, left));
    }
    UNROLL
    for (int j = 0; j < vecs; j++)
        vec_store(total + j * VEC_LANES, vec_add(vec_load(total + j * VEC_LANES, left), sum[j]), left);
}

/* Channels c0 .. c1-1, run after run, as memory lies. */
VEC_INLINE void sum_channels(int far, const float *x, int64_t pixels, int64_t channels, int64_t c0, int64_t c1,
                             float *out) {
    for (int64_t c = c0; c < c1; c++) out[c] = 0;
    for (int64_t p = 0; p < pixels; p += RUN) {
        const float *from = x + p * channels;
        int64_t c = c0, run = least(RUN, pixels - p);
        for (; c + 4 * VEC_LANES <= c1; c += 4 * VEC_LANES)
            add_run(4, far, from + c, run, channels, out + c, VEC_LANES);
        for (; c + VEC_LANES <= c1; c += VEC_LANES) add_run(1, far, from + c, run, channels, out + c, VEC_LANES);
        if (c < c1) add_run(1, 0, from + c, run, channels, out + c, c1 - c);
    }
    for (int64_t c = c0; c < c1; c++) out[c] /= (float)pixels;
}

/* Few channels: 16 `repeat` pixels are as many floats as `channels` repeat vec16, a period; lane by lane these are
 * summed over the image, then what belongs to a channel. */
#define FEW 16
VEC_INLINE int64_t sum_periods(const float *x, int64_t total, int64_t period, vec16 *sum) {
    vec16 s[8]; /* in registers */
    UNROLL
    for (int64_t j = 0; j < period; j++) s[j] = vec16_zero();
    int64_t i = 0;
    for (; i + period * 16 <= total; i += period * 16) {
        UNROLL
        for (int64_t j = 0; j < period; j++) s[j] = vec16_add(s[j], vec16_loadu(x + i + j * 16));
    }
    UNROLL
    for (int64_t j = 0; j < period; j++) sum[j] = s[j];
    return i;
}
static void sum_few_channels(const float *x, int64_t pixels, int64_t channels, float *out) {
    vec16 sum[FEW];
    const int64_t repeat = channels < 4 ? 8 / channels : 1, period = channels * repeat, total = pixels * channels;
    int64_t i = 0;
    if (period == 8)
        i = sum_periods(x, total, 8, sum);
    else if (period == 6)
        i = sum_periods(x, total, 6, sum);
    else if (period == 4)
        i = sum_periods(x, total, 4, sum);
    else {
        for (int64_t j = 0; j < period; j++) sum[j] = vec16_zero();
        for (; i + period * 16 <= total; i += period * 16)
            for (int64_t j = 0; j < period; j++) sum[j] = vec16_add(sum[j], vec16_loadu(x + i + j * 16));
    }
    for (int64_t j = 0; i < total; i += 16, j++) sum[j] = vec16_add(sum[j], vec16_load(x + i, total - i, 0));
    float lanes[(FEW + 1) * 16] = {0};
    for (int64_t j = 0; j < period; j++) vec16_storeu(lanes + j * 16, sum[j]);
    vec16 part[4]; /* of all channels: the first `channels` lanes */
    UNROLL
    for (int k = 0; k < 4; k++) part[k] = vec16_zero();
    for (int64_t p = 0; p < 16 * repeat; p += 4) UNROLL
    for (int k = 0; k < 4; k++) part[k] = vec16_add(part[k], vec16_loadu(lanes + (p + k) * channels));
    part[0] = vec16_add(vec16_add(vec16_add(part[0], part[1]), part[2]), part[3]);
    vec16_store(out, vec16_div(part[0], vec16_set((float)pixels)), channels);
}

/* One channel: 64 lanes, and what is left after whole vectors to the last of them. */
VEC_INLINE float sum_plane(int far, const float *x, int64_t pixels) {
    vec16 sum[4];
    UNROLL
    for (int j = 0; j < 4; j++) sum[j] = vec16_zero();
    int64_t i = 0;
    for (; i + 64 <= pixels; i += 64) UNROLL
    for (int k = 0; k < 4; k++) VEC16_EACH {
            const float *p = x + i + k * 16 + j * VEC_LANES;
            sum[k].v[j] = vec_add(sum[k].v[j], far ? vec_loadu_far(p) : vec_loadu(p));
        }
    UNROLL
    for (int j = 0; j < 3; j++)
        if (i + 16 <= pixels) {
            sum[j] = vec16_add(sum[j], vec16_loadu(x + i));
            i += 16;
        }
    if (i < pixels) VEC16_EACH { /* missing lanes load as 0 */
            const int64_t at = i + j * VEC_LANES;
            sum[3].v[j] = vec_add(sum[3].v[j], vec_load(x + at, pixels - at));
        }
    return vec16_sum(vec16_add(vec16_add(sum[0], sum[1]), vec16_add(sum[2], sum[3])));
}

/* out[n, c] = mean over the pixels of image n. sizes: items, images, pixels, C; of an image there are one or more
 * items, each a block of channels. */
void KG_NAME(global_avg_pool2d_forward)(void *const *arrays, const int64_t *sizes, const double *scalars, int64_t start,
                                        int64_t stop) {
    const int64_t pixels = sizes[2], channels = sizes[3], blocks = sizes[1] ? sizes[0] / sizes[1] : 1;
    const int64_t width = ((channels + blocks - 1) / blocks + 15) / 16 * 16;
    const int far = sizes[1] * pixels * channels > FAR;
    (void)scalars;
    if (channels == 1) {
        const float *x = arrays[0];
        float *out = arrays[1];
        for (int64_t i = start; i < stop; i++)
            out[i] =
                (far ? sum_plane(1, x + i * pixels, pixels) : sum_plane(0, x + i * pixels, pixels)) / (float)pixels;
        return;
    }
    for (int64_t i = start; i < stop; i++) {
        int64_t n = i / blocks, c = i % blocks * width;
        const float *x = (const float *)arrays[0] + n * pixels * channels;
        float *out = (float *)arrays[1] + n * channels;
        if (channels < FEW)
            sum_few_channels(x, pixels, channels, out);
        else if (c < channels && far)
            sum_channels(1, x, pixels, channels, c, least(channels, c + width), out);
        else if (c < channels)
            sum_channels(0, x, pixels, channels, c, least(channels, c + width), out);
    }
}

/* grad_x[n, pixel, c] = grad_out[n, c] / pixels. sizes: items, images, pixels, C; of an image there are one or more
 * items, each a run of pixels. */
void KG_NAME(global_avg_pool2d_backward)(void *const *arrays, const int64_t *sizes, const double *scalars,
                                         int64_t start, int64_t stop) {
    const int64_t pixels = sizes[2], channels = sizes[3], runs = sizes[1] ? sizes[0] / sizes[1] : 1;
    const vec_f32 share = vec_set(1.0f / (float)pixels);
    (void)scalars;
    for (int64_t i = start; i < stop; i++) {
        const int64_t first = i % runs * pixels / runs, n = ((i % runs + 1) * pixels / runs - first) * channels;
        const float *g = (const float *)arrays[0] + i / runs * channels;
        float *to = (float *)arrays[1] + (i / runs * pixels + first) * channels;
        if (channels == 1) {
            const vec_f32 v = vec_mul(vec_set(*g), share);
            for (int64_t j = 0; j < n; j += VEC_LANES) vec_store(to + j, v, n - j);
            continue;
        }
        if (n == 0) continue;
        for (int64_t c = 0; c < channels; c += VEC_LANES)
            vec_store(to + c, vec_mul(vec_load(g + c, channels - c), share), channels - c);
        for (int64_t done = channels, some; done < n; done += some) { /* twice as many each time, up to half an L1 */
            some = least(least(done, 4096 / channels * channels + channels), n - done);
            memcpy(to + done, to, (size_t)some * sizeof(float));
        }
    }
}
