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
from collections.abc import Callable, Iterable, Mapping
from typing import Any, ClassVar

import numpy as np

from minigrad.backend import Array, array_module, device_of, to_device, to_host
from minigrad.module import Parameter

Params = Iterable[Parameter] | Iterable[dict[str, Any]]
Checks = Mapping[str, tuple[str, Callable[[Any], bool]]]
"""For each setting what it must be, in words and as a test."""


class Group(dict[str, Any]):
    """Parameters that share their settings: `group["params"]`, `group["lr"]`, `group["momentum"]`, ...

    `group["lr"]` is a 0-d array of the parameters' dtype, on their device.  Assigning a number to
    it (`group["lr"] = 1e-4`) checks the number and fills that same array.
    """

    lr_value: float
    """The learning rate as the Python number that was assigned."""

    def __init__(self, optimiser: str, settings: dict[str, Any], checks: Checks) -> None:
        """`optimiser` is the class name for messages; `checks` gives a rule for each setting."""
        super().__init__()
        self._optimiser, self._checks = optimiser, checks
        params = list(settings["params"])
        if not params:
            raise ValueError(f"{optimiser}: params: expected at least one parameter, got none")
        super().__setitem__("params", params)
        kinds = sorted({f"{p.value.dtype} on {device_of(p.value)}" for p in params})
        if len(kinds) > 1:
            raise TypeError(f"{optimiser}: params: one group mixes {', '.join(kinds)}")
        self.dtype, self.xp = params[0].value.dtype, array_module(params[0].value)
        super().__setitem__("lr", self.xp.zeros((), self.dtype))
        for name, value in settings.items():
            if name != "params":
                self[name] = value

    def __setitem__(self, name: str, value: Any) -> None:
        if name == "params":
            raise KeyError(f"{self._optimiser}: params of a group cannot be replaced")
        if name not in self._checks:
            known = ", ".join(["params", *self._checks])
            raise KeyError(f"{self._optimiser}: unknown setting {name!r}; known: {known}")
        if getattr(value, "shape", None) == ():
            value = value.item()  # so that `group["lr"] *= 0.1` works
        expected, holds = self._checks[name]
        if not holds(value):
            raise ValueError(f"{self._optimiser}: {name}: expected {expected}, got {value!r}")
        if name == "lr":
            self.lr_value = float(value)
            self["lr"].fill(self.lr_value)
        else:
            super().__setitem__(name, value)


