"""Products of matrices and vectors. `matmul` and `linear` are compiled (core/products.pyx), the others made of them."""

import math
from collections import Counter
from string import ascii_letters

from kernelgrad.core import Array, kernel
from kernelgrad.core.products import can_fuse, linear, linear_with, matmul, set_activation_backward
from kernelgrad.core.views import expand, permute, reshape, transpose, unsqueeze
from kernelgrad.ops.reduction import sum

__all__ = [
    "addmm", "addmv", "baddbmm", "bmm", "dot", "einsum", "inner", "linear", "matmul", "mm", "mv", "outer", "tensordot",
]  # fmt: skip

ACTIVATIONS = {"relu": 1, "gelu_tanh": 2, "gelu": 3, "silu": 4, "tanh": 5, "sigmoid": 6}  # as in gemm.h
for _name in ("relu", "tanh", "sigmoid"):  # whose backward needs the output alone
    set_activation_backward(ACTIVATIONS[_name], kernel(f"{_name}_backward"))


def _check_dims(name, tensors, dims, text):
    """TypeError unless all are Tensors; RuntimeError with `text` unless they have these numbers of dimensions."""
    for position, x in enumerate(tensors):
        if not isinstance(x, Array):
            raise TypeError(f"{name}(): argument {position + 1} must be Tensor, not {type(x).__name__}")
    if any(x.ndim != d for x, d in zip(tensors, dims)):
        raise RuntimeError(f"{name}: {text}, got shapes {' and '.join(str(tuple(x.shape)) for x in tensors)}")


def mm(input, mat2):
    """Product of two matrices, (m, k) and (k, n); no broadcasting. RuntimeError for other numbers of dimensions."""
    _check_dims("mm", (input, mat2), (2, 2), "self must be a matrix and mat2 must be a matrix")
    return matmul(input, mat2)


def bmm(input, mat2):
    """Products of two batches of matrices, (b, m, k) and (b, k, n); no broadcasting. RuntimeError if sizes differ."""
    _check_dims("bmm", (input, mat2), (3, 3), "batch1 must be a 3D tensor and batch2 must be a 3D tensor")
    if input.shape[0] != mat2.shape[0] or input.shape[2] != mat2.shape[1]:
        raise RuntimeError(
            f"bmm: Expected size for first two dimensions of batch2 tensor to be: [{input.shape[0]}, {input.shape[2]}] "
            f"but got: [{mat2.shape[0]}, {mat2.shape[1]}]."
        )
    return matmul(input, mat2)


def mv(input, vec):
    """Product of a matrix (m, k) and a vector (k,). RuntimeError for other numbers of dimensions."""
    _check_dims("mv", (input, vec), (2, 1), "expected a matrix and a vector")
    return matmul(input, vec)


def dot(input, tensor):
    """Sum of products of two vectors of equal length, as a 0-d tensor. RuntimeError for other numbers of dimensions."""
    _check_dims("dot", (input, tensor), (1, 1), "1D tensors expected")
    return matmul(input, tensor)


def outer(input, vec2):
    """``out[i, j] = input[i] * vec2[j]`` for two vectors. RuntimeError for other numbers of dimensions."""
    _check_dims("outer", (input, vec2), (1, 1), "Expected 1-D arguments")
    return unsqueeze(input, 1) * unsqueeze(vec2, 0)


def inner(input, other):
    """Sums of products over the last dimension of both: (*, k) and (+, k) give (*, +). With a scalar, their product."""
    if input.ndim == 0 or other.ndim == 0:
        return input * other
    if input.shape[-1] != other.shape[-1]:
        raise RuntimeError(
            f"inner: the size in the last dimension must match on both input tensors but got {tuple(input.shape)} and "
            f"{tuple(other.shape)}"
        )
    return tensordot(input, other, ([-1], [-1]))


def addmm(input, mat1, mat2, *, beta=1, alpha=1):
    """``beta * input + alpha * (mat1 @ mat2)``; `input` broadcasts to (m, n). With beta 0 its nan do not count."""
    _check_dims("addmm", (mat1, mat2), (2, 2), "mat1 and mat2 must be matrices")
    if beta == 1 and alpha == 1 and input.ndim == 1 and input.shape[0] == mat2.shape[1]:
        return linear(mat1, transpose(mat2, 0, 1), input)
    return _add_product(input, matmul(mat1, mat2), beta, alpha, "addmm")


def addmv(input, mat, vec, *, beta=1, alpha=1):
    """``beta * input + alpha * (mat @ vec)``; `input` broadcasts to (m,)."""
    return _add_product(input, mv(mat, vec), beta, alpha, "addmv")


def baddbmm(input, batch1, batch2, *, beta=1, alpha=1):
    """``beta * input + alpha * (batch1 @ batch2)`` for batches of matrices; `input` broadcasts to (b, m, n)."""
    return _add_product(input, bmm(batch1, batch2), beta, alpha, "baddbmm")


