"""The networks that `demo` and `train` build."""

from __future__ import annotations

import math
from typing import Any

from kernelgrad import nn
from kernelgrad.cli.console import Refusal

MODELS = ("mlp", "cnn", "perceptron")


def build(name: str, input_shape: tuple[int, ...], outputs: int) -> Any:
    """A fresh model from inputs of `input_shape` (without the batch axis) to `outputs` numbers."""
    if name == "cnn":
        if len(input_shape) != 3:
            raise Refusal(
                f"--model cnn needs images, this data has {input_shape[0]} numbers a row: use mlp or perceptron"
            )
        return cnn(input_shape, outputs)
    width = math.prod(input_shape)
    flatten = [nn.Flatten()] if len(input_shape) > 1 else []
    if name == "perceptron":
        return nn.Sequential(*flatten, nn.Linear(width, outputs))
    hidden = 256 if width > 128 else 64
    return nn.Sequential(
        *flatten, nn.Linear(width, hidden), nn.ReLU(), nn.Linear(hidden, hidden), nn.ReLU(), nn.Linear(hidden, outputs)
    )


def cnn(input_shape: tuple[int, int, int], outputs: int) -> Any:
    """Three 3x3 convolutions with batch norm, halving the image after the second and third (large images: after
    each)."""
    channels, height, width = input_shape
    small = min(height, width) < 16
    widths = (16, 32, 64) if small else (32, 64, 128)
    halvings = (False, True, True) if small else (True, True, True)
    layers: list[Any] = []
    for out, halve in zip(widths, halvings, strict=True):
        layers += [nn.Conv2d(channels, out, 3, padding=1), nn.BatchNorm2d(out), nn.ReLU()]
        if halve:
            layers.append(nn.MaxPool2d(2))
            height, width = height // 2, width // 2
        channels = out
    return nn.Sequential(*layers, nn.Flatten(), nn.Dropout(0.3), nn.Linear(channels * height * width, outputs))
