"""`Module` and containers: registration, state dicts, hooks, copies, text, errors; `init`, `utils`, `summary`."""

import copy
import gc
import pickle
import weakref
from collections import OrderedDict

import numpy as np
import pytest

import kernelgrad as kg
from kernelgrad import nn
from kernelgrad.core import use_backend


def two_layers(library=kg, layers=nn):
    class Block(layers.Module):
        def __init__(self):
            super().__init__()
            self.first = layers.Linear(4, 3)
            self.norm = layers.BatchNorm1d(3)
            self.scale = layers.Parameter(library.ones(3))
            self.register_buffer("offset", library.zeros(3))
            self.register_buffer("scratch", library.zeros(2), persistent=False)

        def forward(self, x):
            return self.norm(self.first(x)) * self.scale + self.offset

    class Net(layers.Module):
        def __init__(self):
            super().__init__()
            self.blocks = layers.ModuleList([Block(), Block()])
            self.head = layers.Sequential(layers.Linear(3, 4), layers.ReLU())
            self.by_name = layers.ModuleDict({"a": layers.Linear(4, 2), "b": layers.Dropout(0.1)})
            self.free = layers.ParameterList([library.ones(2), library.zeros(1, 3)])
            self.named = layers.ParameterDict({"u": library.ones(2)})
            self.tied = self.head[0]

        def forward(self, x):
            return self.by_name["a"](self.head(self.blocks[0](x)))

    return Net()


# ---- Against PyTorch ----


@pytest.fixture
def torch():
    return pytest.importorskip("torch")


def test_names_and_order_are_torchs(torch):
    ours, theirs = two_layers(), two_layers(torch, torch.nn)
    assert list(ours.state_dict()) == list(theirs.state_dict())
    assert ours.state_dict()._metadata == theirs.state_dict()._metadata
    for walk in ("named_parameters", "named_buffers", "named_modules"):
        for options in ({}, {"remove_duplicate": False}, {"prefix": "x"}):
            expected = [name for name, _ in getattr(theirs, walk)(**options)]
            assert [name for name, _ in getattr(ours, walk)(**options)] == expected
    assert [name for name, _ in ours.named_children()] == [name for name, _ in theirs.named_children()]
    assert [name for name, _ in ours.named_parameters(recurse=False)] == []
    assert len(list(ours.modules())) == len(list(theirs.modules()))


def test_repr_is_torchs(torch):
    ours, theirs = two_layers(), two_layers(torch, torch.nn)
    del ours.free, ours.named, theirs.free, theirs.named  # these show the library's own names of dtypes
    assert repr(ours) == repr(theirs)
    assert repr(nn.ModuleList()) == repr(torch.nn.ModuleList())
    many = [layers.ModuleList(layers.ReLU() for _ in range(3)) for layers in (nn, torch.nn)]
    assert repr(many[0]) == repr(many[1])
    assert repr(many[0].extend([nn.Tanh()])) == "ModuleList(\n  (0-2): 3 x ReLU()\n  (3): Tanh()\n)"
    assert repr(nn.Sequential(OrderedDict(a=nn.Sequential(nn.Linear(1, 2)), b=nn.Identity()))) == repr(
        torch.nn.Sequential(OrderedDict(a=torch.nn.Sequential(torch.nn.Linear(1, 2)), b=torch.nn.Identity()))
    )


def load_error(model, state):
    with pytest.raises(RuntimeError) as info:
        model.load_state_dict(state)
    return str(info.value)


def test_loading_errors_are_torchs(torch):
    messages = []
    for library, layers in ((kg, nn), (torch, torch.nn)):
        model = two_layers(library, layers)
        state = model.state_dict()
        del state["blocks.0.norm.bias"], state["head.1.weight" if "head.1.weight" in state else "head.0.weight"]
        state["blocks.1.first.weight"] = library.zeros(5, 4)
        state["surplus.weight"] = library.zeros(1)
        state["blocks.0.surplus"] = library.zeros(1)
        messages.append(load_error(model, state))
    assert messages[0] == messages[1].replace("torch.Size", "kernelgrad.Size")


def test_torch_state_loads_and_computes_the_same(torch):
    ours, theirs = two_layers(), two_layers(torch, torch.nn)
    assert str(ours.load_state_dict(theirs.state_dict())) == "<All keys matched successfully>"
    x = np.random.default_rng(0).standard_normal((6, 4)).astype(np.float32)
    np.testing.assert_allclose(
        ours(kg.tensor(x)).detach().numpy(), theirs(torch.tensor(x)).detach().numpy(), rtol=1e-4, atol=1e-5
    )


@pytest.mark.parametrize(
    "break_it",
    [
        lambda layers, m: layers.Module.__setattr__(m, "head", 3),
        lambda layers, m: setattr(m.head[0], "weight", 3),
        lambda layers, m: setattr(m.blocks[0], "offset", 3),
        lambda layers, m: m.register_parameter("a.b", None),
        lambda layers, m: m.register_parameter("", None),
        lambda layers, m: m.register_parameter("forward", None),
        lambda layers, m: m.register_parameter(3, None),
        lambda layers, m: m.register_parameter("w", 3),
        lambda layers, m: m.register_parameter("w", m.head[0].weight * 2),
        lambda layers, m: m.register_buffer("w", 3),
        lambda layers, m: m.register_buffer("head", None),
        lambda layers, m: m.add_module("w", 3),
        lambda layers, m: m.add_module("x.y", None),
        lambda layers, m: m.missing,
        lambda layers, m: delattr(m, "missing"),
        lambda layers, m: m.get_submodule("head.5"),
        lambda layers, m: m.get_submodule("blocks.0.scale"),
        lambda layers, m: m.get_parameter("head.0"),
        lambda layers, m: m.get_parameter("head.0.nothing"),
        lambda layers, m: m.get_buffer("head.0.weight"),
        lambda layers, m: m.train(1),
        lambda layers, m: m.load_state_dict(3),
        lambda layers, m: m.head[7],
        lambda layers, m: m.head.insert(9, layers.ReLU()),
        lambda layers, m: m.head * 0,
        lambda layers, m: m.head + 3,
        lambda layers, m: m.blocks[2],
        lambda layers, m: m.blocks.extend(3),
        lambda layers, m: m.by_name["c"],
        lambda layers, m: m.by_name.update(3),
        lambda layers, m: m.by_name.update([(1,)]),
        lambda layers, m: m.free(),
        lambda layers, m: m.free.extend(3),
        lambda layers, m: layers.Module(1),
        lambda layers, m: layers.Module(a=1),
        lambda layers, m: layers.Module()(),
        lambda layers, m: m.set_submodule("", m),
        lambda layers, m: m.set_submodule("head.9", m.tied, strict=True),
    ],
)
def test_wrong_use_raises_what_torch_raises(break_it, torch):
    kinds = []
    for library, layers in ((kg, nn), (torch, torch.nn)):
        with pytest.raises(Exception) as info:  # noqa: PT011 - which one is what is compared
            break_it(layers, two_layers(library, layers))
        kinds.append(type(info.value))
    assert kinds[0] is kinds[1]


