"""Judge a denoiser: noise of a given law on clean pictures, PSNR and SSIM with the protocol that
they belong to.

    found = evaluate_folder(model, "Set12", parse("gaussian:25"))
    found.means["psnr_images"], found.protocol
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from minigrad.noise import Noise
from zoo import metrics
from zoo.architectures import BlindSpotDenoiser, Denoiser, NoiseMap, PriorMean
from zoo.data.images import list_images, natural_order, read_image
from zoo.data.picture import ImageError
from zoo.denoise import ChannelError, Notice, check_model, denoise_image
from zoo.noise import Correlated, Gaussian, Law, LawError
from zoo.noise.gaussian import box_correlated


@dataclass(frozen=True)
class Row:
    """One picture: its name, (height, width), and values by name (dB, or SSIM)."""

    name: str
    size: tuple[int, int]
    values: dict[str, float]


@dataclass(frozen=True)
class Failure:
    """A picture that was not judged.

    error: why, one line that names it. machine: it is the machine that failed (memory).
    """

    name: str
    error: str
    machine: bool = False


@dataclass(frozen=True)
class Evaluation:
    """What `evaluate` found.

    rows: one per picture, with `psnr_noisy`, `psnr`, `ssim_noisy`, `ssim` (nan for a picture that
    is smaller than the window); with `estimates` also `psnr_mu`, `noise` and `sigma_n`: how strong
    the noise is and how strong it was taken for, as root mean squares in units of 1/255.
    means: `psnr_images`, the mean of the pictures' PSNR; `psnr_global`, the PSNR of the mean of
    all squared errors; `ssim`, the mean over the pictures that have one; and the same of the noisy
    pictures, `*_noisy`. With `estimates` also `psnr_images_mu`, `noise`, `sigma_n`. Empty when no
    picture was judged.
    protocol: how it was done, in words; no figure is worth more than these.
    failures: the pictures that were not judged.
    """

    rows: list[Row]
    means: dict[str, float]
    protocol: dict[str, str]
    failures: list[Failure]

    def record(self) -> dict[str, Any]:
        """As plain dictionaries, for JSON."""
        rows = [{"name": r.name, "height_width": list(r.size), **r.values} for r in self.rows]
        failures = [{"name": f.name, "error": f.error} for f in self.failures]
        return {
            "images": rows,
            "means": self.means,
            "protocol": self.protocol,
            "failures": failures,
        }


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

    limit: the first pictures only. settings: as `evaluate`. A file that cannot be read is among
    the `failures`.

    Raises:
        ImageError: no such folder, or no picture files in it.
        ValueError: `limit` is below 1, or as `evaluate`.
    """
    if limit is not None and limit < 1:
        raise ValueError(f"limit: expected at least 1 picture, got {limit}")
    files = sorted(list_images(folder), key=natural_order)[:limit]
    if not files:
        raise ImageError(folder, "holds no picture files")
    pictures = ((file.name, functools.partial(_pixels, file)) for file in files)
    return _evaluate(model, pictures, law, seed, count=len(files), **settings)


def evaluate(
    model: Denoiser,
    pictures: Iterable[tuple[str, np.ndarray]],
    law: Law,
    seed: int = 0,
    **settings: Any,
) -> Evaluation:
    """Add noise to clean pictures, denoise, clip to [0, 1] and compare.

    A picture that is too small for the law, or does not fit the network, is among the `failures`.

    Args:
        model: a trained network, on any device.
        pictures: (name, pixels) with pixels float (C, H, W) in [0, 1]; taken one by one.
        law: the noise. A law that shrinks the picture (sub-pixel sampling) is judged at the
            smaller size.
        seed: of the noise. Gaussian noise of one level is drawn by
            `numpy.random.default_rng(seed)` anew for each picture (box-correlated noise too, from a
            larger field); every other law by
            `minigrad.noise.Noise(seed)` at the picture's number.
        settings: `tile`, `ensemble`, `notice` as `denoise_image`; `count`, the number of pictures,
            for `progress`, which is called with (name, number, count, tiles done, tiles);
            `estimates` judges also what a blind-spot network finds on the way to its posterior
            mean, in two passes more: mu alone, and the noise.

    Raises:
        ChannelError: the network gives another number of channels than it takes.
        ValueError: no pictures, a negative seed, or `estimates` of another network.
    """
    given = ((name, lambda pixels=pixels: pixels) for name, pixels in pictures)
    return _evaluate(model, given, law, seed, **settings)


