"""The networks by name: listing, making, saving and loading them."""

from __future__ import annotations

import difflib
import fnmatch
import inspect
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import UnionType
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

import numpy as np

from minigrad import checkpoint
from zoo.architectures import (
    BFRCNN,
    HDN,
    MWCNN,
    PSLAE,
    BFDnCNN,
    BFSDenseNet,
    BFUNet,
    DBSNColor,
    DBSNGray,
    Denoiser,
    DivNoising,
    DnCNN,
    KairDnCNN,
    N2NPReLUUNet,
    N2NSimple,
    N2NUNet,
    PCSTDnCNN,
)


class UnknownModelError(KeyError):
    """No network of that name; the message names the nearest ones."""

    def __str__(self) -> str:
        return str(self.args[0])


@dataclass(frozen=True)
class Entry:
    """One network of the registry.

    Attributes:
        name: what a user types.
        make: the class; its keyword arguments are the network's.
        summary: one line.
        source: paper or origin.
        defaults: arguments whose default is another here than in the class.
    """

    name: str
    make: type[Denoiser]
    summary: str
    source: str
    defaults: Mapping[str, Any] = field(default_factory=dict)

    @property
    def arguments(self) -> dict[str, Any]:
        """The constructor's arguments with their defaults."""
        signature = inspect.signature(self.make.__init__)
        own = [p for p in signature.parameters.values() if p.name not in ("self", "dtype", "rng")]
        return {p.name: self.defaults.get(p.name, p.default) for p in own}


REGISTRY: dict[str, Entry] = {
    entry.name: entry
    for entry in (
        Entry(
            "n2n-simple",
            N2NSimple,
            "two strided and two transposed 2x2 convolutions, 34,499 parameters",
            "EPFL EE-559 project (2022)",
        ),
        Entry(
            "n2n-prelu-unet",
            N2NPReLUUNet,
            "small U-Net with PReLU, blocks shared over scales, 211,845 parameters",
            "EPFL EE-559 project (2022)",
        ),
        Entry(
            "n2n-unet",
            N2NUNet,
            "the Noise2Noise U-Net, 991,203 parameters",
            "Lehtinen et al., Noise2Noise (2018)",
        ),
        Entry(
            "dncnn-s",
            DnCNN,
            "DnCNN for one noise level, 17 layers, 556,032 parameters",
            "Zhang et al., Beyond a Gaussian denoiser (2017)",
        ),
        Entry(
            "dncnn-b",
            DnCNN,
            "DnCNN for a range of noise levels, 20 layers, 667,008 parameters",
            "Zhang et al., Beyond a Gaussian denoiser (2017)",
            {"depth": 20},
        ),
        Entry(
            "dncnn-kair",
            KairDnCNN,
            "DnCNN with merged batch norms (form R) or for training (BR), 555,137 parameters",
            "Zhang et al., Beyond a Gaussian denoiser (2017), KAIR",
        ),
        Entry(
            "bf-dncnn",
            BFDnCNN,
            "bias-free DnCNN (bias=True: the plain one), 665,856 parameters",
            "Mohan et al., Robust and interpretable blind image denoising (2020)",
        ),
        Entry(
            "bf-unet",
            BFUNet,
            "small bias-free U-Net, gray or colour, 233,024 parameters",
            "Mohan et al. (2020); Vaksman and Elad, Patch-craft (2023)",
        ),
        Entry(
            "bf-rcnn",
            BFRCNN,
            "bias-free recurrent network, one block used four times, 186,048 parameters",
            "Mohan et al., Robust and interpretable blind image denoising (2020)",
        ),
        Entry(
            "bf-sdensenet",
            BFSDenseNet,
            "bias-free simplified DenseNet of four blocks, 757,440 parameters",
            "Mohan et al., Robust and interpretable blind image denoising (2020)",
        ),
        Entry(
            "pcst-dncnn",
            PCSTDnCNN,
            "bias-free DnCNN for colour, with a norm of its own, 668,160 parameters",
            "Vaksman and Elad, Patch-craft self-supervised training (2023)",
        ),
        Entry(
            "dbsn-gray",
            DBSNGray,
            "blind-spot network with learned noise level, for gray, 6,614,995 parameters",
            "Wu et al., Unpaired learning of deep image denoising (2020)",
        ),
        Entry(
            "dbsn-color",
            DBSNColor,
            "blind-spot network with learned noise covariance, for colour, 6,620,329 parameters",
            "Wu et al., Unpaired learning of deep image denoising (2020)",
        ),
        Entry(
            "mwcnn",
            MWCNN,
            "multi-level wavelet U-Net, the student of D-BSN, 16,145,892 parameters",
            "Liu et al., Multi-level wavelet-CNN (2018); Wu et al. (2020)",
        ),
        Entry(
            "hdn",
            HDN,
            "ladder of latent maps that draws clean pictures, 7,301,697 parameters",
            "Prakash et al., Interpretable unsupervised diversity denoising (2022)",
        ),
        Entry(
            "divnoising",
            DivNoising,
            "variational autoencoder that draws clean pictures, 261,281 parameters",
            "Prakash et al., Fully unsupervised diversity denoising (2021)",
        ),
        Entry(
            "psl-ae",
            PSLAE,
            "patches through a bottleneck, a decoder for each cluster, 1,989,792 parameters",
            "Yang, Yang and Bajaj, Patch subspace learning autoencoder (2021)",
        ),
    )
}