def sequence_operations(layers, library):
    """The types, in order, after each of a series of edits."""
    seq = layers.Sequential(layers.Linear(1, 1), layers.ReLU(), layers.Tanh(), layers.Sigmoid())
    seen = []

    def note(modules):
        seen.append([(name, type(module).__name__) for name, module in modules.named_children()])

    note(seq[1:3])
    note(seq[-1:])
    seq.append(layers.Identity())
    note(seq)
    seq.insert(1, layers.GELU())
    seq.insert(-1, layers.SiLU())
    note(seq)
    del seq[0]
    note(seq)
    del seq[1:3]
    note(seq)
    seen.append(type(seq.pop(0)).__name__)
    note(seq)
    seq[0] = layers.ELU()
    seq[-1] = layers.Mish()
    note(seq)
    note(seq + layers.Sequential(layers.ReLU()))
    note(seq * 2)
    seq *= 2
    note(seq)
    seq += layers.Sequential(layers.ReLU())
    seq.extend([layers.Tanh()])
    note(seq)
    modules = layers.ModuleList([layers.ReLU(), layers.Tanh()])
    modules += [layers.GELU()]
    modules.insert(0, layers.SiLU())
    note(modules)
    note(modules[::2])
    note(modules + [layers.ELU()])
    del modules[1:3]
    note(modules)
    seen.append([type(module).__name__ for module in modules])
    by_name = layers.ModuleDict([("x", layers.ReLU()), ("y", layers.Tanh())])
    by_name["z"] = layers.GELU()
    by_name.update({"x": layers.ELU()})
    seen.append(type(by_name.pop("y")).__name__)
    note(by_name)
    seen += [list(by_name), len(by_name), "z" in by_name, "y" in by_name]
    by_name.clear()
    note(by_name)
    return seen


def test_containers_edit_as_torchs(torch):
    assert sequence_operations(nn, kg) == sequence_operations(torch.nn, torch)


@pytest.mark.parametrize("activation", [nn.ReLU, nn.Tanh, nn.Sigmoid])
@pytest.mark.parametrize("shape", [(5, 7), (7,), (2, 3, 7)])
def test_linear_and_activation_in_one_pass_give_the_same_bits(activation, shape):
    layers = [nn.Linear(7, 9), activation(), nn.Linear(9, 6), nn.Linear(6, 4, bias=False), activation(), activation()]
    joined = nn.Sequential(*layers, nn.Linear(4, 3))
    x = kg.randn(shape, requires_grad=True)
    upstream = kg.randn((*shape[:-1], 3))
    results = []
    for watched in (False, True):
        seen = []
        handles = [layer.register_forward_hook(lambda m, *_, seen=seen: seen.append(m)) for layer in joined if watched]
        joined.zero_grad()
        x.grad = None
        out = joined(x)
        out.backward(upstream)
        results.append([out.detach().numpy(), x.grad.numpy(), *(p.grad.numpy() for p in joined.parameters())])
        assert seen == (list(joined) if watched else [])  # a hook sees its own layer's output, so nothing is joined
        for handle in handles:
            handle.remove()
    for a, b in zip(*results):
        np.testing.assert_array_equal(a, b)
    layers[1].forward = lambda x: x * 0  # replaced on the object: must be heard
    np.testing.assert_array_equal(joined(x).detach().numpy(), joined[2:](layers[0](x) * 0).detach().numpy())


# ---- Registration ----


def test_members_are_found_by_plain_lookup_and_stay_in_step():
    net = two_layers()
    linear = net.head[0]
    assert vars(linear)["weight"] is linear._parameters["weight"] is linear.weight
    new = nn.Parameter(kg.zeros(4, 3))
    linear._parameters["weight"] = new  # the way around __setattr__ must not leave the old one visible
    assert linear.weight is new
    layer = nn.Linear(3, 4)
    net.head._modules["0"] = layer
    assert net.head[0] is layer
    assert getattr(net.head, "0") is layer
    net._modules.pop("by_name")
    assert not hasattr(net, "by_name")
    net._modules |= {"again": layer}
    assert net.again is layer
    net._modules = {"only": layer}
    assert net.only is layer
    assert not hasattr(net, "head")
    assert dict(net.named_children()) == {"only": layer}


def test_an_attribute_can_change_its_kind():
    module = nn.Module()
    module.x = 3
    module.x = nn.Parameter(kg.ones(2))
    assert list(module._parameters) == ["x"]
    module.x = None  # stays a parameter, without a value
    assert module._parameters == {"x": None}
    assert module.x is None
    module.x = nn.ReLU()
    assert (list(module._parameters), list(module._modules)) == ([], ["x"])
    with pytest.raises(TypeError, match="as child module 'x'"):
        module.x = nn.Buffer(kg.ones(2))
    module.x = None
    del module.x
    module.x = nn.Buffer(kg.ones(2), persistent=False)
    assert (list(module._modules), list(module._buffers)) == ([], ["x"])
    assert list(module.state_dict()) == []
    module.x = kg.zeros(3)  # a plain tensor takes the buffer's place
    assert module._buffers["x"].shape == (3,)
    del module.x
    assert not hasattr(module, "x")
    module.y = kg.zeros(3)  # an ordinary attribute
    assert list(module.buffers()) == []


