"""NumPy against CuPy, over the rows of the certificate."""

from __future__ import annotations

from collections.abc import Callable
from fnmatch import fnmatch
from typing import Any

import numpy as np

from minigrad import resolve_device, to_device, to_host
from minigrad.wiring import as_tuple
from validation.against_torch import Results, magnitudes, results_of
from validation.against_torch import ours as on_host
from validation.agreement import relative_error
from validation.cases import Row, Sample, cotangents
from validation.draw import RandomDraw
from validation.report import Case, failed, gather, silent
from validation.rows import ROWS
from validation.tolerances import DEVICE_RTOL

EXAMPLES = 20


def run_devices(only: str | None = None, say: Callable[[str], None] = silent) -> list[Case]:
    """Compare each layer on the CPU and on the GPU, in float32 and float64.

    `only` is a pattern for class names.

    Raises:
        DeviceError: there is no usable GPU.
    """
    resolve_device("cuda")
    rows = [row for row in ROWS.values() if only is None or fnmatch(row.name, only)]
    return gather((_case(row, dtype) for row in rows for dtype in (np.float32, np.float64)), say)


def on_device(sample: Sample, dtype: Any, device: str = "cuda") -> Results:
    """What the layer computes on `device`, brought back to the host."""
    module = sample.module(dtype).to(device)
    xs = [to_device(x, device) for x in sample.inputs(dtype)]
    before = [x.copy() for x in xs]
    y, vjp = module.forward_and_vjp(*xs)
    ys = as_tuple(y)
    dys = cotangents(tuple(to_host(y) for y in ys), sample.seed)
    dxs = as_tuple(vjp(*(to_device(np.asarray(dy), device) for dy in dys)))
    # CuPy arrays have no write flag: what was received is compared with a copy.
    for i, (x, copy) in enumerate(zip(xs, before, strict=True)):
        same = np.array_equal(to_host(x), to_host(copy), equal_nan=True)
        assert same, f"{sample.name}: input {i} was written"
    return results_of(module, ys, dxs)


def device_error(sample: Sample, dtype: Any, device: str = "cuda") -> float:
    """The largest difference of the two devices relative to the magnitude; raises
    `AssertionError` where it is above the tolerance, or where names, shapes or dtypes differ.
    """
    here, there = on_host(sample, dtype), on_device(sample, dtype, device)
    sizes = magnitudes(sample)
    allowed = DEVICE_RTOL[np.dtype(dtype).name]
    assert here.keys() == there.keys(), f"{sample.name}: {[*here]}, on the GPU {[*there]}"
    worst = 0.0
    for name, a in here.items():
        b = there[name]
        what = f"{sample.name}: {name}, CPU against GPU"
        assert a.dtype == b.dtype, f"{what}: {a.dtype}, {b.dtype}"
        error = relative_error(b, a, sizes[name], what=what)
        assert error <= allowed, (
            f"{sample.name}: {name}: error {error:.2e} of the magnitude, allowed {allowed:.1e}"
        )
        worst = max(worst, error)
    return worst


def _case(row: Row, dtype: Any) -> Case:
    draw = RandomDraw(0)
    samples = row.samples() + [row.sample(draw) for _ in range(EXAMPLES)]
    finite = [s for s in samples if s.values != "special"]
    case = Case(f"{row.name} {np.dtype(dtype).name}", True, figures={"samples": len(finite)})
    worst = 0.0
    for sample in finite:
        try:
            worst = max(worst, device_error(sample, dtype))
        except Exception as error:
            return failed(case, error, sample.name)
    case.figures["worst error"] = worst
    return case
