"""What a NumPy user would write for an op: the plain call where NumPy has one, the usual formula where it has not."""

import numpy as np


def softmax(x, dim=-1):
    shifted = np.exp(x - x.max(dim, keepdims=True))
    return shifted / shifted.sum(dim, keepdims=True)


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


FORMULAS = {
    "add": np.add,
    "sub": np.subtract,
    "mul": np.multiply,
    "div": np.divide,
    "maximum": np.maximum,
    "minimum": np.minimum,
    "exp": np.exp,
    "log": np.log,
    "sqrt": np.sqrt,
    "sin": np.sin,
    "cos": np.cos,
    "tanh": np.tanh,
    "abs": np.abs,
    "pow": np.power,
    "matmul": np.matmul,
    "sum": np.sum,
    "mean": np.mean,
    "max": np.max,
    "min": np.min,
    "argmax": np.argmax,
    "where": np.where,
    "rsqrt": lambda x: 1 / np.sqrt(x),
    "sigmoid": sigmoid,
    "relu": lambda x: np.maximum(x, 0),
    "silu": lambda x: x * sigmoid(x),
    "softmax": softmax,
}


def numpy_call(case):
    """The function for `case`, or None; the case must be called without keyword arguments of PyTorch's own names."""
    return FORMULAS.get(case.name) if not case.kwargs[0] else None