def test_assignment_before_init_raises():
    class Hasty(nn.Module):
        def __init__(self, value):
            self.value = value

    for value, kind in (
        (nn.Parameter(kg.ones(1)), "parameters"),
        (nn.ReLU(), "module"),
        (nn.Buffer(kg.ones(1)), "buffers"),
    ):
        with pytest.raises(AttributeError, match=f"cannot assign {kind} before Module.__init__"):
            Hasty(value)
    assert Hasty(3).value == 3
    with pytest.raises(AttributeError, match=r"Hasty.__init__ has to call super\(\).__init__\(\) first"):
        Hasty(3)(1)


def test_getattr_can_be_extended():
    class Wrapper(nn.Module):
        def __init__(self, inner):
            super().__init__()
            self.inner = inner

        def __getattr__(self, name):
            try:
                return super().__getattr__(name)
            except AttributeError:
                return getattr(super().__getattribute__("inner"), name)

    wrapper = Wrapper(nn.Linear(2, 3))
    assert wrapper.out_features == 3
    assert wrapper.weight is wrapper.inner.weight
    with pytest.raises(AttributeError, match="'Linear' object has no attribute 'nothing'"):
        _ = wrapper.nothing


def test_modules_are_freed_without_the_cycle_collector():
    gc.disable()
    try:
        net = two_layers()
        net(kg.ones(2, 4)).sum().backward()
        alive = [weakref.ref(module) for module in net.modules()]
        del net
        assert [ref() for ref in alive] == [None] * len(alive)
    finally:
        gc.enable()


def test_dir_lists_members():
    names = dir(two_layers())
    assert {"blocks", "head", "forward", "training"} <= set(names)
    assert not any(name[0].isdigit() for name in dir(nn.Sequential(nn.ReLU())))


# ---- Parameters and buffers ----


def test_parameter():
    data = kg.randn(2, 3)
    param = nn.Parameter(data)
    assert param.requires_grad
    assert param.is_leaf
    assert isinstance(param, kg.Tensor)
    assert not data.requires_grad
    data.fill_(5.0)
    assert (param.detach().numpy() == 5).all()  # the same memory
    assert type(param * 2) is kg.Tensor
    assert type(param.detach()) is kg.Tensor
    assert repr(param) == f"Parameter containing:\n{kg.full((2, 3), 5.0).requires_grad_()!r}"
    assert not nn.Parameter(data, requires_grad=False).requires_grad
    assert nn.Parameter().shape == (0,)
    with pytest.raises(TypeError, match="Parameter: expected a Tensor, got list"):
        nn.Parameter([1.0])
    param.note = "kept"
    for other in (copy.deepcopy(param), pickle.loads(pickle.dumps(param))):
        assert type(other) is nn.Parameter
        assert other.requires_grad
        assert other.note == "kept"
        np.testing.assert_array_equal(other.detach().numpy(), param.detach().numpy())
        assert other.data_ptr() != param.data_ptr()
    assert hash(param) == hash(param)


def test_parameter_list_and_dict():
    values = nn.ParameterList([kg.ones(2), "text"])
    values.append(kg.zeros(3))
    assert [type(value).__name__ for value in values] == ["Parameter", "str", "Parameter"]
    assert list(values.state_dict()) == ["0", "2"]
    values[0] = kg.full((2,), 7.0)
    assert values[-3].tolist() == [7, 7]
    assert len(values[1:]) == 2
    assert repr(values) == (
        "ParameterList(\n    (0): Parameter containing: [kernelgrad.float32 of size 2]\n    (1): Object of type: str\n"
        "    (2): Parameter containing: [kernelgrad.float32 of size 3]\n)"
    )
    named = nn.ParameterDict({"b": kg.ones(2), "a": kg.zeros(1)})
    assert list(named) == ["a", "b"]
    named["c"] = kg.ones(3)
    assert list(reversed(named)) == ["c", "b", "a"]
    assert named.pop("a").tolist() == [0]
    assert list(named.state_dict()) == ["b", "c"]
    assert (named | nn.ParameterDict({"z": kg.ones(1)})).keys() == {"b": 0, "c": 0, "z": 0}.keys()
    assert named.get("nothing", 3) == 3
    assert named.setdefault("b", 5) is named["b"]
    assert named.setdefault("number", 5) == 5
    assert [key for key, _ in named.items()] == ["b", "c", "number"]
    assert len(list(named.values())) == len(named) == 3
    assert "number" in named
    assert repr(named) == (
        "ParameterDict(\n    (b): Parameter containing: [kernelgrad.float32 of size 2]\n"
        "    (c): Parameter containing: [kernelgrad.float32 of size 3]\n    (number): Object of type: int\n)"
    )
    del named["number"]
    merged = named.copy()
    merged |= nn.ParameterDict({"z": kg.ones(1)})
    assert list(merged) == ["b", "c", "z"]
    assert list(nn.ParameterDict().fromkeys(["x", "y"], kg.ones(1))) == ["x", "y"]
    merged.clear()
    assert list(merged.parameters()) == []
    with pytest.raises(RuntimeError, match="ParameterDict should not be called"):
        named(1)
    with pytest.raises(KeyError, match="nothing"):
        named["nothing"]
    with pytest.raises(TypeError, match="keys are strings, got 3"):
        named[3] = kg.ones(1)
    with pytest.raises(IndexError, match="index 9 is out of range"):
        values[9]
    values += [kg.ones(1)]
    assert len(values) == 4
    assert named.popitem()[0] == "c"
    with pytest.raises(KeyError, match="attribute 'training' already exists"):
        named["training"] = kg.ones(1)


