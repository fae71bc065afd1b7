"""Training: the loop, its files, its refusals."""

from __future__ import annotations

import dataclasses
import io
import tomllib

import numpy as np
import pytest

import zoo
from minigrad import checkpoint
from tests import tiny_training as tiny
from tests.tiny_training import fit
from zoo import objectives, recipes
from zoo.objectives.base import split
from zoo.progress import Progress
from zoo.recipes import Optimiser, RecipeError, Sampler, Schedule, Validation
from zoo.training import parts

# --- what a run leaves ---------------------------------------------------------------------------


def test_result(finished) -> None:
    assert finished.cause == "finished"
    assert (finished.step, finished.images, finished.device) == (60, 240, "cpu")
    assert finished.after["psnr_images"] > 8
    assert set(finished.before) == {"mse", "psnr_images", "psnr_global"} == set(finished.after)


def test_log(finished) -> None:
    records = tiny.lines(finished.run)
    assert [r["kind"] for r in records[:3]] == ["noisy", "validation", "train"]
    trained = tiny.lines(finished.run, "train")
    assert [r["step"] for r in trained] == [7, 14, 21, 28, 35, 42, 49, 56, 60]
    assert all(r["images"] == 4 * r["step"] and r["stage"] == 0 for r in trained)
    assert trained[-1]["loss"] < trained[0]["loss"]
    judged = tiny.lines(finished.run, "validation")
    assert [r["step"] for r in judged] == [0, 10, 20, 30, 40, 50, 60]
    assert judged[-1]["psnr_images"] == finished.after["psnr_images"]
    assert not any("seconds" in r for r in records)
    timing = (finished.run / "timing.jsonl").read_text()
    assert '"kind": "start"' in timing
    assert '"seconds"' in timing


def test_weights(finished) -> None:
    model = zoo.load(finished.weights)
    assert model.metadata["noise"] == "gaussian:30"
    assert model.metadata["architecture"] == "n2n-simple"
    assert recipes.from_toml(model.metadata["recipe"]).name == "tiny"
    noisy = np.random.default_rng(0).random((1, 3, 17, 21), dtype=np.float32)
    assert model.denoise(noisy).shape == noisy.shape


def test_only_two_checkpoints_stay(finished) -> None:
    names = sorted(p.name for p in (finished.run / "checkpoints").iterdir())
    assert names == ["step-000000056.safetensors", "step-000000060.safetensors"]
    arrays, text = checkpoint.load(finished.run / "checkpoints" / names[-1])
    assert "objective.network.0.weight" in arrays
    assert any(name.startswith("optimiser.") for name in arrays)
    for word in ("log_bytes", "schedule", "seed", "blas_core", "threads", "recipe", "best"):
        assert word in text["state"]


def test_effective_recipe_replays(finished, data, tmp_path) -> None:
    again = fit(finished.run / "config.toml", None, tmp_path / "again")
    assert (again.run / "config.toml").read_text() == (finished.run / "config.toml").read_text()
    tiny.same_outcome(again.run, finished.run)


def test_another_seed_differs(finished, data, tmp_path) -> None:
    other = fit(tiny.recipe(), data, tmp_path / "run", settings=["seed=4"])
    assert (other.run / "log.jsonl").read_text() != (finished.run / "log.jsonl").read_text()
    assert tomllib.loads((other.run / "config.toml").read_text())["seed"] == 4


def test_no_temporary_file_stays(finished) -> None:
    assert not list(finished.run.rglob("*.partial"))


# --- the step ------------------------------------------------------------------------------------


@pytest.mark.parametrize("loss", ["mse", "l1", "l0"])
def test_micro_batches_equal_one_batch(loss) -> None:
    rng = np.random.default_rng(0)
    batch = (rng.random((6, 3, 8, 8)), rng.random((6, 3, 8, 8)))
    found = {}
    for count in (1, 3):
        recipe = dataclasses.replace(tiny.recipe(loss=loss), dtype="float64")
        network = parts.network(recipe)
        objective = objectives.create("noise2noise", network, loss)
        objective.astype("float64")
        optimiser, _ = parts.optimiser(recipe.stages[0], network)
        for step in range(3):
            objective.anneal(step / 3)
            outputs = objective.training_step(split(batch, count), optimiser)
        found[count] = [float(outputs[0]), *(p.value for p in network.parameters())]
    for one, three in zip(found[1], found[3], strict=True):
        np.testing.assert_allclose(three, one, rtol=1e-12, atol=1e-14)


