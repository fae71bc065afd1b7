"""Training PSL-AE: its stages, its patches, what a run leaves and how it goes on."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import zoo
from minigrad import checkpoint
from tests import tiny_training as tiny
from tests.test_train_interrupted import stopped_at
from tests.tiny_training import fit, go_on, lines, same_outcome
from zoo import objectives, recipes
from zoo.data import ImageError, paired_files
from zoo.recipes import Checkpoints, Recipe, RecipeError, Sampler, Stage, Validation
from zoo.recipes.check import check
from zoo.recipes.psl_ae import adam, autoencoder, contrast, decay, decoders
from zoo.recipes.schema import Patches, Subspace
from zoo.training import feeds, parts

NOISE = "psl-global:0.1"
PATCH = Sampler(NOISE, size=8)
SMALL: dict[str, Any] = {"block": 8, "overlap": 2, "width": 8, "latent": 32, "clusters": 3}


def stage(objective: str, loss: Any, steps: int, **changes: Any) -> Stage:
    return Stage(
        steps,
        objective,
        loss,
        batch=32,
        optimiser=adam(3e-3),
        sampler=PATCH,
        log_every=10,
        **changes,
    )


FAST = dataclasses.replace(autoencoder(120, PATCH, 10), optimiser=adam(4e-3))
"""Too few patches for the published rate."""
STAGES = {
    "none": (contrast(10, PATCH, 5), FAST, decoders(10, PATCH, 5)),
    "experts": (
        dataclasses.replace(FAST, steps=40),
        stage("patch-clusters", "cross_entropy", 30),
        stage("patch-experts", "gated", 20, subspace=Subspace(balance=0.1, joint=True)),
    ),
    "gate": (stage("patch-prior", "reconstruction", 40), decoders(10, PATCH, 5)),
    "mixture": (
        stage("patch-prior", "reconstruction", 40, subspace=Subspace(balance=0.5, l2=1e-4)),
        decoders(10, PATCH, 5),
    ),
}


def recipe(kind: str = "none", **changes: Any) -> Recipe:
    """Some seconds of a tiny network on patches of 8 pixels."""
    prior = kind if kind in ("gate", "mixture") else "none"
    stages = tuple(dataclasses.replace(s, batch=32) for s in STAGES[kind])
    return dataclasses.replace(
        Recipe(
            name="tiny-psl",
            model="psl-ae",
            model_args={**SMALL, "prior": prior},
            seed=2,
            stages=stages,
            patches=Patches(draws=2),
            validation=Validation(every=100, images=4, size=38, batch=4, noise=NOISE),
            checkpoint=Checkpoints(every=20),
        ),
        **changes,
    )


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.pictures(tmp_path_factory.mktemp("data"), count=6, size=44)


@pytest.fixture(scope="module")
def trained(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The three published stages."""
    return fit(recipe(), data, tmp_path_factory.mktemp("psl") / "run").run


def arrays(run: Path, step: int) -> dict[str, np.ndarray]:
    """A checkpoint's network."""
    found, _ = checkpoint.load(run / "checkpoints" / f"step-{step:09}.safetensors")
    start = "objective.network."
    return {k.removeprefix(start): a for k, a in found.items() if k.startswith(start)}


# ------------------------------------------------------------------ stages


def test_three_stages_improve(trained: Path) -> None:
    noisy = lines(trained, "noisy")[0]["psnr_images"]
    found = lines(trained, "validation")
    assert found[-1]["psnr_images"] > max(noisy, found[0]["psnr_images"]) + 1.5
    told = [[r for r in lines(trained, "train") if r["stage"] == n] for n in range(3)]
    assert set(told[0][0]) >= {"loss", "accuracy"} and set(told[1][0]) >= {"uniform", "used"}
    assert told[0][-1]["loss"] < told[0][0]["loss"] and told[1][-1]["loss"] < told[1][0]["loss"]
    assert told[1][-1]["lr"] == pytest.approx(4e-3 * 0.9 ** (119 / 500))
    model: Any = zoo.load(trained / "model.safetensors")
    first, *others = model.decoders
    assert not any("head" in key for key in model.state_dict())
    x = np.random.default_rng(0).random((1, 3, 30, 41), np.float32)
    assert model.denoise(x).shape == x.shape
    assert len(others) == 2


