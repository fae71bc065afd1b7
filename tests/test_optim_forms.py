"""Adamax and Adam in Keras's form against stored traces and PyTorch; clipping of gradients."""

from __future__ import annotations

import math
import tracemalloc
from collections.abc import Callable
from typing import Any, cast

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file

from minigrad import Adam, Adamax, Clock, KerasAdam, clip_grad_norm, clip_grad_value
from minigrad.checkpoint import load, save
from minigrad.optimiser import Optimiser
from tests.shared import SHARED
from tests.test_optim import Weights, grads_of, make

SETTINGS: list[dict[str, Any]] = [
    {},
    {"betas": (0.5, 0.9)},
    {"betas": (0.0, 0.0)},
    {"weight_decay": 0.1},
    {"eps": 1e-3, "betas": (0.95, 0.3)},
    {"eps": 1e-2, "weight_decay": 1e-3},
]
TOLERANCE = {np.float64: (1e-12, 1e-13), np.float32: (2e-6, 5e-7)}


# --------------------------------------------------------------------------- stored traces


@pytest.mark.usefixtures("shared")
@pytest.mark.parametrize(
    ("name", "make_optimiser"),
    [("adam_lr1e-3", lambda p: Adam(p, lr=1e-3)), ("adamax_lr3e-4", lambda p: Adamax(p, lr=3e-4))],
)
def test_stored_trace(name: str, make_optimiser: Callable[[Any], Optimiser]) -> None:
    """Six steps; the gradient of one is nearly zero."""
    stored = load_file(SHARED / "reference" / "hdn" / "ops.safetensors")
    weights = Weights([stored[f"{name}.p0"]])
    optimiser = make_optimiser(weights.parameters())
    for grad, after in zip(stored[f"{name}.grads"], stored[f"{name}.p_after"], strict=True):
        weights.give([grad])
        optimiser.step()
        np.testing.assert_allclose(weights.values[0], after, rtol=1e-13, atol=1e-15)


# --------------------------------------------------------------------------- against PyTorch


@pytest.mark.parametrize("settings", SETTINGS, ids=str)
def test_adamax_equals_torch(settings: dict[str, Any], dtype: Any) -> None:
    """Gradients of changing size, a changing rate, parameters left out at times."""
    rng = np.random.default_rng(3)
    weights = make(dtype)
    twins = [torch.tensor(v, requires_grad=True) for v in weights.values]
    lr = 10 ** rng.uniform(-4, -1)
    ours = Adamax(weights.parameters(), lr=lr, **settings)
    twin = torch.optim.Adamax(twins, lr=lr, **settings, foreach=False)
    for step in range(12):
        grads: list[Any] = grads_of(rng, weights, 10 ** rng.uniform(-3, 1))
        grads[step % 4] = None if step % 3 == 2 else grads[step % 4]
        weights.give(grads)
        for t, g in zip(twins, grads, strict=True):
            t.grad = None if g is None else torch.tensor(g)
        ours.step()
        twin.step()
        if step == 6:
            ours.lr = twin.param_groups[0]["lr"] = lr / 7
    rtol, atol = TOLERANCE[dtype]
    for value, t in zip(weights.values, twins, strict=True):
        assert value.dtype == dtype
        np.testing.assert_allclose(value, t.detach().numpy(), rtol=rtol, atol=atol)


def test_defaults_are_those_of_torch() -> None:
    ours, twin = Adamax(make().parameters()), torch.optim.Adamax([torch.zeros(1)])
    for name in ("lr", "betas", "eps", "weight_decay"):
        value = ours.lr if name == "lr" else ours.groups[0][name]
        assert value == twin.defaults[name]


