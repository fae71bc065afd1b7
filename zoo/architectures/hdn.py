"""HDN: a ladder of latent maps between a noisy picture and the clean ones that fit it."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import replace
from typing import Any, get_args

import numpy as np

from minigrad import CenterCrop2d, CenterPad2d, Conv2d, GaussianSample, Module, Sequential, Upsample
from minigrad.backend import Array, array_module
from minigrad.checks import whole
from minigrad.noise import Noise
from minigrad.wiring import Composite
from zoo.architectures.denoiser import evaluating
from zoo.architectures.hdn_blocks import (
    BlockOrder,
    MergeType,
    Nonlinearity,
    ResamplingBlock,
    Style,
)
from zoo.architectures.hdn_layers import BottomUpLayer, TopDownLayer
from zoo.architectures.sampling import Inference, Latent, StochasticDenoiser


class Likelihood(Composite):
    """The clean picture: a 3x3 convolution F -> C."""

    def __init__(self, style: Style, channels: int) -> None:
        self.parameter_net = style.conv(style.width, channels, 3)

    def wire(self, h: Any) -> Any:
        """The convolution."""
        return self.parameter_net(h)


class HDN(StochasticDenoiser):
    """The ladder variational autoencoder of L latent maps.

        x -> first_bottom_up -> bu_0 -> bu_1 -> ... -> bu_{L-1}         each at half the size
                                  |       |               |
             z_0 <------------- merge <- merge <- ... <- z_{L-1}        each at twice the size
              |
              v  final_top_down, crop, likelihood: the clean picture

    Each z_i is drawn from q_i, found from bu_i and from what comes down (`TopDownLayer`), and is
    expected to be p_i by what comes down alone. A picture is padded with zeros, centred, to
    multiples of 2^L, and the result is cropped. Hence `forward` takes any size; `denoise` pads by
    reflection before.

    What `use_uncond_mode_at` names (0 is the finest) does not see the picture: noise with structure
    that these scales alone could tell stays out of the clean picture. Where that is so the mean of
    q_i is taken when pictures are denoised, and nothing drawn.

    Shapes: (N, C, H, W) -> the same. 7,301,697 parameters at the defaults, whose keys are the
    authors'.
    Source: Prakash, Delbracio, Milanfar, Jug, Interpretable unsupervised diversity denoising and
        artefact removal (2022); the authors' code.
    """

    def __init__(
        self,
        z_dims: tuple[int, ...] = (32, 32, 32, 32, 32, 32),
        channels: int = 1,
        n_filters: int = 64,
        blocks_per_layer: int = 5,
        nonlin: Nonlinearity = "elu",
        merge_type: MergeType = "residual",
        batchnorm: bool = True,
        stochastic_skip: bool = True,
        dropout: float | None = 0.2,
        learn_top_prior: bool = True,
        img_shape: tuple[int, ...] = (64, 64),
        res_block_type: BlockOrder = "bacdbacd",
        gated: bool = True,
        no_initial_downscaling: bool = True,
        use_uncond_mode_at: tuple[int, ...] = (),
        data_mean: float = 0.0,
        data_std: float = 1.0,
        *,
        dtype: Any = np.float32,
        rng: np.random.Generator | None = None,
    ) -> None:
        """`z_dims`: channels of each latent map, the finest first. `n_filters`: F.
        `blocks_per_layer`: residual blocks on each rung, up and down, and at the end.

        `res_block_type`, `nonlin`, `batchnorm`, `dropout` (None: no such layers), `gated`: see
        `ResidualBlock`. `merge_type`: see `Merge`. `stochastic_skip`: whether what comes down is
        merged with z again. `learn_top_prior`: else it stays N(0, 1). `img_shape`: (H, W) of
        training, which is the grid of that prior. `no_initial_downscaling`: False halves the size
        once more, before and after all.

        Raises:
            ValueError: another word, or a number that cannot be.
        """
        _check(nonlin=(nonlin, Nonlinearity), merge_type=(merge_type, MergeType))
        _check(res_block_type=(res_block_type, BlockOrder))
        layers = len(z_dims)
        sizes = [whole(z, f"z_dims[{i}]", "HDN", at_least=1) for i, z in enumerate(z_dims)]
        hidden = [i for i in use_uncond_mode_at if i not in range(layers)]
        if not sizes or len(img_shape) != 2 or hidden:
            raise ValueError(
                "HDN: expected at least one of z_dims, img_shape (H, W), and use_uncond_mode_at "
                f"below the number of layers; got {z_dims}, {img_shape}, {use_uncond_mode_at}"
            )
        blocks = whole(blocks_per_layer, "blocks_per_layer", "HDN", at_least=1)
        rng = np.random.default_rng() if rng is None else rng
        noise = Noise(int(rng.integers(1 << 63)))
        style = Style(
            whole(n_filters, "n_filters", "HDN", at_least=1),
            res_block_type,
            nonlin,
            batchnorm,
            dropout,
            gated,
            noise,
            dtype,
            rng,
        )
        down = 1 if no_initial_downscaling else 2
        self._wiring: dict[str, Any] = {
            "channels": channels,
            "blocks_per_layer": blocks,
            "nonlin": nonlin,
            "merge_type": merge_type,
            "batchnorm": batchnorm,
            "stochastic_skip": stochastic_skip,
            "dropout": dropout,
            "img_shape": img_shape,
            "res_block_type": res_block_type,
            "gated": gated,
            "no_initial_downscaling": no_initial_downscaling,
            "use_uncond_mode_at": use_uncond_mode_at,
        }
        self.channels = whole(channels, "channels", "HDN", at_least=1)
        self.multiple = down << layers
        self.img_shape = tuple(whole(n, "img_shape", "HDN", at_least=1) for n in img_shape)
        rows, columns = (-(-n // self.multiple) for n in self.img_shape)
        self.pad, self.sample = CenterPad2d(multiple=self.multiple), GaussianSample(noise=noise)
        first = Conv2d(self.channels, style.width, 5, down, 2, dtype=dtype, rng=rng)
        plain = ResamplingBlock(replace(style, gated=False))
        self.first_bottom_up = Sequential(first, style.act(), plain)
        self.top_down_layers = [
            TopDownLayer(
                style,
                blocks,
                z_dim,
                merge_type,
                top_grid=(rows, columns) if i == layers - 1 else None,
                learn_top_prior=learn_top_prior,
                stochastic_skip=stochastic_skip,
                unconditional=i in use_uncond_mode_at,
            )
            for i, z_dim in enumerate(sizes)
        ]
        self.bottom_up_layers = [BottomUpLayer(style, blocks) for _ in sizes]
        final: list[Module] = [ResamplingBlock(style) for _ in range(blocks)]
        if down == 2:
            final.insert(0, Upsample(scale_factor=2, mode="bilinear"))
        self.final_top_down = Sequential(*final)
        self.likelihood = Likelihood(style, self.channels)
        self.set_scale(data_mean, data_std)

    # --- up, and down -------------------------------------------------------------------------

    def bottom_up(self, x: Any) -> list[Any]:
        """bu_0, ..., bu_{L-1}, of a picture in normalised units."""
        found = [self.first_bottom_up(self.pad(x))]
        for layer in self.bottom_up_layers:
            found.append(layer(found[-1]))
        return found[1:]

    def signal(self, h: Any, size: tuple[int, int]) -> Any:
        """The clean picture, in normalised units, from what the lowest rung gives."""
        return self.likelihood(CenterCrop2d(size)(self.final_top_down(h)))

    def infer(self, x: Any) -> Inference:
        """Each z drawn from q, and what was expected: for training."""
        h, latents = None, []
        for layer, bu in self._downwards(self.bottom_up(x)):
            q = layer.posterior(h, bu)
            z = self.sample(*q)
            latents.append(Latent(z, *q, *layer.prior(h, bu)))
            h = layer.go_on(z, h)
        return Inference(self.signal(h, x.shape[2:]), tuple(latents[::-1]))

    def encode(self, x: Any) -> Any:
        """The way up, and the size."""
        return self.bottom_up(self.normalise(x)), x.shape[2:]

    def decode(self, code: Any) -> Any:
        """The way down: z drawn from q, its mean where the picture is not seen."""
        bus, size = code
        h = None
        for layer, bu in self._downwards(bus):
            q = layer.posterior(h, bu)
            h = layer.go_on(q.mean if layer.unconditional else self.sample(*q), h)
        return self.denormalise(self.signal(h, size))

    def _downwards(self, bus: list[Any]) -> list[tuple[TopDownLayer, Any]]:
        return [*zip(self.top_down_layers, bus, strict=True)][::-1]

    def thin(self) -> HDN:
        """A ladder wired in the same way, of one filter: it sees as far."""
        return HDN((1,) * len(self.top_down_layers), n_filters=1, **self._wiring)

    # --- pictures of nothing ------------------------------------------------------------------

    def sample_prior(
        self,
        count: int,
        *,
        mode_layers: Collection[int] = (),
        constant_layers: Collection[int] = (),
        forced: Mapping[int, Array] | None = None,
        size: tuple[int, int] | None = None,
        seed: int = 0,
    ) -> Array:
        """Pictures that the network expects before it has seen any: each z drawn from p.

        Args:
            count: how many.
            mode_layers: layers whose z is the mean of p. constant_layers: those with one z for all
                pictures, that of the first. forced: z of a layer, given.
            size: (H, W), by default `img_shape`, of whole multiples of it: the prior is laid side
                by side.
            seed: of the draws.

        Returns:
            (count, C, H, W) in units of the pictures.

        Raises:
            ValueError: `count` below 1, or another size.
        """
        whole(count, "count", "HDN.sample_prior", at_least=1)
        size = self.img_shape if size is None else size  # type: ignore[assignment]
        assert size is not None
        forced = {} if forced is None else forced
        with evaluating(self), self.drawing_from(Noise(seed)):
            h: Any = None
            for i, layer in [*enumerate(self.top_down_layers)][::-1]:
                if layer.top_prior is not None:
                    p = layer.halves(self._laid_out(layer.top_prior.top_prior_params, count, size))
                else:
                    p = layer.prior(h, None)
                z = p[0] if i in mode_layers else self.sample(*p)
                if i in constant_layers:
                    z = array_module(z).broadcast_to(z[:1], z.shape)
                z = forced.get(i, z)
                h = layer.go_on(z, h)
            return self.denormalise(self.signal(h, size))

    def _laid_out(self, params: Array, count: int, size: tuple[int, int]) -> Array:
        """The prior of the top for so many pictures of this size: (count, 2Z, h, w)."""
        times = [n // own for n, own in zip(size, self.img_shape, strict=True)]
        if 0 in times or [t * n for t, n in zip(times, self.img_shape, strict=True)] != [*size]:
            raise ValueError(
                f"HDN.sample_prior: size: expected multiples of {self.img_shape}, got {size}"
            )
        return array_module(params).tile(params, (count, 1, *times))

    def describe(self) -> str:
        """What the layers do not show."""
        hidden = [i for i, layer in enumerate(self.top_down_layers) if layer.unconditional]
        return f"use_uncond_mode_at={hidden}" if hidden else ""


def _check(**words: tuple[str, Any]) -> None:
    for name, (value, known) in words.items():
        if value not in get_args(known):
            raise ValueError(f"HDN: {name}: expected one of {get_args(known)}, got {value!r}")
