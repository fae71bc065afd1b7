"""Pairs of picture sets: files of the EPFL course EE-559 (2022), and safetensors files of our own.

The course's `train_data.pkl` and `val_data.pkl` are pairs of tensors that PyTorch wrote. They are
read as `zoo convert` reads official weights: nothing of the file is executed, and PyTorch is not
needed.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import safetensors.numpy
from safetensors import SafetensorError, safe_open

from minigrad.files import write_whole

_OBJECTS = 1 << 20  # bytes
_KEYS = (("input", "target"), ("noisy", "clean"))


class DataError(ValueError):
    """A data file cannot be used; one line: the path and the reason."""

    def __init__(self, path: str | Path, reason: str) -> None:
        super().__init__(f"{path}: {' '.join(str(reason).split())}")
        self.path = Path(path)


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
    """Through the reader of official weights files, which executes nothing."""
    from zoo.convert import torch_zip
    from zoo.convert.budget import Budget, Refused, shown
    from zoo.convert.records import View

    try:
        content = path.read_bytes()
        # A pair may be two views of the same values; its pickle has a few hundred bytes.
        budget = Budget(len(content), max_bytes=2 * len(content), objects=_OBJECTS)
        pair = torch_zip.read(content, budget)
        if not isinstance(pair, tuple | list) or len(pair) != 2:
            raise DataError(path, f"expected a pair of tensors, got {shown(pair)}")
        for item in pair:
            if not isinstance(item, View):
                raise DataError(path, f"expected a pair of tensors, got {shown(item)} in it")
            if item.kind != "uint8":
                raise DataError(path, f"expected uint8 tensors, got {item.kind}")
        first, second = (view.array(budget, "a tensor of the pair") for view in pair)
    except Refused as error:
        raise DataError(path, str(error)) from error
    except OSError as error:
        raise DataError(path, f"cannot be read: {error.strerror or error}") from error
    return _check_pair(path, first, second)
