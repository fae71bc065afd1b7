"""Wires: what they show, that they refuse everything else, and wires of another composite."""

from __future__ import annotations

import operator
import re
from typing import Any

import numpy as np
import pytest

import minigrad as mg
from minigrad import wiring
from minigrad.wiring import Wire

A = np.ones(2)
VALUES, LEAF = "must not depend on values", "write a leaf for it"
ARITHMETIC: dict[str, tuple[str, Any]] = {
    "x + x": ("leaf Add", lambda x: x + x),
    "1 + x": ("leaf Add", lambda x: 1 + x),
    "array + x": ("leaf Add", lambda x: A + x),
    "x += 1": ("leaf Add", lambda x: operator.iadd(x, 1)),
    "x - x": ("leaf Subtract", lambda x: x - x),
    "array - x": ("leaf Subtract", lambda x: A - x),
    "2 * x": ("leaf Multiply", lambda x: 2 * x),
    "array * x": ("leaf Multiply", lambda x: A * x),
    "x / 2": ("leaf Scale", lambda x: x / 2),
    "array / x": ("leaf Scale", lambda x: A / x),
    "x // 2": (LEAF, lambda x: x // 2),
    "x % 2": (LEAF, lambda x: x % 2),
    "divmod(x, 2)": (LEAF, lambda x: divmod(x, 2)),
    "-x": (LEAF, operator.neg),
    "+x": (LEAF, operator.pos),
    "~x": (LEAF, operator.invert),
    "abs(x)": (LEAF, abs),
    "x ** 2": (LEAF, lambda x: x**2),
    "2 ** x": (LEAF, lambda x: 2**x),
    "x @ x": (LEAF, lambda x: x @ x),
    "array @ x": (LEAF, lambda x: A @ x),
    "x & 1": (LEAF, lambda x: x & 1),
    "1 << x": (LEAF, lambda x: 1 << x),
    "x[0]": ("leaf Split", lambda x: x[0]),
    "x[0] = 1": ("leaf Split", lambda x: operator.setitem(x, 0, 1)),
    "a, b = x": ("leaf Split", tuple),
    "len(x)": ("leaf Split", len),
    "1 in x": ("leaf Split", lambda x: 1 in x),
    "x == 0": (VALUES, lambda x: x == 0),
    "x != 0": (VALUES, lambda x: x != 0),
    "x > 0": (VALUES, lambda x: x > 0),
    "0 > x": (VALUES, lambda x: operator.gt(0, x)),
    "array == x": (LEAF, lambda x: operator.eq(A, x)),
    "if x": (VALUES, bool),
    "float(x)": (VALUES, float),
    "int(x)": (VALUES, int),
    "range(x)": (VALUES, range),
    "round(x)": (VALUES, round),
    "np.asarray(x)": (LEAF, np.asarray),
    "np.exp(x)": (LEAF, np.exp),
    "np.add(x, 1)": ("leaf Add", lambda x: np.add(x, 1)),
    "np.mean(x)": (LEAF, np.mean),
    "np.concatenate([x])": ("leaf Concat", lambda x: np.concatenate([x])),
}


@pytest.mark.parametrize("text", ARITHMETIC)
def test_wires_refuse_arithmetic_and_name_the_leaf(text: str) -> None:
    words, operation = ARITHMETIC[text]

    class Wrong(mg.Composite):
        def wire(self, x: Any) -> Any:
            return operation(x)

    with pytest.raises(TypeError, match=f"a Wire supports no .*{words}"):
        Wrong().forward_and_vjp(np.ones(2))


def test_the_advice_names_leaves_that_exist() -> None:
    advice = " ".join(wiring._ADVICE.values())
    named = set(re.findall(r"\b[A-Z]\w+", advice))
    assert named and all(issubclass(getattr(mg, name), mg.Module) for name in named)


class Leaky(mg.Composite):
    """A composite whose part uses a wire that was not given to it: y = 3 x + x."""

    def __init__(self, use: str) -> None:
        self.triple, self.use = mg.Scale(3.0), use

    def wire(self, x: Any) -> Any:
        outer, use = x, self.use

        class Part(mg.Composite):
            def __init__(self) -> None:
                self.add = mg.Add()

            def wire(self, x: Any) -> Any:
                if use == "output":
                    return outer
                return self.add(x, outer) if use == "second" else self.add(outer, x)

        return Part()(self.triple(x))


@pytest.mark.parametrize(
    ("use", "words"),
    [
        ("second", "Add: input 1 is a wire of another composite"),
        ("first", "Add: input 1 is a wire of another composite"),
        ("output", "Part.wire: what it returned is a wire of another composite"),
    ],
)
def test_a_wire_of_another_composite_is_refused(use: str, words: str) -> None:
    with pytest.raises(TypeError, match=words):
        Leaky(use).forward_and_vjp(np.ones(2))


def test_a_wire_shows_its_shape_and_dtype() -> None:
    seen: list[Any] = []

    class Look(mg.Composite):
        def wire(self, x: Any) -> Any:
            seen.extend([type(x), x.shape, x.dtype])
            return x

    Look().forward_and_vjp(np.ones((2, 3), np.float32))
    assert seen == [Wire, (2, 3), np.float32]
