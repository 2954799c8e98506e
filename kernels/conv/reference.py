"""Convolution by definition: a sum over windows of a zero-padded input. Arrays are NCHW views, weights OIHW."""

import numpy as np


def padded_windows(x, kh, kw, oh, ow, sh, sw, ph, pw, dh, dw):
    """A view[n, c, y, x, i, j] = x[n, c, y sh + i dh - ph, x sw + j dw - pw], 0 off the image."""
    n, c, h, w = x.shape
    reach_h, reach_w = (oh - 1) * sh + (kh - 1) * dh + 1, (ow - 1) * sw + (kw - 1) * dw + 1
    padded = np.zeros((n, c, max(reach_h, h + ph), max(reach_w, w + pw)), x.dtype)
    padded[:, :, ph : ph + h, pw : pw + w] = x
    view = np.lib.stride_tricks.sliding_window_view(padded, ((kh - 1) * dh + 1, (kw - 1) * dw + 1), (2, 3))
    return view[:, :, ::sh, ::sw, ::dh, ::dw][:, :, :oh, :ow]


def conv2d_forward(
    x, weight, bias, kept, out, n, h, w, c, k, kh, kw, oh, ow, sh, sw, ph, pw, dh, dw, groups, activation, *_
):
    windows = padded_windows(x, kh, kw, oh, ow, sh, sw, ph, pw, dh, dw)
    for ins, outs in groups_of(c, k, groups):
        out[:, outs] = np.einsum("ncyxij,kcij->nkyx", windows[:, ins], weight[outs], optimize=True)
    if bias is not None:
        out += bias[:, None, None]
    if activation == 1:
        np.maximum(out, 0, out=out)


def conv2d_keep_weight(weight, kept, floats, *_):
    floats[0] = 0  # the definition has no other form of the weights


def conv2d_backward_data(grad_out, weight, grad_x, n, h, w, c, k, kh, kw, oh, ow, sh, sw, ph, pw, dh, dw, groups, *_):
    reach_h, reach_w = (oh - 1) * sh + (kh - 1) * dh + 1, (ow - 1) * sw + (kw - 1) * dw + 1
    padded = np.zeros((n, c, max(reach_h, h + ph), max(reach_w, w + pw)), grad_x.dtype)
    for ins, outs in groups_of(c, k, groups):
        for i in range(kh):
            for j in range(kw):
                rows = slice(i * dh, i * dh + (oh - 1) * sh + 1, sh)
                columns = slice(j * dw, j * dw + (ow - 1) * sw + 1, sw)
                padded[:, ins, rows, columns] += np.einsum(
                    "nkyx,kc->ncyx", grad_out[:, outs], weight[outs, :, i, j], optimize=True
                )
    grad_x[...] = padded[:, :, ph : ph + h, pw : pw + w]


def conv2d_backward_weight(
    x, grad_out, grad_weight, grad_bias, k, h, w, c, n, kh, kw, oh, ow, sh, sw, ph, pw, dh, dw, groups, *_
):
    windows = padded_windows(x, kh, kw, oh, ow, sh, sw, ph, pw, dh, dw)
    for ins, outs in groups_of(c, k, groups):
        grad_weight[outs] = np.einsum("ncyxij,nkyx->kcij", windows[:, ins], grad_out[:, outs], optimize=True)
    if grad_bias is not None:
        grad_bias[...] = grad_out.sum((0, 2, 3))


def conv_transpose2d_forward(x, weight, bias, out, *sizes):
    conv2d_backward_data(x, weight, out, *sizes)
    if bias is not None:
        out += bias[:, None, None]


def conv_backward_bias(grad_out, grad_bias, channels, pixels):
    grad_bias[...] = grad_out.sum((0, 2, 3))


def conv_backward_relu_bias(out, grad_out, grad_before, grad_bias, channels, pixels):
    grad_before[...] = np.where(out <= 0, 0, grad_out)
    grad_bias[...] = grad_before.sum((0, 2, 3))


def groups_of(c, k, groups):
    """Slices of input and output channels, one pair per group."""
    c, k = c // groups, k // groups
    return [(slice(g * c, (g + 1) * c), slice(g * k, (g + 1) * k)) for g in range(groups)]
