"""How a network is judged while it trains: validation tiles, and its metrics on them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from minigrad.backend import device_of, to_device, to_host
from minigrad.replay import noises, unchanged
from zoo import metrics
from zoo.architectures import Denoiser, evaluating
from zoo.objectives.base import Objective


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


def judge_all(objective: Objective, tiles: Tiles, batch: int) -> dict[str, float]:
    """The network's metrics, and under names with an ending those of what it is compared with; the
    objective's loss where that tells something.

    While the network is trained in parts it is judged by the part that is.
    """
    found: dict[str, float] = {}
    objective.ready()
    for name, denoiser in objective.denoisers().items():
        metrics = judge(denoiser, tiles, batch)
        found |= {f"{key}_{name}" if name else key: value for key, value in metrics.items()}
    if objective.judged_by_loss:
        found["loss"] = judge_loss(objective, tiles, batch)
    return found


def judge_noisy(tiles: Tiles) -> dict[str, float]:
    """The same metrics of the noisy tiles as they are, not clipped."""
    return _metrics(tiles.noisy, tiles.clean)


def judge_loss(objective: Objective, tiles: Tiles, batch: int) -> float:
    """The objective's loss on the noisy tiles, a mean over them: in evaluation mode, at the end of
    its annealing, with the same draws each time.
    """
    device = device_of(objective.network.parameters()[0].value)
    total = 0.0
    objective.anneal(1.0)
    with unchanged(objective), evaluating(objective):
        for noise in noises(objective):
            noise.at(0)
        for start in range(0, len(tiles.noisy), batch):
            noisy = to_device(tiles.noisy[start : start + batch], device)
            total += float(to_host(objective.forward(noisy)[0])) * len(noisy)
    return total / len(tiles.noisy)


def _metrics(estimate: np.ndarray, clean: np.ndarray) -> dict[str, float]:
    difference = np.subtract(estimate, clean, dtype=np.float64)
    return {
        "mse": float(np.mean(difference * difference)),
        "psnr_images": metrics.psnr_images(estimate, clean),
        "psnr_global": metrics.psnr_global(estimate, clean),
    }
