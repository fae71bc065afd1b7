"""What a recipe is trained and judged on, wherever it comes from."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

from zoo.architectures import Denoiser
from zoo.objectives.base import Batch
from zoo.progress import Progress
from zoo.recipes.check import is_stack
from zoo.recipes.config import RecipeError
from zoo.recipes.schema import Recipe
from zoo.training.crafted import CraftedFeed
from zoo.training.judging import Tiles
from zoo.training.patches import PatchFeed
from zoo.training.photographs import PhotographFeed
from zoo.training.stacks import StackFeed
from zoo.training.stored import StoredFeed


class Feed(Protocol):
    """Training batches and validation tiles.

    contents: what files these are, as `zoo.training.contents` tells it.
    notes: what a user should know of the choice, one line each.
    """

    validation: Tiles
    contents: dict[str, Any]
    notes: list[str]

    def prepare(
        self, run: Path, progress: Progress, stop: Callable[[], bool]
    ) -> dict[str, Any] | None:
        """What must be computed before the first batch, kept in the run folder; what it came to,
        for the log. None when there is nothing, or when `stop()` said so before the end.
        """

    def batches(self, number: int) -> Callable[[int], Batch]:
        """`batch(step)` of stage `number`: a pure function of the stage's own step 0, 1, ..."""


def feed(recipe: Recipe, network: Denoiser) -> Feed:
    """Read the recipe's pictures: photographs, frames that are noisy, or a file of stored pairs.

    Raises RecipeError and, for files that cannot be read, ImageError or DataError.
    """
    if recipe.patches is not None:
        return PatchFeed(recipe, network)
    for number, stage in enumerate(recipe.stages):
        if stage.sampler.size % network.multiple:
            raise RecipeError(
                f"stages.{number}.sampler.size: expected a multiple of {network.multiple} "
                f"for {recipe.model}, got {stage.sampler.size}"
            )
    if recipe.patch_craft is not None:
        return CraftedFeed(recipe, network.channels)
    if recipe.stored_pairs and is_stack(recipe):
        return StackFeed(recipe, network.channels)
    if recipe.stored_pairs:
        return StoredFeed(recipe, network.channels)
    return PhotographFeed(recipe, network.channels)
