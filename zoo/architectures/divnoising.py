"""DivNoising: a variational autoencoder with one latent map, N(0, 1) before a picture is seen."""

from __future__ import annotations

from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np

from minigrad import Composite, Conv2d, ConvTranspose2d, GaussianSample, MaxPool2d, ReLU
from minigrad.backend import Array
from minigrad.checks import whole
from minigrad.noise import Noise
from zoo.architectures.denoiser import evaluating
from zoo.architectures.sampling import Inference, Latent, StochasticDenoiser


class _Convs(Composite):
    """Two or three convolutions 3x3, each with a ReLU: `conv1`, `conv2`, `conv3`."""

    def __init__(self, inputs: int, outputs: int, count: int, how: dict[str, Any]) -> None:
        self.conv1 = Conv2d(inputs, outputs, 3, padding=1, **how)
        self.conv2 = Conv2d(outputs, outputs, 3, padding=1, **how)
        self.conv3 = Conv2d(outputs, outputs, 3, padding=1, **how) if count == 3 else None
        self.relu = ReLU()

    def refine(self, x: Any) -> Any:
        """The convolutions."""
        for conv in (self.conv1, self.conv2, self.conv3):
            x = x if conv is None else self.relu(conv(x))
        return x


class DownConv(_Convs):
    """Convolutions, then half the size."""

    def __init__(self, inputs: int, outputs: int, count: int, how: dict[str, Any]) -> None:
        super().__init__(inputs, outputs, count, how)
        self.pool = MaxPool2d(2)

    def wire(self, x: Any) -> Any:
        """(N, C, H, W) -> (N, C', H/2, W/2)."""
        return self.pool(self.refine(x))


class UpConv(_Convs):
    """Convolutions, then twice the size by a transposed convolution 2x2."""

    def __init__(self, inputs: int, outputs: int, count: int, how: dict[str, Any]) -> None:
        super().__init__(inputs, outputs, count, how)
        self.convtranspose = ConvTranspose2d(outputs, outputs, 2, 2, **how)

    def wire(self, x: Any) -> Any:
        """(N, C, H, W) -> (N, C', 2H, 2W)."""
        return self.convtranspose(self.refine(x))


class Code(NamedTuple):
    """Means and log-variances of the latent map: (N, z_dim, H / 2^depth, W / 2^depth) each."""

    mean: Any
    log_variance: Any


class Encoder(Composite):
    """From a normalised picture to the distribution of its latent map."""

    def __init__(self, widths: list[int], z_dim: int, count: int, ends: Any, how: Any) -> None:
        self.convmu, self.convlogvar = (ends(widths[-1], z_dim) for _ in range(2))
        self.down_convs = [DownConv(a, b, count, how) for a, b in pairwise(widths)]

    def wire(self, x: Any) -> Code:
        """Down, then both maps."""
        for down in self.down_convs:
            x = down(x)
        return Code(self.convmu(x), self.convlogvar(x))


class Decoder(Composite):
    """From a latent map to a clean picture, in normalised units."""

    def __init__(self, widths: list[int], z_dim: int, count: int, ends: Any, how: Any) -> None:
        self.convrecon = ends(widths[1], widths[0])
        inwards = [z_dim, *widths[:0:-1]]
        self.up_convs = [UpConv(a, b, count, how) for a, b in pairwise(inwards)]

    def wire(self, z: Any) -> Any:
        """Up, then one convolution."""
        for up in self.up_convs:
            z = up(z)
        return self.convrecon(z)


class DivNoising(StochasticDenoiser):
    """The variational autoencoder of one latent map.

        mean, log_variance = encoder(x)      z = mean + e^(log_variance / 2) e      y = decoder(z)

    No norms and no skips: the whole picture goes through the latent map.

    Shapes: (N, 1, H, W) -> the same, sides multiples of 2^n_depth. 261,281 parameters at the
    defaults, whose keys are the authors'.
    Source: Prakash, Krull, Jug, Fully unsupervised diversity denoising with convolutional
        variational autoencoders (2021); the authors' code.
    """

    channels = 1

    def __init__(
        self,
        z_dim: int = 64,
        init_filters: int = 32,
        n_filters_per_depth: int = 2,
        n_depth: int = 2,
        kernel_size: int = 3,
        stride: int = 1,
        padding: int = 1,
        bias: bool = True,
        groups: int = 1,
        data_mean: float = 0.0,
        data_std: float = 1.0,
        *,
        dtype: Any = np.float32,
        rng: np.random.Generator | None = None,
    ) -> None:
        """`n_depth` times half the size, with `n_filters_per_depth` convolutions (2 or 3) each, of
        `init_filters` channels and twice as many at each depth.

        `kernel_size`, `stride`, `padding`, `bias`, `groups` are those of the convolutions around
        the latent map and of the last one, and of no others, as in the authors' code.

        Raises:
            ValueError: a number that cannot be.
        """
        depth = whole(n_depth, "n_depth", "DivNoising", at_least=1)
        if n_filters_per_depth not in (2, 3):
            raise ValueError(
                f"DivNoising: n_filters_per_depth: expected 2 or 3, got {n_filters_per_depth}"
            )
        rng = np.random.default_rng() if rng is None else rng
        how: dict[str, Any] = {"dtype": dtype, "rng": rng}

        def ends(inputs: int, outputs: int) -> Conv2d:
            return Conv2d(
                inputs, outputs, kernel_size, stride, padding, groups=groups, bias=bias, **how
            )

        self.multiple = 1 << depth
        widths = [1, *(init_filters << d for d in range(depth))]
        self.encoder = Encoder(widths, z_dim, n_filters_per_depth, ends, how)
        self.decoder = Decoder(widths, z_dim, n_filters_per_depth, ends, how)
        self.sample = GaussianSample(noise=Noise(int(rng.integers(1 << 63))))
        self.z_dim = z_dim
        self.set_scale(data_mean, data_std)

    def infer(self, x: Any) -> Inference:
        """z drawn from q: for training."""
        q = self.encoder(x)
        z = self.sample(*q)
        return Inference(self.decoder(z), (Latent(z, *q),))

    def encode(self, x: Any) -> Any:
        """The distribution of the latent map."""
        return self.encoder(self.normalise(x))

    def decode(self, code: Any) -> Any:
        """One draw, decoded."""
        return self.denormalise(self.decoder(self.sample(*code)))

    def sample_prior(self, count: int, *, grid: tuple[int, int] = (20, 20), seed: int = 0) -> Array:
        """Pictures of nothing, from z ~ N(0, 1) on a grid of (h, w): (count, 1, H, W)."""
        z = Noise(seed).normal((count, self.z_dim, *grid), self.dtype)
        with evaluating(self):
            return self.denormalise(self.decoder(z))
