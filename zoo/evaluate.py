"""Judge a denoiser: noise of a given law on clean pictures, PSNR and SSIM with the protocol that
they belong to.

    found = evaluate_folder(model, "Set12", parse("gaussian:25"))
    found.means["psnr_images"], found.protocol
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from minigrad.noise import Noise
from zoo import metrics
from zoo.architectures import Denoiser
from zoo.data.images import list_images, read_image
from zoo.denoise import denoise_image
from zoo.noise import Gaussian, Law

SMALLEST_FOR_SSIM = 11  # side of the window


@dataclass(frozen=True)
class Row:
    """One picture: its name, (height, width), and values by name (dB, or SSIM)."""

    name: str
    size: tuple[int, int]
    values: dict[str, float]


@dataclass(frozen=True)
class Evaluation:
    """What `evaluate` found.

    rows: one per picture, with `psnr_noisy`, `psnr`, `ssim_noisy`, `ssim`.
    means: `psnr_images`, the mean of the pictures' PSNR; `psnr_global`, the PSNR of the mean of
    all squared errors; `ssim`, the mean of the pictures'; and the same of the noisy pictures,
    `*_noisy`.
    protocol: how it was done, in words; no figure is worth more than these.
    """

    rows: list[Row]
    means: dict[str, float]
    protocol: dict[str, str]

    def record(self) -> dict[str, Any]:
        """As plain dictionaries, for JSON."""
        rows = [{"name": r.name, "height_width": list(r.size), **r.values} for r in self.rows]
        return {"images": rows, "means": self.means, "protocol": self.protocol}


def evaluate_folder(
    model: Denoiser,
    folder: str | Path,
    law: Law,
    seed: int = 0,
    *,
    limit: int | None = None,
    **settings: Any,
) -> Evaluation:
    """`evaluate` on the picture files of a folder, in numeric order of their names where these
    are numbers.

    limit: the first pictures only. settings: as `evaluate`.

    Raises:
        ImageError: a file cannot be read.
        ValueError: no pictures.
    """
    files = sorted(list_images(folder), key=_numeric)[:limit]
    if not files:
        raise ValueError(f"{folder}: holds no picture files")

    def pictures() -> Iterator[tuple[str, np.ndarray]]:
        for file in files:
            yield file.name, read_image(file).pixels

    return evaluate(model, pictures(), law, seed, count=len(files), **settings)


def evaluate(
    model: Denoiser,
    pictures: Iterable[tuple[str, np.ndarray]],
    law: Law,
    seed: int = 0,
    *,
    tile: int | None = None,
    ensemble: int = 1,
    count: int | None = None,
    progress: Callable[[str, int, int], None] | None = None,
) -> Evaluation:
    """Add noise to clean pictures, denoise, clip to [0, 1] and compare.

    Args:
        model: a trained network, on any device.
        pictures: (name, pixels) with pixels float (C, H, W) in [0, 1]; taken one by one.
        law: the noise. A law that shrinks the picture (sub-pixel sampling) is judged at the
            smaller size.
        seed: of the noise. Gaussian noise of one level is drawn by
            `numpy.random.default_rng(seed)` anew for each picture; every other law by
            `minigrad.noise.Noise(seed)` at the picture's number.
        tile, ensemble: as `denoise_image`.
        count: number of pictures, for `progress`, which is called with (name, number, count).

    Raises:
        ValueError: no pictures, or one too small for the law.
    """
    rows: list[Row] = []
    errors: list[tuple[float, float, int]] = []  # squared errors of noisy and denoised, values
    for number, (name, pixels) in enumerate(pictures):
        noisy, clean = _observe(law, pixels, seed, number, name)  # (C, h, w) each
        estimate = denoise_image(
            model, noisy.transpose(1, 2, 0), tile=tile, ensemble=ensemble, seed=seed
        )
        estimate = np.clip(estimate.transpose(2, 0, 1), 0, 1)  # (C, h, w)
        rows.append(Row(name, clean.shape[1:], _values(noisy, estimate, clean)))
        errors.append((_squared(noisy, clean), _squared(estimate, clean), clean.size))
        if progress is not None:
            progress(name, number + 1, count or number + 1)
    if not rows:
        raise ValueError("evaluate: pictures: expected at least one")
    return Evaluation(rows, _means(rows, errors), _protocol(law, seed, ensemble))


def _observe(
    law: Law, pixels: np.ndarray, seed: int, number: int, name: str
) -> tuple[np.ndarray, np.ndarray]:
    """(noisy, clean), both (C, h, w)."""
    k = law.scale
    height, width = (side // k * k for side in pixels.shape[1:])
    if 0 in (height, width):
        raise ValueError(
            f"{name}: {pixels.shape[2]}x{pixels.shape[1]} pixels are too few for {law.name}"
        )
    pixels = pixels[:, :height, :width]
    sigma = _fixed_sigma(law)
    if sigma is not None:
        noisy = np.random.default_rng(seed).standard_normal(pixels.shape, dtype=np.float32)
        noisy *= np.float32(sigma / 255)
        noisy += pixels
        return (np.clip(noisy, 0, 1) if law.clip else noisy), pixels
    latent = pixels[None]
    return law(latent, Noise(seed).at(number))[0], law.clean(latent)[0]


def _fixed_sigma(law: Law) -> float | None:
    """Sigma in units of 1/255 of Gaussian noise of one level; None for every other law."""
    fixed = isinstance(law, Gaussian) and law.high in (None, law.low)
    return law.low if isinstance(law, Gaussian) and fixed else None


def _values(noisy: np.ndarray, estimate: np.ndarray, clean: np.ndarray) -> dict[str, float]:
    small = min(clean.shape[1:]) < SMALLEST_FOR_SSIM
    return {
        "psnr_noisy": metrics.psnr_images([noisy], [clean]),
        "psnr": metrics.psnr_images([estimate], [clean]),
        "ssim_noisy": math.nan if small else metrics.ssim(noisy, clean),
        "ssim": math.nan if small else metrics.ssim(estimate, clean),
    }


def _means(rows: list[Row], errors: list[tuple[float, float, int]]) -> dict[str, float]:
    def mean(name: str) -> float:
        return float(np.mean([row.values[name] for row in rows]))

    noisy, denoised, values = (sum(column) for column in zip(*errors, strict=True))
    return {
        "psnr_images_noisy": mean("psnr_noisy"),
        "psnr_images": mean("psnr"),
        "psnr_global_noisy": _decibels(noisy / values),
        "psnr_global": _decibels(denoised / values),
        "ssim_noisy": mean("ssim_noisy"),
        "ssim": mean("ssim"),
    }


def _protocol(law: Law, seed: int, ensemble: int) -> dict[str, str]:
    clipped = "clipped to [0, 1]" if law.clip else "not clipped"
    if _fixed_sigma(law) is not None:
        drawn = (
            f"numpy.random.default_rng({seed}) for each picture, "
            "standard_normal(float32) * sigma/255"
        )
    else:
        drawn = f"minigrad.noise.Noise({seed}) at the number of the picture"
    if law.scale > 1:
        drawn += f"; whole pictures, {law.scale} times smaller"
    return {
        "noise": f"{law.name}: {drawn}",
        "seed": str(seed),
        "noisy": f"{clipped}, not quantised",
        "output": "clipped to [0, 1], not quantised",
        "border": "none left out",
        "ensemble": f"{ensemble} flips and turns averaged" if ensemble > 1 else "none",
        "psnr": "10 log10(1 / mean squared error), all pixels and channels of one picture",
        "psnr_images": "mean of the pictures' PSNR",
        "psnr_global": "PSNR of the mean of all squared errors of the set",
        "ssim": "window 11, sigma 1.5, K1 0.01, K2 0.03, border of 5 left out, mean over channels",
    }


def _squared(a: np.ndarray, b: np.ndarray) -> float:
    return float(np.sum(np.square(a - b, dtype=np.float64)))


def _decibels(mse: float) -> float:
    return math.inf if mse == 0 else -10 * math.log10(mse)


def _numeric(path: Path) -> tuple[int, int, str]:
    """Numbers first and by value (3096 before 12084), then the others by name."""
    digits = "".join(itertools.takewhile(str.isdecimal, path.stem))
    return (0, int(digits), path.name) if digits == path.stem else (1, 0, path.name)
