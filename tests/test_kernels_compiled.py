"""The kernels with compiled loops, against the definitions; and what happens without numba."""

from __future__ import annotations

import _ctypes  # a library without a BLAS in it
import builtins
import subprocess
import sys
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from minigrad.layers import conv
from minigrad.windows import Window
from tests.kernel_checks import (
    check,
    convolution,
    few,
    largest,
    layouts,
    noise,
    pairs,
    seeds,
    shapes,
    windows,
)

pytest.importorskip("minigrad.kernels")
pytest.importorskip("numba")

from minigrad.kernels import compiled, numba_blas, numba_direct, numba_winograd, numpy_register


@few
@given(
    shapes,
    st.tuples(*[st.integers(0, 5)] * 4),
    pairs,
    st.integers(1, 5),
    st.booleans(),
    layouts,
    st.sampled_from([1, 300, 3000, 1 << 21]),
    seeds,
)
@example((1, 2, 1, 1), (4, 4, 4, 4), (4, 4), 2, True, "rows", 1, 0)
@example((3, 2, 4, 2), (5, 0, 0, 5), (1, 1), 3, True, "gaps", 1 << 21, 0)
@example((1, 1, 1, 3), (2, 0, 2, 0), (1, 2), 1, False, "rows", 1, 0)
def test_winograd(
    shape: tuple[int, int, int, int],
    padding: tuple[int, int, int, int],
    dilation: tuple[int, int],
    k: int,
    has_bias: bool,
    layout: str,
    block: int,
    seed: int,
) -> None:
    rng, size = np.random.default_rng(seed), shape[2:]
    window = Window((3, 3), (1, 1), padding, dilation)
    x, weight, bias, dy = convolution(shape, window, k, has_bias, layout, rng)
    with pytest.MonkeyPatch.context() as patch:
        for name, value in (
            ("CHANNELS", 1),
            *(("SIDE", 0), ("WIDE", 0), ("DILATED", 0), ("TILES", 1)),
        ):
            patch.setattr(numba_winograd, name, value)
        patch.setattr(numba_winograd, "SCRATCH", block)
        for function, args in (
            (conv.conv2d, (x, weight, bias, window, 1)),
            (conv.conv2d_dx, (dy, weight, window, 1, size)),
            (conv.conv2d_dw, (dy, x, window, 1)),
            (conv.conv2d_vjp, (dy, x, weight, window, 1)),
        ):
            # The transforms add pixels and taps up that not every output reads.
            check(function, *args, terms=tuple(map(largest, args)))


@few
@given(
    shapes,
    windows(),
    st.integers(1, 5),
    st.booleans(),
    layouts,
    st.sampled_from([1, 100, 1 << 20]),
    seeds,
)
@example((1, 2, 1, 1), Window((3, 3), (2, 3), (4, 4, 4, 4)), 2, True, "rows", 1, 0)
@example((2, 3, 9, 9), Window((4, 4), (3, 2), (1, 2, 0, 3), (2, 1)), 2, False, "gaps", 100, 0)
def test_direct(
    shape: tuple[int, int, int, int],
    window: Window,
    k: int,
    has_bias: bool,
    layout: str,
    room: int,
    seed: int,
) -> None:
    rng, size = np.random.default_rng(seed), shape[2:]
    x, weight, bias, dy = convolution(shape, window, k, has_bias, layout, rng, fewer=True)

    def always(*_: Any) -> Any:
        return numba_direct

    def never(*_: Any) -> None:
        return None

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(numba_direct, "SCRATCH", room)
        patch.setattr(numba_direct, "PIXELS", 1)
        patch.setattr(numpy_register, "direct", always)
        patch.setattr(numpy_register, "winograd", never)
        check(conv.conv2d, x, weight, bias, window, 1)
        check(conv.conv2d_dx, dy, weight, window, 1, size)
        check(conv.conv2d_dw, dy, x, window, 1)


@pytest.mark.parametrize(
    "sizes",
    [(16, 32, 16, 64), (5, 67, 32, 32), (2, 64, 61, 64), (3, 30, 33, 24)],
)
@pytest.mark.parametrize(
    "window",
    [
        Window((3, 3), (1, 1), (1, 1, 1, 1)),
        Window((3, 3), (1, 1), (2, 2, 2, 2), (2, 2)),
        Window((3, 3), (2, 2), (1, 1, 1, 1)),
    ],
    ids=["plain", "dilated", "strided"],
)
def test_float32_at_sizes_of_the_zoo(sizes: tuple[int, int, int, int], window: Window) -> None:
    n, c, side, k = sizes
    rng, size = np.random.default_rng(0), window.count(side, side)
    x, dy = noise(rng, (n, c, side, side)), noise(rng, (n, k, *size))
    weight, bias = noise(rng, (k, c, 3, 3)), noise(rng, (k,))
    check(conv.conv2d, x, weight, bias, window, 1)
    check(conv.conv2d_dx, dy, weight, window, 1, (side, side))
    check(conv.conv2d_dw, dy, x, window, 1)