@pytest.mark.parametrize("betas", [(0.9, 0.999), (0.5, 0.8)])
def test_keras_adam_is_torchs_with_another_eps_at_each_step(betas: Any, dtype: Any) -> None:
    """eps beside the uncorrected root is eps / sqrt(1 - b2^t) beside the corrected one."""
    rng = np.random.default_rng(4)
    weights = make(dtype)
    twins = [torch.tensor(v, requires_grad=True) for v in weights.values]
    ours = KerasAdam(weights.parameters(), lr=1e-3, betas=betas, eps=1e-3)
    twin = torch.optim.Adam(twins, lr=1e-3, betas=betas, foreach=False)
    for step in range(10):
        grads = grads_of(rng, weights, 10 ** rng.uniform(-3, 1))
        weights.give(list(grads))
        for t, g in zip(twins, grads, strict=True):
            t.grad = torch.tensor(g)
        ours.lr = twin.param_groups[0]["lr"] = 1e-3 * 0.9 ** (ours.clock.steps / 1000)
        twin.param_groups[0]["eps"] = 1e-3 / math.sqrt(1 - betas[1] ** (step + 1))
        ours.step()
        twin.step()
    assert ours.clock.steps == 10
    rtol, atol = TOLERANCE[dtype]
    for value, t in zip(weights.values, twins, strict=True):
        assert value.dtype == dtype
        np.testing.assert_allclose(value, t.detach().numpy(), rtol=rtol, atol=atol)


# --------------------------------------------------------------------------- one clock for several


def keras_by_hand(value: np.ndarray, grads: list[np.ndarray], steps: list[int]) -> np.ndarray:
    """The value after steps with these gradients, at these readings of the clock."""
    p, m, v = value.copy(), np.zeros_like(value), np.zeros_like(value)
    for g, t in zip(grads, steps, strict=True):
        m += (1 - 0.9) * (g - m)
        v += (1 - 0.999) * (g * g - v)
        rate = 1e-3 * 0.9 ** ((t - 1) / 1000) * math.sqrt(1 - 0.999**t) / (1 - 0.9**t)
        p -= rate * m / (np.sqrt(v) + 1e-7)
    return p


def take_turns(optimisers: list[KerasAdam], weights: Weights, grads: list[np.ndarray]) -> None:
    """Parameters 0 and 1 at the clock's odd steps, 2 and 3 at the even ones."""
    for i, grad in enumerate(grads):
        optimiser = optimisers[i % len(optimisers)]
        optimiser.lr = 1e-3 * 0.9 ** (optimiser.clock.steps / 1000)
        mine = [grad * np.ones_like(v) for v in weights.values]
        weights.give([None, None, *mine[2:]] if i % 2 else [*mine[:2], None, None])
        optimiser.step()


GRADS = [np.asarray(g) for g in np.random.default_rng(6).standard_normal(10)]


def one_of_two_groups(weights: Weights) -> list[KerasAdam]:
    p = weights.parameters()
    return [KerasAdam([{"params": p[:2]}, {"params": p[2:]}])]


def two_with_a_clock(weights: Weights) -> list[KerasAdam]:
    p, clock = weights.parameters(), Clock()
    return [KerasAdam(p[:2], clock=clock), KerasAdam(p[2:], clock=clock)]


@pytest.mark.parametrize("arrangement", [one_of_two_groups, two_with_a_clock])
def test_a_shared_clock_counts_the_steps_of_all(arrangement: Any) -> None:
    weights = make()
    before = [v.copy() for v in weights.values]
    optimisers = arrangement(weights)
    take_turns(optimisers, weights, GRADS)
    assert all(o.clock.steps == 10 for o in optimisers)
    for i, value in enumerate(weights.values):
        first = 0 if i < 2 else 1
        grads = [g * np.ones_like(value) for g in GRADS[first::2]]
        expected = keras_by_hand(before[i], grads, list(range(1 + first, 11, 2)))
        np.testing.assert_allclose(value, expected, rtol=1e-13, atol=1e-15)


def test_clocks_of_ones_own_differ_from_a_shared_one() -> None:
    weights, others = make(), make()
    take_turns(two_with_a_clock(weights), weights, GRADS)
    p = others.parameters()
    take_turns([KerasAdam(p[:2]), KerasAdam(p[2:])], others, GRADS)
    assert not np.array_equal(weights.values[2], others.values[2])


