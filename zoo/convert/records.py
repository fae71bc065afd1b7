"""What a pickle is read into: plain containers, and these records in place of everything else.

None of them does anything. They are compared and hashed by identity, so that no file can make a
comparison recursive or a table slow.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from zoo.convert.budget import Budget, Record, Refused, shown

Order = Literal["<", ">"]
"""Of the bytes of a number: the least or the most significant first."""
_MOST_AXES = 32
_MOST = 1 << 58
_SMALL = 1 << 20


@dataclass(frozen=True, eq=False, slots=True)
class Name(Record):
    """A class or a function that the file names. It is not looked up."""

    module: str
    name: str

    def __str__(self) -> str:
        return shown(f"{self.module}.{self.name}")


@dataclass(eq=False, slots=True)
class Made(Record):
    """What calling `name` with `args` would have made, had anything been called."""

    name: Any
    args: tuple[Any, ...] = ()
    state: Any = None
    items: list[Any] | None = None
    entries: dict[Any, Any] | None = None

    def __str__(self) -> str:
        return f"an object of {shown(self.name)}"

    @property
    def attributes(self) -> dict[Any, Any]:
        """The attributes that the object would have had."""
        state = self.state[0] if isinstance(self.state, tuple) and self.state else self.state
        return state if isinstance(state, dict) else {}


@dataclass(frozen=True, eq=False, slots=True)
class Odd(Record):
    """A key of a table or an element of a set that is neither text nor a small integer."""

    value: Any

    def __str__(self) -> str:
        return shown(self.value)


@dataclass(eq=False, slots=True)
class Storage(Record):
    """`count` values of type `kind` that lie one after the other in the file.

    `kind` is the name of a NumPy dtype, or "bfloat16"; `order` is "<" or ">"; `content` is None
    until the container has found it.
    """

    kind: str
    order: Order
    key: str
    count: int
    content: memoryview | None = None

    @property
    def itemsize(self) -> int:
        """Bytes of one value."""
        return 2 if self.kind == "bfloat16" else np.dtype(self.kind).itemsize

    def __str__(self) -> str:
        return "a storage"


@dataclass(frozen=True, eq=False, slots=True)
class View(Record):
    """A tensor: a place, a shape and strides (in values) in a storage."""

    storage: Storage
    kind: str
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]

    def __str__(self) -> str:
        return "a tensor"

    def array(self, budget: Budget, name: str) -> np.ndarray:
        """The tensor's values; bfloat16, which NumPy does not have, as float32 (exactly).

        Raises: Refused when it is larger than the budget, or reaches beyond its storage.
        """
        bfloat16 = self.kind == "bfloat16"
        kind = np.dtype({"bfloat16": "u2", "bool": "u1"}.get(self.kind, self.kind))
        held = self.storage.count * self.storage.itemsize // kind.itemsize
        axes = list(zip(self.shape, self.strides, strict=True))
        reach = self.offset + sum((n - 1) * s for n, s in axes)
        empty = 0 in self.shape
        if not empty and reach >= held:
            raise Refused(f"{name}: reaches to value {reach} of a storage of {held}")
        budget.tensor(math.prod(self.shape) * (4 if bfloat16 else kind.itemsize), name)
        if empty:
            return np.zeros(self.shape, np.float32 if bfloat16 else self.kind)
        if self.storage.content is None:
            raise Refused(f"{name}: its storage {shown(self.storage.key)} is missing")
        stored = kind.newbyteorder(self.storage.order)
        flat = np.frombuffer(self.storage.content, stored, count=held)[self.offset :]
        # A stride along an axis of one value is never taken, and may be any number.
        steps = [s * stored.itemsize * (n > 1) for n, s in axes]
        values = np.lib.stride_tricks.as_strided(flat, self.shape, steps, writeable=False)
        if self.kind == "bool":
            return values != 0
        values = np.asarray(values, kind, order="C")
        return (values.astype("u4") << 16).view("f4") if bfloat16 else values


@dataclass(eq=False, slots=True)
class DType(Record):
    """A NumPy dtype; `text` is empty where it is not a plain number."""

    text: str

    def __str__(self) -> str:
        return "a NumPy dtype"


@dataclass(eq=False, slots=True)
class NumpyArray(Record):
    """A NumPy array; None where its values are not plain numbers."""

    values: np.ndarray | None = None

    def __str__(self) -> str:
        return "a NumPy array"

    @property
    def shape(self) -> tuple[int, ...]:
        """Its shape."""
        return () if self.values is None else self.values.shape

    def array(self, budget: Budget, name: str) -> np.ndarray:
        """The values, in this machine's byte order.

        Raises: Refused when they are no numbers, or larger than the budget.
        """
        if self.values is None:
            raise Refused(f"{name}: an array whose values are not plain numbers")
        budget.tensor(self.values.nbytes, name)
        return np.asarray(self.values, self.values.dtype.newbyteorder("="), order="C")


Tensor = View | NumpyArray


def whole_numbers(value: Any, what: str) -> tuple[int, ...]:
    """`value` as a shape or as strides: few integers, none negative, none huge."""
    if not isinstance(value, Sequence) or isinstance(value, str | bytes):
        raise Refused(f"{what}: expected whole numbers, got {shown(value)}")
    if len(value) > _MOST_AXES:
        raise Refused(f"{what}: {len(value)} axes, more than {_MOST_AXES}")
    for number in value:
        if type(number) is not int or not 0 <= number < _MOST:
            raise Refused(f"{what}: expected whole numbers from 0, got {shown(number)}")
    return tuple(value)


def shape(value: Any, what: str) -> tuple[int, ...]:
    """`value` as a shape whose number of values can be counted even if no axis were empty."""
    found = whole_numbers(value, what)
    if math.prod(max(n, 1) for n in found) >= _MOST:
        raise Refused(f"{what}: larger than any memory")
    return found


def safe_key(value: Any) -> Any:
    """A key that can neither make a table slow nor be hashed or compared without end.

    Python's hash of a text is salted, that of a number is not: equal hashes can be made at will.
    A tuple's is computed with a recursion that knows no limit.
    """
    if value is None or isinstance(value, str | bytes):
        return value
    if isinstance(value, int) and -_SMALL < value < _SMALL:
        return value
    return Odd(value)