# ---- State ----


def test_state_dict_round_trip():
    source, target = two_layers(), two_layers()
    source(kg.randn(5, 4))  # moves the running statistics
    assert repr(target.load_state_dict(source.state_dict())) == "<All keys matched successfully>"
    for (name, a), b in zip(source.state_dict().items(), target.state_dict().values()):
        np.testing.assert_array_equal(a.numpy(), b.numpy(), err_msg=name)
        assert a.data_ptr() != b.data_ptr()
    assert not any(value.requires_grad for value in source.state_dict().values())
    kept = source.state_dict(keep_vars=True)
    assert kept["head.0.weight"] is source.head[0].weight
    target.head[0].weight.data.zero_()
    assert source.head[0].weight.abs().sum().item() > 0


def test_partial_loading():
    model = nn.Linear(2, 3)
    state = {"weight": kg.ones(3, 2), "extra": kg.ones(1)}
    keys = model.load_state_dict(state, strict=False)
    assert (keys.missing_keys, keys.unexpected_keys) == (["bias"], ["extra"])
    assert repr(keys) == "IncompatibleKeys(missing_keys=['bias'], unexpected_keys=['extra'])"
    assert model.weight.tolist() == [[1, 1]] * 3
    with pytest.raises(RuntimeError, match="size mismatch for weight"):
        model.load_state_dict({"weight": kg.ones(2, 2)}, strict=False)
    with pytest.raises(RuntimeError, match='parameter named "weight", expected Tensor or array'):
        model.load_state_dict({"weight": [1.0], "bias": kg.ones(3)})


def test_loading_converts_the_dtype_and_takes_arrays():
    model = nn.Linear(2, 3)
    weight = np.arange(6, dtype=np.float64).reshape(3, 2)
    model.load_state_dict({"weight": weight, "bias": np.float32([1, 2, 3])})
    assert model.weight.dtype is kg.float32
    np.testing.assert_array_equal(model.weight.detach().numpy(), weight)


def test_assign():
    model = nn.Linear(2, 3)
    model.bias.requires_grad_(False)
    state = {"weight": kg.ones(3, 2, dtype=kg.float64), "bias": kg.ones(3)}
    model.load_state_dict(state, assign=True)
    assert model.weight.dtype is kg.float64
    assert model.weight.data_ptr() == state["weight"].data_ptr()
    assert (type(model.weight), model.weight.requires_grad, model.bias.requires_grad) == (nn.Parameter, True, False)


def test_extra_state_and_hooks():
    events = []

    class WithState(nn.Linear):
        count = 5

        def get_extra_state(self):
            return {"count": self.count}

        def set_extra_state(self, state):
            self.count = state["count"]

    model = nn.Sequential(WithState(2, 3))
    model.register_state_dict_pre_hook(lambda module, prefix, keep_vars: events.append(("pre", prefix)))
    handle = model[0].register_state_dict_post_hook(
        lambda m, state, prefix, meta: state.pop(prefix + "bias") is None or None
    )
    model[0].count = 8
    state = model.state_dict()
    assert list(state) == ["0.weight", "0._extra_state"]
    handle.remove()
    assert list(model.state_dict()) == ["0.weight", "0.bias", "0._extra_state"]
    other = nn.Sequential(WithState(2, 3))
    other[0].register_load_state_dict_pre_hook(
        lambda module, state, prefix, *rest: state.setdefault(prefix + "bias", kg.zeros(3))
    )
    other.register_load_state_dict_post_hook(lambda module, keys: events.append(keys))
    other.load_state_dict(state)
    assert other[0].count == 8
    assert other[0].bias.tolist() == [0, 0, 0]
    assert events == [("pre", ""), ("pre", ""), ([], [])]


# ---- Modes and moves ----


def test_modes_and_gradients():
    net = two_layers()
    assert net.eval() is net
    assert not any(module.training for module in net.modules())
    net.train()
    assert all(module.training for module in net.modules())
    net(kg.randn(5, 4)).sum().backward()
    assert net.head[0].weight.grad is not None
    net.zero_grad(set_to_none=False)
    assert net.head[0].weight.grad.abs().sum().item() == 0
    net.zero_grad()
    assert net.head[0].weight.grad is None
    net.requires_grad_(False)
    assert not any(param.requires_grad for param in net.parameters())
    names = []
    assert net.apply(lambda module: names.append(type(module).__name__)) is net
    assert names[-1] == "Net"
    assert names[0] == "Linear"


def test_paths():
    net = two_layers()
    assert net.get_submodule("") is net
    assert net.get_submodule("blocks.1.norm") is net.blocks[1].norm
    assert net.get_parameter("blocks.1.scale") is net.blocks[1].scale
    assert net.get_buffer("blocks.0.norm.running_var") is net.blocks[0].norm.running_var
    new = nn.Linear(3, 4)
    net.set_submodule("head.0", new)
    assert net.head[0] is new
    net.set_submodule("blocks.0.extra", nn.ReLU())
    assert isinstance(net.blocks[0].extra, nn.ReLU)
    with pytest.raises(AttributeError, match="Block has no attribute `more`"):
        net.set_submodule("blocks.0.more", nn.ReLU(), strict=True)
    with pytest.raises(AttributeError, match="`scale` is not an nn.Module"):
        net.set_submodule("blocks.0.scale", nn.ReLU())
    with pytest.raises(ValueError, match="is not an nn.Module, found <class 'int'>"):
        net.set_submodule("blocks.0", 3)


