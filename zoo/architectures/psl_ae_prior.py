"""The encoder of PSL-AE with a learned prior: a Gaussian of z, and the clusters that it is to keep
near to.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from minigrad import Dropout, Module, Noise, Softmax, Softplus
from minigrad.backend import Array, array_module
from minigrad.module import Vjp, once
from zoo.architectures.psl_ae import BnMode, Trunk, dense

STRIDES = (1, 2, 1, 2, 1)
UP = (1, 2, 1, 2)
"""Strides of the decoder's transposed convolutions but for those of stride 1 at its end."""


def prior_widths(width: int) -> tuple[int, ...]:
    """Channels of the five convolutions: 16, 32, 48, 72, 128 for the published width of 16."""
    return width, 2 * width, 3 * width, 9 * width // 2, 8 * width


def prior_decoder_widths(width: int, longer: bool) -> tuple[int, ...]:
    """Channels of the decoder: 256, 128, 72, 48, 32 for a width of 16, and 16 with `longer`."""
    return 16 * width, *list(reversed(prior_widths(width)))[: 5 if longer else 4]


class Code(NamedTuple):
    """What the encoder says of each patch.

    mu, sigma: mean and standard deviation of z, (N, latent). reg: the probabilities of the clusters
    that are drawn towards equal ones; gate: those that choose the decoder, (N, K).
    """

    mu: Any
    sigma: Any
    reg: Any
    gate: Any


class PriorEncoder(Trunk):
    """A Gaussian of z for each patch, and probabilities of K clusters.

        h = relu(fc(trunk(x)))
        mu = z_mean(relu(z_hid(h)))         sigma = softplus(z_sig(relu(z_hid(h))))
        gate = softmax(y_gate(relu(y_hid(h))))

    With `two_heads` the regularised probabilities come from a head of their own, y_reg, as in the
    authors' code; without it the gate is what is regularised.

    Shapes: x (N, C, b, b) -> `Code`. At b = 16, width 16, latent 96 and K clusters with two heads:
    748,568 + 450 K + 192 parameters, those of the prior counted in.
    """

    def __init__(
        self,
        channels: int,
        block: int,
        widths: Sequence[int],
        hidden: int,
        latent: int,
        clusters: int,
        heads: tuple[int, int] = (128, 128),
        two_heads: bool = False,
        dropout: float = 0.0,
        bn_mode: BnMode = "frozen",
        noise: Noise | None = None,
        **how: Any,
    ) -> None:
        """`hidden`: numbers of h; `heads`: those of y_hid and z_hid; `dropout`: of h before z_hid,
        0 as the authors' training has it in effect.
        """
        super().__init__(channels, widths, STRIDES, bn_mode, **how)
        self.fc = dense(widths[-1] * (block // 4) ** 2, hidden, **how)
        self.y_hid = dense(hidden, heads[0], **how)
        self.y_reg = dense(heads[0], clusters, **how) if two_heads else None
        self.y_gate = dense(heads[0], clusters, **how)
        self.prior_mean = dense(clusters, latent, **how)
        self.prior_sig = dense(clusters, latent, **how)
        self.z_hid = dense(hidden, heads[1], **how)
        self.z_mean, self.z_sig = (dense(heads[1], latent, **how) for _ in range(2))
        self.softmax, self.softplus = Softmax(1), Softplus()
        self.dropout = Dropout(dropout, noise) if dropout else None
        self.units = UnitVectors()

    def wire(self, x: Any) -> Code:
        """The two branches."""
        h = self.relu(self.fc(self.features(x)))
        y = self.relu(self.y_hid(h))
        gate = self.softmax(self.y_gate(y))
        reg = gate if self.y_reg is None else self.softmax(self.y_reg(y))
        z = self.relu(self.z_hid(h if self.dropout is None else self.dropout(h)))
        return Code(self.z_mean(z), self.softplus(self.z_sig(z)), reg, gate)

    def prior(self, y: Any) -> tuple[Any, Any]:
        """(mean, standard deviation) of z for probabilities y: linear in y, the second through a
        softplus. For y = the unit vectors these are the K components of a mixture.
        """
        return self.prior_mean(y), self.softplus(self.prior_sig(y))

    def components(self, y: Any) -> tuple[Any, Any]:
        """Means and standard deviations of the K components, (K, latent) each; of y only the number
        of columns counts.
        """
        return self.prior(self.units(y))


class UnitVectors(Module):
    """y (N, K) -> the K unit vectors as rows, (K, K). VJP: None."""

    def forward(self, y: Array) -> Array:
        """The unit matrix, in the dtype of y."""
        self.check_input(y, ndim=2)
        return array_module(y).eye(y.shape[1], dtype=y.dtype)

    def forward_and_vjp(self, y: Array) -> tuple[Array, Vjp]:
        """The same, and a vjp that gives None."""
        unit = self.forward(y)
        return unit, once(lambda d: None, self, unit)
