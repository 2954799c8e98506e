"""Optimizers and learning-rate schedules."""

from kernelgrad.optim import lr_scheduler
from kernelgrad.optim.adam import Adam, Adamax, AdamW, NAdam, RAdam
from kernelgrad.optim.adaptive import Adadelta, Adagrad, RMSprop
from kernelgrad.optim.optimizer import Optimizer
from kernelgrad.optim.sgd import SGD

__all__ = [
    "SGD",
    "Adadelta",
    "Adagrad",
    "Adam",
    "AdamW",
    "Adamax",
    "NAdam",
    "Optimizer",
    "RAdam",
    "RMSprop",
    "lr_scheduler",
]
