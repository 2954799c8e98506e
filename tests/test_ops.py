"""Every op case is asked: does each twin match the reference, does backward match central differences, does it match
PyTorch, does bad input raise, does it keep its answer for other memory layouts and thread counts."""

import os

import numpy as np
import pytest

import kernelgrad as kg
from kernelgrad import core
from kernelgrad.core import use_backend
from kernelgrad.testing import all_cases, assert_close, gradcheck

CASES = all_cases()
# The Numba twins are mainly for float64; compiling each for float32 too takes minutes and is left to CI.
EVERY_TWIN = bool(os.environ.get("KERNELGRAD_TEST_EVERY_TWIN"))


def twins():
    """Every (case, backend, dtype) that exists on this machine."""
    found = []
    for case in CASES:
        for dtype in case.dtypes:
            backends = []
            for name in case.kernels:
                backends += [b for b in core.kernel(name).backends(getattr(core, dtype)) if b not in backends]
            found += [
                pytest.param(case, b, dtype, id=f"{case.name}-{b}-{dtype}")
                for b in backends
                if (b != "reference" or dtype == "float32") and (b != "jit" or dtype == "float64" or EVERY_TWIN)
            ]
    return found


def tensors(arguments, grad):
    made = []
    for i, a in enumerate(arguments):
        x = kg.tensor(a) if isinstance(a, np.ndarray) else a
        made.append(x.requires_grad_() if i in grad and isinstance(a, np.ndarray) else x)
    return made


def outputs_of(result):
    return [o for o in (result if isinstance(result, (tuple, list)) else [result]) if isinstance(o, kg.Tensor)]


def run(case, arguments, kwargs, seed=1):
    """Outputs and input gradients as NumPy arrays, for a random upstream gradient."""
    inputs = tensors(arguments, case.grad)
    outputs = outputs_of(case.op(*inputs, **kwargs))
    rng = np.random.default_rng(seed)
    recorded = [o for o in outputs if o.requires_grad]
    if recorded:
        upstream = [kg.tensor(rng.standard_normal(tuple(o.shape)).astype(o.dtype.numpy)) for o in recorded]
        kg.autograd.backward(recorded, upstream)
    return [o.detach().numpy() for o in outputs] + [
        inputs[i].grad.numpy()
        for i in case.grad
        if i < len(inputs) and isinstance(inputs[i], kg.Tensor) and inputs[i].grad is not None
    ]


def widen(arguments):
    return tuple(a.astype("float64") if isinstance(a, np.ndarray) and a.dtype.kind == "f" else a for a in arguments)


@pytest.mark.parametrize(("case", "backend", "dtype"), twins())
def test_backend_matches_reference(case, backend, dtype):
    ran = set()
    for shape, kwargs in case.samples():
        arguments = case.arguments(shape, dtype)
        with use_backend("reference"):
            expected = run(case, widen(arguments), kwargs)  # the reference answers in float64
        before = core.set_observer(lambda k, arrays, which: ran.add((k.name, which)))
        try:
            with use_backend(narrowed(backend)):
                actual = run(case, arguments, kwargs)
        finally:
            core.set_observer(before)
        assert len(actual) == len(expected)
        for i, (a, e) in enumerate(zip(actual, expected)):
            assert_close(a, e, dtype, case.tolerance, f"{case.name}{shape} {kwargs} result {i}")
    kind = backend.partition(":")[0]
    assert any(name in case.kernels and which == kind for name, which in ran), (
        f"no kernel of {case.name} ran on {kind}: {ran}"
    )


def narrowed(backend):
    """The twin under test for kernels that have it, the usual choice for every other kernel of the op."""
    kind, _, level = backend.partition(":")
    return {"simd": f"auto:{level}", "jit": "auto:jit", "reference": "reference"}[kind]


@pytest.mark.parametrize("case", [c for c in CASES if c.grad], ids=lambda c: c.name)
def test_backward_matches_central_differences(case):
    for shape, kwargs in case.samples():
        inputs = tensors(case.arguments(shape, "float64"), case.grad)
        gradcheck(lambda *x, k=kwargs: case.op(*x, **k), inputs, rtol=1e-5 * case.tolerance, atol=1e-7 * case.tolerance)


