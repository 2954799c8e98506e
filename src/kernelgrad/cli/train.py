"""`kernelgrad train`: a model on a bundled data set, or on a folder of IDX or CIFAR-10 files."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import kernelgrad as kg
from kernelgrad.cli.console import Output, Refusal, add_run_arguments, positive, positive_float, prepare, require
from kernelgrad.cli.models import MODELS

DATASETS = ("digits", "iris", "wine", "breast_cancer", "diabetes")
VALIDATION = 0.1  # share of the training data that is kept for validation: stratified, seed 1


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("dataset", nargs="?", choices=DATASETS, metavar="DATASET", help=f"one of {', '.join(DATASETS)}")
    parser.add_argument(
        "--data",
        type=Path,
        metavar="FOLDER",
        help="instead: MNIST-style IDX files (plain or .gz) or CIFAR-10 binary batches",
    )
    parser.add_argument("--model", choices=MODELS, default="mlp", help="(default: mlp)")
    parser.add_argument("--epochs", type=positive, default=20, help="(default: 20)")
    parser.add_argument("--batch-size", type=positive, default=32, help="(default: 32)")
    parser.add_argument("--lr", type=positive_float, default=1e-3, help="learning rate (default: 0.001)")
    parser.add_argument(
        "--optimizer", choices=("sgd", "adam", "adamw", "rmsprop", "adagrad"), default="adam", help="(default: adam)"
    )
    parser.add_argument("--seed", type=int, default=0, help="of weights, order and dropout (default: 0)")
    parser.add_argument("--out", type=Path, help="folder for weights, history, curves and result")
    add_run_arguments(parser)


def run(arguments: argparse.Namespace) -> int:
    if (arguments.dataset is None) == (arguments.data is None):
        raise Refusal(f"name one data set ({', '.join(DATASETS)}) or a folder with --data")
    prepare(arguments)
    if arguments.dataset:
        require(("sklearn", "scikit-learn"))
    if arguments.out:
        require(("matplotlib", "matplotlib"))
    output = Output(arguments.json)
    try:
        result = train(arguments, load(arguments), output)
    except NotImplementedError as error:
        if arguments.device == "cpu":
            raise
        raise Refusal(f"--device {arguments.device}: {error}") from error
    except FloatingPointError as error:
        raise Refusal(str(error)) from error
    output.finish(result)
    return 0


def load(arguments: argparse.Namespace) -> Any:
    from kernelgrad.data import load_bundled, load_folder

    if arguments.dataset:
        return load_bundled(arguments.dataset)
    try:
        return load_folder(arguments.data)
    except (OSError, ValueError) as error:
        raise Refusal(str(error)) from error


def train(arguments: argparse.Namespace, data: Any, output: Output) -> dict[str, Any]:
    from kernelgrad.cli.fitting import fit
    from kernelgrad.cli.models import build
    from kernelgrad.data import Subset, stratified_split
    from kernelgrad.data.split import quantile_bins
    from kernelgrad.ops.random import manual_seed
    from kernelgrad.training import MAE, R2

    targets = data.train.tensors[1].numpy()
    classification = data.task == "classification"
    strata = targets if classification else quantile_bins(targets[:, 0])
    kept, held = stratified_split(strata, VALIDATION, seed=1)
    training, validation = Subset(data.train, kept.tolist()), Subset(data.train, held.tolist())
    manual_seed(arguments.seed)
    model = build(arguments.model, data.input_shape, len(data.classes) or 1)
    parameters = sum(parameter.numel() for parameter in model.parameters())
    output.say(
        f"{data.name}: {len(training):,} to learn from, {len(validation):,} to validate, {len(data.test):,} held out"
        + (f" ({data.notes})" if data.notes else "")
    )
    output.say(
        f"{arguments.model} with {parameters:,} parameters, {arguments.optimizer} at {arguments.lr:g}, "
        f"device {arguments.device}, {kg.get_num_threads()} threads, {kg.isa()}"
    )
    fitted = fit(
        model,
        training,
        validation,
        loss="cross_entropy" if classification else "mse",
        metrics=["accuracy"] if classification else [R2(), MAE()],
        epochs=arguments.epochs,
        batch_size=arguments.batch_size,
        lr=arguments.lr,
        optimizer=arguments.optimizer,
        device=arguments.device,
        progress=not arguments.json,
    )
    scores = fitted.trainer.evaluate(data.test)
    if not classification:
        scores["mae"] *= data.target_scale[1]  # back in the unit of the targets
    output.say(
        f"trained {fitted.steps:,} steps in {fitted.seconds:.2f} s: {fitted.steps_per_second:,.0f} steps/s, "
        f"{fitted.samples_per_second:,.0f} samples/s"
    )
    said = ", ".join(f"{name} {value:.4f}" for name, value in scores.items())
    output.say(f"held out: {said}", style="bold")
    result = {
        "dataset": data.name,
        "task": data.task,
        "model": arguments.model,
        **{f"test_{name}": value for name, value in scores.items()},
        "train_seconds": fitted.seconds,
        "steps": fitted.steps,
        "steps_per_second": fitted.steps_per_second,
        "samples_per_second": fitted.samples_per_second,
        "epochs": arguments.epochs,
        "batch_size": arguments.batch_size,
        "lr": arguments.lr,
        "optimizer": arguments.optimizer,
        "seed": arguments.seed,
        "parameters": parameters,
        **fitted.machine,
    }
    if arguments.out:
        result["out"] = str(arguments.out)
        write(arguments.out, model, fitted.history, result)
        output.say(f"written to {arguments.out}: model.safetensors, history.csv, curves.png, result.json")
    return result


def write(folder: Path, model: Any, history: Any, result: dict[str, Any]) -> None:
    from kernelgrad.serialization import save
    from kernelgrad.training import CSVLogger

    folder.mkdir(parents=True, exist_ok=True)
    save(model.state_dict(), folder / "model.safetensors")
    CSVLogger(folder / "history.csv").write(history)
    history.plot(folder / "curves.png", f"{result['dataset']}, {result['model']}")
    (folder / "result.json").write_text(json.dumps(result, indent=1) + "\n")
