"""The networks of `nets` as a JAX user would write them: pure functions, the whole training step under one `jit`.

Images are NHWC, which XLA prefers on a CPU; the arrays of parameters are donated, so that a step may update in place.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax


def linear_init(rng: np.random.Generator, k: int, n: int) -> dict[str, Any]:
    bound = k**-0.5
    return {"w": rng.uniform(-bound, bound, (k, n)).astype("f"), "b": rng.uniform(-bound, bound, n).astype("f")}


def conv_init(rng: np.random.Generator, c: int, k: int, size: int) -> Any:
    bound = (c * size * size) ** -0.5
    return rng.uniform(-bound, bound, (size, size, c, k)).astype("f")


def convolve(x: Any, weight: Any, stride: int = 1, padding: str = "SAME") -> Any:
    pads = padding if padding == "VALID" else [(weight.shape[0] // 2,) * 2] * 2
    return lax.conv_general_dilated(x, weight, (stride, stride), pads, dimension_numbers=("NHWC", "HWIO", "NHWC"))


def batch_norm(x: Any, norm: dict[str, Any]) -> Any:
    mean, variance = x.mean((0, 1, 2)), x.var((0, 1, 2))
    return (x - mean) * (lax.rsqrt(variance + 1e-5) * norm["weight"]) + norm["bias"]


def norm_init(channels: int) -> dict[str, Any]:
    return {"weight": np.ones(channels, "f"), "bias": np.zeros(channels, "f")}


def mlp(widths: tuple[int, ...], rng: np.random.Generator) -> tuple[Any, Callable[..., Any]]:
    parameters = [linear_init(rng, k, n) for k, n in zip(widths, widths[1:], strict=False)]

    def forward(parameters: Any, x: Any) -> Any:
        for layer in parameters[:-1]:
            x = jax.nn.relu(x @ layer["w"] + layer["b"])
        return x @ parameters[-1]["w"] + parameters[-1]["b"]

    return parameters, forward


def two_conv_cnn(rng: np.random.Generator) -> tuple[Any, Callable[..., Any]]:
    parameters = {
        "convs": [
            {"w": conv_init(rng, c, k, 3), "b": conv_init(rng, c, k, 3)[0, 0, 0].copy()} for c, k in ((1, 32), (32, 64))
        ],
        "linears": [linear_init(rng, 64 * 12 * 12, 128), linear_init(rng, 128, 10)],
    }

    def forward(parameters: Any, x: Any) -> Any:
        for conv in parameters["convs"]:
            x = jax.nn.relu(convolve(x, conv["w"], padding="VALID") + conv["b"])
        x = lax.reduce_window(x, -jnp.inf, lax.max, (1, 2, 2, 1), (1, 2, 2, 1), "VALID").reshape(x.shape[0], -1)
        first, last = parameters["linears"]
        return jax.nn.relu(x @ first["w"] + first["b"]) @ last["w"] + last["b"]

    return parameters, forward


def resnet20(rng: np.random.Generator) -> tuple[Any, Callable[..., Any]]:
    """Batch norm by the batch's statistics; its running averages, which no gradient needs, are left out."""
    blocks, strides, channels = [], [], 16
    for width in (16, 32, 64):
        for position in range(3):
            stride = 2 if position == 0 and width > 16 else 1
            block = {
                "conv1": conv_init(rng, channels, width, 3),
                "norm1": norm_init(width),
                "conv2": conv_init(rng, width, width, 3),
                "norm2": norm_init(width),
            }
            if stride == 2:
                block |= {"shortcut": conv_init(rng, channels, width, 1), "shortcut_norm": norm_init(width)}
            blocks.append(block)
            strides.append(stride)
            channels = width
    parameters = {
        "stem": conv_init(rng, 3, 16, 3),
        "norm": norm_init(16),
        "blocks": blocks,
        "linear": linear_init(rng, 64, 10),
    }

    def forward(parameters: Any, x: Any) -> Any:
        x = jax.nn.relu(batch_norm(convolve(x, parameters["stem"]), parameters["norm"]))
        for block, stride in zip(parameters["blocks"], strides, strict=True):
            y = jax.nn.relu(batch_norm(convolve(x, block["conv1"], stride), block["norm1"]))
            y = batch_norm(convolve(y, block["conv2"]), block["norm2"])
            if "shortcut" in block:
                x = batch_norm(convolve(x, block["shortcut"], stride), block["shortcut_norm"])
            x = jax.nn.relu(y + x)
        return x.mean((1, 2)) @ parameters["linear"]["w"] + parameters["linear"]["b"]

    return parameters, forward


def network(name: str, rng: np.random.Generator) -> tuple[Any, Callable[..., Any]]:
    if name.startswith("MLP"):
        return mlp(tuple(int(width) for width in name.split()[1].split("-")), rng)
    return {"two-conv CNN 28x28": two_conv_cnn, "ResNet-20 32x32": resnet20}[name](rng)


def training_step(name: str, inputs: np.ndarray, targets: np.ndarray, sgd: bool) -> Callable[[], Any]:
    """A step on a fixed batch: cross entropy for integer targets, else mean squared error; Adam, or SGD."""
    parameters, forward = network(name, np.random.default_rng(0))
    tree = jax.tree_util
    x = jnp.asarray(inputs.transpose(0, 2, 3, 1) if inputs.ndim == 4 else inputs)
    y = jnp.asarray(targets)

    def loss(parameters: Any) -> Any:
        out = forward(parameters, x)
        if jnp.issubdtype(y.dtype, jnp.integer):
            return -jnp.take_along_axis(jax.nn.log_softmax(out), y[:, None], 1).mean()
        return ((out - y) ** 2).mean()

    def momentum(parameters: Any, state: Any) -> tuple[Any, Any]:
        grads = jax.grad(loss)(parameters)
        state = tree.tree_map(lambda v, g: 0.9 * v + g, state, grads)
        return tree.tree_map(lambda p, v: p - 1e-4 * v, parameters, state), state

    def adam(parameters: Any, state: Any) -> tuple[Any, Any]:
        grads = jax.grad(loss)(parameters)
        step, first, second = state
        step = step + 1
        first = tree.tree_map(lambda m, g: 0.9 * m + 0.1 * g, first, grads)
        second = tree.tree_map(lambda v, g: 0.999 * v + 0.001 * g * g, second, grads)
        size, root = 1e-5 / (1 - 0.9**step), jnp.sqrt(1 - 0.999**step)

        def move(p: Any, m: Any, v: Any) -> Any:
            return p - size * m / (jnp.sqrt(v) / root + 1e-8)

        return tree.tree_map(move, parameters, first, second), (step, first, second)

    zeros = tree.tree_map(np.zeros_like, parameters)
    state = zeros if sgd else (jnp.float32(0), zeros, tree.tree_map(np.zeros_like, parameters))
    both = tree.tree_map(jnp.array, (parameters, state))
    jitted = jax.jit(momentum if sgd else adam, donate_argnums=(0, 1))

    def call() -> None:
        nonlocal both
        both = jax.block_until_ready(jitted(*both))

    return call
