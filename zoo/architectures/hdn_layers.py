"""The two sides of HDN's ladder: a layer on the way up, a layer with its latent on the way down."""

from __future__ import annotations

from typing import Any, ClassVar, NamedTuple

from minigrad import Composite, Conv2d, Module, Split
from minigrad.backend import Array
from minigrad.module import Vjp, once
from zoo.architectures.hdn_blocks import Merge, MergeType, Style, resampling_chain


class Gaussian(NamedTuple):
    """Means and log-variances of a latent map: (N, Z, h, w) each; of the top prior N is 1."""

    mean: Any
    log_variance: Any


class BottomUpLayer(Composite):
    """Residual blocks, the first at half the size: (N, F, H, W) -> (N, F, H/2, W/2)."""

    def __init__(self, style: Style, blocks: int) -> None:
        self.net = resampling_chain(style, blocks, "down")

    def wire(self, x: Any) -> Any:
        """The chain."""
        return self.net(x)


class TopPrior(Module):
    """The prior of the top latent: y = top_prior_params, whatever x is.

    Shapes: x (N, C, h, w) gives the grid; y (1, 2Z, h, w), as stored, or (1, 2Z, 1, 1).
    VJP: d_top_prior_params = dy; x gets None.
    Keeps: nothing.
    """

    parameter_names: ClassVar[tuple[str, ...]] = ("top_prior_params",)
    top_prior_params: Array

    def __init__(self, style: Style, channels: int, grid: tuple[int, int]) -> None:
        """`channels` is Z, `grid` (h, w). It begins as N(0, 1)."""
        # Zeros that are drawn: who reads a file counts what its network asks the generator for.
        params = style.rng.uniform(0, 0, (1, 2 * channels, *grid)).astype(style.dtype)
        self._begin(params)

    def _begin(self, params: Array) -> None:
        self.set_parameters(top_prior_params=params)

    def forward(self, x: Array) -> Array:
        """The parameters, checked against the grid."""
        grid = self.top_prior_params.shape[2:]
        if grid not in (x.shape[2:], (1, 1)):
            raise ValueError(
                f"TopPrior: x: expected the grid {grid} of the prior (img_shape), got {x.shape}; "
                "other sizes can be denoised, but have no likelihood"
            )
        return self.top_prior_params

    def forward_and_vjp(self, x: Array) -> tuple[Array, Vjp]:
        """The same, and its vjp."""
        y = self.forward(x)

        def vjp(dy: Array) -> None:
            self.accumulate(top_prior_params=dy)

        return y, once(vjp, self, y)

    def describe(self) -> str:
        """The shape."""
        return f"{self.top_prior_params.shape}"


class FixedTopPrior(TopPrior):
    """N(0, 1), as a buffer: it is stored, and never trained."""

    parameter_names = ()
    buffer_names = ("top_prior_params",)

    def _begin(self, params: Array) -> None:
        self.top_prior_params = params

    def accumulate(self, **cotangents: Array | None) -> None:
        """Nothing: it is a constant."""


class Stochastic(Composite):
    """The convolutions around a latent map z; the top has no `conv_in_p`.

    p from h (F -> 2Z), q from what is known of the picture (F -> 2Z), and back from z (Z -> F).
    """

    def __init__(self, style: Style, z_dim: int, top: bool) -> None:
        f = style.width
        self.conv_in_p: Conv2d | None = None if top else style.conv(f, 2 * z_dim, 3)
        self.conv_in_q = style.conv(f, 2 * z_dim, 3)
        self.conv_out = style.conv(z_dim, f, 3)


class TopDownLayer(Composite):
    """One rung: a latent map, what it is expected to be, and what becomes of it.

        p = N from conv_in_p(h)                         expected from above (top: parameters)
        q = N from conv_in_q(merge(bu, h))              found for this picture (top: of bu alone)
        y = deterministic_block(skip_merger(conv_out(z), h))        at twice the size

    With `unconditional` (HDN_{3-6} and its like) the picture is left out: q comes of h alone, by
    conv_in_q. It differs from p, whose convolution is another, and the divergence of the two stays
    in the loss.

    h and bu are (N, F, h, w), y (N, F, 2h, 2w). At the top h is None.
    """

    def __init__(
        self,
        style: Style,
        blocks: int,
        z_dim: int,
        merge_type: MergeType,
        *,
        top_grid: tuple[int, int] | None,
        learn_top_prior: bool,
        stochastic_skip: bool,
        unconditional: bool,
    ) -> None:
        """`top_grid` is (h, w) of the top layer, None for the others."""
        top = top_grid is not None
        self.unconditional = unconditional and not top
        self.top_prior: TopPrior | None = None
        if top_grid is not None:
            make = TopPrior if learn_top_prior else FixedTopPrior
            self.top_prior = make(style, z_dim, top_grid)
        self.deterministic_block = resampling_chain(style, blocks, "up")
        self.stochastic = Stochastic(style, z_dim, top)
        self.merge = None if top else Merge(style, merge_type)
        skips = stochastic_skip and not top
        self.skip_connection_merger = Merge(style, "residual") if skips else None
        self.halves = Split((z_dim, z_dim))

    def posterior(self, h: Any, bu: Any) -> Gaussian:
        """q: the latent, given the picture."""
        if self.merge is None:
            known = bu
        else:
            known = h if self.unconditional else self.merge(bu, h)
        return Gaussian(*self.halves(self.stochastic.conv_in_q(known)))

    def prior(self, h: Any, bu: Any) -> Gaussian:
        """p: the latent, given the layers above. At the top `bu` tells the grid alone."""
        if self.top_prior is not None:
            return Gaussian(*self.halves(self.top_prior(bu)))
        assert self.stochastic.conv_in_p is not None
        return Gaussian(*self.halves(self.stochastic.conv_in_p(h)))

    def go_on(self, z: Any, h: Any) -> Any:
        """From a latent to the layer below."""
        y = self.stochastic.conv_out(z)
        if self.skip_connection_merger is not None:
            y = self.skip_connection_merger(y, h)
        return self.deterministic_block(y)

    def slots(self, trained: bool = False) -> dict[str, tuple[Module, str]]:
        """Those of the parts; the authors' key of the top prior has no prefix."""
        found = super().slots(trained)
        return {key.removeprefix("top_prior."): slot for key, slot in found.items()}
