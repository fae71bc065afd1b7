"""The picture of a noise model: what is observed for a signal, and how far it scatters. Needs
matplotlib.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from zoo.noise.calibration import Calibration
from zoo.noise.models import NoiseModel

INK, RED = "#1f4e79", "#b03a2e"
CURVES = 4  # signals whose densities are drawn


def figure(model: NoiseModel, seen: Calibration | None = None) -> Any:
    """Densities at some signals, the standard deviation and the bias over the signal; with `seen`
    what was measured beside them.
    """
    from matplotlib.figure import Figure

    made = Figure(figsize=(10, 3.4), layout="constrained")
    left, middle, right = made.subplots(1, 3)
    low, high = model.signals
    margin = 0.02 * (high - low)
    signal = np.linspace(low + margin, high - margin, 80)
    mean, variance = model.moments(signal)
    _densities(left, model, np.linspace(low, high, CURVES + 2)[1:-1])
    middle.plot(signal, np.sqrt(variance), color=INK, label="model")
    right.plot(signal, mean - signal, color=INK, label="model")
    if seen is not None:
        at, measured, scatter = seen.moments()
        middle.plot(at, np.sqrt(scatter), ".", color=RED, label="measured")
        right.plot(at, measured - at, ".", color=RED, label="measured")
        middle.legend(frameon=False, fontsize=8)
    middle.set(xlabel="signal, gray values", ylabel="standard deviation", ylim=(0, None))
    spread = 0.1 * float(np.sqrt(variance.max()))
    right.set(xlabel="signal, gray values", ylabel="mean - signal")
    right.set_ylim(min(-spread, right.get_ylim()[0]), max(spread, right.get_ylim()[1]))
    for axes in (left, middle, right):
        axes.spines[["top", "right"]].set_visible(False)
    return made


def _densities(axes: Any, model: NoiseModel, signals: np.ndarray) -> None:
    _, variance = model.moments(signals)
    reach = 4 * np.sqrt(variance)
    for shade, s, r in zip(np.linspace(1, 0.4, len(signals)), signals, reach, strict=True):
        grid = np.linspace(s - r, s + r, 400)
        density = model.density.astype(np.float64)
        p = density.forward(np.full_like(grid, s), grid)
        axes.plot(grid, p, color=INK, alpha=shade)
        axes.axvline(s, color=INK, alpha=0.3 * shade, linewidth=0.8)
    kind = "density" if model.kind == "gmm" else "probability of a bin"
    axes.set(xlabel="observation, gray values", ylabel=kind, ylim=(0, None))
