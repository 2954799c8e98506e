"""CUDA twins of the losses. A reduced forward is one block, whose threads stride over the losses and meet in a tree, so
that its sum has one order; reduction none and backward take an element per thread."""

import numpy as np

WIDTH = 256  # threads of a block; a power of two
MOST_BLOCKS = 4096
NONE, MEAN = 0, 1
REGISTERS = {"cross_entropy_forward": 96, "cross_entropy_soft_backward": 96}


def block_sum(value):
    """The sum over the threads of a block, for all of them."""
    part = cuda.shared.array(WIDTH, T)
    t, step = cuda.threadIdx.x, cuda.blockDim.x // 2
    part[t] = value
    cuda.syncthreads()
    while step > 0:
        if t < step:
            part[t] += part[t + step]
        cuda.syncthreads()
        step //= 2
    total = part[0]
    cuda.syncthreads()  # before the next call writes
    return total


def finish(out, total, count, reduction):
    """The block's sum, or the mean, into out; all threads call this."""
    if reduction != NONE:
        total = block_sum(total)
        if cuda.threadIdx.x == 0:
            out[0] = total / count if reduction == MEAN else total


def put(out, i, value, total, reduction):
    if reduction == NONE:
        out[i] = value
    return total + value


def upstream(grad_out, i, count, reduction):
    if reduction == NONE:
        return grad_out[i]
    return grad_out[0] / count if reduction == MEAN else grad_out[0]


def sign(d):
    return T(1) if d > T(0) else T(-1) if d < T(0) else T(0) * d


def softplus(x):
    return (x if x > T(0) or x != x else T(0)) + math.log1p(math.exp(-abs(x)))


def sigmoid(x):
    return math.exp(-softplus(-x))


def floored_log(x):
    v = math.log(x) if x > T(0) else T(-math.inf)
    return T(-100) if v < T(-100) else v


def floored_log1p(x):
    v = math.log1p(x) if x > T(-1) else T(-math.inf)
    return T(-100) if v < T(-100) else v


def mse_loss_forward(input, target, out, n, reduction):
    total = T(0)
    for i in range(cuda.grid(1), n, cuda.gridsize(1)):
        d = input[i] - target[i]
        total = put(out, i, d * d, total, reduction)
    finish(out, total, T(n), reduction)


def mse_loss_backward(input, target, grad_out, grad_input, n, reduction):
    for i in range(cuda.grid(1), n, cuda.gridsize(1)):
        grad_input[i] = T(2) * (input[i] - target[i]) * upstream(grad_out, i, T(n), reduction)


def l1_loss_forward(input, target, out, n, reduction):
    total = T(0)
    for i in range(cuda.grid(1), n, cuda.gridsize(1)):
        total = put(out, i, abs(input[i] - target[i]), total, reduction)
    finish(out, total, T(n), reduction)


def l1_loss_backward(input, target, grad_out, grad_input, n, reduction):
    for i in range(cuda.grid(1), n, cuda.gridsize(1)):
        grad_input[i] = sign(input[i] - target[i]) * upstream(grad_out, i, T(n), reduction)


def smooth_l1_loss_forward(input, target, out, n, reduction, beta):
    total, b = T(0), T(beta)
    for i in range(cuda.grid(1), n, cuda.gridsize(1)):
        z = abs(input[i] - target[i])
        total = put(out, i, T(0.5) * z * z / b if z < b else z - T(0.5) * b, total, reduction)
    finish(out, total, T(n), reduction)


def smooth_l1_loss_backward(input, target, grad_out, grad_input, n, reduction, beta):
    for i in range(cuda.grid(1), n, cuda.gridsize(1)):
        d = input[i] - target[i]
        slope = d / T(beta) if abs(d) < T(beta) else sign(d)
        grad_input[i] = slope * upstream(grad_out, i, T(n), reduction)


