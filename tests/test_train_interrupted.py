"""Training that is disturbed: readers that go away, damaged logs, inputs changed since."""

from __future__ import annotations

import dataclasses
import io
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import zoo
from minigrad import DeviceError, backend, checkpoint
from tests import tiny_training as tiny
from tests.tiny_training import fit, go_on
from zoo.__main__ import main
from zoo.progress import Progress
from zoo.recipes import Optimiser
from zoo.training import trainer
from zoo.training.disk import TrainError

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture
def run(data, tmp_path) -> Path:
    """A finished run whose last checkpoints are those of the steps 8 and 16."""
    return fit(tiny.recipe(16), data, tmp_path / "run").run


def stopped_at(step: int, monkeypatch) -> None:
    """Let every training end when so many steps are done."""
    real = trainer.Trainer.fit
    monkeypatch.setattr(
        trainer.Trainer, "fit", lambda self, _: real(self, lambda: self.position.step >= step)
    )


def said_by(work: Any) -> str:
    stream = io.StringIO()
    work(Progress("lines", stream))
    return stream.getvalue()


# --- every optimiser -----------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["sgd", "adam", "adamax"])
def test_a_stopped_run_goes_on_to_the_bit(kind, data, tmp_path, monkeypatch) -> None:
    chosen = [f"stages.0.optimiser.kind={kind}", "stages.0.optimiser.lr=0.003"]
    whole = fit(tiny.recipe(16), data, tmp_path / "whole", settings=chosen)
    with monkeypatch.context() as patched:
        stopped_at(11, patched)
        assert fit(tiny.recipe(16), data, tmp_path / "cut", settings=chosen).cause != "finished"
    again = go_on(tmp_path / "cut")
    assert again.cause == "finished"
    tiny.same_outcome(again.run, whole.run)
    assert {r["lr"] for r in tiny.lines(again.run, "train")} == {0.003}
    state, _ = checkpoint.load(sorted((again.run / "checkpoints").iterdir())[-1])
    names = {name.rsplit(".", 1)[-1] for name in state if name.startswith("optimiser.")}
    assert ("exp_inf" in names) == (kind == "adamax")


# --- networks that draw, and networks with running statistics ------------------------------------


@pytest.mark.parametrize("model", ["bf-rcnn", "dncnn-s", "pcst-dncnn"])
def test_noise_and_statistics_of_a_network_go_on_to_the_bit(
    model, data, tmp_path, monkeypatch
) -> None:
    narrow = {"channels": 3, "features": 4}
    narrow |= {"hidden": 1} if model == "bf-rcnn" else {"depth": 4}
    recipe = dataclasses.replace(
        tiny.recipe(16, optimiser=Optimiser("adam", lr=0.01)), model=model, model_args=narrow
    )
    whole = fit(recipe, data, tmp_path / "whole")
    with monkeypatch.context() as patched:
        stopped_at(11, patched)
        fit(recipe, data, tmp_path / "cut")
    tiny.same_outcome(go_on(tmp_path / "cut").run, whole.run)


# --- a reader that goes away ---------------------------------------------------------------------


class Closing(io.StringIO):
    """A terminal that is closed after a few words, or a pipe whose reader has ended."""

    def __init__(self, error: type[Exception]) -> None:
        super().__init__()
        self.error, self.left = error, 2

    def isatty(self) -> bool:
        return True

    def write(self, text: str) -> int:
        self.left -= 1
        if self.left < 0:
            raise self.error("gone")
        return super().write(text)


@pytest.mark.parametrize("style", ["lines", "bar"])
@pytest.mark.parametrize("error", [BrokenPipeError, OSError, ValueError])
def test_training_outlives_its_reader(style, error, finished, data, tmp_path) -> None:
    shown = Progress(style, Closing(error), interval=0)
    result = fit(tiny.recipe(), data, tmp_path / "run", progress=shown)
    assert (result.cause, shown.style, shown.lost) == ("finished", "none", True)
    tiny.same_outcome(result.run, finished.run)


