"""What a vjp holds: every array that is reachable from its closure."""

from __future__ import annotations

import types
from typing import Any

import numpy as np

from minigrad import Module


def held_arrays(vjp: Any) -> list[np.ndarray]:
    """The arrays reachable from `vjp` over closures, containers and attributes, each once.

    Modules are not entered: their parameters are not residuals. A view is replaced by the array
    that owns its memory, since that is what stays alive.
    """
    found: dict[int, np.ndarray] = {}
    seen: set[int] = set()
    waiting = [vjp]
    while waiting:
        item = waiting.pop()
        if id(item) in seen or isinstance(item, Module | types.ModuleType | type):
            continue
        seen.add(id(item))
        if isinstance(item, np.ndarray):
            owner = item
            while isinstance(owner.base, np.ndarray):
                owner = owner.base
            found[id(owner)] = owner
        else:
            waiting.extend(_parts(item))
    return list(found.values())


def held_bytes(vjp: Any) -> int:
    """The bytes of `held_arrays`."""
    return sum(a.nbytes for a in held_arrays(vjp))


def _parts(item: Any) -> list[Any]:
    if isinstance(item, types.FunctionType):
        # An empty cell is a name that was bound later or deleted.
        cells = [c.cell_contents for c in item.__closure__ or () if c != types.CellType()]
        return [*cells, *(item.__defaults__ or ())]
    if isinstance(item, types.MethodType):
        return [item.__self__, item.__func__]
    if isinstance(item, dict):
        return list(item.values())
    if isinstance(item, list | tuple | set | frozenset):
        return list(item)
    return list(getattr(item, "__dict__", {}).values())
