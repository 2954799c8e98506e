"""Arrays on device "cuda": which device answers, copies of any strides, memory, and what is not imported."""

import os
import subprocess
import sys

import numpy as np
import pytest

pytest.importorskip("greenlet")

import kernelgrad as kg  # noqa: E402
from kernelgrad import core, cuda, ops  # noqa: E402
from kernelgrad.backends.cuda import copies, device  # noqa: E402
from kernelgrad.backends.cuda.backend import start  # noqa: E402
from kernelgrad.backends.cuda.simulated import SimulatedGpu  # noqa: E402
from kernelgrad.core.numpy_memory import as_numpy  # noqa: E402


@pytest.fixture(scope="module", autouse=True)
def some_device():
    """The GPU where there is one, else the simulated device."""
    return start(None if cuda.is_available() else SimulatedGpu())


def to_gpu(a):
    return core.move(core.from_numpy(a), "cuda")


def to_numpy(x):
    return as_numpy(core.move(x, "cpu"))


@pytest.mark.parametrize("dtype", ["float32", "float64", "int64", "int32", "int8", "uint8", "bool"])
@pytest.mark.parametrize("shape", [(), (0,), (5,), (2, 3), (2, 0, 3), (2, 1, 3, 2), (2, 2, 2, 2, 3)])
def test_permuted_arrays_become_contiguous(shape, dtype):
    rng = np.random.default_rng(len(shape))
    a = rng.integers(0, 2, shape).astype(dtype)
    x = to_gpu(a)
    order = rng.permutation(len(shape))
    view = core.as_strided(x, [shape[d] for d in order], [x.stride()[d] for d in order])
    assert core.contiguous(view).is_contiguous()
    assert (to_numpy(core.contiguous(view)) == a.transpose(order)).all()


def test_every_second_element_of_five_dimensions():
    a = np.arange(4**5).reshape((4,) * 5)
    x = to_gpu(a)
    view = core.as_strided(x, (2,) * 5, [2 * step for step in x.stride()])
    assert (to_numpy(core.contiguous(view)) == a[::2, ::2, ::2, ::2, ::2]).all()


def test_expanded_arrays_repeat():
    x = to_gpu(np.arange(3.0))
    assert to_numpy(core.contiguous(core.as_strided(x, (2, 3), (0, 1)))).tolist() == [[0, 1, 2], [0, 1, 2]]


def test_fill():
    assert to_numpy(core.full((2, 3), 7.0, device="cuda")).tolist() == [[7.0] * 3] * 2


def test_copies_merge_what_lies_together():
    assert copies.plan((2, 3, 4), (12, 4, 1), (12, 4, 1))[0] == [1, 1, 24]
    assert copies.plan((4, 3, 2), (1, 4, 12), (1, 4, 12))[0] == [1, 1, 24]
    assert copies.plan((2, 3, 4), (12, 4, 1), (1, 2, 6)) == ([2, 3, 4], [12, 4, 1], [1, 2, 6])
    assert copies.plan((), (), ()) == ([1, 1, 1], [0, 0, 0], [0, 0, 0])


def test_memory_is_counted_and_kept_for_reuse():
    x = core.empty((1000,), device="cuda")
    held = cuda.memory_allocated()
    assert held >= 4000
    del x
    assert held - cuda.memory_allocated() >= 4000
    misses = cuda.memory_stats()["misses"]
    x = core.empty((1000,), device="cuda")
    assert cuda.memory_stats()["misses"] == misses
    del x
    cuda.empty_cache()
    assert cuda.memory_reserved() == cuda.memory_allocated()
    cuda.reset_peak_memory_stats()
    assert cuda.max_memory_allocated() == cuda.memory_allocated()


def test_numpy_is_refused_on_the_device():
    with pytest.raises(TypeError, match=r"copy it to the host first with \.cpu\(\)"):
        as_numpy(core.empty((1,), device="cuda"))


def test_names_as_in_torch():
    assert cuda.is_initialized()
    assert cuda.current_device() == 0
    assert cuda.get_device_name()
    assert cuda.get_device_capability() >= (7, 5)
    cuda.synchronize()


