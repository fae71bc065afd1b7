"""How a network is judged while it trains: validation tiles, and its metrics on them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from minigrad.backend import device_of, to_device, to_host
from zoo import metrics
from zoo.architectures import Denoiser


@dataclass(frozen=True)
class Tiles:
    """Validation tiles: noisy and clean, each (N, C, H, W) in [0, 1]."""

    noisy: np.ndarray
    clean: np.ndarray


def judge(network: Denoiser, tiles: Tiles, batch: int) -> dict[str, float]:
    """The network's metrics on the tiles, `batch` at a time, its output clipped to [0, 1].

    mse: over all pixels of all tiles. psnr_images, psnr_global: dB, see `zoo.metrics`.
    """
    device = device_of(network.parameters()[0].value)
    outputs = []
    for start in range(0, len(tiles.noisy), batch):
        noisy = to_device(tiles.noisy[start : start + batch], device)
        outputs.append(np.clip(to_host(network.denoise(noisy)), 0, 1))
    return _metrics(np.concatenate(outputs), tiles.clean)


def judge_noisy(tiles: Tiles) -> dict[str, float]:
    """The same metrics of the noisy tiles as they are, not clipped."""
    return _metrics(tiles.noisy, tiles.clean)


def _metrics(estimate: np.ndarray, clean: np.ndarray) -> dict[str, float]:
    difference = np.subtract(estimate, clean, dtype=np.float64)
    return {
        "mse": float(np.mean(difference * difference)),
        "psnr_images": metrics.psnr_images(estimate, clean),
        "psnr_global": metrics.psnr_global(estimate, clean),
    }
