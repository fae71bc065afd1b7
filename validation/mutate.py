"""Planted faults: known errors put into the engine, to prove that the checks see them.

A fault is an edit of the engine's source text: inside `planted(fault)` the named function runs with
the edit, outside it runs as written. A fault whose text is no longer found raises, so the list
cannot rot in silence. `FAULTS` names for each which check must catch it, and on which subject.
"""

from __future__ import annotations

import ast
import functools
import importlib
import inspect
import textwrap
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from minigrad.backend import Replaceable, definitions_only


@dataclass(frozen=True)
class Fault:
    """One error.

    Attributes:
        name: what was done wrong.
        target: `module:function` or `module:Class.method`.
        edits: pairs (text of the source, text in its place).
        subject: the row or the composite that the check runs on.
        caught_by: the check that must fail, by its function's name.
    """

    name: str
    target: str
    edits: tuple[tuple[str, str], ...]
    subject: str
    caught_by: str


@contextmanager
def planted(fault: Fault) -> Iterator[None]:
    """Within this context the engine has the fault, and no kernel hides it.

    Raises:
        LookupError: a text to be replaced does not occur exactly once.
    """
    module_name, path = fault.target.split(":")
    module = importlib.import_module(module_name)
    *outer, name = path.split(".")
    owner: Any = functools.reduce(getattr, outer, module)
    original = inspect.getattr_static(owner, name)
    if isinstance(original, Replaceable):
        owner, name, original = original, "definition", original.definition
    setattr(owner, name, _edited(fault, original, vars(module)))
    try:
        with definitions_only():
            yield
    finally:
        setattr(owner, name, original)


def _edited(fault: Fault, function: Any, names: dict[str, Any]) -> Any:
    text = textwrap.dedent(inspect.getsource(function))
    for old, new in fault.edits:
        if text.count(old) != 1:
            raise LookupError(f"fault {fault.name!r}: {old!r} stands {text.count(old)} times")
        text = text.replace(old, new)
    tree = ast.parse(text)
    definition = tree.body[0]
    assert isinstance(definition, ast.FunctionDef)
    definition.decorator_list = []
    made: dict[str, Any] = {}
    exec(compile(tree, f"<fault: {fault.name}>", "exec"), names, made)
    return made[definition.name]


_CONV = "minigrad.layers.conv:"
_ACTIVATION = "minigrad.layers.activation:"
_JOIN = "minigrad.layers.join:"
_POOL = "minigrad.layers.pool:"
_TAPE = "minigrad.wiring:Tape.pull"
_NAN = {
    dtype: ("e = xp.exp(", f'e = (float("nan") if x.dtype == "{dtype}" else 1) * xp.exp(')
    for dtype in ("float32", "float64")
}

