"""Images over threads, and the scratch memory of a thread.

NumPy releases the interpreter lock in copies, ufuncs and matrix products, so whole strips of a
layer (copy, product, sum) run side by side. Letting the BLAS split each product instead would leave
the copies on one core and pay for a barrier at every product.

The strips are chosen from shapes alone and their partial sums are added in strip order, so a result
has the same bits on any number of threads.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Hashable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from math import prod
from typing import Any, TypeVar

import numpy as np

T = TypeVar("T")

KEPT = 64 << 20  # bytes of layouts that a thread keeps

_lock = threading.Lock()
_inside = 0  # calls of `share` that hold the BLAS at one thread
_before = 1  # threads that the BLAS had before the first of them
_blas: Any = None
_pool: ThreadPoolExecutor | None = None
_local = threading.local()


def _forget_pool() -> None:
    """A forked child has none of its parent's threads."""
    global _pool, _inside, _lock
    _pool, _inside, _lock = None, 0, threading.Lock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_pool)


class _UnknownBlas:
    """Stands for a BLAS whose threads cannot be set: everything then runs in the calling thread."""

    num_threads = 1

    def set_num_threads(self, threads: int) -> None:
        """Nothing to set."""


def _find_blas() -> Any:
    """The handle of the BLAS that NumPy loaded (the one that `threadpoolctl` finds in NumPy's
    folder).
    """
    from threadpoolctl import ThreadpoolController

    found = ThreadpoolController().select(user_api="blas").lib_controllers
    home = os.path.dirname(os.path.dirname(np.__file__))
    ours = [library for library in found if library.filepath.startswith(home)] or found
    return ours[0] if ours else _UnknownBlas()


@contextmanager
def _single_threaded_blas() -> Iterator[int]:
    """Hold the BLAS at one thread; gives the number of threads it had, which is ours to use
    instead.
    """
    global _inside, _before, _blas
    with _lock:
        if _blas is None:
            _blas = _find_blas()
        if _inside == 0:
            _before = _blas.num_threads
            if _before > 1:
                _blas.set_num_threads(1)
        _inside += 1
        threads = _before
    try:
        yield threads
    finally:
        with _lock:
            _inside -= 1
            if _inside == 0 and threads > 1:
                _blas.set_num_threads(threads)


def share(work: Callable[[int], T], jobs: int) -> list[T]:
    """`[work(0), ..., work(jobs - 1)]`, on as many threads as the BLAS is allowed.

    Each thread takes the next job that nobody has taken; the answers are returned in the order of
    the jobs. The thread count is that of the BLAS (`OPENBLAS_NUM_THREADS`, `threadpool_limits`):
    there is no setting of our own.
    """
    if getattr(_local, "busy", False):  # a job that shares work itself does it alone
        return [work(j) for j in range(jobs)]
    with _single_threaded_blas() as threads:
        threads = min(threads, jobs)
        if threads <= 1:
            return [work(j) for j in range(jobs)]
        answers: list[Any] = [None] * jobs
        order = iter(
            range(jobs)
        )  # next() on a range iterator is one step under the interpreter lock

        def run() -> None:
            _local.busy = True
            try:
                for j in order:
                    answers[j] = work(j)
            finally:
                _local.busy = False

        others = [_executor().submit(run) for _ in range(threads - 1)]
        try:
            run()
        finally:
            for other in others:
                other.result()
        return answers


def _executor() -> ThreadPoolExecutor:
    global _pool
    if _pool is None:
        with _lock:
            if _pool is None:
                _pool = ThreadPoolExecutor(os.cpu_count(), thread_name_prefix="minigrad")
    return _pool


def scratch(slot: str, shape: tuple[int, ...], dtype: np.dtype[Any]) -> np.ndarray:
    """Uninitialised memory of this thread, the same for the same `slot` each time: never return it
    or a view of it.

    Fresh memory of a megabyte costs one page fault for every 4 KiB at its first touch: about a
    tenth of a strip.
    """
    size = prod(shape) * dtype.itemsize
    held: dict[str, np.ndarray] = _local.__dict__.setdefault("held", {})
    buffer = held.get(slot)
    if buffer is None or buffer.size < size:
        buffer = held[slot] = np.empty(size, np.uint8)
    return buffer[:size].view(dtype).reshape(shape)


def zeroed(key: Hashable, shape: tuple[int, ...], dtype: np.dtype[Any]) -> np.ndarray:
    """Memory of this thread that was zero at first and then is as the last user of `key` left it.

    For layouts whose zeros never move: whoever uses a key must always write the same places. At
    most `KEPT` bytes are held for a thread; beyond that all are dropped and start again from zero.
    """
    held: dict[Hashable, np.ndarray] = _local.__dict__.setdefault("zeroed", {})
    key = (key, shape, dtype.char)
    buffer = held.get(key)
    if buffer is None:
        buffer = np.zeros(shape, dtype)
        if buffer.nbytes + sum(other.nbytes for other in held.values()) > KEPT:
            held.clear()
        held[key] = buffer
    return buffer
