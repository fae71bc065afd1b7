"""Rows and samples: what the tests and the certificate compare.

A *row* describes one layer: how to draw its settings, what it keeps, where it has kinks. A *sample*
is a row with fixed settings, a law for the values and a seed: a module, inputs and cotangents that
can be made again at any time. All numbers are float32 numbers, so that the float32 and the float64
run compute the same thing.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, Protocol

import numpy as np

from minigrad import Module, to_host
from minigrad.wiring import as_tuple
from validation.draw import Draw
from validation.layouts import lay

Arrays = tuple[np.ndarray, ...]
Shape = tuple[int, ...]


class Subject(Protocol):
    """Whatever the contract is checked on: a module with inputs, made afresh at each call."""

    @property
    def name(self) -> str:
        """For messages."""

    def module(self, dtype: Any) -> Module:
        """The module, with the same parameters at each call."""

    @property
    def wrt(self) -> tuple[int, ...] | None:
        """The inputs that get a cotangent; None = all."""

    @property
    def kinks(self) -> bool:
        """Whether an input may lie on a kink, where differences say nothing."""

    def inputs(self, dtype: Any) -> Arrays:
        """Its inputs, equal at each call."""


@dataclass(frozen=True)
class Variant:
    """Settings of a layer: constructor arguments, the shapes of its inputs, training or not."""

    arguments: dict[str, Any]
    shapes: tuple[Shape, ...]
    training: bool = True


def variant(*shapes: Shape, **arguments: Any) -> Variant:
    """A `Variant`: shapes first, then the constructor's arguments by name."""
    return Variant(arguments, shapes)


def evaluated(settings: Variant) -> Variant:
    """The same settings in evaluation mode."""
    return replace(settings, training=False)


def keeps_nothing(module: Module, xs: Arrays, ys: Arrays) -> int:
    """For `Row.keeps`."""
    return 0


def keeps_input(module: Module, xs: Arrays, ys: Arrays) -> int:
    """For `Row.keeps`: the first input."""
    return xs[0].nbytes


@dataclass(frozen=True)
class Row:
    """One public leaf or loss.

    Attributes:
        layer: the class; its PyTorch twin has the same name in `validation.twins.layers.TWINS`.
        draw: random settings.
        variants: hand-picked settings that every run contains.
        keeps: bytes that the vjp may hold, from the module, the inputs and the outputs.
        linear: whether the outputs are affine in the inputs jointly.
        wrt: the inputs that get a cotangent, or a function of the settings that says which; None =
            all.
        numeric: whether differences of the forward give the vjp (not where a factor is treated as
            a constant).
        away: moves the inputs away from kinks, for the numeric checks.
        adjust: makes drawn values valid (a mask that is 0 or 1, for example).
        special: whether infinities, NaN and signed zeros are compared with PyTorch.
        elementwise: whether a cotangent's magnitude is at least that of `dy`: True = the first
            input's, or the inputs for which that holds.
        least: of the module and its inputs, the least magnitudes of cotangents by name, for a `dy`
            of 1. For layers in which terms cancel in an exponent: absolute values would make it
            large, and the result, with its magnitude, vanish.
        signs: the sign of each input in the largest sum of absolute terms; those of inputs that the
            settings leave out are not used.
        prepare: changes the drawn parameters, and draws the buffers (a running variance must be
            positive), in float32 numbers.
        absolute: whether the layer makes sense on absolute values, whose results measure what
            rounding may do; False where a logarithm or a root of a difference would not be real.
        kinks: whether the numeric check has to look for smooth points by itself.
        twin: makes the PyTorch twin; None = the one of that name in `validation.twins.layers`.
    """

    layer: type[Module]
    draw: Callable[[Draw], Variant]
    variants: tuple[Variant, ...]
    keeps: Callable[[Module, Arrays, Arrays], int] = keeps_nothing
    linear: bool = False
    wrt: tuple[int, ...] | Callable[[Variant], tuple[int, ...]] | None = None
    numeric: bool = True
    away: Callable[[Arrays, np.random.Generator], Arrays] | None = None
    adjust: Callable[[Arrays], Arrays] | None = None
    special: bool = False
    elementwise: bool | tuple[int, ...] = False
    least: Callable[[Any, Arrays], dict[str, float]] | None = None
    signs: tuple[int, ...] = ()
    prepare: Callable[[Module, np.random.Generator], None] | None = None
    absolute: bool = True
    kinks: bool = False
    twin: Callable[..., Any] | None = None

    @property
    def name(self) -> str:
        """The class name."""
        return self.layer.__name__

    @cached_property
    def takes_dtype(self) -> bool:
        """Whether the constructor has a `dtype`."""
        return "dtype" in inspect.signature(self.layer).parameters

    def samples(self) -> list[Sample]:
        """The hand-picked settings, each with ordinary values and with ties."""
        return [
            Sample(self, settings, seed, law)
            for seed, settings in enumerate(self.variants)
            for law in ("normal", "ties", *self.odd_laws)
        ]

    @property
    def odd_laws(self) -> tuple[str, ...]:
        """The laws of values that not every layer is held to."""
        extreme = ("extreme",) if self.special or self.linear else ()
        return (*extreme, *(("special",) if self.special else ()))

    def sample(self, draw: Draw) -> Sample:
        """Random settings, values and seed."""
        laws = ("normal", "normal", "ties", "wide", *self.odd_laws)
        settings = self.draw(draw)
        return Sample(self, settings, draw.integer(0, 2**31 - 1), draw.pick(laws))


