"""The certificate of the layers: every leaf and loss against PyTorch and against the contract."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from fnmatch import fnmatch
from typing import Any

import torch

from validation.against_torch import check_float64, float32_errors, state_keys
from validation.cases import Row, Sample
from validation.contract import CONTRACT
from validation.draw import RandomDraw
from validation.numeric import adjoint, differences, empty_batch, keeps
from validation.report import Case
from validation.rows import ROWS
from validation.tolerances import float32_allowed

UNIT = 2.0**-23
"""Float32 errors are printed in this unit."""


def run_layers(only: str | None = None, examples: int = 50, seed: int = 0) -> list[Case]:
    """Compare each layer on its hand-picked samples and on `examples` random ones.

    `only` is a pattern for class names, such as `Conv*`. The same seed draws the same examples.
    """
    cases: list[Case] = []
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # the arrays are small: threads would only wait for each other
    try:
        for row in ROWS.values():
            if only is None or fnmatch(row.name, only):
                cases += _row_cases(row, examples, seed)
    finally:
        torch.set_num_threads(threads)
    return cases


def float32_verdict(worst: dict[str, tuple[float, float]]) -> str:
    """What is wrong with the worst float32 errors (ours, PyTorch's) of a layer, or nothing."""
    wrong = [
        f"{name}: error {mine / UNIT:.2f}, PyTorch {other / UNIT:.2f} (unit 2^-23)"
        for name, (mine, other) in worst.items()
        if not mine <= float32_allowed(other)
    ]
    return "; ".join(wrong)


def worst_of(
    worst: dict[str, tuple[float, float]], found: dict[str, tuple[float, float]]
) -> dict[str, tuple[float, float]]:
    """The larger of the errors in both tables, ours and PyTorch's apart."""
    largest = dict(worst)
    for name, (mine, other) in found.items():
        before = worst.get(name, (0.0, 0.0))
        largest[name] = (max(mine, before[0]), max(other, before[1]))
    return largest


def _row_cases(row: Row, examples: int, seed: int) -> list[Case]:
    draw = RandomDraw(seed)
    samples = row.samples() + [row.sample(draw) for _ in range(examples)]
    finite = [s for s in samples if s.values != "special"]
    away = [s.with_values("away") for s in finite if s.values == "normal"]
    few = [s for s in row.samples() if s.values == "normal"]
    cases = [_float64(row, samples), _float32(row, finite)]
    if row.linear:
        cases.append(_each(f"{row.name} adjoint", adjoint, away))
    if row.numeric:
        cases.append(_each(f"{row.name} differences", differences, away[: 20 + len(few)]))
    cases.append(_each(f"{row.name} keeps", keeps, finite))
    cases.append(_each(f"{row.name} state", state_keys, few))
    cases.append(_each(f"{row.name} empty batch", empty_batch, few))
    return cases + [
        _each(f"{row.name} {name}", rule, few + finite[-10:]) for name, rule in CONTRACT.items()
    ]


def _float64(row: Row, samples: list[Sample]) -> Case:
    case = Case(f"{row.name} float64", True, figures={"samples": len(samples)})
    worst = 0.0
    for sample in samples:
        try:
            worst = max(worst, *check_float64(sample).values())
        except Exception as error:
            return _failed(case, sample, error)
    case.figures["worst error"] = worst
    return case


def _float32(row: Row, samples: list[Sample]) -> Case:
    case = Case(f"{row.name} float32", True, figures={"samples": len(samples)})
    worst: dict[str, tuple[float, float]] = {}
    for sample in samples:
        try:
            worst = worst_of(worst, float32_errors(sample))
        except Exception as error:
            return _failed(case, sample, error)
    case.detail = float32_verdict(worst)
    case.passed = not case.detail
    case.figures["ours / 2^-23"] = max(mine for mine, _ in worst.values()) / UNIT
    case.figures["torch / 2^-23"] = max(other for _, other in worst.values()) / UNIT
    return case


def _each(name: str, check: Callable[[Sample], Any], samples: list[Sample]) -> Case:
    case = Case(name, True, figures={"samples": len(samples)})
    for sample in samples:
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                check(sample)
        except Exception as error:
            return _failed(case, sample, error)
    return case


def _failed(case: Case, sample: Sample, error: Exception) -> Case:
    """A failure of any kind fails the case, not the run."""
    case.passed = False
    text = str(error)
    kind = "" if isinstance(error, AssertionError) else f"{type(error).__name__}: "
    case.detail = kind + (text if sample.name in text else f"{sample.name}: {text}")
    return case
