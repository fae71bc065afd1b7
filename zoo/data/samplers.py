"""Samplers: a batch as a pure function of the step number.

No sampler has a position. `batch(step)` gives the same arrays whatever was asked for before, so a
run that goes on after an interruption sees the very same data, and batches may be made ahead in
another thread.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Literal, NamedTuple

import numpy as np

from minigrad.noise import Noise
from zoo.data.crops import Photographs, as_unit
from zoo.noise import Law, SubPixel

Objective = Literal["noise2noise", "noise2clean"]


class Batch(NamedTuple):
    """What a step is given: float32 (N, C, H, W), and a mask (N, 1, H, W) of the target or None."""

    input: np.ndarray
    target: np.ndarray
    mask: np.ndarray | None = None


class PairSampler:
    """Training pairs from photographs: random square crops, seen through a noise law.

    noise2noise: input and target are two independent draws of one crop; noise2clean: a draw and
    the clean crop. Both are (batch, C, size, size); the law reads crops of law.scale * size pixels.

    augment: each pair is flipped and turned at random (8 ways), both members alike.
    recolour: with probability 1/2 the crop, before any noise, is given another black and white
    point in each channel, x -> black + (white - black) x, black in [0, 0.4), white in [0.6, 1).
    A few photographs have few colours; a network trained on them alone distorts all others.
    gray: share of each batch that is made gray before the noise, which then is the same in all
    channels, as it is in a gray picture. A network that has only seen independent noise in each
    channel leaves most of it there.
    swap: input and target of a noise2noise pair change places with probability 1/2.
    pairs: number of different pairs; they come in the same order again and again, and the last
    batch of a round may be short. None: every step draws new ones. Augmenting, recolouring and
    swapping differ from round to round.

    A law that hides pixels gives the target's mask along.

    Raises: ValueError for a picture smaller than a crop, or a wrong argument.
    """

    def __init__(
        self,
        pictures: Sequence[np.ndarray] | Photographs,
        law: Law,
        *,
        batch: int,
        size: int = 32,
        seed: int = 0,
        objective: Objective = "noise2noise",
        augment: bool = False,
        recolour: bool = False,
        gray: float = 0.0,
        swap: bool = False,
        pairs: int | None = None,
    ) -> None:
        if objective not in ("noise2noise", "noise2clean"):
            raise ValueError(f"PairSampler: objective: noise2noise or noise2clean, got {objective}")
        if swap and objective == "noise2clean":
            raise ValueError("PairSampler: swap needs the objective noise2noise")
        for name, value in (("batch", batch), ("size", size), ("pairs", pairs or 1)):
            if value < 1:
                raise ValueError(f"PairSampler: {name} must be at least 1, got {value}")
        if not 0 <= gray <= 1:
            raise ValueError(f"PairSampler: gray must be a share from 0 to 1, got {gray}")
        self.photographs = _photographs(pictures)
        self.law, self.batch_size, self.size = law, batch, size
        self.objective, self.augment, self.swap, self.pairs = objective, augment, swap, pairs
        self.recolour, self.gray = recolour, gray
        self.gray_photographs = self.photographs.to_gray() if gray else None
        self.seed = seed
        self._moves_seed = Noise(seed).fold_in(1).seed
        self._tones_seed = Noise(seed).fold_in(2).seed
        self.photographs.crops(np.zeros((0, 3)), law.scale * size)  # raises for a small picture

    def batch(self, step: int) -> Batch:
        """The batch of a step; new arrays."""
        rounds, count = (step, self.batch_size)
        if self.pairs is not None:
            per_round = -(-self.pairs // self.batch_size)
            rounds = step % per_round
            count = min(self.batch_size, self.pairs - rounds * self.batch_size)
        tones = Noise(self._tones_seed).at(step)
        first, second = self._pair(Noise(self.seed).at(rounds), tones, count)
        moves = Noise(self._moves_seed).at(step)
        mask = second.mask
        if self.swap:
            turned = moves.uniform((count,)) < 0.5
            first, second = _swapped(first, second, turned)
            mask = second.mask
        batch = Batch(first.image, second.image, mask)
        return _moved(batch, moves.integers(8, (count,))) if self.augment else batch

    def _pair(self, noise: Noise, tones: Noise, count: int) -> tuple[_Member, _Member]:
        """Both members of `count` pairs: those in colour, then those in gray."""
        u = noise.uniform((count, 3), np.float64)
        tone = None
        if self.recolour:
            channels = self.photographs.channels
            tone = _tone(tones.uniform((2, count, channels)), tones.uniform((count, 1)))
        colour = count - round(self.gray * count)
        pairs = [self._seen(self.photographs, slice(0, colour), u, tone, noise)]
        if self.gray_photographs is not None and colour < count:
            pairs.append(self._seen(self.gray_photographs, slice(colour, count), u, tone, noise))
        first, second = zip(*pairs, strict=True)
        return _joined(first, self.photographs.channels), _joined(second, self.photographs.channels)

    def _seen(
        self,
        photographs: Photographs,
        part: slice,
        u: np.ndarray,
        tone: tuple[np.ndarray, np.ndarray] | None,
        noise: Noise,
    ) -> tuple[_Member, _Member]:
        """The pairs `part` of the batch, cut from these photographs and seen through the law."""
        latent = photographs.crops(u[part], self.law.scale * self.size)
        if tone is not None:
            black, white = (point[part, : photographs.channels] for point in tone)
            latent = dataclasses.replace(latent, tone=(black, white))
        first = _Member(*self.law.observe(latent, noise))
        if self.objective == "noise2clean":
            return first, _Member(self.law.clean_of(latent).copy(), None)
        return first, _Member(*self.law.observe(latent, noise))


def _joined(parts: Sequence[_Member], channels: int) -> _Member:
    """The members one after the other, gray ones repeated to `channels`."""
    if len(parts) == 1:
        return parts[0]
    images = [np.broadcast_to(m.image, (len(m.image), channels, *m.image.shape[2:])) for m in parts]
    masks = [m.mask for m in parts if m.mask is not None]
    return _Member(np.concatenate(images), np.concatenate(masks) if masks else None)


def _photographs(pictures: Sequence[np.ndarray] | Photographs) -> Photographs:
    return pictures if isinstance(pictures, Photographs) else Photographs(pictures)


def _tone(points: np.ndarray, which: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Black and white points (N, C) from uniform numbers (2, N, C); half stay at 0 and 1."""
    changed = which < 0.5
    return np.where(changed, 0.4 * points[0], 0.0), np.where(changed, 0.6 + 0.4 * points[1], 1.0)


