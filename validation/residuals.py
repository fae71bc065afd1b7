"""What a vjp holds: every array that is reachable from its closure."""

from __future__ import annotations

import gc
import types
from typing import Any

import numpy as np

from minigrad import Module


def held_arrays(vjp: Any) -> list[np.ndarray]:
    """The arrays reachable from `vjp` over whatever Python objects, each once.

    Followed are closures, default arguments, containers, attributes, slots, bound methods, partial
    functions and iterators: all that the garbage collector follows, but not a function's globals.
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
    if isinstance(item, types.FunctionType):  # its globals are not its own
        return [item.__closure__, item.__defaults__, item.__kwdefaults__, item.__dict__]
    return gc.get_referents(item)
