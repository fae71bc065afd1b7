"""Training on patch-craft targets: the filtered step, the run folder, what is refused."""

from __future__ import annotations

import dataclasses
import io
import signal
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import zoo
from minigrad import Adam, checkpoint
from tests import tiny_training as tiny
from tests.shared import PATCH_CRAFT, shared_folder
from tests.tiny_training import fit, go_on, lines, same_outcome
from zoo import objectives
from zoo.patch_craft import Samples, Statistics, Threshold, keep, tile_statistics
from zoo.patch_craft.sampler import CraftedSampler, Take
from zoo.progress import Progress
from zoo.recipes import Optimiser, PatchCraft, Recipe, RecipeError, Sampler, override
from zoo.recipes.check import check
from zoo.train import train
from zoo.training import crafted

# --------------------------------------------------------------------------- the published step


def test_filtered_adam_steps_of_the_authors() -> None:
    shared_folder()
    stored = checkpoint.load(PATCH_CRAFT / "target" / "filter_and_adam_steps.safetensors")[0]
    tiles = Samples(stored["batch"][:, :3], stored["batch"][:, 3:])
    statistics = tile_statistics(*tiles)
    np.testing.assert_allclose(statistics.s, stored["s_yr"], atol=1e-12)
    np.testing.assert_allclose(statistics.m, stored["r_mean"], atol=1e-12)
    names = ("min_cov", "min_mean", "max_mean", "mean_val")
    threshold = Threshold(*(float(stored[name][0]) for name in names))
    # The bounds are statistics of tiles: those of the file decide, which are on them.
    on_file = Statistics(stored["s_yr"], stored["r_mean"])
    assert np.array_equal(keep(*on_file, threshold), stored["keep"])

    model = zoo.create("pcst-dncnn", depth=4, features=8, dtype=np.float64)
    model.load_state_dict(_under("state.", stored))
    sampler = CraftedSampler(taken(tiles), on_file, threshold, batch=10)
    assert sampler.kept == 0.5
    objective = objectives.create("patch-craft", model, "half_squared_error")
    optimiser = Adam(model.parameters(), lr=1e-3)
    for step in (1, 2, 3):
        noisy, target, _ = sampler.batch(step)
        assert noisy.shape == (5, 3, 20, 20)
        outputs = objective.training_step([(noisy, target)], optimiser)
        np.testing.assert_allclose(float(outputs[0]), stored["losses"][step - 1], rtol=1e-9)
        if step == 1:
            gradients = {name: p.grad for name, p in model.named_parameters().items()}
            for name, expected in _under("step1.grad.", stored).items():
                scale = np.abs(expected).max()
                found = gradients[name]
                np.testing.assert_allclose(
                    found.reshape(expected.shape), expected, atol=1e-9 * scale
                )
        after = _under(f"after_step{step}.", stored)
        for name, value in model.state_dict().items():
            np.testing.assert_allclose(value, after[name], rtol=1e-9, atol=1e-9, err_msg=name)