def test_each_stage_trains_its_part(data: Path, tmp_path: Path) -> None:
    """Encoder; encoder, decoder 0 and classifier; decoders that are used."""
    short = tuple(dataclasses.replace(s, steps=4) for s in recipe().stages)
    how = recipe(stages=short, checkpoint=Checkpoints(every=4))
    kept = [parts.network(how).state_dict()]
    for stop in (4, 8, 12):
        with pytest.MonkeyPatch.context() as patched:
            stopped_at(stop, patched)
            fit(how, data, tmp_path / f"{stop}")
        kept.append(arrays(tmp_path / f"{stop}", stop))

    def moved(before: Any, after: Any) -> set[str]:
        keys = [key for key, a in after.items() if not np.array_equal(a, before[key])]
        return {key.partition(".")[0] for key in keys}

    copies = {"decoders"}  # of decoder 0, made before the network is judged
    assert moved(kept[0], kept[1]) == {"encoder"} | copies
    assert moved(kept[1], kept[2]) == {"encoder", "classifier"} | copies
    assert moved(kept[2], kept[3]) == {"decoders"}


def test_before_stage_three_all_decoders_are_one(data: Path, tmp_path: Path) -> None:
    short = tuple(dataclasses.replace(s, steps=4) for s in recipe().stages[:2])
    model: Any = zoo.load(fit(recipe(stages=short), data, tmp_path / "run").weights)
    first = model.decoders[0].state_dict()
    for decoder in model.decoders:
        for key, array in decoder.state_dict().items():
            np.testing.assert_array_equal(array, first[key])


