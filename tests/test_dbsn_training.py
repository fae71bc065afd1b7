"""Training a blind-spot network in its three stages, and a student after it."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import zoo
from minigrad import checkpoint
from tests.test_train_interrupted import stopped_at
from tests.tiny_training import fit, go_on, lines, same_outcome
from zoo import objectives, recipes
from zoo.architectures import Denoiser, NoiseMap, PriorMean
from zoo.data.images import list_images, read_image
from zoo.objectives.base import split
from zoo.objectives.blind_spot import BlindSpotLikelihood
from zoo.recipes import (
    Checkpoints,
    Likelihood,
    Optimiser,
    Recipe,
    RecipeError,
    Sampler,
    Schedule,
    Stage,
    Validation,
)
from zoo.recipes.check import check
from zoo.training import feeds, parts

NOISE = {
    "awgn": "gaussian:25",
    "hg": "heteroscedastic:70:delta=15",
    "mg": "multivariate:50:fixed",
}


def recipe(color: str = "gray", noise: str = "awgn", steps: Any = (160, 40, 60)) -> Recipe:
    """Three short stages of a tiny network; a few seconds."""
    loss = {"gray": "mse", "color": "half_squared_error"}[color]
    kinds = (
        ("blind-spot-mu", loss, 1e-2 if color == "gray" else 3e-3),
        ("blind-spot-sigma", "map" if noise == "awgn" else "dbsn", 3e-3),
        ("blind-spot", "dbsn" if noise == "hg" else "map", 1e-3),
    )
    stages = tuple(
        Stage(
            steps=count,
            objective=objective,
            loss=loss,  # type: ignore[arg-type]
            batch=4,
            optimiser=Optimiser("adam", lr=lr),
            schedule=Schedule("cosine", warm_up=5),
            sampler=Sampler(NOISE[noise], size=24, augment=True),
            likelihood=Likelihood(measure_noise=objective == "blind-spot-sigma"),
            log_every=10,
        )
        for count, (objective, loss, lr) in zip(steps, kinds, strict=True)
    )
    return Recipe(
        name="tiny-dbsn",
        model=f"dbsn-{color}",
        model_args={
            "width": 8 if color == "gray" else 16,
            "blocks": 1,
            "noise": noise,
            "sigma_mu_gain": 0.02,
        },
        seed=1,
        stages=stages,
        validation=Validation(every=20, images=8, size=32, batch=8),
        checkpoint=Checkpoints(every=20),
    )


@pytest.fixture(scope="module")
def teacher(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny training, for gray pictures and one level of noise."""
    return fit(recipe(), data, tmp_path_factory.mktemp("teacher") / "run").run


def arrays(run: Path, step: int) -> dict[str, np.ndarray]:
    """A checkpoint's network."""
    found, _ = checkpoint.load(run / "checkpoints" / f"step-{step:09}.safetensors")
    start = "objective.network."
    return {k.removeprefix(start): a for k, a in found.items() if k.startswith(start)}


# ------------------------------------------------------------------ three stages


def test_three_stages_improve(teacher: Path) -> None:
    """mu beats the noisy picture, the posterior mean beats mu, and the noise is about right."""
    noisy = lines(teacher, "noisy")[0]["psnr_images"]
    found = lines(teacher, "validation")
    stages = [[r for r in found if r["stage"] == number] for number in range(3)]
    assert stages[0][-1]["psnr_images"] > noisy + 2
    assert all("psnr_images_mu" not in r for r in stages[0])  # mu itself is judged
    last = stages[2][-1]
    assert last["psnr_images"] > last["psnr_images_mu"] > noisy + 2
    trained = [[r for r in lines(teacher, "train") if r["stage"] == n] for n in range(3)]
    for records in trained:
        assert np.mean([r["loss"] for r in records[-3:]]) < records[0]["loss"]
    assert "sigma_n" not in trained[0][-1]
    told = trained[2][-1]
    assert 20 < told["sigma_n"] < 30 and told["sigma_mu"] > 0 and told["guarded"] == 0
    model: Any = zoo.load(teacher / "model.safetensors")
    picture = np.full((1, 1, 40, 40), 0.5, np.float32)
    level = NoiseMap(model).denoise(picture)
    assert level.shape == picture.shape and 20 < 255 * level.mean() < 30