def test_annealed_loss_ends_near_zero(data, tmp_path) -> None:
    recipe = tiny.recipe(20, loss="l0", optimiser=Optimiser("adam", lr=1e-3), log_every=1)
    fit(recipe, data, tmp_path / "run")
    losses = [r["loss"] for r in tiny.lines(tmp_path / "run", "train")]
    assert losses[0] < 0.2  # gamma 2: a mean square
    assert losses[-1] > 0.6  # gamma 0.1: close to a count


@pytest.mark.parametrize("objective", ["noise2noise", "noise2clean"])
def test_both_targets(objective, data, tmp_path) -> None:
    result = fit(tiny.recipe(objective=objective), data, tmp_path / "run")
    assert result.cause == "finished"


def test_clean_targets_give_a_lower_loss(data, tmp_path) -> None:
    last = {}
    for objective in ("noise2noise", "noise2clean"):
        fit(tiny.recipe(objective=objective), data, tmp_path / objective)
        last[objective] = tiny.lines(tmp_path / objective, "train")[-1]["loss"]
    # The noise of the target adds its variance, (30/255)^2 = 0.0138.
    assert last["noise2noise"] - last["noise2clean"] == pytest.approx(0.0138, abs=0.004)


def test_masked_loss(data, tmp_path) -> None:
    recipe = tiny.recipe(10, loss="masked_mse", sampler=Sampler("bernoulli:0.3", size=16))
    assert fit(recipe, data, tmp_path / "run").cause == "finished"
    with pytest.raises(RecipeError, match="masked_mse"):
        fit(tiny.recipe(10, loss="masked_mse"), data, tmp_path / "other")


def test_subpixel_sampling(data, tmp_path) -> None:
    recipe = tiny.recipe(10, sampler=Sampler("subpixel:2", size=16, pairs=8, swap=True))
    assert fit(recipe, data, tmp_path / "run").cause == "finished"


def test_stages_follow_one_another(data, tmp_path) -> None:
    first, second = tiny.recipe(12).stages[0], tiny.recipe(9, objective="noise2clean").stages[0]
    recipe = dataclasses.replace(tiny.recipe(), stages=(first, second))
    assert fit(recipe, data, tmp_path / "run").step == 21
    found = [(r["stage"], r["step"]) for r in tiny.lines(tmp_path / "run", "train")]
    assert found == [(0, 7), (0, 12), (1, 19), (1, 21)]


def test_plateau_lowers_the_rate(data, tmp_path) -> None:
    recipe = tiny.recipe(40, schedule=Schedule("plateau", patience=0, threshold=0.9), log_every=10)
    fit(recipe, data, tmp_path / "run")
    rates = [r["lr"] for r in tiny.lines(tmp_path / "run", "train")]
    assert rates == pytest.approx([1.0, 1.0, 0.1, 0.01])


@pytest.mark.parametrize("kind", ["constant", "ramp-down", "cosine"])
def test_schedules(kind, data, tmp_path) -> None:
    recipe = tiny.recipe(10, schedule=Schedule(kind, warm_up=3), log_every=1)
    fit(recipe, data, tmp_path / "run")
    rates = [r["lr"] for r in tiny.lines(tmp_path / "run", "train")]
    assert rates[0] == pytest.approx(0.25)
    assert (rates[-1] < 0.2) == (kind != "constant")


def test_best_weights_are_kept(data, tmp_path) -> None:
    keep = Validation(every=10, images=6, batch=4, weights="best")
    recipe = dataclasses.replace(tiny.recipe(40), validation=keep)
    result = fit(recipe, data, tmp_path / "run")
    best = min(tiny.lines(result.run, "validation")[1:], key=lambda record: record["mse"])
    assert zoo.load(result.weights).metadata["step"] == str(best["step"])


# --- progress ------------------------------------------------------------------------------------


def test_first_line_is_the_device(data, tmp_path) -> None:
    stream = io.StringIO()
    fit(tiny.recipe(10), data, tmp_path / "run", progress=Progress("lines", stream, interval=0))
    first, *others = stream.getvalue().splitlines()
    assert first == "device: cpu"
    assert others[-1].startswith("step 10/10  loss 0.")
    assert all(word in others[-1] for word in ("PSNR", "images/s", "left"))


def test_bar(data, tmp_path) -> None:
    stream = io.StringIO()
    fit(tiny.recipe(10), data, tmp_path / "run", progress=Progress("bar", stream))
    assert "10/10" in stream.getvalue()
