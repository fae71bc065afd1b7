"""One sample against its PyTorch twin: outputs, input cotangents, parameter cotangents."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from minigrad import Module, to_host
from minigrad.wiring import as_tuple
from validation.agreement import relative_error
from validation.cases import Arrays, Sample
from validation.tolerances import FLOAT64_ATOL, FLOAT64_RTOL, float32_allowed
from validation.twins.layers import TWINS

Results = dict[str, np.ndarray]
"""`output i`, `cotangent of input i`, `cotangent of <parameter>`, `buffer <name>` -> array."""

UNIT = 2.0**-23
"""Float32 errors are printed in this unit."""

_DTYPES = {np.float32: torch.float32, np.float64: torch.float64}


def ours(sample: Sample, dtype: Any) -> Results:
    """What the layer computes, from inputs and cotangents that cannot be written."""
    module, xs = sample.module(dtype), sample.inputs(dtype)
    _lock(xs)
    y, vjp = module.forward_and_vjp(*xs)
    dys = sample.cotangents(y)
    _lock(dys)
    return results_of(module, as_tuple(y), as_tuple(vjp(*dys)))


def results_of(module: Module, ys: tuple[Any, ...], dxs: tuple[Any, ...]) -> Results:
    """The outputs, the cotangents that there are, and the buffers, on the host."""
    results = {f"output {i}": to_host(y) for i, y in enumerate(ys)}
    results |= {f"cotangent of input {i}": to_host(d) for i, d in enumerate(dxs) if d is not None}
    parameters, state = module.named_parameters(), module.state_dict()
    results |= {f"cotangent of {name}": to_host(p.grad) for name, p in parameters.items()}
    buffers = [name for name in state if name not in parameters]
    return results | {f"buffer {name}": to_host(state[name]) for name in buffers}


def twin(sample: Sample, dtype: Any) -> torch.nn.Module:
    """The twin with the layer's parameters and buffers."""
    make = sample.row.twin or TWINS[sample.row.name]
    module = make(**sample.settings.arguments).to(_DTYPES[dtype])
    arrays = sample.module(dtype).state_dict()
    module.load_state_dict({k: torch.from_numpy(np.array(a)) for k, a in arrays.items()})
    return module.train(sample.settings.training)


def theirs(sample: Sample, dtype: Any) -> Results:
    """What PyTorch computes."""
    xs = sample.inputs(dtype)
    return _pull(sample, twin(sample, dtype), xs, absolute=False)


@dataclass(frozen=True)
class Reference:
    """What PyTorch says about a sample; the same for all layouts that keep its values.

    Attributes:
        exact: float64 results.
        single: float32 results.
        sizes: the magnitude of each result.
    """

    exact: Results
    single: Results
    sizes: dict[str, float]


def reference(sample: Sample) -> Reference:
    """PyTorch's results and the magnitudes, without its warnings."""
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")
        exact, single = theirs(sample, np.float64), theirs(sample, np.float32)
        return Reference(exact, single, magnitudes(sample, exact))


def magnitudes(sample: Sample, exact: Results | None = None) -> dict[str, float]:
    """The largest sum of absolute terms of each result, in float64.

    The twin is run on absolute values of inputs, parameters and cotangents, each input with the
    sign that makes all terms add (`Row.signs`), and again with the inputs as they are. The larger
    counts. `exact`: PyTorch's float64 results, where they are known.
    """
    xs = sample.inputs(np.float64)
    signs = sample.row.signs[: len(xs)] or (1,) * len(xs)
    absolute = tuple(np.abs(x) * s for x, s in zip(xs, signs, strict=True))
    found: dict[str, float] = {}
    module = twin(sample, np.float64)
    runs = [_pull(sample, module, xs, absolute=False) if exact is None else exact]
    if sample.row.absolute:
        with torch.no_grad():
            for parameter in module.parameters():
                parameter.abs_()
        runs += [_pull(sample, module, values, absolute=True) for values in (xs, absolute)]
    for results in runs:
        for name, array in results.items():
            size = float(np.abs(array[np.isfinite(array)]).max(initial=0))
            found[name] = max(found.get(name, 0.0), size)
    dys = sample.cotangents(runs[0]["output 0"])
    largest = max((float(np.abs(dy).max(initial=0)) for dy in dys), default=0.0)
    if sample.row.least is not None:
        for name, size in sample.row.least(sample.module(np.float64), xs).items():
            found[name] = max(found[name], largest * size)
    if sample.row.elementwise:
        which = sample.row.elementwise
        for i in which if isinstance(which, tuple) else (0,):
            found[f"cotangent of input {i}"] = max(found[f"cotangent of input {i}"], largest)
    return found


def check_float64(sample: Sample, known: Reference | None = None) -> dict[str, float]:
    """Raise `AssertionError` where a float64 result differs from PyTorch's; returns the errors.

    An error is relative to the magnitude; infinities and NaN must stand in the same places.
    """
    known = known or reference(sample)
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")
        mine = ours(sample, np.float64)
    _same_names(sample, mine, known.exact)
    errors = {}
    for name, expected in known.exact.items():
        actual, size = mine[name], known.sizes[name]
        errors[name] = relative_error(
            actual, expected, size, what=f"{sample.name}: {name}, against PyTorch"
        )
        atol = FLOAT64_ATOL * size
        close = np.isclose(actual, expected, rtol=FLOAT64_RTOL, atol=atol, equal_nan=True)
        assert close.all(), (
            f"{sample.name}: {name}: {int((~close).sum())} of {close.size} entries differ, "
            f"error {errors[name]:.2e} of the magnitude {size:.3g}; first at "
            f"{tuple(map(int, np.argwhere(~close)[0]))}"
        )
    return errors


