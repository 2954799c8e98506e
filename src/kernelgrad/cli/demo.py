"""`kernelgrad demo`: the whole library at work on real data, in a few seconds.

The data are the 1,797 handwritten digits that ship inside scikit-learn, 8x8 pixels. 360 of them are held out by the
fixed split of `data.load_bundled` and looked at once, at the end. Of the other 1,437 a further 180 (stratified, seed 1)
are kept for the validation curve, so the network learns from 1,257. Network, schedule and number of epochs were chosen
by cross-validation within the 1,437.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import numpy as np

import kernelgrad as kg
from kernelgrad.cli.console import Output, Refusal, add_run_arguments, positive, prepare, require

EPOCHS, BATCH, PEAK_LR, WEIGHT_DECAY = 20, 32, 1e-2, 0.05
VALIDATION = 180


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--out", type=Path, default=Path("kernelgrad-demo"), help="folder for the pictures")
    parser.add_argument("--epochs", type=positive, default=EPOCHS, help=f"passes over the data (default: {EPOCHS})")
    parser.add_argument("--seed", type=int, default=0, help="of weights, order and dropout (default: 0)")
    add_run_arguments(parser)


def run(arguments: argparse.Namespace) -> int:
    require(("sklearn", "scikit-learn"), ("matplotlib", "matplotlib"))
    prepare(arguments)
    output = Output(arguments.json)
    try:
        result = train_and_show(arguments, output)
    except NotImplementedError as error:
        if arguments.device == "cpu":
            raise
        raise Refusal(f"--device {arguments.device}: {error}") from error
    output.finish(result)
    return 0


def train_and_show(arguments: argparse.Namespace, output: Output) -> dict[str, Any]:
    from kernelgrad.cli.fitting import fit
    from kernelgrad.cli.models import build
    from kernelgrad.data import Subset, load_bundled, stratified_split
    from kernelgrad.ops.random import manual_seed
    from kernelgrad.training import ConfusionMatrix

    data = load_bundled("digits")
    labels = data.train.tensors[1].numpy()
    kept, held = stratified_split(labels, VALIDATION / len(labels), seed=1)
    training, validation = Subset(data.train, kept.tolist()), Subset(data.train, held.tolist())
    output.say(
        f"kernelgrad {kg.__version__}: {len(data.train) + len(data.test):,} handwritten digits of 8x8 pixels, "
        f"{len(training):,} to learn from, {len(validation)} to validate, {len(data.test)} held out"
    )
    output.say(f"device {arguments.device}, {kg.get_num_threads()} threads, {kg.isa()}")
    manual_seed(arguments.seed)
    model = build("cnn", data.input_shape, len(data.classes))
    fitted = fit(
        model,
        training,
        validation,
        loss="cross_entropy",
        metrics=["accuracy"],
        epochs=arguments.epochs,
        batch_size=BATCH,
        lr=PEAK_LR,
        weight_decay=WEIGHT_DECAY,
        optimizer="adamw",
        schedule=True,
        device=arguments.device,
        progress=not arguments.json,
        unit="images",
    )
    trainer = fitted.trainer
    scores = trainer.predict(data.test).numpy()
    truth = data.test.tensors[1].numpy()
    confusion = ConfusionMatrix(len(data.classes))
    confusion.update(scores, truth)
    counts = confusion.compute()
    right = int(counts.trace())
    accuracy = right / len(truth)
    output.say(
        f"trained {fitted.steps} steps in {fitted.seconds:.2f} s: {fitted.steps_per_second:,.0f} steps/s, "
        f"{fitted.samples_per_second:,.0f} images/s"
    )
    output.say()
    output.say(f"held-out accuracy {100 * accuracy:.2f} %: {right} of {len(truth)} right", style="bold")
    output.say()
    output.say(confusion_text(counts, data.classes))
    cost = step_cost(model, data.input_shape, fitted)
    output.say()
    output.say(
        f"time per step {cost['ms_per_step']:.2f} ms ({BATCH} images, "
        f"{cost['multiply_adds_per_image']:,} multiply-adds each forward): {cost['gflops']:.1f} GF/s, "
        f"{100 * cost['share_of_peak']:.0f} % of this machine's measured peak of {cost['peak_gflops']:.0f} GF/s"
    )
    pictures = draw(arguments.out, model, trainer, data, scores, truth, accuracy)
    output.say(f"pictures: {', '.join(str(path) for path in pictures)}")
    return {
        "test_accuracy": accuracy,
        "test_errors": len(truth) - right,
        "validation_accuracy": fitted.history["val_accuracy"][-1],
        "train_seconds": fitted.seconds,
        "steps": fitted.steps,
        "steps_per_second": fitted.steps_per_second,
        "images_per_second": fitted.samples_per_second,
        "epochs": arguments.epochs,
        "seed": arguments.seed,
        **cost,
        "confusion_matrix": counts.tolist(),
        "pictures": [str(path) for path in pictures],
        **fitted.machine,
    }


def step_cost(model: Any, input_shape: tuple[int, ...], fitted: Any) -> dict[str, Any]:
    """What a step does against what the machine can: forward, and backward to inputs and weights, is three times
    forward."""
    from kernelgrad.cli.machine import peak
    from kernelgrad.nn import summary

    forward = summary(model, (1, *input_shape)).multiply_adds
    seconds = 1 / fitted.steps_per_second
    batch = fitted.samples_per_second / fitted.steps_per_second
    gflops = 3 * 2 * forward * batch / seconds / 1e9
    roof = peak()["gflops"]
    return {
        "ms_per_step": 1e3 * seconds,
        "multiply_adds_per_image": forward,
        "gflops": gflops,
        "peak_gflops": roof,
        "share_of_peak": gflops / roof,
    }


def confusion_text(counts: np.ndarray, classes: tuple[str, ...]) -> str:
    width = max(4, max(len(name) for name in classes) + 1)
    lines = ["predicted".rjust(6 + width), " true " + "".join(name.rjust(width) for name in classes)]
    for name, row in zip(classes, counts, strict=True):
        lines.append(name.rjust(5) + " " + "".join((str(count) if count else ".").rjust(width) for count in row))
    return "\n".join(lines)


def draw(
    folder: Path, model: Any, trainer: Any, data: Any, scores: np.ndarray, truth: np.ndarray, accuracy: float
) -> list[Path]:
    from kernelgrad.cli import pictures

    folder.mkdir(parents=True, exist_ok=True)
    paths = [folder / name for name in ("curves.png", "predictions.png", "filters.png")]
    images = data.test.tensors[0].numpy()
    shares = np.exp(scores - scores.max(1, keepdims=True))
    shares /= shares.sum(1, keepdims=True)
    trainer.history.plot(paths[0], f"digits: {100 * accuracy:.2f} % on the held-out images")
    pictures.predictions(paths[1], images, truth, shares, data.classes)
    first = model[0]
    chosen = int(np.flatnonzero(truth == 3)[0])
    with kg.no_grad():
        maps = first(data.test.tensors[0][chosen : chosen + 1].to(trainer.device)).to("cpu").numpy()[0]
    if first.bias is not None:
        maps = maps - first.bias.detach().to("cpu").numpy()[:, None, None]  # what the filter alone answers
    pictures.filters(paths[2], first.weight.detach().to("cpu").numpy(), images[chosen], maps)
    return paths
