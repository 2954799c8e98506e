"""Optimizers and schedules against PyTorch's, step by step; their state and format; the same bits for any threads."""

import copy
import warnings

import numpy as np
import pytest

import kernelgrad as kg
from kernelgrad import core, nn, optim

SHAPES = [(3,), (17, 5), (1,), (4, 3, 5, 7), (20000,), (0,), ()]
OPTIMIZERS = [
    ("SGD", {"lr": 0.1}),
    ("SGD", {"lr": 0.1, "momentum": 0.9, "dampening": 0.3, "weight_decay": 0.01}),
    ("SGD", {"lr": 0.1, "momentum": 0.9, "nesterov": True, "weight_decay": 0.1, "maximize": True}),
    ("Adam", {}),
    ("Adam", {"weight_decay": 0.1, "amsgrad": True, "lr": 0.01, "betas": (0.5, 0.9)}),
    ("Adam", {"maximize": True}),
    ("AdamW", {"lr": 0.01, "weight_decay": 0.3}),
    ("NAdam", {"weight_decay": 0.1, "decoupled_weight_decay": True}),
    ("NAdam", {"weight_decay": 0.1, "momentum_decay": 0.1}),
    ("RAdam", {"weight_decay": 0.1, "lr": 0.01}),
    ("RAdam", {"weight_decay": 0.1, "decoupled_weight_decay": True, "betas": (0.8, 0.9), "maximize": True}),
    ("Adamax", {"weight_decay": 0.1}),
    ("RMSprop", {"centered": True, "weight_decay": 0.1}),
    ("RMSprop", {"momentum": 0.9, "alpha": 0.8}),
    ("Adagrad", {"lr_decay": 0.1, "weight_decay": 0.1, "initial_accumulator_value": 0.2}),
    ("Adadelta", {"weight_decay": 0.01}),
]


def parameters(dtype):
    rng = np.random.default_rng(0)
    return [rng.standard_normal(shape).astype(dtype) for shape in SHAPES]


def gradients(dtype, step):
    """One for each parameter; the second has none in step 2, the fourth lies in NHWC memory."""
    rng = np.random.default_rng([1, step])
    made = [rng.standard_normal(shape).astype(dtype) for shape in SHAPES]
    return [None if step == 2 and i == 1 else g for i, g in enumerate(made)]


STEPS = 8  # RAdam's sixth is the first that is rectified


def train(name, options, dtype, steps=STEPS, reload_at=3):
    params = [kg.tensor(p).requires_grad_() for p in parameters(dtype)]
    optimizer = getattr(optim, name)(params, **options)
    for step in range(steps):
        for i, (p, g) in enumerate(zip(params, gradients(dtype, step), strict=True)):
            p.grad = None if g is None else core.channels_last(kg.tensor(g)) if i == 3 else kg.tensor(g)
        optimizer.step()
        if step == reload_at:
            state = copy.deepcopy(optimizer.state_dict())
            optimizer = getattr(optim, name)(params, **options)
            optimizer.load_state_dict(state)
    return [p.detach().numpy() for p in params], optimizer


