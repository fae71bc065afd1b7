"""The parts of PSL-AE: encoder, decoders, classifier and projection head, as Keras computes them.

A patch of b x b pixels becomes a short vector, the vector becomes a patch. All convolutions have
Keras' padding "same", which for stride 2 lies below and on the right only.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Literal

import numpy as np

from minigrad import (
    BatchNorm2d,
    Composite,
    Flatten,
    Linear,
    Module,
    ReLU,
    Reshape,
    SameConv2d,
    SameConvTranspose2d,
    Sigmoid,
    Softmax,
)
from minigrad.backend import Array, array_module, to_host
from minigrad.checks import same_kind
from minigrad.initialise import xavier_uniform
from minigrad.module import Vjp, once

Routing = Literal["hard", "soft"]
BnMode = Literal["frozen", "train"]
STRIDES = (1, 2, 1, 1, 2)
EPS, MOMENTUM = 1e-3, 0.01  # Keras': its momentum of 0.99 is the part of the old value
_UP = (2, 1, 1, 1, 2, 1)


def dense(inputs: int, outputs: int, **how: Any) -> Linear:
    """A Linear as Keras starts it: Glorot's weights, a bias of 0."""
    made = Linear(inputs, outputs, **how)
    rng = how.get("rng") or np.random.default_rng()
    weight = xavier_uniform(made.weight.shape, rng, dtype=how.get("dtype", np.float32))
    made.set_parameters(weight=weight, bias=np.zeros_like(made.bias))
    return made


def encoder_widths(width: int) -> tuple[int, ...]:
    """Channels of the five convolutions: 16, 32, 48, 64, 72 for the published width of 16."""
    return width, 2 * width, 3 * width, 4 * width, 9 * width // 2


def decoder_widths(width: int) -> tuple[int, ...]:
    """Channels from the decoder's first picture on: 256, 72, 64, 48, 32, 16 for a width of 16."""
    return 16 * width, *reversed(encoder_widths(width))


class Trunk(Composite):
    """Five convolutions 3x3 with ReLUs, then a batch norm without one, then the numbers in a row.

    The norm divides by the running statistics in training mode too, which are 0 and 1 and stay so:
    it is y = weight x / sqrt(1 + 1e-3) + bias. That is how the published networks were trained.
    With `bn_mode="train"` it is a usual batch norm.
    """

    def __init__(
        self, channels: int, widths: Sequence[int], strides: Sequence[int], bn: BnMode, **how: Any
    ) -> None:
        """`widths` and `strides`: one for each convolution."""
        self.conv1, self.conv2, self.conv3, self.conv4, self.conv5 = (
            SameConv2d(c, k, 3, s, **how)
            for c, k, s in zip((channels, *widths), widths, strides, strict=False)
        )
        self.bn = BatchNorm2d(
            widths[-1], EPS, MOMENTUM, frozen=bn == "frozen", dtype=how.get("dtype", np.float32)
        )
        self.relu, self.flatten = ReLU(), Flatten()

    def features(self, x: Any) -> Any:
        """(N, C, b, b) -> (N, D): rows of channel, row, column."""
        for conv in (self.conv1, self.conv2, self.conv3, self.conv4, self.conv5):
            x = self.relu(conv(x))
        return self.flatten(self.bn(x))


