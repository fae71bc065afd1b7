"""What a recipe is trained and judged on: which pictures, which pairs, what is said of them."""

from __future__ import annotations

import dataclasses
import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import zoo
from tests import tiny_training as tiny
from tests.tiny_training import fit, go_on
from zoo.__main__ import main
from zoo.data import FixedSampler, turn, write_pairs
from zoo.progress import Progress
from zoo.recipes import RecipeError, Sampler
from zoo.training import parts, photographs
from zoo.training.feeds import feed


def trained(recipe: Any, data: Path, out: Path, **how: Any) -> tuple[Any, str]:
    """The result, and what was said."""
    stream = io.StringIO()
    return fit(recipe, data, out, progress=Progress("lines", stream), **how), stream.getvalue()


# --- which photographs are kept for judging ------------------------------------------------------


def names(folder: Path) -> tuple[list[str], list[str]]:
    return tuple([file.name for file in part] for part in photographs.files(str(folder)))  # type: ignore[return-value]


def test_every_tenth_picture_is_kept(tmp_path) -> None:
    assert names(tiny.pictures(tmp_path / "five"))[1] == ["4.png"]
    train, judged = names(tiny.pictures(tmp_path / "many", count=21, size=4))
    assert len(train) == 19 and len(judged) == 2 and not set(train) & set(judged)


@pytest.mark.parametrize("text", ["a b.png\n3\n", "\ufeff3.png\r\n\r\n  a b  \r\n"])
def test_names_in_val_txt(text, tmp_path) -> None:
    data = tiny.pictures(tmp_path)
    (data / "0.png").rename(data / "a b.png")
    (data / "val.txt").write_text(text, encoding="utf-8", newline="")
    assert names(data) == (["1.png", "2.png", "4.png"], ["3.png", "a b.png"])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("0\n7.png\nx y\n", r"val\.txt: no picture is called 7\.png, x y"),
        ("a\nb\nc\nd\n", r"no picture is called a, b, c, \.\.\."),
        ("\n", "names no picture"),
        ("0\n1\n2\n3\n4\n", "names all 5 pictures"),
    ],
)
def test_wrong_val_txt(text, message, tmp_path) -> None:
    data = tiny.pictures(tmp_path / "pictures")
    (data / "val.txt").write_text(text)
    with pytest.raises(RecipeError, match=message):
        fit(tiny.recipe(), data, tmp_path / "run")
    assert not (tmp_path / "run").exists()
    (data / "val.txt").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(RecipeError, match=r"val\.txt: cannot be read"):
        fit(tiny.recipe(), data, tmp_path / "run")


def test_small_pictures_are_named(tmp_path) -> None:
    data = tiny.pictures(tmp_path / "pictures")
    tiny.pictures(tmp_path / "small", count=2, size=15)
    for file in sorted((tmp_path / "small").iterdir()):
        file.rename(data / f"1{file.name}")
    result, told = trained(tiny.recipe(4), data, tmp_path / "run")
    expected = "training: using 4 of 6 pictures (too small for a crop of 16x16: 10.png, 11.png)"
    assert expected in told.splitlines()
    assert result.cause == "finished"
    tiny.pictures(data, size=15)
    with pytest.raises(RecipeError, match=f"data: {data}: none of the 6 pictures for training"):
        fit(tiny.recipe(), data, tmp_path / "other")
    assert not (tmp_path / "other").exists()


def test_enough_large_pictures_need_no_word(tmp_path) -> None:
    told = trained(tiny.recipe(4), tiny.pictures(tmp_path / "pictures"), tmp_path / "run")[1]
    assert "using" not in told


# --- stored pairs --------------------------------------------------------------------------------

STORED = tiny.recipe(24, sampler=Sampler("stored", size=16))


