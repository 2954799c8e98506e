"""Pooling by definition, one window at a time. Arrays are NCHW views of any layout; `taps` says which tap won."""

import numpy as np


def spans(size, outputs, kernel, stride, padding, dilation, adaptive):
    """For each output: the inputs under its taps (off-image ones too)."""
    if adaptive:
        return [np.arange(i * size // outputs, -(-(i + 1) * size // outputs)) for i in range(outputs)]
    return [i * stride - padding + dilation * np.arange(kernel) for i in range(outputs)]


def windows(h, w, oh, ow, kh, kw, sh, sw, ph, pw, dh, dw, adaptive):
    """Yields (oy, ox), the taps on the image as (tap_y, y) and (tap_x, x), and how many lie on image or padding."""
    columns = spans(w, ow, kw, sw, pw, dw, adaptive)
    for oy, ys in enumerate(spans(h, oh, kh, sh, ph, dh, adaptive)):
        for ox, xs in enumerate(columns):
            ty, tx = np.flatnonzero((ys >= 0) & (ys < h)), np.flatnonzero((xs >= 0) & (xs < w))
            yield oy, ox, ty, ys[ty], tx, xs[tx], int((ys < h + ph).sum() * (xs < w + pw).sum())


def max_pool2d_forward(x, out, taps, rows, h, w, c, *geometry):
    kw = geometry[3]
    none = None if taps is None else np.array(-1).astype(taps.dtype)  # all bits set: no tap lies on the image
    for oy, ox, ty, ys, tx, xs, _ in windows(h, w, *geometry[:11]):
        window = x[:, :, ys][..., xs].reshape(*x.shape[:2], ys.size * xs.size)
        codes = (ty[:, None] * kw + tx).ravel()
        if codes.size == 0:
            out[:, :, oy, ox] = -np.inf
            if taps is not None:
                taps[:, :, oy, ox] = none
            continue
        # argmax takes the first of equals; of several nan PyTorch takes the last.
        nan = window != window
        best = window.argmax(-1)
        last = nan.shape[-1] - 1 - nan[..., ::-1].argmax(-1)
        best = np.where(nan.any(-1), last, best)
        out[:, :, oy, ox] = np.take_along_axis(window, best[..., None], -1)[..., 0]
        if taps is not None:
            taps[:, :, oy, ox] = codes[best]


def max_pool2d_backward(grad_out, taps, grad_x, rows, h, w, c, *geometry):
    kw = geometry[3]
    grad_x[...] = 0
    for oy, ox, ty, ys, tx, xs, _ in windows(h, w, *geometry[:11]):
        for i, y in zip(ty, ys, strict=True):
            for j, x in zip(tx, xs, strict=True):
                grad_x[:, :, y, x] += np.where(taps[:, :, oy, ox] == i * kw + j, grad_out[:, :, oy, ox], 0)


def max_pool2d_indices(taps, indices, rows, h, w, c, oh, ow, kh, kw, sh, sw, ph, pw, dh, dw, adaptive):
    """The flat index y w + x of each maximum, as PyTorch returns it."""
    starts_y = np.array([s[0] for s in spans(h, oh, kh, sh, ph, dh, adaptive)])
    starts_x = np.array([s[0] for s in spans(w, ow, kw, sw, pw, dw, adaptive)])
    y, x = starts_y[:, None] + taps // kw * dh, starts_x + taps % kw * dw
    indices[...] = y * w + x


def avg_pool2d_forward(x, out, rows, h, w, c, *geometry):
    for oy, ox, _, ys, _, xs, padded in windows(h, w, *geometry[:11]):
        window = x[:, :, ys][..., xs]
        out[:, :, oy, ox] = window.sum((2, 3)) / divisor(ys, xs, padded, *geometry[10:])


def avg_pool2d_backward(grad_out, grad_x, rows, h, w, c, *geometry):
    grad_x[...] = 0
    for oy, ox, _, ys, _, xs, padded in windows(h, w, *geometry[:11]):
        share = grad_out[:, :, oy, ox] / divisor(ys, xs, padded, *geometry[10:])
        for y in ys:
            grad_x[:, :, y, xs] += share[..., None]


def global_avg_pool2d_forward(x, out, items, images, pixels, c):
    out[...] = x.mean((2, 3), keepdims=True)


def global_avg_pool2d_backward(grad_out, grad_x, items, images, pixels, c):
    grad_x[...] = grad_out / pixels


def divisor(ys, xs, padded, adaptive, count_include_pad, divisor_override):
    if divisor_override and not adaptive:
        return divisor_override
    return padded if count_include_pad and not adaptive else len(ys) * len(xs)