def test_no_stream_at_all(data, tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(sys, "stdout", None)
    assert fit(tiny.recipe(4), data, tmp_path / "run", progress="auto").cause == "finished"


def test_a_pipe_that_is_closed(data, tmp_path) -> None:
    """`zoo train ... | head -n 1` trains to the end, and ends with 0 and without a complaint."""
    (tmp_path / "tiny.toml").write_text(tiny.recipes.to_toml(tiny.recipe(40)))
    command = [sys.executable, "-m", "zoo", "train", "tiny.toml", "--data", str(data)]
    child = subprocess.Popen(
        [*command, "--out", "run", "--device", "cpu", "--set", "stages.0.sampler.size=12"],
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        text=True,
    )
    assert child.stdout is not None and child.stderr is not None
    assert child.stdout.readline().startswith("device: cpu")
    child.stdout.close()
    errors = child.stderr.read()
    assert (child.wait(60), errors) == (0, "")
    assert zoo.load(tmp_path / "run" / "model.safetensors").metadata["step"] == "40"


def test_an_exception_between_steps_leaves_a_checkpoint(finished, data, tmp_path) -> None:
    class Failing(Progress):
        def step(self, step: int, images: int) -> None:
            if step == 27:
                raise RuntimeError("planted")

    with pytest.raises(RuntimeError, match="planted"):
        fit(tiny.recipe(), data, tmp_path / "run", progress=Failing("none"))
    assert (tmp_path / "run" / "checkpoints" / "step-000000027.safetensors").is_file()
    go_on(tmp_path / "run")
    tiny.same_outcome(tmp_path / "run", finished.run)


@pytest.mark.parametrize("moment", ["_parts", "_log", "_judge"])
@pytest.mark.parametrize("nth", [1, 3])
def test_an_exception_within_a_step_does_no_harm(
    moment, nth, finished, data, tmp_path, monkeypatch
) -> None:
    real, left = getattr(trainer.Trainer, moment), [nth]

    def failing(self, *args):
        left[0] -= 1
        if left[0] == 0:
            raise MemoryError("planted")
        return real(self, *args)

    monkeypatch.setattr(trainer.Trainer, moment, failing)
    with pytest.raises(MemoryError, match="planted"):
        fit(tiny.recipe(), data, tmp_path / "run")
    monkeypatch.undo()
    go_on(tmp_path / "run")
    tiny.same_outcome(tmp_path / "run", finished.run)


# --- logs that are damaged -----------------------------------------------------------------------


@pytest.mark.parametrize("how", ["empty", "missing", "longer", "garbage", "folder"])
def test_a_damaged_timing_log_matters_to_nobody(how, finished, data, tmp_path, monkeypatch) -> None:
    stopped_at(20, monkeypatch)
    run = fit(tiny.recipe(), data, tmp_path / "run").run
    monkeypatch.undo()
    timing, before = run / "timing.jsonl", sorted((run / "checkpoints").iterdir())
    if how == "longer":
        timing.write_bytes(timing.read_bytes() * 2)
    else:
        timing.unlink()
    if how in ("empty", "garbage"):
        timing.write_bytes(b"" if how == "empty" else b"\xff\x00{]\n" * 3)
    if how == "folder":
        timing.mkdir()
    told = said_by(lambda progress: go_on(run, progress))
    assert "resumed at step 20" in told and "passed over" not in told
    assert before[-1].name == "step-000000020.safetensors"
    tiny.same_outcome(run, finished.run)


def test_a_log_that_is_too_short_for_the_newest_checkpoint(run, finished) -> None:
    reference = (run / "log.jsonl").read_bytes()
    (run / "log.jsonl").write_bytes(reference[:-10])
    told = said_by(lambda progress: go_on(run, progress))
    assert "passed over step-000000016.safetensors (log.jsonl has " in told
    assert "it is now step-000000016.safetensors.passed-over" in told
    assert "resumed at step 8 of 16" in told
    assert (run / "log.jsonl").read_bytes() == reference
    names = sorted(path.name for path in (run / "checkpoints").iterdir())
    assert names[-1] == "step-000000016.safetensors.passed-over"

    (run / "log.jsonl").write_bytes(b"")
    with pytest.raises(TrainError, match=r"can be taken up: step-.*log.jsonl has 0 bytes"):
        go_on(run)
    assert len(list((run / "checkpoints").iterdir())) == 3


def test_an_unreadable_checkpoint_is_told_and_kept(run) -> None:
    newest = run / "checkpoints" / "step-000000016.safetensors"
    newest.write_bytes(b"nothing of the kind")
    told = said_by(lambda progress: go_on(run, progress))
    assert "passed over step-000000016.safetensors (not a safetensors file" in told
    aside = newest.with_name(newest.name + ".passed-over")
    assert aside.read_bytes() == b"nothing of the kind"


# --- inputs that have changed --------------------------------------------------------------------


def state_of(run: Path) -> dict[str, bytes]:
    return {str(p): p.read_bytes() for p in run.rglob("*") if p.is_file() and p.suffix != ".lock"}


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("lr = 1.0", "lr = 0.5", "stages.0.optimiser.lr: 1.0 -> 0.5"),
        ("seed = 3", "seed = 4", "seed: 3 -> 4"),
        ("steps = 16", "steps = 20", "stages.0.steps: 16 -> 20"),
        ("size = 16\n", "size = 16\npairs = 8\n", "stages.0.sampler.pairs: none -> 8"),
    ],
)
def test_an_edited_recipe_is_refused(old, new, words, run) -> None:
    config = run / "config.toml"
    assert old in config.read_text()
    config.write_text(config.read_text().replace(old, new, 1))
    before = state_of(run)
    with pytest.raises(TrainError, match="changed since the checkpoint of step 16: ") as caught:
        go_on(run)
    assert words in str(caught.value)
    assert f"zoo train {config} --out NEW" in str(caught.value)
    assert caught.value.exit_code == 2
    assert state_of(run) == before


