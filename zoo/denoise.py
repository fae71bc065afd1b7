"""Denoise pictures of any size: arrays, files and folders.

clean = denoise_image(model, noisy)  # (H, W) or (H, W, C), floats in [0, 1]
results = denoise_files(model, ["photos"], out="clean")  # every picture of the folder
"""

from __future__ import annotations

import dataclasses
import os
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from minigrad.backend import device_of, to_device
from zoo.architectures import Denoiser
from zoo.data.images import list_images, write_image
from zoo.data.pages import change_file, draw_path, found_there
from zoo.data.picture import ImageError, Picture
from zoo.inference import tiling
from zoo.inference.counter import Counter
from zoo.inference.receptive import multiple_of

Notice = Callable[[str], None]
"""Called with a line that the user should see."""


class ChannelError(ValueError):
    """A picture's channels do not fit the network, or its output does not fit its input; the
    message names both.
    """


class OutputError(ValueError):
    """The folder for the results cannot be used; the message says why."""


def denoise_image(
    model: Denoiser,
    image: np.ndarray,
    *,
    tile: int | None = None,
    ensemble: int = 1,
    samples: int | None = None,
    seed: int = 0,
    first: int = 0,
    halo: int | None = None,
    progress: tiling.Progress | None = None,
    notice: Notice | None = None,
) -> np.ndarray:
    """The clean estimate of one picture; same shape and dtype, not clipped.

    A gray picture goes through a colour network as three equal channels, whose results are
    averaged; a colour picture goes through a gray network channel by channel. A second or fourth
    channel is alpha and is returned as it came.

    Args:
        model: the network, on any device.
        image: (H, W), or (H, W, C) with C of 1 to 4, floating, values in [0, 1], any size from 1x1.
        tile: side of what is computed at once, in pixels; None chooses by memory. The result does
            not depend on it (to float32 rounding).
        ensemble: 8 averages the results of the 8 flips and quarter turns of the picture; 1, 2 or
            4 use fewer.
        samples, seed, first: for stochastic networks: so many draws are averaged, from number
            `first` on.
        halo: pixels that are read around a tile in place of the receptive field; see `tiling.plan`.
        progress: called with (tiles done, tiles in all).
        notice: called with lines worth showing, such as a receptive field larger than the memory
            allows.

    Raises:
        TypeError: not a floating array.
        ValueError: another number of axes or channels, an empty picture, a wrong `tile` or
            `ensemble`.
    """
    if ensemble not in (1, 2, 4, 8):
        raise ValueError(f"ensemble: expected 1, 2, 4 or 8, got {ensemble}")
    if image.dtype.kind != "f":
        raise TypeError(f"denoise_image: image: expected floats in [0, 1], got {image.dtype}")
    if image.ndim not in (2, 3) or 0 in image.shape:
        raise ValueError(
            f"denoise_image: image: expected (H, W) or (H, W, C), not empty, got {image.shape}"
        )
    pixels = image if image.ndim == 3 else image[:, :, None]  # (H, W, C)
    if pixels.shape[2] > 4:
        raise ValueError(
            f"denoise_image: image: expected (H, W, C) with 1 to 4 channels, got {image.shape}"
        )
    colours = pixels.shape[2] - (pixels.shape[2] in (2, 4))
    parts = _parts(model, pixels[:, :, :colours])
    result = np.empty_like(pixels)
    result[:, :, colours:] = pixels[:, :, colours:]
    counter = Counter(progress, len(parts) * ensemble)
    given = {"samples": samples, "seed": seed, "first": first}
    cut = tile, halo
    for index, part in enumerate(parts):
        # clean: (H, W, model.channels)
        clean = _ensemble(model, part, cut, ensemble, counter, notice, given)
        if len(parts) > 1:
            result[:, :, index] = clean[:, :, 0]
        elif colours == 1 and clean.shape[2] == 3:
            result[:, :, 0] = clean.mean(axis=2)
        else:
            result[:, :, :colours] = clean
    return result.reshape(image.shape)


def _parts(model: Denoiser, pixels: np.ndarray) -> list[np.ndarray]:
    """The picture as inputs of the network: (H, W, model.channels) each."""
    colours = pixels.shape[2]
    if colours == model.channels:
        return [pixels]
    if colours == 1 and model.channels == 3:
        return [np.broadcast_to(pixels, (*pixels.shape[:2], 3))]
    if model.channels == 1:
        return [pixels[:, :, i : i + 1] for i in range(colours)]
    raise ChannelError(
        f"the picture has {colours} channel(s), but {type(model).__name__} takes {model.channels}"
    )


