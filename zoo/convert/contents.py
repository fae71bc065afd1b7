"""What kind of file it is, and what it holds."""

from __future__ import annotations

import hashlib
import json
import os
import stat
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import safetensors.numpy

from minigrad.checkpoint import CheckpointError
from zoo.convert import hdf5, matlab, sequence, torch_legacy, torch_zip
from zoo.convert.budget import MAX_BYTES, Budget, Refused, shown
from zoo.convert.records import NumpyArray

_MATLAB_73 = b"MATLAB 7.3 MAT-file"
_TAR = 257  # where its magic word stands
_STRANGERS = (
    (b"version https://git-lfs", "a pointer of Git LFS, not the file itself: git lfs pull gets it"),
    (b"<", "a web page, not the file that it offers"),
    (b"\x1f\x8b", "compressed by gzip; unpack it first"),
)
"""How files begin that are taken for weights, and what to say about them."""


@dataclass
class Contents:
    """What a file holds, read but not yet searched.

    Attributes:
        container: the format, for messages.
        value: of a PyTorch file the object in it (plain containers and `records`), else None.
        layers: of a Keras or MATLAB file its convolutions, else None.
        budget: what is left for its tensors.
        metadata: the text fields of a safetensors file.
        sha256: of the file.
    """

    container: str
    value: Any
    layers: list[sequence.Convolution] | None
    budget: Budget
    metadata: dict[str, str] = field(default_factory=dict)
    sha256: str = ""


def read_checkpoint(path: str | os.PathLike[str], *, max_bytes: int = MAX_BYTES) -> Contents:
    """The contents of an official weights file, whatever its format. Nothing in it is executed.

    `max_bytes` caps the size of the file, and of all tensors together.

    Raises: CheckpointError naming the file, for everything that is wrong with it.
    """
    path = Path(path)
    try:
        return read_bytes(whole_file(path, max_bytes), max_bytes=max_bytes)
    except Refused as error:
        raise CheckpointError(path, str(error)) from error


def whole_file(path: Path, max_bytes: int) -> bytes:
    """The bytes of a file; Refused where it is none, is too large, or cannot be read."""
    try:
        status = os.stat(path)
        if not stat.S_ISREG(status.st_mode):
            raise Refused("not a regular file")
        if status.st_size > max_bytes:
            raise Refused(f"{status.st_size} bytes, more than the limit of {max_bytes}")
        with open(path, "rb") as file:
            return file.read(max_bytes)
    except OSError as error:
        raise Refused(f"cannot read: {error.strerror or error}") from error


def read_bytes(content: bytes, *, max_bytes: int = MAX_BYTES) -> Contents:
    """The contents of a file that is in memory.

    Raises: Refused, with the reason.
    """
    found = _read(content, Budget(len(content), max_bytes))
    found.sha256 = hashlib.sha256(content).hexdigest()
    return found


def _read(content: bytes, budget: Budget) -> Contents:
    if not content:
        raise Refused("an empty file")
    if content[:4] == torch_zip.SIGNATURE:
        return Contents("PyTorch zip", torch_zip.read(content, budget), None, budget)
    if content[:19] == matlab.SIGNATURE:
        layers = sequence.of_matconvnet(matlab.read(content, budget))
        return Contents("MATLAB 5", None, layers, budget)
    if hdf5.is_hdf5(content):
        return _read_hdf5(content, budget)
    if content[_TAR : _TAR + 5] == b"ustar":
        raise Refused(
            "a tar archive, the format of PyTorch before 0.1.10; load and save it once with a "
            "PyTorch before 2.0 and convert the result"
        )
    if content[8:9] == b"{" and 8 + int.from_bytes(content[:8], "little") <= len(content):
        return _read_safetensors(content, budget)
    for beginning, reason in _STRANGERS:
        if content.startswith(beginning):
            raise Refused(reason)
    if not _may_be_pickle(content):
        raise Refused("no weights file: neither PyTorch's, HDF5, MATLAB's nor safetensors")
    value, plain = torch_legacy.read(content, budget)
    return Contents("pickle" if plain else "PyTorch legacy", value, None, budget)


def _may_be_pickle(content: bytes) -> bool:
    """Protocols from 2 on begin with PROTO; earlier ones with a container, a number or a name, as
    texts may; but they end with STOP.
    """
    return content[:1] == b"\x80" or (content[:1] in b"(]})lcILMN" and content[-1:] == b".")


def _read_hdf5(content: bytes, budget: Budget) -> Contents:
    with hdf5.opened(content, budget) as tree:
        if content[:19] == _MATLAB_73:
            variables = hdf5.matlab_variables(tree, sequence.MATCONVNET_FIELDS)
            return Contents("MATLAB 7.3", None, sequence.of_matconvnet(variables), budget)
        return Contents("Keras HDF5", None, sequence.of_keras(hdf5.keras_layers(tree)), budget)


def _read_safetensors(content: bytes, budget: Budget) -> Contents:
    try:
        arrays = safetensors.numpy.load(content)
        header = json.loads(content[8 : 8 + int.from_bytes(content[:8], "little")])
    except KeyError as error:  # of a number format that NumPy does not have
        raise Refused(f"tensors of type {shown(error.args[0])}, which is not supported") from error
    # The library says in many ways that a file is malformed.
    except Exception as error:
        raise Refused(f"not a valid safetensors file: {shown(str(error))}") from error
    value = {name: NumpyArray(array) for name, array in arrays.items()}
    return Contents("safetensors", value, None, budget, header.get("__metadata__", {}))
