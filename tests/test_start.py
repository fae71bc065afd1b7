"""Training that begins with given weights, falls by steps, and sees pictures at several sizes."""

from __future__ import annotations

import dataclasses
import io
from pathlib import Path

import numpy as np
import pytest

import zoo
from minigrad import checkpoint
from tests import tiny_training as tiny
from tests.tiny_training import fit, go_on, lines, same_outcome
from zoo.data import Photographs
from zoo.progress import Progress
from zoo.recipes import Optimiser, Recipe, RecipeError, Schedule
from zoo.training import parts


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    """A file of weights that fit the tiny recipe."""
    model = zoo.create("n2n-simple", features=4, rng=np.random.default_rng(9))
    zoo.save(tmp_path / "start.safetensors", model)
    return tmp_path / "start.safetensors"


def started(steps: int, weights: Path, **changes: object) -> Recipe:
    return dataclasses.replace(tiny.recipe(steps, **changes), start=str(weights))


def test_the_first_step_starts_from_the_file(weights, tmp_path, monkeypatch) -> None:
    data, stream = tiny.pictures(tmp_path / "data"), io.StringIO()
    rest = tiny.Optimiser("sgd", lr=0.0)
    result = fit(
        started(2, weights, optimiser=rest),
        data,
        tmp_path / "run",
        progress=Progress("lines", stream),
    )
    assert f"starting from {weights}" in stream.getvalue()
    before, after = checkpoint.load(weights)[0], checkpoint.load(result.weights)[0]
    assert all(np.array_equal(before[name], after[name]) for name in before)
    assert 'start = "start.safetensors"' in zoo.load(result.weights).metadata["recipe"]

    # A relative name is meant from where the command was given, also when the run is resumed.
    monkeypatch.chdir(tmp_path)
    other = fit(started(2, Path("start.safetensors"), optimiser=rest), data, Path("other"))
    monkeypatch.chdir("/")
    same_outcome(tmp_path / "run", tmp_path / other.run)
    again = fit(tmp_path / "run" / "config.toml", None, tmp_path / "again")
    same_outcome(tmp_path / "run", again.run)


def test_a_run_goes_on_without_the_file(weights, tmp_path) -> None:
    data = tiny.pictures(tmp_path / "data")
    fit(started(24, weights), data, tmp_path / "whole")
    run = tmp_path / "run"
    fit(started(24, weights), data, run)
    for path in (run / "checkpoints").iterdir():
        if "24" in path.name:
            path.unlink()
    (run / "model.safetensors").unlink()
    weights.unlink()
    go_on(run)
    same_outcome(tmp_path / "whole", run)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("none.safetensors", "start: none.safetensors: none.safetensors: no such file"),
        ("n2n-gaussia", "start: n2n-gaussia: no such file, run or bundled weights"),
        ("n2n-gaussian", "n2n-gaussian.safetensors: weights of n2n-prelu-unet.*trains n2n-simple"),
        ("wide", "start: .*wide.safetensors: .*weight.*expected"),
    ],
)
def test_a_start_that_does_not_fit(name, message, tmp_path) -> None:
    if name == "wide":
        name = str(tmp_path / "wide.safetensors")
        zoo.save(name, zoo.create("n2n-simple", features=5))
    data = tiny.pictures(tmp_path / "data")
    recipe = dataclasses.replace(tiny.recipe(2), start=name)
    with pytest.raises(RecipeError, match=message):
        fit(recipe, data, tmp_path / "run")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("statistics", ["batch", "running"])
def test_what_norms_divide_by(statistics, tmp_path) -> None:
    """With running statistics the start's own stay, and the network adapts around them."""
    small = {"channels": 3, "features": 4, "depth": 4}
    start = zoo.create("pcst-dncnn", **small, rng=np.random.default_rng(1))
    for norm in start.norms:
        norm.running_sd[...] = np.linspace(0.5, 1.5, 4, dtype=np.float32).reshape(1, 4, 1, 1)
    zoo.save(tmp_path / "start.safetensors", start)
    recipe = dataclasses.replace(
        tiny.recipe(6, optimiser=Optimiser("adam", lr=1e-3), statistics=statistics),
        model="pcst-dncnn",
        model_args=small,
        start=str(tmp_path / "start.safetensors"),
    )
    run = fit(recipe, tiny.pictures(tmp_path / "data"), tmp_path / "run").run
    before, after = start.state_dict(), zoo.load(run / "model.safetensors").state_dict()
    for key, value in before.items():
        held = key.startswith("running_sd") and statistics == "running"
        assert np.array_equal(value, after[key]) == held, key


def test_running_statistics_need_norms(tmp_path) -> None:
    recipe = tiny.recipe(2, statistics="running")
    with pytest.raises(RecipeError, match="'running' needs a network with batch norms"):
        fit(recipe, tiny.pictures(tmp_path / "data"), tmp_path / "run")


def test_the_rate_falls_at_shares_of_the_stage(tmp_path) -> None:
    schedule = Schedule("multi-step", factor=0.5, milestones=(0.25, 0.75))
    recipe = tiny.recipe(40, schedule=schedule, log_every=1)
    rates = [parts.schedule(recipe.stages[0]).lr(step) for step in range(40)]
    assert rates == [1.0] * 10 + [0.5] * 20 + [0.25] * 10
    fit(recipe, tiny.pictures(tmp_path / "data"), tmp_path / "run")
    assert [line["lr"] for line in lines(tmp_path / "run", "train")] == rates


def test_pictures_at_several_sizes() -> None:
    y, x = np.mgrid[:40, :60]
    picture = np.stack([4 * x, 4 * y, x + y]).astype(np.uint8)
    photographs = Photographs([picture])
    assert photographs.at_scales((1.0,)) is photographs
    found = photographs.at_scales((1.0, 0.5, 0.25), least=12)
    assert [found.picture(i).shape for i in range(len(found))] == [(3, 40, 60), (3, 20, 30)]
    assert np.array_equal(found.picture(0), picture)
    ramp = found.picture(1).astype(int)[:, 3:-3, 3:-3]
    assert np.abs(ramp - picture[:, 6:-6:2, 6:-6:2] - [[[2]], [[2]], [[1]]]).max() <= 1
    with pytest.raises(ValueError, match="no picture"):
        photographs.at_scales((0.1,), least=40)


def test_a_recipe_may_ask_for_several_sizes(tmp_path) -> None:
    data = tiny.pictures(tmp_path / "data")
    sampler = tiny.Sampler("gaussian:30", size=16, scales=(1.0, 0.5))
    one, other = (
        fit(tiny.recipe(3), data, tmp_path / "one"),
        fit(tiny.recipe(3, sampler=sampler), data, tmp_path / "other"),
    )
    assert lines(one.run, "train") != lines(other.run, "train")
