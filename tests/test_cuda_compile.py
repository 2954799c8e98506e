"""CUDA kernels compile for the GPUs we name, within registers, without spills, and float32 stays float32."""

import re
from importlib.util import find_spec

import cuda_samples as samples
import pytest

from kernelgrad.backends.cuda import build as builder
from kernelgrad.backends.cuda.build import Signature, assemble, build, ptxas, usage
from kernelgrad.backends.cuda.rebind import mentions, rebind, source

CAPABILITIES = [(8, 0), (9, 0)]
# What float32 kernels may do in float64: take their scalars. Anything else costs 32 to 64 times its float32 twin.
_FLOAT64_ARITHMETIC = re.compile(r"\b(?:add|sub|mul|div|fma|sqrt|rcp|neg|abs|min|max)(?:\.\w+)*\.f64\b")

needs_compiler = pytest.mark.skipif(
    not (find_spec("numba_cuda") and find_spec("cuda")), reason="needs pip install 'kernelgrad[cuda]'"
)
needs_ptxas = pytest.mark.skipif(ptxas() is None, reason="needs ptxas of the CUDA toolkit")


def compiled(function, signature, capability):
    from kernelgrad.backends.cuda.ptx import compile_ptx

    return compile_ptx(function, signature.key, signature.arrays, signature.sizes, signature.scalars, capability)[0]


def float64_arithmetic(ptx):
    return sorted(set(_FLOAT64_ARITHMETIC.findall(ptx)))


SAMPLES = [
    (samples.scale, Signature("float32", ("float32", "float32"), 1, 1)),
    (samples.scale, Signature("float64", ("float64", "float64"), 1, 1)),
    (samples.where, Signature("float32", ("bool", "float32", "float32", "bool"), 1, 0)),
    (samples.rint, Signature("float32", ("float32", "float32"), 1, 0)),
    (samples.matmul, Signature("float32", ("float32",) * 3, 3, 0)),
    (samples.block_sum, Signature("float32", ("float32", "float32"), 1, 0)),
    (samples.votes, Signature("float32", ("float32", "int64"), 1, 0)),
    (samples.histogram, Signature("int64", ("int64", "int64"), 1, 0)),
]


@needs_compiler
@needs_ptxas
@pytest.mark.parametrize("capability", CAPABILITIES, ids=lambda cc: f"sm_{cc[0]}{cc[1]}")
@pytest.mark.parametrize(
    ("function", "signature"), SAMPLES, ids=lambda x: getattr(x, "__name__", getattr(x, "key", ""))
)
def test_samples_compile_cleanly(function, signature, capability):
    ptx = compiled(function, signature, capability)
    used = assemble(ptx, capability)[1]
    assert used.spills == 0
    assert used.stack == 0
    assert used.remarks == ()
    assert signature.key == "float64" or not float64_arithmetic(ptx)


@needs_compiler
def test_the_gate_sees_float64_arithmetic():
    ptx = compiled(samples.promotes, Signature("float32", ("float32", "float32"), 1, 1), (8, 0))
    assert float64_arithmetic(ptx) == ["mul.f64"]


@needs_compiler
def test_cache_answers_the_second_time_and_notices_an_edited_constant(tmp_path, monkeypatch):
    monkeypatch.setenv("KERNELGRAD_CACHE_DIR", str(tmp_path))
    signature = Signature("float32", ("float32", "float32"), 1, 1)
    first = build(samples.scale, signature, (8, 0))
    with monkeypatch.context() as patch:
        patch.setattr(builder, "_ptx", None)  # a miss would call it
        assert build(samples.scale, signature, (8, 0)) == first
    monkeypatch.setattr(samples, "FACTOR", 3)
    build(samples.scale, signature, (8, 0))
    assert len(list((tmp_path / "cuda").iterdir())) == 2


def test_the_report_of_ptxas_is_read():
    report = """ptxas info    : (C7510) Potential Performance Loss: wgmma.mma_async instructions are serialized
ptxas info    : Function properties for k
    16 bytes stack frame, 8 bytes spill stores, 4 bytes spill loads
ptxas info    : Used 40 registers, used 1 barriers, 16 bytes cumulative stack size"""
    assert usage(report) == builder.Usage(registers=40, stack=16, spills=12, remarks=("C7510",))
    with pytest.raises(RuntimeError, match="cannot read"):
        usage("nonsense")


def test_surroundings_reach_helpers_and_leave_the_module_alone():
    function = rebind(samples.scale, {"T": float, "cuda": None})
    helper = function.__globals__["_double"]
    assert helper is not samples._double
    assert helper.__globals__ is function.__globals__
    assert helper(2) == 4.0
    assert "T" not in vars(samples)


def test_source_of_a_kernel_holds_helpers_and_constants():
    text = source(samples.scale)
    assert "def _double" in text
    assert "FACTOR = 2" in text


def test_mentions_looks_into_helpers():
    assert mentions(samples.scale, frozenset(["FACTOR"]))
    assert not mentions(samples.scale, frozenset(["syncthreads"]))
