"""Indexing against PyTorch: random indices of every kind, taken and assigned, with gradients; and what views share."""

import numpy as np
import pytest

import kernelgrad as kg
from kernelgrad import ops


class Indices:
    """Draws indices that a shape allows, as (ours, PyTorch's) pairs of items."""

    def __init__(self, seed, torch):
        self.rng, self.torch = np.random.default_rng(seed), torch

    def bound(self, n):
        return None if self.rng.random() < 0.3 else int(self.rng.integers(-n - 1, n + 2))

    def item(self, n, kind):
        rng = self.rng
        if kind == "int":
            i = int(rng.integers(-n, n))
            return i, i
        if kind == "slice":
            s = slice(self.bound(n), self.bound(n), [None, 1, 2, 3][rng.integers(4)])
            return s, s
        if kind == "index":
            i = rng.integers(-n, n, [(3,), (2, 3), (1,), ()][rng.integers(4)])
            return kg.tensor(i), self.torch.tensor(i)
        if kind == "list":
            i = rng.integers(-n, n, 3).tolist()
            return i, i
        mask = rng.random(n) < 0.5
        return kg.tensor(mask), self.torch.tensor(mask)

    def draw(self, shape):
        """An index, and whether it may name an element twice."""
        kinds = ["int", "slice", "slice", "index", "list", "mask"] if self.rng.random() < 0.6 else ["int", "slice"]
        ours, theirs, twice, d, dots = [], [], False, 0, False
        while d < len(shape) and self.rng.random() < 0.9:
            if self.rng.random() < 0.15 and len(ours) < 6:
                ours.append(None), theirs.append(None)
                continue
            if self.rng.random() < 0.15 and not dots:
                dots = True
                ours.append(Ellipsis), theirs.append(Ellipsis)
                break
            kind = kinds[self.rng.integers(len(kinds))]
            a, b = self.item(shape[d], kind)
            ours.append(a), theirs.append(b)
            twice |= kind in ("index", "list")
            d += 1
        if len(ours) == 1 and self.rng.random() < 0.5:
            return ours[0], theirs[0], twice
        return tuple(ours), tuple(theirs), twice

    def tensors(self):
        """One random tensor for each library, its leaf, in one of several memory layouts."""
        rng, torch = self.rng, self.torch
        shape = tuple(int(n) for n in rng.integers(1, 5, rng.integers(1, 5)))
        a = rng.standard_normal(shape).astype(np.float32)
        ours, theirs = kg.tensor(a).requires_grad_(), torch.tensor(a, requires_grad=True)
        x, y = ours, theirs
        if rng.random() < 0.3:
            order = [int(d) for d in rng.permutation(len(shape))]
            x, y = x.permute(order), y.permute(order)
        elif len(shape) == 4 and rng.random() < 0.5:
            x, y = kg.core.views.channels_last(x), y.contiguous(memory_format=torch.channels_last)
        return ours, theirs, x, y


@pytest.mark.parametrize("seed", range(300))
def test_random_indices(seed, torch):
    draw = Indices(seed, torch)
    for _ in range(4):
        leaf, their_leaf, x, y = draw.tensors()
        index, their_index, twice = draw.draw(tuple(x.shape))
        try:
            expected = y[their_index]
        except IndexError:  # masks and indices that do not broadcast
            with pytest.raises(IndexError):
                x[index]
            continue
        if expected.numel() == 0:
            continue
        found = x[index]
        assert found.detach().numpy().tolist() == expected.detach().numpy().tolist()
        upstream = draw.rng.standard_normal(tuple(found.shape)).astype(np.float32)
        found.backward(kg.tensor(upstream))
        expected.backward(torch.tensor(upstream))
        np.testing.assert_allclose(leaf.grad.numpy(), their_leaf.grad.numpy(), rtol=1e-6, atol=1e-6)
        if not twice and x.shape == leaf.shape:
            assign(leaf, their_leaf, index, their_index, draw.rng, torch)


def assign(leaf, their_leaf, index, their_index, rng, torch):
    """x[index] = value, where both x and the value are part of a graph."""
    leaf.grad = their_leaf.grad = None
    shape = tuple(their_leaf[their_index].shape)
    v = rng.standard_normal(shape).astype(np.float32)
    value, their_value = kg.tensor(v).requires_grad_(), torch.tensor(v, requires_grad=True)
    x, y = leaf * 2.0, their_leaf * 2.0
    x[index] = value
    y[their_index] = their_value
    np.testing.assert_array_equal(x.detach().numpy(), y.detach().numpy())
    upstream = rng.standard_normal(tuple(x.shape)).astype(np.float32)
    x.backward(kg.tensor(upstream))
    y.backward(torch.tensor(upstream))
    np.testing.assert_allclose(leaf.grad.numpy(), their_leaf.grad.numpy(), rtol=1e-6)
    np.testing.assert_allclose(value.grad.numpy(), their_value.grad.numpy(), rtol=1e-6)


