"""Optimisers: SGD and Adam, with PyTorch's arguments, arithmetic order and meaning.

    optimiser = SGD(model.parameters(), lr=0.1, momentum=0.9)
    optimiser = Adam([{"params": encoder.parameters()},
                      {"params": decoder.parameters(), "lr": 1e-4}], lr=1e-3)

A step changes the values in place, so their addresses stay.  It skips the parameters that no vjp
has touched since the last `zero_grad`, as PyTorch skips those whose `grad` is `None`.

A step has two halves.  `advance()` does the bookkeeping on the host (counts steps, fills the 0-d
arrays that change from step to step); `update()` is array arithmetic alone and reads those 0-d
arrays, so that a captured graph of it stays right when the learning rate changes.
"""

from __future__ import annotations

import math
from typing import Any, ClassVar

import numpy as np

from minigrad.backend import Array
from minigrad.optimiser import FLAG, NOT_NEGATIVE, NUMBER, Checks, Group, Optimiser, Params
from minigrad.optimiser import is_number as _is_number

__all__ = ["SGD", "Adam", "Group", "Optimiser"]


def _betas(x: Any) -> bool:
    pair = isinstance(x, tuple | list) and len(x) == 2
    return pair and all(_is_number(b) and 0 <= b < 1 for b in x)


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


class Adam(Optimiser):
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
        "betas": ("two numbers in [0, 1)", _betas),
        "eps": NOT_NEGATIVE,
        "weight_decay": NOT_NEGATIVE,
        "amsgrad": FLAG,
    }
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
        # Row 0: lr / (1 - b1^t); row 1: sqrt(1 - b2^t).  One column a parameter, one array a group.
        self._factors = [g.xp.ones((2, len(g["params"])), g.dtype) for g in self.groups]
        self._columns = [f[:, j] for f in self._factors for j in range(f.shape[1])]

    def advance(self) -> None:
        """Count a step of each touched parameter and fill the factors that depend on the count."""
        index = 0
        for group, factors in zip(self.groups, self._factors, strict=True):
            b1, b2 = group["betas"]
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
                host[:, column] = group.lr_value / (1 - b1**t), math.sqrt(1 - b2**t)
            factors[...] = group.xp.asarray(host)

    def _new_state(self, group: Group, value: Array) -> dict[str, Array]:
        names = self.buffers[1:] if group["amsgrad"] else self.buffers[1:3]
        zeros = {name: group.xp.zeros_like(value) for name in names}
        return {"step": np.zeros((), np.int64), **zeros}

    def _update(self, index: int, group: Group, value: Array, grad: Array) -> None:
        xp, state, (b1, b2) = group.xp, self._state[index], group["betas"]
        m, v, column = state["exp_avg"], state["exp_avg_sq"], self._columns[index]
        g = self._decayed(group, value, grad)
        scratch = self._scratch_like(value, 1, group)
        _interpolate(xp, m, g, 1 - b1, scratch)
        v *= b2
        xp.multiply(g, 1 - b2, out=scratch)
        scratch *= g
        v += scratch
        if group["amsgrad"]:
            v = xp.maximum(state["max_exp_avg_sq"], v, out=state["max_exp_avg_sq"])
        xp.sqrt(v, out=scratch)
        scratch /= column[1]
        scratch += group["eps"]
        step = self._scratch_like(value, 0, group)  # g, which may live there, is no longer needed
        xp.multiply(m, column[0], out=step)
        step /= scratch
        value -= step

    def _check_complete(self, states: list[Any], values: list[Any]) -> None:
        pairs = zip(values, self.groups, strict=True)
        amsgrad = [value["amsgrad"] for value, group in pairs for _ in group["params"]]
        for prefix, state, largest in zip(self._prefixes(), states, amsgrad, strict=True):
            expected = self.buffers if largest else self.buffers[:3]
            if state and set(state) != set(expected):
                raise KeyError(
                    f"Adam.load_state_dict: {prefix}: expected {expected}, got {tuple(state)}"
                )


def _interpolate(xp: Any, m: Array, g: Array, weight: float, scratch: Array) -> None:
    """Move m to m + weight (g - m) in place, from the nearer end, rounded as `torch.lerp`."""
    if weight < 0.5:
        xp.subtract(g, m, out=scratch)
        scratch *= weight
        m += scratch
    else:
        xp.subtract(g, m, out=scratch)
        scratch *= 1 - weight
        xp.subtract(g, scratch, out=m)
