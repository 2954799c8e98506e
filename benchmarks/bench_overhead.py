"""What a call costs when the arithmetic costs nothing, and what the import costs."""

from __future__ import annotations

import subprocess
import sys

from harness import Contender, backend
from task import Task

import kernelgrad as kg


def add(library):
    a, b = library.ones(64), library.ones(64)
    return lambda: a + b


def add_with_grad(library):
    a, b = library.ones(64).requires_grad_(), library.ones(64).requires_grad_()
    return lambda: a + b


def add_sum_backward(library):
    a, b = library.ones(64).requires_grad_(), library.ones(64).requires_grad_()
    return lambda: (a + b).sum().backward()


def linear_no_grad(library):
    layer, x = library.nn.Linear(16, 16), library.ones(1, 16)

    def call():
        with library.no_grad():
            layer(x)

    return call


CALLS = {
    "a + b": add,
    "a + b, with grad": add_with_grad,
    "(a + b).sum().backward()": add_sum_backward,
    "Linear 16 -> 16, one row, no grad": linear_no_grad,
}


def tasks(session, function):
    if function is bench_import:
        contenders = ("simd", *(peer for peer in session.peers if peer != "torch.compile"))
        modules = {"simd": "kernelgrad"}
        yield Task(
            "import",
            "python -c 'import ...'",
            "",
            contenders,
            lambda: [Contender(name, start_python(modules.get(name, name))) for name in contenders],
        )
        return
    for name, build in CALLS.items():
        contenders = ("simd", "torch") if "torch" in session.peers else ("simd",)
        yield Task(
            "overhead",
            name,
            "64 floats" if "Linear" not in name else "",
            contenders,
            lambda build=build, contenders=contenders: [contender(c, build) for c in contenders],
        )


def contender(name, build):
    if name == "torch":
        import torch

        return Contender(name, build(torch))
    return Contender(name, build(kg), backend(name, whole_nets=True))


def start_python(module):
    return lambda: subprocess.run([sys.executable, "-c", f"import {module}"], check=True)


def bench_call(row):
    assert row.seconds > 0


def bench_import(row):
    assert row.seconds > 0
