"""What optimisers share: groups of parameters, settings that are checked, state that is saved.

`minigrad.optim` has the optimisers themselves.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, MutableMapping
from typing import Any, ClassVar, NoReturn

import numpy as np

from minigrad.backend import Array, array_module, device_of, to_device, to_host
from minigrad.module import Parameter

Params = Iterable[Parameter] | Iterable[Mapping[str, Any]]
Checks = Mapping[str, tuple[str, Callable[[Any], bool]]]
"""For each setting what it must be, in words and as a test."""


class Group(MutableMapping[str, Any]):
    """Parameters that share their settings: `group["params"]`, `group["lr"]`, ...

    `group["lr"]` is a 0-d array of the parameters' dtype, on their device.  Assigning a number to
    it (`group["lr"] = 1e-4`) checks the number and fills that same array; `update` and every other
    way to set something goes through the same check.  Settings cannot be removed.
    """

    lr_value: float
    """The learning rate as the Python number that was assigned."""

    def __init__(self, optimiser: str, settings: dict[str, Any], checks: Checks) -> None:
        """`optimiser` is the class name for messages; `checks` gives a rule for each setting."""
        self._settings: dict[str, Any] = {}
        self._optimiser, self._checks = optimiser, checks
        params = list(settings["params"])
        if not params:
            raise ValueError(f"{optimiser}: params: expected at least one parameter, got none")
        self._settings["params"] = params
        kinds = sorted({f"{p.value.dtype} on {device_of(p.value)}" for p in params})
        if len(kinds) > 1:
            raise TypeError(f"{optimiser}: params: one group mixes {', '.join(kinds)}")
        self.dtype, self.xp = params[0].value.dtype, array_module(params[0].value)
        self._settings["lr"] = self.xp.zeros((), self.dtype)
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
            # One kind of number and pair, so that a loaded setting equals the one that was saved.
            value = tuple(map(float, value)) if isinstance(value, tuple | list) else value
            self._settings[name] = float(value) if is_number(value) else value

    def __getitem__(self, name: str) -> Any:
        return self._settings[name]

    def __delitem__(self, name: str) -> NoReturn:
        raise TypeError(f"{self._optimiser}: {name}: a setting of a group cannot be removed")

    def __iter__(self) -> Iterator[str]:
        return iter(self._settings)

    def __len__(self) -> int:
        return len(self._settings)

    def __repr__(self) -> str:
        settings = {name: self[name] for name in self._checks} | {"lr": self.lr_value}
        return f"Group({len(self['params'])} parameters, {settings})"


class Optimiser:
    """The frame of a step, and saving and loading.

    `optimiser.lr = value` sets the learning rate of every group, and
    `optimiser.groups[i]["lr"] = value` that of one.  A step has two halves: see `minigrad.optim`.

    Raises: ValueError for a setting out of range or a parameter named twice, TypeError for a group
    of mixed dtypes or devices; the messages name setting and value.
    """

    checks: ClassVar[Checks] = {}
    buffers: ClassVar[tuple[str, ...]] = ()
    """Names of the arrays that are kept for each parameter and saved."""

    def __init__(self, params: Params, defaults: dict[str, Any]) -> None:
        """`params`: `module.parameters()`, or groups `{"params": [...], "lr": 1e-4, ...}`.

        `defaults`: the settings, by the names of `checks`, for groups that do not say otherwise.
        """
        items: list[Any] = list(params)
        if not items:
            raise ValueError(f"{self.name}: params: expected at least one parameter, got none")
        raw = items if isinstance(items[0], Mapping) else [{"params": items}]
        self.groups = [Group(self.name, {**defaults, **group}, self.checks) for group in raw]
        self._check_settings()
        self._params = [(g, p) for g in self.groups for p in g["params"]]
        seen: set[tuple[int, str]] = set()
        for _, p in self._params:
            if (id(p.owner), p.name) in seen:
                raise ValueError(f"{self.name}: params: {p!r} appears more than once")
            seen.add((id(p.owner), p.name))
        self._state: list[dict[str, Array]] = [{} for _ in self._params]
        self._scratch: dict[tuple[int, int], Array] = {}

    @property
    def name(self) -> str:
        """The class name, for messages."""
        return type(self).__name__

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
                    f"{self.name}: {p!r} was {group.dtype} ({group.xp.__name__}) when the "
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
        """The sum grad + weight_decay * value, in scratch 0; `grad` itself without decay."""
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
            raise KeyError(f"{self.name}.load_state_dict: missing {missing}, unknown {unknown}")
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
            if isinstance(self.groups[i][name], bool):
                value = bool(value)
            if not holds(value):
                raise ValueError(
                    f"{self.name}.load_state_dict: groups.{i}.{name}: "
                    f"expected {expected}, got {value!r}"
                )
            values[name] = tuple(value) if isinstance(value, list) else value
        return values

    def _fitting(self, key: str, name: str, index: int, array: Array) -> Array:
        value = self._params[index][1].value
        shape, dtype = ((), np.dtype(np.int64)) if name == "step" else (value.shape, value.dtype)
        if array.shape != shape or array.dtype != dtype:
            raise ValueError(
                f"{self.name}.load_state_dict: {key}: expected {dtype} {shape}, "
                f"got {array.dtype} {array.shape}"
            )
        if name == "step" and array < 0:
            raise ValueError(
                f"{self.name}.load_state_dict: {key}: expected at least 0, got {array}"
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


def is_number(x: Any) -> bool:
    """Whether `x` is a finite number (True and False are not)."""
    return isinstance(x, (int, float, np.number)) and not isinstance(x, bool) and math.isfinite(x)


NUMBER = ("a number", is_number)
NOT_NEGATIVE = ("a number >= 0", lambda x: is_number(x) and x >= 0)
FLAG = ("True or False", lambda x: isinstance(x, bool))


def _is_betas(x: Any) -> bool:
    pair = isinstance(x, tuple | list) and len(x) == 2
    return pair and all(is_number(b) and 0 <= b < 1 for b in x)


BETAS = ("two numbers in [0, 1)", _is_betas)


def interpolate(xp: Any, m: Array, g: Array, weight: float, scratch: Array) -> None:
    """Move m to m + weight (g - m) in place, from the nearer end, rounded as `torch.lerp`."""
    if weight < 0.5:
        xp.subtract(g, m, out=scratch)
        scratch *= weight
        m += scratch
    else:
        xp.subtract(g, m, out=scratch)
        scratch *= 1 - weight
        xp.subtract(g, scratch, out=m)


def average_squares(xp: Any, v: Array, g: Array, beta: float, scratch: Array) -> None:
    """Replace v by beta v + (1 - beta) g^2 in place."""
    v *= beta
    xp.multiply(g, 1 - beta, out=scratch)
    scratch *= g
    v += scratch
