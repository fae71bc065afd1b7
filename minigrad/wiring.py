"""Wiring: a network is told once, and run in several ways. This file is reverse mode.

A composite says how its parts are connected, in ordinary calls:

    class Block(Composite):
        def wire(self, x):
            e = self.encode(x)
            # x is used twice: its two cotangents add.
            return self.decode(self.concat(self.up(e), x))

`forward` runs that text on arrays. `forward_and_vjp` runs it on *wires*: each call is written down
on a tape together with the vjp that the called module returned, and the tape is pulled from its
end.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any, NamedTuple, NoReturn, Protocol

import numpy as np

from minigrad.backend import Array, array_module, is_array
from minigrad.module import Module, Vjp, as_tuple, once
from minigrad.replay import unchanged


class Recorder(Protocol):
    """Whoever follows a composite's wiring."""

    def run(self, module: Module, *inputs: Any) -> Any:
        """Compute `module` on the wires' values and return wires of its outputs."""


class Wire:
    """A value on its way between two modules of a composite.

    It shows its `shape` and `dtype` and can be given to modules; it supports no arithmetic, because
    arithmetic belongs into a leaf, where its vjp is written.
    """

    __slots__ = ("key", "recorder", "value")

    def __init__(self, value: Array, key: int, recorder: Recorder) -> None:
        """A wire that carries `value` under the number `key` for `recorder`."""
        self.value, self.key, self.recorder = value, key, recorder

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the array on the wire."""
        return self.value.shape

    @property
    def dtype(self) -> Any:
        """Dtype of the array on the wire."""
        return self.value.dtype


_VALUES = "the wiring must not depend on values"
_LEAF = "write a leaf for it, with its vjp, and make that a part of the composite"
_ADVICE = {
    "+": "use the leaf Add (Offset for a constant) as a part of the composite",
    "-": "use the leaf Subtract (Offset for a constant) as a part of the composite",
    "*": "use the leaf Multiply (Scale for a constant) as a part of the composite",
    "/": f"use the leaf Scale for a constant, else {_LEAF}",
    "indexing": f"use the leaf Split as a part of the composite, or {_LEAF}",
    "concatenate": "use the leaf Concat as a part of the composite",
    "comparison": _VALUES,
    "conversion to a number": _VALUES,
}
_REFUSED = {
    "+": "add radd iadd",
    "-": "sub rsub isub",
    "*": "mul rmul imul",
    "/": "truediv rtruediv itruediv",
    "//": "floordiv rfloordiv ifloordiv divmod rdivmod",
    "%": "mod rmod imod",
    "**": "pow rpow ipow",
    "@": "matmul rmatmul imatmul",
    "& | ^": "and rand iand or ror ior xor rxor ixor",
    "<< >>": "lshift rlshift ilshift rshift rrshift irshift",
    "sign": "neg pos abs invert",
    "indexing": "getitem setitem delitem iter reversed len contains",
    "comparison": "eq ne lt le gt ge",
    "conversion to a number": "bool int float complex index round trunc floor ceil",
    "conversion to an array": "array",
}
_UFUNCS = {"add": "+", "subtract": "-", "multiply": "*", "divide": "/"}


def _refusal(what: str) -> Any:
    def refuse(self: Wire, *others: object, **more: object) -> NoReturn:
        raise TypeError(f"a Wire supports no `{what}`: {_ADVICE.get(what, _LEAF)}")

    return refuse


def _refuse_numpy(self: Wire, function: Any, *others: object, **more: object) -> Any:
    """For `array + wire` and `numpy.exp(wire)`, which NumPy handles before Python does."""
    return _refusal(_UFUNCS.get(function.__name__, function.__name__))(self)


for _what, _names in _REFUSED.items():
    for _name in _names.split():
        setattr(Wire, f"__{_name}__", _refusal(_what))
for _name in ("__array_ufunc__", "__array_function__"):
    setattr(Wire, _name, _refuse_numpy)


def same_form(like: Any, items: Sequence[Any]) -> Any:
    """`items` in the form of `like`: alone, a tuple, or the same NamedTuple class."""
    if not isinstance(like, tuple):
        return items[0]
    return type(like)(*items) if hasattr(like, "_fields") else tuple(items)


class _Input(NamedTuple):
    """What the tape remembers of an input: where its cotangent goes, how it must look; no array."""

    key: int | None  # None: a constant array, wants no cotangent
    shape: tuple[int, ...]
    dtype: Any


class Tape:
    """The whole of reverse mode: a list of steps, a dictionary of cotangents, and a sum.

    The list is written in the order of computation, so reading it backwards is a reverse
    topological order. Steps store keys, not arrays: what a step's vjp kept dies as soon as that
    step has been pulled. Keys count from 1 on every tape, so wires of another tape are refused.
    """

    def __init__(self) -> None:
        """An empty tape."""
        self.steps: list[tuple[Module, Vjp, list[_Input], list[int]]] = []
        self.count = 0

    def wire(self, value: Array) -> Wire:
        """A new wire with a key of its own."""
        self.count += 1
        return Wire(value, self.count, self)

    def run(self, module: Module, *inputs: Any) -> Any:
        """Compute `module`, write its vjp down, return wires of its outputs.

        Raises:
            TypeError: an input is a wire of another tape; the message names `module` and input.
        """
        for i, x in enumerate(inputs):
            if isinstance(x, Wire) and x.recorder is not self:
                raise TypeError(f"{type(module).__name__}: input {i} {_FOREIGN}")
        y, vjp = module.forward_and_vjp(*(x.value if isinstance(x, Wire) else x for x in inputs))
        outs = [self.wire(out) for out in as_tuple(y)]
        ins = [_Input(x.key if isinstance(x, Wire) else None, x.shape, x.dtype) for x in inputs]
        self.steps.append((module, vjp, ins, [out.key for out in outs]))
        return same_form(y, outs)

    def pull(self, cotangents: dict[int, Array]) -> dict[int, Array]:
        """Pull the cotangents of outputs (key -> dy) back to the keys that no step produced."""
        while self.steps:
            module, vjp, ins, outs = self.steps.pop()
            dys = [cotangents.pop(key, None) for key in outs]
            if all(dy is None for dy in dys):
                continue  # nothing downstream used this step
            dxs = as_tuple(vjp(*dys))
            del vjp, dys  # this step's residuals die here
            if len(dxs) != len(ins):
                raise ValueError(
                    f"{type(module).__name__}: its vjp returned {len(dxs)} cotangents for "
                    f"{len(ins)} inputs"
                )
            for i, (x, dx) in enumerate(zip(ins, dxs, strict=True)):
                if dx is None or x.key is None:
                    continue
                if dx.shape != x.shape or dx.dtype != x.dtype:
                    raise ValueError(
                        f"{type(module).__name__}: cotangent of input {i}: "
                        f"expected {x.dtype} {x.shape}, got {dx.dtype} {dx.shape}"
                    )
                # Out of place: dx may be an array that somebody else holds.
                cotangents[x.key] = cotangents[x.key] + dx if x.key in cotangents else dx
        return cotangents


_FOREIGN = "is a wire of another composite: hand it to this one's wire() as an argument"


class Composite(Module):
    """A module that only connects modules: subclasses define `wire`, and nothing else."""

    def wire(self, *xs: Any) -> Any:
        """The connections, as calls of child modules on `xs`; returns one output or a tuple."""
        raise NotImplementedError(f"{type(self).__name__} does not define wire")

    def forward(self, *xs: Array) -> Any:
        """Run the wiring on arrays. No closure is made, so intermediate arrays die when used."""
        return self.wire(*xs)

    def forward_and_vjp(self, *xs: Array) -> tuple[Any, Vjp]:
        """Run the wiring on a tape; the vjp pulls it.

        Raises:
            TypeError: `wire` returned something else than wires, or wires of another composite.
        """
        tape = Tape()
        ins = [tape.wire(x) for x in xs]
        in_keys = [x.key for x in ins]
        y = self.wire(*ins)
        del ins
        outs = as_tuple(y)
        for out in outs:
            if not isinstance(out, Wire):
                raise TypeError(
                    f"{type(self).__name__}.wire returned {type(out).__name__}, expected wires"
                )
            if out.recorder is not tape:
                raise TypeError(f"{type(self).__name__}.wire: what it returned {_FOREIGN}")
        out_keys = [out.key for out in outs]
        values = same_form(y, [out.value for out in outs])
        del y, outs

        def vjp(*dys: Array | None) -> Any:
            seeds: dict[int, Array] = {}
            for key, dy in zip(out_keys, dys, strict=True):
                if dy is not None:  # one wire returned twice: its cotangents add
                    seeds[key] = seeds[key] + dy if key in seeds else dy
            cotangents = tape.pull(seeds)
            dxs = tuple(cotangents.get(key) for key in in_keys)
            return dxs[0] if len(dxs) == 1 else dxs

        return values, once(vjp, self, values)

    def macs(self, *shapes: tuple[int, ...]) -> int:
        """Multiply-adds of one forward pass: the sum over the leaves, a shared one once per use.

        The shapes inside are found by a run on zeros in the dtype of the parameters; noise and
        buffers are left as they were.
        """
        floats = [a for a in self.state_dict().values() if a.dtype.kind == "f"]
        like = floats[0] if floats else np.zeros((), np.float32)
        xs = [array_module(like).zeros(shape, like.dtype) for shape in shapes]
        with unchanged(self):
            return sum(step.macs for step in Trace(self).follow(*xs).steps)


class Step(NamedTuple):
    """One leaf of a traced forward pass."""

    path: str
    module: Module
    inputs: tuple[tuple[int, ...], ...]
    outputs: tuple[tuple[int, ...], ...]
    macs: int
    seconds: float


class Trace:
    """A recorder that follows the wiring to the leaves: their shapes, multiply-adds and time.

    `Trace(network).follow(x).steps` lists the leaves in the order of computation; a shared leaf
    once per use.
    """

    def __init__(self, network: Module) -> None:
        """A trace of `network`; names are those of its `named_modules`, a shared module's first."""
        self.network = network
        self.steps: list[Step] = []
        self.names: dict[int, str] = {}
        for name, module in network.named_modules():
            self.names.setdefault(id(module), name)

    def follow(self, *xs: Array) -> Trace:
        """Run the network on `xs` (as `forward` does) and fill `steps`; returns self."""
        self.run(self.network, *(Wire(x, 0, self) for x in xs))
        return self

    def run(self, module: Module, *inputs: Any) -> Any:
        """Step into a composite; time and list a leaf."""
        if isinstance(module, Composite):
            return module.wire(*inputs)
        values = [x.value if isinstance(x, Wire) else x for x in inputs]
        start = time.perf_counter()
        y = module.forward(*values)
        seconds = time.perf_counter() - start
        shapes = tuple(v.shape for v in values if is_array(v))
        outs = as_tuple(y)
        self.steps.append(
            Step(
                self.names.get(id(module), type(module).__name__),
                module,
                shapes,
                tuple(o.shape for o in outs),
                module.macs(*shapes),
                seconds,
            )
        )
        return same_form(y, [Wire(o, 0, self) for o in outs])