def huber_loss_forward(input, target, out, n, reduction, delta):
    total, b = T(0), T(delta)
    for i in range(cuda.grid(1), n, cuda.gridsize(1)):
        z = abs(input[i] - target[i])
        total = put(out, i, T(0.5) * z * z if z < b else b * (z - T(0.5) * b), total, reduction)
    finish(out, total, T(n), reduction)


def huber_loss_backward(input, target, grad_out, grad_input, n, reduction, delta):
    b = T(delta)
    for i in range(cuda.grid(1), n, cuda.gridsize(1)):
        d = input[i] - target[i]
        slope = -b if d < -b else b if d > b else d
        grad_input[i] = slope * upstream(grad_out, i, T(n), reduction)


def binary_cross_entropy_forward(input, target, weight, out, n, reduction, has_weight):
    total = T(0)
    for i in range(cuda.grid(1), n, cuda.gridsize(1)):
        value = -target[i] * floored_log(input[i]) - (T(1) - target[i]) * floored_log1p(-input[i])
        if has_weight:
            value *= weight[i]
        total = put(out, i, value, total, reduction)
    finish(out, total, T(n), reduction)


def binary_cross_entropy_backward(input, target, weight, grad_out, grad_input, n, reduction, has_weight):
    for i in range(cuda.grid(1), n, cuda.gridsize(1)):
        curvature = input[i] * (T(1) - input[i])
        slope = (input[i] - target[i]) / (T(1e-12) if curvature < T(1e-12) else curvature)
        if has_weight:
            slope *= weight[i]
        grad_input[i] = slope * upstream(grad_out, i, T(n), reduction)


def binary_cross_entropy_backward_target(input, target, weight, grad_out, grad_target, n, reduction, has_weight):
    for i in range(cuda.grid(1), n, cuda.gridsize(1)):
        slope = floored_log1p(-input[i]) - floored_log(input[i])
        if has_weight:
            slope *= weight[i]
        grad_target[i] = slope * upstream(grad_out, i, T(n), reduction)


def binary_cross_entropy_with_logits_forward(
    input, target, weight, pos_weight, out, n, reduction, has_weight, has_pos_weight
):
    total = T(0)
    for i in range(cuda.grid(1), n, cuda.gridsize(1)):
        factor = T(1) + (pos_weight[i] - T(1)) * target[i] if has_pos_weight else T(1)
        value = (T(1) - target[i]) * input[i] + factor * softplus(-input[i])
        if has_weight:
            value *= weight[i]
        total = put(out, i, value, total, reduction)
    finish(out, total, T(n), reduction)


def binary_cross_entropy_with_logits_backward(
    input, target, weight, pos_weight, grad_out, grad_input, n, reduction, has_weight, has_pos_weight
):
    for i in range(cuda.grid(1), n, cuda.gridsize(1)):
        factor = T(1) + (pos_weight[i] - T(1)) * target[i] if has_pos_weight else T(1)
        slope = (T(1) - target[i]) - factor * sigmoid(-input[i])
        if has_weight:
            slope *= weight[i]
        grad_input[i] = slope * upstream(grad_out, i, T(n), reduction)


def binary_cross_entropy_with_logits_backward_target(
    input, target, weight, pos_weight, grad_out, grad_target, n, reduction, has_weight, has_pos_weight
):
    for i in range(cuda.grid(1), n, cuda.gridsize(1)):
        slope = -input[i]
        if has_pos_weight:
            slope += (pos_weight[i] - T(1)) * softplus(-input[i])
        if has_weight:
            slope *= weight[i]
        grad_target[i] = slope * upstream(grad_out, i, T(n), reduction)


def kl_div_forward(input, target, out, n, reduction, log_target):
    total = T(0)
    for i in range(cuda.grid(1), n, cuda.gridsize(1)):
        x, y = input[i], target[i]
        if log_target:
            value = math.exp(y) * (y - x)
        else:
            value = (y * math.log(y) if y > T(0) else T(0) * y) - y * x
        total = put(out, i, value, total, reduction)
    finish(out, total, T(n), reduction)


