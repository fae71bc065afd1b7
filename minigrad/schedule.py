"""Learning rates over time: pure functions of the step number, and one that watches a metric.

All have the same two methods, so that one training loop serves them all:

    optimiser.lr = schedule.lr(step)        # before step number `step` = 0, 1, 2, ...
    schedule.observe(metric)                # after each validation

Only `ReduceLROnPlateau` listens to `observe` and has state; for the others `state_dict()` is empty
and a resumed run needs nothing but the step number.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any


class Schedule:
    """A learning rate `lr(step)`, for step = 0, 1, 2, ..."""

    def lr(self, step: int) -> float:
        """The learning rate of this step."""
        raise NotImplementedError

    def observe(self, metric: float) -> None:
        """Take note of a validation metric; most schedules do not care."""

    def state_dict(self) -> dict[str, Any]:
        """What a resumed run needs, as numbers and strings that JSON holds."""
        return {}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take back what `state_dict` gave; raises KeyError where the names differ."""
        _same_names(self, state)


class ConstantLR(Schedule):
    """The same rate at every step."""

    def __init__(self, lr: float) -> None:
        """lr: the rate, >= 0."""
        self.base = _rate(self, "lr", lr)

    def lr(self, step: int) -> float:
        """The rate; the step number plays no part."""
        return self.base


