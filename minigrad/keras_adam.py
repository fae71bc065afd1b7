"""Adam as Keras has it, with a clock that may be shared.

optimiser = KerasAdam(encoder.parameters() + classifier.parameters(), lr=1e-3)
optimiser.lr = 1e-3 * 0.9 ** (optimiser.clock.steps / 1000)          # before each step
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np

from minigrad.backend import Array
from minigrad.optimiser import (
    BETAS,
    NOT_NEGATIVE,
    Checks,
    Group,
    Optimiser,
    Params,
    average_squares,
    interpolate,
)

__all__ = ["Clock", "KerasAdam"]


class Clock:
    """A count of steps that several `KerasAdam` share: each step of each moves it on by one."""

    def __init__(self) -> None:
        """Before the first step."""
        self.steps = 0

    def __repr__(self) -> str:
        return f"Clock({self.steps} steps)"


class KerasAdam(Optimiser):
    """Adam as Keras has it: eps stands beside the uncorrected root, and one clock counts for all.

    At step t, with the gradient g of the parameter p and b1, b2 = betas:

        m = m + (1 - b1) (g - m)              v = b2 v + (1 - b2) g^2
        p = p - lr sqrt(1 - b2^t) / (1 - b1^t) * m / (sqrt(v) + eps)

    t counts the steps of the optimiser, not of the parameter as in `Adam`: a parameter that is
    touched at every second step only has t = 1, 3, 5, ...  So it is with the networks of one
    optimiser that take turns, and with optimisers that share a `Clock`.
    Source: Kingma, Ba, "Adam", 2015, the form at the end of section 2; Keras 2,
    `tf.keras.optimizers.Adam`.
    PyTorch: none; `torch.optim.Adam` with eps / sqrt(1 - b2^t) at step t.
    """

    checks: ClassVar[Checks] = {"lr": NOT_NEGATIVE, "betas": BETAS, "eps": NOT_NEGATIVE}
    buffers: ClassVar[tuple[str, ...]] = ("exp_avg", "exp_avg_sq")

    def __init__(
        self,
        params: Params,
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-7,
        clock: Clock | None = None,
    ) -> None:
        """`params` as in `Optimiser`; lr, betas and eps are defaults for its groups, as in `Adam`.

        clock: of its own by default.

        Raises: TypeError, clock is no `Clock`.
        """
        if not isinstance(clock, Clock | None):
            raise TypeError(f"KerasAdam: clock: expected a Clock, got {clock!r}")
        super().__init__(params, {"lr": lr, "betas": betas, "eps": eps})
        self.clock = Clock() if clock is None else clock
        self._rates = {id(group): group.xp.ones((), group.dtype) for group in self.groups}

    def advance(self) -> None:
        """Move the clock on and fill the rates that depend on it."""
        self.clock.steps += 1
        t = self.clock.steps
        for group in self.groups:
            b1, b2 = group["betas"]
            rate = group.lr_value * math.sqrt(1 - b2**t) / (1 - b1**t)
            self._rates[id(group)].fill(rate)
        for state, (group, p) in zip(self._state, self._params, strict=True):
            if p.touched and not state:
                state.update({name: group.xp.zeros_like(p.value) for name in self.buffers})

    def _update(self, index: int, group: Group, value: Array, grad: Array) -> None:
        xp, state, (b1, b2) = group.xp, self._state[index], group["betas"]
        m, v = state["exp_avg"], state["exp_avg_sq"]
        scratch, step = (self._scratch_like(value, slot, group) for slot in (0, 1))
        interpolate(xp, m, grad, 1 - b1, scratch)
        average_squares(xp, v, grad, b2, scratch)
        xp.sqrt(v, out=scratch)
        scratch += group["eps"]
        xp.multiply(m, self._rates[id(group)], out=step)
        step /= scratch
        value -= step

    def state_dict(self) -> dict[str, np.ndarray]:
        """As `Optimiser.state_dict`, and `clock`: the steps so far, int64."""
        return {**super().state_dict(), "clock": np.asarray(self.clock.steps, np.int64)}

    def load_state_dict(self, arrays: Mapping[str, np.ndarray]) -> None:
        """As `Optimiser.load_state_dict`; a shared clock is set too.

        Raises: KeyError, ValueError as there.
        """
        clock = arrays.get("clock")
        if clock is None:
            raise KeyError("KerasAdam.load_state_dict: missing ['clock']")
        if clock.shape != () or clock.dtype != np.int64 or clock < 0:
            raise ValueError(
                f"KerasAdam.load_state_dict: clock: expected int64 () of at least 0, got "
                f"{clock.dtype} {clock.shape} {clock.tolist()}"
            )
        super().load_state_dict({name: a for name, a in arrays.items() if name != "clock"})
        self.clock.steps = int(clock)

    def _check_complete(self, states: list[Any], values: list[Any]) -> None:
        for prefix, state in zip(self._prefixes(), states, strict=True):
            if state and set(state) != set(self.buffers):
                raise KeyError(
                    f"KerasAdam.load_state_dict: {prefix}: expected {self.buffers}, got "
                    f"{tuple(state)}"
                )