def test_views_share_memory_and_version():
    x = kg.zeros(3, 4)
    row, version = x[1], x._version
    row[2] = 5.0
    assert x[1, 2].item() == 5.0
    assert x._version == row._version == version + 1
    x.T[3, 0] = 7.0
    assert x[0, 3].item() == 7.0
    y = (x.requires_grad_() * 1.0).exp()
    z = y * y
    with kg.no_grad():
        y[0] = 0.0
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        z.sum().backward()


def test_what_is_out_of_range_or_senseless_raises():
    x = kg.zeros(2, 3)
    for call, exception, message in [
        (lambda: x[2], IndexError, "index 2 is out of bounds for dimension 0 with size 2"),
        (lambda: x[0, -4], IndexError, "out of bounds"),
        (lambda: x[0, 0, 0], IndexError, "too many indices"),
        (lambda: x[::-1], ValueError, "step must be greater than zero"),
        (lambda: x[..., ...], IndexError, "single ellipsis"),
        (lambda: x[[0, 2]], IndexError, "index 2 is out of bounds"),
        (lambda: x[kg.tensor([0, -3])], IndexError, "index -3 is out of bounds"),
        (lambda: x[kg.tensor([True, False, True])], IndexError, "shape of the mask"),
        (lambda: x[kg.tensor([0.5])], IndexError, "must be long"),
        (lambda: x[[0, 1], [0, 1, 2]], IndexError, "could not be broadcast"),
        (lambda: x["a"], IndexError, "valid indices"),
        (lambda: kg.tensor(1.0)[0], IndexError, "0-dim tensor"),
        (lambda: x.__setitem__([0, 5], 1.0), IndexError, "index 5 is out of bounds"),
        (lambda: x.__setitem__(0, kg.zeros(2)), RuntimeError, "shape mismatch"),
        (lambda: kg.ones(2, requires_grad=True).__setitem__(0, 1.0), RuntimeError, "leaf Variable"),
        (lambda: x.view(5), RuntimeError, "invalid for input of size 6"),
        (lambda: x.T.view(6), RuntimeError, "Use .reshape"),
        (lambda: x.reshape(-1, -1), RuntimeError, "only one dimension"),
        (lambda: x.expand(3, 3), RuntimeError, "must match the existing size"),
        (lambda: x.permute(0, 0), RuntimeError, "duplicate"),
        (lambda: x.split([1, 2]), RuntimeError, "sum exactly"),
        (lambda: ops.gather(x, 1, kg.tensor([[3]])), IndexError, "index 3 is out of bounds"),
    ]:
        with pytest.raises(exception, match=message):
            call()


def test_nhwc_memory_is_kept_or_copied_silently():
    x = kg.core.views.channels_last(kg.tensor(np.arange(2 * 3 * 4 * 5, dtype=np.float32).reshape(2, 3, 4, 5)))
    plain = x.contiguous()
    assert ops.cat([x, x], 1).is_channels_last()
    assert not ops.cat([x, x], 1).is_contiguous()
    assert x[kg.tensor([1, 0])].is_channels_last()
    assert (x.view(2, -1) == plain.view(2, -1)).numpy().all()
    assert (x.flatten(1) == plain.flatten(1)).numpy().all()
    assert ops.pad(x, (1, 1)).is_channels_last()


def test_duplicates_add_up_in_order_for_any_thread_count():
    index = kg.tensor(np.random.default_rng(0).integers(0, 5, 20_000))
    rows = np.random.default_rng(1).standard_normal((20_000, 17)).astype(np.float32)
    before, found = kg.get_num_threads(), set()
    try:
        for threads in (1, 2, 5):
            kg.set_num_threads(threads)
            x = kg.zeros(5, 17, requires_grad=True)
            x[index].backward(kg.tensor(rows))
            found.add(x.grad.numpy().tobytes())
    finally:
        kg.set_num_threads(before)
    assert len(found) == 1


def test_in_place_forms():
    x = kg.zeros(3, 2)
    x.scatter_(0, kg.tensor([[2, 0]]), kg.tensor([[1.0, 2.0]]))
    x.index_add_(0, kg.tensor([1, 1]), kg.ones(2, 2))
    assert x.tolist() == [[0.0, 2.0], [2.0, 2.0], [1.0, 0.0]]
    y = (kg.ones(3, requires_grad=True) * 2.0).index_put_((kg.tensor([0, 0]),), kg.ones(2), accumulate=True)
    assert y.tolist() == [4.0, 2.0, 2.0]
    assert y.requires_grad


def test_index_changed_behind_our_back_is_caught():
    memory = np.array([0, 1])
    weight = kg.zeros(2, 3, requires_grad=True)
    out = ops.embedding(kg.from_numpy(memory), weight)
    memory[0] = 10**9
    with pytest.raises(IndexError, match="out of bounds"):
        out.backward(kg.ones(2, 3))
