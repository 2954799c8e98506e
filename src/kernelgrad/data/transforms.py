"""Transforms of whole batches. Called as `transform(inputs, generator)`; those that draw nothing ignore the
generator."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from kernelgrad.ops.creation import from_numpy
from kernelgrad.ops.random import rand
from kernelgrad.tensor import Tensor

AXES_KEPT = 1  # statistics are per channel of (N, C, H, W), per feature of (N, F): over all axes but this one


class Compose:
    """Transforms one after the other."""

    def __init__(self, transforms: Sequence[Callable[..., Tensor]]) -> None:
        self.transforms = list(transforms)

    def __call__(self, inputs: Tensor, generator: Any = None) -> Tensor:
        for transform in self.transforms:
            inputs = transform(inputs, generator)
        return inputs


class Normalize:
    """`(x - mean) / std`, per feature of (N, F) or per channel of (N, C, H, W).

    Raises
    ------
    ValueError
        If a std is not above zero, or the number of channels does not fit.
    """

    def __init__(self, mean: Sequence[float] | np.ndarray, std: Sequence[float] | np.ndarray) -> None:
        self.mean = np.atleast_1d(np.asarray(mean, np.float64))
        self.std = np.atleast_1d(np.asarray(std, np.float64))
        if self.mean.shape != self.std.shape or self.mean.ndim != 1:
            raise ValueError(
                f"Normalize: mean has shape {self.mean.shape} and std {self.std.shape}; give one number per channel"
            )
        if not (self.std > 0).all():
            raise ValueError(f"Normalize: std is {self.std.tolist()}; every one must be above zero")

    @classmethod
    def fit(cls, inputs: Tensor | np.ndarray) -> Normalize:
        """The mean and standard deviation of `inputs`; a constant feature keeps its scale (std 1)."""
        values = as_array(inputs).astype(np.float64)
        axes = tuple(axis for axis in range(values.ndim) if axis != AXES_KEPT)
        deviation = values.std(axes)
        return cls(values.mean(axes), np.where(deviation > 0, deviation, 1.0))

    def apply(self, inputs: np.ndarray) -> np.ndarray:
        """The same on a NumPy array; returns float32."""
        if inputs.ndim < 2 or (len(self.mean) > 1 and inputs.shape[AXES_KEPT] != len(self.mean)):
            raise ValueError(
                f"Normalize: inputs have shape {inputs.shape}, statistics are for {len(self.mean)} channels"
            )
        shape = (1, -1) + (1,) * (inputs.ndim - 2)
        return ((inputs - self.mean.reshape(shape)) / self.std.reshape(shape)).astype(np.float32)

    def __call__(self, inputs: Tensor, generator: Any = None) -> Tensor:
        return from_numpy(self.apply(as_array(inputs)))


def standardize(train: Tensor | np.ndarray, *others: Tensor | np.ndarray) -> list[Tensor]:
    """`train` and `others`, all shifted and scaled by the mean and standard deviation of `train`."""
    fitted = Normalize.fit(train)
    return [from_numpy(fitted.apply(as_array(inputs))) for inputs in (train, *others)]


class RandomCrop:
    """A window of `size` pixels at a place of its own in each image, after `padding` with zeros on all sides.

    (N, C, H, W) -> (N, C, size, size). `RandomCrop(32, padding=4)` is the usual one for CIFAR.
    """

    def __init__(self, size: int | tuple[int, int], padding: int = 0) -> None:
        self.size = (size, size) if isinstance(size, int) else size
        self.padding = padding

    def __call__(self, inputs: Tensor, generator: Any = None) -> Tensor:
        images = images_of(inputs, "RandomCrop")
        pad = (self.padding, self.padding)
        padded = np.pad(images, ((0, 0), (0, 0), pad, pad))
        (high, wide), (height, width) = padded.shape[2:], self.size
        if high < height or wide < width:
            raise ValueError(
                f"RandomCrop: images are {high}x{wide} after padding, smaller than the crop {height}x{width}"
            )
        windows = sliding_window_view(padded, self.size, axis=(2, 3))
        draws = rand(2, len(images), generator=generator).numpy().astype(np.float64)
        tops = (draws[0] * (high - height + 1)).astype(np.int64)
        lefts = (draws[1] * (wide - width + 1)).astype(np.int64)
        return from_numpy(np.ascontiguousarray(windows[np.arange(len(images)), :, tops, lefts]))


class RandomHorizontalFlip:
    """Each image of (N, C, H, W) mirrored left to right with probability `p`."""

    def __init__(self, p: float = 0.5) -> None:
        if not 0 <= p <= 1:
            raise ValueError(f"RandomHorizontalFlip: p is {p}; it must lie between 0 and 1")
        self.p = p

    def __call__(self, inputs: Tensor, generator: Any = None) -> Tensor:
        images = images_of(inputs, "RandomHorizontalFlip")
        chosen = rand(len(images), generator=generator).numpy() < self.p
        return from_numpy(np.where(chosen[:, None, None, None], images[..., ::-1], images))


def images_of(inputs: Tensor | np.ndarray, name: str) -> np.ndarray:
    images = as_array(inputs)
    if images.ndim != 4:
        raise ValueError(f"{name}: inputs have shape {tuple(images.shape)}; it works on batches of images (N, C, H, W)")
    return images


def as_array(inputs: Tensor | np.ndarray) -> np.ndarray:
    return inputs.detach().numpy() if isinstance(inputs, Tensor) else np.asarray(inputs)
