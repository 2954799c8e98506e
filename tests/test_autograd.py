"""The graph: gradients through it, its errors, its memory."""

import gc
import weakref

import numpy as np
import pytest

import kernelgrad as kg
from kernelgrad.testing import gradcheck


def leaf(*shape, seed=0, dtype=kg.float32):
    return kg.tensor(np.random.default_rng(seed).standard_normal(shape), dtype=dtype, requires_grad=True)


def test_a_diamond_and_a_reused_leaf():
    x = leaf(5)
    y = x * x
    z = y * x + y
    z.sum().backward()
    v = x.detach().numpy()
    np.testing.assert_allclose(x.grad.numpy(), 3 * v**2 + 2 * v, rtol=1e-5)


def test_gradients_accumulate_in_leaves():
    x = leaf(4)
    (x * 2).sum().backward()
    first = x.grad
    (x * 3).sum().backward()
    assert x.grad is first
    np.testing.assert_array_equal(x.grad.numpy(), np.full(4, 5, "f"))


def test_two_leaves_do_not_share_one_gradient():
    x, y = leaf(4, seed=1), leaf(4, seed=2)
    (x + y).sum().backward()
    x.grad.mul_(0)
    np.testing.assert_array_equal(y.grad.numpy(), np.ones(4, "f"))


