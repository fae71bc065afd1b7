"""Pairs of picture sets: files of the EPFL course EE-559 (2022), and safetensors files of our own.

The course's `train_data.pkl` and `val_data.pkl` were written by PyTorch: a zip archive whose member
`<root>/data.pkl` is a pickled pair of tensors and whose members `<root>/data/<key>` are the raw
values. A pickle is a program; here it is read by an unpickler that knows three harmless names and
refuses every other one, so nothing of the file is executed, and PyTorch is not needed.
"""

from __future__ import annotations

import collections
import io
import math
import pickle
import pickletools
import struct
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import safetensors.numpy
from safetensors import SafetensorError, safe_open

from minigrad.files import write_whole

_PICKLE_LIMIT = 1 << 20  # bytes; the pickle of a pair has a few hundred
_MEMO_LIMIT = 10_000
_KEYS = (("input", "target"), ("noisy", "clean"))


class DataError(ValueError):
    """A data file cannot be used; one line: the path and the reason."""

    def __init__(self, path: str | Path, reason: str) -> None:
        super().__init__(f"{path}: {' '.join(str(reason).split())}")
        self.path = Path(path)


@dataclass(frozen=True)
class _Storage:
    """A persistent id of the pickle: `count` values of type `kind` in the member data/<key>."""

    kind: str
    key: str
    count: int


@dataclass(frozen=True)
class _View:
    """What a pickled tensor says: a place and a shape in a storage. Nothing is allocated."""

    storage: _Storage
    offset: int
    size: tuple[int, ...]
    stride: tuple[int, ...]


@dataclass(frozen=True)
class _StorageKind:
    """Stands for a class such as torch.ByteStorage; it cannot be called."""

    name: str


def read_pairs(path: str | Path) -> tuple[np.ndarray, np.ndarray]:
    """The two sets of pictures in a file, each (N, C, H, W) uint8.

    For training they are (noisy, noisy), for validation (noisy, clean). A course file (a zip
    archive made by torch.save), or safetensors with the keys input, target or noisy, clean.

    Raises: DataError with the path and the reason.
    """
    path = Path(path)
    try:
        with path.open("rb") as file:
            head = file.read(4)
    except OSError as error:
        raise DataError(path, f"cannot be read: {error.strerror or error}") from error
    if not head:
        raise DataError(path, "empty file")
    if head == b"PK\x03\x04":
        return _read_course(path)
    if path.suffix == ".safetensors":
        return _read_safetensors(path)
    raise DataError(path, "neither a zip archive made by torch.save nor a .safetensors file")


def write_pairs(
    path: str | Path, first: np.ndarray, second: np.ndarray, *, validation: bool = False
) -> None:
    """Write two sets (N, C, H, W) uint8 as safetensors: input, target, or noisy, clean.

    validation: the second set is clean.
    """
    path = Path(path)
    _check_pair(path, first, second)
    names = _KEYS[validation]
    sets = map(np.ascontiguousarray, (first, second))
    write_whole(path, safetensors.numpy.save(dict(zip(names, sets, strict=True))))


def _read_safetensors(path: Path) -> tuple[np.ndarray, np.ndarray]:
    try:
        with safe_open(path, framework="numpy") as file:
            found = set(file.keys())
            for names in _KEYS:
                if found == set(names):
                    first, second = (file.get_tensor(name) for name in names)
                    break
            else:
                raise DataError(path, f"expected keys input, target or noisy, clean, got {found}")
    except (SafetensorError, TypeError) as error:
        raise DataError(path, f"damaged safetensors file: {error}") from error
    return _check_pair(path, first, second)


