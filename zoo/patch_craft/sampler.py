"""Batches of patch-craft pairs: those whose target fits, their mean put right."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from zoo.data.samplers import Batch, Order
from zoo.patch_craft.statistics import Statistics, Threshold, keep
from zoo.patch_craft.tiles import Samples

Take = Callable[[np.ndarray], Samples]
"""Gives the tiles of these numbers."""


class CraftedSampler:
    """`batch(step)` of a training set: a slice of an order that is new in each epoch, less what the
    threshold drops, so batches vary in size.

    From the targets that are kept their mean excess `m_mean` is taken off. Where a whole slice is
    dropped the next one of the epoch takes its place.

    take: gives tiles by their numbers, as from an array or from files. statistics: of each tile.
    threshold: `Threshold()` keeps all targets as they are.
    kept: share of the tiles that pass. Raises: ValueError when none does.
    """

    def __init__(
        self,
        take: Take,
        statistics: Statistics,
        threshold: Threshold,
        *,
        batch: int,
        seed: int = 0,
    ) -> None:
        self.take, self.batch_size = take, batch
        self.mean = threshold.m_mean
        self.passes = keep(*statistics, threshold)
        if not self.passes.any():
            raise ValueError(
                f"patch-craft: none of the {len(self.passes)} tiles passes the threshold "
                f"{threshold}; more bursts, or a wider search, may help"
            )
        self.kept = float(np.mean(self.passes))
        self.steps_per_epoch = -(-len(self.passes) // batch)
        self._order = Order(seed, len(self.passes))

    def batch(self, step: int) -> Batch:
        """The batch of a step; new arrays."""
        epoch, place = divmod(step, self.steps_per_epoch)
        order = self._order.epoch(epoch)
        while True:
            which = order[place * self.batch_size : (place + 1) * self.batch_size]
            which = which[self.passes[which]]
            if len(which):
                break
            place = (place + 1) % self.steps_per_epoch
        input, target = self.take(which)
        return Batch(input, target - np.asarray(self.mean, target.dtype))
