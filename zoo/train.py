"""Train a denoiser from a recipe, and go on after an interruption.

    result = train("n2n-demo", out="runs/demo")
    result = resume("runs/demo")

What a run leaves on the disk is described in `zoo/training/run.py`; the loop is
`zoo/training/trainer.py`.
"""

from __future__ import annotations

import dataclasses
import importlib.util
import signal
import threading
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from minigrad.backend import resolve_device
from zoo import recipes
from zoo.progress import Progress
from zoo.recipes import Recipe, RecipeError
from zoo.recipes.check import check
from zoo.training.disk import TrainError
from zoo.training.run import Run, recorded_device
from zoo.training.trainer import Trainer

__all__ = ["RecipeError", "TrainError", "TrainResult", "recorded_device", "resume", "train"]


@dataclass(frozen=True)
class TrainResult:
    """What a training run leaves.

    cause: "finished", or "stopped" by a signal (`resume` goes on).
    before, after: {"psnr_images": dB, "psnr_global": dB, "mse": ...} of the noisy validation set,
    and of that set denoised with the weights in the file `weights`, which are those of the step
    `weights_step`. seconds: of this call.
    """

    run: Path
    weights: Path
    weights_step: int
    device: str
    step: int
    images: int
    cause: str
    before: dict[str, float]
    after: dict[str, float]
    seconds: float


def train(
    recipe: Recipe | str | Path,
    data: str | Path | None = None,
    out: str | Path = "run",
    *,
    device: str = "auto",
    resume: bool = False,
    settings: Iterable[str] = (),
    progress: str | Progress = "auto",
    report: bool = True,
) -> TrainResult:
    """Train `recipe` (a Recipe, a name or a TOML file) into the run folder `out`.

    data: a folder of pictures, or a file of stored pairs; None for the recipe's own (the bundled
    photographs).
    device: "cpu", "cuda" or "auto". settings: `a.b=VALUE` texts, as for `--set`.
    resume: where `out` holds a run of this recipe, go on with it.
    progress: "auto", "bar", "lines", "none", or a Progress.
    report: whether a finished run gets its curves and pictures (where matplotlib is installed).

    SIGINT and SIGTERM end the run after the current step, with a checkpoint; a second SIGINT ends
    it at once.
    Raises: RecipeError (wrong recipe, setting or pictures; exit code 2), TrainError (its
    `exit_code` tells the kind), DeviceError (3).
    """
    shown = progress if isinstance(progress, Progress) else Progress(progress)
    chosen = recipe if isinstance(recipe, Recipe) else recipes.get(recipe)
    chosen = recipes.override(chosen, settings)
    if data is not None:
        chosen = dataclasses.replace(chosen, data=str(data))
    # A resumed run may be started in another folder.
    if chosen.data is not None:
        chosen = dataclasses.replace(chosen, data=str(Path(chosen.data).resolve()))
    chosen = chosen.with_weights(
        lambda name: str(Path(name).resolve()) if Path(name).exists() else name
    )
    check(chosen)
    where = _announced(device, shown)
    folder = Path(out)
    if resume and (folder / "config.toml").is_file():
        if recipes.get(folder / "config.toml") != chosen:
            raise TrainError(f"{folder}: holds a run of another recipe (see its config.toml)", 2)
        return _continued(folder, where, shown, report)
    trainer = _trainer(chosen, where, shown)
    trainer.begin()
    with Run.create(folder, recipes.to_toml(chosen)) as run:
        return _finished(trainer, run, report)


def resume(
    run: str | Path,
    *,
    device: str | None = None,
    progress: str | Progress = "auto",
    report: bool = True,
) -> TrainResult:
    """Go on with the run in the folder `run` from its newest checkpoint, bit for bit.

    device: None for the one that the run was on. On another device, number of threads, BLAS core
    type or version the numbers differ in their last bits; then a line says so.
    Raises: TrainError (also when the recipe or the pictures are not those of the checkpoint; exit
    code 2), RecipeError, DeviceError.
    """
    shown = progress if isinstance(progress, Progress) else Progress(progress)
    where = _announced(device or recorded_device(run), shown)
    return _continued(Path(run), where, shown, report)


def _announced(device: str, progress: Progress) -> str:
    where = resolve_device(device)
    if progress.announce:
        progress.say(f"device: {where}")
    return where


def _continued(folder: Path, device: str, progress: Progress, report: bool) -> TrainResult:
    with Run.open(folder) as run:
        recipe = recipes.get(run.config)
        check(recipe)
        trainer = _trainer(recipe, device, progress)
        trainer.run = run
        found = run.newest()
        if found is None:
            trainer.begin()
            run.take_up(None)
        else:
            trainer.resume(found)
            progress.say(f"resumed at step {trainer.position.step} of {recipe.steps}")
            if trainer.changed:
                progress.say(f"not bit-identical to an undisturbed run: {trainer.changed}")
        return _finished(trainer, run, report)


def _trainer(recipe: Recipe, device: str, progress: Progress) -> Trainer:
    try:
        trainer = Trainer(recipe, device, progress)
    except RecipeError:
        raise
    except (TypeError, ValueError) as error:  # pictures and files of pairs
        raise RecipeError(f"recipe {recipe.name}: {error}") from error
    for note in trainer.feed.notes:
        progress.say(note)
    return trainer


def _finished(trainer: Trainer, run: Run, report: bool) -> TrainResult:
    begun = time.monotonic()
    trainer.run = run
    run.timing.write({"kind": "start", "time": time.time(), **trainer.environment})
    with _stop_signal() as stop:
        cause = trainer.fit(stop.is_set)
    if report and cause == "finished" and importlib.util.find_spec("matplotlib") is not None:
        _write_report(run.folder, trainer.progress)
    position, kept = trainer.position, dict(trainer.kept)
    return TrainResult(
        run=run.folder,
        weights=run.weights,
        weights_step=int(kept.pop("step")),
        device=trainer.device,
        step=position.step,
        images=position.images,
        cause=cause,
        before=position.before,
        after=kept,
        seconds=time.monotonic() - begun,
    )


def _write_report(folder: Path, progress: Progress) -> None:
    """Curves and pictures; a run is not lost when they cannot be drawn."""
    try:
        from zoo import report

        report.write(folder)
    except Exception as error:
        progress.say(f"{folder}: the report could not be written: {error}")


@contextmanager
def _stop_signal() -> Iterator[threading.Event]:
    """An event that the first SIGINT or SIGTERM sets; a second SIGINT interrupts at once."""
    stop = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield stop  # signals reach the main thread alone
        return

    def ask(number: int, frame: Any) -> None:
        if stop.is_set() and number == signal.SIGINT:
            raise KeyboardInterrupt
        stop.set()

    before = {n: signal.signal(n, ask) for n in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
