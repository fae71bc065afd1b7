"""Objectives by name: what a stage of a recipe minimises."""

from __future__ import annotations

from typing import NamedTuple

from minigrad.module import Module
from zoo.objectives.base import Objective, split
from zoo.objectives.regression import LOSSES, Regression


class Entry(NamedTuple):
    """An objective: its class, and the target it learns: "noisy", "clean", or "crafted"."""

    make: type[Regression]
    target: str


OBJECTIVES: dict[str, Entry] = {
    "noise2noise": Entry(Regression, "noisy"),
    "noise2clean": Entry(Regression, "clean"),
    "patch-craft": Entry(Regression, "crafted"),
}


def create(name: str, network: Module, loss: str) -> Objective:
    """The objective `name` around `network`.

    Raises ValueError for an unknown name; the known ones are told.
    """
    return entry(name).make(network, loss)


def entry(name: str) -> Entry:
    """The table's entry for `name`; ValueError names the known ones."""
    if name not in OBJECTIVES:
        raise ValueError(f"objective: expected one of {', '.join(OBJECTIVES)}, got {name!r}")
    return OBJECTIVES[name]


__all__ = ["LOSSES", "OBJECTIVES", "Entry", "Objective", "Regression", "create", "entry", "split"]
