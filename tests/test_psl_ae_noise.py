"""The two noises of the patch-subspace study, and the pictures made with them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from minigrad.noise import Noise
from tests.shared import PSL_AE, stored_index
from tests.test_reference_psl_ae import released, tensors
from zoo import metrics, noise, registry
from zoo.__main__ import main
from zoo.noise.subspace import SubspaceGlobal, SubspaceHeterogeneous, truncated, unit

INDEX = stored_index("index", PSL_AE)
LOSING = [33, 37, 41, 45, 49, 53, 57, 61, 66, 74, 82, 90, 98, 106, 114, 122, 132, 148, 164, 180,
          196, 212, 228, 244]  # fmt: skip
SEED = {"global_gaussian": 20210400, "heterogeneous": 20210401}
LAW = {"global_gaussian": SubspaceGlobal(0.02), "heterogeneous": SubspaceHeterogeneous(1.0)}


def test_truncation_takes_a_level_off_some_values() -> None:
    u = np.arange(256, dtype=np.uint8)
    after = truncated(unit(u))
    assert np.flatnonzero(after != u).tolist() == LOSING
    assert (u[LOSING] - after[LOSING] == 1).all()


@pytest.mark.usefixtures("shared")
@pytest.mark.parametrize("name", ["global_gaussian", "heterogeneous"])
def test_noise_is_bit_exact(name: str) -> None:
    t = tensors("end_to_end")
    found = LAW[name].draw(t["astronaut.clean"], np.random.default_rng(SEED[name]))
    np.testing.assert_array_equal(found, t[f"astronaut.{name}.noisy"])


@pytest.mark.usefixtures("shared")
@pytest.mark.parametrize("name", ["global_gaussian", "heterogeneous"])
def test_the_released_network_on_whole_pictures(name: str) -> None:
    model, t = released(), tensors("end_to_end")
    for picture in ("astronaut", "chelsea"):
        noisy = LAW[name].draw(t[f"{picture}.clean"], np.random.default_rng(SEED[name]))
        x = (noisy.transpose(2, 0, 1)[None] / np.float32(255)).astype(np.float32)
        labels = model.code(model.divide(x))[1].argmax(1)
        stored = t[f"{picture}.{name}.labels"]
        assert (labels != stored).sum() <= 1  # some are decided by a margin of 1e-6
        if (key := f"{picture}.{name}.recon") in t:
            made = truncated(model.denoise(x)[0].transpose(1, 2, 0))
            difference = np.abs(made.astype(int) - t[key])
            assert difference.max() <= 1 and (difference > 0).sum() <= 8


@pytest.mark.parametrize("text", ["psl-global:0.02", "psl-heterogeneous:1", "psl-global:0.01-0.03"])
def test_laws_by_name(text: str) -> None:
    law = noise.parse(text)
    assert law.name == text
    clean = np.random.default_rng(0).integers(0, 256, (2, 3, 40, 30)).astype(np.float32) / 255
    first, again, other = law(clean, Noise(3)), law(clean, Noise(3)), law(clean, Noise(4))
    np.testing.assert_array_equal(first, again)
    assert first.dtype == np.float32 and first.shape == clean.shape
    assert (first != other).any() and (first[0] - clean[0] != first[1] - clean[1]).any()
    np.testing.assert_allclose(255 * first, np.rint(255 * first), atol=1e-4)
    assert first.min() >= 0 and first.max() <= 1


def test_the_strengths() -> None:
    clean = np.full((1, 1, 200, 200), 0.5, np.float32)
    noisy = SubspaceGlobal(0.01)(clean, Noise(0))
    assert abs(noisy.std() - 0.1) < 0.002
    assert abs(noisy.mean() - (128 - 0.5) / 255) < 0.002  # half a level is cut off
    untouched = SubspaceHeterogeneous(0.0)(clean, Noise(0))
    assert np.abs(untouched - clean).max() <= 1.5 / 255
    weak, strong = (SubspaceHeterogeneous(s)(clean, Noise(0)) - clean for s in (0.5, 2.0))
    assert weak.std() < strong.std()
    for law in LAW.values():  # rectangles without a pixel
        assert law(clean[:, :, :3, :2], Noise(0)).shape == (1, 1, 3, 2)


@pytest.mark.usefixtures("shared")
def test_metrics_as_published_and_as_defined() -> None:
    t = tensors("end_to_end")
    seen = 0
    for key, told in INDEX["end_to_end_metrics"].items():
        picture, law = key.split("/")
        clean = t[f"{picture}.clean"].transpose(2, 0, 1)
        for which, file in (("before", "noisy"), ("after", "recon")):
            if (name := f"{picture}.{law}.{file}") not in t:
                continue
            x, expected = t[name].transpose(2, 0, 1), told[which]
            found = {
                "PSNR_cv2": metrics.psnr_images([x], [clean], peak=255),
                "SSIM": metrics.ssim_uniform(x, clean, peak=255),
                "UQI": metrics.uqi_sewar(x, clean),
                "UQI_true_wang_bovik": metrics.uqi(x, clean),
            }
            assert found == pytest.approx(expected, abs=1e-9), name
            seen += 1
    assert seen == 6


@pytest.mark.usefixtures("shared")
def test_the_published_table_by_the_command(tmp_path: Path, capsys: Any) -> None:
    weights, folder = tmp_path / "psl.safetensors", tmp_path / "pictures"
    folder.mkdir()
    registry.save(weights, released())
    for picture in ("astronaut", "chelsea"):
        Image.fromarray(tensors("end_to_end")[f"{picture}.clean"]).save(folder / f"{picture}.png")
    for name, text in (
        ("global_gaussian", "psl-global:0.02"),
        ("heterogeneous", "psl-heterogeneous:1"),
    ):
        words = ["evaluate", str(weights), "--data", str(folder), "--noise", text]
        words += ["--seed", str(SEED[name]), "--protocol", "psl-ae", "--json"]
        assert main(words) == 0
        record = json.loads(capsys.readouterr().out)
        for row in record["images"]:
            told = INDEX["end_to_end_metrics"][f"{row['name'].removesuffix('.png')}/{name}"]
            for which, end in (("before", "_noisy"), ("after", "")):
                stored = told[which]
                assert row[f"psnr{end}"] == pytest.approx(stored["PSNR_cv2"], abs=1e-4)
                assert row[f"ssim_uniform{end}"] == pytest.approx(stored["SSIM"], abs=1e-5)
                assert row[f"uqi_sewar{end}"] == pytest.approx(stored["UQI"], abs=1e-5)
                assert row[f"uqi{end}"] == pytest.approx(stored["UQI_true_wang_bovik"], abs=1e-4)