def _add_product(input, product, beta, alpha, name):
    if input.dtype is not product.dtype:
        raise RuntimeError(
            f"{name}: self and mat2 must have the same dtype, but got {input.dtype.name} and {product.dtype.name}"
        )
    if not product.dtype.is_floating_point:  # integers stay integers: factors lose their fractions
        beta, alpha = int(beta), int(alpha)
    try:
        input = expand(input, product.shape)
    except RuntimeError as error:
        raise RuntimeError(
            f"{name}: input of shape {tuple(input.shape)} does not broadcast to the product's {tuple(product.shape)}"
        ) from error
    if alpha != 1:
        product = product * alpha
    if beta == 0:
        return product
    return (input if beta == 1 else input * beta) + product


def linear_activation(input, weight, bias, activation):
    """`linear` followed by "relu", "gelu", "gelu_tanh", "silu", "tanh" or "sigmoid", in one pass where possible.

    In training that is where backward needs the output alone; otherwise the activation is an op of its own.
    """
    code = ACTIVATIONS[activation]
    if can_fuse(code, input, weight, bias):
        return linear_with(input, weight, bias, code)
    from kernelgrad.ops import activations

    out = linear(input, weight, bias)
    if activation == "gelu_tanh":
        return activations.gelu(out, approximate="tanh")
    return getattr(activations, activation)(out)


def tensordot(a, b, dims=2):
    """Sums of products over pairs of dimensions: the last `dims` of a with the first of b, or the listed pairs.

    Parameters
    ----------
    a, b : Tensor
    dims : int, or a pair of lists of dimensions of a and of b

    Returns
    -------
    Tensor whose dimensions are those of a, then those of b, that were not summed.
    """
    if isinstance(dims, int):
        if dims < 0 or dims > min(a.ndim, b.ndim):
            raise RuntimeError(f"tensordot expects dims >= 0 and at most both tensors' dimensions, but got dims={dims}")
        first, second = list(range(a.ndim - dims, a.ndim)), list(range(dims))
    else:
        first, second = ([dims[i]] if isinstance(dims[i], int) else list(dims[i]) for i in (0, 1))
    if len(first) != len(second):
        raise RuntimeError(f"tensordot: both dimension lists should have same length, got {first} and {second}")
    first, second = [d % a.ndim for d in first], [d % b.ndim for d in second]
    for i, j in zip(first, second):
        if a.shape[i] == 1 != b.shape[j]:  # a size of 1 broadcasts: the other side is summed first
            b = sum(b, j, keepdim=True)
        elif b.shape[j] == 1 != a.shape[i]:
            a = sum(a, i, keepdim=True)
        if a.shape[i] != b.shape[j]:
            raise RuntimeError(
                f"tensordot: contracted dimensions need to match, but first has size {a.shape[i]} in dim {i} "
                f"and second has size {b.shape[j]} in dim {j}"
            )
    left = [d for d in range(a.ndim) if d not in first]
    right = [d for d in range(b.ndim) if d not in second]
    rows, columns = [a.shape[d] for d in left], [b.shape[d] for d in right]
    k = math.prod(a.shape[d] for d in first)
    x = reshape(permute(a, (*left, *first)), (math.prod(rows), k))
    y = reshape(permute(b, (*second, *right)), (k, math.prod(columns)))
    return reshape(matmul(x, y), (*rows, *columns))


# ---- einsum ----


def einsum(equation, *operands):
    """Sums of products in Einstein's notation, such as ``einsum("bij,bjk->bik", a, b)``.

    Each letter names a dimension; letters that the output lacks are summed over. ``...`` stands for dimensions that
    broadcast, a letter twice in one operand for its diagonal. Without ``->`` the output has, in alphabetical order, the
    letters that occur once. Operands are multiplied pairwise from left to right, each pair as one batched `matmul`.

    Instead of letters, each operand may be followed by a list of numbers (and Ellipsis); a list behind all of these
    names the output: ``einsum(a, [0, 1], b, [1, 2], [0, 2])``.

    Raises
    ------
    RuntimeError
        If the equation does not fit the operands.
    """
    if not isinstance(equation, str):
        equation, operands = _from_sublists((equation, *operands))
    if len(operands) == 1 and isinstance(operands[0], (list, tuple)):
        operands = tuple(operands[0])
    terms, output = _parse(equation, operands)
    sizes = _sizes(equation, terms, operands)
    x, labels = _diagonals(operands[0], terms[0])
    for i in range(1, len(operands)):
        later = set(output).union(*terms[i + 1 :])
        y, others = _diagonals(operands[i], terms[i])
        x, labels = _contract(x, labels, y, others, later, sizes)
    x, labels = _sum_out(x, labels, set(output))
    x = permute(x, [labels.index(label) for label in output]) if labels != output else x
    return expand(x, [sizes[label] for label in output])


