"""What a planted fault is, and how it is put into the engine and taken out again."""

from __future__ import annotations

import ast
import functools
import importlib
import inspect
import textwrap
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from minigrad.backend import Replaceable, definitions_only

KINDS = {
    "sign": "a sign turned",
    "factor": "a factor or a term forgotten",
    "exchange": "two arguments, weights or axes of a matrix exchanged",
    "flip": "an order not reversed, or reversed without need",
    "axis": "another axis",
    "broadcast": "no sum over the axes along which an input was broadcast",
    "reduction": "a mean for a sum, another divisor, a part of the sum",
    "border": "borders, bins or windows shifted, exchanged or one too short",
    "tie": "the other branch where two values are equal",
    "branch": "a branch taken everywhere, or nowhere",
    "statistics": "a biased variance, or moving statistics that do not move",
    "mask": "a mask not applied",
    "detached": "a cotangent for an input that has none, or none for one that has",
    "constant": "a constant of another size",
    "blind": "a vjp that is right for cotangents of ones only",
    "rounding": "infinities, NaN, or digits lost",
    "form": "another shape, or an empty batch that raises",
    "layout": "a result that depends on the strides",
    "dtype": "float64 that leaks in",
    "writes": "a write into an array that was received or returned",
    "state": "something of one call left behind for the next",
    "accumulate": "an assignment where cotangents add",
    "keeps": "more kept than is needed",
    "once": "a vjp that can be called again",
    "wiring": "a cotangent lost or made up between modules",
}
"""Kind of a fault -> what was done wrong."""


@dataclass(frozen=True)
class Fault:
    """One error.

    Attributes:
        kind: one of `KINDS`.
        subject: the row or the composite that the checks run on.
        name: what was done wrong there.
        target: `module:function` or `module:Class.method`.
        edits: pairs (text of the source, text in its place).
        caught_by: the check that must fail, by its function's name.
    """

    kind: str
    subject: str
    name: str
    target: str
    edits: tuple[tuple[str, str], ...]
    caught_by: str

    @property
    def title(self) -> str:
        """The subject and what is wrong with it."""
        return f"{self.subject}: {self.name}"


@contextmanager
def planted(fault: Fault) -> Iterator[None]:
    """Within this context the engine has the fault, and no kernel hides it.

    Raises:
        LookupError: a text to be replaced does not occur exactly once, or the target is inherited.
    """
    module_name, path = fault.target.split(":")
    module = importlib.import_module(module_name)
    *outer, name = path.split(".")
    owner: Any = functools.reduce(getattr, outer, module)
    if name not in vars(owner):
        raise LookupError(f"fault {fault.title!r}: {fault.target} does not define {name}")
    original = inspect.getattr_static(owner, name)
    if isinstance(original, Replaceable):
        owner, name, original = original, "definition", original.definition
    setattr(owner, name, _edited(fault, original))
    try:
        with definitions_only():
            yield
    finally:
        setattr(owner, name, original)


def _edited(fault: Fault, function: Any) -> Any:
    text = textwrap.dedent(inspect.getsource(function))
    for old, new in fault.edits:
        if text.count(old) != 1:
            raise LookupError(f"fault {fault.title!r}: {old!r} stands {text.count(old)} times")
        text = text.replace(old, new)
    tree = ast.parse(text)
    definition = tree.body[0]
    assert isinstance(definition, ast.FunctionDef)
    definition.decorator_list = []
    made: dict[str, Any] = {}
    # Its own globals: a function may be planted where it was imported to.
    names = inspect.unwrap(function).__globals__
    exec(compile(tree, f"<fault: {fault.title}>", "exec"), names, made)
    return made[definition.name]
