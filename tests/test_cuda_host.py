"""The host side of the CUDA backend (packing, allocator, cache, launch) on a driver made of 150 lines of C."""

import os
import shutil
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

from kernelgrad.backends.cuda.memory import CachingAllocator, OutOfMemoryError, bucket

HERE = Path(__file__).parent


@pytest.fixture(scope="module")
def fake_driver(tmp_path_factory):
    """Environment in which libcuda.so.1 is the fake one."""
    if sys.platform != "linux" or not shutil.which("gcc"):
        pytest.skip("builds a shared library with gcc on Linux")
    if not find_spec("numba_cuda") or not find_spec("cuda"):
        pytest.skip("needs pip install 'kernelgrad[cuda]'")
    folder = tmp_path_factory.mktemp("driver")
    target = folder / "libcuda.so.1"
    subprocess.run(["gcc", "-shared", "-fPIC", "-o", target, HERE / "cuda_fake_driver.c", "-ldl"], check=True)
    environment = {key: value for key, value in os.environ.items() if key != "KERNELGRAD_CUDA"}
    return {**environment, "LD_LIBRARY_PATH": str(folder), "KERNELGRAD_CACHE_DIR": str(folder / "cache")}


def python(script, environment):
    done = subprocess.run([sys.executable, "-c", script], env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


SAMPLE = """
import ctypes, struct, sys
import numpy as np
from kernelgrad.backends.cuda import device
from kernelgrad.backends.cuda.build import Signature, cache_dir
from kernelgrad.backends.cuda.memory import CachingAllocator, OutOfMemoryError
sys.path.insert(0, {here!r})
from cuda_samples import scale

class Pointer:
    def __init__(self, address):
        self.data_ptr = lambda: address

assert device.is_available(), device.why_not()
gpu = device.open_device()
assert gpu.capability == (9, 0)
"""


def test_copies_go_there_and_back(fake_driver):
    script = """
memory = CachingAllocator(gpu)
a, b = memory.alloc(4000), memory.alloc(4000)
x = np.arange(1000, dtype=np.float32)
y = np.zeros_like(x)
gpu.to_device(a, x.ctypes.data, x.nbytes)
gpu.within_device(b, a, x.nbytes)
gpu.from_device(y.ctypes.data, b, x.nbytes)
assert (x == y).all()
"""
    python(SAMPLE.format(here=str(HERE)) + script, fake_driver)


def test_launch_packs_pointers_sizes_and_scalars(fake_driver):
    script = """
kernel = gpu.load(scale, Signature("float32", ("float32", "float32"), 1, 1))
driver = ctypes.CDLL("libcuda.so.1")
driver.fake_word.restype = ctypes.c_uint64
driver.fake_expect_words(5)
gpu.launch(kernel, (7, 2), 64, 96, [Pointer(0x7F0000001000), None], (2**40, -3, 2.5))
assert driver.fake_launches() == 1
assert [driver.fake_word(i) for i in range(4)] == [0x7F0000001000, 0, 2**40, 2**64 - 3]
assert struct.unpack("d", struct.pack("Q", driver.fake_word(4))) == (2.5,)
assert [driver.fake_geometry(i) for i in range(7)] == [7, 2, 1, 64, 1, 1, 96]
assert len(list(cache_dir().iterdir())) == 1
"""
    python(SAMPLE.format(here=str(HERE)) + script, fake_driver)


def test_second_process_finds_the_kernel_on_disk(fake_driver):
    load = SAMPLE.format(here=str(HERE)) + 'gpu.load(scale, Signature("float32", ("float32", "float32"), 1, 1))\n'
    python(load, fake_driver)
    python(load + "assert 'numba' not in sys.modules", fake_driver)


def test_too_large_a_request_empties_the_cache_and_says_so(fake_driver):
    script = """
memory = CachingAllocator(gpu)
driver = ctypes.CDLL("libcuda.so.1")
memory.free(memory.alloc(1000), 1000)
assert driver.fake_live_blocks() == 1
try:
    memory.alloc(2**32)
except OutOfMemoryError as error:
    assert "4096.0 MiB wanted" in str(error), error
else:
    raise AssertionError("no error")
assert driver.fake_live_blocks() == 0 and memory.reserved == 0
"""
    python(SAMPLE.format(here=str(HERE)) + script, fake_driver)


def test_a_training_step_passes_through_the_driver(fake_driver):
    script = """
import ctypes
import kernelgrad as kg
from kernelgrad import nn, optim
driver = ctypes.CDLL("libcuda.so.1")
model = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 3)).to("cuda")
optimizer = optim.Adam(model.parameters())
x, y = kg.ones(5, 4, device="cuda"), kg.zeros(5, dtype=kg.int64, device="cuda")
launches = []
for _ in range(3):
    before = driver.fake_launches()
    optimizer.zero_grad()
    nn.functional.mse_loss(model(x), kg.zeros(5, 3, device="cuda")).backward()
    optimizer.step()
    launches.append(driver.fake_launches() - before)
assert launches[0] == launches[2] > 8, launches
assert kg.cuda.get_device_name() == "fake"
blocks = driver.fake_live_blocks()
assert kg.cuda.memory_reserved() > 0
del model, optimizer, x, y
kg.cuda.empty_cache()
assert driver.fake_live_blocks() < blocks
"""
    python(script, fake_driver)


class Counter:
    """Addresses from a counter; room for `room` bytes."""

    def __init__(self, room=1 << 40):
        self.room, self.next, self.blocks = room, 4096, {}

    def acquire(self, nbytes):
        if sum(self.blocks.values()) + nbytes > self.room:
            raise OutOfMemoryError("full")
        self.next += nbytes
        self.blocks[self.next] = nbytes
        return self.next

    def release(self, address):
        del self.blocks[address]


def test_buckets_waste_at_most_a_fifth():
    for nbytes in [*range(1, 5000), 10**6, 10**7 + 1, 2**30 - 1, 2**30, 2**30 + 1]:
        size = bucket(nbytes)
        assert nbytes <= size
        assert size <= 512 or nbytes > 4096 or size - nbytes < 512
        assert nbytes <= 4096 or size <= 1.25 * nbytes


def test_a_loop_asks_the_driver_once():
    memory = CachingAllocator(Counter())
    for _ in range(3):
        addresses = [memory.alloc(n) for n in (100, 5000, 70000)]
        for address, n in zip(addresses, (100, 5000, 70000)):
            memory.free(address, n)
    assert (memory.misses, memory.hits, memory.allocated) == (3, 6, 0)
    assert memory.peak == memory.reserved
    memory.empty_cache()
    assert memory.reserved == 0


def test_no_bytes_need_no_memory():
    memory = CachingAllocator(Counter(room=0))
    assert memory.alloc(0) == 0
    memory.free(0, 0)


def test_cached_blocks_of_other_sizes_make_room():
    memory = CachingAllocator(Counter(room=5000))
    memory.free(memory.alloc(4096), 4096)
    assert memory.alloc(2048)
    with pytest.raises(OutOfMemoryError, match=r"2.0 MiB wanted, 0.0 MiB in use"):
        memory.alloc(2**21)
