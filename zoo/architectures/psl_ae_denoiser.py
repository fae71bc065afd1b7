"""PSL-AE: patches, each put through a bottleneck and rebuilt by the decoder of its cluster."""

from __future__ import annotations

from functools import partial
from typing import Any, Literal

import numpy as np

from minigrad import DividePatches, GaussianSample, MergePatches, Noise
from minigrad.backend import Array
from minigrad.checks import whole
from zoo.architectures.denoiser import Denoiser, Place
from zoo.architectures.psl_ae import (
    BnMode,
    Classifier,
    Decoders,
    PatchDecoder,
    PatchEncoder,
    Routing,
    decoder_widths,
    encoder_widths,
)
from zoo.architectures.psl_ae_prior import (
    UP,
    PriorEncoder,
    prior_decoder_widths,
    prior_widths,
)

Prior = Literal["none", "gate", "mixture"]
Sampling = Literal["sigma", "authors"]
_CHOICES = {
    "prior": ("none", "gate", "mixture"),
    "routing": ("hard", "soft"),
    "sampling": ("sigma", "authors"),
    "bn_mode": ("frozen", "train"),
}


class PSLAE(Denoiser):
    """Patch subspace learning autoencoder: the picture in overlapping patches of b x b pixels.

        z = encoder(patch)        y = classifier(z)        patch' = decoder k of z, y_k the largest

    The patches are cross-faded linearly where they overlap. Each is predicted from z alone: no way
    leads around the bottleneck.

    `prior`: "none", the published network of 2022, whose z is a vector of numbers from 0 on;
    "gate" and "mixture": z is drawn from a Gaussian of each patch, which training keeps near to a
    prior of its cluster (`zoo.objectives.subspace`). In evaluation z is the Gaussian's mean, unless
    `denoise` is asked for samples.

    Sides: overlap + a multiple of b - overlap; `denoise` extends the picture by reflection.
    Shapes: (N, C, H, W) -> the same. 1,989,792 parameters at b = 16, K = 2; keys `encoder.*`,
    `decoders.k.*`, `classifier.*`.
    Source: Yang, Yang and Bajaj, Patch subspace learning autoencoder (2021), arXiv 2104.00253.
    """

    def __init__(
        self,
        channels: int = 3,
        block: int = 16,
        overlap: int = 4,
        clusters: int = 2,
        width: int = 16,
        latent: int | None = None,
        prior: Prior = "none",
        routing: Routing = "hard",
        blend: bool = True,
        sampling: Sampling = "sigma",
        two_heads: bool = False,
        released: bool = False,
        dropout: float = 0.0,
        bn_mode: BnMode = "frozen",
        *,
        dtype: Any = np.float32,
        rng: np.random.Generator | None = None,
    ) -> None:
        """`block` is b, `overlap` what neighbours share, at most half of it; `clusters` is K.

        width: channels of the first convolution, to which all others are in proportion (even).
        latent: numbers of z; by default 128, and 96 with a prior.
        routing: "hard" or "soft", see `Decoders`. blend: cross-fade; else each patch counts up to
        the middle of an overlap.
        With a prior: `sampling` "authors" takes the standard deviation for a log-variance, as the
        authors' code does; `two_heads`, `dropout`: see `PriorEncoder`; `released`: one transposed
        convolution more in the decoder, as in the released weights.
        bn_mode: see `Trunk`.

        Raises:
            ValueError: another word, or a number that cannot be.
        """
        given = {"prior": prior, "routing": routing, "sampling": sampling, "bn_mode": bn_mode}
        for name, value in given.items():
            if value not in _CHOICES[name]:
                raise ValueError(f"PSLAE: {name}: expected one of {_CHOICES[name]}, got {value!r}")
        if whole(block, "block", "PSLAE", at_least=4) % 4:
            raise ValueError(f"PSLAE: block: expected a multiple of 4, got {block}")
        if whole(width, "width", "PSLAE", at_least=2) % 2:
            raise ValueError(f"PSLAE: width: expected an even number, got {width}")
        clusters = whole(clusters, "clusters", "PSLAE", at_least=1)
        latent = (128 if prior == "none" else 96) if latent is None else latent
        latent = whole(latent, "latent", "PSLAE", at_least=1)
        rng = np.random.default_rng() if rng is None else rng
        how: Any = {"dtype": dtype, "rng": rng}
        self.channels, self.prior, self.routing, self.blend = channels, prior, routing, blend
        self.divide = DividePatches(block, overlap)
        self.block, self.overlap = block, self.divide.overlap
        self.clusters, self.latent, self.sampling = clusters, latent, sampling
        hidden, size = 16 * width, (channels, block)
        if prior == "none":
            self.encoder: Any = PatchEncoder(
                *size, encoder_widths(width), hidden, latent, bn_mode, **how
            )
            make = partial(PatchDecoder, *size, decoder_widths(width), latent, **how)
        else:
            noise = Noise(int(rng.integers(1 << 63)))
            self.encoder = PriorEncoder(
                *size,
                prior_widths(width),
                hidden,
                latent,
                clusters,
                (8 * width, 8 * width),
                two_heads,
                dropout,
                bn_mode,
                noise,
                **how,
            )
            widths = prior_decoder_widths(width, released)
            strides = (*UP, *(1 for _ in widths[4:]))
            make = partial(PatchDecoder, *size, widths, latent, strides, **how)
            form = "std" if sampling == "sigma" else "log_variance"
            self.sample = GaussianSample(form, noise)
        self.decoders = Decoders(make, clusters, routing)
        if prior == "none":
            self.classifier: Classifier | None = Classifier(
                latent, max(1, latent // 2), clusters, **how
            )
        else:
            self.classifier = None
        self.drawing = False
        self.multiple, self.margin = block - overlap, overlap

    def code(self, patches: Any) -> tuple[Any, Any]:
        """(z, y) of patches: z is the mean where it is a Gaussian's."""
        if self.classifier is not None:
            z = self.encoder(patches)
            return z, self.classifier(z)
        found = self.encoder(patches)
        return (self.sample(found.mu, found.sigma) if self.drawing else found.mu), found.gate

    def wire(self, picture: Any) -> Any:
        """Divide, encode, route, merge."""
        z, y = self.code(self.divide(picture))
        return self.merge(self.decoders(z, y), picture.shape)

    def merge(self, patches: Any, shape: tuple[int, ...]) -> Any:
        """Patches in the order of `divide` as pictures of `shape`."""
        blocks = self.divide.window.count(*shape[2:])
        return MergePatches(self.block, self.overlap, blocks, self.blend)(patches)

    def estimate(
        self,
        x: Array,
        *means: Array,
        samples: int | None,
        seed: int,
        first: int,
        place: Place | None,
    ) -> Array:
        """As `Denoiser.estimate`. With a prior, `samples` draws of z, from number `first` on, are
        averaged; None: one estimate, from the mean of z.
        """
        how: dict[str, Any] = {"samples": samples, "seed": seed, "first": first, "place": place}
        if self.prior == "none" or samples is None:
            return super().estimate(x, *means, **how)
        kept, total = self.sample.noise, 0.0
        self.drawing = True
        try:
            for draw in range(whole(samples, "samples", "PSLAE.denoise", at_least=1)):
                self.sample.noise = Noise(seed).at(first + draw)
                total = total + super().estimate(x, *means, **how)
        finally:
            self.drawing, self.sample.noise = False, kept
        return total / samples

    def describe(self) -> str:
        """What the layers do not show."""
        return f"prior={self.prior!r}, routing={self.routing!r}"
