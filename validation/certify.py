"""The certificate of a layer of one's own: `python -m validation certify path/to/file.py:MyLayer`.

With a twin the layer is held to what this project's layers are held to: every sample in every
memory layout and both precisions against PyTorch. Without one, its derivative is compared with
differences of its own forward, and its float32 results with its float64 ones. The contract is
checked either way.
"""

from __future__ import annotations

import importlib.util
import inspect
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np

from minigrad import Module
from validation.against_torch import UNIT, ours
from validation.agreement import relative_error
from validation.cases import Arrays, Row, Sample, Shape, Variant, evaluated
from validation.compare_layers import checked, grid
from validation.contract import CONTRACT
from validation.layouts import EVERY
from validation.numeric import adjoint, differences
from validation.report import Case, UsageError, failed, gather, silent
from validation.residuals import held_bytes

FLOAT32_ERROR = 1e-3
"""Without a twin: float32 results may differ from the float64 ones by this part of the largest."""


def load_object(spec: str, what: str) -> Any:
    """The object that `path/to/file.py:Name` names.

    Raises:
        UsageError: the form is another, the file cannot be read or run, or has no such name.
    """
    path_text, colon, name = spec.rpartition(":")
    path = Path(path_text)
    if not colon or path.suffix != ".py" or not name.isidentifier():
        raise UsageError(f"{what}: expected path/to/file.py:Name, got {spec!r}")
    if not path.is_file():
        raise UsageError(f"{what}: no file {path}")
    known_as = f"own_{path.stem}"  # a file may be called as a module that is in use
    module_spec = importlib.util.spec_from_file_location(known_as, path)
    assert module_spec is not None and module_spec.loader is not None
    module = importlib.util.module_from_spec(module_spec)
    sys.modules[known_as] = module  # dataclasses and pickles look their module up by name
    folder = str(path.parent.resolve())
    sys.path.insert(0, folder)
    try:
        module_spec.loader.exec_module(module)
    except (Exception, SystemExit) as error:  # a file that exits would end the run with its code
        del sys.modules[known_as]
        raise UsageError(f"{what}: {path} cannot be run: {error!r}") from error
    finally:
        with suppress(ValueError):
            sys.path.remove(folder)
    if not hasattr(module, name):
        raise UsageError(f"{what}: {path} has no {name}")
    return getattr(module, name)


def certify(
    layer: type[Module],
    shapes: Sequence[Shape],
    arguments: dict[str, Any],
    twin: Callable[..., Any] | None = None,
    bounds: tuple[float, float] | None = None,
    linear: bool = False,
    constant: Sequence[int] = (),
    examples: int = 20,
    seed: int = 0,
    say: Callable[[str], None] = silent,
) -> list[Case]:
    """Check a layer on inputs of these shapes, with as many different values as `examples`.

    Every second one is in evaluation mode; with a twin, every second two have ties and zeros.

    Args:
        layer: the class; its forward is called with one array for each shape.
        shapes: of the inputs.
        arguments: of the constructor; `dtype` is added where it takes one.
        twin: makes the same layer in PyTorch from the same arguments.
        bounds: the inputs are uniform between them, else normal.
        linear: the layer is affine in its inputs: the adjoint identity must hold.
        constant: the inputs, from 0, that get no cotangent (`None`), such as the target of a loss.
        examples: how many different values.
        seed: of the first.
        say: hears of each case.

    Raises:
        UsageError: `layer` is no subclass of Module, or cannot be made from the arguments; a shape
            without elements, bounds that are no finite numbers in order, or no such input.
    """
    if not (inspect.isclass(layer) and issubclass(layer, Module)):
        raise UsageError(f"certify: expected a subclass of minigrad.Module, got {layer!r}")
    _check_request(shapes, bounds, constant)

    def within(xs: Arrays) -> Arrays:
        if bounds is None:
            return xs
        ranks = [0.5 * (1 + np.tanh(x)) for x in xs]
        return tuple(bounds[0] + (bounds[1] - bounds[0]) * r for r in ranks)

    settings = Variant(dict(arguments), tuple(shapes))
    wrt = tuple(i for i in range(len(shapes)) if i not in constant)
    row = Row(layer, lambda _: settings, (settings,), wrt=wrt, adjust=within, kinks=True, twin=twin)
    try:
        Sample(row, settings, seed).module(np.float64)
    except (TypeError, ValueError) as error:
        raise UsageError(f"{row.name}: cannot be made from {arguments}: {error}") from error
    modes, laws = (settings, evaluated(settings)), ("normal", "ties" if twin else "normal")
    samples = [Sample(row, modes[i % 2], seed + i, laws[i // 2 % 2]) for i in range(examples)]
    return gather(_cases(row, samples, seed, linear), say)


def _check_request(
    shapes: Sequence[Shape], bounds: tuple[float, float] | None, constant: Sequence[int]
) -> None:
    """Raise where nothing would be compared, or nothing that was asked for."""
    for shape in shapes:
        if 0 in shape:
            raise UsageError(f"certify: shape {shape} has no elements: nothing would be compared")
    if bounds is not None and not (np.isfinite(bounds).all() and bounds[0] < bounds[1]):
        raise UsageError(f"certify: bounds: expected two finite numbers, low < high, got {bounds}")
    for i in constant:
        if not 0 <= i < len(shapes):
            raise UsageError(f"certify: constant: expected 0 to {len(shapes) - 1}, got {i}")


def _cases(row: Row, samples: list[Sample], seed: int, linear: bool) -> Iterator[Case]:
    if row.twin is not None:
        yield from grid(row, samples, seed)
    else:
        yield _precision(row, samples)
    normal = [sample for sample in samples if sample.values == "normal"]
    yield checked(f"{row.name} differences", differences, normal)
    if linear:
        yield checked(f"{row.name} adjoint", adjoint, normal)
    for name, rule in CONTRACT.items():
        yield checked(f"{row.name} {name}", rule, normal[:6])
    yield _held(row, samples[0])


def _precision(row: Row, samples: list[Sample]) -> Case:
    """Float32 in every layout against the layer's own float64 results."""
    case = Case(f"{row.name} float32 against its float64", True)
    worst, count = 0.0, 0
    for sample in samples:
        for layout in EVERY:
            laid = sample.laid(layout)
            try:
                exact, single = ours(laid, np.float64), ours(laid, np.float32)
                for name, expected in exact.items():
                    what = f"{laid.name}: {name} in float32"
                    worst = max(worst, relative_error(single[name], expected, what=what))
            except Exception as error:
                return failed(case, error, laid.name)
            count += 1
    case.figures = {"checks": count, "worst / 2^-23": worst / UNIT}
    if worst > FLOAT32_ERROR:
        case.passed, case.detail = False, f"error {worst:.1e}, allowed {FLOAT32_ERROR:.0e}"
    return case


def _held(row: Row, sample: Sample) -> Case:
    """How many bytes the vjp holds, beside those of the inputs: for the reader to judge."""
    case = Case(f"{row.name} keeps", True)
    try:
        xs = sample.inputs(np.float32)
        _, vjp = sample.module(np.float32).forward_and_vjp(*xs)
        sizes = {"bytes held": held_bytes(vjp), "bytes of inputs": sum(x.nbytes for x in xs)}
    except Exception as error:
        return failed(case, error, sample.name)
    case.figures.update(sizes)
    return case
