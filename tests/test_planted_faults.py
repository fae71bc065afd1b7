"""The checks see errors: each planted fault is caught by the check that its entry names."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import minigrad as mg
from minigrad import module
from minigrad.layers import activation
from validation import mutate
from validation.__main__ import main
from validation.faults import FAULTS, KINDS, Fault, by_kind, planted
from validation.rows import ROWS

IN_PROOF = True


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.title)
def test_the_fault_is_caught(fault: Fault) -> None:
    without, under = mutate.verdicts(fault)
    assert not without, "the check must pass without the fault"
    assert under, f"{fault.caught_by} on {fault.subject} does not see: {fault.name}"


def test_there_are_faults_of_every_kind_on_most_layers() -> None:
    kinds = Counter(fault.kind for fault in FAULTS)
    assert {*kinds} == {*KINDS}
    assert {fault.caught_by for fault in FAULTS} == {*mutate.CHECKS}, "each check has its use"
    layers = {fault.subject for fault in FAULTS} & {*ROWS}
    assert len(FAULTS) >= 200 and len(layers) >= 90
    assert len({fault.title for fault in FAULTS}) == len(FAULTS)


def test_the_page_has_the_table_of_today() -> None:
    """`python -c "from validation.faults import by_kind; print(by_kind())"` makes it."""
    page = Path(__file__).resolve().parents[1] / "docs" / "validation.md"
    assert by_kind() in page.read_text(encoding="utf-8")


def test_the_engine_is_whole_again_after_a_fault() -> None:
    before = {**vars(activation), **vars(activation.ReLU), **vars(module.Module)}
    x = np.random.default_rng(0).standard_normal((2, 3))
    dx = mg.Sigmoid().forward_and_vjp(x)[1](x)
    for fault in FAULTS:
        with planted(fault):
            pass
    after = {**vars(activation), **vars(activation.ReLU), **vars(module.Module)}
    assert before == after
    assert np.array_equal(mg.Sigmoid().forward_and_vjp(x)[1](x), dx)


def test_a_cotangent_of_ones_does_not_see_a_blind_vjp() -> None:
    """Why cotangents are drawn: under ones the fault is invisible."""
    x = np.random.default_rng(0).standard_normal((4, 5))
    ones = np.ones_like(x)
    sound = mg.Sigmoid().forward_and_vjp(x)[1](ones)
    fault = next(f for f in FAULTS if f.kind == "blind" and f.subject == "Sigmoid")
    with planted(fault):
        assert np.allclose(mg.Sigmoid().forward_and_vjp(x)[1](ones), sound, rtol=1e-14)


# ------------------------------------------------------------------ the command


def answer(capsys: Any, *arguments: str) -> tuple[int, dict[str, Any]]:
    code = main(["mutate", *arguments, "--json"])
    return code, json.loads(capsys.readouterr().out)


def test_the_command_tells_all_checks_that_see_a_fault(capsys: Any) -> None:
    code, found = answer(capsys, "--only", "Scale: *")
    assert code == 0 and found["passed"] == len(found["cases"]) == 2
    figures = {case["name"]: case["figures"] for case in found["cases"]}
    leak = figures["Scale: float64 leaks in through a scalar"]
    assert leak["kind"] == "dtype" and leak["named"] == "dtype_kept"
    assert "dtype_kept" in leak["caught by"].split() and "float64" in leak["messages"]["dtype_kept"]
    assert {"adjoint", "differences"} <= {*figures["Scale: factor left out of the vjp"]["messages"]}
    assert main(["mutate", "--only", "no such*"]) == 2


def one(caught_by: str, old: str, new: str) -> Fault:
    return Fault(
        "sign", "ReLU", "for the test", "minigrad.layers.activation:relu", ((old, new),), caught_by
    )


@pytest.mark.parametrize(
    ("fault", "words"),
    [
        (one("keeps", "maximum(x, 0)", "maximum(x, 1)"), "keeps does not see it"),
        (one("check_float64", "no such text", ""), "stands 0 times"),
    ],
    ids=["another check", "stale"],
)
def test_a_fault_that_nobody_sees_ends_with_1(
    capsys: Any, monkeypatch: Any, fault: Fault, words: str
) -> None:
    monkeypatch.setattr(mutate, "FAULTS", (fault,))
    code, found = answer(capsys)
    assert code == 1 and words in found["cases"][0]["detail"]


def test_a_layer_that_is_wrong_anyway_does_not_count(capsys: Any, monkeypatch: Any) -> None:
    right = activation.relu_dx.definition
    monkeypatch.setattr(activation.relu_dx, "definition", lambda dy, y: 2 * right(dy, y))
    monkeypatch.setattr(mutate, "FAULTS", (one("check_float64", "maximum(x, 0)", "maximum(x, 1)"),))
    code, found = answer(capsys)
    assert code == 1 and found["cases"][0]["detail"].startswith("without the fault: ReLU")


# ------------------------------------------------------------------ planting


def test_a_fault_whose_text_is_gone_says_so() -> None:
    with pytest.raises(LookupError, match="stands 0 times"):
        with planted(one("", "no such text", "")):
            pass


def test_an_inherited_method_is_no_target() -> None:
    target = "minigrad.layers.activation:ReLU.accumulate"
    with pytest.raises(LookupError, match="does not define accumulate"):
        with planted(Fault("sign", "ReLU", "inherited", target, (), "")):
            pass
