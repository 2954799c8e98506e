"""The yardstick kernels in NumPy: the same results, at NumPy's speed."""

import numpy as np

CHAINS = 12


def peak_fma(start, out, flops, tasks, iterations):
    chains = start[:CHAINS].copy()
    for _ in range(iterations):
        chains = chains * start[CHAINS] + start[CHAINS + 1]
    out[:] = chains.sum()
    flops[0] = 2 * CHAINS * iterations


def peak_bandwidth(a, b, out, n, repeats, triad):
    for _ in range(repeats):
        out[...] = a + b * np.float32(0.5) if triad else a
