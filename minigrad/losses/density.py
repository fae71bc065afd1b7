"""DensityNLLLoss, PN2VLoss: minus the logarithm of densities that a noise model gave."""

from __future__ import annotations

from minigrad.backend import Array, array_module
from minigrad.checks import same_kind
from minigrad.losses.regression import _Regression, _total
from minigrad.module import Module, Vjp, once


class DensityNLLLoss(_Regression):
    """value = -sum log p / n, for densities (or probabilities) p > 0 of any shape; in nats.

    n is the number of elements, 1 with `reduction="sum"`.
    VJP: ddensity = -dvalue / (p n).
    Keeps: p.
    Source: Prakash et al., Fully unsupervised diversity denoising with convolutional variational
        autoencoders (2021).
    PyTorch: none; `-torch.log(p).mean()`.
    """

    def forward(self, density: Array) -> Array:
        """The loss, 0-d."""
        return self.forward_and_vjp(density)[0]

    def forward_and_vjp(self, density: Array) -> tuple[Array, Vjp]:
        """The loss, and its vjp."""
        self.check_input(density, name="density")
        weight = self._weight(density.size)

        def vjp(dvalue: Array) -> Array:
            return dvalue * -weight / density

        y = _total(array_module(density).log(density), -weight)
        return y, once(vjp, self, y)


class PN2VLoss(Module):
    """value = -sum m log(mean_k p_k) / sum m: a network that predicts K samples of the signal, each
    with its density p_k of the observation.

    Shapes: density (K, ...); mask m (...), 1 at the pixels that count. NaN if none does.
    VJP: ddensity_k = -dvalue m / (sum_k p_k sum m), the same for every k (a view with stride 0);
        the mask gets None.
    Keeps: m / (sum_k p_k sum m).
    Source: Krull et al., Probabilistic noise2void (2020).
    PyTorch: none; one line.
    """

    def forward(self, density: Array, mask: Array) -> Array:
        """The loss, 0-d."""
        return self.forward_and_vjp(density, mask)[0]

    def forward_and_vjp(self, density: Array, mask: Array) -> tuple[Array, Vjp]:
        """The loss, and its vjp."""
        self._check(density, mask)
        xp, shape = array_module(density), density.shape
        total, n = density.sum(0), mask.sum()
        gradient = mask / (total * -n)

        def vjp(dvalue: Array) -> tuple[Array, None]:
            return xp.broadcast_to(gradient * dvalue, shape), None

        y = _total(mask * xp.log(total / shape[0]), -1 / n)
        return y, once(vjp, self, y)

    def _check(self, density: Array, mask: Array) -> None:
        self.check_input(density, name="density")
        self.check_input(mask, name="mask")
        same_kind(mask, "mask", "PN2VLoss", density, "density")
        if not density.ndim or not density.shape[0]:
            raise ValueError(
                f"PN2VLoss: density: expected at least one sample on axis 0, got {density.shape}"
            )
        if mask.shape != density.shape[1:]:
            raise ValueError(
                f"PN2VLoss: mask: expected the density's shape {density.shape} without axis 0, "
                f"got {mask.shape}"
            )