class _Member(NamedTuple):
    image: np.ndarray
    mask: np.ndarray | None


def _swapped(first: _Member, second: _Member, turned: np.ndarray) -> tuple[_Member, _Member]:
    """Both members, with the images marked in `turned` (N,) exchanged."""
    where = turned[:, None, None, None]
    a = np.where(where, second.image, first.image)
    b = np.where(where, first.image, second.image)
    if first.mask is None or second.mask is None:
        return _Member(a, None), _Member(b, None)
    masks = np.where(where, second.mask, first.mask), np.where(where, first.mask, second.mask)
    return _Member(a, masks[0]), _Member(b, masks[1])


def _moved(batch: Batch, ways: np.ndarray) -> Batch:
    """Every image by one of the 8 flips and turns, all members alike; square images."""
    members = [None if member is None else np.empty_like(member) for member in batch]
    for old, new in zip(batch, members, strict=True):
        if old is not None and new is not None:
            for i, way in enumerate(ways):
                new[i] = turn(old[i], int(way))
    return Batch(members[0], members[1], members[2])  # type: ignore[arg-type]


def turn(image: np.ndarray, way: int) -> np.ndarray:
    """One of the 8 symmetries of a square: way % 4 quarter turns, then mirrored if way > 3."""
    turned = np.rot90(image, way % 4, axes=(-2, -1))
    return turned[..., ::-1] if way > 3 else turned


