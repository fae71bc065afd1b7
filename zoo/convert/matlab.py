"""MATLAB files of version 5 (and 7): numbers, texts, structures and cells.

A file is a header of 128 bytes and then elements: a type, a number of bytes, the bytes, padded to
8. A variable is an element that consists of elements: flags, shape, name, and what its class
needs. Since version 7 variables are compressed one by one. Arrays lie in column-major order.

Source: MathWorks, "MAT-File Format" (level 5). Version 7.3 is HDF5: `zoo.convert.hdf5`.
"""

from __future__ import annotations

import math
import zlib
from dataclasses import dataclass
from typing import Any

import numpy as np

from zoo.convert.budget import Budget, Refused, shown

SIGNATURE = b"MATLAB 5.0 MAT-file"
_HEADER = 128
_MATRIX, _COMPRESSED = 14, 15
_NUMBERS = {1: "i1", 2: "u1", 3: "i2", 4: "u2", 5: "i4", 6: "u4", 7: "f4", 9: "f8", 12: "i8"}
_NUMBERS |= {13: "u8", 16: "u1", 17: "u2", 18: "u4"}  # the last three are texts: UTF-8, -16, -32
_CELL, _STRUCT, _OBJECT, _CHAR = 1, 2, 3, 4
_CLASSES = {6: "f8", 7: "f4", 8: "i1", 9: "u1", 10: "i2", 11: "u2", 12: "i4", 13: "u4"}
_CLASSES |= {14: "i8", 15: "u8"}
_COMPLEX = 0x0800
_MOST_EXPANSION = 1032  # of deflate
_DEEPEST = 32
_STEP = 200


def read(content: bytes, budget: Budget) -> dict[str, Any]:
    """The variables by name.

    A number is an array with its MATLAB shape, a text a str, a structure a dict (an array of them
    a list), a cell a list; what is none of these (sparse matrices, functions) is None.

    Raises: Refused.
    """
    if len(content) < _HEADER:
        raise Refused("truncated: a MATLAB file that ends in its header")
    if content[126:128] not in (b"IM", b"MI"):
        raise Refused("a MATLAB file without a byte order")
    order = "<" if content[126:128] == b"IM" else ">"
    found: dict[str, Any] = {}
    cursor = _Cursor(memoryview(content), _HEADER, order, budget)
    while cursor.left:
        kind, data = cursor.element()
        if kind == _COMPRESSED:
            inner = _Cursor(_expanded(data, order, budget), 0, order, budget)
            kind, data = inner.element()
        if kind != _MATRIX:
            raise Refused(f"a damaged MATLAB file: an element of type {kind} for a variable")
        name, value = _matrix(_Cursor(data, 0, order, budget), 0)
        found[name] = value
    return found


def _expanded(data: memoryview, order: str, budget: Budget) -> memoryview:
    """A compressed variable, whose size it tells in its first bytes."""
    machine = zlib.decompressobj()
    try:
        head = machine.decompress(bytes(data), 8)
        size = int(np.frombuffer(head, f"{order}u4", 2)[1]) if len(head) == 8 else 0
        if size > _MOST_EXPANSION * len(data):
            raise Refused(f"a damaged MATLAB file: {len(data)} bytes cannot hold {size}")
        budget.tensor(size, "a compressed variable")
        rest = machine.decompress(machine.unconsumed_tail, size) if size else b""
    except zlib.error as error:
        raise Refused(f"a damaged MATLAB file: {error}") from error
    if len(head) < 8 or len(rest) != size:
        raise Refused(f"truncated: a compressed variable of {len(rest)} bytes, expected {size}")
    return memoryview(head + rest)


