"""The blind-spot networks at the command line, in tiles, and from the authors' files."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

import zoo
from minigrad import CheckpointError
from tests import tiny_training as tiny
from tests.official import saved
from tests.test_dbsn import KINDS, narrow
from zoo.__main__ import main
from zoo.architectures import NoiseMap, PriorMean
from zoo.convert import convert
from zoo.data.images import read_image
from zoo.denoise import denoise_image
from zoo.inference.receptive import receptive_field


def run(capsys: Any, *arguments: Any) -> tuple[int, str, str]:
    """Exit code, standard output, standard error of a command."""
    code = main([str(argument) for argument in arguments])
    out, err = capsys.readouterr()
    return code, out, err


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Colour pictures, a gray one of 16 bits, and one with alpha."""
    folder = tiny.pictures(tmp_path / "photos", count=2, size=40)
    rng = np.random.default_rng(0)
    Image.fromarray(rng.integers(0, 65536, (30, 37)).astype(np.uint16)).save(folder / "gray.png")
    rgba = rng.integers(0, 256, (24, 25, 4)).astype(np.uint8)
    Image.fromarray(rgba).save(folder / "alpha.png")
    return folder


def weights(path: Path, name: str, **arguments: Any) -> Path:
    model = zoo.create(name, width=4, blocks=1, rng=np.random.default_rng(0), **arguments)
    zoo.save(path, model, {"noise": "gaussian:25"})
    return path


# ------------------------------------------------------------------ tiles


@pytest.mark.parametrize(("name", "noise"), KINDS)
def test_tiles_know_the_mean_over_the_whole_picture(name: str, noise: str) -> None:
    model = narrow(name, noise)
    picture = np.random.default_rng(1).random((45, 38, model.channels))
    picture[:20] *= 0.3  # halves that differ: the mean of a tile would be another
    whole = model.denoise(picture.transpose(2, 0, 1)[None])[0].transpose(1, 2, 0)
    tiled = denoise_image(model, picture, tile=13)
    np.testing.assert_allclose(tiled, whole, rtol=0, atol=1e-12 * np.abs(whole).max())
    level = denoise_image(NoiseMap(model), picture, tile=13)
    expected = NoiseMap(model).denoise(picture.transpose(2, 0, 1)[None])[0].transpose(1, 2, 0)
    np.testing.assert_allclose(level, expected, rtol=1e-12)


@pytest.mark.parametrize("name", ["dbsn-gray", "dbsn-color"])
def test_the_measured_field_is_that_of_the_longer_branch(name: str) -> None:
    for blocks, reach in ((1, 8), (2, 14)):
        assert receptive_field(narrow(name, "awgn", blocks=blocks)).size == (2 * reach + 1,) * 2


# ------------------------------------------------------------------ commands


def test_info(capsys: Any, tmp_path: Path) -> None:
    path = weights(tmp_path / "w.safetensors", "dbsn-color", noise="mg")
    code, out, _ = run(capsys, "info", path, "--size", 16, "--json")
    record = json.loads(out)
    assert code == 0 and record["model"] == "dbsn-color"
    assert record["arguments"]["noise"] == "mg"
    assert record["receptive_field"]["size"] == [17, 17]
    assert {"dbsn.br1.branch.0", "sigma_n.conv_final"} < {r["path"] for r in record["layers"]}
    path = tmp_path / "student.safetensors"
    zoo.save(path, zoo.create("mwcnn", level1=3, level2=4, level3=5))
    code, out, _ = run(capsys, "info", path, "--size", 20)
    assert code == 0 and "padded inside to a multiple of 8" in out
    assert "pixels for an aligned 8 x 8 block of the output" in out


def test_list(capsys: Any) -> None:
    code, out, _ = run(capsys, "list", "dbsn-*", "--json")
    found = json.loads(out)
    assert code == 0 and [m["name"] for m in found["models"]] == ["dbsn-color", "dbsn-gray"]
    names = {r["name"] for r in found["recipes"]}
    assert {"dbsn-gray-awgn", "dbsn-color-mg", "dbsn-gray-awgn-narrow"} <= names


def test_evaluate(capsys: Any, photos: Path, tmp_path: Path) -> None:
    path = weights(tmp_path / "w.safetensors", "dbsn-gray")
    command = ("evaluate", path, "--data", photos, "--noise", "heteroscedastic:40:official")
    code, out, _ = run(capsys, *command, "--json")
    record = json.loads(out)
    assert code == 0 and len(record["images"]) == 4 and "RandomState(0)" in str(record["protocol"])