def _ensemble(
    model: Denoiser,
    part: np.ndarray,
    cut: tiling.Cut,
    ensemble: int,
    counter: Counter,
    notice: Notice | None,
    given: dict[str, int | None],
) -> np.ndarray:
    """Mean over flips (the first bit) and quarter turns (the others) of the undone results."""
    total: np.ndarray | None = None
    for number in range(ensemble):
        turns, flip = number // 2 if ensemble == 8 else number // 2 * 2, number % 2 == 1
        moved = np.rot90(part[:, ::-1] if flip else part, turns)
        clean = np.rot90(_tiled(model, moved, cut, counter, notice, given), -turns)
        clean = clean[:, ::-1] if flip else clean
        if number == 0:
            notice = None  # once is enough
        total = clean if total is None else np.add(total, clean, out=total)
    assert total is not None
    return total if ensemble == 1 else total / ensemble


def _tiled(
    model: Denoiser,
    part: np.ndarray,
    cut: tiling.Cut,
    counter: Counter,
    notice: Notice | None,
    given: dict[str, int | None],
) -> np.ndarray:
    """One pass; when the memory does not suffice, again with tiles of half the side."""
    height, width = part.shape[:2]
    plan: tiling.Plan | None = tiling.plan(model, height, width, *cut)
    while plan is not None:
        if plan.note and notice is not None:
            notice(plan.note)
        try:
            return tiling.run(model, part, plan, counter.start(), **given)
        except MemoryError:  # CuPy's OutOfMemoryError is one
            plan = tiling.halved(plan, model)
    raise MemoryError(f"not even the smallest tile of a {part.shape[:2]} picture fits in memory")


# --------------------------------------------------------------------------- files


@dataclass(frozen=True)
class FileResult:
    """What became of one picture.

    source: the file read. target: the file written, None when it failed.
    error: why it failed, one line that names the file, or None. machine: it is the machine that
    failed (disk, memory), not the file. shape: (height, width) in pixels. seconds: reading,
    denoising and writing.
    """

    source: Path
    target: Path | None = None
    error: str | None = None
    machine: bool = False
    shape: tuple[int, int] | None = None
    seconds: float = 0.0


def find_pictures(sources: Iterable[str | Path]) -> tuple[list[Path], list[FileResult]]:
    """The files named, and the picture files (by suffix) directly in each folder named, in order
    of name; and a failure for each folder that gave none.
    """
    found: list[Path] = []
    failures: list[FileResult] = []
    for source in map(Path, sources):
        if not os.path.isdir(source):  # Path.is_dir raises where the folder above is closed to us
            found.append(source)
            continue
        try:
            inside = list_images(source)
        except ImageError as error:
            failures.append(FileResult(source, error=str(error)))
            continue
        found += inside
        if not inside:
            failures.append(FileResult(source, error=f"{source}: holds no picture files"))
    return list(dict.fromkeys(found)), failures  # one that is named twice counts once


def check_output(files: Sequence[Path], out: str | Path) -> Path:
    """The output folder; refused where results would fall on inputs.

    Raises:
        OutputError: `out` is empty; or the folder of one of the files; or a file, not a folder.
    """
    if not str(out):
        raise OutputError("out: expected a folder for the results, got an empty text")
    out = Path(out)
    if os.path.exists(out) and not os.path.isdir(out):
        raise OutputError(f"{out}: expected a folder for the results, got a file")
    folder = os.path.realpath(out)  # unlike Path.resolve, it takes links that form a loop
    for file in files:
        if folder in (os.path.dirname(os.path.realpath(file)), os.path.realpath(file.parent)):
            raise OutputError(
                f"{out}: is the folder of the input {file.name}; inputs are never overwritten: "
                "choose another --out"
            )
    return out


Models = Denoiser | Mapping[int, Denoiser]
"""A network for all pictures, or one for gray (1) and one for colour (3)."""


def check_model(model: Denoiser) -> None:
    """Refuse a network that gives another number of channels than it takes.

    Raises:
        ChannelError: it does.
    """
    m = multiple_of(model)
    device = device_of(model.parameters()[0].value)
    noisy = np.full((1, model.channels, m, m), 0.5, dtype=model.dtype)
    channels = model.denoise(to_device(noisy, device)).shape[1]
    if channels != model.channels:
        raise ChannelError(
            f"{type(model).__name__}: gives {channels} channel(s) for {model.channels}: it cannot "
            "denoise pictures, whose channels are kept"
        )


