"""Random shapes of each class of op against PyTorch, forward and in training (forward and backward).

`--shapes` says how many of each class, `--seed` which. The table begins with the geometric mean of each class and its
worst shape; PyTorch counts with the better of its two layouts. No shape here was chosen: see `drawn_shapes`.
"""

import calls
from drawn_shapes import CLASSES, draw


def tasks(session, function):
    training = function is bench_random_training
    for name in CLASSES:
        for call in draw(name, session.shapes, session.seed):
            if call.trains or not training:
                yield calls.task(session, "random shapes", name, call, training)


def bench_random_forward(row):
    assert row.seconds > 0


def bench_random_training(row):
    assert row.seconds > 0
