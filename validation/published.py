"""The published noise2noise experiments of the two small networks, by this engine and by PyTorch.

    python -m validation published --data CBSD432 --out runs/published
    python -m validation published --out runs/published --draw

Data: tiles of 32x32 pixels by random sub-pixel sampling (k = 8) of photographs; 20,000 pairs for
training (drawn with the seed of the run), 1,000 tiles of other photographs for validation (seed 0).
Protocol, for all runs alike: plain SGD on the mean squared error, consecutive slices without
shuffling, validation every 125 steps, learning rate constant over the first half of the steps and
then lr (1/2 + cos(pi u)/2)^2, u from 0 to 1. The ramp is there because at these rates single
validations jump by up to 1 dB. A run's result is the mean of its last four validations.

Runs of the same seed begin with the same weights and see the same batches, whichever library
computes them.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from fnmatch import fnmatch
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from minigrad import SGD, MSELoss, checkpoint
from minigrad.schedule import RampDown
from validation.report import UsageError
from validation.transfer import make_twin
from zoo import create
from zoo.data import make_tiles, read_photographs, to_unit
from zoo.machine import environment
from zoo.metrics import psnr_global, psnr_images

PAIRS, TILES, SIDE, FACTOR = 20_000, 1_000, 32, 8
EVERY = 125
"""Steps between validations."""
LAST = 4
"""Validations that a result is the mean of."""
RAMP = 0.5
"""Fraction of the steps over which the learning rate goes down."""


@dataclass(frozen=True)
class Run:
    """One experiment, to be repeated for several seeds.

    Attributes:
        model, arguments: what `zoo.create` is given.
        images, batch, lr: training images in all, images a step, learning rate.
        targets: "noisy" (noise2noise) or "clean" (noise2clean).
        library: "minigrad" or "torch".
    """

    model: str
    arguments: dict[str, Any]
    images: int
    batch: int
    lr: float
    targets: str
    library: str

    @property
    def steps(self) -> int:
        """Optimiser steps."""
        return self.images // self.batch


def _runs() -> dict[str, Run]:
    runs: dict[str, Run] = {}
    for targets, library in (("noisy", "minigrad"), ("noisy", "torch"), ("clean", "minigrad")):
        simple = Run("n2n-simple", {"features": 64}, 250_000, 32, 10.0, targets, library)
        unet = Run("n2n-prelu-unet", {"features": 32}, 40_000, 16, 1.0, targets, library)
        runs |= {f"simple-{targets}-{library}": simple, f"unet-{targets}-{library}": unet}
    return runs


RUNS = _runs()
"""The experiments by name: `<simple|unet>-<noisy|clean>-<minigrad|torch>`."""


# ------------------------------------------------------------------ the two libraries


class Engine:
    """Training and prediction by minigrad."""

    def __init__(self, run: Run, seed: int) -> None:
        """A network with the initial weights of `seed`."""
        self.model = create(run.model, rng=np.random.default_rng(seed), **run.arguments)
        self.loss = MSELoss()
        self.optimiser = SGD(self.model.parameters(), lr=run.lr)

    def step(self, x: np.ndarray, target: np.ndarray, lr: float) -> float:
        """One optimiser step on (N, 3, H, W) pairs in [0, 1]; returns the loss before it."""
        self.optimiser.lr = lr
        self.model.zero_grad()
        y, vjp = self.model.forward_and_vjp(x)
        value, loss_vjp = self.loss.forward_and_vjp(y, target)
        vjp(loss_vjp(np.ones_like(value))[0])
        self.optimiser.step()
        return float(value)

    def predict(self, x: np.ndarray) -> np.ndarray:
        """The network's output for (N, 3, H, W)."""
        return self.model.forward(x)


class Torch:
    """The same by PyTorch, with the same initial weights."""

    def __init__(self, run: Run, seed: int) -> None:
        """The twin of the network that `Engine` makes for the same `seed`."""
        import torch

        self.torch = torch
        self.model = make_twin(Engine(run, seed).model)
        self.optimiser = torch.optim.SGD(self.model.parameters(), lr=run.lr)

    def step(self, x: np.ndarray, target: np.ndarray, lr: float) -> float:
        """As `Engine.step`."""
        torch = self.torch
        self.optimiser.param_groups[0]["lr"] = lr
        self.optimiser.zero_grad()
        y = self.model(torch.from_numpy(x))
        value = torch.nn.functional.mse_loss(y, torch.from_numpy(target))
        value.backward()
        self.optimiser.step()
        return value.item()

    def predict(self, x: np.ndarray) -> np.ndarray:
        """As `Engine.predict`."""
        with self.torch.no_grad():
            return self.model(self.torch.from_numpy(x)).numpy()


LIBRARIES: dict[str, Callable[[Run, int], Engine | Torch]] = {"minigrad": Engine, "torch": Torch}


# ------------------------------------------------------------------ data


