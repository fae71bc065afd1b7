"""Noise models from calibration frames, their files, and the commands that make and show them."""

from __future__ import annotations

import functools
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from safetensors.numpy import load_file, save_file

import minigrad as mg
from minigrad.noise import Noise
from tests.shared import HDN as FOLDER
from zoo.__main__ import main
from zoo.data.picture import ImageError
from zoo.data.stack import FrameStack
from zoo.noise.calibration import Calibration, fit_histogram, fit_mixture
from zoo.noise.models import NoiseModel, NoiseModelError, load_noise_model, save_noise_model

GAIN, OFFSET, READ = 2.5, 100.0, 30.0
"""Gray values an electron, gray values of the dark, deviation of the reading."""


def variance(signal: np.ndarray) -> np.ndarray:
    """Of a gray value, by the physics of a camera: Poisson and Gaussian."""
    return GAIN * (signal - OFFSET) + READ**2


@functools.cache
def frames(count: int = 40, side: int = 96) -> np.ndarray:
    """So many shots of a ramp from dark to bright, uint16."""
    rng = np.random.default_rng(0)
    scene = np.linspace(200, 4000, side * side).reshape(side, side)
    electrons = rng.poisson((scene - OFFSET) / GAIN, (count, side, side))
    seen = GAIN * electrons + OFFSET + READ * rng.standard_normal((count, side, side))
    return np.rint(seen).astype(np.uint16)


@functools.cache
def mixture() -> mg.GaussianMixtureNoiseModel:
    return fit_mixture(Calibration.of(frames()), steps=700, batch=3000)


def test_a_mixture_learns_mean_and_variance() -> None:
    signal = np.linspace(300, 3900, 25)
    mean, found = NoiseModel(mixture()).moments(signal)
    np.testing.assert_allclose(mean, signal, rtol=1e-3)
    np.testing.assert_allclose(found, variance(signal), rtol=0.05)


def test_a_histogram_learns_mean_and_variance() -> None:
    seen = Calibration.of(frames())
    bins = 200
    table = fit_histogram(seen, bins=bins)
    signal = np.linspace(500, 3500, 7)
    mean, found = NoiseModel(table).moments(signal)
    width = (table.max_value - table.min_value) / bins
    # Rows stand at the lower edges of their bins, so that a mean is half a bin too high.
    np.testing.assert_allclose(mean - width / 2, signal, atol=0.5 * width)
    np.testing.assert_allclose(found, variance(signal) + width**2 / 3, rtol=0.15)


def test_what_is_measured() -> None:
    signal, mean, found = Calibration.of(frames()).moments(bins=8)
    np.testing.assert_allclose(mean, signal, rtol=1e-3)
    # The mean of 40 frames is the signal, and takes a 40th of the variance off.
    np.testing.assert_allclose(found * 40 / 39, variance(signal), rtol=0.02)


@pytest.mark.usefixtures("shared")
def test_the_table_of_the_authors() -> None:
    t = load_file(FOLDER / "noise_hist.safetensors")
    seen = Calibration.of(t["calib_observation"], t["calib_signal"])
    low, high, bins = (float(t[key][0]) for key in ("minv", "maxv", "bins"))
    made = fit_histogram(seen, bins=int(bins), low=low, high=high)
    np.testing.assert_allclose(made.histogram, t["histogram"][0], rtol=1e-12, atol=1e-35)


def test_a_batch_holds_pairs_of_one_place_within_the_range() -> None:
    signals = np.arange(12.0).reshape(2, 2, 3)
    seen = Calibration.of(np.repeat(100 + signals, 3, axis=0), signals, (10, 90))
    signal, observed = seen.draw(Noise(0).at(3), 500)
    np.testing.assert_array_equal(observed, 100 + signal)
    assert 0 < len(signal) < 500 and signal.min() > seen.low and signal.max() < seen.high
    again, _ = seen.draw(Noise(0).at(3), 500)
    np.testing.assert_array_equal(signal, again)


