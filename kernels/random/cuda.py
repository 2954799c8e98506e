"""CUDA twins of the random kernels: a thread per counter, whose outputs go to the places it owns (philox.h)."""

import numpy as np

# The threshold p 2^32 is one float64 product per thread; cos and sin hold a float64 product for huge arguments.
FLOAT64 = {"bernoulli_fill", "dropout_forward", "normal_fill"}
TWO_PI = 6.283185307179586


def _philox(counter, seed, op):
    low, half = np.uint64(0xFFFFFFFF), np.uint64(32)
    seed, op, counter = np.uint64(np.int64(seed)), np.uint64(np.int64(op)), np.uint64(counter)
    key0, key1 = seed & low, seed >> half
    x0, x1, x2, x3 = counter & low, counter >> half, op & low, op >> half
    for _ in range(10):
        p0, p1 = np.uint64(0xD2511F53) * x0, np.uint64(0xCD9E8D57) * x2
        x0, x1, x2, x3 = (p1 >> half) ^ x1 ^ key0, p1 & low, (p0 >> half) ^ x3 ^ key1, p0 & low
        key0, key1 = (key0 + np.uint64(0x9E3779B9)) & low, (key1 + np.uint64(0xBB67AE85)) & low
    return x0, x1, x2, x3


def _word(x0, x1, x2, x3, w):
    return x0 if w == 0 else x1 if w == 1 else x2 if w == 2 else x3


def _pair(low, high):
    return low | (high << np.uint64(32))


def _is_double():
    """Whether T is float64: float32 cannot tell these two apart."""
    return T(16777217) != T(16777216)


def _fraction(word):
    return T(word >> np.uint64(8)) * T(2.0**-24)


def _fraction64(bits):
    return T(bits >> np.uint64(11)) * T(2.0**-53)


def _log(word):
    u = T(word >> np.uint64(1)) * T(2.0**-31) + T(2.0**-32)
    return math.log(min(u, T(1.0 - 2.0**-24)))


def _log64(bits):
    return math.log((T(bits >> np.uint64(12)) + T(0.5)) * T(2.0**-52))


def uniform_fill(out, n, seed, op, low, span):
    low, span = T(low), T(span)  # one rounding, whatever the compiler fuses: the same numbers on every device
    if _is_double():
        for c in range(cuda.grid(1), (n + 31) // 32 * 16, cuda.gridsize(1)):
            x0, x1, x2, x3 = _philox(c, seed, op)
            i = c // 16 * 32 + c % 16
            if i < n:
                out[i] = cuda.fma(_fraction64(_pair(x0, x1)), span, low)
            if i + 16 < n:
                out[i + 16] = cuda.fma(_fraction64(_pair(x2, x3)), span, low)
    else:
        for c in range(cuda.grid(1), (n + 63) // 64 * 16, cuda.gridsize(1)):
            x0, x1, x2, x3 = _philox(c, seed, op)
            for w in range(4):
                i = c // 16 * 64 + w * 16 + c % 16
                if i < n:
                    out[i] = cuda.fma(_fraction(_word(x0, x1, x2, x3, w)), span, low)


def normal_fill(out, n, seed, op, mean, std):
    mean, std = T(mean), T(std)
    if _is_double():
        for c in range(cuda.grid(1), (n + 31) // 32 * 16, cuda.gridsize(1)):
            x0, x1, x2, x3 = _philox(c, seed, op)
            radius = math.sqrt(T(-2) * _log64(_pair(x0, x1)))
            angle = T(_pair(x2, x3)) * T(TWO_PI * 2.0**-64)
            i = c // 16 * 32 + c % 16
            if i < n:
                out[i] = radius * math.cos(angle) * std + mean
            if i + 16 < n:
                out[i + 16] = radius * math.sin(angle) * std + mean
    else:
        for c in range(cuda.grid(1), (n + 63) // 64 * 16, cuda.gridsize(1)):
            x0, x1, x2, x3 = _philox(c, seed, op)
            for half in range(2):
                radius = math.sqrt(T(-2) * _log(_word(x0, x1, x2, x3, 2 * half)))
                angle = T(_word(x0, x1, x2, x3, 2 * half + 1)) * T(TWO_PI * 2.0**-32)
                i = c // 16 * 64 + half * 32 + c % 16
                if i < n:
                    out[i] = radius * math.cos(angle) * std + mean
                if i + 16 < n:
                    out[i + 16] = radius * math.sin(angle) * std + mean


def exponential_fill(out, n, seed, op, rate):
    minus_rate = -T(rate)
    if _is_double():
        for c in range(cuda.grid(1), (n + 31) // 32 * 16, cuda.gridsize(1)):
            x0, x1, x2, x3 = _philox(c, seed, op)
            i = c // 16 * 32 + c % 16
            if i < n:
                out[i] = _log64(_pair(x0, x1)) / minus_rate
            if i + 16 < n:
                out[i + 16] = _log64(_pair(x2, x3)) / minus_rate
    else:
        for c in range(cuda.grid(1), (n + 63) // 64 * 16, cuda.gridsize(1)):
            x0, x1, x2, x3 = _philox(c, seed, op)
            for w in range(4):
                i = c // 16 * 64 + w * 16 + c % 16
                if i < n:
                    out[i] = _log(_word(x0, x1, x2, x3, w)) / minus_rate


def bernoulli_fill(out, n, seed, op, p):
    threshold = np.uint64(math.rint(p * 4294967296.0))
    for c in range(cuda.grid(1), (n + 63) // 64 * 16, cuda.gridsize(1)):
        x0, x1, x2, x3 = _philox(c, seed, op)
        for w in range(4):
            i = c // 16 * 64 + w * 16 + c % 16
            if i < n:
                out[i] = T(1) if _word(x0, x1, x2, x3, w) < threshold else T(0)


def dropout_forward(x, out, n, seed, op, p):
    threshold = np.uint64(math.rint(p * 4294967296.0))
    scale = T(1.0 / (1.0 - p)) if p < 1.0 else T(0)
    for c in range(cuda.grid(1), (n + 63) // 64 * 16, cuda.gridsize(1)):
        x0, x1, x2, x3 = _philox(c, seed, op)
        for w in range(4):
            i = c // 16 * 64 + w * 16 + c % 16
            if i < n:
                out[i] = x[i] * (scale if _word(x0, x1, x2, x3, w) >= threshold else T(0))


def random_bits_fill(out, n, seed, op):
    for c in range(cuda.grid(1), (n + 31) // 32 * 16, cuda.gridsize(1)):
        x0, x1, x2, x3 = _philox(c, seed, op)
        i = c // 16 * 32 + c % 16
        if i < n:
            out[i] = T(_pair(x0, x1))
        if i + 16 < n:
            out[i + 16] = T(_pair(x2, x3))


def _below(bits, span):
    """floor(bits span / 2^64) for a span up to 2^32, else bits mod span; span 0 stands for 2^64."""
    half, mask, wide = np.uint64(32), np.uint64(0xFFFFFFFF), np.uint64(np.int64(span))
    if span > 0 and span <= 4294967296:
        return ((bits >> half) * wide + (((bits & mask) * wide) >> half)) >> half
    return bits % wide if span != 0 else bits


def randint_fill(out, n, seed, op, low, span):
    for c in range(cuda.grid(1), (n + 31) // 32 * 16, cuda.gridsize(1)):
        x0, x1, x2, x3 = _philox(c, seed, op)
        i = c // 16 * 32 + c % 16
        if i < n:
            out[i] = T(_below(_pair(x0, x1), span)) + low
        if i + 16 < n:
            out[i + 16] = T(_below(_pair(x2, x3), span)) + low