def load_tiles(folder: Path | None, out: Path, split: str, seed: int) -> dict[str, np.ndarray]:
    """The tiles of `split` ("train" or "val"): `input`, `target`, `clean`, uint8 (n, 3, 32, 32).

    Made from the photographs in `folder` (its `val.txt` lists those of validation), kept in `out`.
    """
    file = out / f"tiles-{split}-{seed}.safetensors"
    if file.exists():
        return dict(checkpoint.load(file)[0])
    if folder is None:
        raise UsageError(f"published: {file} does not exist: --data is needed to make it")
    held_out = set((folder / "val.txt").read_text(encoding="utf-8").split())
    paths = [p for p in sorted(folder.glob("*.jpg")) if (p.stem in held_out) == (split == "val")]
    if not paths:
        raise UsageError(f"published: --data {folder}: no photographs (*.jpg) for {split!r}")
    n = TILES if split == "val" else PAIRS
    tiles = make_tiles(read_photographs(paths), n, size=SIDE, k=FACTOR, seed=seed)
    out.mkdir(parents=True, exist_ok=True)
    checkpoint.save(
        file, tiles, {"split": split, "seed": str(seed), "photographs": str(len(paths))}
    )
    return tiles


# ------------------------------------------------------------------ one run


def psnrs(y: np.ndarray, clean: np.ndarray) -> dict[str, float]:
    """Both definitions of PSNR for images (N, 3, H, W), in dB, peak 1."""
    return {"psnr_images": psnr_images(y, clean), "psnr_global": psnr_global(y, clean)}


def train(
    run: Run,
    seed: int,
    tiles: dict[str, np.ndarray],
    validation: dict[str, np.ndarray],
    say: Callable[[str], None] = print,
    every: int = EVERY,
) -> dict[str, Any]:
    """Run one experiment; returns its settings, curve and result.

    A point of the curve holds the images seen, both PSNR of the validation, the mean training loss
    since the last point, the learning rate and the seconds of training (validations not counted).
    """
    side = LIBRARIES[run.library](run, seed)
    noisy, clean = to_unit(validation["input"]), to_unit(validation["clean"])
    schedule = RampDown(run.lr, run.steps, fraction=RAMP)
    seconds, said, losses, curve = 0.0, time.monotonic(), [], []
    for step, (x, target) in enumerate(_batches(run, tiles)):
        begin = time.perf_counter()
        losses.append(side.step(x, target, schedule.lr(step)))
        seconds += time.perf_counter() - begin
        done = step + 1
        if done % every == 0 or step == 0:
            point = {"images": done * run.batch, **psnrs(_predict(side, noisy), clean)}
            rate = {"loss": float(np.mean(losses)), "lr": schedule.lr(step)}
            curve.append({**point, **rate, "seconds": seconds})
            losses = []
        if time.monotonic() - said > 5 or done == run.steps:
            said = time.monotonic()
            say(
                f"step {done}/{run.steps}  loss {curve[-1]['loss']:.5f}  "
                f"PSNR {curve[-1]['psnr_images']:.2f} dB  {done * run.batch / seconds:.0f} images/s"
            )
    last = curve[-LAST:]
    return {
        "run": asdict(run),
        "seed": seed,
        "noisy": psnrs(noisy, clean),
        "result": {k: float(np.mean([p[k] for p in last])) for k in ("psnr_images", "psnr_global")},
        "curve": curve,
    }


def _batches(run: Run, tiles: dict[str, np.ndarray]) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Consecutive slices, from the beginning again at the end; a short last slice is left out."""
    target = tiles["target" if run.targets == "noisy" else "clean"]
    starts = range(0, len(target) - run.batch + 1, run.batch)
    for step in range(run.steps):
        at = slice(starts[step % len(starts)], starts[step % len(starts)] + run.batch)
        yield to_unit(tiles["input"][at]), to_unit(target[at])


def _predict(side: Engine | Torch, x: np.ndarray, batch: int = 100) -> np.ndarray:
    return np.concatenate([side.predict(x[i : i + batch]) for i in range(0, len(x), batch)])


# ------------------------------------------------------------------ all of them


def run_published(
    data: Path | None,
    out: Path,
    names: Sequence[str] = ("*",),
    seeds: Sequence[int] = (0, 1, 2),
    threads: int = 1,
    say: Callable[[str], None] = print,
) -> list[Path]:
    """Run every experiment that matches `names` for each seed; returns the result files.

    A result that exists in `out` is not computed again. Both libraries use `threads` threads.
    """
    import torch
    from threadpoolctl import threadpool_limits

    chosen = [name for name in RUNS if any(fnmatch(name, pattern) for pattern in names)]
    if not chosen:
        raise UsageError(f"published: --run {' '.join(names)}: expected one of {', '.join(RUNS)}")
    out.mkdir(parents=True, exist_ok=True)
    validation = load_tiles(data, out, "val", 0)
    files = []
    torch.set_num_threads(threads)
    with threadpool_limits(threads):
        for seed in seeds:
            for name in chosen:
                file = out / f"{name}-{seed}.json"
                files.append(file)
                if file.exists():
                    say(f"{file.name}: done already")
                    continue
                tiles = load_tiles(data, out, "train", seed)
                result = train(
                    RUNS[name], seed, tiles, validation, partial(_say, say, file.stem), EVERY
                )
                machine = {**environment("cpu"), "torch": torch.__version__, "threads": threads}
                _write(file, {"name": name, **result, "environment": machine})
    return files


def _say(say: Callable[[str], None], name: str, text: str) -> None:
    say(f"{name}: {text}")


def _write(file: Path, result: dict[str, Any]) -> None:
    """The file appears whole or not at all."""
    part = file.with_suffix(".part")
    part.write_text(json.dumps(result, indent=1), encoding="utf-8")
    part.replace(file)
