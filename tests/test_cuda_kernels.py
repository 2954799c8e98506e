"""Every CUDA kernel of the dispatch table: right in the simulator (or on the GPU), forward and backward, from the cases
that all backends share; and compiled for the GPUs we name, within registers, without spills, float32 in float32."""

from contextlib import suppress
from importlib.util import find_spec

import numpy as np
import pytest

pytest.importorskip("greenlet")

from test_cuda_compile import CAPABILITIES, compiled, float64_arithmetic  # noqa: E402

import kernelgrad as kg  # noqa: E402
from kernelgrad import core, cuda, nn, ops, optim  # noqa: E402
from kernelgrad.backends.cuda.backend import kernels_of, start  # noqa: E402
from kernelgrad.backends.cuda.build import assemble, ptxas  # noqa: E402
from kernelgrad.backends.cuda.simulated import SimulatedGpu  # noqa: E402
from kernelgrad.testing import all_cases, assert_close  # noqa: E402

REGISTERS = 64  # per thread, unless the kernel's file allows more; 1024 threads of it fill a multiprocessor's 65536
LARGEST = 2000  # elements of a sample's largest array: the simulator takes microseconds for each


@pytest.fixture(scope="module", autouse=True)
def backend():
    """The GPU where there is one, else the simulated device."""
    return start(None if cuda.is_available() else SimulatedGpu())


def on_cuda(case, dtype):
    """Whether every kernel that the case names has a CUDA twin for this dtype."""
    return bool(case.kernels) and all(getattr(core, dtype) in core.kernel(name).cuda for name in case.kernels)


def cases():
    return [
        pytest.param(case, dtype, id=f"{case.name}-{dtype}")
        for case in all_cases()
        for dtype in case.dtypes
        if on_cuda(case, dtype) and any(samples(case, dtype))
    ]


def samples(case, dtype):
    """Argument tuples and keyword arguments that the simulator gets through in reasonable time."""
    for shape, kwargs in case.samples():
        arguments = case.arguments(shape, dtype)
        if max((a.size for a in arguments if isinstance(a, np.ndarray)), default=0) <= LARGEST:
            yield shape, arguments, kwargs


def run(case, arguments, kwargs, device):
    """Outputs and input gradients as NumPy arrays, for a random upstream gradient."""
    inputs = [kg.tensor(a, device=device) if isinstance(a, np.ndarray) else a for a in arguments]
    kwargs = {name: value.to(device) if isinstance(value, kg.Tensor) else value for name, value in kwargs.items()}
    for i in case.grad:
        if i < len(inputs) and isinstance(inputs[i], kg.Tensor):
            inputs[i].requires_grad_()
    result = case.op(*inputs, **kwargs)
    outputs = [o for o in (result if isinstance(result, (tuple, list)) else [result]) if isinstance(o, kg.Tensor)]
    assert all(o.device == device for o in outputs)
    recorded = [o for o in outputs if o.requires_grad]
    rng = np.random.default_rng(1)
    upstream = [kg.tensor(rng.standard_normal(tuple(o.shape)).astype(o.dtype.numpy), device=device) for o in recorded]
    if recorded:
        kg.autograd.backward(recorded, upstream)
    grads = [x.grad for x in inputs if isinstance(x, kg.Tensor) and x.grad is not None]
    assert all(g.device == device for g in grads)
    return [x.detach().cpu().numpy() for x in (*outputs, *grads)]


@pytest.mark.parametrize(("case", "dtype"), cases())
def test_cuda_matches_reference(case, dtype):
    ran = set()
    for shape, arguments, kwargs in samples(case, dtype):
        wide = tuple(a.astype("float64") if isinstance(a, np.ndarray) and a.dtype.kind == "f" else a for a in arguments)
        with core.use_backend("reference"):
            expected = run(case, wide, kwargs, "cpu")
        before = core.set_observer(lambda k, arrays, which: ran.add((k.name, which)))
        try:
            actual = run(case, arguments, kwargs, "cuda")
        finally:
            core.set_observer(before)
        assert len(actual) == len(expected)
        for i, (a, e) in enumerate(zip(actual, expected)):
            assert_close(a, e, dtype, case.tolerance, f"{case.name}{shape} {kwargs} result {i}")
    # Helpers may run elsewhere (indices are checked on the host, which can raise), the case's own kernels not.
    assert {which for name, which in ran if name in case.kernels} == {"cuda"}


LOGIC = ["logical_and", "logical_or", "logical_xor", "bitwise_and", "bitwise_or", "bitwise_xor"]
COMPARISONS = ["eq", "ne", "lt", "le", "gt", "ge"]


def integer_pair(dtype, device):
    rng = np.random.default_rng(0)
    return tuple(kg.tensor(rng.integers(0, 2 if dtype == "bool" else 5, 20).astype(dtype), device=device) for _ in "xy")


