"""Noise laws from their written form."""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable
from typing import Any, NamedTuple

from zoo.noise.bernoulli import Bernoulli
from zoo.noise.gaussian import Brown, Correlated, Gaussian
from zoo.noise.heteroscedastic import Heteroscedastic
from zoo.noise.impulse import Impulse
from zoo.noise.law import Law, LawError, LevelLaw
from zoo.noise.multivariate import Multivariate
from zoo.noise.poisson import Poisson
from zoo.noise.stripes import Stripes
from zoo.noise.subpixel import SubPixel
from zoo.noise.subspace import SubspaceGlobal, SubspaceHeterogeneous
from zoo.noise.text import Text

LAWS: dict[str, tuple[type[Law], str]] = {
    "gaussian": (Gaussian, "gaussian:25 or gaussian:0-50 (sigma in units of 1/255)"),
    "brown": (Brown, "brown:25 or brown:25:blur=2 (sigma in units of 1/255, blur in pixels)"),
    "correlated": (
        Correlated,
        "correlated:20 or correlated:20:kernel=3 (sigma in units of 1/255, side of the box)",
    ),
    "heteroscedastic": (
        Heteroscedastic,
        "heteroscedastic:40 or heteroscedastic:40:delta=10 (deviations alpha * clean and delta "
        "in units of 1/255)",
    ),
    "multivariate": (Multivariate, "multivariate:75 or multivariate:75:fixed (units of 1/255)"),
    "poisson": (Poisson, "poisson:30 or poisson:0.001-50 (count at full brightness)"),
    "bernoulli": (Bernoulli, "bernoulli:0.5 or bernoulli:0-0.95 (share of missing pixels)"),
    "text": (Text, "text:0.25 or text:0-0.5 (share of covered pixels)"),
    "impulse": (Impulse, "impulse:0.7 or impulse:0-0.95 (share of replaced pixels)"),
    "stripes": (
        Stripes,
        "stripes:25 or stripes:25:white=25 (deviations of the rows and of single values, in units "
        "of 1/255)",
    ),
    "psl-global": (SubspaceGlobal, "psl-global:0.02 (variance of values in [0, 1])"),
    "psl-heterogeneous": (
        SubspaceHeterogeneous,
        "psl-heterogeneous:1 (strength; 1 as published)",
    ),
    "subpixel": (SubPixel, "subpixel:8 (side of a block)"),
}
"""Name of a law -> its class, an example of its written form."""

_NUMBER = r"\d+(?:\.\d*)?(?:[eE][+-]?\d+)?|\.\d+(?:[eE][+-]?\d+)?"
_LEVEL = re.compile(rf"({_NUMBER})(?:-({_NUMBER}))?")


class _Option(NamedTuple):
    """An option with a value: what it looks like, in words and as a pattern, and what it sets."""

    shown: str
    pattern: str
    read: Callable[[str], dict[str, Any]]


def _range(text: str) -> dict[str, Any]:
    low, high = _LEVEL.fullmatch(text).groups()  # type: ignore[union-attr]
    top = None if high is None or float(high) == float(low) else float(high)
    return {"delta": float(low), "delta_high": top}


_OPTIONS: dict[str, dict[str, _Option]] = {
    "brown": {"blur": _Option("PIXELS", _NUMBER, lambda text: {"blur": float(text)})},
    "correlated": {"kernel": _Option("SIDE", r"\d+", lambda text: {"kernel": int(text)})},
    "heteroscedastic": {"delta": _Option("LEVEL", _LEVEL.pattern, _range)},
    "stripes": {"white": _Option("LEVEL", _NUMBER, lambda text: {"white": float(text)})},
}
"""Name of a law -> its options with a value."""
_WORDS = {
    "gaussian": ("official",),
    "heteroscedastic": ("official",),
    "multivariate": ("fixed", "official"),
}
"""Name of a law -> the words that it knows beside `clip`."""


def parse(text: str) -> Law:
    """The law that `NAME:LEVEL[:OPTION...]` names.

    LEVEL is a number, or LOW-HIGH for one level per image; an option is `clip`, for `brown`
    also `blur=PIXELS`, for `correlated` `kernel=SIDE`, for `heteroscedastic` `delta=LEVEL`, for
    `multivariate` `fixed`; for the last two and `gaussian` `official`. `parse(law.name) == law`.

    Raises: LawError, which lists the known laws and the nearest name.
    """
    name, _, rest = text.strip().partition(":")
    if name not in LAWS:
        near = difflib.get_close_matches(name.lower(), LAWS, n=1, cutoff=0.4)
        hint = f"; did you mean {near[0]!r}?" if near else ""
        raise LawError(f"noise {text!r}: unknown law {name!r}{hint}; known: {', '.join(LAWS)}")
    law, example = LAWS[name]
    level, *options = rest.split(":")
    found = _LEVEL.fullmatch(level.strip())
    if not found:
        raise LawError(f"noise {text!r}: expected {example}, got level {level!r}")
    low, high = found.group(1), found.group(2)
    try:
        if issubclass(law, LevelLaw):
            top = None if high is None or float(high) == float(low) else float(high)
            return law(low=float(low), high=top, **_options(name, options))
        if high is not None or not low.isdigit() or options:
            raise LawError(f"expected {example}")
        return SubPixel(k=int(low))
    except LawError as error:
        raise LawError(f"noise {text!r}: {error}") from None


def _options(name: str, options: list[str]) -> dict[str, Any]:
    own, words = _OPTIONS.get(name, {}), ("clip", *_WORDS.get(name, ()))
    values: dict[str, Any] = {}
    for option in options:
        key, _, value = option.partition("=")
        if option in words:
            values[option] = True
        elif key in own and re.fullmatch(own[key].pattern, value):
            values |= own[key].read(value)
        else:
            known = ", ".join([*words, *(f"{key}={known.shown}" for key, known in own.items())])
            raise LawError(f"unknown option {option!r}; known: {known}")
    return values
