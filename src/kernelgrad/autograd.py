"""Automatic differentiation: ``Function`` for operations of one's own, ``grad``, and the recording modes."""

from kernelgrad.core import Function, enable_grad, grad, is_grad_enabled, no_grad, set_grad_enabled

__all__ = ["Function", "backward", "enable_grad", "grad", "is_grad_enabled", "no_grad", "set_grad_enabled"]


def backward(tensors, grad_tensors=None, retain_graph=None, create_graph=False, inputs=None):
    """Sum of gradients of `tensors`, accumulated into the leaves of their graphs."""
    tensors = [tensors] if not isinstance(tensors, (list, tuple)) else tensors
    grads = grad_tensors if isinstance(grad_tensors, (list, tuple)) else [grad_tensors] * len(tensors)
    for i, (t, g) in enumerate(zip(tensors, grads)):
        t.backward(g, retain_graph or i + 1 < len(tensors), create_graph, inputs)
