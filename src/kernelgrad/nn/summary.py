"""`summary`: what a model is made of, layer by layer, measured by running it once."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from kernelgrad.core import no_grad
from kernelgrad.nn.conv import _ConvTranspose
from kernelgrad.nn.embedding import _Table
from kernelgrad.nn.module import Module
from kernelgrad.ops.random import rand
from kernelgrad.tensor import Tensor


@dataclass
class LayerSummary:
    """One line of a `Summary`. `output_shape` is that of the last call; counts of repeated calls add up."""

    path: str
    kind: str
    depth: int
    leaf: bool
    output_shape: tuple[int, ...] | list[tuple[int, ...]] | None = None
    parameters: int = 0  # of the layer itself, without its children's
    trainable: int = 0
    multiply_adds: int = 0
    activation_bytes: int = 0
    calls: int = 0


@dataclass
class Summary:
    """What `summary` returns: the numbers, and as a string the table.

    `parameters`, `trainable` and `parameter_bytes` count shared parameters once; `multiply_adds` counts one per product
    that is summed, in linear, convolution and normalization layers; `activation_bytes` is what all leaf layers return
    together, which is about what training keeps for backward.
    """

    layers: list[LayerSummary] = field(default_factory=list)
    parameters: int = 0
    trainable: int = 0
    parameter_bytes: int = 0
    multiply_adds: int = 0
    activation_bytes: int = 0

    def __str__(self) -> str:
        rows = [("layer", "type", "output shape", "parameters", "multiply-adds", "activations")]
        for layer in self.layers:
            name = layer.path.rpartition(".")[2] or "model"
            rows.append(
                (
                    "  " * layer.depth + name,
                    layer.kind,
                    "-" if layer.output_shape is None else str(layer.output_shape),
                    f"{layer.parameters:,}" if layer.parameters else "-",
                    f"{layer.multiply_adds:,}" if layer.multiply_adds else "-",
                    _bytes(layer.activation_bytes) if layer.leaf and layer.calls else "-",
                )
            )
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        lines = [
            "  ".join(
                cell.ljust(width) if i < 3 else cell.rjust(width) for i, (cell, width) in enumerate(pairs)
            ).rstrip()
            for pairs in (list(zip(row, widths, strict=True)) for row in rows)
        ]
        rule = "-" * max(map(len, lines))
        totals = [
            f"parameters     {self.parameters:,} ({_bytes(self.parameter_bytes)}), {self.trainable:,} trainable",
            f"multiply-adds  {self.multiply_adds:,}",
            f"activations    {_bytes(self.activation_bytes)}",
        ]
        return "\n".join([lines[0], rule, *lines[1:], rule, *totals])


def summary(
    model: Module,
    input_size: Sequence[int] | Sequence[Sequence[int]] | None = None,
    input_data: Any = None,
    dtype: Any = None,
    device: Any = None,
) -> Summary:
    """Runs `model` once in evaluation mode, without gradients, and counts.

    Parameters
    ----------
    model : Module
    input_size : shape of the input with its batch dimension, or a sequence of shapes for several inputs; they are
        filled with uniform random numbers
    input_data : the inputs themselves, a tensor or a tuple of tensors, for models that take indices, say
    dtype, device : of the inputs made from `input_size`; those of the first parameter where not given

    Returns
    -------
    Summary : print it for the table, or read its numbers.
    """
    inputs = _inputs(model, input_size, input_data, dtype, device)
    report = Summary()
    lines: dict[int, LayerSummary] = {}
    handles = []
    modes = [(module, module.training) for module in model.modules()]
    for path, module in model.named_modules():
        line = LayerSummary(
            path, module._get_name(), path.count(".") + bool(path), next(module.children(), None) is None
        )
        for param in module._parameters.values():
            if param is not None:
                line.parameters += param.numel()
                line.trainable += param.numel() if param.requires_grad else 0
        report.layers.append(line)
        lines[id(module)] = line
        handles.append(
            module.register_forward_hook(lambda module, args, output: _note(lines[id(module)], module, args, output))
        )
    try:
        model.eval()
        with no_grad():
            model(*inputs)
    finally:
        for handle in handles:
            handle.remove()
        for module, mode in modes:
            module.training = mode
    for param in model.parameters():
        report.parameters += param.numel()
        report.trainable += param.numel() if param.requires_grad else 0
        report.parameter_bytes += param.nbytes
    for line in report.layers:
        report.multiply_adds += line.multiply_adds
        report.activation_bytes += line.activation_bytes if line.leaf else 0
    return report


def _inputs(model: Module, input_size: Any, input_data: Any, dtype: Any, device: Any) -> tuple:
    if (input_size is None) == (input_data is None):
        raise ValueError("summary: give either input_size, such as (1, 3, 32, 32), or input_data")
    if input_data is not None:
        return input_data if isinstance(input_data, tuple) else (input_data,)
    first = next(model.parameters(), None)
    dtype = first.dtype if dtype is None and first is not None else dtype
    device = first.device if device is None and first is not None else device
    sizes = [input_size] if all(isinstance(size, int) for size in input_size) else input_size
    return tuple(rand(tuple(size), dtype=dtype, device=device) for size in sizes)


def _note(line: LayerSummary, module: Module, args: tuple, output: Any) -> None:
    outputs = [
        value for value in (output if isinstance(output, (tuple, list)) else [output]) if isinstance(value, Tensor)
    ]
    shapes = [tuple(value.shape) for value in outputs]
    line.calls += 1
    line.output_shape = shapes[0] if len(shapes) == 1 else shapes or None
    line.activation_bytes += sum(value.nbytes for value in outputs)
    if outputs:
        line.multiply_adds += _multiply_adds(module, args, outputs[0])


def _multiply_adds(module: Module, args: tuple, output: Tensor) -> int:
    """The products that the layer's own weight enters in one call."""
    weight = module._parameters.get("weight")
    if weight is None or isinstance(module, _Table):
        return 0
    if weight.dim() < 2:  # a factor for each element, as in normalization
        return output.numel()
    if isinstance(module, _ConvTranspose):
        return args[0].numel() * math.prod(weight.shape[1:])
    return output.numel() * math.prod(weight.shape[1:])


def _bytes(count: int) -> str:
    for unit in ("B", "kB", "MB", "GB"):
        if count < 1000 or unit == "GB":
            return f"{count:.3g} {unit}" if unit != "B" else f"{count} B"
        count /= 1000  # type: ignore[assignment]
    raise AssertionError
