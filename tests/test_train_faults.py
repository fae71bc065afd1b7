"""Training: what it refuses, how it goes on, how it ends when something is wrong."""

from __future__ import annotations

import io
import os
import signal
import threading
import time
from pathlib import Path

import numpy as np
import pytest

import zoo
from minigrad import checkpoint
from tests import tiny_training as tiny
from tests.tiny_training import fit, go_on
from zoo import objectives
from zoo.progress import Progress
from zoo.recipes import Optimiser, RecipeError, Schedule
from zoo.training import trainer
from zoo.training.disk import TrainError
from zoo.training.run import Run

# --- refusals ------------------------------------------------------------------------------------


def test_a_folder_that_holds_something(finished, data, tmp_path) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(TrainError, match=r"absent or empty folder, found notes\.txt") as caught:
        fit(tiny.recipe(), data, tmp_path)
    assert caught.value.exit_code == 2
    assert os.listdir(tmp_path) == ["notes.txt"]
    with pytest.raises(TrainError, match="holds a run already; resume it"):
        fit(tiny.recipe(), data, finished.run)


def test_wrong_recipe_leaves_no_folder(data, tmp_path) -> None:
    for setting in ("model=nothing", "stages.0.micro_batches=3", "model_args.width=3"):
        with pytest.raises(RecipeError):
            fit(tiny.recipe(), data, tmp_path / "run", settings=[setting])
        assert not (tmp_path / "run").exists()


def test_no_pictures(tmp_path) -> None:
    (tmp_path / "empty").mkdir()
    for folder in ("empty", "absent"):
        with pytest.raises((TrainError, RecipeError, ValueError), match=folder):
            fit(tiny.recipe(), tmp_path / folder, tmp_path / "run")
        assert not (tmp_path / "run").exists()


def test_second_process_is_refused(finished) -> None:
    with Run.open(finished.run):
        with pytest.raises(TrainError, match=f"process {os.getpid()} is training") as caught:
            go_on(finished.run, "none")
    assert caught.value.exit_code == 2
    assert go_on(finished.run, "none").step == 60


def test_nothing_to_resume(tmp_path) -> None:
    with pytest.raises(TrainError, match="not a run folder"):
        go_on(tmp_path, "none")


def test_folder_that_cannot_be_made(data, tmp_path, monkeypatch) -> None:
    (tmp_path / "file").write_text("")

    def refused(self, *args, **how):
        raise PermissionError(13, "Permission denied", str(self))

    for folder, reason in (
        (tmp_path / "file" / "run", "Not a directory"),
        (tmp_path / "x", "Perm"),
    ):
        with pytest.raises(TrainError, match=f"{folder}.*: {reason}") as caught:
            fit(tiny.recipe(), data, folder)
        assert caught.value.exit_code == 3
        monkeypatch.setattr(Path, "mkdir", refused)


@pytest.mark.parametrize("operation", ["write", "fsync", "replace"])
def test_disk_that_refuses(operation, data, tmp_path, monkeypatch) -> None:
    """Whichever call of a run fails, the message names the folder and the run can be resumed."""
    recipe = tiny.recipe(16)
    undisturbed = fit(recipe, data, tmp_path / "undisturbed")
    real = getattr(os, operation)
    for nth in range(1, 100):
        left = [nth]

        def full(*args, left=left):
            left[0] -= 1
            if left[0] == 0:
                raise OSError(28, "No space left on device")
            return real(*args)

        folder = tmp_path / str(nth)
        monkeypatch.setattr(os, operation, full)
        try:
            fit(recipe, data, folder)
        except TrainError as error:
            assert error.exit_code == 3
            assert "No space left on device" in str(error)
            assert str(folder) in str(error)
            assert "MB free" in str(error)
        finally:
            monkeypatch.undo()
        assert not list(folder.rglob("*.partial"))
        resumed = fit(recipe, data, folder, resume=True)
        tiny.same_outcome(resumed.run, undisturbed.run)
        if left[0] > 0:
            break
    assert nth > 4


# --- resuming ------------------------------------------------------------------------------------


def test_stop_and_resume_is_bit_identical(finished, data, tmp_path, monkeypatch) -> None:
    stop_at = 27
    monkeypatch.setattr(
        trainer.Trainer, "fit", _stopping(trainer.Trainer.fit, stop_at), raising=True
    )
    stopped = fit(tiny.recipe(), data, tmp_path / "run")
    assert (stopped.cause, stopped.step) == ("stopped", stop_at)
    zoo.load(stopped.weights)
    monkeypatch.undo()
    stream = io.StringIO()
    resumed = go_on(tmp_path / "run", Progress("lines", stream))
    assert f"resumed at step {stop_at} of 60" in stream.getvalue()
    assert "not bit-identical" not in stream.getvalue()
    tiny.same_outcome(resumed.run, finished.run)