class StepLR(Schedule):
    """lr * gamma^floor(step / step_size).  PyTorch: `torch.optim.lr_scheduler.StepLR`."""

    def __init__(self, lr: float, step_size: int, gamma: float = 0.1) -> None:
        """lr: the first rate, >= 0. step_size: in steps, >= 1. gamma: a factor >= 0."""
        self.base = _rate(self, "lr", lr)
        self.step_size = _count(self, "step_size", step_size, at_least=1)
        self.gamma = _rate(self, "gamma", gamma)

    def lr(self, step: int) -> float:
        """lr * gamma^floor(step / step_size)."""
        return self.base * self.gamma ** (step // self.step_size)


class MultiStepLR(Schedule):
    """lr * gamma^(number of milestones <= step).  PyTorch: `lr_scheduler.MultiStepLR`."""

    def __init__(self, lr: float, milestones: Sequence[int], gamma: float = 0.1) -> None:
        """lr: the first rate, >= 0. milestones: step numbers >= 0. gamma: a factor >= 0."""
        self.base = _rate(self, "lr", lr)
        self.milestones = [_count(self, "milestones", m) for m in milestones]
        self.gamma = _rate(self, "gamma", gamma)

    def lr(self, step: int) -> float:
        """lr * gamma^(number of milestones <= step)."""
        return self.base * self.gamma ** sum(m <= step for m in self.milestones)


class ExponentialLR(Schedule):
    """lr * gamma^(step / period), without stairs.

    PyTorch: `torch.optim.lr_scheduler.ExponentialLR` with gamma^(1 / period). Keras:
    `ExponentialDecay` with `staircase=False`.
    """

    def __init__(self, lr: float, gamma: float = 0.9, period: int = 1) -> None:
        """lr: the first rate, >= 0. gamma: a factor >= 0. period: in steps, >= 1."""
        self.base = _rate(self, "lr", lr)
        self.gamma = _rate(self, "gamma", gamma)
        self.period = _count(self, "period", period, at_least=1)

    def lr(self, step: int) -> float:
        """lr * gamma^(step / period)."""
        return float(self.base * self.gamma ** (step / self.period))


class CosineLR(Schedule):
    """min_lr + (lr - min_lr) (1 + cos(pi step / steps)) / 2, and min_lr after that.

    Source: Loshchilov, Hutter, "SGDR", 2017.  PyTorch: `CosineAnnealingLR(T_max=steps)`, up to its
    last step.
    """

    def __init__(self, lr: float, steps: int, min_lr: float = 0.0) -> None:
        """lr: the first rate, min_lr: the last, both >= 0. steps: between the two, >= 1."""
        self.base = _rate(self, "lr", lr)
        self.steps = _count(self, "steps", steps, at_least=1)
        self.min_lr = _rate(self, "min_lr", min_lr)

    def lr(self, step: int) -> float:
        """The half cosine from lr at step 0 to min_lr at `steps` and after it."""
        u = min(step / self.steps, 1.0)
        return self.min_lr + (self.base - self.min_lr) * (1 + math.cos(math.pi * u)) / 2


class RampDown(Schedule):
    """Constant, then down to zero: lr until step n (1 - f), then lr (1/2 + cos(pi u) / 2)^2.

    n is `steps`, f is `fraction`, and u runs from 0 to 1 over the last n f steps; lr(n) is 0.
    Source: Lehtinen et al., "Noise2Noise", 2018, the training program of the authors.
    """

    def __init__(self, lr: float, steps: int, fraction: float = 0.3) -> None:
        """lr: the rate before the ramp, >= 0. steps: all, >= 1. fraction: the ramp's, 0 to 1."""
        self.base = _rate(self, "lr", lr)
        self.steps = _count(self, "steps", steps, at_least=1)
        if not 0 <= fraction <= 1:
            raise ValueError(f"RampDown: fraction: expected 0 to 1, got {fraction!r}")
        self.fraction = float(fraction)

    def lr(self, step: int) -> float:
        """The constant rate, or the ramp, which is 0 at `steps` and after it."""
        start = self.steps * (1 - self.fraction)
        if step < start or self.fraction == 0:
            return self.base
        u = min((step - start) / (self.steps * self.fraction), 1.0)
        return self.base * (0.5 + 0.5 * math.cos(math.pi * u)) ** 2


class LinearWarmup(Schedule):
    """Another schedule, entered slowly: its rate times (step + 1) / (steps + 1) while step < steps.

    The schedule inside sees the same step numbers and all metrics.
    """

    def __init__(self, schedule: Schedule, steps: int) -> None:
        """schedule: any other. steps: the length of the warm-up, >= 0."""
        self.schedule = schedule
        self.steps = _count(self, "steps", steps)

    def lr(self, step: int) -> float:
        """The rate of the schedule inside, times a factor that grows to 1."""
        return self.schedule.lr(step) * min((step + 1) / (self.steps + 1), 1.0)

    def observe(self, metric: float) -> None:
        """Handed to the schedule inside."""
        self.schedule.observe(metric)

    def state_dict(self) -> dict[str, Any]:
        """The state of the schedule inside."""
        return self.schedule.state_dict()

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Handed to the schedule inside; raises KeyError where the names differ."""
        self.schedule.load_state_dict(state)


class ReduceLROnPlateau(Schedule):
    """The rate times `factor` whenever the metric has not improved for more than `patience` calls.

    Each `observe(metric)`:

    1. better than `best`? (min: metric < best (1 - threshold) or best - threshold, for the modes
       "rel" and "abs"; max: with + and >) then it is the new best and bad = 0, else bad += 1;
       NaN is never better.
    2. while cooling down: cool -= 1, bad = 0.
    3. if bad > patience: lr becomes max(lr factor, min_lr) if that is lower by more than `eps`;
       in either case cool = cooldown and bad = 0.

    PyTorch: `torch.optim.lr_scheduler.ReduceLROnPlateau`.
    """

    def __init__(
        self,
        lr: float,
        mode: str = "min",
        factor: float = 0.1,
        patience: int = 10,
        threshold: float = 1e-4,
        threshold_mode: str = "rel",
        cooldown: int = 0,
        min_lr: float = 0.0,
        eps: float = 1e-8,
    ) -> None:
        """lr: the first rate, min_lr: the least, eps: the least change of it, all >= 0.

        mode: "min" where a smaller metric is better, else "max". factor: in (0, 1). threshold: a
        part of `best` ("rel") or in units of the metric ("abs"), >= 0. patience, cooldown: in calls
        of `observe`, >= 0.
        """
        _choice("mode", mode, ("min", "max"))
        _choice("threshold_mode", threshold_mode, ("rel", "abs"))
        if not 0 < factor < 1:
            raise ValueError(f"ReduceLROnPlateau: factor: expected between 0 and 1, got {factor!r}")
        self.current = _rate(self, "lr", lr)
        self.mode, self.factor, self.threshold_mode = mode, float(factor), threshold_mode
        self.threshold = _rate(self, "threshold", threshold)
        self.patience = _count(self, "patience", patience)
        self.cooldown = _count(self, "cooldown", cooldown)
        self.min_lr, self.eps = _rate(self, "min_lr", min_lr), _rate(self, "eps", eps)
        self.best = math.inf if mode == "min" else -math.inf
        self.bad = 0
        self.cool = 0

    def lr(self, step: int) -> float:
        """The rate after the metrics seen so far; the step number plays no part."""
        return self.current

    def observe(self, metric: float) -> None:
        """Count the metric, and lower the rate if it is time: the three rules above."""
        metric = float(metric)
        if self._better(metric):
            self.best, self.bad = metric, 0
        else:
            self.bad += 1
        if self.cool > 0:
            self.cool -= 1
            self.bad = 0
        if self.bad > self.patience:
            reduced = max(self.current * self.factor, self.min_lr)
            if self.current - reduced > self.eps:
                self.current = reduced
            self.cool, self.bad = self.cooldown, 0

    def _better(self, metric: float) -> bool:
        sign = -1 if self.mode == "min" else 1
        if self.threshold_mode == "rel":
            bar = self.best * (1 + sign * self.threshold)
        else:
            bar = self.best + sign * self.threshold
        return metric < bar if self.mode == "min" else metric > bar

    def state_dict(self) -> dict[str, Any]:
        """The rate now, the best metric, and both counters."""
        # JSON has no infinity: such a best value travels as text.
        best = self.best if math.isfinite(self.best) else repr(self.best)
        return {"lr": self.current, "best": best, "bad": self.bad, "cool": self.cool}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take back what `state_dict` gave; KeyError for other names, ValueError for bad values."""
        _same_names(self, state)
        current, best = _rate(self, "lr", state["lr"]), float(state["best"])
        bad, cool = (_count(self, name, state[name]) for name in ("bad", "cool"))
        self.current, self.best, self.bad, self.cool = current, best, bad, cool


def _same_names(schedule: Schedule, state: Mapping[str, Any]) -> None:
    expected = set(schedule.state_dict())
    if set(state) != expected:
        raise KeyError(
            f"{type(schedule).__name__}.load_state_dict: expected {sorted(expected)}, "
            f"got {sorted(state)}"
        )


def _rate(owner: Schedule, name: str, value: float) -> float:
    if not (isinstance(value, int | float) and math.isfinite(value) and value >= 0):
        raise ValueError(f"{type(owner).__name__}: {name}: expected a number >= 0, got {value!r}")
    return float(value)


def _count(owner: Schedule, name: str, value: int, at_least: int = 0) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or value < at_least:
        raise ValueError(
            f"{type(owner).__name__}: {name}: expected a whole number >= {at_least}, got {value!r}"
        )
    return value


def _choice(name: str, value: str, allowed: tuple[str, ...]) -> None:
    if value not in allowed:
        raise ValueError(f"ReduceLROnPlateau: {name}: expected one of {allowed}, got {value!r}")