def _evaluate(
    model: Denoiser,
    pictures: Iterable[tuple[str, Callable[[], np.ndarray]]],
    law: Law,
    seed: int,
    *,
    tile: int | None = None,
    ensemble: int = 1,
    count: int | None = None,
    progress: Callable[[str, int, int, int, int], None] | None = None,
    notice: Notice | None = None,
    estimates: bool = False,
) -> Evaluation:
    """As `evaluate`, of pictures that are read when it is their turn."""
    if seed < 0:
        raise ValueError(f"seed: must not be negative, got {seed}")
    check_model(model)
    views = _views(model) if estimates else None
    rows: list[Row] = []
    failures: list[Failure] = []
    errors: list[tuple[float, float, int]] = []  # squared errors of noisy and denoised, values
    for number, (name, read) in enumerate(pictures):

        def tell(done: int, tiles: int, name: str = name, number: int = number + 1) -> None:
            if progress is not None:
                progress(name, number, count or number, done, tiles)

        def remark(line: str, name: str = name) -> None:
            if notice is not None:
                notice(f"{name}: {line}")

        how: dict[str, Any] = {"tile": tile, "ensemble": ensemble, "progress": tell}
        try:
            noisy, clean = _observe(law, read(), seed, number, name)  # (C, h, w) each
            image = noisy.transpose(1, 2, 0)
            estimate = denoise_image(model, image, seed=seed, notice=remark, **how)
            if not np.isfinite(estimate).all():
                raise ImageError(name, "the network gives values that are not finite")
            how["progress"] = None  # these passes count as part of the picture
            found = {} if views is None else _estimates(*views, noisy, clean, how)
        except ImageError as error:
            failures.append(Failure(name, str(error)))
        except (ChannelError, LawError) as error:
            failures.append(Failure(name, f"{name}: {error}"))
        except MemoryError as error:
            failures.append(Failure(name, f"{name}: {error or 'out of memory'}", machine=True))
        else:
            estimate = np.clip(estimate.transpose(2, 0, 1), 0, 1)  # (C, h, w)
            values = {**_values(noisy, estimate, clean), **found}
            rows.append(Row(name, clean.shape[1:], values))
            before, after = (metrics.squared_error(x, clean) for x in (noisy, estimate))
            errors.append((before, after, clean.size))
    if not rows and not failures:
        raise ValueError("evaluate: pictures: expected at least one")
    return Evaluation(rows, _means(rows, errors), _protocol(law, seed, ensemble, rows), failures)


def _pixels(file: Path) -> np.ndarray:
    return read_image(file).pixels


