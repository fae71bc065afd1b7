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
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from minigrad.backend import Array, array_module, to_host
from minigrad.module import Module, Parameter

_ATTEMPTS = 20
_COORDINATES = 200


class GradientError(AssertionError):
    """A module breaks the contract; the message names the module, the argument and the values."""


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


@dataclass
class Report:
    """What was compared and what was skipped; `str(report)` is a table."""

    module: str
    rows: list[Row] = field(default_factory=list)
    skipped: dict[str, str] = field(default_factory=dict)
    attempts: int = 1

    def worst(self) -> Row:
        """The row whose error is the largest part of what was allowed."""
        return max(self.rows, key=lambda row: row.error / row.allowed)

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
    points: points of the difference, 2 (error ~ step^2) or 4 (error ~ step^4).
    kinks: the module is smooth only piecewise; where the 2- and the 4-point difference disagree,
        the inputs are moved a little and the check starts again.
    directions: how many random directions for each argument.

    Also checked: forward and forward_and_vjp give the same bits, whatever else was computed in
    between; the vjp can be called once; no array received or returned is written; each cotangent
    has the shape and dtype of its input; parameter cotangents are added, in place; a cotangent
    of `None` for one of several outputs means zero.  Noise in `noise` attributes is replayed, and
    buffers are restored.  An input whose cotangent is `None` is skipped and listed in the report.

    Raises: GradientError at the first thing that is wrong; TypeError where a dtype is not float64.
    """
    if points not in (2, 4):
        raise ValueError(f"check_vjp: points: expected 2 or 4, got {points}")
    rng = np.random.default_rng(seed)
    values = tuple(np.array(x) if isinstance(x, np.ndarray | float) else x.copy() for x in inputs)
    for attempt in range(1, _ATTEMPTS + 1):
        probe = _Probe(module, values)
        dys, dxs = probe.check_manners(rng)
        report = Report(probe.name, attempts=attempt)
        arguments = probe.arguments(dxs, wrt, report)
        compare = _Comparison(probe, dys, step, rtol, atol, points, kinks)
        try:
            for chosen in [*([a] for a in arguments), *([arguments] if len(arguments) > 1 else [])]:
                for _ in range(directions):
                    report.rows.append(compare(chosen, rng))
        except _Kink:
            values = tuple(_moved(x, rng) for x in values)
            continue
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
    report = Report(_name(module))
    for _ in range(directions):
        xs = tuple(_normal_like(x, rng) for x in inputs)
        probe = _Probe(module, xs)
        ys, vjp = probe.pull()
        zeros = probe.forward(tuple(x - x for x in xs))
        columns = [y - zero for y, zero in zip(ys, zeros, strict=True)]
        dys = [_normal_like(y, rng) for y in ys]
        dxs = [x - x if dx is None else dx for x, dx in zip(xs, probe.call(vjp, dys), strict=True)]
        expected, actual = _inner(columns, dys), _inner(xs, dxs)
        scale = _norm(columns) * _norm(dys) + _norm(xs) * _norm(dxs)
        row = Row("<A x, y> = <x, A' y>", expected, actual, rtol * scale)
        if not row.error <= row.allowed:
            raise GradientError(
                f"{report.module}: vjp is not the adjoint of forward: <A x, y> = {expected:.12g}, "
                f"<x, A' y> = {actual:.12g}, difference {row.error:.2e}, allowed {row.allowed:.2e}"
            )
        report.rows.append(row)
    return report


# --- one point of the module's domain -------------------------------------------------------------


class _Kink(Exception):
    """The two differences disagree: the function is not smooth here."""


class _Probe:
    """A module at one point: evaluates it under replayed noise, with inputs that cannot be written."""

    def __init__(self, module: Module, inputs: tuple[Array, ...]) -> None:
        self.module, self.name = module, _name(module)
        self.inputs = inputs
        self.parameters: dict[str, Parameter] = module.named_parameters()
        checked = {f"input {i}": x for i, x in enumerate(inputs)}
        checked |= {f"parameter {n}": p.value for n, p in self.parameters.items()}
        for label, array in checked.items():
            if array.dtype.kind == "f" and array.dtype != np.float64:
                raise TypeError(f"{self.name}: {label}: expected float64, got {array.dtype}")
        found = {id(n): n for m in module.modules() if (n := getattr(m, "noise", None)) is not None}
        self.noises = [(noise, noise.draw) for noise in found.values()]
        self.buffers = [
            (array, array.copy())
            for m in module.modules()
            for name in m.buffer_names
            if (array := getattr(m, name, None)) is not None
        ]

    def reset(self) -> None:
        """Bring noise and buffers back to where they were."""
        for noise, draw in self.noises:
            noise.rewind(draw)
        for array, before in self.buffers:
            array[...] = before

    def forward(self, inputs: tuple[Array, ...]) -> tuple[Array, ...]:
        """The outputs at `inputs`."""
        self.reset()
        with self.guarded("forward", inputs):
            ys = _tuple(self.module.forward(*inputs))
        self.reset()
        return ys

    def pull(self, inputs: tuple[Array, ...] | None = None) -> tuple[tuple[Array, ...], Any]:
        """Outputs and vjp at `inputs` (by default at this point)."""
        inputs = self.inputs if inputs is None else inputs
        self.reset()
        with self.guarded("forward_and_vjp", inputs):
            ys, vjp = self.module.forward_and_vjp(*inputs)
        self.reset()
        return _tuple(ys), vjp

    def call(self, vjp: Any, dys: Sequence[Array | None]) -> tuple[Array | None, ...]:
        """The input cotangents, after a check of their number, shapes and dtypes."""
        with self.guarded("vjp", (*self.inputs, *(dy for dy in dys if dy is not None))):
            dxs = _tuple(vjp(*dys))
        self.reset()
        if len(dxs) != len(self.inputs):
            raise GradientError(
                f"{self.name}: vjp returned {len(dxs)} cotangents for {len(self.inputs)} inputs"
            )
        for i, (x, dx) in enumerate(zip(self.inputs, dxs, strict=True)):
            if dx is not None and (dx.shape != x.shape or dx.dtype != x.dtype):
                raise GradientError(
                    f"{self.name}: cotangent of input {i}: expected {x.dtype} {x.shape}, "
                    f"got {dx.dtype} {dx.shape}"
                )
        return dxs

    @contextmanager
    def guarded(self, action: str, arrays: Sequence[Array]) -> Iterator[None]:
        """Refuse writes into `arrays` and into parameters while the module runs."""
        held = {f"argument {i}": a for i, a in enumerate(arrays)}
        held |= {f"parameter {n}": p.value for n, p in self.parameters.items()}
        copies = {label: a.copy() for label, a in held.items()}
        # CuPy arrays have no write flag: there the comparison with the copies has to do.
        locked = [a for a in held.values() if isinstance(a, np.ndarray) and a.flags.writeable]
        for array in locked:
            array.flags.writeable = False
        try:
            yield
        except ValueError as error:
            if "read-only" in str(error):
                raise GradientError(
                    f"{self.name}: {action} writes into an array that it received: {error}"
                ) from error
            raise
        finally:
            for array in reversed(locked):
                array.flags.writeable = True
        for label, array in held.items():
            if not _same(array, copies[label]):
                raise GradientError(f"{self.name}: {action} writes into {label}")

    # --- everything but the numbers -----------------------------------------------------------

    def check_manners(
        self, rng: np.random.Generator
    ) -> tuple[list[Array | None], tuple[Array | None, ...]]:
        """The rules that need no derivative; returns cotangents of unit norm and their VJP."""
        plain = self.forward(self.inputs)
        kept = [y.copy() for y in plain]
        self.module.zero_grad()
        ys, vjp = self.pull()
        if len(ys) != len(kept) or not all(map(_same, ys, kept)):
            raise GradientError(f"{self.name}: forward and forward_and_vjp give different outputs")
        dys = _cotangents(ys, rng)
        dxs = [None if dx is None else dx.copy() for dx in self.call(vjp, dys)]
        self._expect(ys, kept, "vjp writes into the output that was returned before")
        self._second_call(vjp, dys)
        grads = self._gradients()
        self._again(dys, dxs, grads, rng)
        if len(dys) > 1:
            self._none_is_zero(dys)
        self._expect(plain, kept, "an output changed after it was returned: it shares memory")
        self.module.zero_grad()
        ys, vjp = self.pull()
        self.call(vjp, dys)
        return dys, tuple(dxs)

    def _gradients(self) -> dict[str, Array]:
        for name, p in self.parameters.items():
            if not p.touched and bool(abs(p.grad).max(initial=0) != 0):
                raise GradientError(
                    f"{self.name}: cotangent of {name} was written without accumulate(): "
                    "the optimiser will not see it"
                )
        return {name: p.grad.copy() for name, p in self.parameters.items()}

    def _second_call(self, vjp: Any, dys: list[Array | None]) -> None:
        before = {name: p.grad.copy() for name, p in self.parameters.items()}
        try:
            vjp(*dys)
        except RuntimeError:
            return
        finally:
            for name, p in self.parameters.items():
                p.grad[...] = before[name]
        raise GradientError(f"{self.name}: vjp could be called twice: return once(vjp)")

    def _again(
        self,
        dys: list[Array | None],
        dxs: list[Array | None],
        grads: dict[str, Array],
        rng: np.random.Generator,
    ) -> None:
        """A second pass, with a call at another point in between: same cotangents, sums doubled."""
        arrays = {name: p.grad for name, p in self.parameters.items()}
        _, vjp = self.pull()
        self.pull(tuple(_moved(x, rng) for x in self.inputs))
        again = self.call(vjp, dys)
        for i, (dx, dx2) in enumerate(zip(dxs, again, strict=True)):
            if (dx is None) != (dx2 is None) or (dx is not None and not _same(dx, dx2)):
                raise GradientError(
                    f"{self.name}: cotangent of input {i} changes when the module is called in "
                    "between: the vjp must keep its own residuals"
                )
        for name, p in self.parameters.items():
            if p.grad is not arrays[name]:
                raise GradientError(f"{self.name}: d_{name} was replaced: add to it in place")
            if not _same(p.grad, 2 * grads[name]):
                raise GradientError(
                    f"{self.name}: cotangent of {name}: two passes must give the double of one: "
                    f"expected norm {2 * _norm([grads[name]]):.8g}, got {_norm([p.grad]):.8g} "
                    "(assigned instead of added?)"
                )

    def _none_is_zero(self, dys: list[Array | None]) -> None:
        for k, dy in enumerate(dys):
            if dy is None:
                continue
            results = []
            for replacement in (None, dy * 0):
                self.module.zero_grad()
                _, vjp = self.pull()
                dxs = self.call(vjp, [*dys[:k], replacement, *dys[k + 1 :]])
                results.append([*dxs, *(p.grad.copy() for p in self.parameters.values())])
            for a, b in zip(*results, strict=True):
                gap = 0.0 if a is b else _norm([(0 if a is None else a) - (0 if b is None else b)])
                if not gap <= 1e-12:
                    raise GradientError(
                        f"{self.name}: None and zero for output {k} give different cotangents"
                    )

    def _expect(self, arrays: Sequence[Array], copies: Sequence[Array], complaint: str) -> None:
        if not all(map(_same, arrays, copies)):
            raise GradientError(f"{self.name}: {complaint}")

    def arguments(
        self, dxs: tuple[Array | None, ...], wrt: Sequence[int | str] | None, report: Report
    ) -> list[_Argument]:
        """What to differentiate; what is left out goes into the report."""
        found: list[_Argument] = []
        for i, (x, dx) in enumerate(zip(self.inputs, dxs, strict=True)):
            if wrt is not None and i not in wrt:
                report.skipped[f"input {i}"] = "not asked for"
            elif dx is None:
                if wrt is not None:
                    raise GradientError(f"{self.name}: input {i}: asked for, but vjp gives None")
                report.skipped[f"input {i}"] = "the vjp gives None"
            else:
                found.append(_Argument(f"input {i}", i, None, dx, x))
        for name, p in self.parameters.items():
            if wrt is not None and name not in wrt:
                report.skipped[name] = "not asked for"
            else:
                found.append(_Argument(name, None, p, p.grad.copy(), p.value))
        return [a for a in found if a.value.size]


@dataclass(frozen=True)
class _Argument:
    name: str
    position: int | None
    parameter: Parameter | None
    cotangent: Array
    value: Array


# --- the numbers ----------------------------------------------------------------------------------


@dataclass
class _Comparison:
    probe: _Probe
    dys: list[Array | None]
    step: float
    rtol: float
    atol: float
    points: int
    kinks: bool

    def __call__(self, arguments: list[_Argument], rng: np.random.Generator) -> Row:
        directions = [_normal_like(a.value, rng) for a in arguments]
        norm = _norm(directions)
        directions = [u / norm for u in directions]
        row = self.row(arguments, directions)
        if row.error <= row.allowed:
            return row
        raise GradientError(self.message(arguments, row))

    def row(self, arguments: list[_Argument], directions: list[Array]) -> Row:
        near, scale = self.difference(arguments, directions, self.step)
        actual = _inner([a.cotangent for a in arguments], directions)
        # What rounding in the outputs alone does to the difference.
        rounding = 8 * 2.0**-53 * scale / self.step
        name = " & ".join(a.name for a in arguments)
        expected, allowed = near, self.allowed(near, actual, rounding)
        if self.kinks or self.points == 4 or not abs(near - actual) <= allowed:
            far, _ = self.difference(arguments, directions, 2 * self.step)
            expected = (4 * near - far) / 3  # the 4-point difference: the step^2 term cancels
            allowed = self.allowed(expected, actual, rounding)
            if self.kinks and not abs(expected - near) <= 10 * allowed:
                raise _Kink
        return Row(name, expected, actual, allowed)

    def allowed(self, expected: float, actual: float, rounding: float) -> float:
        return self.atol + self.rtol * max(abs(expected), abs(actual)) + rounding

    def difference(
        self, arguments: list[_Argument], directions: list[Array], step: float
    ) -> tuple[float, float]:
        """<dy, f(. + step u) - f(. - step u)> / (2 step), and the size of the outputs."""
        plus, minus = (self.at(arguments, directions, sign * step) for sign in (1.0, -1.0))
        pairs = [
            (dy, a - b, a) for dy, a, b in zip(self.dys, plus, minus, strict=True) if dy is not None
        ]
        value = _inner([p[0] for p in pairs], [p[1] for p in pairs]) / (2 * step)
        return value, _norm([p[2] for p in pairs])

    def at(
        self, arguments: list[_Argument], directions: list[Array], step: float
    ) -> tuple[Array, ...]:
        inputs = list(self.probe.inputs)
        changed = []
        try:
            for argument, direction in zip(arguments, directions, strict=True):
                moved = argument.value + step * direction
                if argument.parameter is None:
                    assert argument.position is not None
                    inputs[argument.position] = moved
                else:
                    changed.append((argument.value, argument.value.copy()))
                    argument.value[...] = moved
            return self.probe.forward(tuple(inputs))
        finally:
            for array, before in changed:
                array[...] = before

    def message(self, arguments: list[_Argument], row: Row) -> str:
        text = (
            f"{self.probe.name}: {row.argument}: along a random unit direction, expected "
            f"{row.expected:.12g} from differences of forward, vjp gives {row.actual:.12g}; "
            f"difference {row.error:.2e}, allowed {row.allowed:.2e}"
        )
        worst = max((self.worst(a) for a in arguments), key=lambda found: found[0])
        hint = "" if self.kinks else " (if the module has kinks, pass kinks=True)"
        return f"{text}\n{worst[1]}{hint}"

    def worst(self, argument: _Argument) -> tuple[float, str]:
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


# --- small things ---------------------------------------------------------------------------------


def _name(module: Module) -> str:
    described = module.describe()
    return f"{type(module).__name__}({described})"


def _tuple(value: Any) -> tuple[Any, ...]:
    return tuple(value) if isinstance(value, tuple | list) else (value,)


def _same(a: Array, b: Array) -> bool:
    """Whether two arrays have the same shape, dtype and values, NaN being equal to itself."""
    if a.shape != b.shape or a.dtype != b.dtype:
        return False
    return bool(((a == b) | ((a != a) & (b != b))).all())


def _normal_like(x: Array, rng: np.random.Generator) -> Array:
    return array_module(x).asarray(rng.standard_normal(x.shape))


def _moved(x: Array, rng: np.random.Generator) -> Array:
    """The array moved by about a hundredth of its size; whole numbers stay."""
    if x.dtype.kind != "f" or not x.size:
        return x
    scale = 1e-2 * (1e-3 + float(abs(x).mean()))
    return x + scale * _normal_like(x, rng)


def _cotangents(ys: Sequence[Array], rng: np.random.Generator) -> list[Array | None]:
    raw = [_normal_like(y, rng) if y.dtype.kind == "f" else None for y in ys]
    norm = _norm([dy for dy in raw if dy is not None]) or 1.0
    return [None if dy is None else dy / norm for dy in raw]


def _inner(a: Sequence[Array], b: Sequence[Array]) -> float:
    return math.fsum(float(to_host((u * v).sum())) for u, v in zip(a, b, strict=True))


def _norm(arrays: Sequence[Any]) -> float:
    return math.sqrt(_inner(arrays, arrays))


__all__: list[str] = ["GradientError", "Report", "Row", "check_adjoint", "check_vjp"]