def list_models(pattern: str = "*") -> list[str]:
    """The names that match `pattern` (shell wildcards), sorted."""
    return sorted(name for name in REGISTRY if fnmatch.fnmatch(name, pattern))


def entry(name: str) -> Entry:
    """The entry for `name`.

    Raises:
        UnknownModelError: there is none; the message names the nearest.
    """
    if name not in REGISTRY:
        near = difflib.get_close_matches(name, REGISTRY, n=3, cutoff=0.3) or sorted(REGISTRY)
        raise UnknownModelError(
            f"model: no network is called {name!r}; the nearest: {', '.join(near)}"
        )
    return REGISTRY[name]


def create(name: str, **arguments: Any) -> Denoiser:
    """A new network, its weights drawn afresh.

    Args:
        name: a name of `list_models()`.
        arguments: the network's constructor arguments, and `dtype`, `rng` (a NumPy Generator).

    Raises:
        UnknownModelError: no such network.
        TypeError: an argument that it does not have; the message names those that it has.
    """
    found = entry(name)
    known = found.arguments
    for key in arguments:
        if key not in (*known, "dtype", "rng"):
            raise TypeError(
                f"{name}: no argument is called {key!r}; it takes {', '.join(known)}, dtype, rng"
            )
    model = found.make(**{**found.defaults, **arguments})
    model.architecture = name
    model.arguments = {k: v for k, v in arguments.items() if k in known}
    return model


def save(path: str | Path, model: Denoiser, metadata: Mapping[str, str] | None = None) -> None:
    """Write a network of the registry to a safetensors file that `load` reads.

    Args:
        path: the file; it appears whole or not at all.
        model: made by `create` or `load`.
        metadata: further text fields, such as the noise that it was trained on, beside those of
            `model.metadata`.
    """
    if not model.architecture:
        raise ValueError(
            f"save: {type(model).__name__}: expected a model from zoo.create or zoo.load"
        )
    text = {
        "format": "minigrad-zoo 1",
        "architecture": model.architecture,
        "arguments": json.dumps(model.arguments, sort_keys=True),
        "channels": str(model.channels),
        "value_range": "0 1",
    }
    checkpoint.save(path, model.state_dict(), {**model.metadata, **(metadata or {}), **text})