def test_changed_pictures_are_refused(tmp_path) -> None:
    data = tiny.pictures(tmp_path / "pictures")
    run = fit(tiny.recipe(16), data, tmp_path / "run").run
    first = (data / "0.png").read_bytes()

    def refused(words: str) -> None:
        with pytest.raises(TrainError, match=words) as caught:
            go_on(run)
        assert caught.value.exit_code == 2
        assert "not those of the checkpoint of step 16" in str(caught.value)

    (data / "0.png").write_bytes((data / "1.png").read_bytes())
    refused("5 files of ")
    (data / "0.png").write_bytes(first)
    (data / "val.txt").write_text("0\n")  # other ones are kept for judging
    refused("5 files of the same size with other names, parts or contents")
    (data / "val.txt").unlink()
    (data / "0.png").unlink()
    refused("5 files of .* then, 4 files of .* now")
    (data / "0.png").write_bytes(first)
    assert go_on(run).step == 16


def test_pictures_may_move(tmp_path) -> None:
    run = fit(tiny.recipe(16), tiny.pictures(tmp_path / "a"), tmp_path / "run").run
    (tmp_path / "a").rename(tmp_path / "b")
    config = run / "config.toml"
    config.write_text(config.read_text().replace(str(tmp_path / "a"), str(tmp_path / "b")))
    assert go_on(run).step == 16


def test_a_checkpoint_that_recorded_no_pictures_is_taken_up(run) -> None:
    newest = run / "checkpoints" / "step-000000016.safetensors"
    arrays, text = checkpoint.load(newest)
    state = json.loads(text["state"])
    del state["pictures"]
    checkpoint.save(newest, arrays, {"state": json.dumps(state)})
    assert go_on(run).step == 16


# --- what belongs to the weights -----------------------------------------------------------------


def test_figures_of_a_stopped_run_are_those_of_its_weights(data, tmp_path, monkeypatch) -> None:
    stopped_at(27, monkeypatch)  # the last validation was at 20
    stopped = fit(tiny.recipe(), data, tmp_path / "run")
    monkeypatch.undo()
    text = zoo.load(stopped.weights).metadata
    assert text["step"] == text["validation_step"] == "27"
    assert stopped.weights_step == 27
    assert float(text["validation_mse"]) == pytest.approx(stopped.after["mse"], rel=1e-5)
    assert stopped.after["mse"] != tiny.lines(stopped.run, "validation")[-1]["mse"]
    # A run that ends there validates there, and finds the same.
    whole = fit(tiny.recipe(27), data, tmp_path / "whole")
    assert stopped.after == whole.after


