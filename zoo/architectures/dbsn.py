"""D-BSN: a dilated network whose output at a pixel does not depend on the input at that pixel."""

from __future__ import annotations

from typing import Any, Literal, NamedTuple

import numpy as np

from minigrad import (
    Add,
    Composite,
    Concat,
    Conv2d,
    LeakyReLU,
    MaskedConv2d,
    Module,
    ReLU,
    Sequential,
    TrimmedConv2d,
)
from minigrad.checks import whole
from minigrad.initialise import kaiming_normal

BlindSpot = Literal["masked", "trimmed"]
Activation = Literal["relu", "leaky_relu"]
_BLIND_SPOTS: dict[str, type[MaskedConv2d]] = {"masked": MaskedConv2d, "trimmed": TrimmedConv2d}


class Blind(NamedTuple):
    """What the surroundings say of a pixel: its mean, and features for whoever wants more."""

    mu: Any
    features: Any


class DBSN(Composite):
    """Two branches of dilated convolutions behind a convolution with a dead centre.

        h = act(dbsn_head(y))                        1x1, C_in -> C
        features = concat([br1(h), br2(h)])          1x1, 2C -> C, nothing after it
        mu = dbsn_tail(features)                     three 1x1, C -> C -> C -> C_in, act between

    Branch 1 begins with a masked 3x3 convolution and goes on by steps of 2 pixels, branch 2 with a
    masked 5x5 one and steps of 3. The first reaches the offsets {-1, 0, 1}^2 (of -2 .. 2 in branch
    2) without (0, 0), and none of these is a multiple of 2 (of 3) in both directions: no sum of
    steps leads back to the pixel itself. 1x1 convolutions move nothing.

    With N blocks branch 1 reaches 1 + 4N pixels, branch 2 reaches 2 + 6N: at N = 8 the output sees
    9,520 of 101 x 101 pixels.

    Shapes: y (N, C_in, H, W) -> mu (N, C_in, H, W), features (N, C, H, W), of any H and W.
    6,612,289 parameters at C_in = 1, C = 96, N = 8; 6,612,675 at C_in = 3.
    First weights: He-normal with the dead taps counted, biases 0, but for that of `concat`, which
    keeps PyTorch's own, uniform within 1 / sqrt(2C), as in the authors' code.
    Source: Wu, Liu, Cao, Ren and Zuo, Unpaired learning of deep image denoising (2020); the
        authors' code, whose keys these are.
    """

    def __init__(
        self,
        channels: int = 1,
        width: int = 96,
        blocks: int = 8,
        blind_spot: BlindSpot = "masked",
        activation: Activation = "relu",
        *,
        dtype: Any = np.float32,
        rng: np.random.Generator | None = None,
    ) -> None:
        """`channels` is C_in, `width` C, `blocks` N >= 0 in each branch.

        `blind_spot`: "masked", or "trimmed", which scales sums up for the taps that they lack.
        `activation`: "relu", or "leaky_relu" of slope 0.1.

        Raises:
            ValueError: another word, or a number that cannot be.
        """
        for name, value, known in (
            ("blind_spot", blind_spot, tuple(_BLIND_SPOTS)),
            ("activation", activation, ("relu", "leaky_relu")),
        ):
            if value not in known:
                raise ValueError(f"DBSN: {name}: expected one of {known}, got {value!r}")
        blocks = whole(blocks, "blocks", "DBSN", at_least=0)
        rng = np.random.default_rng() if rng is None else rng
        how = {"dtype": dtype, "rng": rng}
        first = _BLIND_SPOTS[blind_spot]

        def act() -> Module:
            return LeakyReLU(0.1) if activation == "leaky_relu" else ReLU()

        def branch(kernel: int) -> Branch:
            return Branch(first, kernel, width, blocks, act, how)

        self.dbsn_head = Sequential(Conv2d(channels, width, 1, **how), act())
        self.br1, self.br2 = branch(3), branch(5)
        self.cat = Concat()
        self.concat = Conv2d(2 * width, width, 1, **how)
        convs = [Conv2d(width, n, 1, **how) for n in (width, width, channels)]
        self.dbsn_tail = Sequential(convs[0], act(), convs[1], act(), convs[2])
        he_normal(self, rng, but=self.concat)

    def wire(self, y: Any) -> Blind:
        """The figure."""
        h = self.dbsn_head(y)
        features = self.concat(self.cat(self.br1(h), self.br2(h)))
        return Blind(self.dbsn_tail(features), features)


class Branch(Composite):
    """Convolution k x k with a dead centre, two 1x1, N MDC blocks at dilation (k + 1) / 2, one 1x1.

    An activation after each convolution but the last. Keys `branch.0`, `.2`, `.4` (convolutions),
    `.6` to `.(5 + N)` (blocks), `.(6 + N)`.
    """

    def __init__(
        self,
        first: type[MaskedConv2d],
        kernel: int,
        width: int,
        blocks: int,
        act: Any,
        how: dict[str, Any],
    ) -> None:
        dilation = (kernel + 1) // 2
        layers: list[Module] = [first(width, width, kernel, padding=kernel // 2, **how), act()]
        for _ in range(2):
            layers += [Conv2d(width, width, 1, **how), act()]
        layers += [MDCBlock(width, dilation, act, how) for _ in range(blocks)]
        self.branch = Sequential(*layers, Conv2d(width, width, 1, **how))

    def wire(self, h: Any) -> Any:
        """The chain."""
        return self.branch(h)


class MDCBlock(Composite):
    """Multi-dilated convolutions: three ways side by side, joined, and added to the input.

        r1 = 1x1, act, 5x5 at dilation d, act       r2 = 1x1, act, 3x3 at dilation d, act
        r3 = 1x1, act
        s = x + ReLU(concat([r1, r2, r3]))          1x1, 3C -> C; ReLU whatever act is
        y = 1x1, act, 1x1, act of s

    All moves are by multiples of d pixels. Shapes: (N, C, H, W) -> the same. 42 C^2 + 8 C
    parameters.
    """

    def __init__(self, width: int, dilation: int, act: Any, how: dict[str, Any]) -> None:
        def pointwise(inputs: int = width) -> Conv2d:
            return Conv2d(inputs, width, 1, **how)

        def dilated(kernel: int) -> Sequential:
            padding = dilation * (kernel - 1) // 2  # keeps the size
            conv = Conv2d(width, width, kernel, padding=padding, dilation=dilation, **how)
            return Sequential(pointwise(), act(), conv, act())

        self.inception_br1, self.inception_br2 = dilated(5), dilated(3)
        self.inception_br3 = Sequential(pointwise(), act())
        self.cat = Concat()
        self.concat = pointwise(3 * width)
        self.relu = ReLU()
        self.add = Add()
        self.middle_1x1_convs = Sequential(pointwise(), act(), pointwise(), act())

    def wire(self, x: Any) -> Any:
        """The residual is added after the ReLU."""
        ways = self.cat(self.inception_br1(x), self.inception_br2(x), self.inception_br3(x))
        return self.middle_1x1_convs(self.add(self.relu(self.concat(ways)), x))


def he_normal(network: Module, rng: np.random.Generator, but: Module | None = None) -> None:
    """Draw the weights of all convolutions anew, N(0, 2 / fan_in), and set their biases to 0; the
    bias of `but` stays.
    """
    for parameter in network.parameters():
        shape, dtype = parameter.value.shape, parameter.value.dtype
        if parameter.name == "weight":
            parameter.value = kaiming_normal(shape, rng, dtype=dtype)
        elif parameter.owner is not but:
            parameter.value = np.zeros(shape, dtype)
