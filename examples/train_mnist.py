"""MNIST from its own files: a CNN, one-cycle learning rate, checkpoints that survive an interruption.

    python examples/train_mnist.py --data FOLDER        # or with KERNELGRAD_DATA=FOLDER in the environment

FOLDER holds the IDX files (train-images-idx3-ubyte and so on, plain or .gz). Where only the t10k files are there, they
are split. Stop it with Ctrl-C and start it again with --resume: it ends in the same weights.
"""

import argparse
import os
import sys
from pathlib import Path

import kernelgrad as kg
from kernelgrad import nn, optim
from kernelgrad.data import DataLoader, RandomCrop, load_idx_folder
from kernelgrad.training import LRScheduler, ModelCheckpoint, Trainer


def build():
    return nn.Sequential(
        *(nn.Conv2d(1, 32, 3, padding=1), nn.BatchNorm2d(32), nn.ReLU(), nn.MaxPool2d(2)),
        *(nn.Conv2d(32, 64, 3, padding=1), nn.BatchNorm2d(64), nn.ReLU(), nn.MaxPool2d(2)),
        *(nn.Conv2d(64, 64, 3, padding=1), nn.BatchNorm2d(64), nn.ReLU(), nn.MaxPool2d(2)),
        *(nn.Flatten(), nn.Dropout(0.3), nn.Linear(64 * 3 * 3, 10)),
    )


def main():
    parser = argparse.ArgumentParser(description="Train a CNN on MNIST's IDX files.")
    parser.add_argument("--data", default=os.environ.get("KERNELGRAD_DATA"), help="folder with the IDX files")
    parser.add_argument("--epochs", type=int, default=5)
    parser.add_argument("--batch-size", type=int, default=64)
    parser.add_argument("--lr", type=float, default=5e-3)
    parser.add_argument("--checkpoint", type=Path, default=Path("mnist-last.safetensors"))
    parser.add_argument("--resume", action="store_true", help="go on from the checkpoint")
    arguments = parser.parse_args()
    if arguments.data is None:
        sys.exit("where are MNIST's files? give --data FOLDER, or set KERNELGRAD_DATA")

    kg.manual_seed(0)
    data = load_idx_folder(arguments.data)
    print(f"{len(data.train):,} images to learn from, {len(data.test):,} held out. {data.notes}")
    loader = DataLoader(
        data.train, arguments.batch_size, shuffle=True, transform=RandomCrop(28, padding=2), num_workers=1
    )
    model = build()
    optimizer = optim.AdamW(model.parameters(), lr=arguments.lr, weight_decay=0.01)
    schedule = optim.lr_scheduler.OneCycleLR(optimizer, arguments.lr, total_steps=arguments.epochs * len(loader))
    callbacks = [LRScheduler(schedule, interval="step"), ModelCheckpoint(arguments.checkpoint, every_steps=50)]
    trainer = Trainer(model, "cross_entropy", optimizer, metrics=["accuracy"], callbacks=callbacks)
    if arguments.resume:
        trainer.load_checkpoint(arguments.checkpoint)
    trainer.fit(loader, epochs=arguments.epochs)
    print(f"accuracy on the held-out images: {trainer.evaluate(data.test)['accuracy']:.4f}")


if __name__ == "__main__":
    main()
