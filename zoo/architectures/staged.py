"""RCNN and SDenseNet: a block of convolutions, used again and again or once for each stage."""

from __future__ import annotations

from typing import Any

import numpy as np

from minigrad import Composite, Concat, Conv2d, Noise, ReLU
from minigrad.checks import whole
from zoo.architectures.denoiser import Denoiser


class ConvBlock(Composite):
    """first_layer, ReLU;  n times hidden_layer_list.i, ReLU;  last_layer. All 3x3.

    Shapes: (N, C_in, H, W) -> (N, C_out, H, W).
    """

    def __init__(
        self,
        inputs: int,
        outputs: int,
        features: int,
        hidden: int,
        bias: bool,
        last_bias: bool,
        **how: Any,
    ) -> None:
        """`hidden` is n >= 0; `bias` is for all but the last layer, `last_bias` for that."""
        hidden = whole(hidden, "hidden", "ConvBlock", at_least=0)
        how["padding"] = 1
        self.first_layer = Conv2d(inputs, features, 3, bias=bias, **how)
        self.hidden_layer_list = [
            Conv2d(features, features, 3, bias=bias, **how) for _ in range(hidden)
        ]
        self.last_layer = Conv2d(features, outputs, 3, bias=last_bias, **how)
        self.relu = ReLU()

    def wire(self, x: Any) -> Any:
        """The chain."""
        for conv in (self.first_layer, *self.hidden_layer_list):
            x = self.relu(conv(x))
        return self.last_layer(x)


class BFRCNN(Denoiser):
    """One block B, applied K times to the noisy picture and the estimate so far.

        o_0 = y;  o_(k+1) = B([y, o_k]);  f(y) = o_K

    K is `max_stage` in evaluation mode. In training it is drawn anew in each pass, uniformly from 1
    to `max_stage`, from `self.noise`: one draw a pass. The last layer never has a bias.

    Shapes: (N, C, H, W) -> the same, of any H and W. 186,048 parameters at C = 1, F = 64, n = 5,
    and 186,432 with `bias`. Keys `cnn.*`; PyTorch's own first weights.
    Source: Mohan et al., Robust and interpretable blind image denoising via bias-free convolutional
    neural networks (2020); the authors' code.
    """

    def __init__(
        self,
        channels: int = 1,
        features: int = 64,
        hidden: int = 5,
        max_stage: int = 4,
        bias: bool = False,
        *,
        dtype: Any = np.float32,
        rng: np.random.Generator | None = None,
    ) -> None:
        """`features` is F, `hidden` n; the seed of the noise is drawn from `rng`."""
        rng = np.random.default_rng() if rng is None else rng
        self.channels = channels
        self.max_stage = whole(max_stage, "max_stage", "BFRCNN", at_least=1)
        self.cnn = ConvBlock(
            2 * channels, channels, features, hidden, bias, False, dtype=dtype, rng=rng
        )
        self.cat = Concat()
        self.noise = Noise(int(rng.integers(1 << 63)))

    def wire(self, y: Any) -> Any:
        """The estimate, improved K times."""
        estimate = y
        for _ in range(self.stages()):
            estimate = self.cnn(self.cat(y, estimate))
        return estimate

    def stages(self) -> int:
        """K; drawn in training mode."""
        return 1 + int(self.noise.integers(self.max_stage)) if self.training else self.max_stage

    def describe(self) -> str:
        """What the layers do not show."""
        return f"max_stage={self.max_stage}"


class BFSDenseNet(Denoiser):
    """A block for each stage, which sees the noisy picture and what the stage before made of it.

        u_1 = B_0(y);  u_(i+1) = B_i([y, u_i]);  f(y) = the last of them

    All stages but the last hand on n channels, as many as a block has hidden layers; the last gives
    the picture. With `bias` the last layer of each stage but the final one has a bias too.

    Shapes: (N, C, H, W) -> the same, of any H and W. 757,440 parameters at C = 1, F = 64, n = 5,
    and 758,991 with `bias`. Keys `cnn_list.i.*`; PyTorch's own first weights.
    Source: Mohan et al., Robust and interpretable blind image denoising via bias-free convolutional
    neural networks (2020), a simplified DenseNet; the authors' code.
    """

    def __init__(
        self,
        channels: int = 1,
        features: int = 64,
        hidden: int = 5,
        max_stage: int = 4,
        bias: bool = False,
        *,
        dtype: Any = np.float32,
        rng: np.random.Generator | None = None,
    ) -> None:
        """`features` is F, `hidden` n >= 1, `max_stage` the number of stages."""
        rng = np.random.default_rng() if rng is None else rng
        hidden = whole(hidden, "hidden", "BFSDenseNet", at_least=1)
        final = whole(max_stage, "max_stage", "BFSDenseNet", at_least=1) - 1
        self.channels = channels
        self.cnn_list = [
            ConvBlock(
                channels + hidden if i else channels,
                hidden if i < final else channels,
                features,
                hidden,
                bias,
                bias and i < final,
                dtype=dtype,
                rng=rng,
            )
            for i in range(final + 1)
        ]
        self.cat = Concat()

    def wire(self, y: Any) -> Any:
        """Stage by stage."""
        first, *others = self.cnn_list
        u = first(y)  # (N, n, H, W)
        for block in others:
            u = block(self.cat(y, u))
        return u