def _under(prefix: str, arrays: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    return {k.removeprefix(prefix): v for k, v in arrays.items() if k.startswith(prefix)}


# --------------------------------------------------------------------------- batches


def taken(samples: Samples) -> Take:
    """Tiles that are in memory."""
    return lambda which: Samples(samples.input[which], samples.target[which])


def made(count: int, kept: np.ndarray) -> tuple[Take, Statistics, Threshold]:
    """Tiles that are told apart by their number; the marked ones pass."""
    tiles = np.broadcast_to(np.arange(count)[:, None, None, None], (count, 1, 2, 2)).astype(float)
    statistics = Statistics(np.where(kept, 0.0, -1.0), np.zeros(count))
    return taken(Samples(tiles, tiles + 1)), statistics, Threshold(-0.5, -1, 1, 0.25)


def test_an_epoch_holds_every_tile_that_passes_once() -> None:
    kept = np.arange(23) % 3 != 0
    sampler = CraftedSampler(*made(23, kept), batch=5, seed=4)
    assert sampler.steps_per_epoch == 5 and sampler.kept == pytest.approx(kept.mean())
    seen = []
    for step in range(5, 10):
        found = sampler.batch(step)
        assert np.array_equal(found.target, found.input + 0.75)  # the mean excess is off
        seen += list(found.input[:, 0, 0, 0])
    assert sorted(seen) == list(np.flatnonzero(kept))
    assert np.array_equal(sampler.batch(7).input, sampler.batch(7).input)
    assert not np.array_equal(sampler.batch(0).input, sampler.batch(5).input)


def test_a_slice_that_is_dropped_whole_gives_way_to_the_next() -> None:
    kept = np.arange(40) == 7
    sampler = CraftedSampler(*made(40, kept), batch=2, seed=1)
    assert all(sampler.batch(step).input.ravel()[0] == 7 for step in range(40))


def test_without_the_filter_all_pass_as_they_are() -> None:
    take, statistics, threshold = made(6, np.zeros(6, bool))
    found = CraftedSampler(take, statistics, Threshold(), batch=6).batch(0)
    assert len(found.input) == 6 and np.array_equal(found.target, found.input + 1)
    with pytest.raises(ValueError, match="none of the 6 tiles passes"):
        CraftedSampler(take, statistics, threshold, batch=6)


# --------------------------------------------------------------------------- runs


HOW = PatchCraft(patch=3, reach=2, stride=8, copies=1, frames=3, synthetic=4, size=24, shift=1)


def recipe(steps: int = 24, **changes: Any) -> Recipe:
    """Patch-craft on bursts made of the tiny pictures."""
    plain = tiny.recipe(
        steps,
        objective="patch-craft",
        loss="half_squared_error",
        optimiser=Optimiser("adam", lr=1e-3),
        sampler=Sampler("correlated:20:kernel=2", size=16),
    )
    return dataclasses.replace(plain, patch_craft=dataclasses.replace(HOW, **changes))


@pytest.fixture
def photographs(tmp_path: Path) -> Path:
    return tiny.pictures(tmp_path / "data")


def test_a_run_tells_its_targets_and_keeps_them(photographs, tmp_path, monkeypatch) -> None:
    stream = io.StringIO()
    fit(recipe(), photographs, tmp_path / "run", progress=Progress("lines", stream))
    assert "4 bursts of 3 frames from 4 photographs" in stream.getvalue()
    assert "searching 4 bursts" in stream.getvalue() and "% kept" in stream.getvalue()
    (told,) = lines(tmp_path / "run", "targets")
    assert told["tiles"] == 4 * 4 * 2 and 0 < told["kept"] <= 1
    assert len(list((tmp_path / "run" / "targets").iterdir())) == 4

    # Resumed from the middle it comes to the same, and searches nothing again.
    run = tmp_path / "again"
    fit(recipe(), photographs, run)
    same_outcome(tmp_path / "run", run)
    for path in (run / "checkpoints").iterdir():
        if "24" in path.name:
            path.unlink()
    (run / "model.safetensors").unlink()
    monkeypatch.setattr(crafted, "burst_samples", None)
    go_on(run)
    same_outcome(tmp_path / "run", run)


def test_a_damaged_or_foreign_result_is_searched_again(photographs, tmp_path) -> None:
    fit(recipe(), photographs, tmp_path / "one")
    run = tmp_path / "two"
    fit(recipe(patch=4), photographs, run)
    (run / "targets").rename(tmp_path / "foreign")
    fit(recipe(), photographs, tmp_path / "three")
    targets = tmp_path / "three" / "targets"
    (targets / "00001.safetensors").write_bytes(b"damaged")
    (targets / "00002.safetensors").unlink()
    (tmp_path / "foreign" / "00003.safetensors").replace(targets / "00003.safetensors")
    for path in (tmp_path / "three" / "checkpoints").iterdir():
        if "24" in path.name:
            path.unlink()
    (tmp_path / "three" / "model.safetensors").unlink()
    go_on(tmp_path / "three")
    same_outcome(tmp_path / "one", tmp_path / "three")


def test_another_threshold_needs_no_other_search(photographs, tmp_path, monkeypatch) -> None:
    fit(recipe(), photographs, tmp_path / "one")
    monkeypatch.setattr(crafted, "burst_samples", None)
    run = tmp_path / "two"
    run.mkdir()
    (tmp_path / "one" / "targets").rename(run / "targets")
    plan = recipe(filter=False, bins=1001)
    feed = crafted.CraftedFeed(dataclasses.replace(plan, data=str(photographs)), channels=3)
    told = feed.prepare(run, Progress("none"), lambda: False)
    assert told is not None and told["kept"] == 1


def test_stopped_in_the_search_it_goes_on_with_the_next_burst(
    photographs, tmp_path, monkeypatch
) -> None:
    fit(recipe(), photographs, tmp_path / "whole")
    searched = []
    search = crafted.burst_samples

    def stopping(burst: np.ndarray, settings: Any, noise: Any, number: int, **how: Any) -> Any:
        searched.append(number)
        if searched == [0, 1]:
            signal.raise_signal(signal.SIGTERM)
        return search(burst, settings, noise, number, **how)

    monkeypatch.setattr(crafted, "burst_samples", stopping)
    result = fit(recipe(), photographs, tmp_path / "run")
    assert (result.cause, result.step, searched) == ("stopped", 0, [0, 1])
    go_on(tmp_path / "run")
    assert searched == [0, 1, 1, 2, 3]  # the search of burst 1 was given up
    same_outcome(tmp_path / "whole", tmp_path / "run")


def write_frames(folder: Path, count: int, size: int = 32, seed: int = 0) -> Path:
    """A folder of frames that show one noisy scene."""
    rng = np.random.default_rng(seed)
    folder.mkdir(parents=True)
    y, x = np.mgrid[:size, :size] / size
    for i in range(count):
        scene = 0.5 + 0.4 * np.stack([np.sin(5 * x), np.cos(4 * y), x * y], axis=-1)
        noisy = np.clip(scene + 0.05 * rng.standard_normal(scene.shape), 0, 1)
        Image.fromarray((255 * noisy).astype(np.uint8)).save(folder / f"{i:02d}.png")
    return folder


@pytest.mark.parametrize("noise", ["stored", "gaussian:20"])
def test_bursts_from_folders_of_frames(noise, tmp_path) -> None:
    for number in range(3):
        write_frames(tmp_path / "data" / f"scene{number}", 4, seed=number)
    stage = recipe().stages[0]
    sampler = Sampler(noise, size=16)
    plan = dataclasses.replace(
        recipe(synthetic=None, replicate=noise == "stored"),
        stages=(dataclasses.replace(stage, sampler=sampler),),
    )
    stream = io.StringIO()
    result = fit(plan, tmp_path / "data", tmp_path / "run", progress=Progress("lines", stream))
    assert result.step == 24
    (told,) = lines(tmp_path / "run", "targets")
    assert told["tiles"] == 3 * 2 * 9
    assert ("no truth" in stream.getvalue()) == (noise == "stored")


# --------------------------------------------------------------------------- what is refused


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("patch_craft.patch=1", "patch_craft.patch: expected at least 2, got 1"),
        ("patch_craft.frames=4", "patch_craft.frames: expected an odd number from 3, got 4"),
        ("patch_craft.hard=2", "patch_craft.hard: expected a share, 0 to 1, got 2"),
        ("patch_craft.std_num=-1", "patch_craft.std_num: expected a finite number above 0"),
        ("patch_craft.second=5", "patch_craft.second: a second search needs patch_craft.skip"),
        ("patch_craft.images=0", "patch_craft.images: expected"),
        ("patch_craft.patch=30", "patch_craft.patch: a patch of 30 pixels does not fit into fram"),
        ("patch_craft.reach=40000", "patch_craft.reach: expected at most 32767, got 40000"),
        ("stages.0.sampler.noise=subpixel:2", "noise: expected a law that keeps the size, got"),
        ("patch_craft.size=8", "sampler.size: a tile of 16 pixels does not fit into frames of 8"),
        ("patch_craft.synthetic=none", "data: expected a folder of bursts, got the bundled"),
        ("stages.0.sampler.noise=stored", "bursts made of photographs need a law, got 'stored'"),
        ("stages.0.sampler.augment=true", "only noise and size are used with patch-craft"),
        ("stages.0.micro_batches=2", "micro_batches: expected 1, since batches vary in size"),
        ("stages.0.objective=noise2noise", "objective: 'patch-craft' and the recipe's table"),
        ("patch_craft=none", "objective: 'patch-craft' and the recipe's table"),
        ("patch_craft.pach=3", "patch_craft.pach: unknown key, nearest is 'patch'"),
    ],
)
def test_settings_that_cannot_work(setting, message) -> None:
    check(recipe())
    with pytest.raises(RecipeError, match=message):
        check(override(recipe(), [setting]))


