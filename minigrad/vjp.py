"""The vjp that a module returns: it can be called once, with cotangents that fit its outputs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from minigrad.backend import Array

Vjp = Callable[..., Any]
"""`vjp(*dys) -> dxs`: a cotangent or None per output in, one per input out."""


def as_tuple(x: Any) -> tuple[Any, ...]:
    """A tuple stays; anything else becomes a tuple of one."""
    return x if isinstance(x, tuple) else (x,)


def once(vjp: Vjp, module: object = None, y: Any = None) -> Vjp:
    """`vjp`, to be called one time, with cotangents that look like the outputs `y` of `module`.

    The closure is dropped before it is called, so that what it kept dies with the call even while
    the name is bound; a second call raises `RuntimeError` instead of returning a wrong or doubled
    gradient. A cotangent whose shape or dtype is not its output's raises `ValueError` before that:
    broadcasting would make a wrong gradient of it in silence.
    Keeps: shapes and dtypes of `y`, no array. Without `y` nothing is compared.
    """
    held: list[Vjp] = [vjp]
    forms = None if y is None else [(out.shape, out.dtype) for out in as_tuple(y)]
    owner = type(module).__name__

    def call(*dys: Array | None) -> Any:
        if not held:
            raise RuntimeError(
                "this vjp has been used: call forward_and_vjp again for a second pass"
            )
        if forms is not None:
            _check_cotangents(owner, forms, dys)
        return held.pop()(*dys)

    return call


def _check_cotangents(owner: str, forms: list[Any], dys: Sequence[Array | None]) -> None:
    if len(dys) != len(forms):
        raise ValueError(
            f"{owner}: vjp: expected {len(forms)} cotangents, one per output, got {len(dys)}"
        )
    for i, dy in enumerate(dys):
        if dy is None:
            continue
        shape, dtype = forms[i]
        try:
            fits = dy.shape == shape and dy.dtype == dtype
        except AttributeError:
            raise TypeError(
                f"{owner}: cotangent of output {i}: expected an array, got {type(dy).__name__}"
            ) from None
        if not fits:
            raise ValueError(
                f"{owner}: cotangent of output {i}: expected {dtype} {shape}, "
                f"got {dy.dtype} {dy.shape}"
            )
