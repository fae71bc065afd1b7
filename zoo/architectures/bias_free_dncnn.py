"""DnCNN without additive constants, as two groups published it, with two different norms."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from minigrad import BatchNorm2d, BFBatchNorm2d, BFStdNorm2d, Module, ReLU, Subtract
from minigrad.initialise import normal
from zoo.architectures.dncnn import Init, ResidualDenoiser, chain, convolutions, draw_weights


class BFDnCNN(ResidualDenoiser):
    """D convolutions 3x3 with norms that only scale; with `bias` the plain DnCNN of the same study.

        first_layer, ReLU;  hidden_layer_list.i, bn_layer_list.i, ReLU;  ...;  last_layer

    Without biases the norm is `BFBatchNorm2d`, and in evaluation mode f(a y) = a f(y) for a > 0:
    the network serves noise levels that it was not trained on. With them it is `BatchNorm2d`.

    At C = 1, F = 64, D = 20: 665,856 parameters, and 668,225 with `bias`. The authors count 667,008
    in the first: they include the 1,152 unused `bn_layer_list.i.bias`, which are buffers here.

    Source: Mohan, Kadkhodaie, Simoncelli and Fernandez-Granda, Robust and interpretable blind image
    denoising via bias-free convolutional neural networks (2020); the authors' code, whose keys
    these are.
    """

    def __init__(
        self,
        channels: int = 1,
        features: int = 64,
        depth: int = 20,
        bias: bool = False,
        init: Init = "he",
        *,
        dtype: Any = np.float32,
        rng: np.random.Generator | None = None,
    ) -> None:
        """`features` is F, `depth` D >= 2; `init` as for `draw_weights`."""
        rng = np.random.default_rng() if rng is None else rng
        self.channels = channels
        convs = convolutions(channels, features, depth, bias=bias, dtype=dtype, rng=rng)
        norm = BatchNorm2d if bias else BFBatchNorm2d
        self.first_layer, *self.hidden_layer_list, last = convs
        self.bn_layer_list = [norm(features, dtype=dtype) for _ in self.hidden_layer_list]
        self.last_layer = last
        self.relu = ReLU()
        self.subtract = Subtract()
        draw_weights(self, init, rng)

    def layers(self) -> Sequence[Module]:
        """First, hidden and last layers, with norms and ReLUs between them."""
        convs = [self.first_layer, *self.hidden_layer_list, self.last_layer]
        return chain(convs, self.bn_layer_list, lambda: self.relu)


class PCSTDnCNN(ResidualDenoiser):
    """The bias-free DnCNN of patch-craft self-supervised training, for colour.

        conv_layers.0, ReLU;  conv_layers.i, norm i - 1, ReLU;  ...;  conv_layers.(D-1)

    The norm is `BFStdNorm2d`, another than that of `BFDnCNN`. In the published files its arrays are
    two lists of their own, `gammas.i` and `running_sd.i`, both (1, F, 1, 1); the state dict of this
    network has these keys.

    668,160 parameters at C = 3, F = 64, D = 20, beside 1,152 running deviations. Convolutions are
    drawn as PyTorch draws them, gammas from N(0, (2 / 576)^2): a square root was forgotten in the
    authors' code, where training starts from a file.

    Source: Vaksman and Elad, Patch-craft self-supervised training for correlated image denoising
    (2023); the authors' code.
    """

    def __init__(
        self,
        channels: int = 3,
        features: int = 64,
        depth: int = 20,
        *,
        dtype: Any = np.float32,
        rng: np.random.Generator | None = None,
    ) -> None:
        """`features` is F, `depth` D >= 2."""
        rng = np.random.default_rng() if rng is None else rng
        self.channels = channels
        self.conv_layers = convolutions(channels, features, depth, bias=False, dtype=dtype, rng=rng)
        self.norms = [BFStdNorm2d(features, dtype=dtype) for _ in self.conv_layers[1:-1]]
        self.relu = ReLU()
        self.subtract = Subtract()
        for norm in self.norms:
            norm.gamma[...] = normal(norm.gamma.shape, rng, 0, 2 / 576).clip(-0.025, 0.025)

    def layers(self) -> Sequence[Module]:
        """The convolutions, with norms and ReLUs between them."""
        return chain(self.conv_layers, self.norms, lambda: self.relu)

    def slots(self, trained: bool = False) -> dict[str, tuple[Module, str]]:
        """The authors' keys: first all convolutions, then all deviations, then all gammas."""
        own = super().slots(trained)
        found = {key: slot for key, slot in own.items() if key.startswith("conv_layers.")}
        for theirs, ours in (("running_sd", "running_sd"), ("gammas", "gamma")):
            for i, _ in enumerate(self.norms):
                if (key := f"norms.{i}.{ours}") in own:
                    found[f"{theirs}.{i}"] = own[key]
        return found