def test_evaluate_what_is_estimated_on_the_way(capsys: Any, photos: Path, tmp_path: Path) -> None:
    path = weights(tmp_path / "w.safetensors", "dbsn-gray", sigma_n_start=30.0)
    command = ("evaluate", path, "--data", photos, "--noise", "gaussian:25")
    code, out, _ = run(capsys, *command, "--json", "--estimates")
    record = json.loads(out)
    plain = json.loads(run(capsys, *command, "--json")[1])
    assert code == 0
    model: Any = zoo.load(path)
    for row, before in zip(record["images"], plain["images"], strict=True):
        assert before.items() <= row.items() and "psnr_mu" not in before
        clean = read_image(photos / row["name"]).pixels
        noise = np.random.default_rng(0).standard_normal(clean.shape, dtype=np.float32)
        noisy = clean + noise * np.float32(25 / 255)
        image = noisy.transpose(1, 2, 0)
        mu = np.clip(denoise_image(PriorMean(model), image).transpose(2, 0, 1), 0, 1)
        assert row["psnr_mu"] == pytest.approx(-10 * np.log10(np.mean((mu - clean) ** 2)))
        assert row["sigma_n"] == pytest.approx(30, abs=0.01)
        assert row["noise"] == pytest.approx(255 * np.sqrt(np.mean((noisy - clean) ** 2)))
    means = record["means"]
    for key, name in (("psnr_images_mu", "psnr_mu"), ("sigma_n", "sigma_n"), ("noise", "noise")):
        assert means[key] == pytest.approx(np.mean([row[name] for row in record["images"]]))
    text = run(capsys, *command, "--estimates")[1]
    assert "psnr mu" in text and "sigma_n                  30.00" in text
    other = tmp_path / "plain.safetensors"
    zoo.save(other, zoo.create("bf-unet", features=2))
    command = ("evaluate", other, "--data", photos, "--noise", "gaussian:25", "--estimates")
    code, _, err = run(capsys, *command)
    assert code == 2 and "--estimates: bf-unet estimates no noise" in err


def test_train_by_the_command(capsys: Any, photos: Path, tmp_path: Path) -> None:
    """The narrow recipe, made tiny; the run serves the other verbs."""
    settings = [f"stages.{i}.{s}" for i in range(3) for s in ("steps=3", "batch=2", "log_every=1")]
    settings += [f"stages.{i}.sampler.size=16" for i in range(3)]
    settings += ["model_args.width=4", "model_args.blocks=1", "validation.images=2"]
    settings += ["validation.size=16"]
    chosen = [part for setting in settings for part in ("--set", setting)]
    out = tmp_path / "run"
    command = ("train", "dbsn-gray-awgn-narrow", "--data", photos, "--out", out, *chosen)
    code, text, err = run(capsys, *command, "--device", "cpu")
    assert code == 0, err
    assert "PSNR, mean over pictures" in text
    assert run(capsys, "denoise", photos, "--weights", out, "--out", tmp_path / "clean")[0] == 0
    assert run(capsys, "report", out)[0] == 0


def test_noise_maps(capsys: Any, photos: Path, tmp_path: Path) -> None:
    """A pixel's value is the standard deviation, in the depth and size of the picture."""
    path = weights(tmp_path / "w.safetensors", "dbsn-gray", sigma_n_start=30.0)
    clean, maps = tmp_path / "clean", tmp_path / "maps"
    command = ("denoise", photos, "--weights", path, "--out", clean, "--noise-maps", maps)
    code, text, _ = run(capsys, *command)
    assert code == 0 and f"8 of 8 pictures written to {clean} and {maps}" in text
    for file in sorted(photos.iterdir()):
        before, level = read_image(file), read_image(maps / file.name)
        assert level.pixels.shape == before.pixels.shape and level.depth == before.depth
        np.testing.assert_allclose(255 * level.pixels, 30, atol=0.01)
    alpha = [np.array(Image.open(folder / "alpha.png"))[:, :, 3] for folder in (photos, maps)]
    np.testing.assert_array_equal(*alpha)


def test_noise_maps_that_cannot_be(capsys: Any, photos: Path, tmp_path: Path) -> None:
    plain = tmp_path / "plain.safetensors"
    zoo.save(plain, zoo.create("bf-unet", features=2))
    path = weights(tmp_path / "w.safetensors", "dbsn-gray")
    out = tmp_path / "out"
    for given, maps, message in (
        (plain, tmp_path / "maps", "--noise-maps: bf-unet estimates no noise"),
        (path, out, "--noise-maps: expected another folder than --out"),
        (path, photos, "is the folder of the input"),
        (path, "", "--noise-maps: expected a path"),
    ):
        command = ("denoise", photos, "--weights", given, "--out", out, "--noise-maps", maps)
        code, _, err = run(capsys, *command, "--overwrite")
        assert code == 2 and message in err
    (photos / "broken.png").write_bytes(b"none")
    command = ("denoise", photos, "--weights", path, "--out", out, "--noise-maps", tmp_path / "m")
    code, _, err = run(capsys, *command, "--overwrite")
    assert code == 2 and err.count("broken.png") == 1  # said once, and the others are done
    assert len(list((tmp_path / "m").iterdir())) == 4


