"""Which twin runs, and what the table promises."""

import importlib
import inspect
import os
import subprocess
import sys

import numpy as np
import pytest

import kernelgrad as kg
from kernelgrad import core
from kernelgrad.core import use_backend

KERNELS = core.all_kernels()


def test_every_simd_entry_of_the_table_was_compiled_for_every_level():
    missing = []
    for kernel in KERNELS.values():
        for dtype in kernel.simd:
            name = kernel.name if dtype is core.float32 else f"{kernel.name}:{dtype.name}"
            missing += [
                (name, level) for level in core.available_levels() if name not in core.dispatch.compiled_tables()[level]
            ]
    assert not missing


def test_every_compiled_entry_is_in_the_table():
    listed = {k.name if d is core.float32 else f"{k.name}:{d.name}" for k in KERNELS.values() for d in k.simd}
    compiled = {name for entries in core.dispatch.compiled_tables().values() for name in entries}
    assert compiled <= listed, compiled - listed


@pytest.mark.parametrize("name", sorted(KERNELS))
def test_every_kernel_has_a_reference(name):
    kernel = KERNELS[name]
    module = importlib.import_module(f"kernelgrad.kernels.{kernel.family}.reference")
    assert callable(getattr(module, name))


@pytest.mark.parametrize("name", sorted(k.name for k in KERNELS.values() if k.jit))
def test_a_numba_twin_takes_the_reference_arguments_then_its_range(name):
    pytest.importorskip("numba")
    kernel = KERNELS[name]
    twin = getattr(importlib.import_module(f"kernelgrad.kernels.{kernel.family}.jit"), name)
    parameters = list(inspect.signature(getattr(twin, "py_func", twin)).parameters)
    assert parameters[-2:] == ["start", "stop"]


def test_the_chosen_instruction_set_is_the_one_that_runs():
    chosen = core.isa()
    wanted = os.environ.get("KERNELGRAD_ISA")
    assert chosen == (wanted or core.available_levels()[-1])


@pytest.mark.parametrize("level", core.available_levels())
def test_the_environment_narrows_the_choice(level):
    code = "import kernelgrad as kg; print(kg.isa()); a = kg.ones(1000); print((a + a).sum().item())"
    result = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "KERNELGRAD_ISA": level},
        capture_output=True,
        text=True,
        check=True,
    )
    assert result.stdout.split() == [level, "2000.0"]


def test_an_unknown_instruction_set_is_an_error():
    result = subprocess.run(
        [sys.executable, "-c", "import kernelgrad"],
        env={**os.environ, "KERNELGRAD_ISA": "mmx"},
        capture_output=True,
        text=True,
    )
    assert result.returncode != 0
    assert "KERNELGRAD_ISA=mmx: expected one of" in result.stderr


def test_observer_sees_the_twin_that_ran():
    seen = []
    before = core.set_observer(lambda kernel, arrays, which: seen.append((kernel.name, which)))
    try:
        a = kg.ones(8)
        a + a
        with use_backend("reference"):
            a + a
    finally:
        core.set_observer(before)
    assert seen == [("add_forward", "simd"), ("add_forward", "reference")]


def test_a_twin_that_is_missing_is_named():
    with use_backend("simd"), pytest.raises(NotImplementedError, match="add_forward: no C kernel for float64"):
        kg.ones(3, dtype=kg.float64) + 1
    with pytest.raises(NotImplementedError, match="no kernel 'nonsense'"):
        core.kernel("nonsense")
    with pytest.raises(ValueError, match="use_backend: expected"):
        use_backend("gpu")


def test_import_loads_neither_numba_nor_cuda_nor_torch():
    code = (
        "import sys, kernelgrad, kernelgrad.nn, kernelgrad.optim, kernelgrad.utils.data; "
        "heavy = ('numba', 'numba_cuda', 'cuda', 'torch', 'rich', 'matplotlib', 'sklearn'); "
        "print([m for m in sys.modules if m.split('.')[0] in heavy])"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "[]"


def test_reference_and_kernel_agree_that_bfloat16_is_storage():
    a = kg.tensor(np.linspace(-3, 3, 50), dtype=kg.float32)
    b = a.bfloat16()
    assert b.dtype is kg.bfloat16
    assert b.itemsize == 2
    np.testing.assert_allclose(b.float().numpy(), a.numpy(), rtol=2**-8)
    total = (b + b).float().numpy()
    np.testing.assert_allclose(total, 2 * b.float().numpy(), rtol=2**-8)
