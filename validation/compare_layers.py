"""The certificate of the layers: every leaf and loss against PyTorch and against the contract."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from fnmatch import fnmatch
from typing import Any

import numpy as np
import torch

from validation.against_torch import (
    UNIT,
    check_float64,
    float32_errors,
    float32_verdict,
    state_keys,
)
from validation.cases import Row, Sample
from validation.contract import CONTRACT
from validation.draw import RandomDraw
from validation.numeric import adjoint, differences, empty_batch, keeps
from validation.report import Case, failed, gather, silent
from validation.rows import ROWS


def run_layers(
    only: str | None = None,
    examples: int = 50,
    seed: int = 0,
    say: Callable[[str], None] = silent,
) -> list[Case]:
    """Compare each layer on its hand-picked samples and on `examples` random ones.

    `only` is a pattern for class names, such as `Conv*`. The same seed draws the same examples.
    """
    rows = [row for row in ROWS.values() if only is None or fnmatch(row.name, only)]
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # the arrays are small: threads would only wait for each other
    try:
        return gather((c for row in rows for c in _row_cases(row, examples, seed)), say)
    finally:
        torch.set_num_threads(threads)


def worst_of(
    worst: dict[str, tuple[float, float]], found: dict[str, tuple[float, float]]
) -> dict[str, tuple[float, float]]:
    """The larger of the errors in both tables, ours and PyTorch's apart; NaN is the largest."""
    largest = dict(worst)
    for name, errors in found.items():
        mine, other = np.maximum(errors, worst.get(name, (0.0, 0.0))).tolist()
        largest[name] = (mine, other)
    return largest


def _row_cases(row: Row, examples: int, seed: int) -> Iterator[Case]:
    draw = RandomDraw(seed)
    samples = row.samples() + [row.sample(draw) for _ in range(examples)]
    finite = [s for s in samples if s.values != "special"]
    away = [s.with_values("away") for s in finite if s.values == "normal"]
    few = [s for s in row.samples() if s.values == "normal"]
    yield _float64(row, samples)
    yield _float32(row, finite)
    if row.linear:
        yield _each(f"{row.name} adjoint", adjoint, away)
    if row.numeric:
        yield _each(f"{row.name} differences", differences, away[: 20 + len(few)])
    yield _each(f"{row.name} keeps", keeps, finite)
    yield _each(f"{row.name} state", state_keys, few)
    yield _each(f"{row.name} empty batch", empty_batch, few)
    for name, rule in CONTRACT.items():
        yield _each(f"{row.name} {name}", rule, few + finite[-10:])


def _float64(row: Row, samples: list[Sample]) -> Case:
    case = Case(f"{row.name} float64", True, figures={"samples": len(samples)})
    worst = 0.0
    for sample in samples:
        try:
            worst = max(worst, *check_float64(sample).values())
        except Exception as error:
            return failed(case, error, sample.name)
    case.figures["worst error"] = worst
    return case


def _float32(row: Row, samples: list[Sample]) -> Case:
    case = Case(f"{row.name} float32", True, figures={"samples": len(samples)})
    worst: dict[str, tuple[float, float]] = {}
    for sample in samples:
        try:
            worst = worst_of(worst, float32_errors(sample))
        except Exception as error:
            return failed(case, error, sample.name)
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
            return failed(case, error, sample.name)
    return case
