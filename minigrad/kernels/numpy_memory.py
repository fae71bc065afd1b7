"""Arrays whose memory is used again.

The first touch of fresh memory costs about 2 microseconds for each 4 KiB (the system finds a page
and zeroes it), more than an elementwise layer spends on computing there. A training step makes and
drops the same shapes over and over, so what it drops is kept here and handed out again.

An array made here is an ordinary one that does not own its memory: the memory comes back when the
array and all its views are gone. At most `IDLE` bytes wait for a user; the sizes that were not
asked for the longest are given up first.
"""

from __future__ import annotations

import os
import threading
from collections import OrderedDict
from collections.abc import Callable
from math import prod
from typing import Any

import numpy as np

SMALLEST = 1 << 16  # bytes; below, the system's own heap is reused anyway
IDLE = 256 << 20  # bytes

_lock = threading.RLock()  # reentrant: a collection of garbage within may give memory back
_idle: OrderedDict[int, list[np.ndarray]] = OrderedDict()  # by size, the latest used last
_waiting = 0  # bytes in `_idle`


def _renew_lock() -> None:
    """A forked child has none of its parent's threads, one of which may hold the lock."""
    global _lock
    _lock = threading.RLock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_renew_lock)


def empty(shape: tuple[int, ...], dtype: np.dtype[Any]) -> np.ndarray:
    """As `numpy.empty`."""
    size = prod(shape) * dtype.itemsize
    if not SMALLEST <= size <= IDLE:
        return np.empty(shape, dtype)
    return np.asarray(_Lease(size)).view(dtype).reshape(shape)


def empty_like(x: np.ndarray) -> np.ndarray:
    """As `numpy.empty_like`: the axes lie in memory in the order of those of `x`."""
    return in_order_of(x, lambda shape: empty(shape, x.dtype))


def in_order_of(x: np.ndarray, make: Callable[[tuple[int, ...]], np.ndarray]) -> np.ndarray:
    """`make(shape)`, C-contiguous, turned so that it has the shape of `x` and its order of axes."""
    order = sorted(range(x.ndim), key=lambda axis: -abs(x.strides[axis]))
    y = make(tuple(x.shape[axis] for axis in order))
    return y.transpose(sorted(range(x.ndim), key=order.__getitem__))


class _Lease:
    """Memory as long as somebody uses it: the base of the arrays on it."""

    def __init__(self, size: int) -> None:
        self.memory = _take(size)

    @property
    def __array_interface__(self) -> dict[str, Any]:
        return self.memory.__array_interface__

    def __del__(self) -> None:
        _give_back(self.memory)


def _take(size: int) -> np.ndarray:
    global _waiting
    with _lock:
        waiting = _idle.get(size)
        if waiting:
            _idle.move_to_end(size)
            _waiting -= size
            return waiting.pop()
    return np.empty(size, np.uint8)


def _give_back(memory: np.ndarray) -> None:
    global _waiting
    with _lock:
        _idle.setdefault(memory.size, []).append(memory)
        _waiting += memory.size
        while _waiting > IDLE:
            size, oldest = next(iter(_idle.items()))
            if oldest:
                oldest.pop()
                _waiting -= size
            if not oldest:
                del _idle[size]
