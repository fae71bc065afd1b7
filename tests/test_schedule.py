"""Schedules against stored traces and against torch.optim.lr_scheduler."""

from __future__ import annotations

import json
import math
from typing import Any

import numpy as np
import pytest

from minigrad.schedule import (
    ConstantLR,
    CosineLR,
    ExponentialLR,
    LinearWarmup,
    MultiStepLR,
    RampDown,
    ReduceLROnPlateau,
    Schedule,
    StepLR,
)
from tests.shared import stored_index

torch = pytest.importorskip("torch")

STORED = stored_index("optimizers_index").get("schedulers", [])


def stored(kind: str) -> list[Any]:
    return [pytest.param(c, id=c["name"]) for c in STORED if c["kind"] == kind]


@pytest.mark.parametrize("case", stored("reduce_lr_on_plateau"))
def test_stored_plateau_traces(case: dict[str, Any]) -> None:
    schedule = ReduceLROnPlateau(case["initial_lr"], **case["args"])
    for row in case["trace"]:
        schedule.observe(float(row["metric"]))
        assert schedule.lr(0) == row["lr"]
        assert schedule.bad == row["num_bad"]
        assert schedule.cool == row["cooldown"]
        assert schedule.best == row["best"]


@pytest.mark.parametrize("case", stored("cosine_squared_rampdown"))
def test_stored_ramp_downs(case: dict[str, Any]) -> None:
    args = case["args"]
    schedule = RampDown(args["lr"], args["iterations"], args["ramp_fraction"])
    for row in case["trace"]:
        assert schedule.lr(row["iteration"]) == pytest.approx(row["lr"], rel=1e-12, abs=1e-25)


def torch_plateau(lr: float, **args: Any) -> Any:
    optimiser = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=lr)
    return torch.optim.lr_scheduler.ReduceLROnPlateau(optimiser, **args), optimiser


@pytest.mark.parametrize("seed", range(40))
def test_plateau_equals_torch(seed: int) -> None:
    """Random settings and metrics with ties, trends, NaN and infinities: equal to the last bit."""
    rng = np.random.default_rng(seed)
    args: dict[str, Any] = {
        "mode": str(rng.choice(["min", "max"])),
        "factor": float(rng.choice([0.1, 0.5, 0.9, 0.999])),
        "patience": int(rng.integers(0, 4)),
        "threshold": float(rng.choice([0.0, 1e-4, 0.05])),
        "threshold_mode": str(rng.choice(["rel", "abs"])),
        "cooldown": int(rng.integers(0, 4)),
        "min_lr": float(rng.choice([0.0, 1e-3, 0.2])),
        "eps": float(rng.choice([1e-8, 1e-2])),
    }
    ours = ReduceLROnPlateau(0.7, **args)
    twin, optimiser = torch_plateau(0.7, **args)
    for k in range(60):
        metric = round(float(rng.normal() - 0.05 * k * (seed % 3)), 1)
        if rng.random() < 0.1:
            metric = float(rng.choice([math.nan, math.inf, -math.inf]))
        ours.observe(metric)
        twin.step(metric)
        assert ours.lr(k) == optimiser.param_groups[0]["lr"]
        assert (ours.bad, ours.cool) == (twin.num_bad_epochs, twin.cooldown_counter)
        assert ours.best == twin.best


def test_first_reduction_comes_at_the_eleventh_bad_call() -> None:
    schedule = ReduceLROnPlateau(1.0)
    schedule.observe(0.5)
    rates = []
    for _ in range(11):
        schedule.observe(0.5)
        rates.append(schedule.lr(0))
    assert rates == [1.0] * 10 + [0.1]


def test_nan_from_the_start_counts_as_bad() -> None:
    schedule = ReduceLROnPlateau(1.0, patience=1)
    schedule.observe(math.nan)
    schedule.observe(math.nan)
    assert schedule.lr(0) == 0.1
    assert schedule.best == math.inf


@pytest.mark.parametrize("interrupt", [0, 1, 5, 9])
def test_plateau_state_travels_as_json(interrupt: int) -> None:
    rng = np.random.default_rng(1)
    metrics = rng.normal(size=20)
    whole = ReduceLROnPlateau(1.0, patience=1, cooldown=2)
    part = ReduceLROnPlateau(1.0, patience=1, cooldown=2)
    for metric in metrics[:interrupt]:
        whole.observe(metric)
        part.observe(metric)
    resumed = ReduceLROnPlateau(5.0, patience=1, cooldown=2)
    text = json.dumps(part.state_dict(), allow_nan=False)
    resumed.load_state_dict(json.loads(text))
    for metric in metrics[interrupt:]:
        whole.observe(metric)
        resumed.observe(metric)
        assert resumed.state_dict() == whole.state_dict()