@pytest.mark.parametrize("dtype", ["bool", "uint8", "int32", "int64"])
@pytest.mark.parametrize("name", LOGIC + COMPARISONS)
def test_integers_on_cuda(name, dtype):
    op = getattr(ops, name)
    expected, actual = op(*integer_pair(dtype, "cpu")), op(*integer_pair(dtype, "cuda"))
    assert actual.dtype is expected.dtype
    assert (actual.cpu().numpy() == expected.numpy()).all()


def test_integers_are_added_and_counted():
    x = kg.tensor(np.arange(-3, 9).reshape(3, 4), device="cuda")
    assert ((x + 1) * x - x).cpu().numpy().tolist() == (np.arange(-3, 9) ** 2).reshape(3, 4).tolist()
    assert (x > 0).sum().item() == 8
    assert (-x).sum(0).cpu().numpy().tolist() == [-3, -6, -9, -12]
    assert (x != 0).all(1).cpu().numpy().tolist() == [False, True, True]
    assert bool((x == 8).any())


DTYPES = ["float32", "float64", "int64", "int32", "int8", "uint8", "bool"]


def cast(source, target, device):
    values = np.array([0, 1, 2.75, 100.0, -3.5 if source[0] != "u" and target[0] != "u" else 3]).astype(source)
    return kg.tensor(values, device=device).to(getattr(core, target if target != "bool" else "bool_"))


@pytest.mark.parametrize("target", DTYPES)
@pytest.mark.parametrize("source", DTYPES)
def test_casts_on_cuda(source, target):
    expected, actual = cast(source, target, "cpu"), cast(source, target, "cuda")
    assert actual.device == "cuda"
    assert actual.dtype is expected.dtype
    assert (actual.cpu().numpy() == expected.numpy()).all()


OPTIMIZERS = {
    "SGD": lambda p: optim.SGD(p, lr=0.1, momentum=0.9),
    "Adam": lambda p: optim.Adam(p, lr=0.1, amsgrad=True),
    "NAdam": lambda p: optim.NAdam(p, lr=0.1),
    "RAdam": lambda p: optim.RAdam(p, lr=0.1),
    "Adamax": lambda p: optim.Adamax(p, lr=0.1),
    "RMSprop": lambda p: optim.RMSprop(p, lr=0.1, centered=True, momentum=0.1),
    "Adagrad": lambda p: optim.Adagrad(p, lr=0.1),
    "Adadelta": lambda p: optim.Adadelta(p, lr=0.1),
}


def step(make_optimizer, device, dtype):
    parameter = nn.Parameter(kg.tensor(np.linspace(-1, 1, 7).astype(dtype), device=device))
    parameter.grad = kg.tensor(np.linspace(1, 2, 7).astype(dtype), device=device)
    optimizer = make_optimizer([parameter])
    for _ in range(2):
        nn.utils.clip_grad_norm_([parameter], 1.0)
        optimizer.step()
    return parameter.detach().cpu().numpy()


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", OPTIMIZERS)
def test_optimizers_on_cuda(name, dtype):
    assert_close(step(OPTIMIZERS[name], "cuda", dtype), step(OPTIMIZERS[name], "cpu", dtype), dtype, 4)


@pytest.fixture(scope="module")
def signatures(backend):
    """{kernel: signatures} of everything that the cases run, collected on small samples."""
    for make_optimizer in OPTIMIZERS.values():
        for dtype in ("float32", "float64"):
            with suppress(Exception):
                step(make_optimizer, "cuda", dtype)
    for name in LOGIC:
        getattr(ops, name)(*integer_pair("int64", "cuda"))
    test_integers_are_added_and_counted()
    for target in DTYPES:
        cast("int64", target, "cuda")
        cast("float32", target, "cuda")
    for param in cases():
        case, dtype = param.values
        for arguments, kwargs in {
            repr(kwargs): (arguments, kwargs) for _, arguments, kwargs in samples(case, dtype)
        }.values():
            with suppress(Exception):  # what is wrong with the case, the test above says
                run(case, arguments, kwargs, "cuda")
    found = {}
    for family, name, signature in backend.signatures:
        found.setdefault(name, []).append((family, signature))
    return found


@pytest.mark.skipif(not (find_spec("numba_cuda") and find_spec("cuda")), reason="needs pip install 'kernelgrad[cuda]'")
@pytest.mark.skipif(ptxas() is None, reason="needs ptxas of the CUDA toolkit")
@pytest.mark.parametrize("name", [name for name, kernel in core.all_kernels().items() if kernel.cuda])
def test_kernel_compiles_cleanly(name, signatures):
    assert name in signatures, f"no case in testing/cases runs {name} on CUDA"
    for family, signature in signatures[name]:
        module = kernels_of(family)
        for capability in CAPABILITIES if signature.key == "float32" else CAPABILITIES[:1]:
            ptx = compiled(getattr(module, name), signature, capability)
            used = assemble(ptx, capability)[1]
            assert used.spills == 0
            assert used.remarks == ()
            assert used.registers <= getattr(module, "REGISTERS", {}).get(name, REGISTERS)
            if signature.key == "float32" and name not in getattr(module, "FLOAT64", ()):
                assert not float64_arithmetic(ptx), f"{name}: float64 arithmetic in a float32 kernel"