@pytest.mark.parametrize("kind", ["experts", "gate", "mixture"])
def test_other_ways_learn_too(kind: str, data: Path, tmp_path: Path) -> None:
    run = fit(recipe(kind), data, tmp_path / "run").run
    told = lines(run, "train")
    for number in range(len(recipe(kind).stages)):
        losses = [r["loss"] for r in told if r["stage"] == number]
        assert np.mean(losses[len(losses) // 2 :]) < losses[0] or (kind == "experts" and number)
    assert all(1 <= r["used"] <= 3 + 1e-6 for r in told)
    if kind == "experts":
        assert told[-1]["used"] > 1.5  # k-means, then equal shares


@pytest.mark.parametrize(("kind", "stop"), [("none", 3), ("none", 14), ("experts", 9)])
def test_a_stopped_run_goes_on_to_the_bit(
    kind: str, stop: int, data: Path, tmp_path: Path, monkeypatch: Any
) -> None:
    short = tuple(dataclasses.replace(s, steps=6, log_every=2) for s in STAGES[kind])
    how = recipe(kind, stages=short, checkpoint=Checkpoints(every=4))
    whole = fit(how, data, tmp_path / "whole").run
    with monkeypatch.context() as patched:
        stopped_at(stop, patched)
        fit(how, data, tmp_path / "cut")
    assert go_on(tmp_path / "cut").cause == "finished"
    same_outcome(whole, tmp_path / "cut")


def test_micro_batches_give_the_same_step(data: Path) -> None:
    how = recipe()
    batch = feeds.feed(dataclasses.replace(how, data=str(data)), parts.network(how)).batches(1)(0)
    found = []
    for count in (1, 2):
        model: Any = parts.network(dataclasses.replace(how, dtype="float64"))
        step: Any = objectives.create("patch-autoencoder", model, "reconstruction", l1=0.01)
        optimiser, _ = parts.optimiser(how.stages[1], step.trained())
        cut = objectives.split(tuple(a.astype(np.float64) for a in batch), count)
        outputs = step.training_step(cut, optimiser)
        found.append([*map(float, outputs[:2]), model.encoder.conv1.weight.copy()])
    assert found[0][:2] == pytest.approx(found[1][:2], rel=1e-9)
    np.testing.assert_allclose(found[0][2], found[1][2], rtol=1e-6, atol=1e-9)


def test_the_penalty_pulls_weights_in() -> None:
    norms = []
    for l2 in (0.0, 1.0):
        model: Any = parts.network(recipe())
        step: Any = objectives.create("patch-decoders", model, "reconstruction", l2=l2)
        how = dataclasses.replace(recipe().stages[2], optimiser=adam(1e-2))
        optimiser, _ = parts.optimiser(how, step.trained())
        x = np.random.default_rng(0).random((8, 3, 8, 8), np.float32)
        for _ in range(10):
            step.training_step([(x, x)], optimiser)
        used = model.code(x)[1].argmax(1)[0]
        norms.append(float(np.abs(model.decoders[int(used)].deconv2.weight).sum()))
    assert norms[1] < 0.9 * norms[0]


# ------------------------------------------------------------------ patches


def feed_of(how: Recipe) -> Any:
    return feeds.feed(how, parts.network(how))


def test_an_epoch_has_every_patch_once(data: Path) -> None:
    how = recipe(data=str(data))
    feed = feed_of(how)
    batch = feed.batches(1)
    count = 5 * 7 * 7  # of 6 pictures 5 are learnt from; 44 = 7 * 6 + 2
    assert feed.notes[-1] == f"training: {count} patches of 5 pictures"
    rounds = -(-count // 32)
    first = [batch(step) for step in range(rounds)]
    assert [len(x) for x, _ in first] == [32] * (rounds - 1) + [count - 32 * (rounds - 1)]
    second = [batch(step) for step in range(rounds, 2 * rounds)]
    third = [batch(step) for step in range(2 * rounds, 3 * rounds)]

    def stacked(batches: Any, which: int) -> np.ndarray:
        rows = np.concatenate([b[which] for b in batches]).reshape(count, -1)
        return rows[np.lexsort(rows.T)]

    np.testing.assert_array_equal(stacked(first, 1), stacked(second, 1))  # the same clean patches
    assert (stacked(first, 0) != stacked(second, 0)).any()  # in another draw of noise
    np.testing.assert_array_equal(stacked(first, 0), stacked(third, 0))  # of two in all
    assert (first[0][1] != third[0][1]).any()  # in another order
    for a, b in zip(batch(1), first[1], strict=True):  # a pure function of the step
        np.testing.assert_array_equal(a, b)
    assert first[0][0].dtype == np.float32


def test_noise_is_that_of_the_whole_picture(data: Path) -> None:
    """In a corner and at one border the heterogeneous noise leaves a picture as it is."""
    seen = Sampler("psl-heterogeneous:1", size=8)
    how = recipe(data=str(data), patches=Patches(crop=38), stages=(contrast(5, seen),))
    feed = feed_of(how)
    batch = feed.batches(0)
    x, y = (np.concatenate(a) for a in zip(*(batch(s) for s in (0, 1)), strict=True))
    assert len(x) == 5 * 36
    changed = np.abs(x - y) > 1.5 / 255
    assert 0.3 < changed.mean() < 0.95
    whole = changed.any(1).mean((1, 2))  # of each patch
    assert whole.min() < 0.6 and whole.max() > 0.9


def write_pairs(folder: Path, names: list[str], suffix: str = ".png") -> None:
    rng = np.random.default_rng(0)
    folder.mkdir(parents=True, exist_ok=True)
    for name in names:
        pixels = rng.integers(0, 256, (20, 26, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / f"{name}{suffix}")


def test_pairs_of_files(tmp_path: Path) -> None:
    write_pairs(tmp_path / "a", ["x_real", "x_mean", "y_real", "alone_real"])
    write_pairs(tmp_path / "b", ["1_NOISY_SRGB", "1_GT_SRGB", "z_noisy", "z_clean", "other"])
    found = [(n.stem, c.stem) for n, c in paired_files(tmp_path)]
    assert found == [("x_real", "x_mean"), ("1_NOISY_SRGB", "1_GT_SRGB"), ("z_noisy", "z_clean")]
    with pytest.raises(ImageError, match="holds no pairs of pictures"):
        write_pairs(tmp_path / "c", ["x"])
        paired_files(tmp_path / "c")
    with pytest.raises(ImageError, match="no such folder"):
        paired_files(tmp_path / "none")


def test_training_on_pairs(tmp_path: Path) -> None:
    write_pairs(tmp_path / "pairs", [f"{i}_{k}" for i in range(4) for k in ("real", "mean")])
    own = Sampler("stored", size=8)
    stages = (contrast(2, own), autoencoder(2, own), decoders(2, own))
    how = recipe(
        stages=stages, patches=Patches(), validation=Validation(every=5, images=4, size=14)
    )
    run = fit(how, tmp_path / "pairs", tmp_path / "run").run
    assert lines(run, "noisy")[0]["psnr_images"] < 12
    feed = feed_of(dataclasses.replace(how, data=str(tmp_path / "pairs")))
    assert feed.notes == [
        "validation: the last 1 of 4 pairs, by name",
        "training: 36 patches of 3 pictures",
    ]
    assert feed.validation.noisy.shape == (1, 3, 14, 14)
    x, y = feed.batches(0)(0)
    stored = np.asarray(Image.open(tmp_path / "pairs" / "0_real.png"), np.float32) / 255
    places = [np.abs(stored[r : r + 8, c : c + 8].transpose(2, 0, 1) - x).max((1, 2, 3)).min()
              for r in (0, 6, 12) for c in (0, 6, 12, 18)]  # fmt: skip
    assert sum(p == 0 for p in places) >= 8
    assert (x != y).any()


# ------------------------------------------------------------------ refusals


def of(**changes: Any) -> Stage:
    return dataclasses.replace(contrast(5, PATCH), **changes)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"patches": None}, "belong together, got 'patch-contrast' without it"),
        ({"patches": Patches(draws=0)}, "patches.draws: expected at least 1"),
        ({"patches": Patches(crop=0)}, "patches.crop: expected at least 1"),
        ({"validation": Validation(every=5)}, "validation.size: expected the side"),
        (
            {"stages": (contrast(5, Sampler("stored", size=8)),)},
            "data: expected a folder of pairs",
        ),
        (
            {"stages": (contrast(5, Sampler("subpixel:2", size=8)),)},
            "expected a law that keeps the size",
        ),
        (
            {"stages": (contrast(5, Sampler(NOISE, size=8, augment=True)),)},
            "only noise and size are used with patches",
        ),
        (
            {"stages": (of(subspace=Subspace(balance=1.0)),)},
            "subspace.balance: not for patch-contrast",
        ),
        (
            {"stages": (of(subspace=Subspace(temperature=0.0)),)},
            "temperature: expected a number above 0",
        ),
        (
            {"stages": (of(loss="mse"),)},
            "patch-contrast knows sum, mean, not 'mse'",
        ),
        (
            {"stages": (of(schedule=dataclasses.replace(decay(), period=0)),)},
            "schedule.period: expected at least 1",
        ),
    ],
)  # fmt: skip
def test_recipes_that_cannot_work(changes: Any, message: str) -> None:
    with pytest.raises(RecipeError, match=message):
        check(recipe(**changes))