def test_each_stage_trains_its_part(data: Path, tmp_path: Path) -> None:
    """The first D-BSN alone, the second the others alone, the third all."""
    tiny_steps = dataclasses.replace(recipe(steps=(4, 4, 4)), checkpoint=Checkpoints(every=4))
    kept = []
    for stop in (4, 8, 12):
        with pytest.MonkeyPatch.context() as patched:
            stopped_at(stop, patched)
            run = tmp_path / f"{stop}"
            fit(tiny_steps, data, run)
        kept.append(arrays(run, stop))
    first = parts.network(tiny_steps).state_dict()
    moved = [
        {key.partition(".")[0] for key, a in after.items() if not np.array_equal(a, before[key])}
        for before, after in zip([first, *kept], kept, strict=False)
    ]
    assert moved == [{"dbsn"}, {"sigma_mu", "sigma_n"}, {"dbsn", "sigma_mu", "sigma_n"}]


@pytest.mark.parametrize(("color", "noise"), [("gray", "hg"), ("color", "mg"), ("color", "hg")])
def test_other_noise_trains_and_improves(
    color: str, noise: str, data: Path, tmp_path: Path
) -> None:
    run = fit(recipe(color, noise, (160, 40, 40)), data, tmp_path / "run").run
    noisy, last = lines(run, "noisy")[0], lines(run, "validation")[-1]
    assert last["psnr_images"] > noisy["psnr_images"] + 2
    assert np.isfinite(lines(run, "train")[-1]["sigma_n"])


