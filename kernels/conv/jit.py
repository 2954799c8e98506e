"""Numba twins: plain loops over NHWC memory, one image (or one output channel of a weight gradient) per work item."""


def conv2d_forward(
    x,
    weight,
    bias,
    kept,
    out,
    n,
    h,
    w,
    c,
    k,
    kh,
    kw,
    oh,
    ow,
    sh,
    sw,
    ph,
    pw,
    dh,
    dw,
    groups,
    activation,
    method,
    has_bias,
    start,
    stop,
):
    cg, kg = c // groups, k // groups
    for image in range(start, stop):
        for oy in range(oh):
            for ox in range(ow):
                to = ((image * oh + oy) * ow + ox) * k
                for o in range(k):
                    total = 0.0
                    if has_bias:
                        total = bias[o]
                    for i in range(kh):
                        y = oy * sh + i * dh - ph
                        if y < 0 or y >= h:
                            continue
                        for j in range(kw):
                            u = ox * sw + j * dw - pw
                            if u < 0 or u >= w:
                                continue
                            source = ((image * h + y) * w + u) * c + o // kg * cg
                            tap = o * cg * kh * kw + i * kw + j
                            for ch in range(cg):
                                total += x[source + ch] * weight[tap + ch * kh * kw]
                    if activation == 1 and total < 0:
                        total = 0.0
                    out[to + o] = total


def conv2d_backward_data(
    grad_out,
    weight,
    grad_x,
    n,
    h,
    w,
    c,
    k,
    kh,
    kw,
    oh,
    ow,
    sh,
    sw,
    ph,
    pw,
    dh,
    dw,
    groups,
    activation,
    method,
    has_bias,
    start,
    stop,
):
    cg, kg = c // groups, k // groups
    for image in range(start, stop):
        for i in range(image * h * w * c, (image + 1) * h * w * c):
            grad_x[i] = 0
        for oy in range(oh):
            for ox in range(ow):
                source = ((image * oh + oy) * ow + ox) * k
                for i in range(kh):
                    y = oy * sh + i * dh - ph
                    if y < 0 or y >= h:
                        continue
                    for j in range(kw):
                        u = ox * sw + j * dw - pw
                        if u < 0 or u >= w:
                            continue
                        for o in range(k):
                            to = ((image * h + y) * w + u) * c + o // kg * cg
                            tap = o * cg * kh * kw + i * kw + j
                            g = grad_out[source + o]
                            for ch in range(cg):
                                grad_x[to + ch] += g * weight[tap + ch * kh * kw]


def conv2d_backward_weight(
    x,
    grad_out,
    grad_weight,
    grad_bias,
    k,
    h,
    w,
    c,
    n,
    kh,
    kw,
    oh,
    ow,
    sh,
    sw,
    ph,
    pw,
    dh,
    dw,
    groups,
    activation,
    method,
    has_bias,
    start,
    stop,
):
    cg, kg = c // groups, k // groups
    for o in range(start, stop):
        for i in range(o * cg * kh * kw, (o + 1) * cg * kh * kw):
            grad_weight[i] = 0
        if has_bias:
            grad_bias[o] = 0
        for image in range(n):
            for oy in range(oh):
                for ox in range(ow):
                    g = grad_out[((image * oh + oy) * ow + ox) * k + o]
                    if has_bias:
                        grad_bias[o] += g
                    for i in range(kh):
                        y = oy * sh + i * dh - ph
                        if y < 0 or y >= h:
                            continue
                        for j in range(kw):
                            u = ox * sw + j * dw - pw
                            if u < 0 or u >= w:
                                continue
                            source = ((image * h + y) * w + u) * c + o // kg * cg
                            tap = o * cg * kh * kw + i * kw + j
                            for ch in range(cg):
                                grad_weight[tap + ch * kh * kw] += g * x[source + ch]


def conv_transpose2d_forward(
    x,
    weight,
    bias,
    out,
    n,
    h,
    w,
    c,
    k,
    kh,
    kw,
    oh,
    ow,
    sh,
    sw,
    ph,
    pw,
    dh,
    dw,
    groups,
    activation,
    method,
    has_bias,
    start,
    stop,
):
    cg, kg = c // groups, k // groups
    for image in range(start, stop):
        for pixel in range(image * h * w, (image + 1) * h * w):
            for ch in range(c):
                if has_bias:
                    out[pixel * c + ch] = bias[ch]
                else:
                    out[pixel * c + ch] = 0
        for oy in range(oh):
            for ox in range(ow):
                source = ((image * oh + oy) * ow + ox) * k
                for i in range(kh):
                    y = oy * sh + i * dh - ph
                    if y < 0 or y >= h:
                        continue
                    for j in range(kw):
                        u = ox * sw + j * dw - pw
                        if u < 0 or u >= w:
                            continue
                        for o in range(k):
                            to = ((image * h + y) * w + u) * c + o // kg * cg
                            tap = o * cg * kh * kw + i * kw + j
                            for ch in range(cg):
                                out[to + ch] += x[source + o] * weight[tap + ch * kh * kw]


def conv_backward_bias(grad_out, grad_bias, channels, pixels, start, stop):
    for ch in range(start, stop):
        total = 0.0
        for pixel in range(pixels):
            total += grad_out[pixel * channels + ch]
        grad_bias[ch] = total


def conv_backward_relu_bias(out, grad_out, grad_before, grad_bias, channels, pixels, start, stop):
    for ch in range(start, stop):
        total = 0.0
        for pixel in range(pixels):
            at = pixel * channels + ch
            g = grad_out[at]
            if out[at] <= 0:
                g = 0
            grad_before[at] = g
            total += g
        grad_bias[ch] = total
