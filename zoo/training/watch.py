"""Finding where numbers stopped being finite: a recorder that checks every leaf's output."""

from __future__ import annotations

from typing import Any

from minigrad.backend import array_module
from minigrad.module import Module
from minigrad.wiring import Trace, Wire, as_tuple


class NotFinite(ArithmeticError):
    """A NaN or an infinity appeared; the message names the layer."""


class Check(Trace):
    """Follows a composite to its leaves and stops at the first output that is not finite.

    `Check(objective).follow(*batch)` raises NotFinite, or returns when all outputs are finite.
    """

    def run(self, module: Module, *inputs: Any) -> Any:
        """Run one module; raise when an output of a leaf is not finite."""
        outputs = super().run(module, *inputs)
        for output in as_tuple(outputs):
            if isinstance(output, Wire) and not all_finite(output.value):
                name = self.names.get(id(module), "") or "output"
                raise NotFinite(f"the output of layer {name} ({type(module).__name__})")
        return outputs


def all_finite(array: Any) -> bool:
    """Whether no element is a NaN or an infinity (reads the answer from the device)."""
    return bool(array_module(array).isfinite(array).all())


def find(objective: Module, parts: list[tuple[Any, ...]]) -> str:
    """What is not finite in one step, in words: a parameter, the data, or the output of a layer.

    parts: the micro-batches of the step.
    """
    for name, parameter in objective.named_parameters().items():
        if not all_finite(parameter.value):
            return f"parameter {name}, changed by the update before"
    for number, part in enumerate(parts):
        if not all(all_finite(array) for array in part):
            return f"the data of micro-batch {number}"
        try:
            Check(objective).follow(*part)
        except NotFinite as error:
            return str(error)
    return "nothing when the step was run again"
