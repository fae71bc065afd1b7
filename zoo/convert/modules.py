"""What a pickled PyTorch module says about its layers beside their weights."""

from __future__ import annotations

from typing import Any

from minigrad import Conv2d, ConvTranspose2d, Module
from minigrad.windows import Pair, Window
from zoo.convert.budget import Refused, shown
from zoo.convert.records import Made, Name

_ACTIVATIONS = "torch.nn.modules.activation"


def class_of(module: Made) -> tuple[str, str]:
    """Module and name of a pickled object's class; two empty texts where it has none."""
    name = module.name
    return (name.module, name.name) if isinstance(name, Name) else ("", "")


def check_convolution(module: Made, where: str, window: Window, groups: int = 1) -> None:
    """Raise Refused where a pickled convolution is not one of this geometry with zero padding."""
    own = module.attributes
    top, bottom, left, right = window.padding
    padding = own.get("padding", (top, left))
    if padding in ("same", "valid"):
        padding = _same(window) if padding == "same" else (0, 0)
    for name, found, expected in (
        ("stride", own.get("stride", window.stride), window.stride),
        ("padding", padding, (top, left) if (top, left) == (bottom, right) else window.padding),
        ("dilation", own.get("dilation", window.dilation), window.dilation),
        ("groups", own.get("groups", groups), groups),
        ("padding_mode", own.get("padding_mode", "zeros"), "zeros"),
    ):
        if found not in (expected, _alone(expected)):
            raise Refused(f"{where}: {name}: expected {expected}, the file says {shown(found)}")


def _same(window: Window) -> Pair:
    (kh, kw), (dh, dw) = window.kernel, window.dilation
    return dh * (kh - 1) // 2, dw * (kw - 1) // 2


def _alone(pair: Any) -> Any:
    """The one number that stands for two equal ones."""
    return pair[0] if isinstance(pair, tuple) and len({*pair}) == 1 else pair


def check_layer(module: Made, layer: Module, where: str) -> None:
    """Raise Refused where a pickled layer computes something else than `layer` would with the same
    weights: another geometry of a convolution, another `eps` of a norm.
    """
    if isinstance(layer, Conv2d | ConvTranspose2d):
        check_convolution(module, where, layer.window, layer.groups)
    expected, found = getattr(layer, "eps", None), module.attributes.get("eps")
    if expected is not None and found is not None and found != expected:
        raise Refused(f"{where}: eps: expected {expected}, the file says {shown(found)}")


def check_activations(kinds: set[tuple[str, str]], network: Module) -> None:
    """Raise Refused where a pickled module has an activation that the network does not have."""
    known = {type(layer).__name__ for layer in network.modules()}
    foreign = sorted({name for home, name in kinds if home == _ACTIVATIONS} - known)
    if foreign:
        raise Refused(f"the module has {', '.join(map(shown, foreign))}, which the network has not")