def float32_errors(
    sample: Sample, known: Reference | None = None
) -> dict[str, tuple[float, float]]:
    """For each result: our and PyTorch's float32 error against float64, relative to the
    magnitude.

    Raises:
        AssertionError: results are missing or have other shapes, or infinities and NaN do not
            stand where PyTorch's float64 results have them.
    """
    known = known or reference(sample)
    mine = ours(sample, np.float32)
    _same_names(sample, mine, known.exact)
    errors = {}
    for name, exact in known.exact.items():
        what, size = f"{sample.name}: {name} in float32", known.sizes[name]
        errors[name] = (
            relative_error(mine[name], exact, size, what=what),
            relative_error(known.single[name], exact, size, what=f"{what} by PyTorch"),
        )
    return errors


def float32_kinds(sample: Sample, known: Reference | None = None) -> dict[str, tuple[float, float]]:
    """Raise `AssertionError` where a float32 result is infinite or NaN and PyTorch's is another
    thing. Where PyTorch has NaN, which its float64 need not have, anything goes. No errors.
    """
    known = known or reference(sample)
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")
        mine = ours(sample, np.float32)
    _same_names(sample, mine, known.single)
    for name, expected in known.single.items():
        actual, told = mine[name], ~np.isnan(expected)
        ours_odd, theirs_odd = (np.where(np.isfinite(a), 0, a)[told] for a in (actual, expected))
        assert np.array_equal(ours_odd, theirs_odd), (
            f"{sample.name}: {name} in float32: infinities and NaN stand in different places"
        )
    return {}


def _same_names(sample: Sample, mine: Results, expected: Results) -> None:
    assert mine.keys() == expected.keys(), f"{sample.name}: {[*mine]} instead of {[*expected]}"


def _lock(arrays: Arrays) -> None:
    for array in arrays:
        array.flags.writeable = False


def float32_verdict(worst: dict[str, tuple[float, float]]) -> str:
    """What is wrong with the worst float32 errors (ours, PyTorch's) of a layer, or nothing."""
    wrong = [
        f"{name}: error {mine / UNIT:.2f}, PyTorch {other / UNIT:.2f} (unit 2^-23)"
        for name, (mine, other) in worst.items()
        if not mine <= float32_allowed(other)
    ]
    return "; ".join(wrong)


def check_float32(sample: Sample) -> None:
    """Raise `AssertionError` where our float32 error on this sample alone is too large."""
    verdict = float32_verdict(float32_errors(sample))
    assert not verdict, f"{sample.name}: {verdict}"


def state_keys(sample: Sample) -> None:
    """Rule 13: parameters and buffers have PyTorch's names, order and shapes, and its first values
    where they are not random.
    """

    def theirs() -> Results:
        twin = (sample.row.twin or TWINS[sample.row.name])(**sample.settings.arguments)
        return {key: t.numpy() for key, t in twin.state_dict().items()}

    mine = {key: array.shape for key, array in sample.module(np.float64).state_dict().items()}
    reference = {key: array.shape for key, array in theirs().items()}
    assert mine == reference, f"{sample.name}: {mine}, PyTorch {reference}"
    ours = _constant(lambda: sample.row.layer(**sample.settings.arguments).state_dict())
    for key, array in _constant(theirs).items():
        start = ours.get(key, array)
        assert np.array_equal(start, array), f"{sample.name}: {key} starts at {start}, not {array}"


def _constant(make: Callable[[], Results]) -> Results:
    """The arrays that are the same each time."""
    first, second = make(), make()
    return {key: array for key, array in first.items() if np.array_equal(array, second[key])}


def _pull(sample: Sample, module: torch.nn.Module, xs: Arrays, absolute: bool) -> Results:
    wrt = range(len(xs)) if sample.wrt is None else sample.wrt
    inputs = [torch.from_numpy(np.array(x, order="C")) for x in xs]
    for i in wrt:
        inputs[i].requires_grad_()
    outputs = as_tuple(module(*inputs))
    dys = sample.cotangents(tuple(y.detach().numpy() for y in outputs))
    seeds = [torch.from_numpy(np.array(abs(dy) if absolute else dy, order="C")) for dy in dys]
    named = dict(module.named_parameters())
    wanted = [*(inputs[i] for i in wrt), *named.values()]
    gradients = torch.autograd.grad(outputs, wanted, seeds) if wanted else ()
    names = [f"input {i}" for i in wrt] + list(named)
    results = {f"output {i}": y.detach().numpy() for i, y in enumerate(outputs)}
    for name, gradient in zip(names, gradients, strict=True):
        results[f"cotangent of {name}"] = gradient.numpy()
    buffers = module.named_buffers()
    return results | {f"buffer {name}": b.numpy().copy() for name, b in buffers}
