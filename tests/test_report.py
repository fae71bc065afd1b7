"""The report of a run: files, numbers, a page that stands alone."""

from __future__ import annotations

import dataclasses
import json
import re
import sys

import numpy as np
import pytest
from PIL import Image

import zoo
from zoo import recipes
from zoo.data.bundled import sample_files
from zoo.noise import parse
from zoo.report import ReportError, write
from zoo.report_pictures import before_after
from zoo.training.contents import arrays_digest

pytest.importorskip("matplotlib")


def run_folder(folder, weights=True, noise="subpixel:8", channels=3):
    """A run folder as training leaves it, written by hand."""
    folder.mkdir()
    recipe = recipes.get("n2n-demo")
    recipe = dataclasses.replace(
        recipe,
        description="a <b>bold</b> claim & more",
        validation=dataclasses.replace(recipe.validation, noise=noise),
    )
    (folder / "config.toml").write_text(recipes.to_toml(recipe))
    lines = [{"kind": "noisy", "step": 0, "images": 0, "psnr_images": 21.5, "psnr_global": 21.0}]
    for step in range(0, 101, 10):
        where = {"step": step, "images": 32 * step}
        if step:
            lines.append({"kind": "train", "loss": 1 / step, "lr": 1.0, **where})
        psnr = {"psnr_images": 11 + step / 10, "psnr_global": 10 + step / 10}
        lines.append({"kind": "validation", **psnr, **where})
    text = "".join(json.dumps(line) + "\n" for line in lines)
    (folder / "log.jsonl").write_text(text + '{"kind": "train", "lo')  # cut off by a kill
    start = {"kind": "start", "time": 0, "numpy": "9.9.9", "blas_core": "Imaginary"}
    (folder / "timing.jsonl").write_text(json.dumps(start) + "\n")
    if weights:
        model = zoo.create("n2n-simple", features=4, channels=channels)
        zoo.save(folder / "model.safetensors", model)
    return folder


def test_files_of_a_run(tmp_path):
    files = write(run_folder(tmp_path / "run"))
    assert [file.name for file in files] == ["curves.png", "before_after.png", "report.html"]
    for file in files[:2]:
        with Image.open(file) as image:
            pixels = np.asarray(image.convert("L"))
        assert pixels.shape[1] > 800 and pixels.std() > 5
    assert not [path for path in (tmp_path / "run").iterdir() if path.suffix == ".partial"]


def test_the_page_stands_alone_and_tells_all(tmp_path):
    page = (write(run_folder(tmp_path / "run"))[-1]).read_text(encoding="utf-8")
    outside = re.findall(r'(?:src|href)="(?!data:|#)([^"]*)"', page)
    assert not [link for link in outside if not link.startswith("#")]
    assert page.count("<svg") == 1 and page.count("data:image/png;base64,") == 1
    assert "a &lt;b&gt;bold&lt;/b&gt; claim &amp; more" in page
    for text in (
        "21.50",
        "21.00",
        "last (step 100)",
        "Imaginary",
        "9.9.9",
        "sha256 of the arrays",
        "subpixel:8",
    ):
        assert text in page, text
    assert "raccoon" in page


def test_gray_network_and_additive_noise(tmp_path):
    files = write(run_folder(tmp_path / "run", noise="gaussian:25", channels=1))
    assert "gaussian:25" in files[-1].read_text(encoding="utf-8")


