"""PSL-AE's released networks: a folder that holds each of them as Keras saved it.

    folder/celeba_encoder, celeba_classifier, celeba_decoder1, celeba_decoder2

Each a SavedModel, or an HDF5 file of that name and an ending. Which is which is told by the words
`encoder` (not `contrastive_encoder`, stage 1 alone), `classifier` and `decoder` in the names;
decoders in the order of the numbers in theirs.
"""

from __future__ import annotations

import hashlib
import math
import re
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from zoo.convert import hdf5
from zoo.convert.budget import MAX_BYTES, Budget, Refused, plain
from zoo.convert.contents import Contents, whole_file
from zoo.convert.records import NumpyArray
from zoo.convert.tensor_bundle import read_bundle

_ENDINGS = (".h5", ".hdf5", ".keras.h5")
_MOST_BYTES = 4 << 20


def read_networks(folder: Path, *, max_bytes: int = MAX_BYTES) -> Contents:
    """All networks of the folder as one state dict under the zoo's names and layouts.

    Raises: Refused.
    """
    found = sorted(p for p in folder.iterdir() if p.is_dir() or p.suffix in _ENDINGS)
    parts = {"encoder": [], "classifier": [], "decoder": []}  # type: dict[str, list[Path]]
    for path in found:
        kind = next((k for k in parts if k in path.name), None)
        if kind and "contrastive" not in path.name:
            parts[kind].append(path)
    if len(parts["encoder"]) != 1 or len(parts["classifier"]) != 1 or not parts["decoder"]:
        names = ", ".join(plain(p.name) for p in found) or "nothing"
        raise Refused(f"a folder with {names}; expected one encoder, one classifier, some decoders")
    budget, digest = Budget(_MOST_BYTES, max_bytes), hashlib.sha256()
    decoders = sorted(parts["decoder"], key=_by_number)
    state: dict[str, np.ndarray] = {}
    named = [("encoder", parts["encoder"][0]), ("classifier", parts["classifier"][0])]
    named += [(f"decoders.{k}", path) for k, path in enumerate(decoders)]
    for prefix, path in named:
        arrays = _arrays(path, budget, max_bytes)
        for array in arrays:
            digest.update(array.tobytes())
        try:
            state |= {f"{prefix}.{name}": a for name, a in _translated(prefix, arrays).items()}
        except (ValueError, IndexError) as error:
            shapes = ", ".join(str(a.shape) for a in arrays[:6])
            raise Refused(f"{plain(path.name)}: not such a network: {shapes}, ...") from error
    value = {name: NumpyArray(np.ascontiguousarray(array)) for name, array in state.items()}
    return Contents("Keras networks", value, None, budget, sha256=digest.hexdigest())


def _by_number(path: Path) -> tuple[list[int], str]:
    return [int(n) for n in re.findall(r"\d+", path.name)], path.name


def _arrays(path: Path, budget: Budget, max_bytes: int) -> list[np.ndarray]:
    """The weights of one network, in its order."""
    if path.is_dir():
        return list(read_bundle(path, budget).values())
    with hdf5.opened(whole_file(path, max_bytes), budget) as tree:
        return [a for layer in hdf5.keras_layers(tree) for a in layer.weights.values()]


def _translated(prefix: str, arrays: list[np.ndarray]) -> dict[str, np.ndarray]:
    """Keras' axes to PyTorch's: (h, w, in, out) and (h, w, out, in) alike to the other end."""
    if prefix == "encoder":
        names = [f"conv{i}" for i in range(1, 6)], ["fc1", "fc2"]
        found = _pairs(arrays[:10], names[0]) | _pairs(arrays[14:], names[1])
        for name, array in zip(
            ("weight", "bias", "running_mean", "running_var"), arrays[10:14], strict=True
        ):
            found[f"bn.{name}"] = array
        channels = len(found["bn.weight"])
        found["fc1.weight"] = found["fc1.weight"][:, _order(found["fc1.weight"].shape[1], channels)]
        return found
    if prefix == "classifier":
        return _pairs(arrays, ["fc1", "fc2"])
    found = _pairs(arrays, ["fc", *(f"deconv{i}" for i in range(1, len(arrays) // 2))])
    order = _order(len(found["fc.bias"]), found["deconv1.weight"].shape[0])
    return {**found, "fc.weight": found["fc.weight"][order], "fc.bias": found["fc.bias"][order]}


def _pairs(arrays: list[np.ndarray], names: Iterable[str]) -> dict[str, np.ndarray]:
    """Kernel and bias of each layer."""
    found = {}
    for name, kernel, bias in zip(names, arrays[::2], arrays[1::2], strict=True):
        if kernel.ndim not in (2, 4) or bias.ndim != 1:
            raise ValueError(f"{name}: {kernel.shape}, {bias.shape}")
        found[f"{name}.weight"] = kernel.T if kernel.ndim == 2 else kernel.transpose(3, 2, 0, 1)
        found[f"{name}.bias"] = bias
    return found


def _order(count: int, channels: int) -> np.ndarray:
    """Where each number of channel, row, column stands in Keras' order of row, column, channel."""
    side = math.isqrt(count // channels)
    return np.arange(count).reshape(side, side, channels).transpose(2, 0, 1).ravel()
