"""Planted faults: known errors put into the engine, to prove that the checks see them.

A fault is an edit of the engine's source text: inside `planted(fault)` the named function runs with
the edit, outside it runs as written. A fault whose text is no longer found raises, so the list
cannot rot in silence. `FAULTS` names for each which check must catch it, and on which subject; one
file a group, as in `validation/rows`.
"""

from __future__ import annotations

from collections import Counter

from validation.faults import (
    blind_spot,
    convs,
    covariance,
    divergence,
    elementwise,
    geometry,
    likelihood,
    losses,
    norm,
    smooth,
    stochastic,
    windows,
    wiring,
)
from validation.faults.fault import KINDS, Fault, planted

_GROUPS = (
    wiring,
    windows,
    elementwise,
    losses,
    smooth,
    norm,
    geometry,
    convs,
    stochastic,
    covariance,
    divergence,
    likelihood,
    blind_spot,
)

FAULTS: tuple[Fault, ...] = tuple(fault for group in _GROUPS for fault in group.FAULTS)
"""Every planted fault."""


def by_kind() -> str:
    """A Markdown table of the faults: each kind, how many there are, and which checks they name."""
    lines = ["| kind | what was done | faults | named checks |", "| --- | --- | ---: | --- |"]
    for kind, words in KINDS.items():
        named = Counter(fault.caught_by for fault in FAULTS if fault.kind == kind)
        checks = ", ".join(f"{name} {count}" for name, count in named.most_common())
        lines.append(f"| {kind} | {words} | {named.total()} | {checks} |")
    subjects = len({fault.subject for fault in FAULTS})
    lines.append(f"| | | {len(FAULTS)} | on {subjects} layers, losses and composites |")
    return "\n".join(lines)


__all__ = ["FAULTS", "KINDS", "Fault", "by_kind", "planted"]
