"""Weights files as others write them, sound and hostile, for the tests of `zoo convert`."""

from __future__ import annotations

import io
import pickle
import struct
import zipfile
from typing import Any

import numpy as np
import torch

from zoo.convert.contents import Contents, read_bytes
from zoo.convert.records import NumpyArray, View
from zoo.convert.states import states, stored_sigma

LEGACY = b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19.\x80\x02M\xe9\x03.\x80\x02}."
"""What stands before the object in PyTorch's old format: magic number, protocol, system."""


def saved(content: Any, *, legacy: bool = False, protocol: int = 2) -> bytes:
    """What `torch.save` writes."""
    buffer = io.BytesIO()
    torch.save(
        content,
        buffer,
        pickle_protocol=protocol,
        _use_new_zipfile_serialization=not legacy,
    )
    return buffer.getvalue()


def array(contents: Contents, tensor: Any) -> np.ndarray:
    """The values of a tensor that was read."""
    assert isinstance(tensor, View | NumpyArray)
    return tensor.array(contents.budget, "tensor")


def same(found: np.ndarray, expected: torch.Tensor) -> bool:
    """Bit for bit; bfloat16 as float32."""
    wide = expected.float() if expected.dtype == torch.bfloat16 else expected
    values = wide.detach().contiguous().numpy()
    equal = found.dtype == values.dtype and found.shape == values.shape
    return equal and found.tobytes() == values.tobytes()


def read_all(content: bytes, max_bytes: int = 64 << 20) -> None:
    """Read a file and every tensor of every state dict in it."""
    contents = read_bytes(content, max_bytes=max_bytes)
    for state in states(contents.value, contents.budget):
        for tensor in state.tensors.values():
            array(contents, tensor)
    stored_sigma(contents.value)


def zipped(program: bytes, how: int = zipfile.ZIP_STORED, **members: bytes) -> bytes:
    """A zip archive like PyTorch's; names of further members without the root, `__` for `/`."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", how) as archive:
        archive.writestr("a/data.pkl", program)
        for name, value in members.items():
            archive.writestr("a/" + name.replace("__", "/"), value)
    return buffer.getvalue()


def tensor_program(
    size: bytes = b"K\x02\x85",
    stride: bytes = b"K\x01\x85",
    offset: bytes = b"K\x00",
    kind: bytes = b"ctorch\nFloatStorage\n",
    key: bytes = b"X\x01\x00\x00\x000",
    count: bytes = b"K\x02",
    call: bytes = b"ctorch._utils\n_rebuild_tensor_v2\n",
) -> bytes:
    """The pickle of {"w": tensor}, every part of which can be exchanged."""
    storage = b"(X\x07\x00\x00\x00storage" + kind + key + b"X\x03\x00\x00\x00cpu" + count + b"tQ"
    tensor = call + b"(" + storage + offset + size + stride + b"\x89}tR"
    return b"\x80\x02}X\x01\x00\x00\x00w" + tensor + b"s."


def long(number: int) -> bytes:
    """The opcode of a large number."""
    return b"\x8a\x10" + number.to_bytes(16, "little", signed=True)


def legacy(program: bytes, keys: list[str], values: bytes) -> bytes:
    """A file in PyTorch's old format."""
    return LEGACY + program + pickle.dumps(keys, 2) + values


def floats(*values: float) -> bytes:
    """Values of an old-format storage, with their number before them."""
    return struct.pack(f"<q{len(values)}f", len(values), *values)
