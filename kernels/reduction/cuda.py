"""CUDA twins of the reductions over (outer, n, inner): a block for each result, its threads stride over n and meet in a
tree in shared memory, so the order of a sum depends on n alone. Backward kernels take an element per thread, or a block
per result where they count first."""

import numpy as np

WIDTH = 256  # threads of a block at most; always a power of two
MOST_BLOCKS = 4096


def _blocks(sizes):
    outer, n, inner = sizes[0], sizes[1], sizes[2]
    return min(outer * inner, MOST_BLOCKS), WIDTH if n > 512 else 32, 0


def _elements(sizes):
    return min(-(-sizes[0] * sizes[1] * sizes[2] // WIDTH), MOST_BLOCKS), WIDTH, 0


def _lines(sizes):
    return min(-(-sizes[0] * sizes[2] // WIDTH), MOST_BLOCKS), WIDTH, 0


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


def block_prod(value):
    part = cuda.shared.array(WIDTH, T)
    t, step = cuda.threadIdx.x, cuda.blockDim.x // 2
    part[t] = value
    cuda.syncthreads()
    while step > 0:
        if t < step:
            part[t] *= part[t + step]
        cuda.syncthreads()
        step //= 2
    total = part[0]
    cuda.syncthreads()
    return total


def larger(a, b):
    """The maximum; nan if either is."""
    return a if a > b or a != a else b


def block_max(value):
    part = cuda.shared.array(WIDTH, T)
    t, step = cuda.threadIdx.x, cuda.blockDim.x // 2
    part[t] = value
    cuda.syncthreads()
    while step > 0:
        if t < step:
            part[t] = larger(part[t], part[t + step])
        cuda.syncthreads()
        step //= 2
    total = part[0]
    cuda.syncthreads()
    return total


def first_of(item, n, inner):
    return item // inner * n * inner + item % inner


def result_of(e, n, inner):
    """The result that element e belongs to."""
    return e // (n * inner) * inner + e % inner


def sum_of(x, at, n, inner):
    total = T(0)
    for i in range(cuda.threadIdx.x, n, cuda.blockDim.x):
        total += x[at + i * inner]
    return block_sum(total)


def max_of(x, at, n, inner, sign):
    """The largest of sign * x."""
    best = T(-math.inf)
    for i in range(cuda.threadIdx.x, n, cuda.blockDim.x):
        best = larger(sign * x[at + i * inner], best)
    return block_max(best)


def squares_of(x, at, n, inner, mean):
    total = T(0)
    for i in range(cuda.threadIdx.x, n, cuda.blockDim.x):
        d = x[at + i * inner] - mean
        total += d * d
    return block_sum(total)


def sum_forward(x, out, outer, n, inner):
    for item in range(cuda.blockIdx.x, outer * inner, cuda.gridDim.x):
        total = sum_of(x, first_of(item, n, inner), n, inner)
        if cuda.threadIdx.x == 0:
            out[item] = total


def sum_backward(grad_out, grad_x, outer, n, inner):
    for e in range(cuda.grid(1), outer * n * inner, cuda.gridsize(1)):
        grad_x[e] = grad_out[result_of(e, n, inner)]


def mean_forward(x, out, outer, n, inner):
    for item in range(cuda.blockIdx.x, outer * inner, cuda.gridDim.x):
        total = sum_of(x, first_of(item, n, inner), n, inner)
        if cuda.threadIdx.x == 0:
            out[item] = total / T(n)


def mean_backward(grad_out, grad_x, outer, n, inner):
    for e in range(cuda.grid(1), outer * n * inner, cuda.gridsize(1)):
        grad_x[e] = grad_out[result_of(e, n, inner)] / T(n)


def prod_forward(x, out, outer, n, inner):
    for item in range(cuda.blockIdx.x, outer * inner, cuda.gridDim.x):
        at = first_of(item, n, inner)
        total = T(1)
        for i in range(cuda.threadIdx.x, n, cuda.blockDim.x):
            total *= x[at + i * inner]
        total = block_prod(total)
        if cuda.threadIdx.x == 0:
            out[item] = total


def prod_backward(x, grad_out, grad_x, outer, n, inner):
    # The product of the others: prod / x without zeros; with one zero the rest's product there, and 0 elsewhere.
    for item in range(cuda.blockIdx.x, outer * inner, cuda.gridDim.x):
        at = first_of(item, n, inner)
        rest, zeros = T(1), T(0)
        for i in range(cuda.threadIdx.x, n, cuda.blockDim.x):
            if x[at + i * inner] == T(0):
                zeros += T(1)
            else:
                rest *= x[at + i * inner]
        zeros = block_sum(zeros)
        slope = block_prod(rest) * grad_out[item]
        for i in range(cuda.threadIdx.x, n, cuda.blockDim.x):
            v = x[at + i * inner]
            if v == T(0):
                grad_x[at + i * inner] = slope if zeros == T(1) else T(0)
            else:
                grad_x[at + i * inner] = (slope if zeros == T(0) else T(0)) / v


def amax_forward(x, out, outer, n, inner):
    for item in range(cuda.blockIdx.x, outer * inner, cuda.gridDim.x):
        best = max_of(x, first_of(item, n, inner), n, inner, T(1))
        if cuda.threadIdx.x == 0:
            out[item] = best


def amin_forward(x, out, outer, n, inner):
    for item in range(cuda.blockIdx.x, outer * inner, cuda.gridDim.x):
        best = max_of(x, first_of(item, n, inner), n, inner, T(-1))
        if cuda.threadIdx.x == 0:
            out[item] = -best


def amax_backward(x, out, grad_out, grad_x, outer, n, inner):
    for item in range(cuda.blockIdx.x, outer * inner, cuda.gridDim.x):
        at = first_of(item, n, inner)
        hits = T(0)
        for i in range(cuda.threadIdx.x, n, cuda.blockDim.x):
            hits += T(1) if x[at + i * inner] == out[item] else T(0)
        share = grad_out[item] / block_sum(hits)
        for i in range(cuda.threadIdx.x, n, cuda.blockDim.x):
            grad_x[at + i * inner] = (T(1) if x[at + i * inner] == out[item] else T(0)) * share


def find_first(x, indices, item, at, n, inner, wanted):
    """indices[item] = the first i with x == wanted, or the first nan where wanted is one."""
    part = cuda.shared.array(WIDTH, np.int64)
    t, step = cuda.threadIdx.x, cuda.blockDim.x // 2
    part[t] = n
    for i in range(t, n, cuda.blockDim.x):
        v = x[at + i * inner]
        if v == wanted or v != v:
            part[t] = i
            break
    cuda.syncthreads()
    while step > 0:
        if t < step and part[t + step] < part[t]:
            part[t] = part[t + step]
        cuda.syncthreads()
        step //= 2
    if t == 0:
        indices[item] = part[0]
    cuda.syncthreads()


def max_forward(x, out, indices, outer, n, inner):
    for item in range(cuda.blockIdx.x, outer * inner, cuda.gridDim.x):
        at = first_of(item, n, inner)
        best = max_of(x, at, n, inner, T(1))
        find_first(x, indices, item, at, n, inner, best)
        if cuda.threadIdx.x == 0:
            out[item] = best


def min_forward(x, out, indices, outer, n, inner):
    for item in range(cuda.blockIdx.x, outer * inner, cuda.gridDim.x):
        at = first_of(item, n, inner)
        best = -max_of(x, at, n, inner, T(-1))
        find_first(x, indices, item, at, n, inner, best)
        if cuda.threadIdx.x == 0:
            out[item] = best


def argmax_forward(x, indices, outer, n, inner):
    for item in range(cuda.blockIdx.x, outer * inner, cuda.gridDim.x):
        at = first_of(item, n, inner)
        find_first(x, indices, item, at, n, inner, max_of(x, at, n, inner, T(1)))


def argmin_forward(x, indices, outer, n, inner):
    for item in range(cuda.blockIdx.x, outer * inner, cuda.gridDim.x):
        at = first_of(item, n, inner)
        find_first(x, indices, item, at, n, inner, -max_of(x, at, n, inner, T(-1)))


def max_backward(indices, grad_out, grad_x, outer, n, inner):
    for e in range(cuda.grid(1), outer * n * inner, cuda.gridsize(1)):
        item = result_of(e, n, inner)
        grad_x[e] = grad_out[item] if e // inner % n == indices[item] else T(0)


def norm_forward(x, out, outer, n, inner):
    for item in range(cuda.blockIdx.x, outer * inner, cuda.gridDim.x):
        total = squares_of(x, first_of(item, n, inner), n, inner, T(0))
        if cuda.threadIdx.x == 0:
            out[item] = math.sqrt(total)


def norm_backward(x, out, grad_out, grad_x, outer, n, inner):
    for e in range(cuda.grid(1), outer * n * inner, cuda.gridsize(1)):
        item = result_of(e, n, inner)
        grad_x[e] = x[e] * (T(0) if out[item] == T(0) else grad_out[item] / out[item])


def logsumexp_forward(x, out, outer, n, inner):
    for item in range(cuda.blockIdx.x, outer * inner, cuda.gridDim.x):
        at = first_of(item, n, inner)
        shift = max_of(x, at, n, inner, T(1))
        if math.isinf(shift):
            shift = T(0)
        total = T(0)
        for i in range(cuda.threadIdx.x, n, cuda.blockDim.x):
            total += math.exp(x[at + i * inner] - shift)
        total = block_sum(total)
        if cuda.threadIdx.x == 0:
            out[item] = math.log(total) + shift if total != T(0) else T(-math.inf)


def logsumexp_backward(x, out, grad_out, grad_x, outer, n, inner):
    for e in range(cuda.grid(1), outer * n * inner, cuda.gridsize(1)):
        item = result_of(e, n, inner)
        grad_x[e] = math.exp(x[e] - out[item]) * grad_out[item]


def variance_of(x, mean, item, n, inner, correction):
    at = first_of(item, n, inner)
    center = sum_of(x, at, n, inner) / T(n)
    left = T(n) - T(correction)
    if cuda.threadIdx.x == 0:
        mean[item] = center
    return squares_of(x, at, n, inner, center) / (left if left > T(0) else T(0))


def var_forward(x, mean, out, outer, n, inner, correction):
    for item in range(cuda.blockIdx.x, outer * inner, cuda.gridDim.x):
        v = variance_of(x, mean, item, n, inner, correction)
        if cuda.threadIdx.x == 0:
            out[item] = v


def var_backward(x, mean, grad_out, grad_x, outer, n, inner, correction):
    for e in range(cuda.grid(1), outer * n * inner, cuda.gridsize(1)):
        item = result_of(e, n, inner)
        grad_x[e] = (x[e] - mean[item]) * (grad_out[item] * (T(2) / (T(n) - T(correction))))


def std_forward(x, mean, out, outer, n, inner, correction):
    for item in range(cuda.blockIdx.x, outer * inner, cuda.gridDim.x):
        v = variance_of(x, mean, item, n, inner, correction)
        if cuda.threadIdx.x == 0:
            out[item] = math.sqrt(v)


def std_backward(x, mean, out, grad_out, grad_x, outer, n, inner, correction):
    for e in range(cuda.grid(1), outer * n * inner, cuda.gridsize(1)):
        item = result_of(e, n, inner)
        slope = T(0) if out[item] == T(0) else grad_out[item] / (out[item] * (T(n) - T(correction)))
        grad_x[e] = (x[e] - mean[item]) * slope


def any_forward(x, out, outer, n, inner):
    for item in range(cuda.blockIdx.x, outer * inner, cuda.gridDim.x):
        at, found = first_of(item, n, inner), 0
        for i in range(cuda.threadIdx.x, n, cuda.blockDim.x):
            if x[at + i * inner] != 0:
                found = 1
        found = cuda.syncthreads_or(found)
        if cuda.threadIdx.x == 0:
            out[item] = found != 0


def all_forward(x, out, outer, n, inner):
    for item in range(cuda.blockIdx.x, outer * inner, cuda.gridDim.x):
        at, missed = first_of(item, n, inner), 0
        for i in range(cuda.threadIdx.x, n, cuda.blockDim.x):
            if x[at + i * inner] == 0:
                missed = 1
        missed = cuda.syncthreads_or(missed)
        if cuda.threadIdx.x == 0:
            out[item] = missed == 0


def cumsum_forward(x, out, outer, n, inner):
    # A thread per line: in order, as a running sum is.
    for item in range(cuda.grid(1), outer * inner, cuda.gridsize(1)):
        at = first_of(item, n, inner)
        total = T(0)
        for i in range(n):
            total += x[at + i * inner]
            out[at + i * inner] = total


def cumsum_backward(grad_out, grad_x, outer, n, inner):
    for item in range(cuda.grid(1), outer * inner, cuda.gridsize(1)):
        at = first_of(item, n, inner)
        total = T(0)
        for i in range(n - 1, -1, -1):
            total += grad_out[at + i * inner]
            grad_x[at + i * inner] = total


_NAMES = [
    "sum",
    "mean",
    "prod",
    "amax",
    "amin",
    "max",
    "min",
    "argmax",
    "argmin",
    "norm",
    "logsumexp",
    "var",
    "std",
    "any",
    "all",
]
LAUNCH = {
    **{f"{name}_forward": _blocks for name in _NAMES},
    **{f"{name}_backward": _elements for name in ("sum", "mean", "max", "norm", "logsumexp", "var", "std")},
    **{f"cumsum_{way}": _lines for way in ("forward", "backward")},
    "prod_backward": _blocks,
    "amax_backward": _blocks,
}
