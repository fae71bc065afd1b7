"""The most likely picture among draws, by mean shift: one of many clean pictures, and sharp, where
their mean is a blend.
"""

from __future__ import annotations

import numpy as np

MOST_SHIFTS = 300
ROUNDS = 15


def mode_of(samples: np.ndarray, bandwidth: float, least: float, factor: float = 0.9) -> np.ndarray:
    """Where the samples lie densest: the mean of a ball that has followed them.

    Samples are points with a coordinate a pixel. From their mean on, the point moves to the mean of
    the samples within `bandwidth` of it (Euclidean), until it moves less than a thousandth of that;
    then again with a bandwidth smaller by `factor`, as long as it is at least `least`.

    Args:
        samples: (K, ...), the draws.
        bandwidth, least: lengths in the space of whole pictures, in the units of the samples: the
            authors take 200 and 100 gray values for small tiles.

    Returns:
        (...), float64.

    Raises:
        ValueError: no samples, or lengths that are not 0 < least <= bandwidth, 0 < factor < 1.

    Source: Prakash et al., Fully unsupervised diversity denoising (2021), and the authors' code.
    """
    if not len(samples) or not 0 < least <= bandwidth or not 0 < factor < 1:
        raise ValueError(
            "mode_of: expected at least one sample, 0 < least <= bandwidth, 0 < factor < 1; got "
            f"{len(samples)} samples, {least}, {bandwidth}, {factor}"
        )
    points = samples.reshape(len(samples), -1).astype(np.float64)
    at = points.mean(0)
    for _ in range(ROUNDS):
        at = _shifted(points, at, bandwidth)
        bandwidth *= factor
        if bandwidth < least:
            break
    return at.reshape(samples.shape[1:])


def _shifted(points: np.ndarray, at: np.ndarray, bandwidth: float) -> np.ndarray:
    for _ in range(MOST_SHIFTS):
        near = points[np.linalg.norm(points - at, axis=1) <= bandwidth]
        if not len(near):
            return at
        before, at = at, near.mean(0)
        if np.linalg.norm(at - before) <= 1e-3 * bandwidth:
            break
    return at


def tiled_mode_of(
    samples: np.ndarray,
    bandwidth: float,
    least: float,
    factor: float = 0.9,
    *,
    tile: int = 32,
    overlap: int = 8,
) -> np.ndarray:
    """As `mode_of`, for square tiles of samples (K, C, H, W) by themselves: a large picture has so
    many pixels that no two draws of it are near. Tiles overlap; each is taken from half of the
    overlap on. Returns (C, H, W).

    Raises:
        ValueError: as `mode_of`, or an overlap that is not below the tile.
    """
    if not 0 <= overlap < tile:
        raise ValueError(f"tiled_mode_of: expected 0 <= overlap < tile, got {overlap}, {tile}")
    height, width = samples.shape[2:]
    found = np.zeros(samples.shape[1:])
    rows, columns = (_starts(n, tile, tile - overlap) for n in (height, width))
    for x in columns:
        for y in rows:
            part = samples[:, :, y : y + tile, x : x + tile]
            mode = mode_of(part, bandwidth, least, factor)
            top, left = (overlap // 2 if at else 0 for at in (y, x))
            found[:, y + top : y + tile, x + left : x + tile] = mode[:, top:, left:]
    return found


def _starts(length: int, tile: int, step: int) -> list[int]:
    """Where tiles begin; the last one ends at the border."""
    last = max(0, length - tile)
    return sorted({*range(0, last, step), last})