@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("slices", [np.s_[:, 3:20], np.s_[::2], np.s_[:, ::-1], np.s_[..., 1:]])
def test_weights_that_are_views(slices: Any, stride: int) -> None:
    """Part of a larger array, in the sizes that are copied in squares."""
    rng, window = np.random.default_rng(0), Window((2, 2), (stride, stride), (1, 1, 1, 1))
    weight = noise(rng, (40, 24, 2, 3) if slices == np.s_[..., 1:] else (40, 24, 2, 2))[slices]
    k, c = weight.shape[:2]
    x, size = noise(rng, (2, c, 9, 20)), window.count(9, 20)
    check(conv.conv2d, x, weight, None, window, 1)
    check(conv.conv2d_dx, noise(rng, (2, k, *size)), weight, window, 1, (9, 20))


@pytest.mark.parametrize("stride", [1, 2])
def test_results_do_not_depend_on_the_threads(stride: int) -> None:
    from threadpoolctl import threadpool_limits

    rng, window = np.random.default_rng(0), Window((3, 3), (stride, stride), (1, 1, 1, 1))
    x = rng.standard_normal((8, 32, 40, 40)).astype(np.float32)
    weight = rng.standard_normal((24, 32, 3, 3)).astype(np.float32)
    results = []
    for threads in (1, 2):
        with threadpool_limits(threads, user_api="blas"):
            y = conv.conv2d(x, weight, None, window, 1)
            dx = conv.conv2d_dx(y, weight, window, 1, (40, 40))
            results.append((y, dx, conv.conv2d_dw(y, x, window, 1)))
    for name, one, two in zip(("y", "dx", "dw"), *results, strict=True):
        np.testing.assert_array_equal(one, two, err_msg=name)


# --- with and without numba -----------------------------------------------------------------------


def test_forms_by_availability(monkeypatch: pytest.MonkeyPatch) -> None:
    window = Window((3, 3), (1, 1), (1, 1, 1, 1))
    taps = numpy_register.taps_of(window)
    chosen = []
    for there in (True, False):
        monkeypatch.setattr(compiled, "available", lambda there=there: there)
        chosen += [
            numpy_register.winograd(taps, (64, 64, 3, 3), (16, 16)),
            numpy_register.winograd(taps, (32, 32, 3, 3), (16, 16)),
            numpy_register.winograd(taps, (32, 32, 3, 3), (64, 64)),
            numpy_register.direct(window, (32, 32, 3, 3)),
            numpy_register.direct(window, (32, 3, 3, 3)),
            numpy_register.direct(Window((3, 3), (2, 2)), (3, 3, 3, 3)),
            numpy_register.direct(Window((4, 4), (2, 2)), (3, 3, 4, 4)),
            numpy_register.direct(Window((4, 4), (2, 2), (0, 0, 0, 0), (2, 1)), (3, 3, 4, 4)),
        ]
    names = [form and form.__name__.rpartition(".")[2] for form in chosen]
    assert names == [
        *("numba_winograd", None, "numba_winograd"),
        *("numba_direct", None, "numba_direct", "numpy_phases", "numba_direct"),
        *(None, None, "numpy_winograd"),
        *(None, None, "numpy_phases", "numpy_phases", None),
    ]


def test_another_blas_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    taps = numpy_register.taps_of(Window((3, 3), (1, 1), (1, 1, 1, 1)))
    assert numba_blas.FOUND
    monkeypatch.setattr(numba_blas, "FOUND", False)
    assert numpy_register.winograd(taps, (64, 64, 3, 3), (16, 16)) is None
    for path in (None, _ctypes.__file__):
        monkeypatch.setattr(numba_blas, "blas_file", lambda path=path: path)
        assert not numba_blas._register()


def test_numba_that_does_not_fit_is_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    imported = builtins.__import__

    def refuse(name: str, *args: Any, **kwargs: Any) -> Any:
        if name == "numba":
            raise ImportError("Numba needs NumPy 2.5 or less. Got NumPy 9.9.")
        return imported(name, *args, **kwargs)

    assert compiled.available.__wrapped__()
    monkeypatch.setattr(builtins, "__import__", refuse)
    assert not compiled.available.__wrapped__()
    monkeypatch.undo()
    monkeypatch.setenv(compiled.VARIABLE, "0")
    assert not compiled.available.__wrapped__()
    monkeypatch.delenv(compiled.VARIABLE)
    monkeypatch.setattr(compiled, "find_spec", lambda _: None)
    assert not compiled.available.__wrapped__()


def test_loops_without_a_place_for_a_cache(monkeypatch: pytest.MonkeyPatch) -> None:
    import numba

    from minigrad.kernels.numba_loops import loop

    made = numba.njit

    def refuse(*functions: Any, **how: Any) -> Any:
        if how.pop("cache", False):
            raise RuntimeError("cannot cache function: no locator available")
        return made(*functions, **how)

    monkeypatch.setattr(numba, "njit", refuse)
    assert loop(lambda x: x + 1)(2) == 3


def test_the_library_does_not_import_numba() -> None:
    code = "import sys, minigrad, zoo; print('numba' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