@pytest.mark.parametrize("noise", ["awgn", "hg"])
def test_a_blind_spot_network_shows_what_it_finds_on_the_way(tmp_path, noise):
    law = {"awgn": "gaussian:25", "hg": "heteroscedastic:80"}[noise]
    folder = run_folder(tmp_path / "run", noise=law)
    model = zoo.create("dbsn-color", width=2, blocks=1, noise=noise, sigma_n_start=20.0)
    zoo.save(folder / "model.safetensors", model)
    with Image.open(write(folder)[1]) as image:
        assert image.width == {"awgn": 4, "hg": 6}[noise] * 3 * 130
    file = sample_files("test")[0]
    found = before_after(model, parse(law), file, 0)
    captions = [panel.caption for panel in found.panels]
    assert captions[1].startswith("mu, ") and captions[3] == "clean"
    assert f"{found.psnr:.2f} dB" in captions[2]
    if noise == "awgn":
        assert captions[2].endswith("noise 20.0") and len(captions) == 4
        return
    assert captions[4:] == ["noise", "noise, estimated"]
    clean, true, estimated = (found.panels[i].pixels for i in (3, 4, 5))
    np.testing.assert_allclose(estimated, 20, rtol=1e-5)
    expected = np.sqrt(np.mean((80 * clean) ** 2 + 10**2, axis=0))
    np.testing.assert_allclose(true.mean(), expected.mean(), rtol=0.01)
    assert np.corrcoef(true.ravel(), expected.ravel())[0, 1] > 0.9


def test_a_run_without_weights_gets_its_curves(tmp_path):
    files = write(run_folder(tmp_path / "run", weights=False))
    assert [file.name for file in files] == ["curves.png", "report.html"]
    assert "No weights yet" in files[-1].read_text(encoding="utf-8")


def test_a_run_that_has_just_begun(tmp_path):
    folder = run_folder(tmp_path / "run", weights=False)
    (folder / "log.jsonl").write_text("")
    assert "No validation yet" in write(folder)[-1].read_text(encoding="utf-8")


def test_what_is_wrong_is_said(tmp_path, monkeypatch):
    with pytest.raises(ReportError, match=r"config\.toml is missing"):
        write(tmp_path)
    folder = run_folder(tmp_path / "run")
    (folder / "log.jsonl").write_text("[1]\nnonsense\n")
    with pytest.raises(ReportError, match=r"log\.jsonl: line 1 is not a JSON object"):
        write(folder)
    (folder / "log.jsonl").unlink()
    with pytest.raises(ReportError, match="has not logged anything"):
        write(folder)
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(ReportError, match=r"pip install '\.\[plots\]'") as caught:
        write(folder)
    assert caught.value.exit_code == 1


def test_damaged_weights_are_said(tmp_path):
    folder = run_folder(tmp_path / "run")
    (folder / "model.safetensors").write_bytes(b"nothing of the kind")
    with pytest.raises(ReportError, match=r"model\.safetensors"):
        write(folder)


def test_equal_weights_have_equal_digests():
    rng = np.random.default_rng(0)
    arrays = {"a": rng.random((2, 3)), "b": rng.random(4).astype("f4")}
    digest = arrays_digest(arrays)
    assert digest == arrays_digest(dict(reversed(arrays.items())))
    changed = [
        {**arrays, "a": arrays["a"].reshape(3, 2)},
        {**arrays, "b": arrays["b"].view("i4")},
        {"a": arrays["a"], "c": arrays["b"]},
        {**arrays, "a": arrays["a"] + 1e-16 * rng.random((2, 3)) + 1e-9},
    ]
    assert len({digest, *map(arrays_digest, changed)}) == 5


def test_a_damaged_timing_log_is_no_error(tmp_path):
    folder = run_folder(tmp_path / "run", weights=False)
    (folder / "timing.jsonl").write_bytes(b"\xff{]\n[1]\n" + (folder / "timing.jsonl").read_bytes())
    assert "Imaginary" in write(folder)[-1].read_text(encoding="utf-8")


def test_stored_pairs_have_no_pictures(tmp_path):
    folder = run_folder(tmp_path / "run")
    config = (
        (folder / "config.toml").read_text().replace('noise = "subpixel:8"', 'noise = "stored"')
    )
    (folder / "config.toml").write_text(config)
    files = write(folder)
    assert [file.name for file in files] == ["curves.png", "report.html"]
    assert "only the stored pairs have this noise" in files[-1].read_text(encoding="utf-8")