def kl_div_backward(input, target, grad_out, grad_input, n, reduction, log_target):
    for i in range(cuda.grid(1), n, cuda.gridsize(1)):
        y = math.exp(target[i]) if log_target else target[i]
        grad_input[i] = -y * upstream(grad_out, i, T(n), reduction)


def kl_div_backward_target(input, target, grad_out, grad_target, n, reduction, log_target):
    for i in range(cuda.grid(1), n, cuda.gridsize(1)):
        x, y = input[i], target[i]
        slope = math.exp(y) * (y - x + T(1)) if log_target else math.log(y) + T(1) - x
        grad_target[i] = slope * upstream(grad_out, i, T(n), reduction)


# ---- Classes: row o * inner + j of (outer, classes, inner) is x[o, :, j]. Forward: a thread per row, one block ----


def first_of(row, classes, inner):
    return row // inner * classes * inner + row % inner


def log_sum_exp(x, at, classes, inner):
    m = T(-math.inf)
    for c in range(classes):
        v = x[at + c * inner]
        m = v if v > m or v != v else m
    if m == T(-math.inf):
        m = T(0)
    total = T(0)
    for c in range(classes):
        total += math.exp(x[at + c * inner] - m)
    return math.log(total) + m if total != T(0) else T(-math.inf)


def check_targets(target, status, rows, classes, ignore_index):
    """status[0] = the first row whose target is no class, or -1; the block learns whether there is one."""
    part = cuda.shared.array(WIDTH, np.int64)
    thread, step = cuda.threadIdx.x, cuda.blockDim.x // 2
    part[thread] = rows
    for row in range(thread, rows, cuda.blockDim.x):
        t = target[row]
        if t != ignore_index and (t < 0 or t >= classes):
            part[thread] = row
            break
    cuda.syncthreads()
    while step > 0:
        if thread < step and part[thread + step] < part[thread]:
            part[thread] = part[thread + step]
        cuda.syncthreads()
        step //= 2
    if thread == 0:
        status[0] = part[0] if part[0] < rows else -1
    return part[0] < rows


def cross_entropy_forward(
    logits, target, weight, lse, out, total, status,
    rows, classes, inner, reduction, ignore_index, has_weight, label_smoothing,
):  # fmt: skip
    if check_targets(target, status, rows, classes, ignore_index):
        return
    losses, weights, keep = T(0), T(0), T(1) - T(label_smoothing)
    floor = T(label_smoothing) / T(classes)
    for row in range(cuda.threadIdx.x, rows, cuda.blockDim.x):
        at, t = first_of(row, classes, inner), target[row]
        l = log_sum_exp(logits, at, classes, inner)
        lse[row] = l
        value = T(0)
        if t != ignore_index:
            w = weight[t] if has_weight else T(1)
            weights += w
            value = keep * w * (l - logits[at + t * inner])
            if floor > T(0):
                for c in range(classes):
                    value += floor * (weight[c] if has_weight else T(1)) * (l - logits[at + c * inner])
        losses = put(out, row, value, losses, reduction)
    weights = block_sum(weights)
    if cuda.threadIdx.x == 0:
        total[0] = weights
    finish(out, losses, weights, reduction)


def cross_entropy_backward(
    logits, target, weight, lse, grad_out, total, grad_logits,
    rows, classes, inner, reduction, ignore_index, has_weight, label_smoothing,
):  # fmt: skip
    floor, keep, all_weights = T(label_smoothing) / T(classes), T(1) - T(label_smoothing), T(classes)
    if has_weight and floor > T(0):
        all_weights = T(0)
        for c in range(classes):
            all_weights += weight[c]
    for e in range(cuda.grid(1), rows * classes, cuda.gridsize(1)):
        row, c = e // (classes * inner) * inner + e % inner, e // inner % classes
        t = target[row]
        if t == ignore_index:
            grad_logits[e] = T(0)
        else:
            w = keep * (weight[t] if has_weight else T(1))
            wanted = floor * (weight[c] if has_weight else T(1)) + (w if c == t else T(0))
            p = math.exp(logits[e] - lse[row])
            grad_logits[e] = upstream(grad_out, row, total[0], reduction) * (p * (w + floor * all_weights) - wanted)


