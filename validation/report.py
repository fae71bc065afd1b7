"""What a comparison found, as a table on the terminal or as JSON."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from rich.markup import escape
from rich.table import Table


@dataclass
class Case:
    """One line of the certificate.

    Attributes:
        name: what was compared, for example `Conv2d[groups] float64`.
        passed: True or False; None when it was skipped (`detail` says why).
        detail: what went wrong, or why it was skipped; empty when it passed.
        figures: the numbers behind the verdict, JSON values only; `checks` is how many single
            comparisons there were. Dictionaries go into the JSON, not into the table.
    """

    name: str
    passed: bool | None
    detail: str = ""
    figures: dict[str, Any] = field(default_factory=dict)


class UsageError(ValueError):
    """The command line asks for something that does not exist; a message for whoever typed it."""


def failed(case: Case, error: Exception, subject: str = "") -> Case:
    """`case` as failed by `error`: a failure of any kind fails the case, not the run.

    `subject` is named in front, unless the message names it itself.
    """
    text = str(error)
    if not isinstance(error, AssertionError):
        text = f"{type(error).__name__}: {text}"
    case.passed = False
    case.detail = text if subject in text else f"{subject}: {text}"
    return case


def gather(cases: Iterable[Case], say: Callable[[str], None]) -> list[Case]:
    """The cases as a list; `say` hears of each as soon as it is done."""
    found = []
    for case in cases:
        verdict = {True: "passed", False: "FAILED", None: "skipped"}[case.passed]
        say(f"{verdict} {case.name}{': ' if case.detail else ''}{case.detail}")
        found.append(case)
    return found


def silent(text: str) -> None:
    """For `gather`, where nobody listens."""


def table(cases: Sequence[Case]) -> Table:
    """The cases as a table for `rich`: name, verdict, figures, detail; the totals below."""
    counts = totals(cases)
    caption = ", ".join(f"{count} {name}" for name, count in counts.items())
    result = Table(caption=caption)
    for heading in ("case", "verdict", "figures", "detail"):
        result.add_column(heading, overflow="fold")
    for case in cases:
        scalars = {k: v for k, v in case.figures.items() if not isinstance(v, dict)}
        figures = ", ".join(f"{key} {_short(value)}" for key, value in scalars.items())
        result.add_row(
            escape(case.name), _VERDICTS[case.passed], escape(figures), escape(case.detail)
        )
    return result


def totals(cases: Sequence[Case]) -> dict[str, int]:
    """How many cases passed, failed and were skipped; and of how many checks they consist, where
    they count them.
    """
    verdicts = [case.passed for case in cases]
    counts = {
        "passed": sum(v is True for v in verdicts),
        "failed": sum(v is False for v in verdicts),
        "skipped": sum(v is None for v in verdicts),
    }
    checks = sum(case.figures.get("checks", 0) for case in cases)
    return counts | ({"checks": checks} if checks else {})


def to_json(cases: Sequence[Case]) -> str:
    """One object: `{"passed": n, "failed": n, "skipped": n, "cases": [...]}`; with the number of
    `checks` where cases count them.
    """
    return json.dumps(
        {
            **totals(cases),
            "cases": [
                {
                    "name": case.name,
                    "passed": case.passed,
                    "detail": case.detail,
                    "figures": case.figures,
                }
                for case in cases
            ],
        }
    )


_VERDICTS = {True: "[green]passed[/]", False: "[red]FAILED[/]", None: "[yellow]skipped[/]"}


def _short(value: Any) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value)
