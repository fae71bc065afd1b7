"""Containers: Sequential, Residual, Checkpoint, Frozen, Detach."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Self

from minigrad.backend import Array
from minigrad.layers.join import Add
from minigrad.module import Module, Vjp, once
from minigrad.replay import Snapshot, unchanged
from minigrad.wiring import Composite


class Sequential(Composite):
    """The chain y = f_n(... f_2(f_1(x))).

    Children are named "0", "1", ... (or by the keys of a dict), as in `torch.nn.Sequential`. The
    vjp applies the children's vjps from the last to the first. A module that appears twice
    accumulates both its contributions.
    """

    def __init__(self, *modules: Module | dict[str, Module]) -> None:
        """A chain of `modules`, or of the values of one dict, in its order.

        Raises:
            TypeError: a child is no `Module`, or its name no text.
            ValueError: a name is empty, has a dot, or is an attribute that every Sequential has.
        """
        if len(modules) == 1 and isinstance(modules[0], dict):
            named = dict(modules[0])
        else:
            named = {str(i): m for i, m in enumerate(modules)}  # type: ignore[misc]
        for name, module in named.items():
            self._check_name(name)
            if not isinstance(module, Module):
                raise TypeError(
                    f"Sequential: child {name}: expected a Module, got {type(module).__name__}"
                )
            setattr(self, name, module)

    def _check_name(self, name: Any) -> None:
        # Children are attributes: one called "wire" or "training" would take that one's place.
        layer = type(self).__name__
        if not isinstance(name, str):
            raise TypeError(f"{layer}: name of a child: expected text, got {name!r}")
        if not name or "." in name:
            raise ValueError(f"{layer}: name of a child: expected text without dots, got {name!r}")
        if hasattr(type(self), name):
            raise ValueError(
                f"{layer}: child {name!r}: every {layer} has an attribute of this name; use another"
            )

    def wire(self, x: Any) -> Any:
        """Each child in turn."""
        for module in self:
            x = module(x)
        return x

    def __iter__(self) -> Iterator[Module]:
        return iter(self.children().values())

    def __len__(self) -> int:
        return len(self.children())

    def __getitem__(self, index: int) -> Module:
        """The child at `index`."""
        return list(self)[index]


class Residual(Composite):
    """y = x + f(x).

    VJP: dx = dy + f's vjp of dy: the cotangents of the two uses of x add.
    """

    def __init__(self, module: Module) -> None:
        """Wrap `module`, whose output has the shape of its input."""
        self.module = module
        self.add = Add()

    def wire(self, x: Any) -> Any:
        """The input plus the module's output."""
        return self.add(x, self.module(x))


class Checkpoint(Composite):
    """The wrapped module, with its residuals computed again in the vjp instead of kept.

    VJP: runs `forward_and_vjp` on the kept inputs and pulls. Noise is replayed: the second run
    starts at the step and draw number of the first one. After it noise and buffers are as they were
    before it, also when it fails.
    Keeps: the inputs.
    PyTorch: `torch.utils.checkpoint.checkpoint`.
    """

    def __init__(self, module: Module) -> None:
        """Wrap `module`; its state-dict keys get the prefix `module.`."""
        self.module = module

    def wire(self, *xs: Any) -> Any:
        """The module alone."""
        return self.module(*xs)

    def forward_and_vjp(self, *xs: Array) -> tuple[Any, Vjp]:
        """The module's forward; the vjp recomputes."""
        first = Snapshot(self.module, buffers=False)
        y = self.module(*xs)

        def vjp(*dys: Array | None) -> Any:
            with unchanged(self.module):
                first.restore()
                _, recomputed = self.module.forward_and_vjp(*xs)
            return recomputed(*dys)

        return y, once(vjp, self, y)


class Frozen(Composite):
    """The wrapped module as a constant function: forward only.

    VJP: `None` for every input. It shows no trainable parameters and stays in evaluation mode
    whatever its parent does; its arrays are still saved and loaded, under the prefix `module.`.
    Keeps: nothing.
    """

    def __init__(self, module: Module) -> None:
        """Freeze `module`, in evaluation mode."""
        self.module = module.eval()
        self.training = False

    def wire(self, *xs: Any) -> Any:
        """The module alone."""
        return self.module(*xs)

    def forward_and_vjp(self, *xs: Array) -> tuple[Any, Vjp]:
        """The module's forward, and a vjp that gives no cotangent."""
        y = self.forward(*xs)
        return y, once(_no_cotangents(len(xs)), self, y)

    def train(self, mode: bool = True) -> Self:
        """Puts all below in evaluation mode, whatever `mode` is; returns self."""
        self.module.eval()
        return self

    def slots(self, trained: bool = False) -> dict[str, tuple[Module, str]]:
        """As of every module; with `trained` none."""
        return {} if trained else super().slots()


class Detach(Module):
    """The identity, through which no cotangent flows: y = x.

    VJP: `None`.
    Keeps: nothing.
    PyTorch: `Tensor.detach`.
    """

    def forward(self, x: Array) -> Array:
        """`x` itself."""
        return x

    def forward_and_vjp(self, x: Array) -> tuple[Array, Vjp]:
        """`x` itself, and a vjp that gives no cotangent."""
        return x, once(_no_cotangents(1), self, x)


def _no_cotangents(count: int) -> Vjp:
    def vjp(*dys: Array | None) -> Any:
        return None if count == 1 else (None,) * count

    return vjp
