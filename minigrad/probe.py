"""A module at one point of its domain: evaluated under replayed noise, watched for bad manners.

`minigrad.gradcheck` builds its numerical comparisons on this.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np

from minigrad.backend import Array, array_module, to_host
from minigrad.module import Module, Parameter
from minigrad.replay import Snapshot
from minigrad.wiring import as_tuple


class GradientError(AssertionError):
    """A module breaks the contract; the message names the module, the argument and the values."""


@dataclass(frozen=True)
class Argument:
    """An input (with its position) or a parameter (without), and its cotangent."""

    name: str
    position: int | None
    cotangent: Array
    value: Array


class Probe:
    """A module at one point: runs under replayed noise, with inputs that cannot be written."""

    def __init__(self, module: Module, inputs: tuple[Array, ...]) -> None:
        """The point: `inputs`, and the parameters, noise and buffers of `module` as they are now.

        Raises TypeError where an input or a parameter is floating but not float64.
        """
        self.module, self.name = module, title(module)
        self.inputs = inputs
        self.outputs: tuple[Array, ...] = ()
        self.parameters: dict[str, Parameter] = module.named_parameters()
        checked = {f"input {i}": x for i, x in enumerate(inputs)}
        checked |= {f"parameter {n}": p.value for n, p in self.parameters.items()}
        for label, array in checked.items():
            if array.dtype.kind == "f" and array.dtype != np.float64:
                raise TypeError(f"{self.name}: {label}: expected float64, got {array.dtype}")
        self.start = Snapshot(module)

    def reset(self) -> None:
        """Bring noise and buffers back to where they were."""
        self.start.restore()

    def forward(self, inputs: tuple[Array, ...]) -> tuple[Array, ...]:
        """The outputs at `inputs`."""
        self.reset()
        with self.guarded("forward", inputs):
            ys = as_tuple(self.module.forward(*inputs))
        self.reset()
        return ys

    def pull(self, inputs: tuple[Array, ...] | None = None) -> tuple[tuple[Array, ...], Any]:
        """Outputs and vjp at `inputs` (by default at this point)."""
        inputs = self.inputs if inputs is None else inputs
        self.reset()
        with self.guarded("forward_and_vjp", inputs):
            ys, vjp = self.module.forward_and_vjp(*inputs)
        self.reset()
        return as_tuple(ys), vjp

    def call(self, vjp: Any, dys: Sequence[Array | None]) -> tuple[Array | None, ...]:
        """The input cotangents, after a check of their number, shapes and dtypes."""
        with self.guarded("vjp", (*self.inputs, *(dy for dy in dys if dy is not None))):
            dxs = as_tuple(vjp(*dys))
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
            if not same(array, copies[label]):
                raise GradientError(f"{self.name}: {action} writes into {label}")

    # --- everything but the numbers -----------------------------------------------------------

    def check_manners(
        self, rng: np.random.Generator
    ) -> tuple[list[Array | None], tuple[Array | None, ...]]:
        """The rules that need no derivative; returns cotangents of unit norm and their VJP."""
        plain = self.forward(self.inputs)
        kept = [y.copy() for y in plain]
        self.outputs = tuple(kept)
        self.module.zero_grad()
        homes = {name: p.grad for name, p in self.parameters.items()}
        ys, vjp = self.pull()
        if len(ys) != len(kept) or not all(map(same, ys, kept)):
            raise GradientError(f"{self.name}: forward and forward_and_vjp give different outputs")
        dys = unit_cotangents(ys, rng)
        dxs = [None if dx is None else dx.copy() for dx in self.call(vjp, dys)]
        self._expect(ys, kept, "vjp writes into the output that was returned before")
        grads = self._gradients(homes)
        self._second_call(vjp, dys)
        self._again(dys, dxs, grads, rng)
        if len(dys) > 1:
            whole = norm([d for d in (*dxs, *grads.values()) if d is not None])
            self._none_is_zero(dys, 1e-12 * whole)
        self._expect(plain, kept, "an output changed after it was returned: it shares memory")
        self.module.zero_grad()
        ys, vjp = self.pull()
        self.call(vjp, dys)
        return dys, tuple(dxs)

    def _gradients(self, homes: dict[str, Array]) -> dict[str, Array]:
        """Copies of the parameter cotangents, which must be where they were before the pass."""
        for name, p in self.parameters.items():
            if p.grad is not homes[name]:
                raise GradientError(f"{self.name}: d_{name} was replaced: add to it in place")
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
        _, vjp = self.pull()
        self.pull(tuple(nearby(x, rng) for x in self.inputs))
        again = self.call(vjp, dys)
        for i, (dx, dx2) in enumerate(zip(dxs, again, strict=True)):
            if (dx is None) != (dx2 is None) or (dx is not None and not same(dx, dx2)):
                raise GradientError(
                    f"{self.name}: cotangent of input {i} changes when the module is called in "
                    "between: the vjp must keep its own residuals"
                )
        for name, p in self.parameters.items():
            # Not to the bit: a module that is used twice adds its parts in another order.
            if not norm([p.grad - 2 * grads[name]]) <= 1e-10 * norm([grads[name]]):
                raise GradientError(
                    f"{self.name}: cotangent of {name}: two passes must give the double of one: "
                    f"expected norm {2 * norm([grads[name]]):.8g}, got {norm([p.grad]):.8g} "
                    "(assigned instead of added?)"
                )

    def _none_is_zero(self, dys: list[Array | None], allowed: float) -> None:
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
                gap = 0.0 if a is b else norm([(0 if a is None else a) - (0 if b is None else b)])
                if not gap <= allowed:
                    raise GradientError(
                        f"{self.name}: None and zero for output {k} give different cotangents"
                    )

    def _expect(self, arrays: Sequence[Array], copies: Sequence[Array], complaint: str) -> None:
        if not all(map(same, arrays, copies)):
            raise GradientError(f"{self.name}: {complaint}")

    def arguments(
        self, dxs: tuple[Array | None, ...], wrt: Sequence[int | str] | None
    ) -> tuple[list[Argument], dict[str, str]]:
        """What to differentiate, and what is left out with the reason."""
        known = [*range(len(self.inputs)), *self.parameters]
        if strangers := [name for name in wrt or () if name not in known]:
            raise ValueError(f"{self.name}: wrt: expected some of {known}, got {strangers}")
        found: list[Argument] = []
        skipped: dict[str, str] = {}
        for i, (x, dx) in enumerate(zip(self.inputs, dxs, strict=True)):
            if wrt is not None and i not in wrt:
                skipped[f"input {i}"] = "not asked for"
            elif dx is not None:
                found.append(Argument(f"input {i}", i, dx, x))
            elif wrt is not None:
                raise GradientError(f"{self.name}: input {i}: asked for, but the vjp gives None")
            else:
                skipped[f"input {i}"] = "the vjp gives None"
        for name, p in self.parameters.items():
            if wrt is not None and name not in wrt:
                skipped[name] = "not asked for"
            else:
                found.append(Argument(name, None, p.grad.copy(), p.value))
        return [a for a in found if a.value.size], skipped


def title(module: Module) -> str:
    """The module's class and arguments, for messages."""
    return f"{type(module).__name__}({module.describe()})"


