"""State dicts in what a checkpoint holds: where they are, and under which names."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from zoo.convert.budget import Budget, Refused, shown
from zoo.convert.modules import class_of
from zoo.convert.records import Made, NumpyArray, Tensor, View

_DEEPEST = 100
_MODULE = 1000
_SINGLE = (int, float, str, bool, type(None))
"""What may stand beside the tensors of a state dict, and is no tensor."""
_AVOIDED = re.compile(r"(?<![a-z])(optim(i[sz]er)?|sched(uler)?)s?(?![a-z])")
"""In names of what an optimiser or a schedule keeps."""


@dataclass
class State:
    """A state dict, and the place where it was found, such as `checkpoint.model.0`.

    Of a pickled module also the layer that each tensor belongs to, and the classes of all layers.
    """

    place: str
    tensors: dict[str, Tensor]
    layers: dict[Tensor, Made] = field(default_factory=dict)
    classes: set[tuple[str, str]] = field(default_factory=set)

    def named(self) -> Iterator[dict[str, Tensor]]:
        """The tensors under their names, and under shorter ones: wrappers such as DataParallel put
        a word before all names.
        """
        tensors = self.tensors
        yield tensors
        for _ in range(3):
            first = {name.partition(".")[0] for name in tensors}
            if len(first) != 1 or not all("." in name for name in tensors):
                return
            tensors = {name.partition(".")[2]: tensor for name, tensor in tensors.items()}
            yield tensors


def states(value: Any, budget: Budget) -> list[State]:
    """Every state dict: a table whose keys are texts and whose values are tensors, but for single
    numbers and texts; every module.

    What optimisers and schedules keep is left out.

    Raises: Refused when the contents are nested too deep, or are too many.
    """
    found: list[State] = []
    level, seen = [("", value)], {id(value)}
    for _ in range(_DEEPEST):
        below: list[tuple[str, Any]] = []
        for place, item in level:
            state = _state(place or "the file itself", item, budget)
            if state.tensors:
                found.append(state)
                continue
            for name, part in _parts(item):
                budget.step(len(place))
                if id(part) in seen or _AVOIDED.search(name.lower()):
                    continue
                seen.add(id(part))
                below.append((f"{place}.{name}" if place else name, part))
        if not below:
            return found
        level = below
    raise Refused(f"it nests deeper than {_DEEPEST} levels")


def _parts(item: Any) -> Iterator[tuple[str, Any]]:
    """What an object consists of, with a name for each part."""
    if isinstance(item, dict):
        for key, part in item.items():
            if isinstance(part, dict | list | tuple | Made):
                yield (shown(key).strip("'") if isinstance(key, str) else shown(key)), part
    elif isinstance(item, list | tuple):
        for i, part in enumerate(item):
            if isinstance(part, dict | list | tuple | Made):
                yield str(i), part
    elif isinstance(item, Made):
        yield from _parts(item.attributes)
        yield from _parts(item.entries or {})
        yield from _parts(item.items or [])
        yield from _parts(item.args)


def _state(place: str, item: Any, budget: Budget) -> State:
    """The state dict that an object is, or one without tensors."""
    if isinstance(item, dict) and all(isinstance(key, str) for key in item):
        budget.step(len(item))
        others = [part for part in item.values() if not isinstance(part, View | NumpyArray)]
        if all(isinstance(part, _SINGLE) for part in others):
            tensors = {k: part for k, part in item.items() if isinstance(part, View | NumpyArray)}
            return State(place, tensors)
    if isinstance(item, Made) and isinstance(item.attributes.get("_modules"), dict):
        return _state_of_module(place, item, budget)
    return State(place, {})


def _state_of_module(place: str, module: Made, budget: Budget) -> State:
    """The state dict of a pickled module, in PyTorch's order: its own tensors, then its parts'."""
    found = State(place, {})
    waiting: list[tuple[str, Made]] = [("", module)]
    while waiting:
        prefix, one = waiting.pop()
        budget.step(_MODULE)
        if prefix.count(".") > _DEEPEST:
            raise Refused(f"a module that nests deeper than {_DEEPEST} levels")
        own = one.attributes
        found.classes.add(class_of(one))
        for name, tensor in [*_entries(own, "_parameters"), *_entries(own, "_buffers")]:
            if isinstance(tensor, View | NumpyArray):
                budget.step(len(prefix) + len(name))
                found.tensors[prefix + name] = tensor
                found.layers[tensor] = one
        for name, part in reversed(_entries(own, "_modules")):
            if isinstance(part, Made):
                budget.step(len(prefix) + len(name))
                waiting.append((f"{prefix}{name}.", part))
    return found


def _entries(own: dict[Any, Any], table: str) -> list[tuple[str, Any]]:
    found = own.get(table)
    pairs = found.items() if isinstance(found, dict) else ()
    return [(name, value) for name, value in pairs if isinstance(name, str)]


def joined(found: list[State], parts: Mapping[str, str]) -> State | None:
    """One state dict of several networks, each under the name of its part.

    parts: name of a part -> key that its state dict has in the file. None where one is not there.
    """
    tensors: dict[str, Tensor] = {}
    layers: dict[Tensor, Made] = {}
    classes: set[tuple[str, str]] = set()
    places = []
    for part, key in parts.items():
        own = [state for state in found if state.place.rpartition(".")[2] == key]
        if len(own) != 1:
            return None
        # What DataParallel puts before all names; each network may have been wrapped by itself.
        names = {name: name.removeprefix("module.") for name in own[0].tensors}
        tensors |= {f"{part}.{names[name]}": tensor for name, tensor in own[0].tensors.items()}
        layers |= own[0].layers
        classes |= own[0].classes
        places.append(own[0].place)
    return State(" + ".join(places), tensors, layers, classes)


def stored_kind(value: Any) -> tuple[str, str | None] | None:
    """The kind of noise that training arguments in the file tell ("awgn", "hg", "mg"), and its law
    where they tell the level too.

    `noise_type`, and `train_noiseL`, one or two numbers of 255; in a table `args`, as DBSN's
    programs store them.
    """
    table = _arguments(value)
    kind = table.get("noise_type") if table is not None else None
    if table is None or not isinstance(kind, str) or kind not in _KINDS:
        return None
    given = table.get("train_noiseL")
    levels = given if isinstance(given, list | tuple) else [given]
    numbers = [
        float(level)
        for level in levels
        if isinstance(level, int | float) and not isinstance(level, bool) and 0 <= level <= 255
    ]
    short, law = _KINDS[kind]
    if len(numbers) != len(levels) or len(numbers) != (2 if short == "hg" else 1):
        return short, None
    more = f":delta={numbers[1]:g}" if short == "hg" else ""
    return short, f"{law}:{numbers[0]:g}{more}"


_KINDS = {
    "gaussian": ("awgn", "gaussian"),
    "poisson_gaussian": ("hg", "heteroscedastic"),
    "multivariate_gaussian": ("mg", "multivariate"),
}


def _arguments(value: Any) -> dict[Any, Any] | None:
    """The training arguments that a checkpoint holds under `args`."""
    holder = value.get("args") if isinstance(value, dict) else None
    table = holder.attributes if isinstance(holder, Made) else holder
    return table if isinstance(table, dict) else None


def stored_sigma(value: Any) -> tuple[float, float] | None:
    """The range of noise (standard deviation, of 255) that training arguments in the file tell.

    `min_noise` and `max_noise`, in any order, or `noise_std` where the training was for one
    (`noise_mode` "S"); in a table `args`, as bias_free_denoising stores them.
    """
    table = _arguments(value)
    if table is None:
        return None
    ends = [table.get("min_noise"), table.get("max_noise")]
    if table.get("noise_mode") == "S":
        ends = [table.get("noise_std")] * 2
    found = [e for e in ends if isinstance(e, int | float) and not isinstance(e, bool)]
    numbers = [float(e) for e in found if 0 <= e <= 255]
    return (min(numbers), max(numbers)) if len(numbers) == 2 else None