def load(path: str | Path) -> Denoiser:
    """The network in a safetensors file, in evaluation mode; `model.metadata` holds the file's text
    fields.

    Memory is bounded by the size of the file, whatever its text fields say.

    Raises:
        CheckpointError: the file cannot be read, or is no network of the registry; the message
        names it.
    """
    arrays, metadata = checkpoint.load(path)
    if "architecture" not in metadata:
        raise checkpoint.CheckpointError(
            path, "its metadata names no architecture: not a network written by zoo.save"
        )
    try:
        held = sum(array.size for array in arrays.values())
        name = metadata["architecture"]
        arguments = _arguments(name, metadata.get("arguments", "{}"), most=held)
        model = create(name, **arguments, rng=Blank(held))
        model.load_state_dict(arrays)
        _check_dtypes(model)
    except Exception as error:  # a constructor says in many ways that an argument does not fit
        text = str(error) or type(error).__name__
        raise checkpoint.CheckpointError(path, text) from error
    model.metadata = dict(metadata)
    model.eval()
    return model


def _arguments(name: str, text: str, most: int) -> dict[str, Any]:
    """The constructor arguments of network `name` in a file's JSON text, each of its type.

    A count is at most `most`: whatever it counts, the file must hold something for each.
    """
    found, known = json.loads(text), entry(name)
    if not isinstance(found, dict):
        raise ValueError(f"arguments: expected an object, got {text[:40]}")
    hints = get_type_hints(known.make.__init__)
    for key, value in found.items():
        if key not in known.arguments:  # `dtype` and `rng` are not a file's to choose
            raise ValueError(
                f"arguments: {name} has no {key!r}; it has {', '.join(known.arguments)}"
            )
        if not _fits(value, hints[key]):
            raise ValueError(f"arguments: {key}: {str(value)[:40]!r} is not of type {hints[key]}")
        for count in value if isinstance(value, list) else [value]:
            if type(count) is int and not -most <= count <= most:
                raise ValueError(
                    f"arguments: {key}: {str(count)[:40]}, but the file holds {most} values"
                )
    return found


def _fits(value: Any, hint: Any) -> bool:
    """Whether a JSON value is of the annotated type: a plain one, None, a Literal or a union."""
    if get_origin(hint) is Literal:
        return any(value == choice and type(value) is type(choice) for choice in get_args(hint))
    if get_origin(hint) in (Union, UnionType):
        return any(_fits(value, choice) for choice in get_args(hint))
    if get_origin(hint) is tuple:  # of any length; JSON has lists
        part = get_args(hint)[0]
        return isinstance(value, list) and all(_fits(item, part) for item in value)
    if hint is float:
        return type(value) in (int, float) and math.isfinite(value)
    return type(value) is hint


def _check_dtypes(model: Denoiser) -> None:
    found = {str(a.dtype) for a in model.state_dict().values() if a.dtype.kind == "f"}
    if len(found) > 1:
        raise TypeError(f"tensors of {', '.join(sorted(found))}; expected one floating type")


class Blank(np.random.Generator):
    """Draws zeros, and no more of them than a file of `held` values calls for.

    A network that is about to be loaded needs no random weights; and one that asks for more weights
    than its file holds is refused before it has taken the memory for them.
    """

    def __init__(self, held: int) -> None:
        super().__init__(np.random.PCG64(0))
        self.held = held
        # Some draw twice, as a layer does and then by the paper's law, some biases that none keeps.
        self.left = 3 * held

    def _zeros(self, shape: Any) -> np.ndarray:
        size = math.prod(shape)
        self.left -= size
        if size > self.held or self.left < 0:
            raise ValueError(
                f"its arguments ask for more parameters than the {self.held} values in the file"
            )
        return np.zeros(shape)

    def uniform(self, low: Any = 0.0, high: Any = 1.0, size: Any = ()) -> Any:
        """Zeros of shape `size`."""
        return self._zeros(size)

    def normal(self, loc: Any = 0.0, scale: Any = 1.0, size: Any = ()) -> Any:
        """Zeros of shape `size`."""
        return self._zeros(size)

    def standard_normal(self, size: Any = (), *_: Any, **__: Any) -> Any:
        """Zeros of shape `size`."""
        return self._zeros(size)
