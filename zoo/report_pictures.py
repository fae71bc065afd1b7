"""The pictures of a report: photographs before and after, and what a network finds on the way.

A blind-spot network shows more than others: mu, which the surroundings of each pixel say, and the
noise that it estimates, as a map where it differs from pixel to pixel.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from minigrad.noise import Noise
from zoo.architectures import BlindSpotDenoiser, Denoiser, NoiseMap, PriorMean
from zoo.data.images import read_image
from zoo.data.picture import with_channels
from zoo.denoise import denoise_image
from zoo.metrics import psnr_images
from zoo.noise import Law

CROP = 256  # pixels that are shown of a photograph, before sub-pixel sampling 1,024
FIRST_SEED = 10_000  # of the noise: far from the small numbers that recipes use
DRAWS = 64  # of the noise, whose root mean square is its true level


@dataclass(frozen=True)
class Panel:
    """A picture (C, h, w) in [0, 1] and the words above it; a map of noise is (h, w), in units of
    1/255.
    """

    caption: str
    pixels: np.ndarray


@dataclass(frozen=True)
class Example:
    """One photograph: its name, (height, width), the PSNR of the noisy and of the denoised one in
    dB, and what is shown of it.
    """

    name: str
    size: tuple[int, int]
    psnr_noisy: float
    psnr: float
    panels: tuple[Panel, ...]


def before_after(model: Denoiser, law: Law, file: Path, number: int) -> Example:
    """The middle of a photograph with noise of this law, denoised by the network; `number` chooses
    the noise.
    """
    pixels = read_image(file).pixels
    latent = _middle(pixels, CROP if law.scale == 1 else 4 * CROP, law.scale)
    latent = with_channels(latent, 1 if model.channels == 1 else 3)[None]
    noisy, clean = law(latent, Noise(FIRST_SEED + number).at(0))[0], law.clean(latent)[0]

    def seen(by: Denoiser) -> np.ndarray:
        return denoise_image(by, noisy.transpose(1, 2, 0)).transpose(2, 0, 1)

    denoised = np.clip(seen(model), 0, 1)
    before, after = (psnr_images([picture], [clean]) for picture in (noisy, denoised))
    words = f"denoised, {after:.2f} dB"
    panels = [Panel(f"{file.stem}, noisy, {before:.2f} dB", noisy)]
    maps: list[Panel] = []
    if isinstance(model, BlindSpotDenoiser):
        mu, level = np.clip(seen(PriorMean(model)), 0, 1), _levels(seen(NoiseMap(model)))
        panels.append(Panel(f"mu, {psnr_images([mu], [clean]):.2f} dB", mu))
        if model.noise == "hg":
            if not law.repeats:
                maps.append(Panel("noise", _true_levels(law, latent)))
            maps.append(Panel("noise, estimated", level))
        else:
            words += f", noise {level.mean():.1f}"
    panels += [Panel(words, denoised), Panel("clean", clean), *maps]
    return Example(file.stem, clean.shape[1:], before, after, tuple(panels))


def _levels(deviation: np.ndarray) -> np.ndarray:
    """(C, h, w) -> (h, w): the root mean square over colours, in units of 1/255."""
    levels: np.ndarray = 255 * np.sqrt(np.mean(np.square(deviation, dtype=np.float64), axis=0))
    return levels


def _true_levels(law: Law, latent: np.ndarray) -> np.ndarray:
    """(1, C, h, w) -> (h, w): how far draws of the law lie from the clean picture."""
    clean = law.clean(latent)[0]
    draws = (law(latent, Noise(FIRST_SEED).at(step))[0] for step in range(DRAWS))
    return _levels(np.sqrt(sum(np.square(noisy - clean) for noisy in draws) / DRAWS))


def _middle(pixels: np.ndarray, side: int, multiple: int) -> np.ndarray:
    """The middle square of (C, H, W), `side` wide or less, and a multiple of the law's block."""
    spans = []
    for length in pixels.shape[1:]:
        size = min(side, *pixels.shape[1:]) // multiple * multiple
        start = (length - size) // 2
        spans.append(slice(start, start + size))
    return pixels[:, spans[0], spans[1]]


def grid(examples: list[Example]) -> Any:
    """A row of panels for each; the maps of a row have one scale."""
    from matplotlib.figure import Figure

    columns = max(len(example.panels) for example in examples)
    figure = Figure(figsize=(3 * columns, 3.15 * len(examples)), layout="constrained")
    rows = figure.subplots(len(examples), columns, squeeze=False)
    for axes, example in zip(rows, examples, strict=True):
        maps = [panel.pixels for panel in example.panels if panel.pixels.ndim == 2]
        most = max((map.max() for map in maps), default=1.0)
        for axis, panel in zip(axes, example.panels, strict=True):
            axis.set_title(panel.caption, fontsize=9, loc="left")
            axis.set_axis_off()
            # Nearest: a viewer's smoothing would look like denoising.
            if panel.pixels.ndim == 2:
                how: dict[str, Any] = {"cmap": "viridis", "vmin": 0, "vmax": most}
                shown = axis.imshow(panel.pixels, interpolation="nearest", **how)
                continue
            pixels = np.clip(panel.pixels.transpose(1, 2, 0), 0, 1)  # (h, w, C)
            gray = pixels.shape[2] == 1
            axis.imshow(
                pixels[:, :, 0] if gray else pixels,
                cmap="gray" if gray else None,
                vmin=0,
                vmax=1,
                interpolation="nearest",
            )
        if maps:
            label = "standard deviation, of 255"
            figure.colorbar(shown, ax=list(axes[-len(maps) :]), label=label, shrink=0.8)
    return figure