def stored(folder: Path, count: int = 40, suffix: str = ".pkl", judged: bool = True) -> Path:
    """Files of pairs as the course wrote them, or our own."""
    folder.mkdir(exist_ok=True)
    rng = np.random.default_rng(0)
    ramp = np.linspace(60, 190, 16)[:, None] * np.ones((count, 3, 1, 16))
    a, b, c = (np.clip(ramp + rng.normal(0, 30, ramp.shape), 0, 255).astype("u1") for _ in "abc")
    _write(folder / f"train_data{suffix}", a, b)
    if judged:
        _write(folder / f"val_data{suffix}", c[:10], ramp[:10].astype("u1"))
    return folder / f"train_data{suffix}"


def _write(path: Path, first: np.ndarray, second: np.ndarray) -> None:
    if path.suffix == ".pkl":
        torch = pytest.importorskip("torch")
        torch.save((torch.from_numpy(first), torch.from_numpy(second)), path)
    else:
        write_pairs(path, first, second)


@pytest.mark.parametrize("suffix", [".pkl", ".safetensors"])
def test_training_on_stored_pairs(suffix, tmp_path) -> None:
    path = stored(tmp_path / "pairs", suffix=suffix)
    result, told = trained(STORED, path, tmp_path / "run")
    assert "training: 40 pairs of train_data" in told
    assert f"validation: 6 of 10 pairs of val_data{suffix}" in told
    assert result.after["psnr_images"] > 9 and 17 < result.before["psnr_images"] < 19.5
    assert zoo.load(result.weights).metadata["noise"] == "stored"
    again = fit(result.run / "config.toml", None, tmp_path / "again")
    tiny.same_outcome(again.run, result.run)
    assert go_on(result.run).step == 24


def test_without_a_validation_file_the_last_pairs_are_kept(tmp_path) -> None:
    path = stored(tmp_path / "pairs", suffix=".safetensors", judged=False)
    recipe = dataclasses.replace(STORED, data=str(path))
    network = parts.network(recipe)
    found = feed(recipe, network)
    first, second = zoo.data.read_pairs(path)
    np.testing.assert_array_equal(found.validation.noisy, first[36:] / np.float32(255))
    np.testing.assert_array_equal(found.validation.clean, second[36:] / np.float32(255))
    assert found.notes[0] == "training: 36 pairs of train_data.safetensors"
    assert "the last 4 pairs; no val_data.safetensors, so PSNR is against noisy" in found.notes[1]
    batch = found.batches(0)(8)  # 9 batches of 4
    np.testing.assert_array_equal(batch[0], first[32:36] / np.float32(255))
    np.testing.assert_array_equal(batch[1], second[32:36] / np.float32(255))


def test_order_number_and_swapping_of_stored_pairs(tmp_path) -> None:
    path = stored(tmp_path / "pairs", suffix=".safetensors")
    inputs = zoo.data.read_pairs(path)[0] / np.float32(255)

    def order(step: int, **how: Any) -> list[int]:
        sampler = Sampler("stored", size=16, **how)
        recipe = dataclasses.replace(tiny.recipe(24, sampler=sampler), data=str(path))
        batch = feed(recipe, parts.network(recipe)).batches(0)(step)
        return [int(np.abs(inputs - x).sum((1, 2, 3)).argmin()) for x in batch[0]]

    assert order(0) == order(10) == [0, 1, 2, 3]
    assert order(3, pairs=10) == [0, 1, 2, 3] and order(2, pairs=10) == [8, 9]
    rounds = [[i for s in range(10) for i in order(10 * r + s, shuffle=True)] for r in (0, 1)]
    assert sorted(rounds[0]) == sorted(rounds[1]) == list(range(40))
    assert rounds[0] != rounds[1] and rounds[0] == [
        i for s in range(10) for i in order(s, shuffle=True)
    ]