@pytest.mark.parametrize("step", [5, 10, 13, 22, 27])
def test_a_stopped_run_goes_on_to_the_bit(
    step: int, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In the middle of each stage, and where one ends."""
    short = dataclasses.replace(recipe(steps=(10, 12, 9)), checkpoint=Checkpoints(every=4))
    whole = fit(short, data, tmp_path / "whole")
    with monkeypatch.context() as patched:
        stopped_at(step, patched)
        assert fit(short, data, tmp_path / "cut").cause == "stopped"
    same_outcome(go_on(tmp_path / "cut").run, whole.run)


def test_only_noisy_pictures_reach_the_objective(data: Path) -> None:
    chosen = dataclasses.replace(recipe(), data=str(data))
    feed = feeds.feed(chosen, parts.network(chosen))
    for number in range(3):
        (noisy,) = feed.batches(number)(0)
        assert noisy.shape == (4, 1, 24, 24)


def test_micro_batches_equal_one_batch() -> None:
    rng = np.random.default_rng(0)
    batch = (rng.random((6, 1, 12, 12)),)
    for number, loss in enumerate(("mse", "map", "dbsn")):
        found = {}
        for count in (1, 3):
            chosen = dataclasses.replace(recipe(), dtype="float64")
            network = parts.network(chosen)
            name = chosen.stages[number].objective
            objective = objectives.create(name, network, loss, batch=6)
            optimiser, _ = parts.optimiser(chosen.stages[number], network)
            for _ in range(3):
                outputs = objective.training_step(split(batch, count), optimiser)
            found[count] = [float(outputs[0]), *(p.value for p in network.parameters())]
        for one, three in zip(found[1], found[3], strict=True):
            np.testing.assert_allclose(three, one, rtol=1e-9, atol=1e-12)


def test_rates_of_parts(data: Path, tmp_path: Path) -> None:
    """A factor on the rate of one part; with 0 it stays as it is."""
    network: Any = parts.network(recipe())
    stage = recipe().stages[2]
    how = dataclasses.replace(stage.optimiser, rates={"sigma_n": 10.0, "sigma_mu": 0.0})
    optimiser, factors = parts.optimiser(dataclasses.replace(stage, optimiser=how), network)
    assert factors == [1.0, 10.0]
    sizes = [sum(p.value.size for p in group["params"]) for group in optimiser.groups]
    assert sizes == [
        sum(p.value.size for p in m.parameters()) for m in (network.dbsn, network.sigma_n)
    ]
    settings = [f"stages.{i}.steps=4" for i in range(3)]
    settings += ["stages.2.optimiser.rates.sigma_mu=0", "stages.2.optimiser.rates.sigma_n=3"]
    run = fit(recipe(), data, tmp_path / "run", settings=settings).run
    last, _ = checkpoint.load(run / "checkpoints" / f"step-{12:09}.safetensors")
    assert last["optimiser.groups.1.lr"] == pytest.approx(3 * last["optimiser.groups.0.lr"])
    assert lines(run, "train")[-1]["lr"] == pytest.approx(float(last["optimiser.groups.0.lr"]))
    with pytest.raises(RecipeError, match="rates.sigma: no part of the network; its parts: dbsn,"):
        fit(recipe(), data, tmp_path / "b", settings=["stages.2.optimiser.rates.sigma=0"])


def test_the_guard_is_told_and_hides_no_gradient() -> None:
    """A network that is far off: the value of the loss is 0, its gradient is not."""
    network: Any = parts.network(recipe())
    network.sigma_mu.conv[-1].weight[...] = 0
    network.dbsn.dbsn_tail[-1].bias[...] = 1e6
    objective = BlindSpotLikelihood(network, batch=2)
    noisy = np.random.default_rng(0).random((2, 1, 12, 12), np.float32)
    outputs, vjp = objective.forward_and_vjp(noisy)
    assert outputs.loss == 0 and outputs.guarded == 1
    vjp(np.ones((), np.float32), None, None, None)
    assert np.abs(network.dbsn.dbsn_tail[-1].d_bias).max() > 0


@pytest.mark.parametrize(("color", "noise"), [("gray", "awgn"), ("gray", "hg"), ("color", "mg")])
def test_the_noise_begins_with_all_that_is_not_foretold(color: str, noise: str) -> None:
    """Measured on the first batch."""
    chosen = dataclasses.replace(recipe(color, noise), dtype="float64")
    network: Any = parts.network(chosen)
    network.dbsn.dbsn_tail[-1].weight *= 0.05
    noisy = np.random.default_rng(0).random((6, network.channels, 20, 20))
    mu = network.dbsn.forward(noisy).mu
    how: dict[str, Any] = {"batch": 6, "measure_noise": True}
    objectives.create("blind-spot-sigma", network, "map", **how).begin(lambda step: (noisy,))
    level = NoiseMap(network).denoise(noisy)
    np.testing.assert_allclose(level, np.sqrt(np.mean((mu - noisy) ** 2)), rtol=1e-5)
    begun = network.state_dict()
    objectives.create("blind-spot-sigma", network, "map", batch=6).begin(lambda step: (noisy,))
    assert all(np.array_equal(a, begun[key]) for key, a in network.state_dict().items())


def test_a_reward_for_noise() -> None:
    """0.1 of the estimated deviation is taken off the likelihood."""
    network: Any = parts.network(dataclasses.replace(recipe(), dtype="float64"))
    noisy = np.random.default_rng(0).random((2, 1, 12, 12))
    plain, rewarded = (
        BlindSpotLikelihood(network, batch=2, noise_reward=reward).forward(noisy)
        for reward in (0.0, 0.1)
    )
    assert plain.loss - rewarded.loss == pytest.approx(0.1 * plain.sigma_n / 255 / 4)


def test_noisy_pairs_of_a_file_are_noisy_pictures(tmp_path: Path) -> None:
    pairs = np.random.default_rng(0).integers(0, 256, (2, 12, 1, 24, 24), dtype=np.uint8)
    path = tmp_path / "train_data.safetensors"
    checkpoint.save(path, {"input": pairs[0], "target": pairs[1]})
    chosen = recipe(steps=(2, 2, 2))
    settings = [f"stages.{i}.sampler.{s}" for i in range(3) for s in ("noise=stored",)]
    settings += ["validation.size=none"]
    assert fit(chosen, path, tmp_path / "run", settings=settings).cause == "finished"


# ------------------------------------------------------------------ the student


def student(teacher: Path | None, steps: int = 160, **stage: Any) -> Recipe:
    only = Stage(
        steps=steps,
        objective="distillation",
        batch=8,
        optimiser=Optimiser("adam", lr=3e-3),
        schedule=Schedule("cosine", warm_up=5),
        sampler=Sampler(NOISE["awgn"], size=24, augment=True),
        log_every=10,
    )
    return Recipe(
        name="tiny-student",
        model="mwcnn",
        model_args={"level1": 16, "level2": 16, "level3": 16},
        seed=1,
        stages=(dataclasses.replace(only, **stage),),
        teacher=None if teacher is None else str(teacher),
        validation=Validation(every=20, images=8, size=32, batch=8),
        checkpoint=Checkpoints(every=20),
    )


def test_a_student_learns_and_leaves_a_network_of_its_own(
    teacher: Path, data: Path, tmp_path: Path
) -> None:
    run = fit(student(teacher), data, tmp_path / "run").run
    noisy, last = lines(run, "noisy")[0], lines(run, "validation")[-1]
    assert last["psnr_images"] > noisy["psnr_images"] + 2
    trained = lines(run, "train")
    assert trained[-1]["synthetic"] < trained[0]["synthetic"]
    assert trained[-1]["distilled"] < trained[0]["distilled"]
    model = zoo.load(run / "model.safetensors")
    assert model.architecture == "mwcnn" and "teacher" not in "".join(model.state_dict())


def test_a_stopped_student_goes_on_to_the_bit(
    teacher: Path, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The synthetic noise is a function of the step."""
    short = student(teacher, steps=12, batch=16, micro_batches=2)
    short = dataclasses.replace(short, checkpoint=Checkpoints(every=4))
    whole = fit(short, data, tmp_path / "whole")
    with monkeypatch.context() as patched:
        stopped_at(7, patched)
        fit(short, data, tmp_path / "cut")
    same_outcome(go_on(tmp_path / "cut").run, whole.run)


@pytest.mark.parametrize("noise", ["awgn", "hg", "mg"])
def test_synthetic_noise_in_colour_has_the_learnt_covariance(noise: str) -> None:
    model: Any = zoo.create(
        "dbsn-color",
        width=4,
        blocks=1,
        noise=noise,
        sigma_n_start=20.0,
        dtype=np.float64,
        rng=np.random.default_rng(0),
    )
    if noise == "mg":  # colours that go together
        model.sigma_n.conv_final.bias[1] = 0.05
    pupil = zoo.create("mwcnn", channels=3, level1=2, level2=2, level3=2, dtype=np.float64)
    objective: Any = objectives.create("distillation", pupil, "mse", teacher=model, batch=8)
    clean = np.full((8, 3, 160, 160), 0.4)
    _, noisy = objective.teacher(clean[:1], clean[1:])
    found = np.cov((noisy - clean[1:]).swapaxes(0, 1).reshape(3, -1))
    expected = model.noise_of(clean)[0, 0, 0]
    scale = np.trace(found) / np.trace(expected)
    assert 0.9**2 <= scale <= 1.1**2
    np.testing.assert_allclose(found / scale, expected, atol=0.02 * expected.max())
    outputs = objective.forward(clean, clean)
    assert outputs.loss == pytest.approx((outputs.synthetic + 0.1 * outputs.distilled) / 16)


# ------------------------------------------------------------------ what is refused


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (["stages.2.likelihood.measure_noise=true"], "measure_noise: not for blind-spot$"),
        (["stages.0.loss=map"], r"stages\.0\.loss: blind-spot-mu knows mse, half_squared_error, n"),
        (["stages.1.loss=mse"], r"stages\.1\.loss: blind-spot-sigma knows map, dbsn, not 'mse'"),
        (["stages.1.loss=nll"], r"stages\.1\.loss: expected one of"),
        (["stages.0.likelihood.noise_reward=0.1"], "noise_reward: not for blind-spot-mu"),
        (["stages.1.likelihood.noise_reward=-1"], "noise_reward: expected a finite number of"),
        (["stages.1.likelihood.minimum=0"], "minimum: expected a number above 0"),
        (["stages.1.optimiser.rates.sigma_n=-1"], r"rates\.sigma_n: expected a finite number"),
        (["teacher=x"], "teacher: only the objective 'distillation' has one"),
        (["stages.0.sampler.swap=true"], "only noise2noise pairs can be exchanged"),
    ],
)
def test_wrong_settings(settings: list[str], message: str) -> None:
    with pytest.raises(RecipeError, match=message):
        check(recipes.override(recipe(), settings))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (["model=bf-unet", "model_args={}"], "needs dbsn-gray or dbsn-color, got BFUNet"),
        (
            ["stages.2.likelihood.noise_reward=0.1", "stages.2.loss=dbsn"],
            r"stages\.2: likelihood\.noise_reward: expected 0 but for gray and the loss 'map'",
        ),
    ],
)
def test_what_does_not_go_together_is_refused_before_training(
    settings: list[str], message: str, data: Path, tmp_path: Path
) -> None:
    chosen = recipe()
    if settings[0].startswith("model="):
        chosen = dataclasses.replace(chosen, model="bf-unet", model_args={})
        settings = []
    with pytest.raises(RecipeError, match=message):
        fit(chosen, data, tmp_path / "run", settings=settings)
    assert not (tmp_path / "run").exists()


