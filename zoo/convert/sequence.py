"""Networks that are a chain of convolutions, as Keras, MATLAB and pickled modules have them.

The plain DnCNN of its authors exists in all three. Each reader here makes a list of `Convolution`;
`merged` lets every convolution absorb the batch norm after it, as `zoo.merge` does for networks.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np

from minigrad.windows import Window
from zoo.convert.budget import Budget, Refused, shown
from zoo.convert.hdf5 import KerasLayer
from zoo.convert.modules import check_convolution, class_of
from zoo.convert.records import Made, NumpyArray, View
from zoo.merge import absorb

MATCONVNET_FIELDS = frozenset(
    ("net", "layers", "type", "weights", "filters", "biases", "pad", "stride", "dilate", "leak")
)
"""The fields of a MatConvNet network that are asked for."""
_MOST_LAYERS = 1000
_MOST_WRAPPERS = 4


@dataclass
class Norm:
    """A batch norm in evaluation mode: y = g (x - mean) / deviation + beta, each (C,)."""

    g: np.ndarray
    beta: np.ndarray
    mean: np.ndarray
    deviation: np.ndarray


@dataclass
class Convolution:
    """A convolution of stride 1 that keeps height and width, perhaps with a norm after it."""

    where: str
    weight: np.ndarray  # (out, in, k, k)
    bias: np.ndarray | None = None  # (out,)
    norm: Norm | None = None

    def merged(self) -> tuple[np.ndarray, np.ndarray]:
        """Weight and bias that alone do what convolution and norm do together."""
        weight = self.weight.astype(np.float64)
        bias = np.zeros(len(weight)) if self.bias is None else self.bias.astype(np.float64)
        parts = [bias]
        if self.norm is not None:
            parts += [self.norm.g, self.norm.beta, self.norm.mean, self.norm.deviation]
        if weight.ndim != 4 or any(part.shape != (len(weight),) for part in parts):
            shapes = [part.shape for part in (weight, *parts)]
            raise Refused(f"{self.where}: shapes that do not fit together: {shapes}")
        if self.norm is not None:
            if not (self.norm.deviation > 0).all():
                raise Refused(f"{self.where}: the batch norm after it has a deviation of 0")
            scale = self.norm.g.astype(np.float64) / self.norm.deviation
            weight, bias = absorb(weight, bias, scale, self.norm.beta - scale * self.norm.mean)
        return weight.astype(self.weight.dtype), bias.astype(self.weight.dtype)


def merged_state(layers: list[Convolution]) -> dict[str, np.ndarray]:
    """`model.<2 i>.weight` and `.bias` of convolution i: DnCNN of KAIR, norms merged."""
    state: dict[str, np.ndarray] = {}
    for i, layer in enumerate(layers):
        state[f"model.{2 * i}.weight"], state[f"model.{2 * i}.bias"] = layer.merged()
    return state


class _Sequence:
    """Puts layers together in the order in which they come."""

    def __init__(self) -> None:
        self.layers: list[Convolution] = []
        self.ended = False  # by an activation

    def convolution(self, layer: Convolution) -> None:
        if self.layers and not self.ended:
            raise Refused(f"{layer.where}: a convolution without a ReLU before it")
        self.layers.append(layer)
        self.ended = False

    def norm(self, norm: Norm, where: str) -> None:
        if not self.layers or self.layers[-1].norm is not None or self.ended:
            raise Refused(f"{where}: a batch norm that does not follow a convolution")
        self.layers[-1].norm = norm

    def activation(self, where: str) -> None:
        if not self.layers or self.ended:
            raise Refused(f"{where}: a ReLU that does not follow a convolution")
        self.ended = True

    def finished(self) -> list[Convolution]:
        if not self.layers:
            raise Refused("it has no convolution")
        if self.ended:
            raise Refused("its last layer is a ReLU, expected a convolution")
        return self.layers


# ------------------------------------------------------------------------------- Keras


def of_keras(layers: Iterable[KerasLayer]) -> list[Convolution]:
    """The convolutions of a Keras network; kernels (k, k, in, out) become (out, in, k, k).

    Raises: Refused for layers of other kinds.
    """
    found = _Sequence()
    for layer in layers:
        weights, where = dict(layer.weights), f"layer {shown(layer.name)}"
        if "kernel" in weights and weights.keys() <= {"kernel", "bias"}:
            if weights["kernel"].ndim != 4:
                raise Refused(
                    f"{where}: a kernel of shape {weights['kernel'].shape}, expected 4 axes"
                )
            _check_keras(layer, where)
            kernel = np.ascontiguousarray(weights["kernel"].transpose(3, 2, 0, 1))
            if found.layers and not found.ended:
                found.activation(where)  # it has no weights, so the file does not tell of it
            found.convolution(Convolution(where, _floating(kernel, where), weights.get("bias")))
        elif {"moving_mean", "moving_variance"} <= weights.keys():
            mean, variance = weights["moving_mean"], weights["moving_variance"]
            epsilon = layer.settings.get("epsilon")
            if not isinstance(epsilon, int | float):
                raise Refused(f"{where}: a batch norm whose epsilon the file does not tell")
            with np.errstate(invalid="ignore"):  # asked about in merged()
                deviation = np.sqrt(variance.astype(np.float64) + epsilon)
            g, beta = weights.get("gamma", np.ones_like(mean)), weights.get("beta", 0 * mean)
            found.norm(Norm(g, beta, mean, deviation), where)
        else:
            held = ", ".join(map(shown, weights))
            raise Refused(f"{where}: neither a convolution nor a batch norm; it has {held}")
    return found.finished()


def _check_keras(layer: KerasLayer, where: str) -> None:
    """Raise Refused where the file says that it is no convolution that keeps height and width."""
    for name, expected in (
        ("class_name", ("Conv2D", "Convolution2D")),
        ("strides", (1, [1, 1])),
        ("dilation_rate", (1, [1, 1])),
        ("groups", (1,)),
        ("padding", ("same",)),
        ("data_format", ("channels_last", None)),
        ("activation", ("linear", "relu", None)),
    ):
        found = layer.settings.get(name, expected[0])
        if found not in expected:
            raise Refused(f"{where}: {name}: expected {expected[0]}, the file says {shown(found)}")


def _floating(array: Any, where: str) -> np.ndarray:
    if not isinstance(array, np.ndarray) or array.dtype.kind != "f":
        raise Refused(f"{where}: expected floating numbers")
    return array


# ------------------------------------------------------------------------------- MatConvNet


def of_matconvnet(variables: dict[str, Any]) -> list[Convolution]:
    """The convolutions of a SimpleNN network of MatConvNet, `net.layers{i}`.

    Filters (k, k, in, out) become (out, in, k, k); MATLAB leaves last axes of 1 away.

    Raises: Refused for layers that are not conv, bnorm, relu, or loss at the end.
    """
    holders = [v for v in (variables.get("net"), variables) if isinstance(v, dict)]
    layers = next((h["layers"] for h in holders if isinstance(h.get("layers"), list)), None)
    if layers is None:
        raise Refused("a MATLAB file without net.layers, which a MatConvNet network has")
    if len(layers) > _MOST_LAYERS:
        raise Refused(f"a network of {len(layers)} layers")
    found = _Sequence()
    for i, layer in enumerate(layers, 1):
        kind = layer.get("type") if isinstance(layer, dict) else None
        kind = kind if isinstance(kind, str) else None
        where = f"net.layers{{{i}}}"
        if kind == "conv":
            found.convolution(_matlab_convolution(layer, where))
        elif kind == "bnorm":
            found.norm(_matlab_norm(layer, where), where)
        elif kind == "relu" and not np.any(_option(layer, "leak", 0, where)):
            found.activation(where)
        elif kind != "loss" or i < len(layers):
            raise Refused(f"{where}: a layer of type {shown(kind)}; known are conv, bnorm, relu")
    return found.finished()


def _parts(layer: dict[str, Any], where: str) -> list[np.ndarray]:
    """Weights in the new form (a cell) or in the old one (two fields)."""
    parts = layer.get("weights")
    if not isinstance(parts, list):
        parts = [layer[name] for name in ("filters", "biases") if name in layer]
    if not parts:
        raise Refused(f"{where}: without weights")
    return [_floating(part, where) for part in parts]


def _option(layer: dict[str, Any], name: str, default: float, where: str) -> np.ndarray:
    value = layer.get(name, np.array(default))
    if not isinstance(value, np.ndarray) or value.dtype.kind not in "fiu" or not value.size:
        raise Refused(f"{where}: {name}: expected numbers")
    return value


def _matlab_convolution(layer: dict[str, Any], where: str) -> Convolution:
    given, *rest = _parts(layer, where)
    weight: np.ndarray = given.reshape(given.shape + (1,) * (4 - given.ndim))
    k = weight.shape[0]
    if weight.ndim != 4 or weight.shape[1] != k or k % 2 == 0:
        raise Refused(f"{where}: filters of shape {weight.shape}")
    for name, default, expected in (("stride", 1, 1), ("dilate", 1, 1), ("pad", 0, k // 2)):
        option = _option(layer, name, default, where)
        if option.size > 4 or (option != expected).any():
            raise Refused(f"{where}: {name}: expected {expected}")
    weight = np.ascontiguousarray(weight.transpose(3, 2, 0, 1))
    return Convolution(where, weight, rest[0].ravel() if rest and rest[0].size else None)


def _matlab_norm(layer: dict[str, Any], where: str) -> Norm:
    parts = _parts(layer, where)
    if len(parts) != 3 or parts[2].ndim != 2 or parts[2].shape[1] != 2:
        raise Refused(f"{where}: a batch norm without scale, shift and moments")
    g, beta, moments = parts  # (C, 1), (C, 1), (C, 2)
    return Norm(g.ravel(), beta.ravel(), *moments.T)  # mean and s, not var


# ------------------------------------------------------------------------------- pickled modules


def of_module(module: Any, budget: Budget) -> list[Convolution] | None:
    """The convolutions of a pickled PyTorch module that is a Sequential of Conv2d, BatchNorm2d and
    ReLU, or has one at the end of a line of only children; None where it is anything else.

    Raises: Refused for a convolution that does not keep height and width, or layers in an order
    that no DnCNN has.
    """
    children = _children(module)
    for _ in range(_MOST_WRAPPERS):
        if children is not None and len(children) == 1:
            children = _children(children[0])
    if not children or len(children) > _MOST_LAYERS:
        return None
    found = _Sequence()
    for i, child in enumerate(children):
        kind = class_of(child)[1]
        own, where = child.attributes, f"module {i}"
        if kind == "Conv2d":
            weight, bias = (_parameter(own, name, where, budget) for name in ("weight", "bias"))
            if weight is None or weight.ndim != 4:
                return None
            keeping = tuple(k // 2 for k in weight.shape[2:])
            window = Window(weight.shape[2:], padding=(keeping[0],) * 2 + (keeping[1],) * 2)
            check_convolution(child, where, window)
            found.convolution(Convolution(where, weight, bias))
        elif kind == "BatchNorm2d":
            names = ("weight", "bias", "running_mean", "running_var")
            parts = [_parameter(own, name, where, budget) for name in names]
            epsilon = own.get("eps")
            if not isinstance(epsilon, float) or any(part is None for part in parts):
                return None
            g, beta, mean, variance = (part for part in parts if part is not None)
            with np.errstate(invalid="ignore"):
                deviation = np.sqrt(variance.astype(np.float64) + epsilon)
            found.norm(Norm(g, beta, mean, deviation), where)
        elif kind == "ReLU":
            found.activation(where)
        else:
            return None
    return found.finished()


def _children(module: Any) -> list[Made] | None:
    modules = module.attributes.get("_modules") if isinstance(module, Made) else None
    if not isinstance(modules, dict) or not all(isinstance(m, Made) for m in modules.values()):
        return None
    return list(modules.values())


def _parameter(own: dict[Any, Any], name: str, where: str, budget: Budget) -> np.ndarray | None:
    for table in (own.get("_parameters"), own.get("_buffers")):
        if isinstance(table, dict) and isinstance(table.get(name), View | NumpyArray):
            return _floating(table[name].array(budget, f"{where}.{name}"), where)
    return None