def test_initial_state_can_be_restored():
    kg.manual_seed(2)
    for layer in (
        nn.Linear(3, 4),
        nn.Conv1d(2, 3, 2),
        nn.BatchNorm1d(3),
        nn.LayerNorm(3),
        nn.RMSNorm(3),
        nn.GroupNorm(1, 3),
        nn.PReLU(3),
        nn.Bilinear(2, 3, 4),
        nn.Embedding(4, 3, padding_idx=1),
    ):
        fresh = {name: value.clone() for name, value in layer.state_dict().items()}
        for value in layer.state_dict().values():
            value.fill_(77)
        layer.reset_parameters()
        for name, value in layer.state_dict().items():
            assert not (value == 77).any().item(), name
            if np.ptp(fresh[name].numpy()) == 0:  # constants come back; random values are drawn anew
                np.testing.assert_array_equal(value.numpy(), fresh[name].numpy(), err_msg=name)
            else:
                assert not np.array_equal(value.numpy(), fresh[name].numpy()), name
    assert layer.weight[1].tolist() == [0, 0, 0]


def test_bfloat16_and_devices():
    net = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4))
    assert net.cpu() is net
    assert {param.dtype for param in net.bfloat16().parameters()} == {kg.bfloat16}
    assert net[1].num_batches_tracked.dtype is kg.int64
    assert net.float()[0].weight.dtype is kg.float32
    with pytest.raises(TypeError, match="unexpected keyword argument 'where'"):
        net.to(where="cpu")


def test_dtype_moves_keep_the_parameter_object():
    net = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4))
    weight = net[0].weight
    net(kg.randn(5, 3)).sum().backward()
    assert net.double() is net
    assert net[0].weight is weight
    assert (weight.dtype, weight.grad.dtype) == (kg.float64, kg.float64)
    assert net[1].running_mean.dtype is kg.float64
    assert net[1].num_batches_tracked.dtype is kg.int64
    with use_backend("reference"):
        assert net(kg.randn(5, 3, dtype=kg.float64)).dtype is kg.float64
    net.to(kg.float32)
    assert weight.dtype is kg.float32
    net.to("cpu", kg.float64)
    assert weight.dtype is kg.float64
    net.to(kg.zeros(1))
    assert weight.dtype is kg.float32
    net.to(device="cpu", dtype=kg.float64).float()
    assert weight.dtype is kg.float32
    with pytest.raises(TypeError, match="only accepts floating point"):
        net.to(kg.int64)
    with pytest.raises(NotImplementedError, match="float16"):
        net.half()


def test_deepcopy_and_pickle():
    net = two_layers().eval()
    x = kg.randn(5, 4)
    expected = net(x).detach().numpy()
    for other in (copy.deepcopy(net.blocks[0]), pickle.loads(pickle.dumps(nn.Sequential(nn.Linear(4, 3), nn.Tanh())))):
        assert [name for name, _ in other.named_parameters()]
    clone = copy.deepcopy(net)
    np.testing.assert_array_equal(clone(x).detach().numpy(), expected)
    assert clone.tied is clone.head[0]
    assert clone.head[0].weight is not net.head[0].weight
    clone.head[0].weight.data.zero_()
    np.testing.assert_array_equal(net(x).detach().numpy(), expected)
    seq = nn.Sequential(nn.Linear(4, 3), nn.BatchNorm1d(3), nn.ReLU()).eval()
    back = pickle.loads(pickle.dumps(seq))
    np.testing.assert_array_equal(back(x).detach().numpy(), seq(x).detach().numpy())
    assert not back[1].training
    assert vars(back[0])["weight"] is back[0]._parameters["weight"]
    shallow = copy.copy(seq)
    assert shallow[0] is seq[0]
    shallow[0] = nn.Identity()
    assert isinstance(seq[0], nn.Linear)


# ---- Hooks ----


def test_forward_hooks():
    layer = nn.Linear(2, 2)
    events = []
    before = layer.register_forward_pre_hook(lambda module, args: events.append("pre") or (args[0] * 2,))
    layer.register_forward_pre_hook(lambda module, args: events.append("first"), prepend=True)
    after = layer.register_forward_hook(lambda module, args, output: events.append("post") or output + 1)
    x = kg.ones(1, 2)
    out = layer(x)
    assert events == ["first", "pre", "post"]
    np.testing.assert_array_equal(out.detach().numpy(), (layer.forward(x * 2) + 1).detach().numpy())
    before.remove()
    after.remove()
    np.testing.assert_array_equal(layer(x).detach().numpy(), layer.forward(x).detach().numpy())


def test_hooks_with_keywords():
    class Scaled(nn.Module):
        def forward(self, x, factor=1.0):
            return x * factor

    module = Scaled()
    seen = []
    module.register_forward_pre_hook(lambda m, args, kwargs: (args, {"factor": kwargs["factor"] + 1}), with_kwargs=True)
    module.register_forward_hook(lambda m, args, kwargs, out: seen.append(kwargs), with_kwargs=True)
    assert module(kg.ones(1), factor=2.0).item() == 3
    assert seen == [{"factor": 3.0}]
    module.register_forward_pre_hook(lambda m, args, kwargs: 3, with_kwargs=True)
    with pytest.raises(RuntimeError, match="must return None or a tuple of .new_args, new_kwargs."):
        module(kg.ones(1), factor=2.0)


def test_hook_handles():
    layer = nn.Linear(2, 2)
    events = []
    with layer.register_forward_hook(lambda *_: events.append(1)):
        layer(kg.ones(1, 2))
    layer(kg.ones(1, 2))
    assert events == [1]
    handle = layer.register_forward_pre_hook(lambda m, args, kwargs: None, with_kwargs=True)
    assert layer(kg.ones(1, 2)).shape == (1, 2)
    handle.remove()
    handle.remove()  # twice is once
    layer.register_full_backward_pre_hook(lambda m, grad_output: (1, 2, 3))
    with pytest.raises(RuntimeError, match="backward pre-hook returned 3 gradients, but the module has 1"):
        layer(kg.ones(1, 2)).sum().backward()


def test_hook_that_raises_after_forward_raised():
    def fail(module, args, output):
        raise ValueError("second")

    layer = nn.Linear(2, 2)
    layer.register_forward_hook(fail, always_call=True)
    with (
        pytest.warns(UserWarning, match="silenced because forward had raised before: second"),
        pytest.raises(RuntimeError),
    ):
        layer(kg.ones(1, 3))