def test_augmented_and_swapped_pairs_stay_pairs() -> None:
    rng = np.random.default_rng(0)
    first = rng.integers(0, 256, (32, 3, 8, 8), np.uint8)
    second = first ^ 255
    batch = FixedSampler(first, second, batch=32, augment=True, swap=True).batch(0)
    np.testing.assert_allclose(batch.input + batch.target, 1, atol=1e-6)
    moved, swapped = 0, 0
    for i, found in enumerate(batch.input):
        turns = [[turn(x, way) / 255 for way in range(8)] for x in (first[i], second[i])]
        match = [[np.abs(found - t).max() < 1e-6 for t in ways] for ways in turns]
        assert np.sum(match) == 1
        swapped += any(match[1])
        moved += not (match[0][0] or match[1][0])
    assert 8 <= swapped <= 24 and moved >= 20
    with pytest.raises(ValueError, match="augment needs square pictures"):
        FixedSampler(first[..., :4], second[..., :4], batch=2, augment=True)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (["stages.0.sampler.noise=gaussian:25"], "expected 'stored', got 'gaussian:25'; add --set"),
        (["stages.0.objective=noise2clean"], "noise2clean needs clean targets, which train_data"),
        (["stages.0.loss=masked_mse"], "masked_mse needs masks, which train_data"),
        (["stages.0.sampler.recolour=true"], "recolour: it comes before the noise"),
        (["stages.0.sampler.gray=0.5"], "gray: it comes before the noise"),
        (["stages.0.sampler.size=32"], "expected the size of the pictures of .*16x16, got 32"),
        (["validation.noise=gaussian:25"], "validation.noise: expected none"),
        (["validation.size=16"], "validation.size: expected none"),
        (["model_args.channels=1"], "pictures of 3 channels, n2n-simple takes 1"),
        (["stages.0.sampler.pairs=9", "stages.0.micro_batches=2"], "the last batch of 1 pairs"),
    ],
)
def test_what_stored_pairs_do_not_have(settings, message, tmp_path) -> None:
    path = stored(tmp_path / "pairs", suffix=".safetensors")
    with pytest.raises(RecipeError, match=message):
        fit(STORED, path, tmp_path / "run", settings=settings)
    assert not (tmp_path / "run").exists()


def test_files_that_are_no_pairs(tmp_path) -> None:
    data = tiny.pictures(tmp_path / "pictures")
    (tmp_path / "a.pkl").write_text("nothing of the kind")
    for path, message in (
        (data, "'stored' needs a file of pairs as data, got .*pictures"),
        (None, "'stored' needs a file of pairs as data, got the bundled photographs"),
        (data / "0.png", "a single picture; expected a folder, or a file of pairs"),
        (tmp_path / "a.pkl", r"a\.pkl: neither a zip archive"),
    ):
        with pytest.raises(RecipeError, match=message):
            fit(STORED, path, tmp_path / "run")
    with pytest.raises(RecipeError, match="shuffle: only a file of pairs has an order"):
        fit(tiny.recipe(), data, tmp_path / "run", settings=["stages.0.sampler.shuffle=true"])
    with pytest.raises(RecipeError, match="expected at least 2 pairs"):
        one = stored(tmp_path / "one", count=1, suffix=".safetensors", judged=False)
        fit(STORED, one, tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_stored_pairs_from_the_command_line(tmp_path, capsys) -> None:
    path = stored(tmp_path / "pairs", suffix=".safetensors")
    (tmp_path / "tiny.toml").write_text(tiny.recipes.to_toml(tiny.recipe(8)))
    arguments = ["train", str(tmp_path / "tiny.toml"), "--data", str(path), "--device", "cpu"]
    out = ["--out", str(tmp_path / "run")]
    assert main([*arguments, *out]) == 2
    advice = "stages.0.sampler.noise=stored"
    assert f"add --set {advice}" in capsys.readouterr().err
    assert main([*arguments, *out, "--set", advice]) == 0
    assert "training: 40 pairs" in capsys.readouterr().out


# --- where data is -------------------------------------------------------------------------------


def test_data_in_a_file_is_meant_from_the_file(tmp_path, monkeypatch) -> None:
    tiny.pictures(tmp_path / "here" / "pictures")
    recipe = dataclasses.replace(tiny.recipe(4), data="pictures")
    (tmp_path / "here" / "tiny.toml").write_text(tiny.recipes.to_toml(recipe))
    monkeypatch.chdir(tmp_path)
    assert tiny.recipes.get("here/tiny.toml").data == str(tmp_path / "here" / "pictures")
    assert fit(Path("here/tiny.toml"), None, tmp_path / "run").cause == "finished"
