"""What every objective shares: the default training step."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

from minigrad.backend import Array, array_module
from minigrad.optim import Optimiser
from minigrad.wiring import Composite, same_form
from zoo.architectures import Denoiser

Batch = tuple[Array, ...]
"""The inputs of an objective's `wire`, batch along axis 0."""


class Objective(Composite):
    """Networks and losses wired together.

    `wire(*batch)` returns a NamedTuple of 0-d arrays: `loss`, a mean over the batch, first; then
    what is logged. `network` is the denoiser that the run leaves.
    """

    network: Any
    logged: ClassVar[tuple[str, ...]] = ("loss",)
    """The names of the outputs of `wire`."""

    def denoisers(self) -> dict[str, Denoiser]:
        """What the run is judged by while this objective is at work: the network under the name "",
        and whatever is to be compared with it under others.
        """
        return {"": self.network}

    def begin(self, parts: Sequence[Batch]) -> None:
        """Set what a stage reads off its first batch, before its first step."""

    def anneal(self, fraction: float) -> None:
        """Set what changes during training; `fraction` of the stage, 0 to 1, is done."""

    def training_step(self, parts: Sequence[Batch], optimiser: Optimiser) -> tuple[Array, ...]:
        """One update from a batch given as equal parts; returns the mean of their outputs.

        Cotangents add up in the parameters: with a loss that is a mean over images, parts of
        equal size give the gradient of the whole batch.
        """
        self.zero_grad()
        total: list[Array] = []
        for part in parts:
            outputs, vjp = self.forward_and_vjp(*part)
            share = array_module(outputs[0]).ones_like(outputs[0]) / len(parts)
            vjp(share, *[None] * (len(outputs) - 1))
            scaled = [share * output for output in outputs]
            total = [a + b for a, b in zip(total, scaled, strict=True)] if total else scaled
        optimiser.step()
        mean: tuple[Array, ...] = same_form(outputs, total)
        return mean


def split(batch: Batch, parts: int) -> list[Batch]:
    """The batch cut along axis 0 into `parts` equal pieces (views)."""
    size = batch[0].shape[0]
    if size % parts:
        raise ValueError(f"split: a batch of {size} cannot be cut into {parts} equal parts")
    step = size // parts
    return [tuple(a[i : i + step] for a in batch) for i in range(0, size, step)]
