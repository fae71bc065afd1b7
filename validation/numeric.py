"""Checks without PyTorch: the vjp against differences, the adjoint identity, the kept bytes."""

from __future__ import annotations

import tracemalloc
import warnings

import numpy as np

from minigrad import check_adjoint, check_vjp
from minigrad.backend import definitions_only
from minigrad.gradcheck import Report
from minigrad.wiring import as_tuple
from validation.against_torch import check_float64, theirs
from validation.cases import Sample, Subject, Variant
from validation.residuals import held_arrays, held_bytes
from validation.tolerances import ADJOINT_RTOL, NUMERIC_ATOL, NUMERIC_RTOL, NUMERIC_STEP


def differences(subject: Subject) -> float:
    """The vjp against central differences of the forward, along random directions, float64.

    Returns the largest error as a part of what is allowed.
    """
    xs = subject.inputs(np.float64)
    report = check_vjp(
        subject.module(np.float64),
        *xs,
        step=NUMERIC_STEP,
        rtol=NUMERIC_RTOL,
        atol=NUMERIC_ATOL,
        directions=1,
        kinks=subject.kinks,
    )
    wrt = range(len(xs)) if subject.wrt is None else subject.wrt
    skipped = {f"input {i}" for i in range(len(xs)) if i not in wrt}
    assert report.skipped.keys() == skipped, (
        f"{subject.name}: no cotangent for {sorted(report.skipped)}, expected {sorted(skipped)}"
    )
    return _worst(report)


def adjoint(subject: Subject) -> float:
    """<A x, y> = <x, A' y> for a layer that is affine in its inputs; returns as `differences`."""
    module, xs = subject.module(np.float64), subject.inputs(np.float64)
    return _worst(check_adjoint(module, *xs, rtol=ADJOINT_RTOL, directions=2))


def _worst(report: Report) -> float:
    """The largest error as a part of what is allowed."""
    return max((row.part for row in report.rows), default=0.0)


def keeps(sample: Sample) -> int:
    """Rule 7: the vjp holds exactly the bytes that the layer's docstring names; returns them.

    Counted are all arrays reachable from the closure, kept inputs and outputs among them.
    """
    for dtype in (np.float32, np.float64):
        module, xs = sample.module(dtype), sample.inputs(dtype)
        y, vjp = module.forward_and_vjp(*xs)
        expected, held = sample.row.keeps(module, xs, as_tuple(y)), held_bytes(vjp)
        assert held == expected, f"{sample.name}: keeps {held} bytes, expected {expected}"
    return held


def keeps_traced(sample: Sample, slack: int = 32768) -> int:
    """Rule 7, from outside: what the allocator still holds when only the vjp is left.

    Kept inputs are not counted, since they were there before; small objects may use `slack` bytes.
    """
    module, xs = sample.module(np.float64), sample.inputs(np.float64)
    tracemalloc.start()
    try:
        with definitions_only():  # kernels have scratch of their own, which they use again
            y, vjp = module.forward_and_vjp(*xs)
        expected = sample.row.keeps(module, xs, as_tuple(y))
        del y
        held = tracemalloc.get_traced_memory()[0]
    finally:
        tracemalloc.stop()
    kept = held_arrays(vjp)
    expected -= sum(x.nbytes for x in xs if any(a is x for a in kept))
    assert held <= expected + slack, f"{sample.name}: {held} bytes alive, expected {expected}"
    return held


def empty_batch(sample: Sample) -> bool:
    """A batch of size 0 gives what PyTorch gives; returns False where PyTorch refuses it."""
    shapes = tuple((0, *shape[1:]) for shape in sample.settings.shapes)
    empty = Sample(sample.row, Variant(sample.settings.arguments, shapes), sample.seed)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            theirs(empty, np.float64)
        except (RuntimeError, IndexError):
            return False
        check_float64(empty)
    return True
