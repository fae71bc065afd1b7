"""The picture of a threshold: the distribution of s_yr, what is kept of it, and tiles of both
kinds. Needs matplotlib.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from zoo.patch_craft.statistics import Threshold, keep, tile_statistics
from zoo.patch_craft.training_set import BurstSamples

INK, GRAY, RED = "#1f4e79", "#b8b8b8", "#b03a2e"
SHOWN = 4  # tiles of either kind


def figure(parts: Sequence[BurstSamples], threshold: Threshold) -> Any:
    """Histogram of s_yr over the windows that were looked at, and training tiles.

    threshold: where the histogram is cut; its s_min may be -inf.
    """
    from matplotlib.figure import Figure

    made = Figure(figsize=(9, 5.2), layout="constrained")
    grid = made.add_gridspec(3, 2 * SHOWN, height_ratios=(2.2, 1, 1))
    _histogram(
        made.add_subplot(grid[0, :]), np.concatenate([p.statistics.s for p in parts]), threshold
    )
    tiles = [p.samples for p in parts]
    input, target = (np.concatenate(x) for x in zip(*tiles, strict=True))
    passes = keep(*tile_statistics(input, target), threshold)
    for column, (which, word) in enumerate(((passes, "kept"), (~passes, "dropped"))):
        chosen = np.flatnonzero(which)
        chosen = (
            chosen[np.linspace(0, len(chosen) - 1, SHOWN).astype(int)] if len(chosen) else chosen
        )
        for place, number in enumerate(chosen):
            at = column * SHOWN + place
            _tile(
                made.add_subplot(grid[1, at]), input[number], f"input, {word}" if not place else ""
            )
            _tile(made.add_subplot(grid[2, at]), target[number], "target" if not place else "")
    return made


def _histogram(axes: Any, s: np.ndarray, threshold: Threshold) -> None:
    low, high = np.quantile(s, [0.002, 0.9999])
    bins = np.linspace(low, high, 160)
    cut = threshold.s_min
    axes.hist(s[s > cut], bins=bins, color=INK, label=f"kept, {np.mean(s > cut):.1%}")
    axes.hist(s[s <= cut], bins=bins, color=GRAY, label=f"dropped, {np.mean(s <= cut):.1%}")
    if np.isfinite(cut):
        axes.axvline(cut, color=RED, linewidth=1, label=f"threshold {cut:.2e}")
    axes.set_xlabel("s_yr, covariance of input and target - input in a window")
    axes.set_ylabel("windows")
    axes.legend(frameon=False, fontsize=8)
    axes.spines[["top", "right"]].set_visible(False)


def _tile(axes: Any, tile: np.ndarray, title: str) -> None:
    shown = np.clip(tile.transpose(1, 2, 0), 0, 1)  # (h, w, C)
    axes.imshow(
        shown if shown.shape[2] == 3 else shown[:, :, 0],
        cmap="gray",
        vmin=0,
        vmax=1,
        interpolation="nearest",
    )
    axes.set_title(title, fontsize=8, loc="left")
    axes.set_axis_off()