def test_hook_that_is_always_called():
    events = []
    layer = nn.Linear(2, 2)
    layer.register_forward_hook(lambda module, args, output: events.append(("always", output)), always_call=True)
    layer.register_forward_hook(lambda module, args, output: events.append("only after success"))
    with pytest.raises(RuntimeError):
        layer(kg.ones(1, 3))
    assert events == [("always", None)]


@pytest.mark.filterwarnings("ignore:Full backward hook is firing")  # PyTorch's, for an input without gradient
def test_full_backward_hooks_see_what_torchs_see(torch):
    x = np.random.default_rng(0).standard_normal((3, 4)).astype(np.float32)
    upstream = np.random.default_rng(1).standard_normal((3, 2)).astype(np.float32)
    seen = []
    for library, layers in ((kg, nn), (torch, torch.nn)):
        model = layers.Sequential(layers.Linear(4, 3), layers.Tanh(), layers.Linear(3, 2))
        for param in model.parameters():
            values = np.linspace(-1, 1, int(np.prod(tuple(param.shape)))).reshape(tuple(param.shape))
            param.data = library.tensor(values.astype(np.float32))
        grads = []

        def pre(module, grad_output, grads=grads):
            grads.append(grad_output[0].numpy().copy())
            return (grad_output[0] * 2,)

        def hook(module, grad_input, grad_output, grads=grads):
            grads.extend(grad.numpy().copy() for grad in (*grad_input, *grad_output) if grad is not None)
            return tuple(None if grad is None else grad * 3 for grad in grad_input)

        model[1].register_full_backward_pre_hook(pre)
        handle = model[1].register_full_backward_hook(hook)
        model[0].register_full_backward_hook(lambda m, gi, go, grads=grads: grads.append(go[0].numpy().copy()))
        model(library.tensor(x)).backward(library.tensor(upstream))
        grads.append(model[0].weight.grad.numpy())
        handle.remove()
        seen.append(grads)
    assert len(seen[0]) == len(seen[1]) == 5
    for ours, theirs in zip(*seen):
        np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=1e-6)
    with pytest.raises(NotImplementedError, match="register_full_backward_hook"):
        nn.ReLU().register_backward_hook(lambda *args: None)


def test_backward_hooks_on_several_inputs_and_outputs():
    class Swap(nn.Module):
        def forward(self, x, label, y):
            return y * 2, label, x * 3

    module = Swap()
    seen = []
    module.register_full_backward_hook(lambda m, gi, go: seen.append((gi, go)))
    x, y = kg.ones(2, requires_grad=True), kg.ones(2, requires_grad=True)
    with pytest.warns(UserWarning, match="module output should be a Tensor or a tuple of Tensors"):
        a, label, b = module(x, "label", y)
    (a * kg.tensor([1.0, 2.0]) + b * 10).sum().backward()
    assert label == "label"
    ((grad_x, none, grad_y), (grad_a, nothing, grad_b)) = seen[0]
    assert none is nothing is None
    assert [grad.tolist() for grad in (grad_x, grad_y, grad_a, grad_b)] == [[30, 30], [2, 4], [1, 2], [10, 10]]
    assert x.grad.tolist() == [30, 30]


# ---- Errors name the layer ----


class Failing(nn.Module):
    def __init__(self, error):
        super().__init__()
        self.error = error

    def forward(self, x):
        raise self.error


def test_errors_carry_the_path_of_the_layer():
    model = nn.Sequential(nn.Linear(10, 30), nn.ReLU(), nn.Linear(31, 5))
    with pytest.raises(RuntimeError, match=r"^model\.2 \(Linear 31 -> 5\): ") as info:
        model(kg.zeros(4, 10))
    assert str(info.value).count("model.2") == 1
    with pytest.raises(RuntimeError, match=r"^Linear 31 -> 5: "):
        model[2](kg.zeros(4, 10))
    with pytest.raises(RuntimeError, match=r"^model\.0 \(Linear 10 -> 30\): "):  # joined with the ReLU behind it
        model(kg.zeros(4, 11))


def test_error_paths_through_every_kind_of_container():
    class Net(nn.Module):
        def __init__(self, error):
            super().__init__()
            self.blocks = nn.ModuleList([nn.Sequential(nn.Identity(), nn.Sequential(Failing(error)))])
            self.hidden = [Failing(error)]

        def forward(self, x):
            return self.hidden[0](x) if x is None else self.blocks[0](x)

    for kind in (ValueError, RuntimeError, IndexError, NotImplementedError):
        with pytest.raises(kind) as info:
            Net(kind("what went wrong"))(1)
        assert info.value.args == ("model.blocks.0.1.0 (Failing): what went wrong",)
        assert type(info.value) is kind
    with pytest.raises(ValueError, match=r"model\.<Failing> \(Failing\): lost"):
        Net(ValueError("lost"))(None)


def test_errors_that_are_not_one_message_pass_unchanged():
    error = OSError(2, "No such file")
    with pytest.raises(OSError, match="No such file") as info:
        nn.Sequential(Failing(error))(1)
    assert info.value.args == (2, "No such file")
    with pytest.raises(KeyboardInterrupt):
        nn.Sequential(Failing(KeyboardInterrupt("stop")))(1)


def test_errors_under_hooks_carry_the_path_too():
    model = nn.Sequential(Failing(ValueError("no")))
    model[0].register_forward_hook(lambda *args: None)
    model.register_forward_pre_hook(lambda *args: None)
    with pytest.raises(ValueError, match=r"^model\.0 \(Failing\): no$"):
        model(1)


# ---- nn.init ----