def test_wrong_teachers(teacher: Path, data: Path, tmp_path: Path) -> None:
    zoo.save(tmp_path / "plain.safetensors", zoo.create("bf-unet", features=2))
    for given, changes, message in (
        (tmp_path / "none", {}, "teacher: .*no such file, run or bundled weights"),
        (tmp_path / "plain.safetensors", {}, "teacher: expected a trained dbsn-gray .*got BFUNet"),
        (teacher, {"model_args": {"channels": 3}}, "for pictures of 1 channels, the student for 3"),
    ):
        chosen = dataclasses.replace(student(given), **changes)
        with pytest.raises(RecipeError, match=message):
            fit(chosen, data, tmp_path / "run")
    with pytest.raises(RecipeError, match="a multiple of 8 images a micro-batch, got 12 in 1"):
        check(student(teacher, batch=12))
    with pytest.raises(RecipeError, match="teacher: distillation needs the weights"):
        check(student(None))


def test_published_settings() -> None:
    for name in recipes.list_recipes("dbsn-*"):
        chosen = recipes.get(name)
        stages = [stage.objective for stage in chosen.stages]
        assert stages in (["blind-spot-mu", "blind-spot-sigma", "blind-spot"], ["blind-spot"])
        if "narrow" not in name:
            assert all(s.batch == 8 and s.sampler.size == 96 for s in chosen.stages)
    mg = recipes.get("dbsn-color-mg").stages
    assert [s.loss for s in mg] == ["half_squared_error", "dbsn", "map"]
    assert [s.optimiser.lr for s in mg] == [3e-4, 3e-4, 3e-6]
    assert recipes.get("dbsn-gray-hg-scratch").stages[0].schedule.factor == 0.5
    assert Likelihood() == mg[2].likelihood
    taught = recipes.get("mwcnn-awgn").stages[0]
    assert (taught.optimiser.lr, taught.batch, taught.sampler.size) == (1e-7, 32, 160)


def test_the_pictures_of_a_set_are_denoised_as_one(teacher: Path, data: Path) -> None:
    """mu and posterior mean of a trained network, by name."""
    model: Any = zoo.load(teacher / "model.safetensors")
    noisy = read_image(list_images(data)[0]).pixels[None, :1]
    views: list[Denoiser] = [model, PriorMean(model)]
    a, b = (view.denoise(noisy) for view in views)
    assert a.shape == b.shape == noisy.shape and not np.array_equal(a, b)
