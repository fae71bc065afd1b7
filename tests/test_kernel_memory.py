"""Memory that the kernels use again: never twice at a time, never for long, never read stale."""

from __future__ import annotations

import gc
import os
import threading
from collections import OrderedDict

import numpy as np
import pytest

import zoo
from minigrad import MSELoss
from minigrad.backend import definitions_only
from minigrad.kernels import numpy_memory
from minigrad.kernels.numpy_memory import empty, empty_like

FLOAT = np.dtype(np.float32)


@pytest.fixture(autouse=True)
def nothing_idle(monkeypatch):
    monkeypatch.setattr(numpy_memory, "_idle", OrderedDict())
    monkeypatch.setattr(numpy_memory, "_waiting", 0)
    monkeypatch.setattr(numpy_memory, "SMALLEST", 1)


def test_memory_comes_back_when_the_last_view_is_gone():
    x = empty((4, 5), FLOAT)
    assert (x.shape, x.dtype, x.flags.c_contiguous, x.flags.writeable) == (
        (4, 5),
        FLOAT,
        True,
        True,
    )
    address, view = x.ctypes.data, x[1:, ::2].T
    del x
    assert empty((4, 5), FLOAT).ctypes.data != address  # the view is still in use
    view[...] = 1
    del view
    gc.collect()
    assert empty((20,), FLOAT).ctypes.data == address


def test_arrays_alive_at_a_time_never_overlap():
    rng, alive = np.random.default_rng(0), []
    for i in range(300):
        x = empty((int(rng.integers(1, 4)), 50), FLOAT)
        x[...] = i
        alive.append((i, x))
        if len(alive) > 8:
            del alive[rng.integers(len(alive))]
        assert all((x == i).all() for i, x in alive)


def test_what_waits_is_bounded_and_the_longest_unused_goes_first(monkeypatch):
    monkeypatch.setattr(numpy_memory, "IDLE", 1000)
    for size in (100, 200, 300, 400):
        empty((size,), np.dtype(np.uint8))
    assert numpy_memory._waiting == 1000
    empty((100,), np.dtype(np.uint8))  # used again: now the latest
    empty((250,), np.dtype(np.uint8))
    held = {size: len(waiting) for size, waiting in numpy_memory._idle.items() if waiting}
    assert held == {400: 1, 100: 1, 250: 1}
    assert numpy_memory._waiting == 750
    assert empty((1001,), np.dtype(np.uint8)).base is None  # too large to keep


@pytest.mark.parametrize("axes", [(0, 1, 2, 3), (0, 2, 3, 1), (3, 1, 0, 2)])
def test_the_order_of_axes_is_kept(axes):
    x = np.zeros((2, 3, 4, 5), FLOAT).transpose(axes)
    y = empty_like(x)
    assert (y.shape, y.dtype, y.strides) == (x.shape, x.dtype, x.strides)


def test_no_kernel_reads_what_it_did_not_write(monkeypatch):
    """Memory is given back full of NaN; the network's numbers stay what the definitions give."""
    take = numpy_memory._take

    def poisoned(size: int) -> np.ndarray:
        memory = take(size)
        memory[...] = 255  # NaN, as float32 and as float64
        return memory

    monkeypatch.setattr(numpy_memory, "_take", poisoned)
    rng = np.random.default_rng(0)
    for name, arguments in (("n2n-prelu-unet", {"features": 4}), ("n2n-simple", {"features": 9})):
        model, loss = zoo.create(name, **arguments, rng=rng, dtype=np.float64), MSELoss()
        x, target = rng.uniform(size=(2, 3, 3, 32, 32))

        def gradients(model=model, loss=loss, x=x, target=target):
            model.zero_grad()
            y, vjp = model.forward_and_vjp(x)
            _, loss_vjp = loss.forward_and_vjp(y, target)
            dx = vjp(loss_vjp(np.float64(1.5))[0])
            return [y.copy(), dx.copy(), *(p.grad.copy() for p in model.parameters())]

        with definitions_only():
            expected = gradients()
        for _ in range(2):
            for a, b in zip(gradients(), expected, strict=True):
                np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-12)


def test_many_threads():
    wrong = []

    def work(value: int) -> None:
        for _ in range(300):
            x = empty((64,), FLOAT)
            x[...] = value
            if (x != value).any():
                wrong.append(value)

    threads = [threading.Thread(target=work, args=(i,)) for i in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong
    assert numpy_memory._waiting == sum(s * len(w) for s, w in numpy_memory._idle.items())


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this system")
def test_a_forked_child_does_not_wait_for_its_parents_lock():
    with numpy_memory._lock:
        child = os.fork()
        if child == 0:
            empty((64,), FLOAT)
            os._exit(0)
        assert os.waitpid(child, 0)[1] == 0