@pytest.mark.parametrize(
    ("fill", "shape", "bound", "std"),
    [
        (lambda t: nn.init.uniform_(t, -2, 3), (50, 60), 3, 5 / 12**0.5),
        (lambda t: nn.init.normal_(t, 0, 0.5), (50, 60), None, 0.5),
        (lambda t: nn.init.xavier_uniform_(t, gain=2), (50, 60), 2 * (6 / 110) ** 0.5, 2 * (2 / 110) ** 0.5),
        (nn.init.xavier_normal_, (20, 10, 3, 3), None, (2 / 270) ** 0.5),
        (lambda t: nn.init.kaiming_uniform_(t, a=1), (50, 60), (3 / 60) ** 0.5, (1 / 60) ** 0.5),
        (
            lambda t: nn.init.kaiming_normal_(t, mode="fan_out", nonlinearity="relu"),
            (20, 10, 3, 3),
            None,
            (2 / 180) ** 0.5,
        ),
        (lambda t: nn.init.trunc_normal_(t, std=0.02), (50, 60), 2, 0.02),
        (nn.init.trunc_normal_, (100, 100), 2, 0.8796),
        (lambda t: nn.init.trunc_normal_(t, 0, 1, 0.5, 0.7), (50, 60), 0.7, 0.0577),
    ],
)
def test_random_initial_values(fill, shape, bound, std):
    kg.manual_seed(0)
    tensor = nn.Parameter(kg.empty(*shape))
    assert fill(tensor) is tensor
    assert tensor.grad_fn is None
    values = tensor.detach().numpy()
    assert abs(values.std() / std - 1) < 0.05
    if bound is not None:
        assert np.abs(values).max() <= bound * (1 + 1e-6)
    first = values.copy()
    fill(tensor)
    assert not np.array_equal(tensor.detach().numpy(), first)
    kg.manual_seed(0)
    np.testing.assert_array_equal(fill(tensor).detach().numpy(), first)


def test_fixed_initial_values(torch):
    for ours, theirs, args in (
        (nn.init.eye_, torch.nn.init.eye_, ((3, 5),)),
        (nn.init.ones_, torch.nn.init.ones_, ((2, 3),)),
        (nn.init.zeros_, torch.nn.init.zeros_, ((2, 3),)),
        (nn.init.dirac_, torch.nn.init.dirac_, ((6, 2, 3),)),
        (lambda t: nn.init.dirac_(t, 2), lambda t: torch.nn.init.dirac_(t, 2), ((6, 2, 3, 4),)),
        (lambda t: nn.init.constant_(t, 0.3), lambda t: torch.nn.init.constant_(t, 0.3), ((7,),)),
    ):
        a, b = kg.randn(*args[0]), torch.randn(*args[0])
        np.testing.assert_array_equal(ours(a).numpy(), theirs(b).numpy())


def test_gains_are_torchs(torch):
    names = ["linear", "conv2d", "sigmoid", "tanh", "relu", "leaky_relu", "selu"]
    for name in names:
        assert nn.init.calculate_gain(name) == torch.nn.init.calculate_gain(name)
    assert nn.init.calculate_gain("leaky_relu", 0.3) == torch.nn.init.calculate_gain("leaky_relu", 0.3)
    with pytest.raises(ValueError, match="Unsupported nonlinearity swish"):
        nn.init.calculate_gain("swish")
    with pytest.raises(ValueError, match="not a valid number"):
        nn.init.calculate_gain("leaky_relu", "a")


@pytest.mark.parametrize("shape", [(5, 5), (4, 9), (9, 4), (4, 3, 2, 2)])
def test_orthogonal(shape):
    values = nn.init.orthogonal_(kg.empty(*shape), gain=2).numpy().reshape(shape[0], -1)
    product = values @ values.T if values.shape[0] <= values.shape[1] else values.T @ values
    np.testing.assert_allclose(product, 4 * np.eye(len(product)), atol=1e-5)


def test_sparse():
    kg.manual_seed(0)
    values = nn.init.sparse_(kg.empty(20, 30), 0.25, std=3.0).numpy()
    assert ((values == 0).sum(axis=0) == 5).all()
    assert len({tuple(column) for column in (values == 0).T}) > 20  # not the same rows in every column
    assert abs(values[values != 0].std() - 3) < 0.5


def test_initialisation_errors():
    for fill, shape in ((nn.init.eye_, (2,)), (nn.init.dirac_, (2, 2)), (nn.init.xavier_uniform_, (3,))):
        with pytest.raises(ValueError, match="dimensions"):
            fill(kg.empty(*shape))
    with pytest.raises(ValueError, match="dim 0 must be divisible by groups"):
        nn.init.dirac_(kg.empty(5, 2, 3), groups=2)
    with pytest.raises(ValueError, match="2 or more dimensions"):
        nn.init.orthogonal_(kg.empty(5))
    with pytest.raises(ValueError, match="Only tensors with 2 dimensions"):
        nn.init.sparse_(kg.empty(5), 0.1)
    with pytest.warns(UserWarning, match="mean is more than 2 std from"):
        assert (nn.init.trunc_normal_(kg.empty(9), mean=9.0, std=0.5).numpy() <= 2).all()
    with pytest.raises(ValueError, match="Mode fan not supported"):
        nn.init.kaiming_normal_(kg.empty(2, 2), mode="fan")
    with pytest.warns(UserWarning, match="zero-element tensors is a no-op"):
        nn.init.kaiming_uniform_(kg.empty(0, 3))


# ---- nn.utils ----


def with_grads(library, layers):
    rng = np.random.default_rng(0)
    params = [layers.Parameter(library.zeros(*shape)) for shape in ((3, 4), (5,), (2, 2, 2))]
    for param in params:
        param.grad = library.tensor(rng.standard_normal(tuple(param.shape)).astype(np.float32))
    return [*params, layers.Parameter(library.zeros(2))]  # one without a gradient


