"""The checks see errors: each planted fault is caught by the check that its entry names."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import minigrad as mg
from minigrad.backend import definitions_only
from tests.table import subjects_named
from validation.against_torch import check_float32, check_float64
from validation.cases import Sample
from validation.contract import CONTRACT, like_the_wrapped
from validation.mutate import FAULTS, Fault, planted
from validation.numeric import adjoint, differences, keeps

IN_PROOF = True
CHECKS: dict[str, Callable[[Any], Any]] = {
    **CONTRACT,
    "check_float32": check_float32,
    "check_float64": check_float64,
    "adjoint": adjoint,
    "differences": differences,
    "keeps": keeps,
    "like_the_wrapped": like_the_wrapped,
}


def failure(fault: Fault) -> str:
    """What the fault's check says on the fault's subjects; empty when it sees nothing."""
    check = CHECKS[fault.caught_by]
    for subject in subjects_named(fault.subject):
        if isinstance(subject, Sample) and fault.caught_by in ("adjoint", "differences"):
            subject = subject.with_values("away")
        if isinstance(subject, Sample) and fault.caught_by == "check_float32":
            subject = subject.with_values("normal")  # others are for float64 alone
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                check(subject)
        except AssertionError as error:
            return str(error) or "failed"
    return ""


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.name)
def test_the_fault_is_caught(fault: Fault) -> None:
    with definitions_only():
        assert not failure(fault), "the check must pass without the fault"
    with planted(fault):
        assert failure(fault), f"{fault.caught_by} on {fault.subject} does not see: {fault.name}"


def test_the_engine_is_whole_again_after_a_fault() -> None:
    x = np.random.default_rng(0).standard_normal((2, 3))
    before = mg.Sigmoid().forward_and_vjp(x)[1](x)
    for fault in FAULTS:
        with planted(fault):
            pass
    assert np.array_equal(mg.Sigmoid().forward_and_vjp(x)[1](x), before)


def test_a_cotangent_of_ones_does_not_see_a_blind_vjp() -> None:
    """Why cotangents are drawn: under ones the fault is invisible."""
    x = np.random.default_rng(0).standard_normal((4, 5))
    ones = np.ones_like(x)
    sound = mg.Sigmoid().forward_and_vjp(x)[1](ones)
    fault = next(f for f in FAULTS if f.name.startswith("vjp blind"))
    with planted(fault):
        assert np.allclose(mg.Sigmoid().forward_and_vjp(x)[1](ones), sound, rtol=1e-14)


def test_a_fault_whose_text_is_gone_says_so() -> None:
    stale = Fault("stale", "minigrad.layers.activation:relu", (("no such text", ""),), "ReLU", "")
    with pytest.raises(LookupError, match="stands 0 times"):
        with planted(stale):
            pass


def test_faults_have_names_of_their_own() -> None:
    assert len({fault.name for fault in FAULTS}) == len(FAULTS) >= 20