def same(a: Array, b: Array) -> bool:
    """Whether two arrays have the same shape, dtype and bits; all NaN count as the same one.

    Equal floating-point numbers differ in their bits only where one is +0 and the other -0.
    """
    if a.shape != b.shape or a.dtype != b.dtype:
        return False
    equal = a == b
    if a.dtype.kind == "f":
        xp = array_module(a)
        equal &= xp.signbit(a) == xp.signbit(b)
    return bool((equal | ((a != a) & (b != b))).all())


def normal_like(x: Array, rng: np.random.Generator) -> Array:
    """Standard normal numbers in the shape of `x`, float64, on its device."""
    return array_module(x).asarray(rng.standard_normal(x.shape))


def moved(x: Array, rng: np.random.Generator) -> Array:
    """The array moved by about a hundredth of its size, away from kinks; whole numbers stay."""
    if x.dtype.kind != "f" or not x.size:
        return x
    scale = 1e-2 * (1e-3 + float(abs(x).mean()))
    return x + scale * normal_like(x, rng)


def nearby(x: Array, rng: np.random.Generator) -> Array:
    """Other values of the same signs, for a layer that may be defined for some signs only: each
    moved by up to a hundredth of itself, zeros by up to 1e-5; whole numbers stay.
    """
    if x.dtype.kind != "f" or not x.size:
        return x
    xp = array_module(x)
    return x + xp.where(x == 0, 1e-5, 1e-2 * abs(x)) * xp.tanh(normal_like(x, rng))


def unit_cotangents(ys: Sequence[Array], rng: np.random.Generator) -> list[Array | None]:
    """Random cotangents of norm 1 for all outputs together; `None` for whole numbers."""
    raw = [normal_like(y, rng) if y.dtype.kind == "f" else None for y in ys]
    length = norm([dy for dy in raw if dy is not None]) or 1.0
    return [None if dy is None else dy / length for dy in raw]


def inner(a: Sequence[Array], b: Sequence[Array]) -> float:
    """The inner product of two lists of arrays, as a Python number."""
    return math.fsum(float(to_host((u * v).sum())) for u, v in zip(a, b, strict=True))


def norm(arrays: Sequence[Any]) -> float:
    """The Euclidean norm of a list of arrays."""
    return math.sqrt(inner(arrays, arrays))
