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
from zoo.architectures import (
    BlindSpotDenoiser,
    Denoiser,
    NoiseMap,
    PriorMean,
    StochasticDenoiser,
)
from zoo.data.images import list_images, natural_order, read_image
from zoo.data.pairs_of_files import paired_files
from zoo.data.picture import ImageError
from zoo.denoise import ChannelError, Notice, check_model, denoise_image
from zoo.noise import Correlated, Gaussian, Law, LawError
from zoo.noise.gaussian import box_correlated
from zoo.noise.subspace import SubspaceLaw, to_bytes, truncated

PROTOCOLS = ("zoo", "psl-ae")
"""How noisy pictures and results are compared with clean ones: as floats; or, as in the
patch-subspace study, as bytes, with two more measures.
"""
Observed = tuple[np.ndarray, np.ndarray]
"""(noisy, clean), each (C, H, W)."""


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
    """What `evaluate` found. By the protocol "psl-ae" there is more: `ssim_uniform`, `uqi_sewar`
    and `uqi` of each picture, noisy and denoised, and their means.

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
    law: Law | None,
    seed: int = 0,
    *,
    limit: int | None = None,
    **settings: Any,
) -> Evaluation:
    """`evaluate` on the picture files of a folder, in numeric order of their names where these
    are numbers.

    law: None for a folder of pairs, noisy as they are (`zoo.data.paired_files`).

    limit: the first pictures only. settings: as `evaluate`. A file that cannot be read is among
    the `failures`.

    Raises:
        ImageError: no such folder, or no picture files in it.
        ValueError: `limit` is below 1, or as `evaluate`.
    """
    if limit is not None and limit < 1:
        raise ValueError(f"limit: expected at least 1 picture, got {limit}")
    if law is None:
        pairs = paired_files(folder)[:limit]
        given = ((noisy.name, functools.partial(_pair, noisy, clean)) for noisy, clean in pairs)
        return _evaluate(model, given, law, seed, count=len(pairs), **settings)
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
            larger field), and the noises of the patch-subspace study too; every other law by
            `minigrad.noise.Noise(seed)` at the picture's number.
        settings: `tile`, `ensemble`, `samples`, `notice` as `denoise_image`; `count`, the number of
            pictures, for `progress`, which is called with (name, number, count, tiles done, tiles);
            `protocol`, one of `PROTOCOLS`; `estimates` judges also what a blind-spot network finds
            on the way to its posterior mean, in two passes more: mu alone, and the noise.

    Raises:
        ChannelError: the network gives another number of channels than it takes.
        ValueError: no pictures, a negative seed, an unknown protocol, or `estimates` of another
            network.
    """
    given = ((name, lambda pixels=pixels: pixels) for name, pixels in pictures)
    return _evaluate(model, given, law, seed, **settings)


def _evaluate(
    model: Denoiser,
    pictures: Iterable[tuple[str, Callable[[], Any]]],
    law: Law | None,
    seed: int,
    *,
    protocol: str = "zoo",
    tile: int | None = None,
    ensemble: int = 1,
    samples: int | None = None,
    count: int | None = None,
    progress: Callable[[str, int, int, int, int], None] | None = None,
    notice: Notice | None = None,
    estimates: bool = False,
) -> Evaluation:
    """As `evaluate`, of pictures that are read when it is their turn."""
    if seed < 0:
        raise ValueError(f"seed: must not be negative, got {seed}")
    if protocol not in PROTOCOLS:
        raise ValueError(f"protocol: expected one of {PROTOCOLS}, got {protocol!r}")
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

        how: dict[str, Any] = {"tile": tile, "ensemble": ensemble, "samples": samples}
        try:
            # (C, h, w) each
            noisy, clean = read() if law is None else _observe(law, read(), seed, number, name)
            image = noisy.transpose(1, 2, 0)
            estimate = denoise_image(model, image, seed=seed, progress=tell, notice=remark, **how)
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
            if protocol == "psl-ae":
                estimate = _of_bytes(truncated(estimate))
                noisy = _of_bytes(to_bytes(noisy).transpose(2, 0, 1))
                found |= _study(noisy, estimate, clean)
            values = {**_values(noisy, estimate, clean), **found}
            rows.append(Row(name, clean.shape[1:], values))
            before, after = (metrics.squared_error(x, clean) for x in (noisy, estimate))
            errors.append((before, after, clean.size))
    if not rows and not failures:
        raise ValueError("evaluate: pictures: expected at least one")
    told = _protocol(law, seed, ensemble, rows)
    if isinstance(model, StochasticDenoiser):
        told["samples"] = f"mean of {model.drawn if samples is None else samples} draws"
    if protocol == "psl-ae":
        told |= _STUDY
    return Evaluation(rows, _means(rows, errors), told, failures)


