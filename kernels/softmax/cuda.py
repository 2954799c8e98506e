"""CUDA twins of softmax over the middle axis of (outer, n, inner): a block for each of the rows = outer * inner."""

from kernelgrad.kernels.reduction.cuda import MOST_BLOCKS, WIDTH, block_sum, first_of, max_of, sum_of


def _rows(sizes):
    return min(sizes[0], MOST_BLOCKS), WIDTH if sizes[1] > 512 else 32, 0


LAUNCH = {f"{op}_{way}": _rows for op in ("softmax", "log_softmax") for way in ("forward", "backward")}


def _exponentials(x, at, n, inner, shift):
    """The sum of exp(x - shift) over a row."""
    total = T(0)
    for i in range(cuda.threadIdx.x, n, cuda.blockDim.x):
        total += math.exp(x[at + i * inner] - shift)
    return block_sum(total)


def softmax_forward(x, out, rows, n, inner):
    for row in range(cuda.blockIdx.x, rows, cuda.gridDim.x):
        at = first_of(row, n, inner)
        shift = max_of(x, at, n, inner, T(1))
        total = _exponentials(x, at, n, inner, shift)
        for i in range(cuda.threadIdx.x, n, cuda.blockDim.x):
            out[at + i * inner] = math.exp(x[at + i * inner] - shift) / total


def softmax_backward(out, grad_out, grad_x, rows, n, inner):
    for row in range(cuda.blockIdx.x, rows, cuda.gridDim.x):
        at = first_of(row, n, inner)
        total = T(0)
        for i in range(cuda.threadIdx.x, n, cuda.blockDim.x):
            total += grad_out[at + i * inner] * out[at + i * inner]
        total = block_sum(total)
        for i in range(cuda.threadIdx.x, n, cuda.blockDim.x):
            grad_x[at + i * inner] = out[at + i * inner] * (grad_out[at + i * inner] - total)


def log_softmax_forward(x, out, rows, n, inner):
    for row in range(cuda.blockIdx.x, rows, cuda.gridDim.x):
        at = first_of(row, n, inner)
        shift = max_of(x, at, n, inner, T(1))
        logarithm = math.log(_exponentials(x, at, n, inner, shift))
        for i in range(cuda.threadIdx.x, n, cuda.blockDim.x):
            out[at + i * inner] = (x[at + i * inner] - shift) - logarithm


def log_softmax_backward(out, grad_out, grad_x, rows, n, inner):
    for row in range(cuda.blockIdx.x, rows, cuda.gridDim.x):
        at = first_of(row, n, inner)
        total = sum_of(grad_out, at, n, inner)
        for i in range(cuda.threadIdx.x, n, cuda.blockDim.x):
            grad_x[at + i * inner] = grad_out[at + i * inner] - math.exp(out[at + i * inner]) * total
