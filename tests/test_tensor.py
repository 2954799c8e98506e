"""Tensors against PyTorch's rules: promotion, operators, in-place forms, conversion, printing."""

import copy
import itertools
import operator
import pickle

import numpy as np
import pytest

import kernelgrad as kg

DTYPES = ("bool", "uint8", "int8", "int32", "int64", "float32", "float64")


def operand(lib, dtype, kind):
    if kind == "number":
        return {"bool": True, "int64": 3, "float32": 2.5}[dtype]
    values = [1, 0, 2] if dtype != "bool" else [True, False, True]
    x = lib.tensor(values, dtype=getattr(lib, dtype))
    return x if kind == "tensor" else x[0]


OPERANDS = [(d, k) for d in DTYPES for k in ("tensor", "scalar")] + [
    (d, "number") for d in ("bool", "int64", "float32")
]


@pytest.mark.parametrize("name", ["add", "mul", "truediv", "eq", "lt"])
def test_promotion_of_every_pair_matches_pytorch(name, torch):
    op = getattr(operator, name)
    for a, b in itertools.product(OPERANDS, OPERANDS):
        if a[1] == b[1] == "number" or {a[0], b[0]} == {
            "uint8",
            "int8",
        }:  # PyTorch answers int16 there, which kernelgrad lacks
            continue
        ours, theirs = op(operand(kg, *a), operand(kg, *b)), op(operand(torch, *a), operand(torch, *b))
        assert str(ours.dtype).rpartition(".")[2] == str(theirs.dtype).rpartition(".")[2], (name, a, b)
        np.testing.assert_allclose(
            ours.numpy().astype("f8"), theirs.numpy().astype("f8"), rtol=1e-6, err_msg=f"{name} {a} {b}"
        )


def test_subtracting_bools_is_refused():
    with pytest.raises(RuntimeError, match="bool tensor is not supported"):
        kg.tensor([True]) - kg.tensor([True])


