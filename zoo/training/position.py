"""How far training is, what it has found, and whether it is over before its last step."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from zoo.recipes.schema import Validation


@dataclass
class Position:
    """How far training is, and what it has found. All of it travels in a checkpoint.

    waited: validations since the best one. ended: early, since nothing has improved for so long.
    restarts: how often training has begun anew.
    """

    step: int = 0  # optimiser steps done
    images: int = 0
    before: dict[str, float] = field(default_factory=dict)  # metrics of the noisy validation set
    after: dict[str, float] = field(default_factory=dict)  # of the last validation
    best: dict[str, float] = field(default_factory=dict)  # of the best validation, with its step
    waited: int = 0
    ended: bool = False
    restarts: int = 0

    @staticmethod
    def of(state: Mapping[str, Any]) -> Position:
        """That of a checkpoint; older ones know less."""
        return Position(**{name: state[name] for name in vars(Position()) if name in state})

    def note(self, found: dict[str, float], how: Validation) -> bool:
        """Take note of a validation; returns whether it is the best so far."""
        self.after = found
        better = found[how.metric] < self.best.get(how.metric, math.inf)
        if better:
            self.best = {**found, "step": self.step}
        self.waited = 0 if better else self.waited + 1
        self.ended = how.patience is not None and self.waited >= how.patience
        return better

    def begin_again(self) -> None:
        """The first step once more; what the noisy pictures are worth stays known."""
        self.step = self.images = self.waited = 0
        self.after, self.best, self.ended = {}, {}, False
        self.restarts += 1
