"""Work that threads share."""

from __future__ import annotations

import time

import numpy as np
import pytest
from threadpoolctl import threadpool_limits

from minigrad.kernels import numpy_threads


def test_shared_work_keeps_order_and_raises_what_a_job_raises() -> None:
    assert numpy_threads.share(lambda j: j * j, 9) == [j * j for j in range(9)]

    def fails(job: int) -> None:
        raise ZeroDivisionError(job)

    with pytest.raises(ZeroDivisionError):
        numpy_threads.share(fails, 4)


def test_a_failure_ends_the_other_threads_too() -> None:
    begun: list[int] = []

    def work(job: int) -> None:
        begun.append(job)
        time.sleep(0.01)
        assert job, "the first fails"

    with threadpool_limits(2, user_api="blas"), pytest.raises(AssertionError):
        numpy_threads.share(work, 1000)
    assert len(begun) < 100


def test_scratch_memory_belongs_to_a_thread_and_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(numpy_threads, "KEPT", 1000)
    for i in range(20):
        first = numpy_threads.kept(("test", i), lambda: np.zeros(50))
        assert numpy_threads.kept(("test", i), lambda: np.zeros(50)) is first
    held = numpy_threads._local.kept
    assert sum(buffer.nbytes for buffer in held.values()) <= 1000