class Order:
    """A new order of `count` things in each epoch, from (seed, epoch)."""

    def __init__(self, seed: int, count: int) -> None:
        self.seed, self.count = seed, count
        self._last: tuple[int, np.ndarray] | None = None  # only to save time

    def epoch(self, number: int) -> np.ndarray:
        """The numbers 0 to count - 1 in the order of this epoch."""
        last = self._last
        if last is None or last[0] != number:
            last = number, Noise(self.seed).at(number).permutation(self.count)
            self._last = last
        return last[1]


class FixedSampler:
    """Batches from two stored sets (N, C, H, W), uint8 or floating point.

    order "slices": consecutive slices, as they lie; "shuffle": another order each epoch, from
    (seed, epoch). The last batch of an epoch may be short. uint8 is divided by 255.
    augment, swap: as of `PairSampler`, other ones at each step.

    Raises: ValueError when the sets differ in shape, or for a wrong argument.
    """

    def __init__(
        self,
        input: np.ndarray,
        target: np.ndarray,
        *,
        batch: int,
        order: Literal["slices", "shuffle"] = "slices",
        seed: int = 0,
        augment: bool = False,
        swap: bool = False,
    ) -> None:
        if input.shape != target.shape or input.ndim != 4 or not len(input):
            raise ValueError(
                f"FixedSampler: expected two sets (N, C, H, W) of one shape, N >= 1, "
                f"got {input.shape} and {target.shape}"
            )
        if order not in ("slices", "shuffle"):
            raise ValueError(f"FixedSampler: order must be slices or shuffle, got {order!r}")
        if batch < 1:
            raise ValueError(f"FixedSampler: batch must be at least 1, got {batch}")
        if augment and input.shape[2] != input.shape[3]:
            raise ValueError(f"FixedSampler: augment needs square pictures, got {input.shape}")
        self.input, self.target, self.augment, self.swap = input, target, augment, swap
        self.batch_size, self.order = batch, order
        self.steps_per_epoch = -(-len(input) // batch)
        self.seed = seed
        self._moves_seed = Noise(seed).fold_in(1).seed
        self._order = Order(seed, len(input))

    def batch(self, step: int) -> Batch:
        """The batch of a step; new arrays."""
        epoch, place = divmod(step, self.steps_per_epoch)
        which: slice | np.ndarray = slice(place * self.batch_size, (place + 1) * self.batch_size)
        if self.order == "shuffle":
            which = self._order.epoch(epoch)[which]
        first = _Member(as_unit(self.input[which]), None)
        second = _Member(as_unit(self.target[which]), None)
        moves, count = Noise(self._moves_seed).at(step), len(first.image)
        if self.swap:
            first, second = _swapped(first, second, moves.uniform((count,)) < 0.5)
        batch = Batch(first.image, second.image)
        return _moved(batch, moves.integers(8, (count,))) if self.augment else batch


def make_tiles(
    pictures: Sequence[np.ndarray] | Photographs,
    n: int,
    size: int = 32,
    k: int = 8,
    seed: int = 0,
) -> dict[str, np.ndarray]:
    """A fixed set of sub-pixel tiles: {"input", "target", "clean"}, each (n, C, size, size) uint8.

    Each tile is a random crop of (k*size)^2 pixels of a random picture; input and target draw one
    pixel of every k x k block, by themselves; clean is rint(block mean).
    """
    photographs = _photographs(pictures)
    law, noise, piece = SubPixel(k), Noise(seed), 64
    shape = (n, photographs.channels, size, size)
    tiles = {name: np.empty(shape, np.uint8) for name in ("input", "target", "clean")}
    for step, start in enumerate(range(0, n, piece)):
        count = min(piece, n - start)
        u = noise.at(step).uniform((count, 3), np.float64)
        latent = photographs.crops(u, k * size)
        parts = (
            law.observe(latent, noise).noisy,
            law.observe(latent, noise).noisy,
            law.clean_of(latent),
        )
        for tile, part in zip(tiles.values(), parts, strict=True):
            tile[start : start + count] = np.rint(part * 255)
    return tiles