TWINS: list[Any] = []
for _k, _rng in enumerate([np.random.default_rng(7)] * 12):
    _lr, _gamma = float(_rng.uniform(0.01, 1)), float(_rng.uniform(0.2, 0.9))
    _size, _n = int(_rng.integers(1, 9)), int(_rng.integers(10, 40))
    _miles = sorted(int(m) for m in _rng.integers(1, 30, 3))
    _low = float(_rng.uniform(0, 0.01))
    TWINS += [
        (StepLR(_lr, _size, _gamma), "StepLR", _lr, {"step_size": _size, "gamma": _gamma}),
        (
            MultiStepLR(_lr, _miles, _gamma),
            "MultiStepLR",
            _lr,
            {"milestones": _miles, "gamma": _gamma},
        ),
        (CosineLR(_lr, 40, _low), "CosineAnnealingLR", _lr, {"T_max": 40, "eta_min": _low}),
        (ConstantLR(_lr), "ConstantLR", _lr, {"factor": 1.0}),
    ]


@pytest.mark.parametrize("twin", TWINS, ids=lambda t: t[1])
def test_pure_schedules_equal_torch(twin: Any) -> None:
    schedule, name, lr, args = twin
    optimiser = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=lr)
    theirs = getattr(torch.optim.lr_scheduler, name)(optimiser, **args)
    for step in range(40):
        assert schedule.lr(step) == pytest.approx(optimiser.param_groups[0]["lr"], rel=1e-12)
        optimiser.step()
        theirs.step()


def test_shapes_of_the_curves() -> None:
    ramp = RampDown(2.0, 1000, 0.25)
    assert [ramp.lr(k) for k in (0, 500, 750)] == [2.0, 2.0, 2.0]
    assert ramp.lr(875) == pytest.approx(0.5)
    assert ramp.lr(1000) == ramp.lr(5000) == pytest.approx(0.0, abs=1e-30)
    assert RampDown(1.0, 10, 0.0).lr(10) == 1.0
    cosine = CosineLR(1.0, 10, 0.2)
    assert cosine.lr(0) == 1.0
    assert cosine.lr(10) == cosine.lr(99) == pytest.approx(0.2)


def test_warmup_composes() -> None:
    inside = StepLR(1.0, 6, 0.5)
    warm = LinearWarmup(inside, 4)
    assert [warm.lr(k) for k in range(7)] == pytest.approx([0.2, 0.4, 0.6, 0.8, 1.0, 1.0, 0.5])
    plateau = LinearWarmup(ReduceLROnPlateau(1.0, patience=0), 0)
    plateau.observe(1.0)
    plateau.observe(1.0)
    assert plateau.lr(0) == 0.1
    other = LinearWarmup(ReduceLROnPlateau(1.0, patience=0), 0)
    other.load_state_dict(plateau.state_dict())
    assert other.lr(3) == 0.1


@pytest.mark.parametrize(
    "schedule",
    [ConstantLR(1), StepLR(1, 2), MultiStepLR(1, [3]), CosineLR(1, 9), RampDown(1, 9)],
    ids=lambda s: type(s).__name__,
)
def test_one_interface(schedule: Schedule) -> None:
    """Pure schedules ignore metrics and have no state."""
    before = [schedule.lr(k) for k in range(12)]
    schedule.observe(math.nan)
    schedule.load_state_dict(schedule.state_dict())
    assert schedule.state_dict() == {}
    assert [schedule.lr(k) for k in reversed(range(12))] == before[::-1]


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: ConstantLR(-1), r"ConstantLR: lr: .*-1"),
        (lambda: ConstantLR(math.nan), r"ConstantLR: lr: .*nan"),
        (lambda: StepLR(1, 0), r"StepLR: step_size: .*0"),
        (lambda: MultiStepLR(1, [3, -2]), r"MultiStepLR: milestones: .*-2"),
        (lambda: CosineLR(1, 2.5), r"CosineLR: steps: .*2.5"),  # type: ignore[arg-type]
        (lambda: RampDown(1, 10, 1.5), r"RampDown: fraction: .*1.5"),
        (lambda: LinearWarmup(ConstantLR(1), -1), r"LinearWarmup: steps: .*-1"),
        (lambda: ReduceLROnPlateau(1, "least"), r"mode: .*'least'"),
        (lambda: ReduceLROnPlateau(1, threshold_mode="x"), r"threshold_mode: .*'x'"),
        (lambda: ReduceLROnPlateau(1, factor=1.0), r"factor: .*1.0"),
        (lambda: ReduceLROnPlateau(1, patience=-1), r"patience: .*-1"),
    ],
)
def test_bad_settings(make: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make()


def test_bad_state() -> None:
    with pytest.raises(KeyError, match="cool"):
        ReduceLROnPlateau(1.0).load_state_dict({"lr": 1.0})
    with pytest.raises(KeyError, match="lr"):
        ConstantLR(1.0).load_state_dict({"lr": 1.0})


def test_exponential_decay_has_no_stairs() -> None:
    schedule = ExponentialLR(0.01, 0.9, 1000)
    assert schedule.lr(0) == 0.01
    assert schedule.lr(500) == pytest.approx(0.01 * 0.9**0.5)
    assert schedule.lr(2000) == pytest.approx(0.0081)
    for wrong in ({"gamma": -1.0}, {"period": 0}):
        with pytest.raises(ValueError):
            ExponentialLR(0.01, **wrong)
