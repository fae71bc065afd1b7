"""What every test of a kernel needs: random geometry, and the comparison with the definition."""

from __future__ import annotations

from typing import Any

import numpy as np
from hypothesis import HealthCheck, assume, settings
from hypothesis import strategies as st

from minigrad.backend import Replaceable
from minigrad.windows import Window

few = settings(
    max_examples=150,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
)
pairs = st.tuples(st.integers(1, 4), st.integers(1, 4))
shapes = st.tuples(st.integers(1, 3), st.integers(1, 5), st.integers(1, 11), st.integers(1, 11))
seeds = st.integers(0, 2**32 - 1)
layouts = st.sampled_from(["rows", "channels last", "reversed", "gaps"])


@st.composite
def windows(draw: Any) -> Window:
    kernel = draw(pairs)
    kind = draw(st.sampled_from(["any", "unit", "touching"]))
    if kind == "touching":
        return Window(kernel, kernel)
    padding = draw(st.tuples(*[st.integers(0, 4)] * 4))
    dilation = draw(st.one_of(st.just((1, 1)), pairs))
    return Window(kernel, (1, 1) if kind == "unit" else draw(pairs), padding, dilation)


def noise(rng: np.random.Generator, shape: tuple[int, ...], layout: str = "rows") -> np.ndarray:
    """Normal numbers, float64, read-only, in one of several memory layouts."""
    x = rng.standard_normal(shape)
    if layout == "channels last" and len(shape) == 4:
        x = np.ascontiguousarray(x.transpose(0, 2, 3, 1)).transpose(0, 3, 1, 2)
    elif layout == "reversed":
        x = np.ascontiguousarray(x[..., ::-1])[..., ::-1]
    elif layout == "gaps":
        wide = np.empty((*shape[:-1], 2 * shape[-1]))
        wide[..., ::2] = x
        x = wide[..., ::2]
    x.flags.writeable = False
    return x


def as_float32(args: tuple[Any, ...]) -> tuple[Any, ...]:
    """The same arguments with every float64 array rounded, its order in memory kept."""
    out = []
    for a in args:
        if isinstance(a, np.ndarray) and a.dtype == np.float64:
            a = a.astype(np.float32, order="K")
            a.flags.writeable = False
        out.append(a)
    return tuple(out)


def as_tuple(result: Any) -> tuple[np.ndarray, ...]:
    return result if isinstance(result, tuple) else (result,)


def check(
    function: Replaceable[..., Any],
    *args: Any,
    copies: bool = False,
    terms: tuple[Any, ...] | None = None,
) -> None:
    """Float64 to rounding; float32 within four times the definition's own error, plus one rounding
    of the largest sum of absolute terms; deterministic; inputs untouched.

    `terms`: arguments for which the definition gives the sums of absolute terms (default: all
    absolute values). `copies`: numbers are selected, so nothing is rounded.
    """
    if terms is None:
        terms = tuple(abs(a) if isinstance(a, np.ndarray) else a for a in args)
    assert function.table, f"{function.__name__} has no kernel"
    untouched = [a.copy() if isinstance(a, np.ndarray) else a for a in args]
    exact = as_tuple(function.definition(*args))
    sums = as_tuple(function.definition(*terms))
    first, again = as_tuple(function(*args)), as_tuple(function(*args))
    scales = [np.abs(t[np.isfinite(t)]).max(initial=0) for t in sums]
    for e, f, g, scale in zip(exact, first, again, scales, strict=True):
        assert (f.shape, f.dtype) == (e.shape, e.dtype)
        assert np.array_equal(f, g)
        np.testing.assert_allclose(f, e, rtol=1e-12, atol=1e-14 * scale)
        for a in args:
            if isinstance(a, np.ndarray):
                assert not np.shares_memory(a, f)
    for a, b in zip(args, untouched, strict=True):
        assert np.array_equal(a, b) if isinstance(a, np.ndarray) else a == b

    small = as_float32(args)
    wide = tuple(
        a.astype(np.float64) if isinstance(a, np.ndarray) and a.dtype == np.float32 else a
        for a in small
    )
    exact = as_tuple(function.definition(*wide))
    plain, fast = as_tuple(function.definition(*small)), as_tuple(function(*small))
    for e, p, f, scale in zip(exact, plain, fast, scales, strict=True):
        assert f.dtype == p.dtype
        if copies:
            assert np.array_equal(f, p)
            continue
        worst, own = (np.abs(v - e).max(initial=0) for v in (f, p))
        assert worst <= 4 * own + 2.0**-23 * scale, (
            f"float32 error {worst:.3g}, definition {own:.3g}"
        )


def convolution(
    shape: tuple[int, int, int, int],
    window: Window,
    k: int,
    has_bias: bool,
    layout: str,
    rng: np.random.Generator,
    fewer: bool = False,
) -> tuple[np.ndarray, np.ndarray, np.ndarray | None, np.ndarray]:
    """x, weight, bias and dy of a convolution; dy of `fewer` windows than fit, if wanted."""
    count = window.count(*shape[2:])
    assume(min(count) > 0)
    x, weight = noise(rng, shape, layout), noise(rng, (k, shape[1], *window.kernel))
    bias = noise(rng, (k,)) if has_bias else None
    if fewer:
        m, q = (int(rng.integers(max(1, n - 2), n + 1)) for n in count)
        count = m, q
    return x, weight, bias, noise(rng, (shape[0], k, *count), layout)


def largest(arg: Any) -> Any:
    """An array of the largest absolute value alone."""
    return np.full_like(arg, np.abs(arg).max()) if isinstance(arg, np.ndarray) else arg
