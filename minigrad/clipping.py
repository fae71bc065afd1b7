"""Bounds for gradients, between the last vjp and the step of an optimiser.

    norm = clip_grad_norm(network.parameters(), 1.0)
    optimiser.step()

The gradients are changed in place, so their addresses stay. Nothing is read back to the host: the
norm is a 0-d array.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

import numpy as np

from minigrad.backend import Array, array_module
from minigrad.module import Parameter
from minigrad.optimiser import NOT_NEGATIVE, is_number

__all__ = ["clip_grad_norm", "clip_grad_value"]


def clip_grad_norm(
    parameters: Iterable[Parameter], max_norm: float, norm_type: float = 2.0
) -> Array:
    """Scale all gradients by min(1, max_norm / (norm + 1e-6)); returns the norm before that, 0-d.

    The norm is that of all gradients as one vector: (sum |d|^p)^(1/p) with p = `norm_type`, the
    largest |d| for infinity. Untouched parameters do not count. `max_norm` at infinity changes
    nothing.

    A norm that is infinite or NaN makes the gradients 0 and NaN: look at it before the step.
    PyTorch: `torch.nn.utils.clip_grad_norm_`.

    Raises:
        ValueError: `max_norm` is no number from 0, or `norm_type` none above 0.
    """
    if not _from_zero_to_infinity(max_norm):
        raise ValueError(f"clip_grad_norm: max_norm: expected a number >= 0, got {max_norm!r}")
    if not _from_zero_to_infinity(norm_type) or norm_type == 0:
        raise ValueError(f"clip_grad_norm: norm_type: expected a number > 0, got {norm_type!r}")
    gradients = [p.grad for p in parameters if p.touched and p.grad.size]
    if not gradients:
        return np.zeros((), np.float32)
    xp = array_module(*gradients)
    norm = _norm(xp, xp.stack([_norm(xp, d, norm_type) for d in gradients]), norm_type)
    factor = xp.minimum(float(max_norm) / (norm + 1e-6), 1)
    for d in gradients:
        d *= factor.astype(d.dtype)
    return norm


def clip_grad_value(parameters: Iterable[Parameter], clip_value: float) -> None:
    """Move every entry of every gradient into [-clip_value, clip_value]; NaN stays.

    PyTorch: `torch.nn.utils.clip_grad_value_`.

    Raises:
        ValueError: `clip_value` is no number from 0.
    """
    expected, holds = NOT_NEGATIVE
    if not holds(clip_value):
        raise ValueError(f"clip_grad_value: clip_value: expected {expected}, got {clip_value!r}")
    for p in parameters:
        if p.touched:
            d = p.grad
            array_module(d).clip(d, -float(clip_value), float(clip_value), out=d)


def _norm(xp: Any, d: Array, p: float) -> Array:
    """The p-norm of all entries of `d`, as a 0-d array of its dtype."""
    size = xp.abs(d)
    if p == math.inf:
        norm = size.max()
    elif p == 2:
        norm = xp.sqrt((size * size).sum())
    else:
        norm = (size**p).sum() ** (1 / p)
    return xp.asarray(norm, dtype=d.dtype)


def _from_zero_to_infinity(x: Any) -> bool:
    return (is_number(x) or x == math.inf) and x >= 0
