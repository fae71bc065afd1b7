"""The next batch, made while the network works on the present one."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor

from zoo.objectives.base import Batch


class Ahead:
    """Runs `batch(step)` one step ahead in a thread; `batch` is pure, so nothing changes."""

    def __init__(self, batch: Callable[[int], Batch]) -> None:
        self._batch = batch
        self._pool = ThreadPoolExecutor(max_workers=1)
        self._next: tuple[int, Future[Batch]] | None = None

    def __call__(self, step: int, last: bool = False) -> Batch:
        """The batch of `step`; the next one is begun unless this is the `last`."""
        held, self._next = self._next, None
        ready = held[1] if held and held[0] == step else self._pool.submit(self._batch, step)
        batch = ready.result()
        if not last:
            self._next = (step + 1, self._pool.submit(self._batch, step + 1))
        return batch

    def close(self) -> None:
        """End the thread."""
        self._pool.shutdown(cancel_futures=True)
