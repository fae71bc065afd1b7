"""What a run was trained on and what it leaves, in a few numbers that tell a change."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

_PIECE = 1 << 20


def contents(files: Mapping[str, Sequence[Path]]) -> dict[str, Any]:
    """{"files": count, "bytes": total, "sha256": of the list of names, sizes and checksums}.

    files: by their part in training, such as "train" and "validation", which is in the list too.
    The folder is not: pictures may move. Raises OSError.
    """
    lines, total = [], 0
    for part, paths in files.items():
        for path in paths:
            size, checksum = _read(path)
            total += size
            lines.append(f"{part} {path.name} {size} {checksum}\n")
    digest = hashlib.sha256("".join(lines).encode("utf-8", "surrogateescape")).hexdigest()
    return {"files": len(lines), "bytes": total, "sha256": digest}


def change(before: Mapping[str, Any], now: Mapping[str, Any]) -> str:
    """What differs between two contents, in words; "" when nothing does."""
    if before == now:
        return ""
    if (before["files"], before["bytes"]) == (now["files"], now["bytes"]):
        return f"{now['files']} files of the same size with other names, parts or contents"
    told = [f"{item['files']:,} files of {item['bytes']:,} bytes" for item in (before, now)]
    return f"{told[0]} then, {told[1]} now"


def arrays_digest(arrays: Mapping[str, np.ndarray]) -> str:
    """SHA-256 over name, dtype, shape and bytes of each array, by name.

    Equal weights give equal digests; their files need not be equal, the text in them has no order.
    """
    digest = hashlib.sha256()
    for name, array in sorted(arrays.items()):
        digest.update(f"{name} {array.dtype.name} {array.shape}\n".encode())
        digest.update(array.tobytes())
    return digest.hexdigest()


def _read(path: Path) -> tuple[int, str]:
    """Size and checksum of a file."""
    digest, size = hashlib.sha256(), 0
    with path.open("rb") as file:
        while piece := file.read(_PIECE):
            digest.update(piece)
            size += len(piece)
    return size, digest.hexdigest()
