"""A training that takes a second: its pictures and its recipe, for several tests."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from minigrad import checkpoint
from zoo import recipes
from zoo.progress import Progress
from zoo.recipes import Checkpoints, Optimiser, Recipe, Sampler, Schedule, Stage, Validation
from zoo.train import TrainResult, resume, train

__all__ = ["Sampler", "fit", "go_on", "lines", "pictures", "recipe", "recipes", "same_outcome"]


def pictures(folder: Path, count: int = 5, size: int = 48) -> Path:
    """Write smooth colour pictures with edges into `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    y, x = np.mgrid[:size, :size] / size
    for i in range(count):
        planes = [np.sin((3 + i + c) * x) * np.cos((2 + c) * y) + (x > 0.2 * i) for c in range(3)]
        scaled = (np.stack(planes, axis=-1) + 1) / 3
        Image.fromarray((scaled * 255).astype(np.uint8)).save(folder / f"{i}.png")
    return folder


def recipe(steps: int = 60, **changes: Any) -> Recipe:
    """A small strided network on 16x16 crops; `changes` are fields of the stage."""
    settings: dict[str, Any] = {
        "batch": 4,
        "optimiser": Optimiser("sgd", lr=1.0, momentum=0.5),
        "schedule": Schedule("plateau", patience=1),
        "sampler": Sampler("gaussian:30", size=16),
        "log_every": 7,
        **changes,
    }
    return Recipe(
        name="tiny",
        model="n2n-simple",
        model_args={"features": 4},
        seed=3,
        stages=(Stage(steps=steps, **settings),),
        validation=Validation(every=10, images=6, batch=4),
        checkpoint=Checkpoints(every=8),
    )


def fit(recipe: Recipe | Path, data: Path | None, out: Path, **how: Any) -> TrainResult:
    """Train on the CPU, saying nothing and drawing nothing, unless `how` says otherwise."""
    shown = how.pop("progress", "none")
    return train(recipe, data, out, device="cpu", progress=shown, report=False, **how)


def go_on(run: Path, progress: str | Progress = "none") -> TrainResult:
    """Resume likewise."""
    return resume(run, device="cpu", progress=progress, report=False)


def lines(run: Path, kind: str | None = None) -> list[dict[str, Any]]:
    """The records of the run's log, or those of one kind."""
    records = [json.loads(line) for line in (run / "log.jsonl").read_text().splitlines()]
    return [record for record in records if kind in (None, record["kind"])]


def same_outcome(one: Path, other: Path) -> None:
    """Log and weights are equal to the last bit."""
    assert (one / "log.jsonl").read_bytes() == (other / "log.jsonl").read_bytes()
    (a, said), (b, told) = (checkpoint.load(run / "model.safetensors") for run in (one, other))
    assert said == told
    assert a.keys() == b.keys()
    assert all(a[name].tobytes() == b[name].tobytes() for name in a)