def test_broadcasting_sums_the_gradient():
    x, y = leaf(3, 1, 4), leaf(2, 1)
    upstream = kg.tensor(np.random.default_rng(3).standard_normal((3, 2, 4)), dtype=kg.float32)
    (x * y).backward(upstream)
    u, a, b = upstream.numpy(), x.detach().numpy(), y.detach().numpy()
    np.testing.assert_allclose(x.grad.numpy(), (u * b).sum(1, keepdims=True), rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(y.grad.numpy(), (u * a).sum((0, 2))[:, None], rtol=1e-5, atol=1e-6)


def test_no_grad_and_enable_grad():
    x = leaf(3)
    with kg.no_grad():
        assert not kg.is_grad_enabled()
        assert not (x * 2).requires_grad
        with kg.enable_grad():
            assert (x * 2).requires_grad

    @kg.no_grad()
    def double(v):
        return v * 2

    assert not double(x).requires_grad
    assert kg.is_grad_enabled()
    with kg.set_grad_enabled(False):
        assert not (x * 2).requires_grad
    assert (x * 2).requires_grad


def test_backward_twice_needs_retain_graph():
    x = leaf(3)
    y = (x * x).sum()
    y.backward(retain_graph=True)
    y.backward()
    with pytest.raises(RuntimeError, match="second time"):
        y.backward()


def test_in_place_change_of_a_saved_tensor_is_noticed():
    x = leaf(3)
    y = x * 2
    z = y * y
    y.add_(1)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        z.sum().backward()


@pytest.mark.parametrize("norm", ["layer_norm", "rms_norm", "batch_norm", "group_norm"])
def test_a_norm_with_a_weight_of_strides(norm):
    """Of which it keeps a copy, whose version is another."""
    x, columns = kg.randn(5, 6).requires_grad_(), kg.ones(6, 2)
    columns[:, 0] = kg.arange(6.0)
    columns.mul_(2)
    weight = columns[:, 0].requires_grad_()
    arguments = {"layer_norm": ((6,),), "rms_norm": ((6,),), "batch_norm": (None, None), "group_norm": (2,)}[norm]
    options = {"training": True} if norm == "batch_norm" else {}
    out = getattr(kg.nn.functional, norm)(x, *arguments, weight=weight, **options)
    out.backward(kg.ones(5, 6))
    plain = weight.detach().clone().requires_grad_()
    getattr(kg.nn.functional, norm)(x, *arguments, weight=plain, **options).backward(kg.ones(5, 6))
    np.testing.assert_array_equal(weight.grad.numpy(), plain.grad.numpy())


def of_three(name, wanted):
    """Arguments of lerp, addcmul or addcdiv, of which one wants a gradient, and the result."""
    arguments = [kg.tensor([1.0, 2.0, 3.0]) + i for i in range(3)]
    arguments[wanted].requires_grad_()
    return arguments, getattr(kg, name)(*arguments)


# which operands the gradient of which is made of
NEEDED = {
    "lerp": [(2,), (2,), (0, 1)],
    "addcmul": [(), (2,), (1,)],
    "addcdiv": [(), (2,), (1, 2)],
}


@pytest.mark.parametrize("wanted", [0, 1, 2])
@pytest.mark.parametrize("name", NEEDED)
def test_of_three_operands_those_that_no_wanted_gradient_needs_may_change(name, wanted):
    arguments, out = of_three(name, wanted)
    out.sum().backward()
    expected = arguments[wanted].grad.numpy()
    for changed in {0, 1, 2} - {wanted}:
        arguments, out = of_three(name, wanted)
        arguments[changed].add_(1)
        if changed in NEEDED[name][wanted]:
            with pytest.raises(RuntimeError, match="modified by an inplace operation"):
                out.sum().backward()
        else:
            out.sum().backward()
            np.testing.assert_array_equal(arguments[wanted].grad.numpy(), expected)


def test_lerp_in_place_towards_a_parameter():
    p, y = leaf(3), kg.zeros(3)
    y.lerp_(p, 0.5)
    y.sum().backward()
    np.testing.assert_array_equal(p.grad.numpy(), [0.5] * 3)


def test_in_place_on_a_leaf_is_refused_and_allowed_without_grad():
    x = leaf(3)
    with pytest.raises(RuntimeError, match="leaf Variable that requires grad"):
        x += 1
    with kg.no_grad():
        x += 1
    assert x.is_leaf


def test_in_place_in_a_graph():
    x = leaf(4)
    y = x * 3
    y += x
    y.mul_(2)
    y.sum().backward()
    np.testing.assert_array_equal(x.grad.numpy(), np.full(4, 8, "f"))


def test_saved_tensors_are_freed_by_backward():
    x = leaf(1000)
    y = x * 1.5
    held = weakref.ref(y)
    z = (y * y).sum()
    del y
    assert held() is not None
    z.backward()
    assert held() is None


def test_a_deep_graph_is_freed_without_overflow():
    x = leaf(1)
    y = x
    for _ in range(200_000):
        y = y + 1.0
    y.backward()
    assert x.grad.item() == 1
    del y
    gc.collect()


def test_graphs_leave_no_garbage_for_the_collector():
    gc.collect()
    gc.disable()
    try:
        for _ in range(3):
            x = leaf(10)
            (x.exp() * x.sigmoid()).sum().backward()
            del x
        assert gc.collect() == 0
    finally:
        gc.enable()


def test_hooks_on_leaves_and_inside():
    x = leaf(3)
    seen = []
    handle = x.register_hook(lambda g: g * 2)
    y = x * 4
    y.register_hook(lambda g: seen.append(g.numpy().copy()))
    y.sum().backward()
    np.testing.assert_array_equal(x.grad.numpy(), np.full(3, 8, "f"))
    np.testing.assert_array_equal(seen[0], np.ones(3, "f"))
    handle.remove()
    x.grad = None
    (x * 4).sum().backward()
    np.testing.assert_array_equal(x.grad.numpy(), np.full(3, 4, "f"))


def test_retain_grad():
    x = leaf(3)
    y = x * 2
    y.retain_grad()
    (y * y).sum().backward()
    np.testing.assert_allclose(y.grad.numpy(), 2 * y.detach().numpy())


def test_grad_of_inputs_leaves_grad_alone():
    x, w = leaf(3), leaf(3, seed=1)
    y = x * w
    gx, gy = kg.autograd.grad((y * y).sum(), [x, y])
    np.testing.assert_allclose(gy.numpy(), 2 * y.detach().numpy(), rtol=1e-6)
    np.testing.assert_allclose(gx.numpy(), (2 * y * w).detach().numpy(), rtol=1e-6)
    assert x.grad is None
    assert w.grad is None
    unused = leaf(2)
    with pytest.raises(RuntimeError, match="not have been used"):
        kg.autograd.grad((x * 2).sum(), [unused])
    assert kg.autograd.grad((x * 2).sum(), [unused], allow_unused=True) == (None,)


def test_errors_of_backward():
    x = leaf(3)
    with pytest.raises(RuntimeError, match="only for scalar outputs"):
        (x * 2).backward()
    with pytest.raises(RuntimeError, match="Mismatch in shape"):
        (x * 2).backward(kg.ones(4))
    with pytest.raises(RuntimeError, match="does not require grad"):
        kg.ones(1).backward()
    with pytest.raises(NotImplementedError, match="create_graph"):
        (x * 2).sum().backward(create_graph=True)
    with pytest.raises(RuntimeError, match="floating point"):
        kg.arange(3).requires_grad_()


class Cube(kg.autograd.Function):
    @staticmethod
    def forward(ctx, x, scale):
        ctx.save_for_backward(x)
        ctx.scale = scale
        return x * x * x * scale

    @staticmethod
    def backward(ctx, grad_out):
        (x,) = ctx.saved_tensors
        return grad_out * 3 * x * x * ctx.scale, None


def test_a_function_of_ones_own():
    x = leaf(4, dtype=kg.float64)
    assert gradcheck(lambda v: Cube.apply(v, 2.0), (x,))
    y = Cube.apply(x, 2.0)
    assert repr(y.grad_fn) == "<CubeBackward>"


class Split(kg.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        return x * 1.0, x * 2.0

    @staticmethod
    def backward(ctx, one, two):
        return one + two * 2


def test_a_function_with_two_outputs_of_which_one_is_used():
    x = leaf(3)
    one, two = Split.apply(x)
    two.sum().backward()
    np.testing.assert_array_equal(x.grad.numpy(), np.full(3, 2, "f"))
    assert one.output_nr == 0
    assert two.output_nr == 1


class Wrong(kg.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        return x * 1.0

    @staticmethod
    def backward(ctx, grad_out):
        return kg.ones(99)


def test_a_wrong_gradient_is_named():
    x = leaf(3)
    with pytest.raises(RuntimeError, match="WrongBackward returned an invalid gradient"):
        Wrong.apply(x).sum().backward()


def test_an_error_in_backward_leaves_the_graph_usable():
    class Boom(kg.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            return x * 1.0

        @staticmethod
        def backward(ctx, grad_out):
            raise ZeroDivisionError("boom")

    x = leaf(3)
    with pytest.raises(ZeroDivisionError, match="boom"):
        (Boom.apply(x) + x * 2).sum().backward()
    x.grad = None
    (x * 2).sum().backward()
    np.testing.assert_array_equal(x.grad.numpy(), np.full(3, 2, "f"))


def test_gradients_through_dtype_changes():
    x = leaf(3)
    (x.double() * 2).sum().backward()
    assert x.grad.dtype is kg.float32
    np.testing.assert_array_equal(x.grad.numpy(), np.full(3, 2, "f"))


def test_a_gradient_of_many_slices_is_gathered_in_place():
    """Slicing a tensor n times costs n slices in backward, not n tensors."""
    x = kg.ones(50, 400, requires_grad=True)
    hidden = x * 2
    total = sum((hidden[i] * i).sum() for i in range(50))
    whole = []
    before = kg.core.set_observer(
        lambda kernel, arrays, backend: whole.append(kernel.name) if any(a.numel() == 20_000 for a in arrays) else None
    )
    try:
        total.backward()
    finally:
        kg.core.set_observer(before)
    assert len(whole) < 10, whole
    np.testing.assert_array_equal(x.grad.numpy(), np.repeat(2 * np.arange(50.0)[:, None], 400, 1))


@pytest.mark.parametrize("op", ["amax", "amin"])
@pytest.mark.parametrize("dims", [(0, 2), (0, 2, 3), (1, 3), (0, 3)])
@pytest.mark.parametrize("keepdim", [False, True])
def test_equal_extrema_share_the_gradient_wherever_they_lie(op, dims, keepdim):
    """Kept and reduced dimensions alternate in memory, so the result is found in two steps; the gradient is not."""
    rng = np.random.default_rng(5)
    values = rng.integers(0, 3, (3, 2, 4, 5)).astype("float32")
    best = getattr(values, op[1:])(axis=dims, keepdims=True)
    equal = values == best
    grad_out = rng.standard_normal(best.shape).astype("float32")
    x = kg.tensor(values, requires_grad=True)
    y = getattr(x, op)(dims, keepdim)
    assert np.array_equal(y.detach().numpy(), best if keepdim else best.squeeze(dims))
    y.backward(kg.tensor(grad_out if keepdim else grad_out.squeeze(dims)))
    np.testing.assert_allclose(x.grad.numpy(), equal * grad_out / equal.sum(axis=dims, keepdims=True), rtol=1e-6)
    with kg.no_grad():
        values[1, 1, 2, 3] = np.nan
        found = getattr(kg.tensor(values), op)(dims, keepdim).numpy()
    assert np.array_equal(found, getattr(values, op[1:])(axis=dims, keepdims=keepdim), equal_nan=True)


def test_an_extremum_in_two_steps_sees_a_change_in_place():
    x = kg.rand(3, 4, 5, requires_grad=True)
    inner = x * 1
    y = inner.amax((0, 2))
    inner.add_(1)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        y.sum().backward()