def test_keras_adam_has_no_weight_decay() -> None:
    own = dataclasses.replace(adam(), weight_decay=0.1)
    with pytest.raises(RecipeError, match="weight_decay: keras-adam has none"):
        check(recipe(stages=(dataclasses.replace(contrast(5, PATCH), optimiser=own),)))


def test_networks_and_stages_that_do_not_go_together(data: Path) -> None:
    with pytest.raises(RecipeError, match="only psl-ae learns from patches, not n2n-simple"):
        feed_of(recipe(model="n2n-simple", model_args={}, data=str(data)))
    with pytest.raises(RecipeError, match="sampler.size: expected the network's patch, 12"):
        feed_of(recipe(model_args={**SMALL, "block": 12}, data=str(data)))
    with pytest.raises(RecipeError, match="has no patch in it|none of the"):
        feed_of(recipe(patches=Patches(crop=4), data=str(data)))
    gate: Any = zoo.create("psl-ae", prior="gate", width=2, block=8, overlap=2)
    with pytest.raises(ValueError, match="PatchContrast is for prior none, the network has 'gate'"):
        objectives.create("patch-contrast", gate, "sum")
    with pytest.raises(ValueError, match="a patch objective needs psl-ae, got N2NSimple"):
        objectives.create("patch-decoders", zoo.create("n2n-simple"), "reconstruction")


def test_the_published_experiments_are_there() -> None:
    sidd, celeba = recipes.get("psl-ae-sidd"), recipes.get("psl-ae-celeba")
    model: Any = parts.network(sidd)
    assert (model.block, model.overlap) == (24, 8) and sidd.stored_pairs
    assert celeba.patches == Patches(crop=256)
    assert [s.objective for s in celeba.stages] == [
        "patch-contrast",
        "patch-autoencoder",
        "patch-decoders",
    ]
    assert celeba.stages[0].sampler.noise == "psl-heterogeneous:1"
