"""Arrays and text in one safetensors file, written so that a crash cannot damage what was there.

    save("run/model.safetensors", model.state_dict(), {"step": "1000"})
    arrays, metadata = load("run/model.safetensors")

Writing goes to a temporary file in the same folder, which is flushed to the disk and renamed over
the old one; then the folder is flushed.  Reading runs no code from the file, checks every declared
size before it allocates anything, and says what is wrong in a `CheckpointError`, the only
exception that a bad file can cause.
"""

from __future__ import annotations

import json
import math
import os
import re
import shutil
import stat
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import safetensors.numpy

from minigrad.backend import Array, to_host
from minigrad.files import write_whole

MAX_BYTES = 512 << 20
"""Largest file that `load` reads unless told otherwise."""
MAX_HEADER_BYTES = 4 << 20
"""Largest header; some 40,000 tensors.  Parsed text takes up to twenty times its size in memory."""
CHECKSUM = "minigrad.crc32"
"""Metadata key of the checksum that `save` adds, and that `load` verifies and removes."""

_NAME = re.compile(r"[A-Za-z0-9_.\-]+")
_ITEMSIZE = {
    "BOOL": 1,
    "U8": 1,
    "I8": 1,
    "U16": 2,
    "I16": 2,
    "F16": 2,
    "U32": 4,
    "I32": 4,
    "F32": 4,
    "U64": 8,
    "I64": 8,
    "F64": 8,
}
_DTYPES = frozenset(np.dtype(c) for c in "?BbHhefd") | {
    np.dtype(t) for t in ("uint32", "int32", "uint64", "int64")
}


class CheckpointError(Exception):
    """A file cannot be written or read; the message names the file and the reason."""

    def __init__(self, path: str | os.PathLike[str], reason: str) -> None:
        """The file and what is wrong with it."""
        super().__init__(f"{os.fspath(path)}: {reason}")
        self.path, self.reason = Path(path), reason


# --- writing --------------------------------------------------------------------------------------


def save(
    path: str | os.PathLike[str],
    arrays: Mapping[str, Array],
    metadata: Mapping[str, str] | None = None,
) -> None:
    """Write `arrays` and `metadata` to `path`, replacing a file that is there as one act.

    Names consist of letters, digits, `_`, `.` and `-`.  Arrays are boolean, integer or floating,
    of any shape, NumPy's or CuPy's; they come back as NumPy arrays of the same dtype.

    Raises: CheckpointError for a name, dtype or text that the format does not hold, and when the
    disk refuses (full, read-only, broken); an old file then stays as it was and no temporary
    file is left.  Only when the very last act fails, the flush of the folder, is the new file
    already in its place.
    """
    path = Path(path)
    host = {name: _storable(path, name, array) for name, array in arrays.items()}
    text = dict(metadata or {})
    for key, value in text.items():
        if not isinstance(key, str) or not isinstance(value, str) or key == CHECKSUM:
            raise CheckpointError(path, f"metadata: expected text, got {key!r}: {value!r}")
    text[CHECKSUM] = _checksum(host, text)
    try:
        content = safetensors.numpy.save(host, text)
    except ValueError as error:  # text that is not Unicode
        raise CheckpointError(path, f"metadata: {error}") from error
    if (length := int.from_bytes(content[:8], "little")) > MAX_HEADER_BYTES:
        raise CheckpointError(path, f"header of {length} bytes, limit {MAX_HEADER_BYTES}")
    try:
        write_whole(path, content)
    except OSError as error:
        raise CheckpointError(path, f"cannot write: {error.strerror}{_free_space(path)}") from error


def _storable(path: Path, name: str, array: Array) -> np.ndarray:
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise CheckpointError(path, f"tensor name {name!r}: use letters, digits, '_', '.', '-'")
    host = np.asarray(to_host(array), order="C")
    if host.dtype.newbyteorder("=") not in _DTYPES:
        raise CheckpointError(path, f"tensor {name}: dtype {host.dtype} cannot be stored")
    return host


def _free_space(path: Path) -> str:
    try:
        return f" ({shutil.disk_usage(path.parent).free / 1e6:.1f} MB free in {path.parent})"
    except OSError:
        return f" (folder {path.parent} cannot be examined)"


# --- reading --------------------------------------------------------------------------------------


def load(
    path: str | os.PathLike[str], *, max_bytes: int = MAX_BYTES, finite: bool = False
) -> tuple[dict[str, np.ndarray], dict[str, str]]:
    """The arrays and the metadata of a safetensors file.

    `max_bytes` caps the size of the file; with `finite`, a NaN or an infinity is an error too.

    Raises: CheckpointError for everything that is wrong with the file, missing ones included.
    """
    path = Path(path)
    try:
        if not stat.S_ISREG(os.stat(path).st_mode):
            raise CheckpointError(path, "not a regular file")
        with open(path, "rb") as file:
            content = _read(path, file, max_bytes)
        arrays = safetensors.numpy.load(content)
    except CheckpointError:
        raise
    except OSError as error:
        raise CheckpointError(path, f"cannot read: {error.strerror}") from error
    except Exception as error:  # whatever the library says about a malformed file
        raise CheckpointError(path, f"not a valid safetensors file: {error}") from error
    metadata = _parse_header(path, content[8 : 8 + int.from_bytes(content[:8], "little")])[1]
    expected = metadata.pop(CHECKSUM, None)
    if expected is not None and expected != _checksum(arrays, metadata):
        raise CheckpointError(path, "checksum differs: the file is damaged")
    if finite:
        _require_finite(path, arrays)
    return arrays, metadata


