"""Noise laws from their written form."""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable
from typing import Any

from zoo.noise.bernoulli import Bernoulli
from zoo.noise.gaussian import Brown, Correlated, Gaussian
from zoo.noise.impulse import Impulse
from zoo.noise.law import Law, LawError, LevelLaw
from zoo.noise.poisson import Poisson
from zoo.noise.subpixel import SubPixel
from zoo.noise.text import Text

LAWS: dict[str, tuple[type[Law], str]] = {
    "gaussian": (Gaussian, "gaussian:25 or gaussian:0-50 (sigma in units of 1/255)"),
    "brown": (Brown, "brown:25 or brown:25:blur=2 (sigma in units of 1/255, blur in pixels)"),
    "correlated": (
        Correlated,
        "correlated:20 or correlated:20:kernel=3 (sigma in units of 1/255, side of the box)",
    ),
    "poisson": (Poisson, "poisson:30 or poisson:0.001-50 (count at full brightness)"),
    "bernoulli": (Bernoulli, "bernoulli:0.5 or bernoulli:0-0.95 (share of missing pixels)"),
    "text": (Text, "text:0.25 or text:0-0.5 (share of covered pixels)"),
    "impulse": (Impulse, "impulse:0.7 or impulse:0-0.95 (share of replaced pixels)"),
    "subpixel": (SubPixel, "subpixel:8 (side of a block)"),
}
"""Name of a law -> its class, an example of its written form."""

_OPTIONS: dict[str, tuple[str, Callable[[str], Any]]] = {
    "brown": ("blur", float),
    "correlated": ("kernel", int),
}
"""Name of a law -> an option of its own, what reads the option's value."""
_UNITS = {"blur": "PIXELS", "kernel": "SIDE"}

_NUMBER = r"\d+(?:\.\d*)?(?:[eE][+-]?\d+)?|\.\d+(?:[eE][+-]?\d+)?"
_LEVEL = re.compile(rf"({_NUMBER})(?:-({_NUMBER}))?")


def parse(text: str) -> Law:
    """The law that `NAME:LEVEL[:OPTION...]` names.

    LEVEL is a number, or LOW-HIGH for one level per image; an option is `clip`, for `brown`
    also `blur=PIXELS`, for `correlated` `kernel=SIDE`. `parse(law.name) == law`.

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
    own, read = _OPTIONS.get(name, ("", str))
    values: dict[str, Any] = {}
    for option in options:
        key, _, value = option.partition("=")
        if option == "clip":
            values["clip"] = True
        elif own and key == own and re.fullmatch(r"\d+" if read is int else _NUMBER, value):
            values[key] = read(value)
        else:
            known = f"clip, {own}={_UNITS[own]}" if own else "clip"
            raise LawError(f"unknown option {option!r}; known: {known}")
    return values