@pytest.mark.parametrize(("name", "options"), OPTIMIZERS)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_steps_match_pytorch(name, options, dtype, torch):
    params, optimizer = train(name, options, dtype)
    theirs = [torch.tensor(p, dtype=torch.float64, requires_grad=True) for p in parameters(dtype)]
    reference = getattr(torch.optim, name)(theirs, foreach=False, **options)
    for step in range(STEPS):
        for p, g in zip(theirs, gradients(dtype, step), strict=True):
            p.grad = None if g is None else torch.tensor(g, dtype=torch.float64)
        reference.step()
    rtol = 2e-5 if dtype == "float32" else 1e-10
    for p, t in zip(params, theirs, strict=True):
        np.testing.assert_allclose(p, t.detach().numpy(), rtol=rtol, atol=rtol / 10)
    ours, expected = optimizer.state_dict(), reference.state_dict()
    assert set(ours["param_groups"][0]) == set(expected["param_groups"][0])
    assert set(ours["state"]) == set(expected["state"])
    for i, state in ours["state"].items():
        assert set(state) == {key for key, value in expected["state"][i].items() if value is not None}
        for key, value in state.items():
            np.testing.assert_allclose(value.numpy(), expected["state"][i][key].numpy(), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(("name", "options"), OPTIMIZERS)
def test_same_bits_for_any_thread_count_and_instruction_set(name, options):
    before, found = kg.get_num_threads(), set()
    try:
        for threads in (1, 2, 5):
            kg.set_num_threads(threads)
            found.add(b"".join(p.tobytes() for p in train(name, options, "float32")[0]))
    finally:
        kg.set_num_threads(before)
    for level in core.available_levels():
        if level != "generic":
            with core.use_backend(f"simd:{level}"):
                found.add(b"".join(p.tobytes() for p in train(name, options, "float32")[0]))
    assert len(found) == 1


def test_loads_a_state_dict_of_pytorch(torch):
    theirs = [torch.ones(3, requires_grad=True)]
    reference = torch.optim.Adam(theirs, lr=0.1)
    theirs[0].grad = torch.tensor([1.0, -2.0, 3.0])
    reference.step()
    state = reference.state_dict()
    state["state"] = {i: {k: kg.tensor(v.numpy()) for k, v in s.items()} for i, s in state["state"].items()}
    param = kg.tensor(theirs[0].detach().numpy()).requires_grad_()
    optimizer = optim.Adam([param], lr=0.5)
    optimizer.load_state_dict(state)
    param.grad = kg.tensor([1.0, -2.0, 3.0])
    optimizer.step()
    reference.step()
    np.testing.assert_allclose(param.detach().numpy(), theirs[0].detach().numpy(), rtol=1e-6)
    assert optimizer.param_groups[0]["lr"] == 0.1


def test_arguments_are_checked():
    p = kg.zeros(2, requires_grad=True)
    for call, exception, message in [
        (lambda: optim.SGD([], lr=0.1), ValueError, "empty parameter list"),
        (lambda: optim.SGD(p), TypeError, "iterable of Tensors"),
        (lambda: optim.SGD([p], lr=-1), ValueError, "Invalid learning rate: -1"),
        (lambda: optim.SGD([p], nesterov=True), ValueError, "Nesterov"),
        (lambda: optim.Adam([p], betas=(1.0, 0.9)), ValueError, "beta parameter at index 0"),
        (lambda: optim.Adam([p], capturable=True), NotImplementedError, "capturable"),
        (lambda: optim.Adam([p * 2]), ValueError, "non-leaf"),
        (lambda: optim.Adam([p, p]), ValueError, "duplicate"),
        (lambda: optim.Adam([{"params": [p]}, {"params": [p]}]), ValueError, "more than one parameter group"),
        (lambda: optim.Adam([p]).load_state_dict({"state": {}, "param_groups": []}), ValueError, "different number"),
    ]:
        with pytest.raises(exception, match=message):
            call()


def test_groups_names_closure_hooks():
    layer = nn.Linear(3, 2)
    optimizer = optim.SGD([{"params": layer.named_parameters(), "lr": 0.5}], lr=0.1)
    assert optimizer.param_groups[0]["param_names"] == ["weight", "bias"]
    calls = []
    handle = optimizer.register_step_post_hook(lambda *a: calls.append("post"))

    def closure():
        optimizer.zero_grad()
        loss = layer(kg.ones(1, 3)).sum()
        loss.backward()
        calls.append("closure")
        return loss

    before, version = layer.bias.detach().numpy().copy(), layer.weight._version
    with kg.no_grad():
        loss = optimizer.step(closure)
    handle.remove()
    optimizer.step()
    assert calls == ["closure", "post"]
    assert loss.shape == ()
    np.testing.assert_allclose(layer.bias.detach().numpy(), before - 1.0, rtol=1e-6)
    assert layer.weight._version == version + 2
    optimizer.zero_grad()
    assert layer.weight.grad is None


def test_grad_scale_is_a_scaled_gradient():
    results = []
    for scale, factor in ((0.25, 1.0), (1.0, 0.25)):
        p = kg.ones(5, requires_grad=True)
        p.grad = kg.tensor(np.linspace(-1, 1, 5, dtype=np.float32)) * factor
        optim.Adam([p], lr=0.1).step(grad_scale=scale)
        results.append(p.detach().numpy())
    assert (results[0] == results[1]).all()


# ---- Schedules ----


class Halving:
    def __call__(self, epoch):
        return 0.5**epoch


SCHEDULES = [
    ("StepLR", {"step_size": 3, "gamma": 0.5}),
    ("MultiStepLR", {"milestones": [2, 5, 5, 9], "gamma": 0.3}),
    ("ConstantLR", {"factor": 0.25, "total_iters": 4}),
    ("LinearLR", {"start_factor": 0.2, "end_factor": 0.9, "total_iters": 6}),
    ("ExponentialLR", {"gamma": 0.93}),
    ("PolynomialLR", {"total_iters": 8, "power": 2.0}),
    ("CosineAnnealingLR", {"T_max": 7, "eta_min": 0.001}),
    ("CosineAnnealingWarmRestarts", {"T_0": 4, "T_mult": 2, "eta_min": 0.01}),
    ("LambdaLR", {"lr_lambda": lambda epoch: 0.95**epoch}),
    ("LambdaLR", {"lr_lambda": Halving()}),
    ("MultiplicativeLR", {"lr_lambda": lambda epoch: 0.97}),
    ("CyclicLR", {"base_lr": 0.01, "max_lr": 0.2, "step_size_up": 5, "step_size_down": 3}),
    ("CyclicLR", {"base_lr": 0.01, "max_lr": 0.2, "step_size_up": 5, "mode": "triangular2"}),
    ("CyclicLR", {"base_lr": 0.01, "max_lr": [0.2, 0.3], "step_size_up": 5, "mode": "exp_range", "gamma": 0.98}),
    ("OneCycleLR", {"max_lr": 0.5, "total_steps": 30}),
    (
        "OneCycleLR",
        {"max_lr": [0.5, 0.2], "epochs": 3, "steps_per_epoch": 10, "anneal_strategy": "linear", "three_phase": True},
    ),
]


def two_groups(library, tensors):
    return library.optim.SGD([{"params": [tensors[0]]}, {"params": [tensors[1]], "lr": 0.03}], lr=0.1, momentum=0.9)


def pair(torch):
    ours = two_groups(kg, [kg.zeros(2, requires_grad=True) for _ in range(2)])
    return ours, two_groups(torch, [torch.zeros(2, requires_grad=True) for _ in range(2)])


def same(ours, theirs):
    for a, b in zip(ours.param_groups, theirs.param_groups, strict=True):
        np.testing.assert_allclose([a["lr"], a["momentum"]], [b["lr"], b["momentum"]], rtol=1e-12)


@pytest.mark.parametrize(("name", "options"), SCHEDULES)
def test_schedules_match_pytorch(name, options, torch):
    ours, theirs = pair(torch)
    schedule = getattr(optim.lr_scheduler, name)(ours, **options)
    expected = getattr(torch.optim.lr_scheduler, name)(theirs, **options)
    for epoch in range(25):
        same(ours, theirs)
        np.testing.assert_allclose(schedule.get_last_lr(), expected.get_last_lr(), rtol=1e-12)
        for each in (ours, theirs, schedule, expected):
            each.step()
        if epoch == 12:  # a new pair of objects goes on from the saved state
            saved = copy.deepcopy((ours.state_dict(), schedule.state_dict()))
            ours, _ = pair(torch)
            schedule = getattr(optim.lr_scheduler, name)(ours, **options)
            ours.load_state_dict(saved[0])
            schedule.load_state_dict(saved[1])
            ours.step()


def composed(library, optimizer):
    s = library.optim.lr_scheduler
    parts = [s.ConstantLR(optimizer, 0.1, 2), s.ExponentialLR(optimizer, 0.9), s.CosineAnnealingLR(optimizer, 5)]
    return s.SequentialLR(optimizer, parts, [3, 9])


def chained(library, optimizer):
    s = library.optim.lr_scheduler
    return s.ChainedScheduler([s.ConstantLR(optimizer, 0.1, 4), s.ExponentialLR(optimizer, 0.9)])


@pytest.mark.parametrize("make", [composed, chained])
def test_composed_schedules_match_pytorch(make, torch):
    ours, theirs = pair(torch)
    schedule, expected = make(kg, ours), make(torch, theirs)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # PyTorch warns of its own use of step(epoch)
        for _ in range(25):
            same(ours, theirs)
            for each in (ours, theirs, schedule, expected):
                each.step()


@pytest.mark.parametrize(
    "options",
    [
        {},
        {
            "mode": "max",
            "patience": 2,
            "cooldown": 1,
            "threshold": 0.1,
            "threshold_mode": "abs",
            "min_lr": [0.01, 0.001],
        },
    ],
)
def test_plateau_matches_pytorch(options, torch):
    ours, theirs = pair(torch)
    schedule = optim.lr_scheduler.ReduceLROnPlateau(ours, **options)
    expected = torch.optim.lr_scheduler.ReduceLROnPlateau(theirs, **options)
    for metric in np.random.default_rng(0).random(60):
        schedule.step(metric)
        expected.step(metric)
        same(ours, theirs)


def test_schedule_before_the_optimizer_warns():
    optimizer = optim.SGD([kg.zeros(2, requires_grad=True)], lr=0.1)
    schedule = optim.lr_scheduler.StepLR(optimizer, 2)
    with pytest.warns(UserWarning, match="before `optimizer.step"):
        schedule.step()