def wanted_of(target, weight, i, c, classes, has_weight, label_smoothing):
    share = target[i] * (T(1) - T(label_smoothing)) + T(label_smoothing) / T(classes)
    return share * weight[c] if has_weight else share


def cross_entropy_soft_forward(
    logits, target, weight, lse, out, rows, classes, inner, reduction, has_weight, label_smoothing
):
    losses = T(0)
    for row in range(cuda.threadIdx.x, rows, cuda.blockDim.x):
        at = first_of(row, classes, inner)
        l = log_sum_exp(logits, at, classes, inner)
        lse[row] = l
        value = T(0)
        for c in range(classes):
            i = at + c * inner
            value += wanted_of(target, weight, i, c, classes, has_weight, label_smoothing) * (l - logits[i])
        losses = put(out, row, value, losses, reduction)
    finish(out, losses, T(rows), reduction)


def cross_entropy_soft_backward(
    logits, target, weight, lse, grad_out, grad_logits, rows, classes, inner, reduction, has_weight, label_smoothing
):
    for row in range(cuda.grid(1), rows, cuda.gridsize(1)):
        at = first_of(row, classes, inner)
        g = upstream(grad_out, row, T(rows), reduction)
        mass = T(0)
        for c in range(classes):
            mass += wanted_of(target, weight, at + c * inner, c, classes, has_weight, label_smoothing)
        for c in range(classes):
            i = at + c * inner
            wanted = wanted_of(target, weight, i, c, classes, has_weight, label_smoothing)
            grad_logits[i] = g * (math.exp(logits[i] - lse[row]) * mass - wanted)


def nll_loss_forward(
    input, target, weight, out, total, status, rows, classes, inner, reduction, ignore_index, has_weight
):
    if check_targets(target, status, rows, classes, ignore_index):
        return
    losses, weights = T(0), T(0)
    for row in range(cuda.threadIdx.x, rows, cuda.blockDim.x):
        t = target[row]
        value = T(0)
        if t != ignore_index:
            w = weight[t] if has_weight else T(1)
            weights += w
            value = -w * input[first_of(row, classes, inner) + t * inner]
        losses = put(out, row, value, losses, reduction)
    weights = block_sum(weights)
    if cuda.threadIdx.x == 0:
        total[0] = weights
    finish(out, losses, weights, reduction)


def nll_loss_backward(
    target, weight, grad_out, total, grad_input, rows, classes, inner, reduction, ignore_index, has_weight
):
    for e in range(cuda.grid(1), rows * classes, cuda.gridsize(1)):
        row, c = e // (classes * inner) * inner + e % inner, e // inner % classes
        t = target[row]
        slope = T(0)
        if t != ignore_index and c == t:
            slope = -upstream(grad_out, row, total[0], reduction) * (weight[t] if has_weight else T(1))
        grad_input[e] = slope


def _one_block(sizes):
    """For a forward that reduces or checks its targets."""
    return 1, 32 if sizes[0] <= 512 else WIDTH, 0


def _pointwise_forward(sizes):
    return _one_block(sizes) if sizes[1] != NONE else _elements(sizes)


def _elements(sizes):
    return min(-(-sizes[0] // WIDTH), MOST_BLOCKS), WIDTH, 0


def _all_classes(sizes):
    return min(-(-sizes[0] * sizes[1] // WIDTH), MOST_BLOCKS), WIDTH, 0


POINTWISE = (
    "mse_loss", "l1_loss", "smooth_l1_loss", "huber_loss", "binary_cross_entropy", "binary_cross_entropy_with_logits",
    "kl_div",
)  # fmt: skip
LAUNCH = {f"{name}_forward": _pointwise_forward for name in POINTWISE}
LAUNCH |= {f"{name}_forward": _one_block for name in ("cross_entropy", "cross_entropy_soft", "nll_loss")}
LAUNCH |= {f"{name}_backward": _all_classes for name in ("cross_entropy", "nll_loss")}