@dataclass
class _Cursor:
    """A place among elements."""

    content: memoryview
    at: int
    order: str
    budget: Budget

    @property
    def left(self) -> int:
        return len(self.content) - self.at

    def element(self) -> tuple[int, memoryview]:
        """Type and bytes of the next element."""
        self.budget.step(_STEP)
        if self.left < 8:
            raise Refused("truncated: a MATLAB file that ends between its elements")
        first, size = np.frombuffer(self.content[self.at : self.at + 8], f"{self.order}u4")
        kind, size = int(first), int(size)
        if kind >> 16:  # a short element, in one with its tag
            kind, size, begin, end = kind & 0xFFFF, kind >> 16, self.at + 4, self.at + 8
            if size > 4:
                raise Refused(f"a damaged MATLAB file: a short element of {size} bytes")
        else:
            begin = self.at + 8
            end = begin + size + (0 if kind == _COMPRESSED else -size % 8)
            if begin + size > len(self.content):
                raise Refused(f"truncated: an element of {size} bytes, {self.left - 8} are left")
        self.at = min(end, len(self.content))
        return kind, self.content[begin : begin + size]

    def numbers(self) -> np.ndarray:
        """The next element as numbers of the type in which they are stored."""
        kind, data = self.element()
        if kind not in _NUMBERS or len(data) % np.dtype(_NUMBERS[kind]).itemsize:
            raise Refused(f"a damaged MATLAB file: an element of type {kind} for numbers")
        return np.frombuffer(data, self.order + _NUMBERS[kind])


def _matrix(cursor: _Cursor, depth: int) -> tuple[str, Any]:
    """Name and value of a variable, a field or a cell."""
    if not cursor.left:
        return "", np.zeros((0, 0))
    if depth > _DEEPEST:
        raise Refused(f"a MATLAB file that nests deeper than {_DEEPEST} levels")
    flags = cursor.numbers()
    if len(flags) != 2 or flags.dtype.kind != "u":
        raise Refused("a damaged MATLAB file: a variable without its class")
    kind, is_complex = int(flags[0]) & 0xFF, bool(flags[0] & _COMPLEX)
    if kind > max(_CLASSES):
        return "", None  # functions and objects of classes, which begin in another way
    shape = tuple(int(n) for n in cursor.numbers())
    if not 1 < len(shape) <= 32 or min(shape) < 0 or math.prod(max(n, 1) for n in shape) >= 1 << 60:
        raise Refused("a damaged MATLAB file: a shape that cannot be")
    name = _text(cursor.numbers())
    count = math.prod(shape)
    if kind == _CELL:
        return name, [_nested(cursor, depth) for _ in range(count)]
    if kind == _OBJECT:
        cursor.element()  # the name of its class
    if kind in (_STRUCT, _OBJECT):
        return name, _structures(cursor, count, depth)
    if kind == _CHAR:
        return name, _text(cursor.numbers())
    if kind not in _CLASSES or is_complex:
        return name, None
    stored, wanted = cursor.numbers(), np.dtype(_CLASSES[kind])
    if len(stored) != count:
        raise Refused(f"a damaged MATLAB file: {len(stored)} numbers, its shape needs {count}")
    cursor.budget.tensor(count * wanted.itemsize, f"variable {shown(name)}" if name else "an array")
    with np.errstate(all="ignore"):  # numbers of a damaged file may not fit
        return name, stored.astype(wanted).reshape(shape, order="F")


def _nested(cursor: _Cursor, depth: int) -> Any:
    kind, data = cursor.element()
    if kind != _MATRIX:
        raise Refused(f"a damaged MATLAB file: an element of type {kind} in a cell or a structure")
    return _matrix(_Cursor(data, 0, cursor.order, cursor.budget), depth + 1)[1]


def _structures(cursor: _Cursor, count: int, depth: int) -> Any:
    """One structure as a dict, several as a list of them."""
    width = cursor.numbers()
    names = bytes(cursor.element()[1])
    if len(width) != 1 or not 0 < width[0] <= 64 or len(names) % int(width[0]):
        raise Refused("a damaged MATLAB file: a structure without the names of its fields")
    step = int(width[0])
    fields = [
        names[i : i + step].split(b"\0")[0].decode("ascii", "replace")
        for i in range(0, len(names), step)
    ]
    found = []
    for _ in range(count):
        cursor.budget.step(_STEP)
        found.append({field: _nested(cursor, depth) for field in fields})
    return found[0] if count == 1 else found


def _text(codes: np.ndarray) -> str:
    """The characters of a short text; MATLAB stores them as numbers of one to four bytes."""
    if len(codes) > 1 << 16:
        raise Refused(f"a text of {len(codes)} characters in a MATLAB file")
    if codes.dtype.kind not in "iu":
        raise Refused("a text of a MATLAB file that is no text")
    if codes.dtype.itemsize == 1:
        return codes.tobytes().decode("utf-8", "replace")
    return "".join(chr(code) if 0 <= code <= 0x10FFFF else "?" for code in codes.tolist())