FAULTS = (
    # ------------------------------------------------------------------ wrong mathematics
    Fault(
        "kernel flipped in the input cotangent",
        _CONV + "conv2d_dx",
        (("weight.reshape(groups", "weight[:, :, ::-1, ::-1].reshape(groups"),),
        "Conv2d",
        "check_float64",
    ),
    Fault(
        "kernel flipped in the input cotangent, seen without PyTorch",
        _CONV + "conv2d_dx",
        (("weight.reshape(groups", "weight[:, :, ::-1, ::-1].reshape(groups"),),
        "Conv2d",
        "adjoint",
    ),
    Fault(
        "borders exchanged in the weight cotangent",
        _CONV + "conv2d_dw",
        (
            (
                "unfold(x, window, (m, q))",
                "unfold(x, Window(window.kernel, window.stride, (*window.padding[1::-1], "
                "*window.padding[:1:-1]), window.dilation), (m, q))",
            ),
        ),
        "Conv2d",
        "check_float64",
    ),
    Fault(
        "bias cotangent of the first image only",
        _CONV + "conv2d_vjp",
        (("dy.sum((0, 2, 3))", "dy[:1].sum((0, 2, 3))"),),
        "Conv2d",
        "check_float64",
    ),
    Fault(
        "output padding short by one",
        "minigrad.layers.conv_transpose:ConvTranspose2d._size",
        (("eh + self.output_padding[0]", "eh + max(self.output_padding[0] - 1, 0)"),),
        "ConvTranspose2d",
        "check_float64",
    ),
    Fault(
        "windows beyond the input counted in the transposed convolution",
        "minigrad.layers.conv_transpose:ConvTranspose2d.forward_and_vjp",
        (("[:, :, :h, :w]", ""),),
        "ConvTranspose2d",
        "arity_and_forms",
    ),
    Fault(
        "last maximum instead of the first",
        _POOL + "max_pool2d",
        (("value > y", "value >= y"),),
        "MaxPool2d",
        "check_float64",
    ),
    Fault(
        "overlapping windows overwrite",
        _POOL + "max_pool2d_dx",
        (("dx[:, :, rows, cols] += xp", "dx[:, :, rows, cols] = xp"),),
        "MaxPool2d",
        "differences",
    ),
    Fault(
        "NaN loses against numbers",
        _POOL + "max_pool2d",
        ((" | (value != value)", ""),),
        "MaxPool2d",
        "check_float64",
    ),
    Fault(
        "PReLU slope cotangent with the wrong sign",
        _ACTIVATION + "prelu_vjp",
        (("xp.where(positive, 0, x) * dy", "xp.where(positive, 0, -x) * dy"),),
        "PReLU",
        "differences",
    ),
    Fault(
        "derivative of ReLU at zero is one",
        _ACTIVATION + "relu_dx",
        (("where(y <= 0", "where(y < 0"),),
        "ReLU",
        "check_float64",
    ),
    Fault(
        "vjp blind to its cotangent: right for ones only",
        _ACTIVATION + "sigmoid_dx",
        (("dy * y", "dy.mean() * y"),),
        "Sigmoid",
        "check_float64",
    ),
    Fault(
        "forgotten sum over broadcast axes",
        _JOIN + "unbroadcast",
        (("dy.sum(axes).reshape(shape) if axes else dy", "dy"),),
        "Multiply",
        "arity_and_forms",
    ),
    Fault(
        "mean instead of sum over broadcast axes",
        _JOIN + "unbroadcast",
        (("dy.sum(axes)", "dy.mean(axes)"),),
        "Add",
        "adjoint",
    ),
    Fault(
        "subtrahend's cotangent without its sign",
        _JOIN + "Subtract.forward_and_vjp",
        (("unbroadcast(-dy, b_shape)", "unbroadcast(dy, b_shape)"),),
        "Subtract",
        "check_float64",
    ),
    Fault(
        "loss forgets its cotangent",
        "minigrad.losses.regression:MSELoss.forward_and_vjp",
        (("d * (dvalue * (2 * weight))", "d * (2 * weight)"),),
        "MSELoss",
        "check_float64",
    ),
    Fault(
        "NaN in float32",
        _ACTIVATION + "sigmoid",
        (_NAN["float32"],),
        "Sigmoid",
        "check_float32",
    ),
    Fault(
        "NaN in float64",
        _ACTIVATION + "sigmoid",
        (_NAN["float64"],),
        "Sigmoid",
        "check_float64",
    ),
    Fault(
        "NaN in the float32 cotangent",
        _ACTIVATION + "sigmoid_dx",
        (("dy * y", '(float("nan") if y.dtype == "float32" else 1) * dy * y'),),
        "Sigmoid",
        "check_float32",
    ),
    # ------------------------------------------------------------------ broken contract
    Fault(
        "activation writes into its input",
        _ACTIVATION + "relu",
        ((".maximum(x, 0)", ".maximum(x, 0, out=x)"),),
        "ReLU",
        "nobody_writes",
    ),
    Fault(
        "vjp writes into its cotangent",
        _ACTIVATION + "sigmoid_dx",
        (("return dy * y", "dy *= y\n    return dy"),),
        "Sigmoid",
        "nobody_writes",
    ),
    Fault(
        "assignment instead of accumulation",
        "minigrad.module:Module.accumulate",
        (("grad += cotangent", "grad[...] = cotangent"),),
        "Conv2d",
        "accumulates",
    ),
    Fault(
        "vjp without once",
        _ACTIVATION + "ReLU.forward_and_vjp",
        (("once(vjp, self, y)", "vjp"),),
        "ReLU",
        "single_use",
    ),
    Fault(
        "residual kept on the layer",
        _ACTIVATION + "ReLU.forward_and_vjp",
        (("y = self.forward", "y = self.last = self.forward"), ("(dy, y)", "(dy, self.last)")),
        "ReLU",
        "calls_are_independent",
    ),
    Fault(
        "input kept where a mask is enough",
        _ACTIVATION + "LeakyReLU.forward_and_vjp",
        (("positive = x > 0", "positive = x"), ("(dy, positive,", "(dy, positive > 0,")),
        "LeakyReLU",
        "keeps",
    ),
    Fault(
        "float64 leaks in through a scalar",
        _JOIN + "Scale.forward",
        (("x * self.factor", "x * array_module(x).float64(self.factor)"),),
        "Scale",
        "dtype_kept",
    ),
    Fault(
        "the two forwards differ in the last bit",
        "minigrad.wiring:Composite.forward",
        (("self.wire(*xs)", "self.wire(*(x / 3 * 3 for x in xs))"),),
        "Residual",
        "same_outputs",
    ),
    Fault(
        "None for an output taken as ones",
        _JOIN + "Split.forward_and_vjp",
        (("xp.zeros(", "xp.ones("),),
        "Split",
        "none_is_zero",
    ),
    # ------------------------------------------------------------------ wiring
    Fault(
        "forgotten sum where a value is used twice",
        _TAPE,
        (("cotangents[x.key] + dx if x.key in cotangents else dx", "dx"),),
        "Residual",
        "differences",
    ),
    Fault(
        "tape adds in place",
        _TAPE,
        (("cotangents[x.key] + dx if", "cotangents[x.key].__iadd__(dx) if"),),
        "Residual",
        "nobody_writes",
    ),
    Fault(
        "forgotten sum where a value is returned twice",
        "minigrad.wiring:Composite.forward_and_vjp",
        (("seeds[key] + dy if key in seeds else dy", "dy"),),
        "two outputs",
        "differences",
    ),
    Fault(
        "composite returns None",
        "minigrad.wiring:Composite.forward_and_vjp",
        (("tuple(cotangents.get(key) for", "tuple(None for"),),
        "Residual",
        "arity_and_forms",
    ),
    Fault(
        "composite returns None, seen by differences",
        "minigrad.wiring:Composite.forward_and_vjp",
        (("tuple(cotangents.get(key) for", "tuple(None for"),),
        "two outputs",
        "differences",
    ),
    Fault(
        "recomputed pass draws new noise",
        "minigrad.containers:Checkpoint.forward_and_vjp",
        (("first.restore()", "pass"),),
        "Checkpoint with noise",
        "like_the_wrapped",
    ),
)
"""Every planted fault."""
