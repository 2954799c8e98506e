"""What this machine can do at most, measured now: the yardstick of benchmarks, `kernelgrad info` and the demo."""

import time

import numpy as np

from kernelgrad.core import from_numpy, get_num_threads, kernel, set_num_threads

MEMORY = 1 << 26  # floats in the buffers that measure memory: 256 MB each, beyond any cache


def measured_peak(threads=None, seconds=0.1, elements=MEMORY // 4):
    """(GF/s, GB/s) that `threads` threads reach: float32 multiply-adds in registers, the triad over large buffers."""
    return measured_gflops(threads, seconds), measured_bandwidth(elements, threads, seconds=seconds)


def measured_gflops(threads=None, seconds=0.1):
    """The best of several runs of 12 independent chains of fused multiply-adds on every thread, in GF/s."""
    start = from_numpy(np.linspace(0.1, 0.9, 14, dtype=np.float32))
    flops = from_numpy(np.zeros(1, np.float32))

    def run(tasks, iterations):
        out = from_numpy(np.zeros(tasks, np.float32))
        began = time.perf_counter()
        kernel("peak_fma")((start, out, flops), (tasks, iterations))
        return tasks * float(flops.numpy()[0]) / (time.perf_counter() - began) / 1e9

    return _with_threads(threads, lambda count: _best(lambda: run(4 * count, 300_000), seconds))


def measured_bandwidth(elements, threads=None, triad=True, seconds=0.1):
    """GB/s of ``out = a + b / 2`` (or of ``out = a``) on buffers of `elements` floats; bytes read and written count."""
    n = max(16, elements // 16 * 16)
    a, b, out = (from_numpy(np.ones(n, np.float32)) for _ in range(3))
    repeats = max(1, 4_000_000 // n)
    moved = (3 if triad else 2) * 4 * n * repeats

    def run():
        began = time.perf_counter()
        kernel("peak_bandwidth")((a, b, out), (n, repeats, int(triad)))
        return moved / (time.perf_counter() - began) / 1e9

    return _with_threads(threads, lambda count: _best(run, seconds))


def _with_threads(threads, measure):
    before = get_num_threads()
    count = before if threads is None else threads
    if count == before:
        return measure(count)
    set_num_threads(count)
    try:
        return measure(count)
    finally:
        set_num_threads(before)


def _best(run, seconds):
    run()
    best, end = 0.0, time.perf_counter() + seconds
    while time.perf_counter() < end:
        best = max(best, run())
    return best
