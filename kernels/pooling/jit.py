"""Numba twins: plain loops over NHWC memory (NCHW memory comes as images of one channel), one row per work item."""

import numpy as np

from kernelgrad.kernels.runtime.jit import inline_njit


@inline_njit
def first_input(output, size, outputs, stride, padding, adaptive):
    """Where a window starts."""
    return output * size // outputs if adaptive else output * stride - padding


@inline_njit
def tap_count(output, size, outputs, kernel, adaptive):
    return ((output + 1) * size + outputs - 1) // outputs - output * size // outputs if adaptive else kernel


def max_pool2d_forward(
    x, out, taps, rows, h, w, c, oh, ow, kh, kw, sh, sw, ph, pw, dh, dw, adaptive, tap_bytes, start, stop
):
    for row in range(start, stop):
        image, oy = row // oh * h, row % oh
        y0, ny = first_input(oy, h, oh, sh, ph, adaptive), tap_count(oy, h, oh, kh, adaptive)
        for ox in range(ow):
            x0, nx = first_input(ox, w, ow, sw, pw, adaptive), tap_count(ox, w, ow, kw, adaptive)
            for ch in range(c):
                best, at = -np.inf, -1
                for i in range(ny):
                    y = y0 + i * dh
                    if y < 0 or y >= h:
                        continue
                    for j in range(nx):
                        u = x0 + j * dw
                        if u < 0 or u >= w:
                            continue
                        v = x[((image + y) * w + u) * c + ch]
                        if at < 0 or v > best or v != v:
                            best, at = v, i * kw + j
                to = (row * ow + ox) * c + ch
                out[to] = best
                if tap_bytes:
                    taps[to] = at


def max_pool2d_backward(
    grad_out, taps, grad_x, rows, h, w, c, oh, ow, kh, kw, sh, sw, ph, pw, dh, dw, adaptive, tap_bytes, start, stop
):
    for row in range(start, stop):
        image, y = row // h * oh, row % h
        for i in range(row * w * c, (row + 1) * w * c):
            grad_x[i] = 0
        for oy in range(oh):
            distance = y - first_input(oy, h, oh, sh, ph, adaptive)
            i = distance // dh
            if distance < 0 or distance % dh != 0 or i >= tap_count(oy, h, oh, kh, adaptive):
                continue
            for ox in range(ow):
                x0 = first_input(ox, w, ow, sw, pw, adaptive)
                for ch in range(c):
                    source = ((image + oy) * ow + ox) * c + ch
                    if taps[source] >= 0 and taps[source] // kw == i:  # 255, no tap in a byte, is beyond the last row
                        u = x0 + taps[source] % kw * dw
                        grad_x[(row * w + u) * c + ch] += grad_out[source]


def max_pool2d_indices(taps, indices, rows, h, w, c, oh, ow, kh, kw, sh, sw, ph, pw, dh, dw, adaptive, start, stop):
    for row in range(start, stop):
        y0 = first_input(row % oh, h, oh, sh, ph, adaptive)
        for ox in range(ow):
            x0 = first_input(ox, w, ow, sw, pw, adaptive)
            for i in range((row * ow + ox) * c, (row * ow + ox + 1) * c):
                indices[i] = (y0 + taps[i] // kw * dh) * w + x0 + taps[i] % kw * dw


@inline_njit
def divisor(y0, ny, x0, nx, h, w, ph, pw, adaptive, count_include_pad, divisor_override):
    if divisor_override and not adaptive:
        return divisor_override
    if count_include_pad and not adaptive:
        return min(ny, h + ph - y0) * min(nx, w + pw - x0)
    return (min(y0 + ny, h) - max(y0, 0)) * (min(x0 + nx, w) - max(x0, 0))


def avg_pool2d_forward(
    x,
    out,
    rows,
    h,
    w,
    c,
    oh,
    ow,
    kh,
    kw,
    sh,
    sw,
    ph,
    pw,
    dh,
    dw,
    adaptive,
    count_include_pad,
    divisor_override,
    start,
    stop,
):
    for row in range(start, stop):
        image, oy = row // oh * h, row % oh
        y0, ny = first_input(oy, h, oh, sh, ph, adaptive), tap_count(oy, h, oh, kh, adaptive)
        for ox in range(ow):
            x0, nx = first_input(ox, w, ow, sw, pw, adaptive), tap_count(ox, w, ow, kw, adaptive)
            by = divisor(y0, ny, x0, nx, h, w, ph, pw, adaptive, count_include_pad, divisor_override)
            for ch in range(c):
                total = 0.0
                for y in range(max(y0, 0), min(y0 + ny, h)):
                    for u in range(max(x0, 0), min(x0 + nx, w)):
                        total += x[((image + y) * w + u) * c + ch]
                out[(row * ow + ox) * c + ch] = total / by


def avg_pool2d_backward(
    grad_out,
    grad_x,
    rows,
    h,
    w,
    c,
    oh,
    ow,
    kh,
    kw,
    sh,
    sw,
    ph,
    pw,
    dh,
    dw,
    adaptive,
    count_include_pad,
    divisor_override,
    start,
    stop,
):
    for row in range(start, stop):
        image, y = row // h * oh, row % h
        for i in range(row * w * c, (row + 1) * w * c):
            grad_x[i] = 0
        for oy in range(oh):
            y0, ny = first_input(oy, h, oh, sh, ph, adaptive), tap_count(oy, h, oh, kh, adaptive)
            if y < y0 or y >= y0 + ny:
                continue
            for ox in range(ow):
                x0, nx = first_input(ox, w, ow, sw, pw, adaptive), tap_count(ox, w, ow, kw, adaptive)
                by = divisor(y0, ny, x0, nx, h, w, ph, pw, adaptive, count_include_pad, divisor_override)
                for ch in range(c):
                    share = grad_out[((image + oy) * ow + ox) * c + ch] / by
                    for u in range(max(x0, 0), min(x0 + nx, w)):
                        grad_x[(row * w + u) * c + ch] += share


def global_avg_pool2d_forward(x, out, items, images, pixels, c, start, stop):
    blocks = items // images  # of channels
    width = (c + blocks - 1) // blocks
    for item in range(start, stop):
        image, block = item // blocks, item % blocks * width
        for ch in range(block, min(c, block + width)):
            total = 0.0
            for pixel in range(pixels):
                total += x[(image * pixels + pixel) * c + ch]
            out[image * c + ch] = total / pixels


def global_avg_pool2d_backward(grad_out, grad_x, items, images, pixels, c, start, stop):
    runs = items // images  # of pixels
    for item in range(start, stop):
        image, run = item // runs, item % runs
        for pixel in range(run * pixels // runs, (run + 1) * pixels // runs):
            for ch in range(c):
                grad_x[(image * pixels + pixel) * c + ch] = grad_out[image * c + ch] / pixels
