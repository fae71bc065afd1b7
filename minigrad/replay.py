"""What a forward pass moves besides its outputs, noises and buffers: remembered and put back.

Whoever runs a module a second time (a recomputed `Checkpoint`, a gradient check, a count of
multiply-adds) uses this, so that the second run sees what the first one saw and leaves no trace.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from minigrad.module import Module
from minigrad.noise import Noise


def noises(module: Module) -> list[Noise]:
    """The noises that the modules of the tree hold as attributes, each once."""
    found = [n for m in module.modules() for n in vars(m).values() if isinstance(n, Noise)]
    return list({id(noise): noise for noise in found}.values())


class Snapshot:
    """Where the noises of a tree stand (step and draw number) and what its buffers hold."""

    def __init__(self, module: Module, buffers: bool = True) -> None:
        """Remember `module` as it is now; buffers are copied, with `buffers=False` left out."""
        self.places = [(noise, noise.step, noise.draw) for noise in noises(module)]
        self.buffers = [
            (owner, name, array, array.copy())
            for owner in (module.modules() if buffers else ())
            for name in owner.buffer_names
            if (array := getattr(owner, name, None)) is not None
        ]

    def restore(self) -> None:
        """Put noises and buffers back; the buffers stay the same arrays. As often as wanted."""
        for noise, step, draw in self.places:
            noise.at(step).rewind(draw)
        for owner, name, array, before in self.buffers:
            array[...] = before
            setattr(owner, name, array)


@contextmanager
def unchanged(module: Module) -> Iterator[None]:
    """After this context noises and buffers are as before it, also when it ends with an error."""
    before = Snapshot(module)
    try:
        yield
    finally:
        before.restore()