@pytest.mark.parametrize("draw", [kg.rand, kg.randn])
def test_devices_draw_the_same_numbers(draw):
    kg.manual_seed(3)
    expected = draw(100).numpy()
    cuda.manual_seed(3)
    np.testing.assert_allclose(draw(100, device="cuda").cpu().numpy(), expected, rtol=2e-6, atol=1e-6)
    cuda.manual_seed(3)
    if draw is kg.rand:
        assert (draw(100, device="cuda").cpu().numpy() == expected).all()


THREE = {
    "lerp": lambda x, y, z: ops.lerp(x, y, z),
    "addcmul": lambda x, y, z: ops.addcmul(x, y, z, value=2),
    "addcdiv": lambda x, y, z: ops.addcdiv(x, y, z, value=2),
    "where": lambda x, y, z: ops.where(x > 0, y, z),
    "broadcast": lambda x, y, z: core.broadcast(core.kernel("add_forward"), x, y),
}


@pytest.mark.parametrize("name", THREE)
def test_operands_on_two_devices_are_refused(name):
    for places in (("cpu", "cuda", "cpu"), ("cuda", "cpu", "cuda"), ("cpu", "cuda", "cuda")):
        with pytest.raises(RuntimeError, match="on the same device"):
            THREE[name](*(kg.ones(3, device=place) for place in places))


@pytest.mark.parametrize("name", [name for name in THREE if name != "broadcast"])
def test_single_numbers_may_come_from_the_cpu(name):
    values = [kg.tensor(v) for v in ([0.5, -1.0, 2.0], [3.0, 1.0, 2.0], [0.25, 2.0, 4.0])]
    for single in range(3):
        operands = [x if i != single else x[0] for i, x in enumerate(values)]
        expected = THREE[name](*operands).numpy()
        mixed = [x if i == single else x.to("cuda") for i, x in enumerate(operands)]
        out = THREE[name](*mixed)
        assert out.device == "cuda"
        np.testing.assert_allclose(out.cpu().numpy(), expected, rtol=1e-6)
    with pytest.raises(RuntimeError, match="on the same device"):
        THREE[name](values[0].to("cuda"), kg.tensor(1.0, requires_grad=True), values[2].to("cuda"))


def python(script, **environment):
    base = {key: value for key, value in os.environ.items() if key != "KERNELGRAD_CUDA"}
    done = subprocess.run([sys.executable, "-c", script], env=base | environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_the_environment_asks_for_the_simulator():
    script = "import kernelgrad; print(kernelgrad.cuda.is_available(), kernelgrad.cuda.get_device_name())"
    assert python(script, KERNELGRAD_CUDA="simulate") == "True simulated CUDA device"


def test_without_a_device_the_reason_is_given():
    script = """
import kernelgrad
print(kernelgrad.cuda.device_count(), kernelgrad.cuda.why_not())
try:
    kernelgrad.zeros(3, device="cuda")
except RuntimeError as error:
    print(error)
"""
    count, said = python(script, KERNELGRAD_CUDA="sideways").split("\n")[0].split(" ", 1)
    assert count == "0"
    assert said == "KERNELGRAD_CUDA=sideways is not understood: set it to simulate, or unset it to use the GPU"
    assert python(script, KERNELGRAD_CUDA="sideways").endswith(f"device 'cuda' cannot be used: {said}")


def test_missing_driver_and_missing_packages_are_told_apart(monkeypatch):
    monkeypatch.delenv("KERNELGRAD_CUDA", raising=False)
    monkeypatch.setattr(device.ctypes, "CDLL", lambda name: (_ for _ in ()).throw(OSError(name)))
    assert device.why_not().startswith("no NVIDIA driver was found")

    class Driver:
        def __getattr__(self, name):
            return lambda *arguments: 0

        def cuDriverGetVersion(self, out):
            out._obj.value = 13000

        def cuDeviceGetCount(self, out):
            out._obj.value = 1

        def cuDeviceGetAttribute(self, out, which, number):
            out._obj.value = {75: 9, 76: 0}[which]

    monkeypatch.setattr(device.ctypes, "CDLL", lambda name: Driver())
    monkeypatch.setattr(device, "find_spec", lambda name: None)
    assert device.why_not() == "numba-cuda and cuda-core cannot be imported: pip install 'kernelgrad[cuda]'"


def test_import_loads_neither_numba_nor_cuda():
    script = """
import sys
import kernelgrad
late = {"numba", "cuda", "numba_cuda", "llvmlite", "greenlet"}
print(late & {name.partition(".")[0] for name in sys.modules})
"""
    assert python(script) == "set()"
