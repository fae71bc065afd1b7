"""What a recipe is trained and judged on: photographs, training batches, the validation set."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from minigrad.backend import device_of, to_device, to_host
from zoo import data, metrics, noise, objectives
from zoo.architectures import Denoiser
from zoo.data import Photographs
from zoo.objectives.base import Batch
from zoo.recipes.config import RecipeError
from zoo.recipes.schema import Recipe

Files = Sequence[Path]


@dataclass(frozen=True)
class Pictures:
    """Photographs to learn from, and others to be judged on."""

    train: Photographs
    validation: Photographs


@dataclass(frozen=True)
class Tiles:
    """Validation tiles: noisy and clean, each (N, C, H, W) in [0, 1]."""

    noisy: np.ndarray
    clean: np.ndarray


def pictures(recipe: Recipe, channels: int) -> Pictures:
    """Read the recipe's photographs; those too small for a crop are left out.

    Raises ImageError when a file cannot be read or none is left.
    """
    train, judged = _files(recipe.data)
    least = max(noise.parse(s.sampler.noise).scale * s.sampler.size for s in recipe.stages)
    tile = _judged_law(recipe).scale * _judged_size(recipe)
    read = data.read_photographs
    return Pictures(
        Photographs(read(train, channels=channels, least=least)),
        Photographs(read(judged, channels=channels, least=tile)),
    )


def check_sizes(recipe: Recipe, multiple: int) -> None:
    """Raise RecipeError where a crop's side is no multiple of what the network needs."""
    for number, stage in enumerate(recipe.stages):
        if stage.sampler.size % multiple:
            raise RecipeError(
                f"stages.{number}.sampler.size: expected a multiple of {multiple} "
                f"for {recipe.model}, got {stage.sampler.size}"
            )


def _files(folder: str | None) -> tuple[Files, Files]:
    """Files to train on and files to be judged on, which have no picture in common.

    None: the bundled photographs. A folder with `train` and `val` (or `test`) inside: those. Any
    other folder: the names in its `val.txt`, or else every tenth picture, are kept for judging.
    """
    if folder is None:
        return data.sample_files("train"), data.sample_files("test")
    root = Path(folder)
    for name in ("val", "validation", "test"):
        if (root / "train").is_dir() and (root / name).is_dir():
            return data.list_images(root / "train"), data.list_images(root / name)
    files = data.list_images(root)
    if len(files) < 2:
        raise RecipeError(f"data: {root}: expected at least 2 pictures, found {len(files)}")
    kept = set(files[9::10] or files[-1:])
    if (root / "val.txt").is_file():
        names = set((root / "val.txt").read_text(encoding="utf-8").split())
        kept = {file for file in files if file.name in names or file.stem in names} or kept
    return [file for file in files if file not in kept], [file for file in files if file in kept]


def training_batches(
    recipe: Recipe, number: int, photographs: Photographs
) -> Callable[[int], Batch]:
    """`batch(step)` of stage `number`: a pure function of the stage's own step 0, 1, ..."""
    stage = recipe.stages[number]
    sampler = stage.sampler
    noisy = objectives.entry(stage.objective).target == "noisy"
    pairs = data.PairSampler(
        photographs,
        noise.parse(sampler.noise),
        batch=stage.batch,
        size=sampler.size,
        seed=recipe.seed + (number << 64),  # stages draw from streams of their own
        objective="noise2noise" if noisy else "noise2clean",
        augment=sampler.augment,
        recolour=sampler.recolour,
        swap=sampler.swap,
        pairs=sampler.pairs,
    )
    masked = stage.loss == "masked_mse"

    def batch(step: int) -> Batch:
        found = pairs.batch(step)
        arrays: Batch = (found.input, found.target)
        if masked:
            # The clean picture is valid everywhere.
            whole = np.ones_like(found.target[:, :1])
            arrays += (whole if found.mask is None else found.mask,)
        return tuple(array.astype(recipe.dtype, copy=False) for array in arrays)

    return batch


def validation_set(recipe: Recipe, photographs: Photographs) -> Tiles:
    """The tiles that the network is judged on, the same in every run of the recipe."""
    sampler = data.PairSampler(
        photographs,
        _judged_law(recipe),
        batch=recipe.validation.images,
        size=_judged_size(recipe),
        seed=recipe.validation.seed,
        objective="noise2clean",
    )
    tiles = sampler.batch(0)
    return Tiles(tiles.input.astype(recipe.dtype), tiles.target.astype(recipe.dtype))


def _judged_law(recipe: Recipe) -> noise.Law:
    return noise.parse(recipe.validation.noise or recipe.stages[0].sampler.noise)


def _judged_size(recipe: Recipe) -> int:
    return recipe.validation.size or recipe.stages[0].sampler.size


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
