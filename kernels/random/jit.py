"""Numba twins of the random kernels. One counter at a time: its outputs go to the four (float64: two) places it
owns."""

import math

import numpy as np

from kernelgrad.kernels.runtime.jit import inline_njit


@inline_njit
def philox(counter, seed, op):
    low, half = np.uint64(0xFFFFFFFF), np.uint64(32)
    key0, key1 = np.uint64(seed) & low, np.uint64(seed) >> half
    x0, x1 = np.uint64(counter) & low, np.uint64(counter) >> half
    x2, x3 = np.uint64(op) & low, np.uint64(op) >> half
    for _ in range(10):
        p0, p1 = np.uint64(0xD2511F53) * x0, np.uint64(0xCD9E8D57) * x2
        x0, x1, x2, x3 = (p1 >> half) ^ x1 ^ key0, p1 & low, (p0 >> half) ^ x3 ^ key1, p0 & low
        key0, key1 = (key0 + np.uint64(0x9E3779B9)) & low, (key1 + np.uint64(0xBB67AE85)) & low
    return x0, x1, x2, x3


@inline_njit
def word64(i, seed, op):
    """Value i of 64 bits."""
    x0, x1, x2, x3 = philox(i // 32 * 16 + i % 16, seed, op)
    if i // 16 % 2 == 0:
        return x0 | (x1 << np.uint64(32))
    return x2 | (x3 << np.uint64(32))


@inline_njit
def word32(i, seed, op):
    """Word i of 32 bits, as uint64."""
    x0, x1, x2, x3 = philox(i // 64 * 16 + i % 16, seed, op)
    w = i // 16 % 4
    if w == 0:
        return x0
    if w == 1:
        return x1
    if w == 2:
        return x2
    return x3


@inline_njit
def log32(word):
    """log of (word >> 1) 2^-31 + 2^-32 as float32 has it, never of 1."""
    u = np.float64(np.float32(word >> np.uint64(1))) * 2.0**-31 + 2.0**-32
    return math.log(min(np.float64(np.float32(u)), 1.0 - 2.0**-24))


@inline_njit
def log64(word):
    return math.log((np.float64(word >> np.uint64(12)) + 0.5) * 2.0**-52)


def random_bits_fill(out, n, seed, op, start, stop):
    for i in range(start, stop):
        out[i] = word64(i, seed, op) if out.itemsize == 8 else word32(i, seed, op)


def randint_fill(out, n, seed, op, low, span, start, stop):
    half, mask, wide = np.uint64(32), np.uint64(0xFFFFFFFF), np.uint64(span)
    for i in range(start, stop):
        bits = word64(i, seed, op)
        if span > 0 and span <= 4294967296:
            bits = ((bits >> half) * wide + (((bits & mask) * wide) >> half)) >> half
        elif span != 0:
            bits = bits % wide
        out[i] = np.int64(bits) + low


def uniform_fill(out, n, seed, op, low, span, start, stop):
    if out.itemsize == 4:  # as the C kernel has them; the product is then exact in float64
        low, span = np.float64(np.float32(low)), np.float64(np.float32(span))
    for i in range(start, stop):
        if out.itemsize == 8:
            u = np.float64(word64(i, seed, op) >> np.uint64(11)) * 2.0**-53
        else:
            u = np.float64(word32(i, seed, op) >> np.uint64(8)) * 2.0**-24
        out[i] = u * span + low


def normal_fill(out, n, seed, op, mean, std, start, stop):
    two_pi = 2.0 * math.pi
    if out.itemsize == 8:
        for group in range(start // 32, (stop + 31) // 32):
            for j in range(16):
                x0, x1, x2, x3 = philox(group * 16 + j, seed, op)
                a, b = x0 | (x1 << np.uint64(32)), x2 | (x3 << np.uint64(32))
                radius = math.sqrt(-2.0 * log64(a))
                angle = np.float64(b) * (two_pi * 2.0**-64)
                i = group * 32 + j
                if i < stop:
                    out[i] = radius * math.cos(angle) * std + mean
                if i + 16 < stop:
                    out[i + 16] = radius * math.sin(angle) * std + mean
    else:
        for group in range(start // 64, (stop + 63) // 64):
            for j in range(16):
                x0, x1, x2, x3 = philox(group * 16 + j, seed, op)
                for half in range(2):
                    a, b = (x0, x1) if half == 0 else (x2, x3)
                    radius = math.sqrt(-2.0 * log32(a))
                    angle = np.float64(b) * (two_pi * 2.0**-32)
                    i = group * 64 + half * 32 + j
                    if i < stop:
                        out[i] = radius * math.cos(angle) * std + mean
                    if i + 16 < stop:
                        out[i + 16] = radius * math.sin(angle) * std + mean


def exponential_fill(out, n, seed, op, rate, start, stop):
    for i in range(start, stop):
        log = log64(word64(i, seed, op)) if out.itemsize == 8 else log32(word32(i, seed, op))
        out[i] = log / -rate


def bernoulli_fill(out, n, seed, op, p, start, stop):
    threshold = np.uint64(np.rint(p * 4294967296.0))
    for i in range(start, stop):
        out[i] = 1.0 if word32(i, seed, op) < threshold else 0.0


def dropout_forward(x, out, n, seed, op, p, start, stop):
    threshold = np.uint64(np.rint(p * 4294967296.0))
    scale = 1.0 / (1.0 - p) if p < 1.0 else 0.0
    if out.itemsize == 4:
        scale = np.float64(np.float32(scale))
    for i in range(start, stop):
        out[i] = x[i] * (scale if word32(i, seed, op) >= threshold else 0.0)
