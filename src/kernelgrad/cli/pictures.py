"""Pictures, drawn with matplotlib's object interface: no window system and no global state."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

RIGHT, WRONG, GREY = "#228833", "#cc3311", "#777777"


def predictions(
    path: Path, images: np.ndarray, labels: np.ndarray, shares: np.ndarray, classes: tuple[str, ...], columns: int = 10
) -> None:
    """A grid of test images: every wrong one first, then those the model is least sure of, then an even sample of the
    rest.

    `images` (N, C, H, W) from 0 to 1, `shares` (N, classes) probabilities.
    """
    from matplotlib.figure import Figure
    from matplotlib.layout_engine import ConstrainedLayoutEngine
    from matplotlib.patches import Rectangle

    predicted = shares.argmax(1)
    sure = shares.max(1)
    wrong = np.flatnonzero(predicted != labels)
    right = np.flatnonzero(predicted == labels)
    rows = 5
    room = rows * columns
    wrong = wrong[np.argsort(-sure[wrong], kind="stable")][: room - columns]
    unsure = right[np.argsort(sure[right], kind="stable")][:columns]
    rest = np.setdiff1d(right, unsure)
    count = min(len(rest), room - len(wrong) - len(unsure))
    shown = (
        [*wrong, *unsure, *rest[np.linspace(0, len(rest) - 1, count).astype(int)]] if count > 0 else [*wrong, *unsure]
    )

    figure = Figure(
        figsize=(1.12 * columns, 1.42 * rows + 0.75), layout=ConstrainedLayoutEngine(w_pad=0.03, h_pad=0.03)
    )
    figure.suptitle(
        f"{len(labels)} held-out images: {np.count_nonzero(predicted == labels)} right, "
        f"{np.count_nonzero(predicted != labels)} wrong"
        f" (predicted label and confidence; wrong ones first, then the {len(unsure)} least certain, then a sample)",
        fontsize=10.5,
    )
    for position, index in enumerate(shown):
        axes = figure.add_subplot(rows, columns, position + 1)
        image = images[index]
        if image.shape[0] == 1:
            axes.imshow(image[0], cmap="gray_r", vmin=0, vmax=1)
        else:
            axes.imshow(np.clip(image.transpose(1, 2, 0), 0, 1))
        axes.set(xticks=[], yticks=[])
        good = predicted[index] == labels[index]
        name = classes[predicted[index]]
        title = (
            f"{name}  {percent(sure[index])}"
            if good
            else f"{name}  {percent(sure[index])}\ntrue {classes[labels[index]]}"
        )
        axes.set_title(
            title, fontsize=9, color=RIGHT if good else WRONG, pad=3, fontweight="normal" if good else "bold"
        )
        for spine in axes.spines.values():
            spine.set(color="#cccccc" if good else WRONG, linewidth=0.8 if good else 2.5)
        if not good:
            axes.add_patch(Rectangle((0, 0), 1, 1, transform=axes.transAxes, color=WRONG, alpha=0.08, linewidth=0))
    figure.savefig(path, dpi=130)


def filters(path: Path, weight: np.ndarray, image: np.ndarray, maps: np.ndarray) -> None:
    """The first layer's filters, and below each what it answers to one image.

    `weight` (K, C, h, w) is shown by its first three channels, or its mean over channels where there is one or two;
    `image` (C, H, W), `maps` (K, H', W').
    """
    from matplotlib.cm import ScalarMappable
    from matplotlib.colors import TwoSlopeNorm
    from matplotlib.figure import Figure
    from matplotlib.layout_engine import ConstrainedLayoutEngine

    count = min(len(weight), 32)
    columns = min(count, 8)
    bands = -(-count // columns)
    figure = Figure(figsize=(1.15 * (columns + 1.7), 2.3 * bands + 0.9), layout=ConstrainedLayoutEngine(h_pad=0.02))
    figure.suptitle(
        f"the {len(weight)} filters of the first layer, {weight.shape[2]}x{weight.shape[3]}; "
        "below each, its answer to the image on the left",
        fontsize=10.5,
    )
    ratios = [part for _ in range(bands) for part in (1.0, 1.0, 0.12)]  # filter, answer, a gap
    grid = figure.add_gridspec(
        len(ratios), columns + 2, width_ratios=[1.5, *([1] * columns), 0.12], height_ratios=ratios
    )
    axes = figure.add_subplot(grid[:2, 0])
    axes.imshow(image.mean(0), cmap="gray_r")
    axes.set(xticks=[], yticks=[])
    axes.set_title("input", fontsize=9, color=GREY)
    flat = weight.mean(1)
    limit = float(np.abs(flat).max()) or 1.0
    norm = TwoSlopeNorm(0.0, -limit, limit)
    for k in range(count):
        band, column = divmod(k, columns)
        axes = figure.add_subplot(grid[3 * band, column + 1])
        axes.imshow(flat[k], cmap="RdBu_r", norm=norm)
        axes.set(xticks=[], yticks=[])
        axes.set_title(str(k), fontsize=8, color=GREY, pad=2)
        axes = figure.add_subplot(grid[3 * band + 1, column + 1])
        reach = float(np.abs(maps[k]).max()) or 1.0
        axes.imshow(maps[k], cmap="PuOr_r", vmin=-reach, vmax=reach)
        axes.set(xticks=[], yticks=[])
    bar = figure.colorbar(ScalarMappable(norm, "RdBu_r"), cax=figure.add_subplot(grid[:, -1]))
    bar.set_label("weight", fontsize=9, color=GREY)
    bar.ax.tick_params(labelsize=8)
    figure.savefig(path, dpi=130)


def percent(share: float) -> str:
    return "100 %" if share >= 0.9995 else f"{100 * share:.1f} %"


def curves(path: Path, history: Any, title: str) -> None:
    history.plot(path, title)