@pytest.mark.parametrize("norm_type", [2.0, 1.0, 3.0, float("inf")])
@pytest.mark.parametrize("max_norm", [0.5, 100.0])
def test_clip_grad_norm(norm_type, max_norm, torch):
    ours, theirs = with_grads(kg, nn), with_grads(torch, torch.nn)
    norm = nn.utils.clip_grad_norm_(ours, max_norm, norm_type)
    expected = torch.nn.utils.clip_grad_norm_(theirs, max_norm, norm_type)
    assert norm.item() == pytest.approx(expected.item(), rel=1e-5)
    for a, b in zip(ours[:-1], theirs):
        np.testing.assert_allclose(a.grad.numpy(), b.grad.numpy(), rtol=1e-5)
    assert ours[-1].grad is None
    grads = [param.grad for param in ours[:-1]]
    assert nn.utils.get_total_norm(grads, norm_type).item() == pytest.approx(min(max_norm, expected.item()), rel=1e-4)


def test_clipping_by_value_and_the_edges():
    params = with_grads(kg, nn)
    nn.utils.clip_grad_value_(params, 0.3)
    values = np.concatenate([param.grad.numpy().ravel() for param in params[:-1]])
    assert np.abs(values).max() == np.float32(0.3)
    assert (np.abs(values) < 0.3).any()
    params[0].grad.fill_(float("nan"))
    assert np.isnan(nn.utils.clip_grad_norm_(params, 1.0).item())
    with pytest.raises(RuntimeError, match="is non-finite, so it cannot be clipped"):
        nn.utils.clip_grad_norm_(params, 1.0, error_if_nonfinite=True)
    assert nn.utils.clip_grad_norm_([], 1.0).item() == 0
    with pytest.warns(UserWarning, match="empty generator"):
        nn.utils.clip_grad_norm_((param for param in ()), 1.0)


def test_parameters_as_vector():
    model = nn.Sequential(nn.Linear(3, 4), nn.Linear(4, 2))
    vector = nn.utils.parameters_to_vector(model.parameters())
    assert vector.shape == (26,)
    new = kg.arange(26.0)
    nn.utils.vector_to_parameters(new, model.parameters())
    assert model[0].weight[0].tolist() == [0, 1, 2]
    assert model[1].bias.tolist() == [24, 25]
    assert model[1].weight.requires_grad
    np.testing.assert_array_equal(nn.utils.parameters_to_vector(model.parameters()).detach().numpy(), new.numpy())
    vector.sum().backward()
    with pytest.raises(TypeError, match="expected Tensor"):
        nn.utils.vector_to_parameters([1.0], model.parameters())


@pytest.mark.parametrize(
    ("conv", "fuse", "shape"),
    [
        (lambda: nn.Conv2d(3, 6, 3, bias=False), nn.utils.fuse_conv_bn_eval, (2, 3, 6, 6)),
        (lambda: nn.Conv2d(4, 6, 3, groups=2), nn.utils.fuse_conv_bn_eval, (2, 4, 6, 6)),
        (lambda: nn.ConvTranspose2d(3, 6, 3), lambda c, b: nn.utils.fuse_conv_bn_eval(c, b, True), (2, 3, 6, 6)),
        (lambda: nn.Conv1d(3, 6, 3), nn.utils.fuse_conv_bn_eval, (2, 3, 8)),
        (lambda: nn.Linear(3, 6), nn.utils.fuse_linear_bn_eval, (5, 3)),
    ],
)
def test_fusing_batch_norm(conv, fuse, shape):
    kg.manual_seed(1)
    layer = conv()
    norm = (nn.BatchNorm2d if len(shape) == 4 else nn.BatchNorm1d)(6)
    nn.init.normal_(norm.weight)
    nn.init.normal_(norm.bias)
    model = nn.Sequential(layer, norm)
    model(kg.randn(*shape) * 3 + 1)
    with pytest.raises(AssertionError, match="Fusion only for eval"):
        fuse(layer, norm)
    model.eval()
    x = kg.randn(*shape)
    fused = fuse(layer, norm)
    np.testing.assert_allclose(fused(x).detach().numpy(), model(x).detach().numpy(), rtol=1e-4, atol=1e-5)
    assert isinstance(fused.weight, nn.Parameter)
    assert fused.weight is not layer.weight


# ---- summary ----


def test_summary():
    shared = nn.Linear(8, 8)
    model = nn.Sequential(
        nn.Conv2d(3, 4, 3, padding=1, bias=False),
        nn.BatchNorm2d(4),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(4 * 25, 8),
        shared,
        shared,
    )
    model[0].weight.requires_grad_(False)
    report = nn.summary(model, (2, 3, 5, 5))
    by_path = {layer.path: layer for layer in report.layers}
    assert by_path["0"].multiply_adds == 2 * 5 * 5 * 4 * 27
    assert by_path["1"].multiply_adds == 2 * 4 * 25
    assert by_path["4"].multiply_adds == 2 * 100 * 8
    assert by_path["0"].output_shape == (2, 4, 5, 5)
    assert by_path["5"].calls == 2
    assert by_path["5"].multiply_adds == 2 * 2 * 8 * 8
    assert by_path["0"].activation_bytes == 2 * 4 * 25 * 4
    assert report.parameters == sum(param.numel() for param in model.parameters()) == 108 + 8 + 808 + 72
    assert report.trainable == report.parameters - 108
    assert report.parameter_bytes == 4 * report.parameters
    assert report.multiply_adds == sum(by_path[path].multiply_adds for path in "0145")
    assert report.activation_bytes == 4 * (3 * 200 + 200 + 16 + 2 * 16)
    text = str(report)
    assert "(2, 4, 5, 5)" in text
    assert f"parameters     {report.parameters:,}" in text
    assert model.training
    assert not any(module._hooks for module in model.modules())
    assert model[1].num_batches_tracked.item() == 0


def test_summary_of_transposed_convolution_and_embedding():
    layer = nn.ConvTranspose2d(4, 6, 3, stride=2, groups=2)
    assert nn.summary(layer, (2, 4, 5, 5)).multiply_adds == 2 * 4 * 25 * 3 * 9
    embedding = nn.summary(nn.Embedding(5, 3), input_data=kg.tensor([[1, 2]]))
    assert embedding.multiply_adds == 0
    assert embedding.layers[0].output_shape == (1, 2, 3)
    with pytest.raises(ValueError, match="give either input_size"):
        nn.summary(layer)