def test_best_weights_bring_their_own_figures(data, tmp_path) -> None:
    settings = ["validation.weights=best", "stages.0.optimiser.lr=20"]
    result = fit(tiny.recipe(40), data, tmp_path / "run", settings=settings)
    best = min(tiny.lines(result.run, "validation")[1:], key=lambda record: record["mse"])
    assert best["step"] < 40, "planted: a rate that makes it worse again"
    text = zoo.load(result.weights).metadata
    assert result.after == {name: best[name] for name in result.after}
    assert text["validation_step"] == text["step"] == str(best["step"])
    assert result.weights_step == best["step"]
    assert float(text["validation_mse"]) == pytest.approx(best["mse"], rel=1e-5)
    assert go_on(result.run).after == result.after


def test_weights_tell_no_path(finished) -> None:
    recipe = tiny.recipes.from_toml(zoo.load(finished.weights).metadata["recipe"])
    assert recipe.data is not None
    assert "/" not in recipe.data
    assert Path(tiny.recipes.get(finished.run / "config.toml").data or "").is_absolute()


# --- device and exit codes -----------------------------------------------------------------------


def test_resume_goes_back_to_the_device_of_the_run(run, monkeypatch, capsys) -> None:
    asked = []

    def resolve(device: str) -> str:
        asked.append(device)
        if device == "cuda":
            raise DeviceError("cuda cannot be used")
        return "cpu"

    monkeypatch.setattr(backend, "resolve_device", resolve)
    assert main(["resume", str(run)]) == 0
    assert asked[0] == "cpu"
    newest = run / "checkpoints" / "step-000000016.safetensors"
    arrays, text = checkpoint.load(newest)
    checkpoint.save(newest, arrays, {"state": text["state"].replace('"cpu"', '"cuda"')})
    capsys.readouterr()
    assert main(["resume", str(run)]) == 3
    assert "the run was there: --device cpu goes on elsewhere" in capsys.readouterr().err
    assert main(["resume", str(run), "--device", "cpu"]) == 0
    assert "not bit-identical to an undisturbed run: device cuda -> cpu" in capsys.readouterr().out


def test_a_clean_stop_ends_with_130(data, tmp_path, capsys, monkeypatch) -> None:
    (tmp_path / "tiny.toml").write_text(tiny.recipes.to_toml(tiny.recipe(40)))
    stopped_at(27, monkeypatch)
    arguments = ["train", str(tmp_path / "tiny.toml"), "--data", str(data), "--device", "cpu"]
    assert main([*arguments, "--out", str(tmp_path / "run")]) == 130
    assert "stopped at step 27; go on with: zoo resume" in capsys.readouterr().out
    assert main(["resume", str(tmp_path / "run"), "--json"]) == 130
    found = json.loads(capsys.readouterr().out)
    assert (found["ok"], found["step"], found["weights_step"]) == (False, 27, 27)
    monkeypatch.undo()
    assert main(["resume", str(tmp_path / "run")]) == 0


@pytest.mark.parametrize("verb", ["train", "resume"])
def test_the_help_says_130(verb, capsys) -> None:
    assert main([verb, "--help"]) == 0
    assert "exit code 130" in " ".join(capsys.readouterr().out.split())


def test_out_is_a_file(data, tmp_path) -> None:
    (tmp_path / "f").write_text("mine")
    with pytest.raises(TrainError, match="f: expected an absent or empty folder, is a file") as e:
        fit(tiny.recipe(), data, tmp_path / "f")
    assert e.value.exit_code == 2
    assert (tmp_path / "f").read_text() == "mine"


def test_no_warning_of_numpy_is_seen(data, tmp_path) -> None:
    """A rate that explodes: the user sees one message, and none of NumPy's, from no thread."""
    recipe = dataclasses.replace(tiny.recipe(batch=16), model_args={"features": 64})
    (tmp_path / "tiny.toml").write_text(tiny.recipes.to_toml(recipe))
    settings = ["--set", "stages.0.optimiser.lr=1e30", "--set", "stages.0.schedule.kind=constant"]
    done = subprocess.run(
        [sys.executable, "-m", "zoo", "train", "tiny.toml", "--data", str(data), "--out", "run"]
        + ["--device", "cpu", *settings],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT), "OPENBLAS_NUM_THREADS": "2"},
    )
    assert done.returncode == 1, done.stderr
    assert "RuntimeWarning" not in done.stderr and done.stderr.count("\n") == 1