def _pixels(file: Path) -> np.ndarray:
    return read_image(file).pixels


def _pair(noisy: Path, clean: Path) -> Observed:
    found = _pixels(noisy), _pixels(clean)
    if found[0].shape != found[1].shape:
        raise ImageError(noisy, f"{found[0].shape}, but its clean picture {found[1].shape}")
    return found


def _of_bytes(u: np.ndarray) -> np.ndarray:
    return u.astype(np.float64) / 255


def _study(noisy: np.ndarray, estimate: np.ndarray, clean: np.ndarray) -> dict[str, float]:
    """The measures of the patch-subspace study; nan for a picture below 9x9."""
    small, found = min(clean.shape[1:]) < 9, {}
    y = np.rint(255 * clean)
    for name, measure in (
        ("ssim_uniform", functools.partial(metrics.ssim_uniform, peak=255)),
        ("uqi_sewar", metrics.uqi_sewar),
        ("uqi", metrics.uqi),
    ):
        for which, x in (("_noisy", noisy), ("", estimate)):
            found[name + which] = math.nan if small else measure(np.rint(255 * x), y)
    return found


def _observe(law: Law, pixels: np.ndarray, seed: int, number: int, name: str) -> Observed:
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
    if isinstance(law, SubspaceLaw) and law.high in (None, law.low):
        drawn = law.draw(to_bytes(pixels), np.random.default_rng(seed)).transpose(2, 0, 1)
        return drawn.astype(pixels.dtype) / 255, pixels
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
    names = {"psnr_mu": "psnr_images_mu"}
    return {
        "psnr_images_noisy": mean("psnr_noisy"),
        "psnr_images": mean("psnr"),
        "psnr_global_noisy": metrics.decibels(noisy / values),
        "psnr_global": metrics.decibels(denoised / values),
        "ssim_noisy": mean("ssim_noisy"),
        "ssim": mean("ssim"),
    } | {names.get(name, name): mean(name) for name in known if name not in _PLAIN}


_PLAIN = ("psnr_noisy", "psnr", "ssim_noisy", "ssim")
_STUDY = {
    "noisy": "clipped to [0, 1], bytes",
    "output": "clipped to [0, 1], times 255, cut off to bytes",
    "ssim_uniform": "flat window 7, sample variances, K1 0.01, K2 0.03, border of 3 left out",
    "uqi_sewar": "as the package sewar computes it, which is not the index of that name",
    "uqi": "universal quality index of Wang and Bovik, windows of 8",
}


def _protocol(law: Law | None, seed: int, ensemble: int, rows: list[Row]) -> dict[str, str]:
    clipped = "clipped to [0, 1]" if law is not None and law.clip else "not clipped"
    box = None if law is None else _fixed_box(law)
    if law is None:
        drawn = "stored: noisy and clean files in pairs, as they are"
    elif isinstance(law, SubspaceLaw):
        clipped, drawn = "clipped to [0, 1]", f"numpy.random.default_rng({seed}) for each picture"
    elif box is not None:
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
    if law is not None and law.scale > 1:
        drawn += f"; whole pictures, {law.scale} times smaller"
    defined = sum(not math.isnan(row.values["ssim"]) for row in rows)
    return {
        "noise": drawn if law is None else f"{law.name}: {drawn}",
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