def denoise_files(
    model: Models,
    sources: Iterable[str | Path],
    out: str | Path,
    *,
    overwrite: bool = False,
    tile: int | None = None,
    ensemble: int = 1,
    seed: int = 0,
    samples: int | None = None,
    save_samples: bool = False,
    halo: int | None = None,
    progress: Callable[[Path, int, int, int, int], None] | None = None,
    notice: Notice | None = None,
) -> list[FileResult]:
    """Denoise files and folders into the folder `out`: same names, sizes and bit depths.

    model: the network; or one for gray pictures and one for those in colour, {1: gray, 3: colour}.

    A file that cannot be read, and a folder without pictures, become a result with an `error`; the
    others are still processed. A palette picture becomes RGB or RGBA. `out` is made if needed.

    A TIFF file of many pages is gone through page by page.

    samples: draws to average, of networks that draw. save_samples: also write each of them, to
    `out`/samples/NAME-K, K from 1 on.
    overwrite: replace files that are in `out` already; otherwise they are an error.
    progress: called with (file, number of the file, files in all, tiles done, tiles of this file).
    notice: called with lines worth showing.

    Raises:
        ValueError: `save_samples` without `samples`.
        OutputError: `out` is empty, the folder of an input, or a file.
        ChannelError: the network gives another number of channels than it takes.
        OSError: `out` cannot be made.
    """
    if save_samples and samples is None:
        raise ValueError("denoise_files: save_samples needs the number of samples")
    files, results = find_pictures(sources)
    out = check_output(files, out)
    if not files:
        return results
    models = dict(model) if isinstance(model, Mapping) else {3: model}
    if 3 not in models:
        raise ChannelError(f"denoise_files: model: expected a network under 3, got {[*models]}")
    for each in models.values():
        check_model(each)
    out.mkdir(parents=True, exist_ok=True)
    taken: dict[str, Path] = {}
    settings = {"tile": tile, "ensemble": ensemble, "seed": seed, "samples": samples, "halo": halo}
    kept = check_output(files, out / "samples") if save_samples else None
    for number, file in enumerate(files, start=1):

        def tell(done: int, total: int, file: Path = file, number: int = number) -> None:
            if progress is not None:
                progress(file, number, len(files), done, total)

        def remark(line: str, file: Path = file) -> None:
            if notice is not None:
                notice(f"{file}: {line}")

        target = out / file.name
        if (first := taken.get(file.name)) is not None:
            clash = f"{file}: has the same name as {first}, whose result it would overwrite"
            results.append(FileResult(file, error=clash))
        elif not overwrite and (old := found_there(target, kept)) is not None:
            there = f"{file}: {old} exists already; --overwrite replaces it"
            results.append(FileResult(file, error=there))
        else:
            results.append(_one_file(models, file, target, kept, tell, remark, settings))
            if results[-1].target is not None:
                taken[file.name] = file
    return results


def _one_file(
    models: dict[int, Denoiser],
    file: Path,
    target: Path,
    kept: Path | None,
    tell: tiling.Progress,
    notice: Notice,
    settings: dict[str, Any],
) -> FileResult:
    """Read, denoise, write; what the file or the machine does wrong becomes the result's error."""
    begun = time.monotonic()

    def change(picture: Picture, page: int, pages: int) -> Picture:
        noisy = picture.pixels.transpose(1, 2, 0)  # (H, W, C), a view
        gray = noisy.shape[2] <= 2 and 1 in models  # one channel, with or without alpha
        model = models[1] if gray else models[3]

        def keep(number: int, drawn: np.ndarray) -> None:
            assert kept is not None
            kept.mkdir(exist_ok=True)
            path = draw_path(kept, file, number, page, pages)
            write_image(path, dataclasses.replace(picture, pixels=drawn.transpose(2, 0, 1)))

        clean = _mean_of_draws(
            model,
            noisy,
            None if kept is None else keep,
            lambda done, total: tell(page * total + done, pages * total),
            {**settings, "notice": notice},
        )
        return dataclasses.replace(picture, pixels=clean.transpose(2, 0, 1))  # (C, H, W)

    try:
        size = change_file(file, target, change)
    except (ImageError, ChannelError) as error:
        return FileResult(file, error=_named(file, str(error)))
    except MemoryError as error:
        return FileResult(file, error=_named(file, str(error) or "out of memory"), machine=True)
    except OSError as error:  # reading raises ImageError: this is the target's
        reason = error.strerror or str(error)
        return FileResult(file, error=_named(file, f"{target}: {reason}"), machine=True)
    return FileResult(file, target, shape=size, seconds=time.monotonic() - begun)


def _mean_of_draws(
    model: Denoiser,
    noisy: np.ndarray,
    keep: Callable[[int, np.ndarray], None] | None,
    tell: tiling.Progress,
    settings: dict[str, Any],
) -> np.ndarray:
    """The estimate of one picture; with `keep` draw by draw, each of which is handed over."""
    if keep is None:
        return denoise_image(model, noisy, progress=tell, **settings)
    count, total = settings["samples"], np.zeros_like(noisy)
    for k in range(count):

        def of_all(done: int, tiles: int, k: int = k) -> None:
            tell(k * tiles + done, count * tiles)

        alone = {**settings, "samples": 1, "first": k}
        drawn = denoise_image(model, noisy, progress=of_all, **alone)
        keep(k, drawn)
        total += drawn / count
    return total


def _named(file: Path, text: str) -> str:
    """The text on one line, with the file's name in it."""
    text = " ".join(text.split())
    return text if text.startswith(f"{file}: ") else f"{file}: {text}"
