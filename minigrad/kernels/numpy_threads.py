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
from contextlib import contextmanager
from contextvars import copy_context
from functools import partial
from math import prod
from queue import SimpleQueue
from typing import Any, Protocol, TypeAlias, TypeVar

import numpy as np

T = TypeVar("T")
Tasks: TypeAlias = "SimpleQueue[Callable[[], None]]"

KEPT = 64 << 20  # bytes: of the layouts of a thread, and of a scratch buffer

_lock = threading.Lock()
_inside = 0  # calls of `share` that hold the BLAS at one thread
_before = 1  # threads that the BLAS had before the first of them
_blas: Any = None
_waiting: list[Tasks] = []
_local = threading.local()


def _forget_threads() -> None:
    """A forked child has none of its parent's threads."""
    global _waiting, _inside, _lock
    _waiting, _inside, _lock = [], 0, threading.Lock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_threads)


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


def blas_file() -> str | None:
    """Where the BLAS of NumPy lies; None where it could not be told."""
    global _blas
    with _lock:
        if _blas is None:
            _blas = _find_blas()
    return getattr(_blas, "filepath", None)


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
        # A step of a range iterator is one step under the interpreter lock: no job goes twice.
        order = iter(range(jobs))

        def run() -> None:
            _local.busy = True
            try:
                for j in order:
                    answers[j] = work(j)
            except BaseException:
                for _ in order:  # nobody takes another job
                    pass
                raise
            finally:
                _local.busy = False

        ended: SimpleQueue[BaseException | None] = SimpleQueue()

        def help_out() -> None:
            try:
                run()
            except BaseException as error:
                ended.put(error)
            else:
                ended.put(None)

        for tasks in _helpers(threads - 1):
            # In the caller's context, so that its `np.errstate` holds in all threads.
            tasks.put(partial(copy_context().run, help_out))
        try:
            run()
        finally:
            errors = [ended.get() for _ in range(threads - 1)]
        for error in errors:
            if error is not None:
                raise error
        return answers


def runs(count: int, most: int) -> list[slice]:
    """0..count-1 in at most `most` runs, about equal: jobs that sum what they make, so that few
    large arrays are held at once.
    """
    each = -(-count // most)
    return [slice(a, a + each) for a in range(0, count, each)]


def alone(work: Callable[[], T]) -> T:
    """`work()` with the BLAS at one thread. A thread that the BLAS once woke spins for tens of
    milliseconds on a core that the next layer needs.
    """
    with _single_threaded_blas():
        return work()


def _helpers(count: int) -> list[Tasks]:
    """The inboxes of `count` threads that wait for work; they are started once.

    A `ThreadPoolExecutor` does the same in some ten times the time a task, which shows: a training
    step of a small network shares a hundred layers of half a millisecond.
    """
    with _lock:
        while len(_waiting) < count:
            tasks: Tasks = SimpleQueue()
            name = f"minigrad-{len(_waiting)}"
            threading.Thread(target=_wait_for_work, args=(tasks,), name=name, daemon=True).start()
            _waiting.append(tasks)
        return _waiting[:count]


def _wait_for_work(tasks: Tasks) -> None:
    while True:
        tasks.get()()


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
        buffer = np.empty(size, np.uint8)
        if size <= KEPT:
            held[slot] = buffer
    return buffer[:size].view(dtype).reshape(shape)


class Held(Protocol):
    """Something made of memory."""

    nbytes: int


H = TypeVar("H", bound=Held)


def kept(key: Hashable, make: Callable[[], H]) -> H:
    """What this thread made for `key` before, else `make()`.

    At most `KEPT` bytes are held for a thread; beyond that all are dropped and made again.
    """
    held: dict[Hashable, Any] = _local.__dict__.setdefault("kept", {})
    found: H | None = held.get(key)
    if found is None:
        found = make()
        if found.nbytes + sum(other.nbytes for other in held.values()) > KEPT:
            held.clear()
        if found.nbytes <= KEPT:
            held[key] = found
    return found