@dataclass(frozen=True)
class Sample:
    """A row with everything fixed.

    `layout`: a name of `validation.layouts.EVERY`, for the inputs and the cotangents.
    `values`: "normal"; "ties" (few different numbers, zeros of both signs); "wide" (normal times a
    power of ten for each array); "extreme" (normal times 1e30 or 1e-30); "special" (infinities,
    NaN, zeros of both signs, denormal and huge numbers); "away" (normal, away from kinks).
    """

    row: Row
    settings: Variant
    seed: int
    values: str = "normal"
    layout: str = "contiguous"

    @property
    def name(self) -> str:
        """Class, settings, law and seed."""
        arguments = ", ".join(f"{k}={v!r}" for k, v in self.settings.arguments.items())
        mode = "" if self.settings.training else "in evaluation mode, "
        layout = "" if self.layout == "contiguous" else f"{self.layout} in memory, "
        return (
            f"{self.row.name}({arguments}) on {', '.join(map(str, self.settings.shapes))}, "
            f"{mode}{self.values} values, {layout}seed {self.seed}"
        )

    @property
    def wrt(self) -> tuple[int, ...] | None:
        """The inputs that get a cotangent; None = all."""
        return self.row.wrt(self.settings) if callable(self.row.wrt) else self.row.wrt

    @property
    def kinks(self) -> bool:
        """Not in this project: the law "away" keeps clear of them."""
        return self.row.kinks

    def module(self, dtype: Any) -> Module:
        """The layer with normal float32 numbers as parameters."""
        arguments = dict(self.settings.arguments)
        if self.row.takes_dtype:
            arguments["dtype"] = dtype
        module = self.row.layer(**arguments)
        rng = np.random.default_rng([self.seed, 1])
        for parameter in module.parameters():
            parameter.value[...] = _float32(rng.standard_normal(parameter.value.shape))
        if self.row.prepare is not None:
            self.row.prepare(module, rng)
        return module.train(self.settings.training)

    def inputs(self, dtype: Any) -> Arrays:
        """The inputs, by the law `values`."""
        rng = np.random.default_rng([self.seed, 2])
        law = LAWS["normal" if self.values == "away" else self.values]
        xs = tuple(_float32(law(rng, shape)) for shape in self.settings.shapes)
        if self.row.adjust is not None:
            xs = self.row.adjust(xs)
        if self.values == "away" and self.row.away is not None:
            xs = self.row.away(xs, rng)
        return tuple(lay(np.asarray(x, dtype=np.float32).astype(dtype), self.layout) for x in xs)

    def cotangents(self, ys: Any) -> Arrays:
        """Random numbers for each output, by the seed and in the layout of the sample."""
        return tuple(lay(dy, self.layout) for dy in cotangents(ys, self.seed))

    def __str__(self) -> str:
        return self.name

    def with_values(self, values: str) -> Sample:
        """The same settings under another law."""
        return replace(self, values=values)

    def laid(self, layout: str) -> Sample:
        """The same settings in another memory layout."""
        return replace(self, layout=layout)


def cotangents(ys: Any, seed: int = 0) -> Arrays:
    """Random float32 numbers for each output, in its dtype. Never ones: they hide errors."""
    rng = np.random.default_rng([seed, 3])
    return tuple(
        np.asarray(_float32(rng.standard_normal(y.shape))).astype(y.dtype) for y in as_tuple(ys)
    )


def gradients(module: Module) -> dict[str, np.ndarray]:
    """Copies of the accumulated parameter cotangents on the host, each once, by dotted name."""
    return {name: to_host(p.grad).copy() for name, p in module.named_parameters().items()}


def _float32(x: Any) -> np.ndarray:
    return np.asarray(x, dtype=np.float32)


def _ties(rng: np.random.Generator, shape: Shape) -> np.ndarray:
    return rng.choice([-1.0, -0.5, -0.0, 0.0, 0.5, 1.0], size=shape)


def _wide(rng: np.random.Generator, shape: Shape) -> np.ndarray:
    return rng.standard_normal(shape) * 10.0 ** rng.integers(-6, 7)


def _extreme(rng: np.random.Generator, shape: Shape) -> np.ndarray:
    return rng.standard_normal(shape) * rng.choice([1e-30, 1e30])


def _special(rng: np.random.Generator, shape: Shape) -> np.ndarray:
    odd = [np.inf, -np.inf, np.nan, -0.0, 0.0, 1e-40, -1e-40, 1e30, -1e30]
    return np.where(rng.random(shape) < 0.3, rng.choice(odd, shape), rng.standard_normal(shape))


LAWS: dict[str, Callable[[np.random.Generator, Shape], Any]] = {
    "normal": lambda rng, shape: rng.standard_normal(shape),
    "ties": _ties,
    "wide": _wide,
    "extreme": _extreme,
    "special": _special,
}