@pytest.mark.parametrize("arrangement", [one_of_two_groups, two_with_a_clock])
def test_a_shared_clock_is_saved_and_resumed_to_the_bit(arrangement: Any, tmp_path: Any) -> None:
    weights = make()
    optimisers = arrangement(weights)
    take_turns(optimisers, weights, GRADS[:4])
    other = Weights(weights.values)
    resumed = arrangement(other)
    for i, (optimiser, copy) in enumerate(zip(optimisers, resumed, strict=True)):
        save(tmp_path / f"{i}.safetensors", optimiser.state_dict())
        copy.load_state_dict(load(tmp_path / f"{i}.safetensors")[0])
    assert resumed[0].clock.steps == 4 and repr(resumed[0].clock) == "Clock(4 steps)"
    take_turns(optimisers, weights, GRADS[4:])
    take_turns(resumed, other, GRADS[4:])
    for a, b in zip(weights.values, other.values, strict=True):
        np.testing.assert_array_equal(a, b)


# --------------------------------------------------------------------------- what all promise


@pytest.mark.parametrize("cls", [Adamax, KerasAdam])
def test_state_round_trip_continues_to_the_bit(cls: Any, dtype: Any) -> None:
    rng = np.random.default_rng(5)
    weights = make(dtype)
    optimiser = cls(weights.parameters(), lr=0.01, betas=(0.8, 0.95))
    for _ in range(4):
        weights.give([*grads_of(rng, weights)[:3], None])
        optimiser.step()
    state = {k: v.copy() for k, v in optimiser.state_dict().items()}
    other = Weights(weights.values)
    resumed = cls(other.parameters(), lr=7.0)
    resumed.load_state_dict(state)
    assert resumed.lr == 0.01 and resumed.groups[0]["betas"] == (0.8, 0.95)
    for _ in range(3):
        grads = grads_of(rng, weights)
        for w, o in ((weights, optimiser), (other, resumed)):
            w.give(list(grads))
            o.step()
    for a, b in zip(weights.values, other.values, strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("cls", [Adamax, KerasAdam])
def test_in_place_and_untouched(cls: Any) -> None:
    weights = make()
    optimiser = cls(weights.parameters(), lr=0.1)
    addresses = [v.ctypes.data for v in weights.values]
    before = weights.values[1].copy()
    rng = np.random.default_rng(2)
    for _ in range(3):
        grads: list[Any] = grads_of(rng, weights)
        kept = [g.copy() for g in grads]
        grads[1] = None
        weights.give(grads)
        optimiser.step()
        for i in (0, 2, 3):
            np.testing.assert_array_equal(weights.parameters()[i].grad, kept[i])
    assert addresses == [v.ctypes.data for v in weights.values]
    np.testing.assert_array_equal(weights.values[1], before)
    assert not any(key.startswith("groups.0.params.1.") for key in optimiser.state_dict())


@pytest.mark.parametrize("cls", [Adamax, KerasAdam])
def test_no_temporaries(cls: Any) -> None:
    """A step in the steady state, clipped, allocates nothing of the size of a parameter."""
    weights = make(shapes=[(200, 500)])
    weights.give(list(grads_of(np.random.default_rng(0), weights)))
    optimiser = cls(weights.parameters())
    optimiser.step()
    tracemalloc.start()
    clip_grad_value(weights.parameters(), 0.5)
    optimiser.step()
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 50_000  # one parameter has 800,000 bytes


@pytest.mark.parametrize(
    ("cls", "kwargs", "message"),
    [
        (Adamax, {"lr": -0.1}, "Adamax: lr: .*-0.1"),
        (Adamax, {"betas": (0.9, 1.0)}, r"Adamax: betas: .*\(0.9, 1.0\)"),
        (Adamax, {"eps": float("nan")}, "Adamax: eps: .*nan"),
        (Adamax, {"weight_decay": -1}, "Adamax: weight_decay: .*-1"),
        (KerasAdam, {"eps": -1e-7}, "KerasAdam: eps: .*-1e-07"),
        (KerasAdam, {"betas": 0.9}, "KerasAdam: betas: .*0.9"),
    ],
)
def test_bad_settings(cls: Any, kwargs: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        cls(make().parameters(), **kwargs)


def test_a_clock_is_a_clock() -> None:
    with pytest.raises(TypeError, match="KerasAdam: clock: expected a Clock, got 3"):
        KerasAdam(make().parameters(), clock=3)  # type: ignore[arg-type]


@pytest.mark.parametrize("cls", [Adam, Adamax, KerasAdam])
def test_betas_are_a_pair_of_their_own(cls: Any) -> None:
    """A list that changes later changes nothing, and a loaded pair equals the saved one."""
    betas = [0, 0.5]
    optimiser, other = (cls(make().parameters(), betas=b) for b in (betas, (0.9, 0.99)))
    betas[0] = 2
    other.load_state_dict(optimiser.state_dict())
    for group in (optimiser.groups[0], other.groups[0]):
        assert group["betas"] == (0.0, 0.5) and type(group["betas"][0]) is float


@pytest.mark.parametrize(
    ("cls", "change", "error", "message"),
    [
        (Adamax, {"groups.0.params.0.step": None}, KeyError, r"Adamax.*params\.0.*exp_inf"),
        (Adamax, {"groups.0.params.0.exp_inf": np.zeros(3)}, ValueError, r"\(3, 4\).*\(3,\)"),
        (Adamax, {"groups.0.params.0.step": np.asarray(-1)}, ValueError, "step: .*at least 0.* -1"),
        (KerasAdam, {"groups.0.params.0.exp_avg": None}, KeyError, r"KerasAdam.*params\.0"),
        (KerasAdam, {"clock": None}, KeyError, "KerasAdam.*clock"),
        (KerasAdam, {"clock": np.asarray(-1)}, ValueError, "clock: expected int64 .* -1"),
        (KerasAdam, {"clock": np.asarray(1.0)}, ValueError, "clock: expected int64 .*float64"),
        (KerasAdam, {"groups.0.clock": np.asarray(1)}, KeyError, "unknown.*groups.0.clock"),
    ],
)
def test_a_bad_state_changes_nothing(
    cls: Any, change: dict[str, Any], error: type[Exception], message: str
) -> None:
    weights = make()
    optimiser = cls(weights.parameters())
    weights.give(list(grads_of(np.random.default_rng(0), weights)))
    optimiser.step()
    good = {k: v.copy() for k, v in optimiser.state_dict().items()}
    moved = {k: v + 1 if k.endswith("exp_avg") else v for k, v in good.items()}
    bad = {k: v for k, v in {**moved, **change}.items() if v is not None}
    with pytest.raises(error, match=message):
        optimiser.load_state_dict(bad)
    for key, value in optimiser.state_dict().items():
        np.testing.assert_array_equal(value, good[key])


# --------------------------------------------------------------------------- clipping


@pytest.mark.parametrize("norm_type", [2.0, 1.0, 3.5, math.inf])
@pytest.mark.parametrize("max_norm", [0.0, 0.3, 1e6, math.inf])
def test_clip_grad_norm_equals_torch(max_norm: float, norm_type: float, dtype: Any) -> None:
    rng = np.random.default_rng(8)
    weights = make(dtype)
    grads: list[Any] = grads_of(rng, weights, 2.0)
    grads[1] = None
    weights.give(grads)
    addresses = [p.grad.ctypes.data for p in weights.parameters()]
    twins = [torch.tensor(v, requires_grad=True) for v in weights.values]
    for t, g in zip(twins, grads, strict=True):
        t.grad = None if g is None else torch.tensor(g)
    norm = clip_grad_norm(weights.parameters(), max_norm, norm_type)
    expected = torch.nn.utils.clip_grad_norm_(twins, max_norm, norm_type)
    rtol = 1e-14 if dtype is np.float64 else 1e-6
    assert isinstance(norm, np.ndarray) and norm.shape == () and norm.dtype == dtype
    np.testing.assert_allclose(norm, expected.numpy(), rtol=rtol)
    assert addresses == [p.grad.ctypes.data for p in weights.parameters()]
    assert [p.touched for p in weights.parameters()] == [True, False, True, True]
    for p, t in zip(weights.parameters(), twins, strict=True):
        wanted = np.zeros_like(p.grad) if t.grad is None else t.grad.numpy()
        np.testing.assert_allclose(p.grad, wanted, rtol=rtol)


@pytest.mark.parametrize("odd", [np.inf, np.nan])
def test_clip_of_what_is_not_finite_is_torchs(odd: float) -> None:
    weights = Weights([np.ones(3)])
    weights.give([np.array([1.0, odd, -2.0])])
    twin = torch.zeros(3, requires_grad=True)
    twin.grad = torch.tensor([1.0, odd, -2.0], dtype=torch.float32)
    with np.errstate(invalid="ignore"):
        norm = clip_grad_norm(weights.parameters(), 1.0)
    expected = torch.nn.utils.clip_grad_norm_([twin], 1.0)
    np.testing.assert_array_equal(norm, expected.numpy())
    np.testing.assert_array_equal(weights.parameters()[0].grad, twin.grad.numpy())


def test_clip_grad_value_equals_torch(dtype: Any) -> None:
    weights = make(dtype)
    grads = grads_of(np.random.default_rng(9), weights, 3.0)
    grads[0][0, :2] = np.nan, np.inf
    weights.give(list(grads))
    twins = [torch.tensor(v, requires_grad=True) for v in weights.values]
    for t, g in zip(twins, grads, strict=True):
        t.grad = torch.tensor(g)
    addresses = [p.grad.ctypes.data for p in weights.parameters()]
    clip_grad_value(weights.parameters(), 1.25)
    torch.nn.utils.clip_grad_value_(twins, 1.25)
    assert addresses == [p.grad.ctypes.data for p in weights.parameters()]
    for p, t in zip(weights.parameters(), twins, strict=True):
        assert t.grad is not None
        np.testing.assert_array_equal(p.grad, t.grad.numpy())


def test_nothing_to_clip() -> None:
    weights = make()
    weights.zero_grad()
    for norm in (clip_grad_norm(weights.parameters(), 1.0), clip_grad_norm([], 1.0)):
        assert isinstance(norm, np.ndarray) and norm.shape == () and norm == 0
    clip_grad_value(weights.parameters(), 1.0)
    assert not any(p.touched for p in weights.parameters())


def test_a_clipped_step_of_groups_of_two_dtypes() -> None:
    wide, narrow = make(np.float64), make(np.float32)
    for weights in (wide, narrow):
        weights.give(list(grads_of(np.random.default_rng(1), weights)))
    every = [*wide.parameters(), *narrow.parameters()]
    alone = [np.sqrt(sum((p.grad.astype(float) ** 2).sum() for p in every))]
    np.testing.assert_allclose(clip_grad_norm(every, 1.0), alone[0], rtol=1e-6)
    np.testing.assert_allclose(clip_grad_norm(every, math.inf), 1.0, rtol=1e-5)
    assert {p.grad.dtype for p in narrow.parameters()} == {np.dtype(np.float32)}


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda p: clip_grad_norm(p, -1.0), "clip_grad_norm: max_norm: .*-1.0"),
        (lambda p: clip_grad_norm(p, math.nan), "clip_grad_norm: max_norm: .*nan"),
        (lambda p: clip_grad_norm(p, True), "clip_grad_norm: max_norm: .*True"),
        (lambda p: clip_grad_norm(p, 1.0, 0), "clip_grad_norm: norm_type: .*0"),
        (lambda p: clip_grad_norm(p, 1.0, cast(Any, "2")), "clip_grad_norm: norm_type: .*'2'"),
        (lambda p: clip_grad_value(p, -0.5), "clip_grad_value: clip_value: .*-0.5"),
        (lambda p: clip_grad_value(p, cast(Any, None)), "clip_grad_value: clip_value: .*None"),
    ],
)
def test_bad_bounds(call: Callable[[Any], Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call(make().parameters())
