"""Noise models: how likely a gray value of a camera is, given the true one; their files.

    model = load_noise_model("camera.safetensors")
    p = model.density(signal, observation)          gray values, as the camera gives them

The densities themselves are leaves: `minigrad.GaussianMixtureNoiseModel`, a mixture whose
parameters are polynomials of the signal, and `minigrad.HistogramNoiseModel`, a table.

Read are the project's files (.safetensors) and the authors': .npz of a mixture (trained_weight,
min_signal, max_signal, min_sigma), .npy of a table (3, N, N).
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from minigrad import CheckpointError, GaussianMixtureNoiseModel, HistogramNoiseModel, checkpoint
from minigrad.backend import Array

FORMAT = "minigrad-zoo noise model 1"
_LARGEST = 1 << 28  # bytes of an authors' file
_ARGUMENTS = {
    "gmm": ("min_signal", "max_signal", "n_gaussian", "n_coeff", "min_sigma", "tol"),
    "histogram": ("bins", "min_value", "max_value"),
}
Density = GaussianMixtureNoiseModel | HistogramNoiseModel


class NoiseModelError(ValueError):
    """A file holds no noise model; one line with the path and the reason."""

    def __init__(self, path: str | Path, reason: object) -> None:
        super().__init__(f"{path}: {' '.join(str(reason).split())}")


@dataclass(frozen=True)
class NoiseModel:
    """A density, and the gray value that pictures call 1: 255, or 65535 of 16 bits."""

    density: Density
    white: float = 65535.0

    @property
    def kind(self) -> str:
        """`gmm` or `histogram`."""
        return "gmm" if isinstance(self.density, GaussianMixtureNoiseModel) else "histogram"

    @property
    def signals(self) -> tuple[float, float]:
        """The least and the largest signal that it was measured for."""
        density = self.density
        if isinstance(density, GaussianMixtureNoiseModel):
            return density.min_signal, density.max_signal
        return density.min_value, density.max_value

    def moments(self, signal: Array, points: int = 4001) -> tuple[Array, Array]:
        """Mean and variance of the observation for each signal (S,): sums over gray values."""
        low, high = self.signals
        reach = 0.5 * (high - low)
        grid = np.linspace(low - reach, high + reach, points)
        if self.kind == "histogram":
            bins = self.density.bins  # type: ignore[union-attr]
            grid = low + (np.arange(bins) + 0.5) * (high - low) / bins
        s = np.asarray(signal, np.float64)[:, None]
        density = self.density.astype(np.float64)
        p = density.forward(np.broadcast_to(s, (len(s), len(grid))).copy(), grid[None].copy())
        if self.kind == "gmm":
            p = p - density.tol  # type: ignore[union-attr]
        total = p.sum(1)
        mean = (p * grid).sum(1) / total
        return mean, (p * (grid - mean[:, None]) ** 2).sum(1) / total


def save_noise_model(path: str | Path, model: NoiseModel) -> None:
    """Write a file that `load_noise_model` reads; it appears whole or not at all."""
    density = model.density
    given = {name: getattr(density, name) for name in _ARGUMENTS[model.kind]}
    text = {
        "format": FORMAT,
        "kind": model.kind,
        "white": repr(model.white),
        "arguments": json.dumps(given, sort_keys=True),
    }
    checkpoint.save(path, density.state_dict(), text)


def load_noise_model(path: str | Path) -> NoiseModel:
    """The noise model in a file of the project or of the authors (then for 16 bits).

    Raises:
        NoiseModelError: it cannot be read, or holds none; the message names it.
    """
    path = Path(path)
    try:
        if path.suffix in (".npz", ".npy"):
            if path.stat().st_size > _LARGEST:
                raise ValueError(f"larger than {_LARGEST:,} bytes, no noise model")
            read = _authors_mixture if path.suffix == ".npz" else _authors_table
            return NoiseModel(read(np.load(path, allow_pickle=False)))
        arrays, metadata = checkpoint.load(path, finite=True)
        if metadata.get("format") != FORMAT:
            raise ValueError("is no noise model (zoo noise-model fit makes one)")
        return NoiseModel(_made(metadata, arrays), _white(float(metadata["white"])))
    except NoiseModelError:
        raise
    except (OSError, CheckpointError, KeyError, TypeError, ValueError) as error:
        raise NoiseModelError(path, str(error).removeprefix(f"{path}: ")) from error


def _white(value: float) -> float:
    if not (math.isfinite(value) and value > 0):
        raise ValueError(f"white: expected a finite gray value above 0, got {value}")
    return value


def _made(metadata: dict[str, str], arrays: dict[str, Any]) -> Density:
    kind, given = metadata["kind"], json.loads(metadata["arguments"])
    if kind not in _ARGUMENTS or set(given) != set(_ARGUMENTS[kind]):
        raise ValueError(f"a noise model of kind {kind!r} with {sorted(given)}")
    held = sum(array.size for array in arrays.values())
    for name in ("n_gaussian", "n_coeff", "bins"):
        if name in given and not 0 < given[name] <= held:
            raise ValueError(f"{name}: {given[name]}, but the file holds {held} values")
    made: Density
    if kind == "gmm":
        made = GaussianMixtureNoiseModel(**given, rng=np.random.default_rng(0))
    else:
        made = HistogramNoiseModel(**given)
    made.load_state_dict(arrays)
    return made


def _authors_mixture(file: Any) -> GaussianMixtureNoiseModel:
    weight = np.asarray(file["trained_weight"], np.float64)
    if weight.ndim != 2 or len(weight) % 3:
        raise ValueError(f"trained_weight: expected (3 K, C), got {weight.shape}")
    low, high, least = (
        float(np.asarray(file[name]).ravel()[0])
        for name in ("min_signal", "max_signal", "min_sigma")
    )
    made = GaussianMixtureNoiseModel(low, high, len(weight) // 3, weight.shape[1], least)
    made.load_state_dict({"weight": weight})
    return made


def _authors_table(table: np.ndarray) -> HistogramNoiseModel:
    if table.ndim != 3 or table.shape[0] != 3 or table.shape[1] != table.shape[2]:
        raise ValueError(f"expected a table (3, N, N), got {table.shape}")
    low, high = float(table[1].min()), float(table[2].max())
    made = HistogramNoiseModel(table.shape[1], low, high)
    made.load_state_dict({"histogram": np.asarray(table[0], np.float64)})
    return made
