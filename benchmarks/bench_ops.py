"""Every op case with a `bench` shape, forward and in training (forward and backward), by backend and peer.

One loop over `kernelgrad.testing.all_cases()`: a new op appears here by its case alone.
"""

import numpy as np
from harness import Contender, backend
from peers import numpy_call
from task import Cost, Task, by_size

import kernelgrad as kg
from kernelgrad.testing import all_cases


def tasks(session, function):
    training = function is bench_training_op
    for case in all_cases():
        if training and not case.grad:
            continue
        for shape in case.bench:
            yield op_task(session, case, shape, training)


def op_task(session, case, shape, training):
    contenders = list(session.backends)
    if "numpy" in session.peers and not training and numpy_call(case) is not None:
        contenders.append("numpy")
    if "torch" in session.peers and case.torch:
        contenders.append("torch")
    return Task(
        "ops, forward and backward" if training else "ops",
        case.name,
        by_size(shape),
        tuple(contenders),
        lambda: [contender(name, case, shape, training) for name in contenders],
        lambda: cost(case, shape, training),
    )


def cost(case, shape, training):
    largest = max(
        (a for a in arguments_of(case, shape) if isinstance(a, np.ndarray)), key=lambda a: a.nbytes, default=None
    )
    if largest is None:
        return Cost()
    if case.touched is not None:
        touched = case.touched(shape) + (largest.size if training else 0)  # the gradient is written whole
        return Cost(None, 4 * touched, touched)
    passes = 3 if training else 1  # backward reads, computes and writes about as much again for each side
    return Cost(
        None if case.flops is None else passes * case.flops(shape),
        passes * case.arrays_moved * largest.nbytes,
        passes * largest.size,
    )


def kwargs_of(case):
    return case.kwargs[0] if case.bench_kwargs is None else case.bench_kwargs


def arguments_of(case, shape):
    """The arguments, made once for all contenders of a task: drawing sixteen million numbers takes a while."""
    global last
    if last[:2] != (case.name, shape):
        last = (case.name, shape, case.arguments(shape, "float32"))
    return last[2]


last = ("", None, ())


def contender(name, case, shape, training):
    arguments, kwargs = arguments_of(case, shape), kwargs_of(case)
    if name == "numpy":
        function = numpy_call(case)
        return Contender(name, lambda: function(*arguments, **kwargs))
    if name == "torch":
        return torch_contender(case, arguments, kwargs, training)
    device = "cuda" if name == "cuda" else "cpu"
    tensors = [kg.from_numpy(a.copy("K")).to(device) if isinstance(a, np.ndarray) else a for a in arguments]
    call = call_of(kg, case.op, tensors, kwargs, case.grad, training)
    return Contender(name, call, backend(name), kg.cuda.synchronize if name == "cuda" else None)


def torch_contender(case, arguments, kwargs, training):
    import torch

    if case.torch_kwargs is not None:
        kwargs = case.torch_kwargs(kwargs)
    tensors = [torch.from_numpy(a.copy("K")) if isinstance(a, np.ndarray) else a for a in arguments]
    return Contender("torch", call_of(torch, case.torch_function(), tensors, kwargs, case.grad, training))


def call_of(library, function, tensors, kwargs, grad, training):
    """The call that is timed; the same lines for kernelgrad and PyTorch."""
    if not training:
        no_grad = library.no_grad

        def forward():
            with no_grad():
                return function(*tensors, **kwargs)

        return forward
    leaves = [tensors[position].requires_grad_() for position in grad]
    first = function(*tensors, **kwargs)
    outputs = first if isinstance(first, tuple | list) else (first,)
    upstream = [library.ones_like(output) for output in outputs if output.requires_grad]  # not for indices

    def forward_and_backward():
        for leaf in leaves:
            leaf.grad = None
        result = function(*tensors, **kwargs)
        if isinstance(result, tuple | list):
            library.autograd.backward([output for output in result if output.requires_grad], upstream)
        else:
            result.backward(upstream[0])

    return forward_and_backward


def bench_op(row):
    assert row.seconds > 0


def bench_training_op(row):
    assert row.seconds > 0