@pytest.mark.parametrize("case", [c for c in CASES if c.torch], ids=lambda c: c.name)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_matches_pytorch(case, dtype, torch):
    if dtype not in case.dtypes:
        pytest.skip(f"{case.name} is not for {dtype}")
    function = case.torch_function()
    for shape, kwargs in case.samples():
        arguments = case.arguments(shape, dtype)
        actual = run(case, arguments, kwargs)
        theirs = []
        for i, a in enumerate(widen(arguments)):
            x = torch.tensor(a) if isinstance(a, np.ndarray) else a
            theirs.append(x.requires_grad_() if i in case.grad and isinstance(a, np.ndarray) else x)
        options = case.torch_kwargs(kwargs) if case.torch_kwargs else kwargs
        options = {k: torch.tensor(v.numpy()).double() if isinstance(v, kg.Tensor) else v for k, v in options.items()}
        result = function(*theirs, **options)
        results = [
            o for o in (result if isinstance(result, (tuple, list)) else [result]) if isinstance(o, torch.Tensor)
        ]
        rng = np.random.default_rng(1)
        recorded = [o for o in results if o.requires_grad]
        if recorded:
            torch.autograd.backward(
                recorded, [torch.tensor(rng.standard_normal(tuple(o.shape)).astype(dtype)).double() for o in recorded]
            )
        expected = [o.detach().numpy() for o in results]
        expected += [
            theirs[i].grad.numpy()
            for i in case.grad
            if i < len(theirs) and isinstance(theirs[i], torch.Tensor) and theirs[i].grad is not None
        ]
        assert len(actual) == len(expected)
        for i, (a, e) in enumerate(zip(actual, expected)):
            assert a.dtype == (np.dtype(dtype) if e.dtype.kind == "f" else e.dtype), (
                f"{case.name}: dtype {a.dtype}, PyTorch's {e.dtype}"
            )
            assert_close(a, e, dtype, case.tolerance, f"{case.name}{shape} {kwargs} result {i}")


@pytest.mark.parametrize("case", [c for c in CASES if c.errors], ids=lambda c: c.name)
def test_bad_input_raises(case):
    for call, exception, message in case.errors:
        with pytest.raises(exception, match=message):
            call()


def strided(a):
    """The same values in memory with gaps, as every second element of a larger array."""
    big = np.full(tuple(2 * n for n in a.shape), 7, a.dtype)
    view = big[(..., *(slice(None, None, 2) for _ in a.shape))]
    view[...] = a
    return kg.from_numpy(view)


@pytest.mark.parametrize("case", CASES, ids=lambda c: c.name)
def test_memory_layout_does_not_matter(case):
    for shape, kwargs in case.samples():
        arguments = case.arguments(shape, "float32")
        plain = outputs_of(case.op(*[kg.tensor(a) if isinstance(a, np.ndarray) else a for a in arguments], **kwargs))
        for layout in (strided, transposed, read_only):
            other = outputs_of(case.op(*[layout(a) if isinstance(a, np.ndarray) else a for a in arguments], **kwargs))
            for p, o in zip(plain, other):
                assert_close(o.numpy(), p.numpy(), "float32", case.tolerance, f"{case.name}{shape} {layout.__name__}")


def transposed(a):
    return kg.from_numpy(np.asfortranarray(a))


def read_only(a):
    a = a.copy()
    a.setflags(write=False)
    return kg.from_numpy(a)


def bits(case):
    found = []
    for shape, kwargs in case.samples():
        found += run(case, case.arguments(shape, "float32"), kwargs)
    return [(a.shape, a.tobytes()) for a in found]


@pytest.mark.parametrize("case", CASES, ids=lambda c: c.name)
def test_same_bits_for_any_thread_count(case):
    before = kg.get_num_threads()
    try:
        kg.set_num_threads(1)
        expected = bits(case)
        for threads in (2, 3, 7):
            kg.set_num_threads(threads)
            assert bits(case) == expected, f"{case.name} with {threads} threads"
    finally:
        kg.set_num_threads(before)


@pytest.mark.skipif(
    "avx2" not in core.available_levels() or "avx512" not in core.available_levels(), reason="needs avx2 and avx512"
)
@pytest.mark.parametrize("case", CASES, ids=lambda c: c.name)
def test_same_bits_on_avx2_and_avx512(case):
    with use_backend("auto:avx2"):
        narrow = bits(case)
    with use_backend("auto:avx512"):
        assert bits(case) == narrow
