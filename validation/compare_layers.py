"""The certificate of the layers: every leaf and loss against PyTorch and against the contract."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from fnmatch import fnmatch
from typing import Any

import numpy as np
import torch

from validation.against_torch import (
    UNIT,
    Reference,
    check_float64,
    float32_errors,
    float32_kinds,
    float32_verdict,
    reference,
    state_keys,
)
from validation.cases import Row, Sample
from validation.contract import CONTRACT
from validation.draw import RandomDraw
from validation.layouts import BROADCAST, EVERY
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
    finite = [s for s in samples if s.values not in ("special", "extreme")]
    away = [s.with_values("away") for s in finite if s.values == "normal"]
    few = [s for s in row.samples() if s.values == "normal"]
    yield from grid(row, samples, seed)
    if row.linear:
        yield checked(f"{row.name} adjoint", adjoint, away)
    if row.numeric:
        yield checked(f"{row.name} differences", differences, away[: 20 + len(few)])
    yield checked(f"{row.name} keeps", keeps, finite)
    yield checked(f"{row.name} state", state_keys, few)
    yield checked(f"{row.name} empty batch", empty_batch, few)
    for name, rule in CONTRACT.items():
        yield checked(f"{row.name} {name}", rule, few + finite[-10:])


@dataclass
class _Tally:
    """The checks of one layer in one precision."""

    worst: dict[str, dict[str, tuple[float, float]]] = field(default_factory=dict)
    """Layout -> result -> the largest errors, ours and (float32) PyTorch's."""
    checks: dict[str, int] = field(default_factory=dict)
    failures: list[str] = field(default_factory=list)

    def add(self, layout: str, check: Callable[[], dict[str, tuple[float, float]]]) -> None:
        """Do one check: value and all cotangents of one sample in one layout."""
        self.checks[layout] = self.checks.get(layout, 0) + 1
        try:
            self.worst[layout] = worst_of(self.worst.get(layout, {}), check())
        except Exception as error:
            case = failed(Case("", True), error)
            self.failures.append(case.detail)

    def total(self) -> dict[str, tuple[float, float]]:
        """The largest errors over all layouts."""
        total: dict[str, tuple[float, float]] = {}
        for found in self.worst.values():
            total = worst_of(total, found)
        return total

    def case(self, name: str, seed: int) -> Case:
        """The line of the certificate, with its failures so far."""
        count = sum(self.checks.values())
        figures: dict[str, Any] = {"checks": count, "failed": len(self.failures), "seed": seed}
        figures["layouts"] = {
            layout: {"checks": self.checks[layout], "worst": self.worst.get(layout, {})}
            for layout in self.checks
        }
        return Case(name, not self.failures, "; ".join(self.failures[:1]), figures)


def grid(row: Row, samples: list[Sample], seed: int) -> Iterator[Case]:
    """Every sample in every memory layout, in both precisions, against PyTorch."""
    double, single = _Tally(), _Tally()
    for sample in samples:
        try:
            known = {True: reference(sample), False: reference(sample.laid(BROADCAST))}
        except Exception as error:
            failure = failed(Case("", True), error, f"{sample.name}: the twin").detail
            double.failures.append(failure)
            single.failures.append(failure)
            continue
        for layout in EVERY:
            laid, expected = sample.laid(layout), known[layout != BROADCAST]

            def exactly(laid: Sample = laid, expected: Reference = expected) -> Any:
                return {k: (error, 0.0) for k, error in check_float64(laid, expected).items()}

            def closely(laid: Sample = laid, expected: Reference = expected) -> Any:
                return float32_errors(laid, expected)

            def oddly(laid: Sample = laid, expected: Reference = expected) -> Any:
                return float32_kinds(laid, expected)

            double.add(layout, exactly)
            single.add(layout, oddly if sample.values == "special" else closely)
    case, worst = double.case(f"{row.name} float64", seed), double.total()
    case.figures["worst error"] = max((mine for mine, _ in worst.values()), default=0.0)
    yield case
    case, worst = single.case(f"{row.name} float32", seed), single.total()
    verdict = float32_verdict(worst)
    case.passed, case.detail = case.passed and not verdict, case.detail or verdict
    case.figures["ours / 2^-23"] = max((mine for mine, _ in worst.values()), default=0.0) / UNIT
    case.figures["torch / 2^-23"] = max((other for _, other in worst.values()), default=0.0) / UNIT
    yield case


def checked(name: str, check: Callable[[Sample], Any], samples: list[Sample]) -> Case:
    """One case: `check` on every sample, up to the first that fails."""
    case = Case(name, True, figures={"samples": len(samples)})
    for sample in samples:
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                check(sample)
        except Exception as error:
            return failed(case, error, sample.name)
    return case
