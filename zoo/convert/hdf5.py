"""HDF5 files, of Keras and of MATLAB 7.3, through h5py (the extra `convert`).

The HDF5 library reads the file. What it is not allowed to do for a file: follow links to other
files, load plug-ins for unknown filters, or allocate more than the budget for a data set.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np

from zoo.convert.budget import Budget, Refused, shown

SIGNATURE = b"\x89HDF\r\n\x1a\n"
_FILTERS = frozenset((1, 2, 3, 4, 5, 6))  # those of the library itself: deflate, shuffle, ...
_OBJECT = 4000
_MOST_TEXT = 32 << 20
_DEEPEST = 32


def is_hdf5(content: bytes) -> bool:
    """Whether the signature stands at one of the places where it may: 0, 512, 1024, ..."""
    at = 0
    while at < len(content) and at <= 1 << 20:
        if content[at : at + 8] == SIGNATURE:
            return True
        at = at * 2 or 512
    return False


@contextmanager
def opened(content: bytes, budget: Budget) -> Iterator[Tree]:
    """The file in memory, as a tree.

    Raises: Refused, also for what the library says about a damaged file inside the block.
    """
    try:
        import h5py
    except ImportError as error:
        raise Refused(
            "an HDF5 file; reading it needs the extra 'convert' (the package h5py): "
            "pip install '.[convert]'"
        ) from error
    try:
        with h5py.File(h5py.h5f.open_file_image(content)) as file:
            yield Tree(file, len(content), h5py, budget)
    except Refused:
        raise
    # The library raises whatever a damaged field leads to: OSError, KeyError, RuntimeError, ...
    except Exception as error:
        raise Refused(f"a damaged HDF5 file: {shown(str(error), 120)}") from error


class Tree:
    """Groups and data sets of an open file, each step checked and paid for."""

    def __init__(self, file: Any, length: int, h5py: Any, budget: Budget) -> None:
        self.file, self.length, self.h5py, self.budget = file, length, h5py, budget

    def child(self, group: Any, path: str) -> Any:
        """The group or data set at `path` below a group.

        Raises: Refused when there is none, or it is elsewhere.
        """
        for name in filter(None, path.split("/")):
            self.budget.step(_OBJECT)
            if not isinstance(group, self.h5py.Group) or name not in group:
                raise Refused(f"it has no {shown(path)}")
            if type(group.get(name, getlink=True)) is not self.h5py.HardLink:
                raise Refused(f"{shown(path)} is a link to somewhere else")
            group = group[name]
        return group

    def names(self, group: Any) -> list[str]:
        """The names in a group."""
        self.budget.step(_OBJECT + 200 * len(group))
        return list(group)

    def values(self, item: Any, name: str) -> np.ndarray:
        """The numbers, texts or references of a data set, in the order of the file.

        Raises: Refused when it is none, or larger than the budget.
        """
        self.budget.step(_OBJECT)
        if not isinstance(item, self.h5py.Dataset) or item.shape is None:
            raise Refused(f"{shown(name)} is no data set")
        plan = item.id.get_create_plist()
        filters = {plan.get_filter(i)[0] for i in range(plan.get_nfilters())}
        if item.is_virtual or item.external or not filters <= _FILTERS:
            raise Refused(f"{shown(name)} is stored outside the file or in an unknown way")
        if item.dtype.kind not in "fiubO" or (item.dtype.hasobject and not self._refers(item)):
            raise Refused(f"{shown(name)} holds {shown(str(item.dtype))}, expected numbers")
        for count in (item.size, math.prod(item.chunks or (0,))):
            if count * item.dtype.itemsize > self.budget.limit:
                raise Refused(f"{shown(name)}: more than the limit of {self.budget.limit} bytes")
        self.budget.tensor(item.size * item.dtype.itemsize, shown(name))
        values = np.asarray(item[()])
        return values if values.dtype.hasobject else values.astype(values.dtype.newbyteorder("="))

    def _refers(self, item: Any) -> bool:
        return self.h5py.check_ref_dtype(item.dtype) is self.h5py.Reference

    def texts(self, holder: Any, name: str) -> list[str]:
        """An attribute that is a text or a list of them; [] when it is absent."""
        self.budget.step(_OBJECT)
        if name not in holder.attrs:
            return []
        kept = holder.attrs.get_id(name)
        count = math.prod(kept.shape or ())
        # Texts of any length may all be one and the same in the file.
        longest = self.length if kept.dtype.hasobject else kept.dtype.itemsize
        if count > 1 and count * longest > _MOST_TEXT:
            raise Refused(f"attribute {shown(name)} is too long")
        found = np.asarray(holder.attrs[name]).ravel().tolist()
        self.budget.step(100 * len(found))
        return [t.decode("utf-8", "replace") if isinstance(t, bytes) else str(t) for t in found]


# ------------------------------------------------------------------------------- Keras


@dataclass
class KerasLayer:
    """One layer with weights: arrays by their short names, `kernel`, `bias`, `gamma`, ...

    A convolution's kernel has the axes (height, width, in, out). `settings`: what the file says of
    the layer, {} where it holds weights alone.
    """

    name: str
    weights: dict[str, np.ndarray]
    settings: dict[str, Any]


def keras_layers(tree: Tree) -> list[KerasLayer]:
    """The layers that have weights, in the order of the file.

    Files of `model.save` (with the group `model_weights`) and of `model.save_weights`, in HDF5.

    Raises: Refused.
    """
    top = tree.file
    if "model_weights" in tree.names(top):
        top = tree.child(top, "model_weights")
    names = tree.texts(top, "layer_names")
    if not names:
        raise Refused("an HDF5 file, but not of Keras' save or save_weights: no layer_names")
    told = _described(tree)
    found = []
    for name in names:
        group = tree.child(top, name)
        weights = {}
        for path in tree.texts(group, "weight_names"):
            short = path.rsplit("/", 1)[-1].split(":")[0]
            if short in weights:
                raise Refused(f"layer {shown(name)} has several {shown(short)}: layers inside it")
            weights[short] = tree.values(tree.child(group, path), path)
        if weights:
            found.append(KerasLayer(name, weights, told.get(name, {})))
    return found


def _described(tree: Tree) -> dict[str, dict[str, Any]]:
    """The settings of each layer, and its class as `class_name`, from the stored description of the
    network; {} where there is none.
    """
    text = "".join(tree.texts(tree.file, "model_config"))
    try:
        config = json.loads(text)["config"] if text else []
        layers = config if isinstance(config, list) else config["layers"]  # a list in old files
        return {
            str(layer["config"]["name"]): {**layer["config"], "class_name": layer["class_name"]}
            for layer in layers
        }
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise Refused("its description of the network (model_config) is damaged") from error


# ------------------------------------------------------------------------------- MATLAB 7.3


def matlab_variables(tree: Tree, wanted: frozenset[str]) -> dict[str, Any]:
    """The variables and, in structures, the fields whose names are in `wanted`.

    Values as in `zoo.convert.matlab.read`: arrays with their MATLAB shape, texts, dicts, lists.
    """

    def value(item: Any, name: str, depth: int) -> Any:
        if depth > _DEEPEST:
            raise Refused(f"a MATLAB file that nests deeper than {_DEEPEST} levels")
        if isinstance(item, tree.h5py.Group):
            fields = [field for field in tree.names(item) if field in wanted]
            return {f: value(tree.child(item, f), f"{name}/{f}", depth + 1) for f in fields}
        values = tree.values(item, name)
        if values.dtype.hasobject:
            return [
                value(tree.file[reference], f"{name}[{i}]", depth + 1)
                for i, reference in enumerate(values.ravel())
                if reference
            ]
        if "MATLAB_empty" in item.attrs:
            return np.zeros((0, 0))
        if tree.texts(item, "MATLAB_class") == ["char"]:
            return _text(values)
        return values.T

    top = [name for name in tree.names(tree.file) if name in wanted]
    return {name: value(tree.child(tree.file, name), name, 0) for name in top}


def _text(codes: np.ndarray) -> str:
    if codes.size > 1 << 16 or codes.dtype.kind not in "iu":
        raise Refused("a text of a MATLAB file that is no text")
    return "".join(chr(code) if 0 <= code <= 0x10FFFF else "?" for code in codes.T.ravel().tolist())
