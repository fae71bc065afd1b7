"""The covariance of input and residual, which tells where the search has failed, and its threshold.

With y the input, t the target and r = t - y, over all pixels and channels of a tile,

    s_yr = mean(y r) - mean(y) mean(r),     m_r = mean(r).

Where the target shows the same content with independent noise, s_yr is -sigma^2 on average (sigma
of the input's noise, in units of the pixel values). Where it shows something else, s_yr is lower:
the values have a tail on the left, and the threshold cuts it off.

Everything here is float64 on NumPy, whatever the dtype of the pictures.

Source: as of `zoo.patch_craft.search`.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from minigrad.noise import Noise
from zoo.patch_craft.box import box_sum
from zoo.patch_craft.targets import Craft


class Statistics(NamedTuple):
    """s_yr and m_r of a number of tiles, arrays of one shape."""

    s: np.ndarray
    m: np.ndarray


class Threshold(NamedTuple):
    """Tiles with s > s_min and m_min < m < m_max are kept; m_mean is the mean of their m.

    m_mean is taken off the targets that are kept: choosing by m has moved their mean.
    """

    s_min: float = -np.inf
    m_min: float = -np.inf
    m_max: float = np.inf
    m_mean: float = 0.0


def tile_statistics(input: np.ndarray, target: np.ndarray) -> Statistics:
    """s_yr and m_r of tiles (..., C, h, w): one number a tile, shape (...)."""
    y = input.astype(np.float64)
    r = target - y
    axes = (-3, -2, -1)
    mean_yr, mean_y, mean_r = (x.mean(axis=axes) for x in (y * r, y, r))
    return Statistics(mean_yr - mean_y * mean_r, mean_r)


def statistics_maps(input: np.ndarray, target: np.ndarray, tile: int) -> Statistics:
    """s_yr and m_r of every tile x tile window of an image (C, H, W).

    Element (i, j), 0 <= i <= H - tile, is that of the window with its top left pixel at (i, j).
    Raises: ValueError where the image is smaller than a tile, or the shapes differ.
    """
    if input.shape != target.shape or input.ndim != 3 or min(input.shape[1:]) < tile:
        raise ValueError(
            f"statistics_maps: expected two images (C, H, W) of one shape, at least {tile} pixels "
            f"high and wide, got {input.shape} and {target.shape}"
        )
    y = input.astype(np.float64)
    r = target - y
    n = len(y) * tile * tile
    yr = np.einsum("chw,chw->hw", y, r)
    mean_yr, mean_y, mean_r = (box_sum(x, tile) / n for x in (yr, y.sum(axis=0), r.sum(axis=0)))
    return Statistics(mean_yr - mean_y * mean_r, mean_r)


def sample_statistics(
    craft: Craft, input: np.ndarray, tile: int, noise: Noise, *, images: int | None = None
) -> Statistics:
    """The statistics of a burst, (n,): about one value for each window position, at random.

    Each patch-craft image gives floor(positions / images) values, at random places; no place is
    taken twice. images: how many of the p^2 images, drawn at random, are looked at. None: all, as
    published; fewer give as many values in less time. Where the burst has fewer positions than
    that, as many images as positions are looked at.

    input: the middle frame (C, H, W). Draws from `noise`: the images, the places.
    Raises: ValueError for an image smaller than a tile, or no image.
    """
    positions = max(input.shape[1] - tile + 1, 0) * max(input.shape[2] - tile + 1, 0)
    count = min(craft.offsets if images is None else images, craft.offsets, positions)
    if count < 1:
        raise ValueError(
            f"sample_statistics: expected images of at least {tile}x{tile} pixels and at least one "
            f"of them, got {input.shape} and images {images}"
        )
    offsets = noise.permutation(craft.offsets)[:count]
    places = noise.permutation(positions)[: positions // count * count].reshape(count, -1)
    found = Statistics(*np.empty((2, *places.shape)))
    for i, offset in enumerate(offsets):
        maps = statistics_maps(input, craft.image(int(offset)), tile)
        for values, of_image in zip(found, maps, strict=True):
            values[i] = of_image.reshape(-1)[places[i]]
    return Statistics(*(values.reshape(-1) for values in found))


def select_threshold(
    s: np.ndarray, m: np.ndarray, *, bins: int = 50_001, std_num: float = 3.0
) -> Threshold:
    """The threshold for a training set, from s_yr and m_r of many tiles, (n,) each.

    1. Histogram of s, n_b values in bin b with centre v_b, `bins` bins over [min, max]; b* is the
       first highest one.
    2. R = sum over b > b* of n_b (v_b - v_b*), the weight on the right of the peak.
    3. s_min = v_i for the largest i < b* whose weight on the left, the sum over i <= b < b* of
       n_b (v_b* - v_b), exceeds R: the mean of what is kept is the peak, to one bin. Where there
       is none, there is no tail on the left either, and all are kept (s_min = -inf).
    4. Of the m of those kept: mean and standard deviation d (divided by n); m_min, m_max =
       mean -+ std_num d, and m_mean is the mean of those strictly between.

    std_num: 3 for synthetic noise, 1 for photographs, as published.
    Raises: ValueError for no value, different numbers of values, or one that is not finite.
    """
    if s.shape != m.shape or s.ndim != 1 or not len(s):
        raise ValueError(
            f"select_threshold: expected two arrays (n,), n >= 1, got {s.shape} and {m.shape}"
        )
    if not (np.isfinite(s).all() and np.isfinite(m).all()):
        raise ValueError("select_threshold: a value is not finite")
    counts, edges = np.histogram(s.astype(np.float64), bins)
    centres = (edges[:-1] + edges[1:]) / 2
    peak = int(np.argmax(counts))
    weights = counts * np.abs(centres - centres[peak])
    left = np.cumsum(weights[:peak][::-1])[::-1]  # element i: the weight of bins i ... peak - 1
    heavier = np.flatnonzero(left > weights[peak + 1 :].sum())
    s_min = float(centres[heavier[-1]]) if len(heavier) else -np.inf
    kept = m[s > s_min].astype(np.float64)
    mean, deviation = float(kept.mean()), float(kept.std())
    m_min, m_max = mean - std_num * deviation, mean + std_num * deviation
    between = kept[(kept > m_min) & (kept < m_max)]
    return Threshold(s_min, m_min, m_max, float(between.mean()) if len(between) else mean)


def keep(s: np.ndarray, m: np.ndarray, threshold: Threshold) -> np.ndarray:
    """Which tiles are to be learned from: bool, the shape of s and m."""
    return (s > threshold.s_min) & (m > threshold.m_min) & (m < threshold.m_max)