@pytest.mark.parametrize(
    ("frames_", "signals", "words"),
    [
        (np.zeros((1, 4, 4)), None, "n from 2"),
        (np.zeros((3, 4, 4)), None, "all signals are 0"),
        (np.zeros((3, 4, 4)), np.zeros((2, 4, 4)), "a divisor of 3"),
        (np.zeros((3, 4, 4)), np.zeros((1, 5, 4)), r"\(m, 4, 4\)"),
    ],
)
def test_frames_that_tell_nothing(frames_: Any, signals: Any, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        Calibration.of(frames_, signals)


# ------------------------------------------------------------------------------- files


@pytest.mark.parametrize("kind", ["gmm", "histogram"])
def test_a_file_keeps_all(kind: str, tmp_path: Path) -> None:
    made = mixture() if kind == "gmm" else fit_histogram(Calibration.of(frames()), bins=30)
    save_noise_model(tmp_path / "m.safetensors", NoiseModel(made, 4095.0))
    found = load_noise_model(tmp_path / "m.safetensors")
    assert found.kind == kind and found.white == 4095 and repr(found.density) == repr(made)
    s, o = np.array([500.0, 900.0]), np.array([480.0, 1000.0])
    np.testing.assert_array_equal(found.density.forward(s, o), made.forward(s, o))


def test_the_authors_files(tmp_path: Path) -> None:
    made = mixture()
    what = {"min_signal": [made.min_signal], "max_signal": [made.max_signal], "min_sigma": 50.0}
    np.savez(tmp_path / "gmm.npz", trained_weight=made.weight, **what)
    found = load_noise_model(tmp_path / "gmm.npz").density
    np.testing.assert_array_equal(found.weight, made.weight)  # type: ignore[union-attr]
    table = np.full((3, 4, 4), 0.25)
    table[1], table[2] = np.arange(4)[:, None], np.arange(1, 5)[:, None]
    np.save(tmp_path / "hist.npy", table)
    read = load_noise_model(tmp_path / "hist.npy")
    assert read.kind == "histogram" and read.signals == (0, 4)


def test_wrong_files_are_named(tmp_path: Path) -> None:
    path = tmp_path / "m.safetensors"
    with pytest.raises(NoiseModelError, match=r"m\.safetensors"):
        load_noise_model(path)
    save_file({"weight": np.zeros((3, 2))}, path)
    with pytest.raises(NoiseModelError, match="is no noise model"):
        load_noise_model(path)
    save_noise_model(path, NoiseModel(mixture()))
    arguments = json.dumps({"bins": 1 << 20, "min_value": 0, "max_value": 1})
    text = {"format": "minigrad-zoo noise model 1", "kind": "histogram", "white": "255"}
    save_file({"histogram": np.ones((2, 2))}, path, {**text, "arguments": arguments})
    with pytest.raises(NoiseModelError, match="the file holds 4 values"):
        load_noise_model(path)
    np.save(tmp_path / "t.npy", np.array([{}], object), allow_pickle=True)
    with pytest.raises(NoiseModelError, match=r"t\.npy"):
        load_noise_model(tmp_path / "t.npy")


# ------------------------------------------------------------------------------- stacks of frames


@pytest.fixture
def stack(tmp_path: Path) -> Path:
    path = tmp_path / "frames.tif"
    tifffile.imwrite(path, frames(), photometric="minisblack")
    return path


def test_a_stack_is_read_page_by_page(stack: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[slice] = []
    from zoo.data import stack as module

    def counted(path: Any, which: slice) -> Any:
        asked.append(which)
        return read(path, which)

    read = module.read_pages
    monkeypatch.setattr(module, "read_pages", counted)
    found = FrameStack([stack], cache=3 * 96 * 96 * 4)
    assert len(found) == 40 and found.white == 65535 and found.shape == (1, 96, 96)
    np.testing.assert_array_equal(found.levels(5), frames()[5])
    assert [part.start for part in asked] == [0, 5]
    found[5], found[6], found[7], found[5]
    assert [part.start for part in asked] == [0, 5, 6, 7]
    assert not found[5].flags.writeable and found.name(5).endswith("page 5")


def test_frames_of_another_depth_are_named(stack: Path, tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "z.tif", np.zeros((8, 8), np.uint8))
    both = FrameStack([stack, tmp_path / "z.tif"])
    with pytest.raises(ImageError, match=r"z\.tif: 8 bits.*page 0 has 16"):
        both[40]


# ------------------------------------------------------------------------------- commands


def test_fit_and_show(stack: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out, picture = tmp_path / "camera.safetensors", tmp_path / "camera.png"
    how = ["--steps", "300", "--batch", "2000", "--json"]
    assert main(["noise-model", "fit", str(stack), "--out", str(out), *how]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["ok"] and told["kind"] == "gmm" and told["white"] == 65535
    assert told["variance_error"] < 0.1 and told["mean_error"] < 0.01
    how = ["--data", str(stack), "--out", str(picture)]
    assert main(["noise-model", "show", str(out), *how]) == 0
    assert "deviation" in capsys.readouterr().out
    assert picture.read_bytes().startswith(b"\x89PNG")
    assert main(["noise-model", "show", str(out), "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    np.testing.assert_allclose(
        np.square(told["deviation"]), variance(np.array(told["signal"])), rtol=0.1
    )


def test_a_bootstrap_and_a_table(
    stack: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    clean = np.repeat(np.rint(frames().mean(0, keepdims=True)), 40, axis=0).astype(np.uint16)
    tifffile.imwrite(tmp_path / "clean.tif", clean, photometric="minisblack")
    out = tmp_path / "table.safetensors"
    how = ["--signal", str(tmp_path / "clean.tif"), "--kind", "histogram", "--bins", "64"]
    how += ["--percentiles", "0.5", "99.5", "--plot", str(tmp_path / "t.png")]
    assert main(["noise-model", "fit", str(stack), "--out", str(out), *how]) == 0
    assert "written" in capsys.readouterr().out and (tmp_path / "t.png").is_file()
    assert load_noise_model(out).kind == "histogram"
    before = out.read_bytes()
    for words in (["fit", str(stack), *how], ["show", str(out)]):
        assert main(["noise-model", *words, "--out", str(out)]) == 2
    assert main(["noise-model", "show", str(out), "--out", str(tmp_path / "t.png")]) == 2
    assert "t.png exists already; --overwrite" in capsys.readouterr().err
    assert main(["noise-model", "show", str(out), "--out", str(tmp_path / "no" / "t.png")]) == 2
    assert "no: no such folder" in capsys.readouterr().err
    assert out.read_bytes() == before


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["fit", "nothing.tif", "--out", "m.safetensors"], "nothing.tif"),
        (["fit", "nothing.tif", "--out", "m.txt"], "expected a .safetensors"),
        (["show", "nothing.safetensors"], "nothing.safetensors"),
    ],
)
def test_wrong_usage(words: list[str], told: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["noise-model", *words]) == 2
    assert told in capsys.readouterr().err
