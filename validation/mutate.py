"""The checks under planted faults: `python -m validation mutate`.

Each fault of `validation.faults` is put into the engine, and the whole set of checks runs on its
subject: for a layer the hand-picked samples and some random ones, for a composite the composite. A
fault counts as caught when the check that it names fails, provided that no check fails without it.
"""

from __future__ import annotations

import functools
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from fnmatch import fnmatch
from typing import Any

import numpy as np
import torch

from minigrad.backend import definitions_only
from validation.against_torch import (
    check_float64,
    float32_errors,
    float32_verdict,
    reference,
    state_keys,
)
from validation.cases import Row, Sample, Subject
from validation.compare_layers import worst_of
from validation.composites import COMPOSITES
from validation.contract import CONTRACT, like_the_wrapped
from validation.draw import RandomDraw
from validation.faults import FAULTS, Fault, planted
from validation.numeric import adjoint, differences, empty_batch, keeps
from validation.report import Case, failed, gather, silent
from validation.rows import ROWS

__all__ = ["CHECKS", "FAULTS", "Fault", "planted", "run_mutate", "verdicts"]

EXAMPLES = 12
"""Random samples of each layer, beside the hand-picked ones."""

CHECKS = (
    "check_float64",
    "check_float32",
    "differences",
    "adjoint",
    "keeps",
    "state_keys",
    "empty_batch",
    *CONTRACT,
    "like_the_wrapped",
)
"""The names of all checks. Not every subject has each of them: `adjoint` needs a linear layer."""

Check = Callable[[], None]


def run_mutate(only: str | None = None, say: Callable[[str], None] = silent) -> list[Case]:
    """Plant the faults one by one; `only` is a pattern for their titles, such as `Conv2d: *`.

    A case passes when the check that its fault names fails under the fault, and no check without
    it. Its figures tell the other checks that failed.
    """
    chosen = [f for f in FAULTS if only is None or fnmatch(f.title, only)]
    subjects = list(dict.fromkeys(fault.subject for fault in chosen))
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # the arrays are small: threads would only wait for each other
    try:
        groups = ([f for f in chosen if f.subject == subject] for subject in subjects)
        return gather((case for group in groups for case in _cases(group)), say)
    finally:
        torch.set_num_threads(threads)


def _cases(faults: Sequence[Fault]) -> Iterator[Case]:
    """The cases of the faults of one subject."""
    checks = checks_of(faults[0].subject)
    with definitions_only():
        sound = failures(checks)
    for fault in faults:
        figures: dict[str, Any] = {"kind": fault.kind, "named": fault.caught_by}
        case = Case(fault.title, True, figures=figures)
        try:
            with planted(fault):
                found = failures(checks)
        except LookupError as error:
            yield failed(case, error)
            continue
        case.figures |= {"caught by": " ".join(found), "checks": len(checks), "messages": found}
        if sound:
            case.passed, case.detail = False, f"without the fault: {next(iter(sound.values()))}"
        elif fault.caught_by not in found:
            case.passed, case.detail = False, f"{fault.caught_by} does not see it"
        yield case


def verdicts(fault: Fault) -> tuple[str, str]:
    """What the check that the fault names says without the fault, and with it; empty = nothing."""
    check = {fault.caught_by: checks_of(fault.subject)[fault.caught_by]}
    with definitions_only():
        sound = failures(check)
    with planted(fault):
        found = failures(check)
    return sound.get(fault.caught_by, ""), found.get(fault.caught_by, "")


def failures(checks: dict[str, Check]) -> dict[str, str]:
    """The checks that fail, and what they say. An error of any kind is a failure."""
    found = {}
    for name, check in checks.items():
        try:
            with warnings.catch_warnings(), np.errstate(all="ignore"):
                warnings.simplefilter("ignore")
                check()
        except Exception as error:
            found[name] = failed(Case(name, True), error).detail or "failed"
    return found


@functools.cache
def checks_of(subject: str) -> dict[str, Check]:
    """The checks that a row or a composite has; what PyTorch says is worked out once, here."""
    if subject in ROWS:
        return _checks_of_row(ROWS[subject])
    built = COMPOSITES[subject]
    checks: dict[str, Check] = {"differences": _each(differences, [built])}
    checks |= {name: _each(rule, [built]) for name, rule in CONTRACT.items()}
    if subject.startswith("Checkpoint"):
        checks["like_the_wrapped"] = _each(like_the_wrapped, [built])
    return checks


def _checks_of_row(row: Row) -> dict[str, Check]:
    draw = RandomDraw(0)
    samples = row.samples() + [row.sample(draw) for _ in range(EXAMPLES)]
    finite = [s for s in samples if s.values not in ("special", "extreme")]
    normal = [s for s in samples if s.values == "normal"]
    away = [s.with_values("away") for s in normal]
    few = [s for s in row.samples() if s.values == "normal"]
    known = {str(sample): reference(sample) for sample in samples}

    def exactly() -> None:
        for sample in samples:
            check_float64(sample, known[str(sample)])

    def closely() -> None:
        worst: dict[str, tuple[float, float]] = {}
        for sample in normal:
            worst = worst_of(worst, float32_errors(sample, known[str(sample)]))
        verdict = float32_verdict(worst)
        assert not verdict, f"{row.name}: {verdict}"

    checks = {"check_float64": exactly, "check_float32": closely}
    if row.numeric:
        checks["differences"] = _each(differences, away)
    if row.linear:
        checks["adjoint"] = _each(adjoint, away)
    checks["keeps"] = _each(keeps, finite)
    checks["state_keys"] = _each(state_keys, few)
    checks["empty_batch"] = _each(empty_batch, few)
    rules = few + [s for s in finite if s not in few][:EXAMPLES]
    return checks | {name: _each(rule, rules) for name, rule in CONTRACT.items()}


def _each(check: Callable[[Any], Any], subjects: Iterable[Subject | Sample]) -> Check:
    """`check` on every subject, up to the first that fails."""
    every = list(subjects)

    def run() -> None:
        for subject in every:
            check(subject)

    return run