def _stopping(fit_method, step: int):
    def fit_until(self, stop):
        return fit_method(self, lambda: self.position.step >= step)

    return fit_until


def test_damaged_checkpoint_is_passed_over(finished, data, tmp_path) -> None:
    run = fit(tiny.recipe(), data, tmp_path / "run").run
    newest = run / "checkpoints" / "step-000000060.safetensors"
    newest.write_bytes(newest.read_bytes()[:-40])
    assert go_on(run, "none").step == 60
    assert (run / "log.jsonl").read_bytes() == (finished.run / "log.jsonl").read_bytes()
    for path in (run / "checkpoints").iterdir():
        path.write_bytes(b"")
    with pytest.raises(TrainError, match="no checkpoint can be taken up"):
        go_on(run, "none")


def test_other_threads_are_told(finished, monkeypatch, tmp_path, data) -> None:
    run = fit(tiny.recipe(8), data, tmp_path / "run").run
    found = dict(trainer.environment("cpu"), threads=77)
    monkeypatch.setattr(trainer, "environment", lambda device: found)
    stream = io.StringIO()
    go_on(run, Progress("lines", stream))
    assert "not bit-identical to an undisturbed run: threads " in stream.getvalue()


def test_train_with_resume(data, tmp_path) -> None:
    fit(tiny.recipe(8), data, tmp_path / "run", resume=True)
    assert fit(tiny.recipe(8), data, tmp_path / "run", resume=True).step == 8
    with pytest.raises(TrainError, match="another recipe"):
        fit(tiny.recipe(9), data, tmp_path / "run", resume=True)


# --- signals -------------------------------------------------------------------------------------


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_signal_ends_with_a_checkpoint(number, data, tmp_path) -> None:
    sender = threading.Thread(target=_signal_when_running, args=(tmp_path / "run", number))
    sender.start()
    result = fit(tiny.recipe(20_000), data, tmp_path / "run")
    sender.join()
    assert result.cause == "stopped"
    newest = max((tmp_path / "run" / "checkpoints").iterdir())
    assert newest.name == f"step-{result.step:09d}.safetensors"


def _signal_when_running(run: Path, number: int) -> None:
    for _ in range(400):
        if (run / "log.jsonl").exists() and "train" in (run / "log.jsonl").read_text():
            os.kill(os.getpid(), number)
            return
        time.sleep(0.02)


# --- numbers that are not finite -----------------------------------------------------------------


def test_rate_that_explodes_names_step_and_layer(data, tmp_path) -> None:
    recipe = tiny.recipe(optimiser=Optimiser("sgd", lr=1e30), schedule=Schedule("constant"))
    with pytest.raises(TrainError) as caught:
        fit(recipe, data, tmp_path / "run")
    text = str(caught.value)
    assert "step " in text
    assert "network." in text
    assert f"zoo train {tmp_path / 'run' / 'config.toml'} --out NEW" in text
    assert "--set stages.0.optimiser.lr=1e+29" in text
    _all_checkpoints_are_finite(tmp_path / "run")


@pytest.mark.parametrize(("layer", "bad"), [("network.0", 13), ("network.4", 9), ("loss", 20)])
def test_planted_nan_is_found(layer, bad, data, tmp_path, monkeypatch) -> None:
    real = objectives.create

    def planted(*args, **settings):
        objective = real(*args, **settings)
        module = dict(objective.named_modules())[layer]
        steps = [0]

        def anneal(fraction: float) -> None:
            steps[0] = round(fraction * 60) + 1

        objective.anneal = anneal
        for method in ("forward", "forward_and_vjp"):
            monkeypatch.setattr(module, method, _spoilt(getattr(module, method), steps, bad))
        return objective

    monkeypatch.setattr(objectives, "create", planted)
    with pytest.raises(TrainError) as caught:
        fit(tiny.recipe(), data, tmp_path / "run")
    assert f"step {bad}: the loss is not finite" in str(caught.value)
    assert f"the output of layer {layer} " in str(caught.value)
    assert f"checkpoint of step {bad // 8 * 8} is good" in str(caught.value)
    _all_checkpoints_are_finite(tmp_path / "run")
    monkeypatch.undo()
    assert go_on(tmp_path / "run", "none").step == 60


def _spoilt(method, steps: list[int], bad: int):
    def call(*xs):
        result = method(*xs)
        if steps[0] != bad:
            return result
        if isinstance(result, tuple):
            return result[0] * np.float32("nan"), result[1]
        return result * np.float32("nan")

    return call


def _all_checkpoints_are_finite(run: Path) -> None:
    found = list((run / "checkpoints").iterdir())
    assert found
    for path in found:
        checkpoint.load(path, finite=True)
