"""Patch-Craft: training targets for a noisy frame, pasted together from its neighbours' patches.

    matches = nearest_patches(burst, patch=33, reach=4)      search.py
    target = Craft(burst, matches, 33).image(0)              targets.py
    threshold = select_threshold(s, m)                       statistics.py
    deal, cut_samples                                        tiles.py
    burst_samples, training_set                              training_set.py

The method on one page: docs/zoo/patch_craft.md.
"""

from __future__ import annotations

from importlib import import_module

from zoo.patch_craft.box import box_sum
from zoo.patch_craft.search import Matches, nearest_patches
from zoo.patch_craft.statistics import (
    Statistics,
    Threshold,
    keep,
    sample_statistics,
    select_threshold,
    statistics_maps,
    tile_statistics,
)
from zoo.patch_craft.targets import Craft
from zoo.patch_craft.tiles import Deal, Samples, augmented, cut_samples, deal, tile_corners
from zoo.patch_craft.training_set import (
    BurstSamples,
    Settings,
    TrainingSet,
    burst_samples,
    exchange,
    first_of_window,
    training_set,
)

try:
    # The fast form of the search. Like the engine, the search is complete without the kernels.
    import_module("zoo.patch_craft.search_numpy")
except ModuleNotFoundError as _error:
    if _error.name not in ("minigrad.kernels", "minigrad.kernels.numpy_threads"):
        raise

__all__ = [
    "Matches",
    "nearest_patches",
    "Craft",
    "box_sum",
    # statistics
    "Statistics",
    "Threshold",
    "tile_statistics",
    "statistics_maps",
    "sample_statistics",
    "select_threshold",
    "keep",
    # tiles
    "Deal",
    "Samples",
    "tile_corners",
    "deal",
    "augmented",
    "cut_samples",
    # training sets
    "Settings",
    "BurstSamples",
    "TrainingSet",
    "burst_samples",
    "training_set",
    "exchange",
    "first_of_window",
]