class PatchEncoder(Trunk):
    """z = relu(fc2(relu(fc1(trunk(x))))): a patch becomes a vector of numbers from 0 on.

    Shapes: x (N, C, b, b) -> z (N, latent). 416,424 parameters at b = 16, width 16, latent 128.
    First weights: Glorot-uniform, biases 0.
    """

    def __init__(
        self,
        channels: int = 3,
        block: int = 16,
        widths: Sequence[int] = encoder_widths(16),
        hidden: int = 256,
        latent: int = 128,
        bn_mode: BnMode = "frozen",
        **how: Any,
    ) -> None:
        """`widths` are the channels of the convolutions, `hidden` the numbers between the two dense
        layers.
        """
        super().__init__(channels, widths, STRIDES, bn_mode, **how)
        self.fc1 = dense(widths[-1] * (block // 4) ** 2, hidden, **how)
        self.fc2 = dense(hidden, latent, **how)

    def wire(self, x: Any) -> Any:
        """The trunk and two dense layers."""
        return self.relu(self.fc2(self.relu(self.fc1(self.features(x)))))


class PatchDecoder(Composite):
    """A vector becomes a patch: a dense layer, then transposed convolutions 3x3; a sigmoid at last.

    Shapes: z (N, latent) -> x (N, C, b, b), values in (0, 1). 782,491 parameters at b = 16,
    width 16, latent 128.
    """

    def __init__(
        self,
        channels: int = 3,
        block: int = 16,
        widths: Sequence[int] = decoder_widths(16),
        latent: int = 128,
        strides: Sequence[int] = _UP,
        **how: Any,
    ) -> None:
        """`widths`: channels before each transposed convolution; `strides`: of each of them."""
        side = block // 4
        self.fc = dense(latent, side * side * widths[0], **how)
        self.reshape = Reshape((widths[0], side, side))
        outputs = (*widths[1:], channels)
        self._names = [f"deconv{i + 1}" for i in range(len(widths))]
        for name, c, k, s in zip(self._names, widths, outputs, strides, strict=True):
            setattr(self, name, SameConvTranspose2d(c, k, 3, s, **how))
        self.relu, self.sigmoid = ReLU(), Sigmoid()

    def wire(self, z: Any) -> Any:
        """The dense layer and the convolutions."""
        x = self.reshape(self.relu(self.fc(z)))
        *hidden, last = (getattr(self, name) for name in self._names)
        for deconv in hidden:
            x = self.relu(deconv(x))
        return self.sigmoid(last(x))


class Classifier(Composite):
    """y = softmax(fc2(relu(fc1(z)))): how much a vector belongs to each of K clusters.

    Shapes: z (N, latent) -> y (N, K).
    """

    def __init__(self, latent: int, hidden: int, clusters: int, **how: Any) -> None:
        self.fc1, self.fc2 = dense(latent, hidden, **how), dense(hidden, clusters, **how)
        self.relu, self.softmax = ReLU(), Softmax(1)

    def wire(self, z: Any) -> Any:
        """Two dense layers."""
        return self.softmax(self.fc2(self.relu(self.fc1(z))))


class ProjectionHead(Composite):
    """p = fc2(relu(fc1(z))): what the contrastive loss compares; thrown away after it.

    Shapes: z (N, latent) -> p (N, latent).
    """

    def __init__(self, latent: int, **how: Any) -> None:
        self.fc1, self.fc2 = dense(latent, latent, **how), dense(latent, latent, **how)
        self.relu = ReLU()

    def wire(self, z: Any) -> Any:
        """Two dense layers."""
        return self.fc2(self.relu(self.fc1(z)))


class Decoders(Module):
    """K decoders side by side, and which of them makes a patch.

    "hard": the decoder of the largest y, the first one of several; each makes its own patches only.
    "soft": the mean of all, weighted by y.

    Shapes: z (N, latent), y (N, K) -> x (N, C, b, b).
    VJP: hard: dz of the decoder that was taken, y gets None; soft: dz the sum over the decoders of
        what they return for y_k dx, dy_nk the sum of dx times the patch of decoder k.
    Keeps: what the decoders keep; soft: their patches and y.
    PyTorch: none; the decoders as a list. Children are named "0", "1", ...
    """

    def __init__(
        self, make: Callable[[], PatchDecoder], count: int, routing: Routing = "hard"
    ) -> None:
        """`make` gives a decoder, `count` is K."""
        self.count, self.routing = count, routing
        for k in range(count):
            setattr(self, str(k), make())

    def __iter__(self) -> Any:
        return iter(self.children().values())

    def __getitem__(self, k: int) -> Any:
        """Decoder k."""
        return getattr(self, str(k))

    def forward(self, z: Array, y: Array) -> Array:
        """The patches."""
        self._check(z, y)
        if self.routing == "soft":
            return sum(_column(y, k) * decoder.forward(z) for k, decoder in enumerate(self))
        return self._joined(z, [(rows, self[k].forward(z[rows])) for k, rows in self._rows(y)])

    def forward_and_vjp(self, z: Array, y: Array) -> tuple[Array, Vjp]:
        """The patches, and their vjp."""
        self._check(z, y)
        return self._soft(z, y) if self.routing == "soft" else self._hard(z, y)

    def _hard(self, z: Array, y: Array) -> tuple[Array, Vjp]:
        found = self._rows(y)
        made = [self[k].forward_and_vjp(z[rows]) for k, rows in found]
        pulls = [(rows, vjp) for (_, rows), (_, vjp) in zip(found, made, strict=True)]
        x = self._joined(
            z, [(rows, part) for (_, rows), (part, _) in zip(found, made, strict=True)]
        )

        def vjp(dx: Array) -> tuple[Array, None]:
            return self._joined(z, [(rows, pull(dx[rows])) for rows, pull in pulls]), None

        return x, once(vjp, self, x)

    def _soft(self, z: Array, y: Array) -> tuple[Array, Vjp]:
        made = [decoder.forward_and_vjp(z) for decoder in self]
        parts, pulls = [part for part, _ in made], [pull for _, pull in made]
        x = sum(_column(y, k) * part for k, part in enumerate(parts))
        xp = array_module(y)

        def vjp(dx: Array) -> tuple[Array, Array]:
            dy = xp.stack([(dx * part).sum((1, 2, 3)) for part in parts], axis=1)
            return sum(pull(_column(y, k) * dx) for k, pull in enumerate(pulls)), dy

        return x, once(vjp, self, x)

    def _rows(self, y: Array) -> list[tuple[int, Array]]:
        """The decoders that have patches, and which."""
        labels, xp = to_host(y).argmax(1), array_module(y)
        return [(k, xp.asarray(np.flatnonzero(labels == k))) for k in np.unique(labels).tolist()]

    @staticmethod
    def _joined(z: Array, parts: list[tuple[Array, Array]]) -> Array:
        """The rows of all parts at their places."""
        shape = (len(z), *parts[0][1].shape[1:])
        whole = array_module(z).empty(shape, dtype=z.dtype)
        for rows, part in parts:
            whole[rows] = part
        return whole

    def _check(self, z: Array, y: Array) -> None:
        self.check_input(z, ndim=2, name="z")
        self.check_input(y, ndim=2, name="y")
        if y.shape != (len(z), self.count):
            raise ValueError(
                f"Decoders: y: expected shape {(len(z), self.count)}, a probability for each "
                f"decoder, got {y.shape}"
            )
        same_kind(y, "y", "Decoders", z, "z")

    def macs(self, *shapes: tuple[int, ...]) -> int:
        """Of one decoder for each patch, or of all."""
        one: int = self[0].macs(shapes[0])
        return one * (self.count if self.routing == "soft" else 1)

    def describe(self) -> str:
        """Number and routing."""
        return f"{self.count}, routing={self.routing!r}"


def _column(y: Array, k: int) -> Array:
    return y[:, k, None, None, None]
