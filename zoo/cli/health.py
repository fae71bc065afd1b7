"""`zoo doctor`."""

from __future__ import annotations

import argparse
from dataclasses import asdict
from typing import Any

from zoo.cli.console import FAILED, OK, add_verb, emit, say


def add(verbs: Any) -> None:
    """Add the verb of this file to the sub-parsers."""
    add_verb(
        verbs,
        "doctor",
        run_doctor,
        "check this machine and this installation; exit code 1 when something is broken",
        "zoo doctor\nzoo doctor --json",
    )


def run_doctor(args: argparse.Namespace) -> int:
    """Print every check with its remedy."""
    from zoo.doctor import diagnose

    checks = diagnose()
    broken = any(check.status == "bad" for check in checks)
    if args.json:
        emit({"ok": not broken, "checks": [asdict(check) for check in checks]})
        return FAILED if broken else OK
    width = max(len(check.name) for check in checks)
    for check in checks:
        say(args, f"{check.status:4}  {check.name:{width}}  {check.finding}")
        if check.remedy:
            say(args, f"{'':4}  {'':{width}}  -> {check.remedy}")
    return FAILED if broken else OK
