"""Optimisers: SGD, Adam and Adamax, with PyTorch's arguments, arithmetic order and meaning.

    optimiser = SGD(model.parameters(), lr=0.1, momentum=0.9)
    optimiser = Adam([{"params": encoder.parameters()},
                      {"params": decoder.parameters(), "lr": 1e-4}], lr=1e-3)

A step changes the values in place, so their addresses stay.  It skips the parameters that no vjp
has touched since the last `zero_grad`, as PyTorch skips those whose `grad` is `None`.

Adam as Keras has it is in `minigrad.keras_adam`; gradients are bounded by `minigrad.clipping`.

A step has two halves.  `advance()` does the bookkeeping on the host (counts steps, fills the 0-d
arrays that change from step to step); `update()` is array arithmetic alone and reads those 0-d
arrays, so that a captured graph of it stays right when the learning rate changes.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np

from minigrad.backend import Array
from minigrad.optimiser import (
    BETAS,
    FLAG,
    NOT_NEGATIVE,
    NUMBER,
    Checks,
    Group,
    Optimiser,
    Params,
    average_squares,
    interpolate,
)

__all__ = ["SGD", "Adam", "Adamax", "Group", "Optimiser"]


class SGD(Optimiser):
    """Stochastic gradient descent.

    With the gradient d of the parameter p and the buffer v (v = g at the first step):

        g = d + weight_decay * p
        v = momentum * v + (1 - dampening) * g
        p = p - lr * v                        (nesterov: p - lr * (g + momentum * v))

    The learning rate is outside the buffer: changing it does not rescale v.
    PyTorch: `torch.optim.SGD`.
    """

    checks: ClassVar[Checks] = {
        "lr": NOT_NEGATIVE,
        "momentum": NOT_NEGATIVE,
        "dampening": NUMBER,
        "weight_decay": NOT_NEGATIVE,
        "nesterov": FLAG,
    }
    buffers: ClassVar[tuple[str, ...]] = ("momentum_buffer",)

    def __init__(
        self,
        params: Params,
        lr: float = 1e-3,
        momentum: float = 0.0,
        dampening: float = 0.0,
        weight_decay: float = 0.0,
        nesterov: bool = False,
    ) -> None:
        """`params` as in `Optimiser`; the others are defaults for its groups.

        lr: the step per unit of gradient, >= 0. momentum: the part of v that stays, >= 0 (0: no
        buffer). dampening: the part of g kept out of v, any number. weight_decay: the gradient
        added per unit of p, >= 0. nesterov needs momentum > 0 and dampening 0.
        """
        settings = {"momentum": momentum, "dampening": dampening, "weight_decay": weight_decay}
        super().__init__(params, {"lr": lr, **settings, "nesterov": nesterov})

    def _check_settings(self) -> None:
        for group in self.groups:
            if group["nesterov"] and (group["momentum"] == 0 or group["dampening"] != 0):
                raise ValueError(
                    "SGD: nesterov=True: expected momentum > 0 and dampening 0, got "
                    f"momentum={group['momentum']}, dampening={group['dampening']}"
                )

    def _update(self, index: int, group: Group, value: Array, grad: Array) -> None:
        g = self._decayed(group, value, grad)
        if group["momentum"] != 0:
            g = self._with_momentum(index, group, value, g)
        step = self._scratch_like(value, 1, group)
        group.xp.multiply(g, group["lr"], out=step)
        value -= step

    def _with_momentum(self, index: int, group: Group, value: Array, g: Array) -> Array:
        xp, momentum, state = group.xp, group["momentum"], self._state[index]
        scratch = self._scratch_like(value, 1, group)
        v = state.get("momentum_buffer")
        if v is None:
            v = state["momentum_buffer"] = g.copy()
        else:
            v *= momentum
            v += xp.multiply(g, 1 - group["dampening"], out=scratch) if group["dampening"] else g
        if not group["nesterov"]:
            return v
        xp.multiply(v, momentum, out=scratch)
        scratch += g
        return scratch


class _Counting(Optimiser):
    """Counts the steps of each parameter, and has factors for each that depend on the count."""

    rows: ClassVar[int]
    """How many factors a parameter has."""

    def __init__(self, params: Params, defaults: dict[str, Any]) -> None:
        super().__init__(params, defaults)
        # One column a parameter, one array a group.
        rows = self.rows
        self._factors = [g.xp.ones((rows, len(g["params"])), g.dtype) for g in self.groups]
        self._columns = [f[:, j] for f in self._factors for j in range(f.shape[1])]

    def advance(self) -> None:
        """Count a step of each touched parameter and fill the factors that depend on the count."""
        index = 0
        for group, factors in zip(self.groups, self._factors, strict=True):
            host = np.ones(factors.shape, group.dtype)
            for column, p in enumerate(group["params"]):
                state = self._state[index]
                index += 1
                if not p.touched:
                    continue
                if not state:
                    state.update(self._new_state(group, p.value))
                state["step"] += 1
                t = int(state["step"])
                host[:, column] = self._factors_at(t, group)
            factors[...] = group.xp.asarray(host)

    def _factors_at(self, t: int, group: Group) -> tuple[float, ...]:
        """The factors of step t."""
        raise NotImplementedError

    def _kept(self, group: Mapping[str, Any]) -> tuple[str, ...]:
        """The names of the arrays that a parameter of the group has, its count first."""
        return self.buffers

    def _new_state(self, group: Group, value: Array) -> dict[str, Array]:
        zeros = {name: group.xp.zeros_like(value) for name in self._kept(group)[1:]}
        return {"step": np.zeros((), np.int64), **zeros}

    def _check_complete(self, states: list[Any], values: list[Any]) -> None:
        pairs = zip(values, self.groups, strict=True)
        names = [self._kept(value) for value, group in pairs for _ in group["params"]]
        for prefix, state, expected in zip(self._prefixes(), states, names, strict=True):
            if state and set(state) != set(expected):
                raise KeyError(
                    f"{self.name}.load_state_dict: {prefix}: expected {expected}, got "
                    f"{tuple(state)}"
                )


class Adam(_Counting):
    """Adam, with bias correction; weight decay is added to the gradient.

    At step t, with the gradient d of the parameter p and b1, b2 = betas:

        g = d + weight_decay * p
        m = m + (1 - b1) (g - m)              v = b2 v + (1 - b2) g^2
        p = p - lr / (1 - b1^t) * m / (sqrt(v) / sqrt(1 - b2^t) + eps)

    With `amsgrad`, the largest v so far takes the place of v in the last line.
    Source: Kingma, Ba, "Adam", 2015; Reddi, Kale, Kumar, "On the convergence of Adam", 2018.
    PyTorch: `torch.optim.Adam`.
    """

    checks: ClassVar[Checks] = {
        "lr": NOT_NEGATIVE,
        "betas": BETAS,
        "eps": NOT_NEGATIVE,
        "weight_decay": NOT_NEGATIVE,
        "amsgrad": FLAG,
    }
    rows = 2
    buffers: ClassVar[tuple[str, ...]] = ("step", "exp_avg", "exp_avg_sq", "max_exp_avg_sq")

    def __init__(
        self,
        params: Params,
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.0,
        amsgrad: bool = False,
    ) -> None:
        """`params` as in `Optimiser`; the others are defaults for its groups.

        lr: about the largest change of an entry in one step, >= 0. betas: the parts of m and v that
        stay, both in [0, 1). eps: in units of the gradient, >= 0. weight_decay: the gradient added
        per unit of p, >= 0. amsgrad: whether v may not shrink.
        """
        settings = {"lr": lr, "betas": betas, "eps": eps, "weight_decay": weight_decay}
        super().__init__(params, {**settings, "amsgrad": amsgrad})

    def _factors_at(self, t: int, group: Group) -> tuple[float, ...]:
        b1, b2 = group["betas"]
        return group.lr_value / (1 - b1**t), math.sqrt(1 - b2**t)

    def _kept(self, group: Mapping[str, Any]) -> tuple[str, ...]:
        return self.buffers if group["amsgrad"] else self.buffers[:3]

    def _update(self, index: int, group: Group, value: Array, grad: Array) -> None:
        xp, state, (b1, b2) = group.xp, self._state[index], group["betas"]
        m, v, column = state["exp_avg"], state["exp_avg_sq"], self._columns[index]
        g = self._decayed(group, value, grad)
        scratch = self._scratch_like(value, 1, group)
        interpolate(xp, m, g, 1 - b1, scratch)
        average_squares(xp, v, g, b2, scratch)
        if group["amsgrad"]:
            v = xp.maximum(state["max_exp_avg_sq"], v, out=state["max_exp_avg_sq"])
        xp.sqrt(v, out=scratch)
        scratch /= column[1]
        scratch += group["eps"]
        step = self._scratch_like(value, 0, group)  # g, which may live there, is no longer needed
        xp.multiply(m, column[0], out=step)
        step /= scratch
        value -= step


class Adamax(_Counting):
    """Adam with the largest gradient in place of the mean square.

    At step t, with the gradient d of the parameter p and b1, b2 = betas:

        g = d + weight_decay * p
        m = m + (1 - b1) (g - m)              u = max(b2 u, |g| + eps)
        p = p - lr / (1 - b1^t) * m / u

    Source: Kingma, Ba, "Adam", 2015, section 7.1.
    PyTorch: `torch.optim.Adamax`.
    """

    checks: ClassVar[Checks] = {
        "lr": NOT_NEGATIVE,
        "betas": BETAS,
        "eps": NOT_NEGATIVE,
        "weight_decay": NOT_NEGATIVE,
    }
    rows = 1
    buffers: ClassVar[tuple[str, ...]] = ("step", "exp_avg", "exp_inf")

    def __init__(
        self,
        params: Params,
        lr: float = 2e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.0,
    ) -> None:
        """`params` as in `Optimiser`; the others are defaults for its groups, as in `Adam`."""
        super().__init__(
            params, {"lr": lr, "betas": betas, "eps": eps, "weight_decay": weight_decay}
        )

    def _factors_at(self, t: int, group: Group) -> tuple[float, ...]:
        return (group.lr_value / (1 - group["betas"][0] ** t),)

    def _update(self, index: int, group: Group, value: Array, grad: Array) -> None:
        xp, state, (b1, b2) = group.xp, self._state[index], group["betas"]
        m, u, column = state["exp_avg"], state["exp_inf"], self._columns[index]
        g = self._decayed(group, value, grad)
        scratch = self._scratch_like(value, 1, group)
        interpolate(xp, m, g, 1 - b1, scratch)
        u *= b2
        xp.abs(g, out=scratch)
        scratch += group["eps"]
        xp.maximum(u, scratch, out=u)
        xp.multiply(m, column[0], out=scratch)
        scratch /= u
        value -= scratch