def _observe(
    law: Law, pixels: np.ndarray, seed: int, number: int, name: str
) -> tuple[np.ndarray, np.ndarray]:
    """(noisy, clean), both (C, h, w)."""
    k = law.scale
    height, width = (side // k * k for side in pixels.shape[1:])
    if 0 in (height, width):
        size = f"{pixels.shape[2]}x{pixels.shape[1]}"
        raise ImageError(name, f"{size} pixels are too few for {law.name}")
    pixels = pixels[:, :height, :width]
    box = _fixed_box(law)
    if box is not None:
        sigma, kernel = box
        shape = pixels.shape[0], height + kernel - 1, width + kernel - 1
        white = np.random.default_rng(seed).standard_normal(shape, dtype=np.float32)
        white *= np.float32(sigma / 255)
        noisy = pixels + box_correlated(white, kernel)
        return (np.clip(noisy, 0, 1) if law.clip else noisy), pixels
    latent = pixels[None]
    return law(latent, Noise(seed).at(number))[0], law.clean(latent)[0]


def _fixed_box(law: Law) -> tuple[float, int] | None:
    """(sigma in units of 1/255, side of the box) of Gaussian noise of one level, 1 for white noise;
    None for every other law.
    """
    if not isinstance(law, Gaussian | Correlated) or law.high not in (None, law.low):
        return None
    if law.repeats:
        return None
    return law.low, law.kernel if isinstance(law, Correlated) else 1


def _values(noisy: np.ndarray, estimate: np.ndarray, clean: np.ndarray) -> dict[str, float]:
    small = min(clean.shape[1:]) < metrics.SMALLEST
    return {
        "psnr_noisy": metrics.psnr_images([noisy], [clean]),
        "psnr": metrics.psnr_images([estimate], [clean]),
        "ssim_noisy": math.nan if small else metrics.ssim(noisy, clean),
        "ssim": math.nan if small else metrics.ssim(estimate, clean),
    }


def _views(model: Denoiser) -> tuple[PriorMean, NoiseMap]:
    if not isinstance(model, BlindSpotDenoiser):
        name = model.architecture or type(model).__name__
        raise ValueError(f"estimates: expected a blind-spot network, got {name}")
    return PriorMean(model), NoiseMap(model)


def _estimates(
    prior: PriorMean, level: NoiseMap, noisy: np.ndarray, clean: np.ndarray, how: dict[str, Any]
) -> dict[str, float]:
    """Of one picture, noisy and clean (C, h, w)."""
    image = noisy.transpose(1, 2, 0)
    mu = np.clip(denoise_image(prior, image, **how).transpose(2, 0, 1), 0, 1)
    deviation = denoise_image(level, image, **how)
    return {
        "psnr_mu": metrics.psnr_images([mu], [clean]),
        "noise": 255 * math.sqrt(metrics.squared_error(noisy, clean) / clean.size),
        "sigma_n": 255 * math.sqrt(np.mean(np.square(deviation, dtype=np.float64))),
    }


def _means(rows: list[Row], errors: list[tuple[float, float, int]]) -> dict[str, float]:
    if not rows:
        return {}

    def mean(name: str) -> float:
        defined = [row.values[name] for row in rows if not math.isnan(row.values[name])]
        return float(np.mean(defined)) if defined else math.nan

    noisy, denoised, values = (sum(column) for column in zip(*errors, strict=True))
    known = rows[0].values
    more = {"psnr_images_mu": "psnr_mu", "noise": "noise", "sigma_n": "sigma_n"}
    return {
        "psnr_images_noisy": mean("psnr_noisy"),
        "psnr_images": mean("psnr"),
        "psnr_global_noisy": metrics.decibels(noisy / values),
        "psnr_global": metrics.decibels(denoised / values),
        "ssim_noisy": mean("ssim_noisy"),
        "ssim": mean("ssim"),
        **{key: mean(name) for key, name in more.items() if name in known},
    }


def _protocol(law: Law, seed: int, ensemble: int, rows: list[Row]) -> dict[str, str]:
    clipped = "clipped to [0, 1]" if law.clip else "not clipped"
    box = _fixed_box(law)
    if box is not None:
        drawn = (
            f"numpy.random.default_rng({seed}) for each picture, "
            "standard_normal(float32) * sigma/255"
        )
        if box[1] > 1:
            drawn += f", summed over {box[1]}x{box[1]} boxes and divided by {box[1]}"
    elif law.repeats:
        drawn = "numpy.random.RandomState(0) for each picture, as in the authors' validation"
    else:
        drawn = f"minigrad.noise.Noise({seed}) at the number of the picture"
    if law.scale > 1:
        drawn += f"; whole pictures, {law.scale} times smaller"
    defined = sum(not math.isnan(row.values["ssim"]) for row in rows)
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
        "ssim": "window 11, sigma 1.5, K1 0.01, K2 0.03, border of 5 left out, mean over channels; "
        f"mean over {defined} of {len(rows)} pictures"
        + ("" if defined == len(rows) else ", the others being smaller than the window"),
    }
