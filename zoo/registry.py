"""The networks by name: listing, making, saving and loading them."""

from __future__ import annotations

import difflib
import fnmatch
import inspect
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from minigrad import checkpoint
from zoo.architectures import Denoiser, N2NPReLUUNet, N2NSimple, N2NUNet


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
    """

    name: str
    make: type[Denoiser]
    summary: str
    source: str

    @property
    def arguments(self) -> dict[str, Any]:
        """The constructor's arguments with their defaults."""
        signature = inspect.signature(self.make.__init__)
        own = [p for p in signature.parameters.values() if p.name not in ("self", "dtype", "rng")]
        return {p.name: p.default for p in own}


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
    model = found.make(**arguments)
    model.architecture = name
    model.arguments = {k: v for k, v in arguments.items() if k in known}
    return model


def save(path: str | Path, model: Denoiser, metadata: Mapping[str, str] | None = None) -> None:
    """Write a network of the registry to a safetensors file that `load` reads.

    Args:
        path: the file; it appears whole or not at all.
        model: made by `create` or `load`.
        metadata: further text fields, such as the noise that it was trained on.
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
    checkpoint.save(path, model.state_dict(), {**(metadata or {}), **text})


def load(path: str | Path) -> Denoiser:
    """The network in a safetensors file, in evaluation mode; `model.metadata` holds the file's text
    fields.

    Raises:
        CheckpointError: the file cannot be read, or says nothing of its architecture; the message
        names it.
    """
    arrays, metadata = checkpoint.load(path)
    if "architecture" not in metadata:
        raise checkpoint.CheckpointError(
            path, "its metadata names no architecture: not a network written by zoo.save"
        )
    try:
        model = create(metadata["architecture"], **json.loads(metadata.get("arguments", "{}")))
        model.load_state_dict(arrays)
    except (KeyError, TypeError, ValueError) as error:
        raise checkpoint.CheckpointError(path, str(error)) from error
    model.metadata = dict(metadata)
    model.eval()
    return model
