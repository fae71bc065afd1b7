"""The benchmark: what it measures, its verdicts, its page."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from validation import bench
from validation.bench import subjects, worker
from validation.bench.subjects import Convolution, Network

TINY = Network("n2n-simple", 1, 3, 8, "training")


@pytest.mark.parametrize(
    "subject",
    [
        TINY,
        dataclasses.replace(TINY, work="inference"),
        Convolution("conv", 2, 3, 3, 2, 7, 2, 1, 1),
        Convolution("masked", 2, 3, 5, 1, 6),
        Convolution("transposed", 2, 3, 4, 1, 5, 2, 1, 1),
    ],
    ids=lambda subject: subject.name,
)
def test_a_tiny_benchmark_measures_all_sides(subject) -> None:
    found = worker.measure(subject, 2, "cpu")
    for side in subjects.SIDES:
        assert 0 < found[side]["p10"] <= found[side]["median"] <= found[side]["p90"]
    expected = found["minigrad"]["median"] / found["torch"]["median"]
    assert found["ratio to torch"]["median"] == pytest.approx(expected)
    json.dumps(found)


def test_subjects_have_names_of_their_own_and_can_be_made() -> None:
    names = [subject.name for subject in subjects.SUBJECTS]
    assert len(set(names)) == len(names)
    for subject in subjects.SUBJECTS:
        small = subject.small()
        assert small.batch == getattr(subject, "least_batch", 1)
        if isinstance(small, Network):
            # Patches have sides of their own, which small pictures keep.
            small = small if small.model == "psl-ae" else dataclasses.replace(small, side=32)
        for side in subjects.SIDES[:2]:
            small.make_step(side, "cpu")()


def test_both_sides_of_the_benchmark_take_the_same_step(monkeypatch: Any) -> None:
    """After one timed step of each side the weights agree."""
    made: dict[str, Any] = {}
    create, twin = subjects.create, subjects.make_twin

    def keep(name: str, value: Any) -> Any:
        made[name] = value
        return value

    monkeypatch.setattr(subjects, "create", lambda *a, **k: keep("ours", create(*a, **k)))
    monkeypatch.setattr(subjects, "make_twin", lambda m: keep("twin", twin(m)))
    monkeypatch.setattr(subjects, "LEARNING_RATE", 1.0)
    subject = Network("n2n-simple", 2, 3, 8, "training")
    states = []
    for side in subjects.SIDES:
        subject.make_step(side, "cpu")()
        model = made["ours"] if side == "minigrad" else made["twin"]
        states.append({k: np.asarray(a) for k, a in model.state_dict().items()})
    before = create("n2n-simple", rng=np.random.default_rng(0)).state_dict()
    for key, array in states[0].items():
        assert not np.array_equal(array, before[key])
        for other in states[1:]:
            np.testing.assert_allclose(other[key], array, rtol=1e-4, atol=1e-6)


def side(median: float) -> dict[str, float]:
    return {"median": median, "p10": median * 0.9, "p90": median * 1.1}


def fake_case(name: str, ratio: float, memory: float = 12.0) -> dict[str, Any]:
    work = name.rsplit(" ", 1)[1]
    return {
        "case": name,
        "work": work,
        "model": name.split(" ", 1)[0],
        "minigrad": {**side(ratio), "peak MiB": memory if work == "training" else None},
        "torch": {**side(1.0), "peak MiB": 24.0 if work == "training" else None},
        "torch channels_last": side(2.0),
        "ratio to torch": side(ratio),
        "ratio to torch channels_last": side(ratio / 2),
    }


def test_verdicts_of_the_benchmark() -> None:
    threads, core = bench.settings("cpu", quick=True)[0]
    setting = {"threads": threads, "core": core}
    training, inference = "dncnn-s 16x1x50x50 training", "dncnn-s 1x1x512x512 inference"

    def verdict(*case: Any) -> bool | None:
        return bench.make_case(setting, fake_case(*case)).passed

    assert verdict(training, 0.99) is True
    assert verdict(training, 1.01) is False
    assert verdict(training, 0.99, 24.1) is False
    assert verdict(inference, 0.89) is True
    assert verdict(inference, 0.91) is False
    assert verdict("n2n-unet 4x3x128x128 inference", 3.0) is None
    layers = [s.name for s in subjects.SUBJECTS if s.work == "layer"]
    for ratio, passed in ((0.89, True), (0.91, False)):
        cases = [fake_case(name, ratio) for name in layers]
        *each, mean = bench.verdicts({**setting, "cases": cases})
        assert all(case.passed for case in each)
        assert mean.passed is passed
    assert bench.make_case(setting, fake_case(layers[0], 1.26)).passed is False


def test_the_benchmark_file_and_its_page(tmp_path: Path, monkeypatch: Any) -> None:
    answer = {"cases": [fake_case("n2n-simple 16x3x32x32 training", 0.5)], "blas": []}
    monkeypatch.setattr(bench, "_worker", lambda *_: {**answer, "mebibytes": 1.0})
    cases = bench.run_bench(None, "cpu", False, tmp_path / "benchmarks", say=lambda _: None)
    assert len(cases) == len(bench.settings("cpu", quick=False))
    (file,) = (tmp_path / "benchmarks").glob("*.json")
    result = json.loads(file.read_text())
    assert file.name == f"{result['date']}-cpu-{result['commit']}.json"
    assert result["versions"]["torch"] == torch.__version__
    page = (tmp_path / "benchmarks.md").read_text()
    assert "| n2n-simple 16x3x32x32 training | 0.50 | 1.00 | 0.50 (0.45 to 0.55) |" in page
    assert file.name in page


def test_a_worker_that_fails_is_reported() -> None:
    with pytest.raises(RuntimeError, match="unrecognized arguments: --cheese"):
        bench._worker(1, "default", ["--cheese"])