def test_operators_with_numbers_on_either_side():
    x = kg.tensor([1.0, -2.0, 4.0])
    v = x.numpy()
    for ours, theirs in [
        (2 + x, 2 + v), (2 - x, 2 - v), (x - 2, v - 2), (3 / x, 3 / v), (2**x, 2**v), (x**2, v**2),
        (-x, -v), (abs(x), abs(v)), (x // 2, v // 2), (x % 3, v % 3), (7 % x, 7 % v),
        (x * np.float32(2), v * 2), (np.float64(2) * x, v * 2),
    ]:  # fmt: skip
        np.testing.assert_allclose(ours.numpy(), theirs, rtol=1e-6)
        assert ours.dtype is kg.float32


def test_integers_and_bools():
    x = kg.tensor([7, -7, 3])
    np.testing.assert_array_equal((x // 2).numpy(), [3, -4, 1])
    np.testing.assert_array_equal((x % 4).numpy(), [3, 1, 3])
    np.testing.assert_array_equal((x & 3).numpy(), [3, 1, 3])
    np.testing.assert_array_equal((~x).numpy(), [-8, 6, -4])
    assert (x / 2).dtype is kg.float32
    big = kg.tensor([2**53 + 1])
    assert (big + 0).item() == 2**53 + 1
    assert (big + 2**53).item() == 2**54 + 1
    with pytest.raises(RuntimeError, match="division by zero"):
        x // 0
    with pytest.raises(RuntimeError, match="negative integer powers"):
        x**-1
    mask = kg.tensor([True, False])
    np.testing.assert_array_equal((mask & kg.tensor([True, True])).numpy(), [True, False])
    np.testing.assert_array_equal((~mask).numpy(), [False, True])
    assert (mask + mask).dtype is kg.bool


def test_in_place_keeps_dtype_and_memory():
    x = kg.ones(3)
    address = x.data_ptr()
    x += 1
    x *= kg.tensor([1.0, 2.0, 3.0])
    x -= 0.5
    x /= 2
    assert x.data_ptr() == address
    np.testing.assert_allclose(x.numpy(), (2 * np.array([1, 2, 3]) - 0.5) / 2)
    n = kg.tensor([1, 2])
    with pytest.raises(RuntimeError, match="can't be cast"):
        n += 0.5
    with pytest.raises(RuntimeError, match="broadcast"):
        kg.ones(3).add_(kg.ones(2, 3))


def test_in_place_with_overlapping_memory():
    x = kg.arange(6, dtype=kg.float32)
    x[1:] += x[:-1]
    np.testing.assert_array_equal(x.numpy(), [0, 1, 3, 5, 7, 9])
    square = kg.arange(9, dtype=kg.float32).reshape(3, 3)
    expected = square.numpy() + square.numpy().T
    square.add_(square.t())
    np.testing.assert_array_equal(square.numpy(), expected)
    with pytest.raises(RuntimeError, match="single memory location"):
        kg.ones(1).expand(4).add_(1)


@pytest.mark.parametrize("level", kg.available_levels())
@pytest.mark.parametrize("exponent", [-2.0, -1.0, -0.5, 0.5, 1.0, 2.0, 3.0, 4.0])
def test_powers_and_slopes_at_the_ends(exponent, level):
    ends = np.array([0.0, -0.0, np.inf, -np.inf, np.nan], "f")
    x = kg.tensor(ends, requires_grad=True)
    with kg.core.use_backend(f"auto:{level}"), np.errstate(all="ignore"):
        y = kg.pow(x, kg.tensor(exponent))
        y.sum().backward()
        exponents = np.full(5, exponent)  # for one exponent NumPy, too, has formulas of its own
        np.testing.assert_array_equal(y.detach().numpy(), np.power(ends, exponents))
        np.testing.assert_array_equal(x.grad.numpy(), exponent * np.power(ends, exponents - 1))


def test_read_only_memory_is_not_written():
    a = np.ones(3, "f")
    a.setflags(write=False)
    x = kg.from_numpy(a)
    np.testing.assert_array_equal((x + 1).numpy(), [2, 2, 2])
    for change in (
        lambda: x.add_(1),
        lambda: x.fill_(2),
        lambda: x.zero_(),
        lambda: x.__setitem__(0, 5.0),
        lambda: x.copy_(kg.zeros(3)),
    ):
        with pytest.raises(RuntimeError, match="read-only"):
            change()
    with pytest.raises(RuntimeError, match="read-only"):
        kg.core.zero_(x)
    np.testing.assert_array_equal(a, np.ones(3))


def test_making_tensors():
    assert kg.tensor(1.5).dtype is kg.float32
    assert kg.tensor([1, 2]).dtype is kg.int64
    assert kg.tensor([True]).dtype is kg.bool
    assert kg.tensor(np.ones(2)).dtype is kg.float64
    assert kg.tensor([]).shape == (0,)
    assert kg.tensor([kg.tensor(1.0), kg.tensor(2.0)]).shape == (2,)
    assert kg.zeros(2, 3).shape == kg.zeros((2, 3)).shape == (2, 3)
    assert kg.full((2,), 7).dtype is kg.int64
    np.testing.assert_array_equal(kg.arange(1, 7, 2).numpy(), [1, 3, 5])
    np.testing.assert_allclose(kg.linspace(0, 1, 5).numpy(), np.linspace(0, 1, 5))
    with pytest.raises(ValueError, match="unequal lengths"):
        kg.tensor([[1, 2], [3]])
    with pytest.raises(TypeError, match="expected numbers"):
        kg.tensor(["a"])
    with pytest.raises(TypeError, match="expected a kernelgrad dtype"):
        kg.zeros(3, dtype="complex64")


def test_python_protocols():
    x = kg.tensor([[1.0, 2.0], [3.0, 4.0]])
    assert len(x) == 2
    assert [row.tolist() for row in x] == [[1, 2], [3, 4]]
    assert float(kg.tensor(2.5)) == 2.5
    assert int(kg.tensor(3)) == 3
    assert bool(kg.tensor(0)) is False
    assert [10, 20, 30][kg.tensor(1)] == 20
    assert 3.0 in x
    np.testing.assert_array_equal(np.asarray(x), x.numpy())
    with pytest.raises(RuntimeError, match="ambiguous"):
        bool(x)
    with pytest.raises(TypeError, match="0-d tensor"):
        len(kg.tensor(1.0))
    with pytest.raises(RuntimeError, match="cannot be converted to Scalar"):
        x.item()


def test_copies_and_pickles():
    x = kg.tensor([1.0, 2.0], requires_grad=True)
    for y in (copy.deepcopy(x), pickle.loads(pickle.dumps(x))):
        assert y.requires_grad
        assert y.data_ptr() != x.data_ptr()
        np.testing.assert_array_equal(y.detach().numpy(), [1, 2])
    with pytest.raises(RuntimeError, match="deepcopy"):
        copy.deepcopy(x * 2)
    b = kg.tensor([1.0, -2.5]).bfloat16()
    assert pickle.loads(pickle.dumps(b)).dtype is kg.bfloat16


def test_printing():
    assert repr(kg.tensor([1.0, 2.5])) == "tensor([1.0, 2.5])"
    assert repr(kg.tensor([1, 2], dtype=kg.int32)) == "tensor([1, 2], dtype=kernelgrad.int32)"
    assert repr(kg.tensor(True)) == "tensor(True)"
    x = kg.tensor([1.0], requires_grad=True)
    assert "requires_grad=True" in repr(x)
    assert "grad_fn=<MulBackward>" in repr(x * 2)
    assert f"{kg.tensor(3.14159):.2f}" == "3.14"


def test_wrong_calls_say_what_is_wrong():
    with pytest.raises(TypeError, match="unexpected keyword argument 'dimension'"):
        kg.exp(kg.ones(2), dimension=1)
    with pytest.raises(TypeError, match="must be Tensor, not list"):
        kg.exp([1.0])
    with pytest.raises(TypeError):
        kg.ones(2) + "a"
    with pytest.raises(RuntimeError, match="Can't call numpy"):
        kg.ones(2, requires_grad=True).numpy()
    with pytest.raises(RuntimeError, match="Invalid device string|Expected one of"):
        kg.zeros(2, device="tpu")


def test_memory_formats_have_pytorchs_names_and_effect(torch):
    x, theirs = kg.randn(2, 3, 4, 5), torch.zeros(2, 3, 4, 5)
    for change in (
        lambda library, t: t.to(memory_format=library.channels_last),
        lambda library, t: t.contiguous(memory_format=library.channels_last),
        lambda library, t: t.clone(memory_format=library.channels_last),
        lambda library, t: t.to(memory_format=library.channels_last).to(memory_format=library.contiguous_format),
        lambda library, t: t.to(memory_format=library.channels_last).clone(),
        lambda library, t: t.to(memory_format=library.channels_last).to(memory_format=library.preserve_format),
    ):
        ours, expected = change(kg, x), change(torch, theirs)
        assert ours.stride() == expected.stride()
        assert ours.is_contiguous() == expected.is_contiguous()
        in_format = expected.is_contiguous(memory_format=torch.channels_last)
        assert ours.is_contiguous(memory_format=kg.channels_last) == in_format
        np.testing.assert_array_equal(ours.numpy(), x.numpy())
    leaf = kg.randn(1, 2, 3, 3, requires_grad=True)
    (leaf.to(memory_format=kg.channels_last) * 2).sum().backward()
    assert (leaf.grad.numpy() == 2).all()
    with pytest.raises(RuntimeError, match="required rank 4 tensor"):
        kg.ones(3).to(memory_format=kg.channels_last)
    with pytest.raises(TypeError, match="expected a memory format"):
        kg.ones(3).clone(memory_format="channels_last")
    assert repr(kg.channels_last) == "kernelgrad.channels_last"