def _from_sublists(arguments):
    """The equation and operands of (operand, numbers, operand, numbers, .., [numbers of the output])."""

    def letters(numbers):
        if any(n is not Ellipsis and not 0 <= n < len(ascii_letters) for n in numbers):
            raise RuntimeError(f"einsum(): subscripts must be in [0, {len(ascii_letters)}), got {list(numbers)}")
        ordered = sorted(ascii_letters)  # as numbers are, for an output that is not given
        return "".join("..." if n is Ellipsis else ordered[n] for n in numbers)

    pairs, output = (arguments[:-1], arguments[-1:]) if len(arguments) % 2 else (arguments, ())
    if not all(isinstance(x, Array) for x in pairs[::2]) or not all(
        isinstance(numbers, (list, tuple)) for numbers in (*pairs[1::2], *output)
    ):
        raise TypeError("einsum(): expected an equation, or operands each followed by a list of numbers")
    equation = ",".join(letters(numbers) for numbers in pairs[1::2])
    return equation + "".join("->" + letters(numbers) for numbers in output), pairs[::2]


def _parse(equation, operands):
    """Labels of each operand and of the output: letters, and numbers for the dimensions that ... stands for."""
    left, arrow, right = equation.replace(" ", "").partition("->")
    terms = left.split(",")
    if len(terms) != len(operands):
        raise RuntimeError(f"einsum(): the equation {equation!r} names {len(terms)} operands, got {len(operands)}")
    hidden = 0
    for term, x in zip(terms, operands):
        letters = term.replace("...", "", 1)
        if not all(c.isalpha() and c.isascii() for c in letters):
            raise RuntimeError(
                f"einsum(): invalid subscript given in {equation!r}: only letters and ... are allowed, got {term!r}"
            )
        if "..." in term:
            hidden = max(hidden, x.ndim - len(letters))
        if len(letters) > x.ndim or ("..." not in term and len(letters) != x.ndim):
            raise RuntimeError(
                f"einsum(): the number of subscripts in the equation ({len(letters)}) does not match the number of "
                f"dimensions ({x.ndim}) for operand of shape {tuple(x.shape)} in {equation!r}"
            )
    labels = [_with_ellipsis(term, x.ndim - len(term.replace("...", ""))) for term, x in zip(terms, operands)]
    if arrow:
        output = _with_ellipsis(right, hidden)
        known = {label for term in labels for label in term}
        for label, count in Counter(output).items():
            if count > 1 or label not in known:
                why = "appears more than once in the output" if count > 1 else "does not appear in any operand"
                raise RuntimeError(f"einsum(): output subscript {label} {why}: {equation!r}")
        return labels, output
    seen = Counter(label for term in labels for label in term if isinstance(label, str))
    return labels, [*range(-hidden, 0), *sorted(label for label, count in seen.items() if count == 1)]


def _with_ellipsis(term, hidden):
    before, dots, after = term.partition("...")
    return [*before, *(range(-hidden, 0) if dots else ()), *after]


def _sizes(equation, terms, operands):
    sizes = {}
    for term, x in zip(terms, operands):
        for label, n in zip(term, x.shape):
            if sizes.get(label, 1) == 1:
                sizes[label] = n
            elif n != 1 and n != sizes[label]:
                raise RuntimeError(
                    f"einsum(): subscript {label} has size {n} for operand of shape {tuple(x.shape)} which does not "
                    f"broadcast with previously seen size {sizes[label]} in {equation!r}"
                )
    return sizes


def _diagonals(x, labels):
    """Take the diagonal of each label that occurs twice."""
    labels = list(labels)
    while len(set(labels)) < len(labels):
        from kernelgrad.ops.shape import diagonal

        label = next(a for i, a in enumerate(labels) if a in labels[:i])
        i = labels.index(label)
        j = labels.index(label, i + 1)
        x = diagonal(x, 0, i, j)  # which becomes the last dimension
        labels = [a for position, a in enumerate(labels) if position not in (i, j)] + [label]
    return x, labels


def _sum_out(x, labels, keep):
    dims = [i for i, label in enumerate(labels) if label not in keep]
    if not dims:
        return x, labels
    return sum(x, dims), [label for label in labels if label in keep]


def _contract(x, x_labels, y, y_labels, later, sizes):
    """One pair: (batch, left, summed) times (batch, summed, right)."""
    x, x_labels = _sum_out(x, x_labels, later.union(y_labels))
    y, y_labels = _sum_out(y, y_labels, later.union(x_labels))
    batch = [label for label in x_labels if label in y_labels and label in later]
    summed = [label for label in x_labels if label in y_labels and label not in later]
    left = [label for label in x_labels if label not in y_labels]
    right = [label for label in y_labels if label not in x_labels]
    # a dimension of size 1 in one operand alone broadcasts
    x = expand(x, [sizes[label] if label in y_labels else n for label, n in zip(x_labels, x.shape)])
    y = expand(y, [sizes[label] if label in x_labels else n for label, n in zip(y_labels, y.shape)])

    def grouped(array, labels, groups):
        array = permute(array, [labels.index(label) for group in groups for label in group])
        shape = dict(zip([label for group in groups for label in group], array.shape))
        return reshape(array, [math.prod(shape[label] for label in group) for group in groups]), shape

    a, a_shape = grouped(x, x_labels, (batch, left, summed))
    b, b_shape = grouped(y, y_labels, (batch, summed, right))
    labels = [*batch, *left, *right]
    return reshape(matmul(a, b), [{**b_shape, **a_shape}[label] for label in labels]), labels