class Optimiser:
    """What SGD and Adam share: groups, state, saving and loading.

    `optimiser.lr = value` sets the learning rate of every group; `optimiser.groups[i]["lr"]` of one.

    Raises: ValueError for a setting out of range or a parameter named twice, TypeError for a group
    of mixed dtypes or devices; the messages name setting and value.
    """

    checks: ClassVar[Checks] = {}
    buffers: ClassVar[tuple[str, ...]] = ()
    """Names of the arrays that are kept for each parameter and saved."""

    def __init__(self, params: Params, defaults: dict[str, Any]) -> None:
        items: list[Any] = list(params)
        if not items:
            raise ValueError(f"{type(self).__name__}: params: expected at least one parameter, got none")
        raw = items if isinstance(items[0], dict) else [{"params": items}]
        self.groups = [Group(type(self).__name__, {**defaults, **group}, self.checks) for group in raw]
        self._check_settings()
        self._params = [(g, p) for g in self.groups for p in g["params"]]
        seen: set[tuple[int, str]] = set()
        for _, p in self._params:
            if (id(p.owner), p.name) in seen:
                raise ValueError(f"{type(self).__name__}: params: {p!r} appears more than once")
            seen.add((id(p.owner), p.name))
        self._state: list[dict[str, Array]] = [{} for _ in self._params]
        self._scratch: dict[tuple[int, int], Array] = {}

    # --- learning rate ------------------------------------------------------------------------

    @property
    def lr(self) -> float:
        """The learning rate; where groups differ, that of the first."""
        return self.groups[0].lr_value

    @lr.setter
    def lr(self, value: float) -> None:
        for group in self.groups:
            group["lr"] = value

    # --- the step -----------------------------------------------------------------------------

    def step(self) -> None:
        """One update of every touched parameter from its accumulated cotangent."""
        self.advance()
        self.update()

    def advance(self) -> None:
        """The host's half of a step."""

    def update(self) -> None:
        """The arithmetic half of a step."""
        for index, (group, p) in enumerate(self._params):
            if not p.touched:
                continue
            value, grad = p.value, p.grad
            if value.dtype != group.dtype or array_module(value) is not group.xp:
                raise TypeError(
                    f"{type(self).__name__}: {p!r} was {group.dtype} ({group.xp.__name__}) when the "
                    f"optimiser was made; make a new optimiser after astype() or to()"
                )
            self._update(index, group, value, grad)

    def _update(self, index: int, group: Group, value: Array, grad: Array) -> None:
        raise NotImplementedError

    def _scratch_like(self, value: Array, slot: int, group: Group) -> Array:
        """Working memory of the shape of `value`, shared by all parameters of the group."""
        key = (id(group), slot)
        if key not in self._scratch:
            largest = max(p.value.size for p in group["params"])
            self._scratch[key] = group.xp.empty(largest, group.dtype)
        return self._scratch[key][: value.size].reshape(value.shape)

    def _decayed(self, group: Group, value: Array, grad: Array) -> Array:
        """grad + weight_decay * value, in scratch 0; `grad` itself without decay."""
        if group["weight_decay"] == 0:
            return grad
        g = self._scratch_like(value, 0, group)
        group.xp.multiply(value, group["weight_decay"], out=g)
        g += grad
        return g

    # --- state --------------------------------------------------------------------------------

    def state_dict(self) -> dict[str, np.ndarray]:
        """Settings and state as one flat dictionary of host arrays, for a safetensors file.

        `groups.<i>.<setting>`: float64; `groups.<i>.params.<j>.<buffer>`: present once used.
        """
        arrays: dict[str, np.ndarray] = {}
        for i, group in enumerate(self.groups):
            for name in self.checks:
                value = group.lr_value if name == "lr" else group[name]
                arrays[f"groups.{i}.{name}"] = np.asarray(value, dtype=np.float64)
        for prefix, state in zip(self._prefixes(), self._state, strict=True):
            arrays |= {f"{prefix}.{k}": to_host(a).copy() for k, a in state.items()}
        return arrays

    def load_state_dict(self, arrays: Mapping[str, np.ndarray]) -> None:
        """Take settings and state from `arrays`; nothing changes unless all of it fits.

        Raises: KeyError for missing or unknown names, ValueError for a wrong shape or dtype.
        """
        settings = {f"groups.{i}.{k}" for i in range(len(self.groups)) for k in self.checks}
        missing = sorted(settings - set(arrays))
        slots = {
            f"{prefix}.{name}": (index, name)
            for index, prefix in enumerate(self._prefixes())
            for name in self.buffers
        }
        unknown = sorted(set(arrays) - settings - set(slots))
        if missing or unknown:
            raise KeyError(f"{type(self).__name__}.load_state_dict: missing {missing}, unknown {unknown}")
        values = [self._parse_settings(i, arrays) for i in range(len(self.groups))]
        states: list[dict[str, Array]] = [{} for _ in self._params]
        for key in sorted(arrays.keys() & slots.keys()):
            index, name = slots[key]
            states[index][name] = self._fitting(key, name, index, arrays[key])
        self._check_complete(states, values)
        for group, new in zip(self.groups, values, strict=True):
            for name, value in new.items():
                group[name] = value
        self._state = states

    def _parse_settings(self, i: int, arrays: Mapping[str, np.ndarray]) -> dict[str, Any]:
        values = {}
        for name, (expected, holds) in self.checks.items():
            value: Any = to_host(arrays[f"groups.{i}.{name}"]).tolist()
            if not holds(value):
                raise ValueError(
                    f"{type(self).__name__}.load_state_dict: groups.{i}.{name}: "
                    f"expected {expected}, got {value!r}"
                )
            values[name] = type(self.groups[i][name])(value) if name != "lr" else value
        return values

    def _fitting(self, key: str, name: str, index: int, array: Array) -> Array:
        value = self._params[index][1].value
        shape, dtype = ((), np.dtype(np.int64)) if name == "step" else (value.shape, value.dtype)
        if array.shape != shape or array.dtype != dtype:
            raise ValueError(
                f"{type(self).__name__}.load_state_dict: {key}: expected {dtype} {shape}, "
                f"got {array.dtype} {array.shape}"
            )
        # Counters stay on the host; buffers go where the parameter is.
        return to_device(array, "cpu" if name == "step" else device_of(value)).copy()

    def _check_complete(self, states: list[Any], values: list[Any]) -> None:
        """Raise where only a part of one parameter's state is present."""

    def _check_settings(self) -> None:
        """Raise where settings that are each in range contradict one another."""

    def _prefixes(self) -> list[str]:
        return [
            f"groups.{i}.params.{j}"
            for i, group in enumerate(self.groups)
            for j in range(len(group["params"]))
        ]


def _is_number(x: Any) -> bool:
    return isinstance(x, (int, float, np.number)) and not isinstance(x, bool) and math.isfinite(x)


def _at_least_zero(x: Any) -> bool:
    return _is_number(x) and x >= 0


def _betas(x: Any) -> bool:
    return isinstance(x, tuple | list) and len(x) == 2 and all(_is_number(b) and 0 <= b < 1 for b in x)


_NOT_NEGATIVE = ("a number >= 0", _at_least_zero)
_FLAG = ("True or False", lambda x: x in (True, False))


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
        "lr": _NOT_NEGATIVE,
        "momentum": _NOT_NEGATIVE,
        "dampening": ("a number", _is_number),
        "weight_decay": _NOT_NEGATIVE,
        "nesterov": _FLAG,
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
        "lr": _NOT_NEGATIVE,
        "betas": ("two numbers in [0, 1)", _betas),
        "eps": _NOT_NEGATIVE,
        "weight_decay": _NOT_NEGATIVE,
        "amsgrad": _FLAG,
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
        amsgrad = [v["amsgrad"] for v, g in zip(values, self.groups, strict=True) for _ in g["params"]]
        for prefix, state, largest in zip(self._prefixes(), states, amsgrad, strict=True):
            expected = self.buffers if largest else self.buffers[:3]
            if state and set(state) != set(expected):
                raise KeyError(
                    f"Adam.load_state_dict: {prefix}: expected {expected}, got {tuple(state)}"
                )


def _interpolate(xp: Any, m: Array, g: Array, weight: float, scratch: Array) -> None:
    """m = m + weight (g - m) in place, from the nearer end, as `torch.Tensor.lerp_` rounds it."""
    if weight < 0.5:
        xp.subtract(g, m, out=scratch)
        scratch *= weight
        m += scratch
    else:
        xp.subtract(g, m, out=scratch)
        scratch *= 1 - weight
        xp.subtract(g, scratch, out=m)
