"""The tests that the mutation score is taken with: all checks of a layer, and its wrong inputs.

One test a layer and kind, so that a mutant costs the checks of the layers that run it, and nothing
more: what PyTorch says is worked out before the processes fork. pytest does not find this file by
itself: other tests check the same, on more examples.
"""

from __future__ import annotations

import collections
import warnings

import numpy as np
import pytest

from minigrad.backend import definitions_only
from minigrad.wiring import as_tuple
from tests import test_errors
from tests.errors import ERRORS
from tests.errors.common import Wrong
from validation.mutate import checks_of
from validation.rows import ROWS

CASES: dict[str, list[Wrong]] = collections.defaultdict(list)
for _case in ERRORS:
    CASES[_case.layer].append(_case)


@pytest.mark.parametrize("name", ROWS)
def test_checks(name: str) -> None:
    checks = checks_of(name)
    with definitions_only(), warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")
        for check in checks.values():
            check()


@pytest.mark.parametrize("name", ROWS)
def test_wrong_inputs(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for case in CASES[name]:
        test_errors.test_the_message_says_what_is_wrong(case)
    for case in CASES[name]:
        test_errors.test_forward_and_vjp_refuses_as_forward_does(case, monkeypatch)


@pytest.mark.parametrize("name", ROWS)
def test_wrong_cotangents(name: str, rng: np.random.Generator) -> None:
    test_errors.test_a_cotangent_of_another_form_is_refused(name, rng)


@pytest.mark.parametrize("name", ROWS)
def test_outputs_are_arrays(name: str) -> None:
    """A NumPy scalar is none: nothing can be assigned to it."""
    for sample in ROWS[name].samples():
        if sample.values == "normal":
            xs = sample.inputs(np.float32)
            ys = as_tuple(sample.module(np.float32).forward_and_vjp(*xs)[0])
            assert all(isinstance(y, np.ndarray) for y in ys)
