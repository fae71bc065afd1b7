"""Variables of a TensorFlow SavedModel: `variables/variables.index` and its data files.

The index is a sorted table as of LevelDB: blocks of entries whose keys share their beginnings, a
block of block addresses, a footer of 48 bytes. An entry's value is a message of protocol buffers
that tells type, shape, data file, place and size. Nothing is executed; the graph is not read.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from zoo.convert.budget import Budget, Refused, plain, shown

_MAGIC = (0xDB4775248B80FB57).to_bytes(8, "little")
_FOOTER, _TRAILER = 48, 5
_KINDS: dict[int, np.dtype[Any]] = {1: np.dtype("<f4"), 2: np.dtype("<f8"), 19: np.dtype("<f2")}
"""TensorFlow's numbers of floating types; variables of others are left out."""
_MOST_INDEX = 16 << 20
_SUFFIX = "/.ATTRIBUTES/VARIABLE_VALUE"


def read_bundle(folder: Path, budget: Budget) -> dict[str, np.ndarray]:
    """Name -> array of the floating variables below the folder of a SavedModel, in the order of
    the network: by the numbers in their names, and within a layer as Keras lists them.

    Raises: Refused.
    """
    index = folder / "variables" / "variables.index"
    try:
        if index.stat().st_size > _MOST_INDEX:
            raise Refused(f"{index.name}: larger than {_MOST_INDEX} bytes")
        content = index.read_bytes()
        found = {
            name: _variable(index.with_suffix(""), name, _message(value), shards, budget)
            for shards, name, value in _variables(content, budget)
        }
    except OSError as error:
        raise Refused(f"cannot read: {error.strerror or error}: {error.filename}") from error
    except (IndexError, ValueError) as error:
        raise Refused(f"{index.name}: damaged: {shown(str(error))}") from error
    kept = {name: array for name, array in found.items() if array is not None}
    return {name: kept[name] for name in sorted(kept, key=_order)}


def _order(name: str) -> tuple[list[int], int, str]:
    words = ("kernel", "gamma", "bias", "beta", "moving_mean", "moving_variance")
    last = name.removesuffix(_SUFFIX).rpartition("/")[2]
    numbers = [int(n) for n in re.findall(r"\d+", name)]
    return numbers, words.index(last) if last in words else 0, name


def _variables(content: bytes, budget: Budget) -> Iterator[tuple[int, str, bytes]]:
    """(number of data files, name, message) of every variable of a network."""
    if len(content) < _FOOTER or content[-8:] != _MAGIC:
        raise Refused("no index of TensorFlow's variables")
    footer = content[-_FOOTER:]
    at = 0
    for _ in range(2):  # of the table's own notes, which are empty
        _, at = _varint(footer, at)
    shards = 0
    for _, handle in _entries(content, *_handle(footer, at), budget):
        for key, value in _entries(content, *_handle(handle, 0), budget):
            if not key:
                shards = int(_message(value).get(1, [1])[0])
                continue
            name = key.decode("utf-8", "replace")
            # Beside the network's variables there are those of an optimiser, and the graph.
            if name.endswith(_SUFFIX) and re.match(r"(layer_with_weights-|variables/)", name):
                yield shards, name, value


def _handle(content: bytes, at: int) -> tuple[int, int]:
    start, at = _varint(content, at)
    return start, _varint(content, at)[0]


def _entries(
    content: bytes, start: int, size: int, budget: Budget
) -> Iterator[tuple[bytes, bytes]]:
    """(key, value) of a block."""
    end = start + size
    if end + _TRAILER > len(content) or size < 4:
        raise ValueError("a block beyond the end")
    if content[end] != 0:
        raise Refused("a compressed index, which TensorFlow does not write")
    end -= 4 + 4 * int.from_bytes(content[end - 4 : end], "little")
    at, key = start, b""
    while at < end:
        shared, at = _varint(content, at)
        fresh, at = _varint(content, at)
        length, at = _varint(content, at)
        if at + fresh + length > end or shared > len(key):
            raise ValueError("an entry beyond the end of its block")
        key = key[:shared] + content[at : at + fresh]
        at += fresh
        budget.step(len(key) + length)
        yield key, content[at : at + length]
        at += length


def _variable(
    stem: Path, name: str, told: dict[int, list[int | bytes]], shards: int, budget: Budget
) -> np.ndarray | None:
    kind = _KINDS.get(_number(told, 1))
    if kind is None:
        return None
    shape = []
    for axis in _message(_bytes(told, 2)).get(2, []):
        if not isinstance(axis, bytes):
            raise ValueError("a shape that is none")
        shape.append(_number(_message(axis), 1))
    shard, offset, size = (_number(told, field) for field in (3, 4, 5))
    if size != math.prod(shape) * kind.itemsize:
        raise ValueError(f"{plain(name)}: {size} bytes for shape {shape}")
    budget.tensor(size, plain(name))
    file = stem.with_name(f"{stem.name}.data-{shard:05d}-of-{shards:05d}")
    with open(file, "rb") as data:
        data.seek(offset)
        values = data.read(size)
    if len(values) != size:
        raise Refused(f"{file.name} ends before {plain(name)}")
    return np.frombuffer(values, kind).reshape(shape)


# ------------------------------------------------------------------------ protocol buffers


def _message(content: bytes) -> dict[int, list[int | bytes]]:
    """Field number -> its values: numbers, or bytes."""
    found: dict[int, list[int | bytes]] = {}
    at = 0
    while at < len(content):
        tag, at = _varint(content, at)
        value: int | bytes
        if tag & 7 == 0:
            value, at = _varint(content, at)
        elif tag & 7 == 2:
            length, at = _varint(content, at)
            value, at = content[at : at + length], at + length
        elif tag & 7 in (1, 5):
            length = 8 if tag & 7 == 1 else 4
            value, at = int.from_bytes(content[at : at + length], "little"), at + length
        else:
            raise ValueError("a field of an unknown kind")
        if at > len(content):
            raise ValueError("a field beyond the end")
        found.setdefault(tag >> 3, []).append(value)
    return found


def _number(told: dict[int, list[int | bytes]], field: int) -> int:
    value = told.get(field, [0])[-1]
    if not isinstance(value, int):
        raise ValueError(f"field {field} is no number")
    return value


def _bytes(told: dict[int, list[int | bytes]], field: int) -> bytes:
    value = told.get(field, [b""])[-1]
    if not isinstance(value, bytes):
        raise ValueError(f"field {field} is no message")
    return value


def _varint(content: bytes, at: int) -> tuple[int, int]:
    """The number that begins at `at`, seven bits a byte, and where it ends."""
    value = 0
    for shift in range(0, 70, 7):
        byte = content[at]
        at += 1
        value |= (byte & 127) << shift
        if byte < 128:
            return value, at
    raise ValueError("a number of more than ten bytes")
