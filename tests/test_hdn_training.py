"""Training by the evidence lower bound: the recipes' machinery, on networks of a second."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile

import zoo
from minigrad import checkpoint
from minigrad.noise import Noise
from tests import tiny_training as tiny
from tests.tiny_training import Sampler, fit, go_on, lines, same_outcome
from zoo import noise as laws
from zoo.noise.calibration import Calibration, fit_mixture
from zoo.noise.models import NoiseModel, save_noise_model
from zoo.objectives.elbo import ELBO
from zoo.recipes import Elbo, Optimiser, Recipe, RecipeError, Schedule, Validation
from zoo.training.disk import TrainError
from zoo.training.position import Position

LADDER = {"z_dims": [2, 2], "n_filters": 4, "blocks_per_layer": 1, "img_shape": [16, 16]}


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.pictures(tmp_path_factory.mktemp("pictures"))


def recipe(steps: int = 30, model: str = "hdn", **changes: Any) -> Recipe:
    how: dict[str, Any] = {
        "objective": "elbo",
        "loss": "gaussian",
        "optimiser": Optimiser("adamax", lr=2e-3),
        "schedule": Schedule(),
        "elbo": Elbo(noise_std=30.0, free_bits=0.5),
        **changes,
    }
    arguments = LADDER if model == "hdn" else {"z_dim": 3, "init_filters": 4}
    return dataclasses.replace(tiny.recipe(steps, **how), model=model, model_args=arguments)


@pytest.mark.parametrize("model", ["hdn", "divnoising"])
def test_the_loss_falls_and_a_kill_changes_nothing(
    model: str, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    how = {"sampler": Sampler("gaussian:30", size=16, pairs=8), "log_every": 10}
    whole = recipe(40, model, optimiser=Optimiser("adamax", lr=1e-2), **how)
    fit(whole, data, tmp_path / "whole")
    told = lines(tmp_path / "whole", "train")
    assert {"loss", "recons", "kl", "lr"} <= set(told[0])
    assert told[-1]["loss"] < told[0]["loss"]
    judged = [record["loss"] for record in lines(tmp_path / "whole", "validation")]
    assert judged[-1] < judged[0]
    from zoo.training import trainer

    real = trainer.Trainer.fit
    monkeypatch.setattr(
        trainer.Trainer, "fit", lambda self, _: real(self, lambda: self.position.step >= 21)
    )
    fit(whole, data, tmp_path / "cut")
    monkeypatch.setattr(trainer.Trainer, "fit", real)
    go_on(tmp_path / "cut")
    same_outcome(tmp_path / "whole", tmp_path / "cut")


def test_the_scale_is_that_of_the_noisy_pictures(data: Path, tmp_path: Path) -> None:
    result = fit(recipe(2), data, tmp_path / "run")
    model: Any = zoo.load(result.weights)
    assert 0.2 < model.data_mean < 0.8 and 0.15 < model.data_std < 0.6
    given = dataclasses.replace(recipe(2), model_args={**LADDER, "data_mean": 0.5})
    model = zoo.load(fit(given, data, tmp_path / "other").weights)
    assert (model.data_mean, model.data_std) == (0.5, 1.0)


def test_virtual_batches_and_clipping(data: Path, tmp_path: Path) -> None:
    """With no norm and no draws two halves are the whole; a short gradient is left alone."""
    outcomes = []
    for micro, clip in ((1, None), (2, None), (1, 1e6), (1, 1e-3)):
        made = recipe(
            3,
            "divnoising",
            micro_batches=micro,
            optimiser=Optimiser("sgd", lr=0.1, clip=clip),
            elbo=Elbo(noise_std=30.0),
        )
        made = dataclasses.replace(made, dtype="float64")
        out = tmp_path / f"{micro}-{clip}"
        fit(made, data, out)
        outcomes.append(checkpoint.load(out / "model.safetensors")[0])
    whole, halves, loose, tight = outcomes
    key = "decoder.convrecon.bias"
    assert not np.array_equal(whole[key], halves[key])  # their draws differ
    assert all(np.array_equal(whole[k], loose[k]) for k in whole)
    begin = zoo.create("divnoising", z_dim=3, init_filters=4, rng=np.random.default_rng(3))
    start = begin.astype(np.float64).state_dict()
    moved = np.sqrt(sum(((tight[k] - start[k]) ** 2).sum() for k in tight))
    assert moved <= 3 * 0.1 * 1e-3 * 1.001 + 1e-6  # three steps of the rate times the bound


def test_patience_ends_a_run(data: Path, tmp_path: Path) -> None:
    judged = Validation(every=5, images=4, batch=4, metric="loss", patience=2, weights="best")
    still = recipe(200, "divnoising", optimiser=Optimiser("adamax", lr=0.0))
    result = fit(dataclasses.replace(still, validation=judged), data, tmp_path / "run")
    assert (result.cause, result.step) == ("finished", 15)  # the first is the best, then two more
    assert result.weights_step == 5
    assert go_on(tmp_path / "run").step == 15


def test_position_of_an_older_checkpoint() -> None:
    found = Position.of({"step": 3, "images": 12, "before": {}, "after": {}, "best": {}, "x": 1})
    assert (found.step, found.waited, found.ended, found.restarts) == (3, 0, False, 0)


def test_latents_out_of_use_begin_anew(data: Path, tmp_path: Path) -> None:
    """With a bound that no divergence reaches it restarts to the end, annealed at last."""
    made = recipe(30, "divnoising", elbo=Elbo(noise_std=30.0, collapse=1e9, restarts=2))
    with pytest.raises(TrainError, match="out of use 4 times"):
        fit(made, data, tmp_path / "run")
    assert len(lines(tmp_path / "run", "restart")) == 4
    losses = [r["loss"] for r in lines(tmp_path / "run", "train")]
    assert len(losses) == 5 and len(set(losses)) == 5  # other weights each time
    calm = recipe(20, "divnoising", elbo=Elbo(noise_std=30.0, collapse=1e-12))
    assert fit(calm, data, tmp_path / "calm").step == 20


def test_the_divergence_is_annealed() -> None:
    step = ELBO(zoo.create("divnoising", z_dim=2, init_filters=2), annealing=0.5)
    weights = []
    for fraction in (0.0, 0.25, 0.5, 1.0):
        step.anneal(fraction)
        weights.append(step.weight)
    assert weights == [0.0, 0.5, 1.0, 1.0]


# ------------------------------------------------------------------------------- microscopy


@pytest.fixture(scope="module")
def camera(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A stack of 8 noisy frames of 16 bits, and a noise model."""
    folder = tmp_path_factory.mktemp("camera")
    rng = np.random.default_rng(0)
    scene = 1000 + 800 * np.sin(np.mgrid[:40, :48].sum(0) / 6)
    frames = np.rint(scene + np.sqrt(2 * scene) * rng.standard_normal((8, 40, 48)))
    tifffile.imwrite(folder / "frames.tif", frames.astype(np.uint16), photometric="minisblack")
    found = fit_mixture(Calibration.of(frames), steps=60, batch=1000)
    save_noise_model(folder / "camera.safetensors", NoiseModel(found))
    return folder / "frames.tif", folder / "camera.safetensors"


