"""The comparisons themselves: verdicts, exit codes, transfer, experiments."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import zoo
from minigrad import resolve_device
from minigrad.layers import activation
from validation import published, published_figures
from validation.__main__ import main
from validation.cases import gradients
from validation.compare_models import NETWORKS, Network, check_float32, check_float64
from validation.compare_training import MODELS, TRAININGS, compare, train_both
from validation.report import Case, table, to_json, totals
from validation.transfer import copy_to_twin, make_twin, twin_gradients
from validation.twins.networks import TWINS

# ------------------------------------------------------------------ report


def test_json_and_table() -> None:
    cases = [Case("a[x=1]", True, "", {"error": 1e-9}), Case("b", False, "why"), Case("c", None)]
    answer = json.loads(to_json(cases))
    assert {k: answer[k] for k in ("passed", "failed", "skipped")} == totals(cases)
    assert totals(cases) == {"passed": 1, "failed": 1, "skipped": 1}
    assert answer["cases"][1] == {"name": "b", "passed": False, "detail": "why", "figures": {}}
    assert table(cases).row_count == 3


# ------------------------------------------------------------------ the command line


def run(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    code = main(arguments)
    return code, *capsys.readouterr()


def test_a_comparison_prints_json_and_ends_with_0(capsys: Any) -> None:
    code, out, _ = run(capsys, "models", "--only", "n2n-simple[[]features=5*", "--json")
    answer = json.loads(out)
    assert code == 0 and answer["passed"] == 2 and answer["failed"] == answer["skipped"] == 0
    assert answer["cases"][0]["name"] == "n2n-simple[features=5,channels=1] float64"
    assert answer["cases"][0]["figures"]["worst error"] < 1e-10


def test_the_table_shows_whole_names(capsys: Any) -> None:
    code, out, _ = run(capsys, "models", "--only", "n2n-simple[[]features=5*float64")
    assert code == 0 and "features=5" in out and "1 passed" in out


def test_a_planted_fault_ends_with_1(capsys: Any, monkeypatch: Any) -> None:
    right = activation.sigmoid_dx
    monkeypatch.setattr(activation, "sigmoid_dx", lambda dy, y: right(dy, y) * (1 + 1e-6))
    code, out, _ = run(capsys, "models", "--only", "n2n-simple[[]features=5*float64", "--json")
    assert code == 1 and json.loads(out)["failed"] == 1
    assert "n2n-simple[features=5,channels=1]: dx: error" in json.loads(out)["cases"][0]["detail"]
    code, _, _ = run(capsys, "training", "--only", "n2n-simple sgd float64", "--json")
    assert code == 1


@pytest.mark.parametrize(
    "arguments",
    [(), ("cheese",), ("models", "--only", "no such*"), ("layers", "--examples", "0")],
)
def test_wrong_usage_ends_with_2(capsys: Any, arguments: tuple[str, ...]) -> None:
    assert run(capsys, *arguments)[0] == 2


@pytest.mark.skipif(resolve_device("auto") == "cuda", reason="there is a usable GPU")
@pytest.mark.parametrize("command", ["layers", "models", "training", "devices", "bench"])
def test_an_absent_device_ends_with_3(capsys: Any, command: str) -> None:
    code, _, err = run(capsys, command, "--device", "cuda", "--only", "n2n-simple*")
    assert code == 3 and "device 'cuda' cannot be used" in err


def test_help_ends_with_0(capsys: Any) -> None:
    code, out, _ = run(capsys, "--help")
    assert code == 0 and "Example" in out


# ------------------------------------------------------------------ networks and training


def test_every_network_of_the_zoo_has_a_twin_and_is_compared() -> None:
    assert set(TWINS) == set(zoo.list_models()) == {n.model for n in NETWORKS} == set(MODELS)
    names = [n.name for n in NETWORKS]
    assert len(names) == len(set(names))


@pytest.mark.parametrize("network", NETWORKS, ids=lambda n: n.name)
def test_network_against_its_twin(network: Network) -> None:
    check_float64(network)
    check_float32(network)


@pytest.mark.parametrize("dtype", [np.float64, np.float32], ids=["float64", "float32"])
@pytest.mark.parametrize(
    ("model", "training"),
    [
        pytest.param(model, training, id=f"{model}-{training.name}")
        for model, setting in MODELS.items()
        for training in TRAININGS
        if training.name in setting.trainings
    ],
)
def test_training_against_the_twin(model: str, training: Any, dtype: Any) -> None:
    case = compare(model, training, dtype)
    assert case.passed, case.detail


def test_every_network_is_trained_with_and_without_an_adaptive_step() -> None:
    for setting in MODELS.values():
        assert {"sgd-momentum", "adam"} <= {*setting.trainings} <= {t.name for t in TRAININGS}


def test_the_plateau_schedule_does_reduce_the_rate() -> None:
    plateau = next(t for t in TRAININGS if t.plateau)
    ours, _ = train_both("n2n-simple", plateau, np.float64)
    assert ours.lr < plateau.arguments["lr"]


def test_transfer_is_strict_and_copies() -> None:
    model = zoo.create("n2n-simple", features=4)
    twin = make_twin(model)
    weight = twin.state_dict()["0.weight"]
    model.parameters()[0].value[...] += 1
    assert not np.array_equal(weight.numpy(), model.parameters()[0].value)
    with pytest.raises(RuntimeError, match="Missing key"):
        copy_to_twin(model, TWINS["n2n-unet"]())
    with pytest.raises(KeyError, match="expected one of n2n-simple"):
        make_twin(type(model)())
    assert gradients(model).keys() == twin_gradients(twin).keys()
    assert not any(g.any() for g in twin_gradients(twin).values())


# ------------------------------------------------------------------ the published experiments


@pytest.fixture
def photographs(tmp_path: Path) -> Path:
    """Three pictures that are smooth with some texture, one of them for validation."""
    from PIL import Image

    folder, rng = tmp_path / "photographs", np.random.default_rng(0)
    folder.mkdir()
    for name in ("a", "b", "c"):
        grid = np.mgrid[:260, :300].sum(0)[..., None] / 40 + rng.random(3) * 6
        picture = 128 + 80 * np.sin(grid) + 20 * rng.standard_normal(grid.shape)
        Image.fromarray(np.clip(picture, 0, 255).astype(np.uint8)).save(folder / f"{name}.jpg")
    (folder / "val.txt").write_text("c\n", encoding="utf-8")
    return folder


@pytest.fixture
def tiny(monkeypatch: Any) -> None:
    """The experiments at a hundredth of their size."""
    monkeypatch.setattr(published, "PAIRS", 64)
    monkeypatch.setattr(published, "TILES", 8)
    monkeypatch.setattr(published, "EVERY", 2)
    runs = {
        name: dataclasses.replace(run, images=8 * 4, batch=4, arguments={"features": 4})
        for name, run in published.RUNS.items()
    }
    monkeypatch.setattr(published, "RUNS", runs)
    monkeypatch.setattr(published_figures, "RUNS", runs)


@pytest.mark.usefixtures("tiny")
def test_published_experiments_and_figures(photographs: Path, tmp_path: Path) -> None:
    out, lines = tmp_path / "out", []
    files = published.run_published(photographs, out, seeds=(0, 1), say=lines.append)
    assert len(files) == 12 and all(file.exists() for file in files)
    result = json.loads((out / "unet-noisy-minigrad-0.json").read_text())
    assert [p["images"] for p in result["curve"]] == [4, 8, 16, 24, 32]
    last = [p["psnr_images"] for p in result["curve"][-published.LAST :]]
    assert result["result"]["psnr_images"] == pytest.approx(np.mean(last))
    twin = json.loads((out / "unet-noisy-torch-0.json").read_text())
    for ours, theirs in zip(result["curve"], twin["curve"], strict=True):
        assert ours["psnr_images"] == pytest.approx(theirs["psnr_images"], abs=1e-3)
        assert ours["loss"] == pytest.approx(theirs["loss"], rel=1e-4)

    lines.clear()
    published.run_published(None, out, ["unet-*"], (0,), say=lines.append)
    assert lines == [f"unet-{kind}-0.json: done already" for kind in published_figures.LABELS]

    drawn = published_figures.draw(out, tmp_path / "figures", tmp_path / "table.md")
    assert [f.suffix for f in drawn] == [".png"] * 4 + [".md"]
    text = drawn[-1].read_text(encoding="utf-8")
    assert "| n2n-prelu-unet | noisy | torch | 2 |" in text
    assert "| minigrad - PyTorch | n2n-simple | +0.000 dB |" in text.replace("-0.000", "+0.000")


@pytest.mark.usefixtures("tiny")
def test_wrong_requests_for_experiments(photographs: Path, tmp_path: Path, capsys: Any) -> None:
    with pytest.raises(ValueError, match="expected one of simple-noisy-minigrad"):
        published.run_published(photographs, tmp_path, ["cheese"])
    assert run(capsys, "published", "--out", str(tmp_path / "none"))[0] == 2
    assert run(capsys, "published", "--out", str(tmp_path / "none"), "--draw")[0] == 2
