"""DnCNN: a chain of convolutions that predicts the noise. Two of its published forms."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from functools import partial
from itertools import pairwise
from typing import Any, Literal

import numpy as np

from minigrad import BatchNorm2d, Conv2d, Module, ReLU, Sequential, Subtract
from minigrad.checks import whole
from minigrad.initialise import kaiming_normal, normal
from zoo.architectures.denoiser import Denoiser

Init = Literal["native", "he", "matlab"]


class ResidualDenoiser(Denoiser):
    """f(y) = y - R(y): the chain R of layers predicts the noise, the network takes it off.

    Shapes: (N, C, H, W) -> the same, of any H and W.
    """

    subtract: Subtract

    def layers(self) -> Sequence[Module]:
        """R, layer by layer: convolutions, norms after them, ReLUs."""
        raise NotImplementedError(f"{type(self).__name__} does not define layers")

    def residual(self, y: Any) -> Any:
        """R(y), the noise estimate."""
        for layer in self.layers():
            y = layer(y)
        return y

    def wire(self, y: Any) -> Any:
        """The picture less its noise estimate."""
        return self.subtract(y, self.residual(y))


class DnCNN(ResidualDenoiser):
    """D convolutions 3x3 without biases, batch norm after all but the first and the last.

        dncnn.0         Conv2d(C, F)                     1: ReLU
        dncnn.2         Conv2d(F, F)   3: BatchNorm2d    4: ReLU     D - 2 times: 2, 5, 8, ...
        dncnn.3(D-2)+2  Conv2d(F, C)

    D is 17 for one noise level (DnCNN-S) and 20 for a range of them (DnCNN-B): 556,032 and 667,008
    parameters at C = 1, F = 64. `model.dncnn` alone gives the noise estimate.

    Source: Zhang et al., Beyond a Gaussian denoiser: residual learning of deep CNN for image
    denoising (2017); the widespread PyTorch form (SaoYan/DnCNN-PyTorch), whose keys these are.
    """

    def __init__(
        self,
        channels: int = 1,
        features: int = 64,
        depth: int = 17,
        init: Init = "he",
        *,
        dtype: Any = np.float32,
        rng: np.random.Generator | None = None,
    ) -> None:
        """`features` is F, `depth` D >= 2; `init` as for `draw_weights`."""
        rng = np.random.default_rng() if rng is None else rng
        self.channels = channels
        convs = convolutions(channels, features, depth, bias=False, dtype=dtype, rng=rng)
        norms = [BatchNorm2d(features, dtype=dtype) for _ in convs[1:-1]]
        self.dncnn = Sequential(*chain(convs, norms))
        self.subtract = Subtract()
        draw_weights(self, init, rng)

    def layers(self) -> Sequence[Module]:
        """The sequence `dncnn`."""
        return list(self.dncnn)


class KairDnCNN(ResidualDenoiser):
    """D convolutions 3x3, all with biases, in one of two forms.

        form "R"    convolution, ReLU;  ...;  convolution                       the norms merged
        form "BR"   convolution, ReLU;  convolution, batch norm, ReLU;  ...;  convolution

    "R" is what the published weights have (`model.0`, `model.2`, `model.4`, ...; 555,137 parameters
    at C = 1, D = 17), and what `zoo.merge.merge_batch_norm` makes of any DnCNN. "BR" is for
    training: norms at `model.3`, `model.6`, ..., with eps 1e-4 and weight 0.9 for the *new* batch
    in the running statistics. D is 17, and 20 in the blind and colour ones.

    Source: Zhang et al., Beyond a Gaussian denoiser (2017); the authors' PyTorch code (cszn/KAIR).
    """

    def __init__(
        self,
        channels: int = 1,
        features: int = 64,
        depth: int = 17,
        form: Literal["R", "BR"] = "R",
        init: Init = "native",
        *,
        dtype: Any = np.float32,
        rng: np.random.Generator | None = None,
    ) -> None:
        """`features` is the width, `depth` D >= 2; `init` as for `draw_weights`."""
        if form not in ("R", "BR"):
            raise ValueError(f"KairDnCNN: form: expected 'R' or 'BR', got {form!r}")
        rng = np.random.default_rng() if rng is None else rng
        self.channels = channels
        convs = convolutions(channels, features, depth, bias=True, dtype=dtype, rng=rng)
        norm = partial(BatchNorm2d, features, eps=1e-4, momentum=0.9, dtype=dtype)
        norms = [norm() if form == "BR" else None for _ in convs[1:-1]]
        self.model = Sequential(*chain(convs, norms))
        self.subtract = Subtract()
        draw_weights(self, init, rng)

    def layers(self) -> Sequence[Module]:
        """The sequence `model`."""
        return list(self.model)


# --------------------------------------------------------------------------- shared by the family


def convolutions(channels: int, features: int, depth: int, **how: Any) -> list[Conv2d]:
    """`depth` convolutions 3x3 that keep the size: C -> F, F -> F, ..., F -> C.

    Raises:
        ValueError: `depth` is below 2.
    """
    depth = whole(depth, "depth", "DnCNN", at_least=2)
    widths = [channels, *[features] * (depth - 1), channels]
    return [Conv2d(a, b, 3, padding=1, **how) for a, b in pairwise(widths)]


def chain(
    convs: Sequence[Module],
    norms: Iterable[Module | None],
    relu: Callable[[], Module] = ReLU,
) -> list[Module]:
    """Convolution, ReLU; convolution, norm (where it is not None), ReLU; ...; convolution."""
    first, *hidden, last = convs
    layers = [first, relu()]
    for conv, norm in zip(hidden, norms, strict=True):
        layers += [conv, relu()] if norm is None else [conv, norm, relu()]
    return [*layers, last]


def draw_weights(model: Module, init: Init, rng: np.random.Generator) -> None:
    """The first weights of a DnCNN, by one of three laws.

    "native": what PyTorch gives its layers: convolutions uniform, scales of norms 1.
    "he": convolutions He-normal with gain sqrt(2), biases 0; scales of norms N(0, 2 / (9 64)), the
        large ones clipped to +-0.025 (the PyTorch forms do this).
    "matlab": convolutions N(0, 2 / (9 64)), biases 0; scales by the same law, the small ones moved
        out to +-0.025 (the original).

    Raises:
        ValueError: `init` is none of these.
    """
    if init not in ("native", "he", "matlab"):
        raise ValueError(
            f"{type(model).__name__}: init: expected 'native', 'he' or 'matlab', got {init!r}"
        )
    if init == "native":
        return
    std, bound = (2 / (9 * 64)) ** 0.5, 0.025
    for parameter in model.parameters():
        shape, dtype = parameter.value.shape, parameter.value.dtype
        if parameter.name == "bias":
            parameter.value = np.zeros(shape, dtype)
        elif len(shape) == 4 and init == "he":
            parameter.value = kaiming_normal(shape, rng, dtype=dtype)
        else:
            value = normal(shape, rng, 0, std, dtype=dtype)
            if len(shape) == 1:
                outside = np.copysign(np.maximum(np.abs(value), bound), value)
                value = value.clip(-bound, bound) if init == "he" else outside
            parameter.value = value
