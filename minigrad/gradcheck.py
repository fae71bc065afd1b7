"""The definition of a correct layer, as two functions: `check_vjp` and `check_adjoint`.

    report = check_vjp(MyLayer(dtype=np.float64), x)    # raises GradientError, else
    print(report)                                       # a table of what was compared

`check_vjp` holds for every differentiable module.  With the Jacobian J at the given point, a unit
direction u and cotangents dy, both random, it compares two ways to the same number:

    <dy, J u>  from differences of `forward`     and     <vjp(dy), u>  from the module's own VJP,

for each input, each parameter, and all of them jointly.  `check_adjoint` is for linear modules and
needs no difference: <A x, y> = <x, A' y> to rounding.

Both work in float64 only.  A central difference is best near the step 1e-5 there, with a relative
error of about 1e-10; in float32 it is hardly better than 1e-4 at any step.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from minigrad.backend import Array, array_module
from minigrad.module import Module
from minigrad.probe import Argument, GradientError, Probe, inner, moved, norm, normal_like, title

__all__ = ["GradientError", "Report", "Row", "check_adjoint", "check_vjp"]

_ATTEMPTS = 20
_COORDINATES = 200


@dataclass(frozen=True)
class Row:
    """One comparison: both numbers, and the difference that was allowed."""

    argument: str
    expected: float
    actual: float
    allowed: float

    @property
    def error(self) -> float:
        """The distance of the two numbers; NaN counts as infinite."""
        error = abs(self.expected - self.actual)
        return error if error == error else math.inf

    @property
    def part(self) -> float:
        """The error as a part of what was allowed: at most 1 in a report."""
        return self.error / self.allowed if self.error else 0.0


@dataclass
class Report:
    """What was compared and what was skipped; `str(report)` is a table."""

    module: str
    rows: list[Row] = field(default_factory=list)
    skipped: dict[str, str] = field(default_factory=dict)
    attempts: int = 1

    def worst(self) -> Row:
        """The row whose error is the largest part of what was allowed."""
        return max(self.rows, key=lambda row: row.part)

    def __str__(self) -> str:
        names = [row.argument for row in self.rows] + list(self.skipped)
        width = max(map(len, [*names, "argument"]))
        lines = [
            self.module,
            f"{'argument':{width}}  {'expected':>15}  {'vjp':>15}  {'error':>8}  {'allowed':>8}",
        ]
        lines += [
            f"{row.argument:{width}}  {row.expected:15.8g}  {row.actual:15.8g}"
            f"  {row.error:8.1e}  {row.allowed:8.1e}"
            for row in self.rows
        ]
        lines += [f"{name:{width}}  skipped: {why}" for name, why in self.skipped.items()]
        return "\n".join(lines)


def check_vjp(
    module: Module,
    *inputs: Array,
    step: float = 1e-5,
    rtol: float = 1e-7,
    atol: float = 1e-9,
    seed: int = 0,
    wrt: Sequence[int | str] | None = None,
    kinks: bool = False,
    points: int = 2,
    directions: int = 2,
) -> Report:
    """Check a module's outputs, VJP and manners at the given inputs.

    inputs: float64 arrays, and integer arrays where the module takes them (not differentiated).
    wrt: the inputs (by position) and parameters (by dotted name) to differentiate; default all.
    rtol, atol: the two numbers may differ by rtol times the larger one, plus atol times the norm of
        the cotangents that the vjp gives for these arguments, plus what rounding of the outputs
        does to a difference. All three scale with the module: one whose values are 1e-10 times
        smaller is held to a bound 1e-10 times smaller.
    points: points of the difference, 2 (error ~ step^2) or 4 (error ~ step^4).
    kinks: the module is smooth only piecewise; where the 2- and the 4-point difference disagree,
        the inputs are moved a little and the check starts again.
    directions: how many random directions for each argument.

    Also checked: forward and forward_and_vjp give the same bits, whatever else was computed in
    between; the vjp can be called once; no array received or returned is written; each cotangent
    has the shape and dtype of its input; parameter cotangents are added, in place; a cotangent
    of `None` for one of several outputs means zero.  Noise in `noise` attributes is replayed, and
    buffers are restored.  An input whose cotangent is `None` is skipped and listed in the report.

    The module's parameter cotangents are zero afterwards.

    Raises: GradientError at the first thing that is wrong; TypeError where a dtype is not float64.
    """
    if points not in (2, 4):
        raise ValueError(f"check_vjp: points: expected 2 or 4, got {points}")
    rng = np.random.default_rng(seed)
    values = tuple(np.array(x) if isinstance(x, np.ndarray | float) else x.copy() for x in inputs)
    for attempt in range(1, _ATTEMPTS + 1):
        probe = Probe(module, values)
        dys, dxs = probe.check_manners(rng)
        arguments, skipped = probe.arguments(dxs, wrt)
        report = Report(probe.name, skipped=skipped, attempts=attempt)
        compare = _Comparison(probe, dys, step, rtol, atol, points, kinks)
        try:
            for chosen in [*([a] for a in arguments), *([arguments] if len(arguments) > 1 else [])]:
                for _ in range(directions):
                    report.rows.append(compare(chosen, rng))
        except _KinkError:
            values = tuple(moved(x, rng) for x in values)
            continue
        module.zero_grad()
        return report
    raise GradientError(
        f"{probe.name}: no smooth point in {_ATTEMPTS} tries: the differences with steps "
        f"{step:g} and {2 * step:g} disagree everywhere"
    )


def check_adjoint(
    module: Module, *inputs: Array, rtol: float = 1e-12, seed: int = 0, directions: int = 3
) -> Report:
    """Check <A x, y> = <x, A' y> for a module that is linear, or affine, in its inputs jointly.

    A x is forward(x) - forward(0) and A' y is vjp(y), for random x and y; the inputs given set the
    shapes.  The difference allowed is rtol times |A x| |y| + |x| |A' y|.

    Raises: GradientError where the two differ, which they also do if the module is not affine.
    """
    rng = np.random.default_rng(seed)
    report = Report(title(module))
    for _ in range(directions):
        xs = tuple(normal_like(x, rng) for x in inputs)
        probe = Probe(module, xs)
        ys, vjp = probe.pull()
        zeros = probe.forward(tuple(x - x for x in xs))
        columns = [y - zero for y, zero in zip(ys, zeros, strict=True)]
        dys = [normal_like(y, rng) for y in ys]
        dxs = [x - x if dx is None else dx for x, dx in zip(xs, probe.call(vjp, dys), strict=True)]
        module.zero_grad()
        expected, actual = inner(columns, dys), inner(xs, dxs)
        scale = norm(columns) * norm(dys) + norm(xs) * norm(dxs)
        row = Row("<A x, y> = <x, A' y>", expected, actual, rtol * scale)
        if not row.error <= row.allowed:
            raise GradientError(
                f"{report.module}: vjp is not the adjoint of forward: <A x, y> = {expected:.12g}, "
                f"<x, A' y> = {actual:.12g}, difference {row.error:.2e}, allowed {row.allowed:.2e}"
            )
        report.rows.append(row)
    return report


class _KinkError(Exception):
    """The differences disagree: the function is not smooth here."""


@dataclass
class _Comparison:
    probe: Probe
    dys: list[Array | None]
    step: float
    rtol: float
    atol: float
    points: int
    kinks: bool

    def __call__(self, arguments: list[Argument], rng: np.random.Generator) -> Row:
        directions = [normal_like(a.value, rng) for a in arguments]
        length = norm(directions)
        directions = [u / length for u in directions]
        row = self.row(arguments, directions)
        if row.error <= row.allowed:
            return row
        raise GradientError(self.message(arguments, row))

    def row(self, arguments: list[Argument], directions: list[Array]) -> Row:
        near, bend, scale = self.differences(arguments, directions, self.step)
        cotangents = [a.cotangent for a in arguments]
        actual = inner(cotangents, directions)
        # Beside the relative part: what rounding in the outputs alone does to the difference, and
        # a part of the whole derivative, of which one direction may show next to nothing.
        floor = 8 * 2.0**-53 * scale / self.step + self.atol * norm(cotangents)
        expected, allowed = near, self.allowed(near, actual, floor)
        if self.kinks or self.points == 4 or not abs(near - actual) <= allowed:
            far, wide_bend, _ = self.differences(arguments, directions, 2 * self.step)
            expected = (4 * near - far) / 3  # the 4-point difference: the step^2 term cancels
            allowed = self.allowed(expected, actual, floor)
            # A kink right at the point escapes the slopes, but not the second difference, which
            # for a smooth function grows with the square of the step.
            doubt = max(abs(expected - near), abs(wide_bend - 4 * bend) / (2 * self.step))
            if self.kinks and not doubt <= allowed / 3:
                raise _KinkError
        name = " & ".join(a.name for a in arguments)
        return Row(name, expected, actual, allowed)

    def allowed(self, expected: float, actual: float, floor: float) -> float:
        return self.rtol * max(abs(expected), abs(actual)) + floor

    def differences(
        self, arguments: list[Argument], directions: list[Array], step: float
    ) -> tuple[float, float, float]:
        """The slope <dy, f(. + su) - f(. - su)> / 2s, the second difference, the size of f."""
        plus, minus = (self.at(arguments, directions, sign * step) for sign in (1.0, -1.0))
        quadruples = zip(self.dys, plus, minus, self.probe.outputs, strict=True)
        slope = bend = size = 0.0
        for dy, above, below, here in quadruples:
            if dy is not None:
                slope += inner([dy], [above - below]) / (2 * step)
                bend += inner([dy], [(above - here) + (below - here)])
                size = math.hypot(size, norm([here]))
        return slope, bend, size

    def at(
        self, arguments: list[Argument], directions: list[Array], step: float
    ) -> tuple[Array, ...]:
        inputs = list(self.probe.inputs)
        changed = []
        try:
            for argument, direction in zip(arguments, directions, strict=True):
                there = argument.value + step * direction
                if argument.position is not None:
                    inputs[argument.position] = there
                else:
                    changed.append((argument.value, argument.value.copy()))
                    argument.value[...] = there
            return self.probe.forward(tuple(inputs))
        finally:
            for array, before in changed:
                array[...] = before

    def message(self, arguments: list[Argument], row: Row) -> str:
        text = (
            f"{self.probe.name}: {row.argument}: along a random unit direction, expected "
            f"{row.expected:.12g} from differences of forward, vjp gives {row.actual:.12g}; "
            f"difference {row.error:.2e}, allowed {row.allowed:.2e}"
        )
        worst = max((self.worst(a) for a in arguments), key=lambda found: found[0])
        hint = "" if self.kinks else " (if the module has kinks, pass kinks=True)"
        return f"{text}\n{worst[1]}{hint}"

    def worst(self, argument: Argument) -> tuple[float, str]:
        """The worst of (at most some hundred) single elements, as the direction to look at."""
        found = (-1.0, "")
        for flat in np.unique(np.linspace(0, argument.value.size - 1, _COORDINATES).astype(int)):
            index = tuple(int(i) for i in np.unravel_index(flat, argument.value.shape))
            unit = np.zeros(argument.value.shape)
            unit[index] = 1.0
            row = self.row([argument], [array_module(argument.value).asarray(unit)])
            text = (
                f"worst element: {argument.name}[{', '.join(map(str, index))}]: "
                f"expected {row.expected:.12g}, vjp gives {row.actual:.12g}"
            )
            found = max(found, (row.error, text), key=lambda item: item[0])
        return found