def _check_pair(path: Path, first: np.ndarray, second: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    for array in (first, second):
        if array.dtype != np.uint8 or array.ndim != 4 or array.shape != first.shape:
            raise DataError(
                path,
                "expected two uint8 arrays (N, C, H, W) of one shape, got "
                f"{first.dtype} {first.shape} and {second.dtype} {second.shape}",
            )
    return first, second


# --- course files --------------------------------------------------------------------------------


def _read_course(path: Path) -> tuple[np.ndarray, np.ndarray]:
    file_size = path.stat().st_size
    try:
        with zipfile.ZipFile(path) as archive:
            root, program = _program(path, archive)
            pair = _unpickled(path, program)
            members = {view.storage.key: view.storage for view in pair}
            values = {
                key: _values(path, archive, f"{root}/data/{key}", storage, file_size)
                for key, storage in members.items()
            }
            arrays = [_array(path, view, values[view.storage.key]) for view in pair]
    except DataError:
        raise
    except (zipfile.BadZipFile, OSError, EOFError, RuntimeError, ValueError, struct.error) as error:
        raise DataError(path, f"truncated or damaged zip archive: {error}") from error
    return _check_pair(path, arrays[0], arrays[1])


def _program(path: Path, archive: zipfile.ZipFile) -> tuple[str, bytes]:
    """Root folder in the archive and the pickle."""
    found = [item for item in archive.infolist() if item.filename.endswith("/data.pkl")]
    if len(found) != 1 or found[0].filename.count("/") != 1:
        raise DataError(path, "not made by torch.save: no single member <root>/data.pkl")
    if any(item.compress_type != zipfile.ZIP_STORED for item in archive.infolist()):
        raise DataError(path, "not made by torch.save: a member is compressed")
    if found[0].file_size > _PICKLE_LIMIT:
        raise DataError(path, f"its pickle has {found[0].file_size} bytes, limit {_PICKLE_LIMIT}")
    root = found[0].filename.partition("/")[0]
    order = f"{root}/byteorder"
    if order in archive.namelist() and archive.getinfo(order).file_size > 16:
        raise DataError(path, "its byteorder member is too long")
    if order in archive.namelist() and archive.read(order).strip() != b"little":
        raise DataError(path, "its values are not little-endian")
    return root, archive.read(found[0])


def _unpickled(path: Path, program: bytes) -> tuple[_View, _View]:
    try:
        for opcode, argument, _ in pickletools.genops(program):
            # A memo is a table that the unpickler grows up to the index that it is told.
            if "PUT" in opcode.name and isinstance(argument, int) and argument > _MEMO_LIMIT:
                raise pickle.UnpicklingError(f"memo index {argument}")
        pair = _Unpickler(io.BytesIO(program)).load()
    # A damaged or hostile pickle raises whatever its opcodes lead to.
    except Exception as error:
        raise DataError(path, f"refused, not a plain pair of tensors: {error}") from error
    if not (
        isinstance(pair, tuple | list)
        and len(pair) == 2
        and all(isinstance(item, _View) for item in pair)
    ):
        raise DataError(path, f"expected a pair of tensors, got {type(pair).__name__}")
    return pair[0], pair[1]


class _Unpickler(pickle.Unpickler):
    """Knows tensors' rebuild function, storage kinds and OrderedDict; refuses every other name."""

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) == ("torch._utils", "_rebuild_tensor_v2"):
            return _view
        if (module, name) == ("collections", "OrderedDict"):
            return collections.OrderedDict
        if module == "torch" and name.isidentifier() and name.endswith("Storage"):
            return _StorageKind(name)
        raise pickle.UnpicklingError(f"it asks for {module}.{name}")

    def persistent_load(self, pid: Any) -> _Storage:
        if not (isinstance(pid, tuple) and len(pid) == 5 and pid[0] == "storage"):
            raise pickle.UnpicklingError(f"unknown persistent id {str(pid)[:80]}")
        _, kind, key, _, count = pid
        if not isinstance(kind, _StorageKind) or type(count) is not int or count < 0:
            raise pickle.UnpicklingError("a storage without a kind or a count")
        if not isinstance(key, str) or not key.isalnum():
            raise pickle.UnpicklingError(f"storage key {str(key)[:80]!r}")
        return _Storage(kind.name, key, count)


def _view(storage: Any, offset: Any, size: Any, stride: Any, *_: Any) -> _View:
    """What `torch._utils._rebuild_tensor_v2` is called with, kept as it is."""
    if not isinstance(storage, _Storage):
        raise pickle.UnpicklingError("a tensor without a storage")
    numbers = (offset, *size, *stride)
    if not all(type(item) is int and item >= 0 for item in numbers) or len(size) != len(stride):
        raise pickle.UnpicklingError("a tensor whose offset, size or stride is not whole numbers")
    return _View(storage, offset, tuple(size), tuple(stride))


def _values(
    path: Path, archive: zipfile.ZipFile, name: str, storage: _Storage, file_size: int
) -> np.ndarray:
    """The bytes of a storage; every size is compared before memory is asked for."""
    if storage.kind != "ByteStorage":
        raise DataError(path, f"expected uint8 tensors (ByteStorage), got {storage.kind}")
    try:
        member = archive.getinfo(name)
    except KeyError:
        raise DataError(path, f"its member {name} is missing") from None
    if member.file_size > file_size:
        raise DataError(path, f"its member {name} is larger than the file")
    if member.file_size != storage.count:
        raise DataError(
            path, f"its member {name} has {member.file_size} bytes, expected {storage.count}"
        )
    values = np.empty(storage.count, np.uint8)
    with archive.open(member) as file:
        filled = 0
        while filled < storage.count:
            got = file.readinto(values.data[filled:])  # type: ignore[attr-defined]
            if not got:
                raise DataError(path, f"its member {name} is truncated")
            filled += got
    return values


def _array(path: Path, view: _View, values: np.ndarray) -> np.ndarray:
    """The tensor as an array; only dense row-major views are accepted."""
    count = math.prod(view.size)
    dense = tuple(math.prod(view.size[axis + 1 :]) for axis in range(len(view.size)))
    if view.offset + count > len(values):
        raise DataError(path, f"a tensor {view.size} is larger than its {len(values)} values")
    for size, stride, expected in zip(view.size, view.stride, dense, strict=True):
        if size > 1 and stride != expected:
            raise DataError(path, f"a tensor {view.size} has strides {view.stride}, not {dense}")
    return values[view.offset : view.offset + count].reshape(view.size)