@pytest.mark.parametrize("model", ["hdn", "divnoising"])
def test_frames_with_a_noise_model(model: str, camera: tuple[Path, Path], tmp_path: Path) -> None:
    frames, noise_model = camera
    judged = Validation(every=10, images=4, batch=4, metric="loss", weights="best")
    made = recipe(20, model, loss="noise-model", sampler=Sampler("stored", size=16, augment=True))
    made = dataclasses.replace(made, noise_model=str(noise_model), validation=judged)
    result = fit(made, frames, tmp_path / "run")
    assert result.step == 20
    found = [record["loss"] for record in lines(tmp_path / "run", "validation")]
    assert found[-1] < found[0] and 4 < found[-1] < 40  # nats for a gray value
    text = (tmp_path / "run" / "config.toml").read_text()
    assert "frames.tif" in text and "camera.safetensors" in text
    go_on(tmp_path / "run")


def test_settings_that_do_not_go_together(camera: tuple[Path, Path], data: Path) -> None:
    frames, noise_model = camera
    stored = Sampler("stored", size=16)
    cases: list[tuple[Recipe, str]] = [
        (recipe(loss="noise-model"), "noise_model: the loss"),
        (dataclasses.replace(recipe(), noise_model=str(noise_model)), "only the loss"),
        (recipe(elbo=Elbo(annealing=2.0)), "annealing"),
        (recipe(optimiser=Optimiser(clip=0.0)), "clip"),
        (tiny.recipe(elbo=Elbo(free_bits=1.0)), "has no such bound"),
        (dataclasses.replace(tiny.recipe(), validation=Validation(metric="loss")), "metric"),
        (dataclasses.replace(recipe(), validation=Validation(patience=0)), "patience"),
        (dataclasses.replace(tiny.recipe(sampler=stored), data=str(frames)), "a single picture"),
        (
            dataclasses.replace(
                recipe(sampler=dataclasses.replace(stored, gray=0.5)), data=str(frames)
            ),
            "only size, pairs and augment",
        ),
        (tiny.recipe(objective="elbo", loss="gaussian"), "needs hdn or divnoising"),
    ]
    for made, words in cases:
        with pytest.raises(RecipeError, match=words):
            fit(made, None if made.data else data, data.parent / "never")


def test_stripes_are_one_number_a_row() -> None:
    flat = np.full((2, 1, 400, 50), 0.5)
    law = laws.parse("stripes:30:white=10")
    apart = 255 * (law(flat, Noise(0).at(0)) - flat)
    rows = apart.mean(3)
    assert rows.std() == pytest.approx(np.sqrt(30**2 + 10**2 / 50), rel=0.1)
    assert (apart - rows[..., None]).std() == pytest.approx(10, rel=0.05)
    assert laws.parse(law.name) == law
    with pytest.raises(laws.LawError, match="white"):
        laws.Stripes(30.0, white=-1.0)