def _read(path: Path, file: BinaryIO, max_bytes: int) -> bytes:
    """The whole file, after its header has been found to agree with its size."""
    size = os.fstat(file.fileno()).st_size
    if size > max_bytes:
        raise CheckpointError(path, f"{size} bytes, more than the limit of {max_bytes} (max_bytes)")
    prefix, first = file.read(8), file.read(1)
    length = int.from_bytes(prefix, "little")
    if first not in (b"", b"{"):
        raise CheckpointError(
            path, f"not a safetensors file: header: expected '{{' first, got {first!r}"
        )
    if len(prefix) < 8 or 8 + length > size:
        raise CheckpointError(path, f"truncated: {size} bytes, header declares {length}")
    if length > MAX_HEADER_BYTES:
        raise CheckpointError(path, f"header of {length} bytes, limit {MAX_HEADER_BYTES}")
    header = first + file.read(length - 1) if length else b""
    declared = sum(_parse_header(path, header)[0].values())
    if declared != size - 8 - length:
        raise CheckpointError(
            path, f"tensors declare {declared} bytes, the file holds {size - 8 - length}"
        )
    content = prefix + header + file.read(declared)
    if len(content) != size:
        raise CheckpointError(path, f"changed while it was read: {len(content)} of {size} bytes")
    return content


def _parse_header(path: Path, header: bytes) -> tuple[dict[str, int], dict[str, str]]:
    """The declared size in bytes of each tensor, and the metadata."""

    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        if len(found := dict(pairs)) < len(pairs):
            names = [name for name, _ in pairs]
            twice = next(name for name in names if names.count(name) > 1)
            raise CheckpointError(path, f"header: key {twice!r} appears more than once")
        return found

    if header[:1] != b"{":
        raise CheckpointError(path, f"header: expected '{{' first, got {header[:1]!r}")
    try:
        parsed = json.loads(header.decode("utf-8"), object_pairs_hook=unique)
    except (ValueError, RecursionError) as error:
        raise CheckpointError(path, f"header: not valid JSON: {error}") from error
    metadata = parsed.pop("__metadata__", {})
    if not isinstance(metadata, dict) or any(not isinstance(v, str) for v in metadata.values()):
        raise CheckpointError(path, "header: __metadata__: expected texts under names")
    return {name: _declared_bytes(path, name, entry) for name, entry in parsed.items()}, metadata


def _declared_bytes(path: Path, name: str, entry: Any) -> int:
    if not _NAME.fullmatch(name):
        raise CheckpointError(path, f"tensor name {name!r}: use letters, digits, '_', '.', '-'")
    if not isinstance(entry, dict) or set(entry) != {"dtype", "shape", "data_offsets"}:
        raise CheckpointError(path, f"tensor {name}: expected dtype, shape and data_offsets")
    dtype, shape, offsets = entry["dtype"], entry["shape"], entry["data_offsets"]
    if not isinstance(dtype, str) or dtype not in _ITEMSIZE:
        raise CheckpointError(path, f"tensor {name}: dtype {dtype!r} is not supported")
    if not _sizes(shape) or not _sizes(offsets) or len(offsets) != 2:
        raise CheckpointError(path, f"tensor {name}: bad shape {shape!r} or offsets {offsets!r}")
    size = math.prod(shape) * _ITEMSIZE[dtype]
    if offsets[1] - offsets[0] != size:
        raise CheckpointError(
            path, f"tensor {name}: {dtype} {shape} takes {size} bytes, offsets are {offsets}"
        )
    return size


def _sizes(value: Any) -> bool:
    """Whether `value` is a list of sizes: few enough, and each small enough, to multiply safely."""
    return (
        isinstance(value, list)
        and len(value) <= 64
        and all(type(item) is int and 0 <= item < 1 << 63 for item in value)
    )


def _require_finite(path: Path, arrays: Mapping[str, np.ndarray]) -> None:
    for name, array in arrays.items():
        if array.dtype.kind == "f" and not (good := np.isfinite(array)).all():
            first = tuple(int(i) for i in np.argwhere(~good)[0])
            raise CheckpointError(
                path,
                f"tensor {name}: {array.size - np.count_nonzero(good)} values are not finite, "
                f"the first is {array[first]} at {first}",
            )


def _checksum(arrays: Mapping[str, np.ndarray], metadata: Mapping[str, str]) -> str:
    """CRC-32 over names, dtypes, shapes, bytes and metadata, in the order of the names."""
    value = zlib.crc32(json.dumps(sorted(metadata.items())).encode())
    for name in sorted(arrays):
        array = np.asarray(arrays[name], order="C")
        kind = array.dtype.newbyteorder("<")
        value = zlib.crc32(f"{name} {kind.name} {array.shape}".encode(), value)
        value = zlib.crc32(array.astype(kind, copy=False).tobytes(), value)
    return f"{value:08x}"