# ------------------------------------------------------------------ the authors' files


def official(model: zoo.Denoiser, wrapper: str = "module.", **more: Any) -> dict[str, Any]:
    """A checkpoint as the authors' training writes it."""
    parts: dict[str, dict[str, torch.Tensor]] = {"dbsn": {}, "sigma_mu": {}, "sigma_n": {}}
    for key, array in model.state_dict().items():
        part, _, name = key.partition(".")
        parts[part][wrapper + name] = torch.from_numpy(np.array(array))
    states = {f"state_dict_{part}": state for part, state in parts.items()}
    moments = {"state": {0: {"exp_avg": torch.ones(2)}}, "param_groups": []}
    return {**states, "optimizer_dbsn": moments, "training_params": {"start_epoch": 3}, **more}


@pytest.mark.parametrize("wrapper", ["module.", ""])
@pytest.mark.parametrize(
    ("name", "noise", "told", "levels", "law"),
    [
        ("dbsn-gray", "awgn", "gaussian", [25.0], "gaussian:25"),
        ("dbsn-gray", "hg", "poisson_gaussian", [40.0, 10.0], "heteroscedastic:40"),
        ("dbsn-color", "hg", "poisson_gaussian", [40.0], None),
        ("dbsn-color", "mg", "multivariate_gaussian", [75.0], "multivariate:75"),
    ],
)
def test_the_authors_checkpoints(
    name: str, noise: str, told: str, levels: Any, law: str | None, wrapper: str, tmp_path: Path
) -> None:
    model = zoo.create(name, width=3, blocks=2, noise=noise, rng=np.random.default_rng(0))
    path, out = tmp_path / "official.pth", tmp_path / "ours.safetensors"
    arguments = argparse.Namespace(noise_type=told, train_noiseL=levels)
    path.write_bytes(saved(official(model, wrapper, args=arguments)))
    done = convert(path, name, out)
    assert done.part == "state_dict_dbsn + state_dict_sigma_mu + state_dict_sigma_n"
    assert done.metadata.get("noise") == law
    found: Any = zoo.load(out)
    assert found.noise == noise
    y = np.random.default_rng(1).random((1, model.channels, 9, 8), np.float32)
    np.testing.assert_array_equal(found.denoise(y), model.denoise(y))


def test_without_training_arguments_the_kind_of_noise_is_said(tmp_path: Path) -> None:
    model = zoo.create("dbsn-gray", width=3, blocks=1, noise="hg")
    path = tmp_path / "official.pth"
    path.write_bytes(saved(official(model)))
    assert convert(path, "dbsn-gray", tmp_path / "a.safetensors").arguments.get("noise") is None
    done = convert(path, "dbsn-gray", tmp_path / "b.safetensors", arguments={"noise": "hg"})
    assert done.arguments["noise"] == "hg"


def test_a_checkpoint_of_the_first_stage_alone(tmp_path: Path) -> None:
    content = official(zoo.create("dbsn-gray", width=3, blocks=1))
    del content["state_dict_sigma_mu"]
    path = tmp_path / "official.pth"
    path.write_bytes(saved(content))
    with pytest.raises(CheckpointError, match="does not fit dbsn-gray"):
        convert(path, "dbsn-gray", tmp_path / "out.safetensors")


def test_the_authors_mwcnn(tmp_path: Path) -> None:
    """Its state dict holds the wavelets too, which must be Haar's."""
    model = zoo.create("mwcnn", level1=3, level2=2, level3=2)
    state = {f"module.{k}": torch.from_numpy(np.array(a)) for k, a in model.state_dict().items()}
    for key, kernels in model.constants.items():
        kernel = torch.from_numpy(kernels.astype(np.float32).reshape(4, 1, 2, 2))
        state[f"module.{key}"] = kernel
    path = tmp_path / "official.pth"
    path.write_bytes(saved({"state_dict": state, "epoch": 80}))
    done = convert(path, "mwcnn", tmp_path / "out.safetensors")
    assert sorted(done.left_out) == ["DWT.weight", "IWT.weight"] and done.part == "state_dict"
    y = np.random.default_rng(1).random((1, 1, 9, 8), np.float32)
    np.testing.assert_array_equal(
        zoo.load(tmp_path / "out.safetensors").denoise(y), model.denoise(y)
    )
    state["module.DWT.weight"] = torch.ones(4, 1, 2, 2)
    path.write_bytes(saved({"state_dict": state}))
    with pytest.raises(CheckpointError, match=r"official\.pth: .*DWT\.weight: expected"):
        convert(path, "mwcnn", tmp_path / "other.safetensors")