def test_pictures_and_bursts_that_do_not_fit(photographs, tmp_path) -> None:
    with pytest.raises(
        RecipeError, match=r"for training is left \(too small for a crop of 49x49: .*png"
    ):
        fit(recipe(size=47), photographs, tmp_path / "run")
    write_frames(tmp_path / "bursts" / "a", 3)
    write_frames(tmp_path / "bursts" / "b", 2)
    with pytest.raises(RecipeError, match=r"bursts/b: 2 frames, expected at least 3"):
        fit(recipe(synthetic=None), tmp_path / "bursts", tmp_path / "run")
    write_frames(tmp_path / "small" / "a", 3, size=15)
    with pytest.raises(
        RecipeError, match=r"small/a: frames of 15x15 pixels, expected at least 16x16 \(stages\.0"
    ):
        fit(recipe(synthetic=None), tmp_path / "small", tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_full_disk_during_the_search_is_told(photographs, tmp_path, monkeypatch) -> None:
    def full(path: Path, *rest: Any) -> None:
        raise OSError(28, "No space left on device", str(path))

    monkeypatch.setattr(crafted, "_save", full)
    with pytest.raises(zoo.train.TrainError, match="No space left") as caught:  # type: ignore[attr-defined]
        train(recipe(), photographs, tmp_path / "run", device="cpu", progress="none", report=False)
    assert caught.value.exit_code == 3
