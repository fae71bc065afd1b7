"""MSELoss, HalfSquaredErrorLoss, L1Loss, CharbonnierLoss, MaskedMSELoss, AnnealedL0Loss, HDRLoss:
how far a prediction is from a target.

All take (prediction, target) of one shape and return a 0-d array of their dtype; none gives the
target a cotangent. D is prediction - target, n the number of elements. With `reduction="sum"`, n
is 1.
"""

from __future__ import annotations

from math import nan
from typing import Any, ClassVar

import numpy as np

from minigrad.backend import Array, array_module
from minigrad.checks import number, same_kind
from minigrad.module import Vjp, once
from minigrad.reduction import Reduced


class _Regression(Reduced):
    """Losses of a prediction and a target of one shape: one number in any case."""

    reductions: ClassVar[tuple[str, ...]] = ("mean", "sum")

    def _check(self, prediction: Array, target: Array, name: str = "prediction") -> None:
        self.check_input(prediction, name=name)
        self.check_input(target, name="target")
        loss = type(self).__name__
        if prediction.shape != target.shape:
            raise ValueError(
                f"{loss}: target: expected the shape {prediction.shape} of {name}, got "
                f"{target.shape}"
            )
        same_kind(target, "target", loss, prediction, name)


def _total(terms: Array, weight: float | Array) -> Array:
    """weight times the sum of `terms`, as a 0-d array of their dtype (a sum alone is a scalar)."""
    return array_module(terms).asarray(terms.sum() * weight, dtype=terms.dtype)


class MSELoss(_Regression):
    """value = sum D^2 / n.

    VJP: dprediction = dvalue 2 D / n; the target gets None.
    Keeps: D.
    PyTorch: `torch.nn.MSELoss`.
    """

    def forward(self, prediction: Array, target: Array) -> Array:
        """The mean squared difference, 0-d."""
        return self.forward_and_vjp(prediction, target)[0]

    def forward_and_vjp(self, prediction: Array, target: Array) -> tuple[Array, Vjp]:
        """The loss, and its vjp."""
        self._check(prediction, target)
        d = prediction - target
        weight = self._weight(d.size)

        def vjp(dvalue: Array) -> tuple[Array, None]:
            return d * (dvalue * (2 * weight)), None

        y = _total(d * d, weight)
        return y, once(vjp, self, y)


class HalfSquaredErrorLoss(_Regression):
    """value = sum D^2 / (2 N), N the number of images: half the squared error of a whole image.

    Shapes: prediction and target (N, ...).
    VJP: dprediction = dvalue D / N; the target gets None.
    Keeps: D.
    Source: Zhang et al., Beyond a Gaussian denoiser: residual learning of deep CNN for image
        denoising (2017), equation 1.
    PyTorch: own twin.
    """

    reductions = ("images",)

    def __init__(self) -> None:
        """No arguments."""
        super().__init__("images")

    def forward(self, prediction: Array, target: Array) -> Array:
        """Half the squared error of an image, on average, 0-d; NaN without images."""
        return self.forward_and_vjp(prediction, target)[0]

    def forward_and_vjp(self, prediction: Array, target: Array) -> tuple[Array, Vjp]:
        """The loss, and its vjp."""
        self._check(prediction, target)
        if not prediction.shape:
            raise ValueError(
                "HalfSquaredErrorLoss: prediction: expected at least 1 axis, got shape ()"
            )
        d = prediction - target
        weight = 1 / len(d) if len(d) else nan

        def vjp(dvalue: Array) -> tuple[Array, None]:
            return d * (dvalue * weight), None

        y = _total(d * d, weight / 2)
        return y, once(vjp, self, y)

    def describe(self) -> str:
        """Nothing: there is one form."""
        return ""


class L1Loss(_Regression):
    """value = sum |D| / n.

    VJP: dprediction = dvalue sign(D) / n, with sign(0) = 0; the target gets None.
    Keeps: D.
    PyTorch: `torch.nn.L1Loss`.
    """

    def forward(self, prediction: Array, target: Array) -> Array:
        """The mean absolute difference, 0-d."""
        return self.forward_and_vjp(prediction, target)[0]

    def forward_and_vjp(self, prediction: Array, target: Array) -> tuple[Array, Vjp]:
        """The loss, and its vjp."""
        self._check(prediction, target)
        xp = array_module(prediction)
        d = prediction - target
        weight = self._weight(d.size)

        def vjp(dvalue: Array) -> tuple[Array, None]:
            return xp.sign(d) * (dvalue * weight), None

        y = _total(xp.abs(d), weight)
        return y, once(vjp, self, y)


class CharbonnierLoss(_Regression):
    """value = sum sqrt(D^2 + eps^2) / n: L1 for |D| far above eps, smooth at 0.

    VJP: dprediction = dvalue D / sqrt(D^2 + eps^2) / n; the target gets None.
    Keeps: the quotient.
    Source: Charbonnier et al., Two deterministic half-quadratic regularization algorithms for
        computed imaging (1994).
    PyTorch: own twin.
    """

    def __init__(self, eps: float = 1e-3, reduction: str = "mean") -> None:
        """`eps` is the size of D below which the loss is nearly a parabola.

        Raises:
            ValueError: `eps` not above 0, or an unknown reduction.
        """
        super().__init__(reduction)
        self.eps = number(eps, "eps", "CharbonnierLoss", above=0)

    def forward(self, prediction: Array, target: Array) -> Array:
        """The loss, 0-d."""
        return self.forward_and_vjp(prediction, target)[0]

    def forward_and_vjp(self, prediction: Array, target: Array) -> tuple[Array, Vjp]:
        """The loss, and its vjp."""
        self._check(prediction, target)
        d = prediction - target
        root = array_module(d).sqrt(d * d + self.eps**2)
        slope, weight = d / root, self._weight(d.size)

        def vjp(dvalue: Array) -> tuple[Array, None]:
            return slope * (dvalue * weight), None

        y = _total(root, weight)
        return y, once(vjp, self, y)

    def describe(self) -> str:
        """The offset, and the reduction where it is not the mean."""
        return ", ".join(filter(None, (f"eps={self.eps}", super().describe())))


class MaskedMSELoss(_Regression):
    """value = sum (m D)^2 / n, with a mask m of the pixels that are valid in the target.

    Shapes: prediction and target (N, C, H, W); mask the same, or (N, 1, H, W).
    The divisor n is the number of all elements ("mean"), of the valid ones ("valid": the sum of the
    mask, over all channels; NaN if none is valid), or 1 ("sum").
    VJP: dprediction = dvalue 2 m^2 D / n; target and mask get None.
    Keeps: m^2 D, n.
    Source: Lehtinen et al., Noise2Noise (2018), section 3.2 (multiplicative Bernoulli noise).
    PyTorch: own twin.
    """

    reductions = ("mean", "valid", "sum")

    def forward(self, prediction: Array, target: Array, mask: Array) -> Array:
        """The loss, 0-d."""
        return self.forward_and_vjp(prediction, target, mask)[0]

    def forward_and_vjp(self, prediction: Array, target: Array, mask: Array) -> tuple[Array, Vjp]:
        """The loss, and its vjp."""
        self._check(prediction, target)
        self.check_input(mask, name="mask")
        same_kind(mask, "mask", "MaskedMSELoss", prediction, "prediction")
        shape = prediction.shape
        one_channel = (shape[0], 1, *shape[2:]) if len(shape) > 1 else shape
        if mask.shape not in (shape, one_channel):
            raise ValueError(
                f"MaskedMSELoss: mask: expected {shape} or one channel of it, got {mask.shape}"
            )
        masked = mask * (prediction - target)
        if self.reduction == "valid":
            weight = 1 / (mask.sum() * (1 if mask.shape == shape else shape[1]))
        else:
            weight = self._weight(masked.size)
        gradient = mask * masked

        def vjp(dvalue: Array) -> tuple[Array, None, None]:
            return gradient * (dvalue * (2 * weight)), None, None

        y = _total(masked * masked, weight)
        return y, once(vjp, self, y)


class AnnealedL0Loss(_Regression):
    """value = sum (|D| + eps)^gamma / n: L2 at gamma 2, L1 at 1, near 0 a count of the errors.

    `gamma` is a 0-d array that training lowers from 2 to 0; assign into it: `loss.gamma[...] = 1`.

    VJP: dprediction = dvalue gamma (|D| + eps)^(gamma - 1) sign(D) / n, 0 at D = 0; the target gets
        None. Near gamma 0.05 its largest size is about 2e6 / n: plain SGD needs care.
    Keeps: D, gamma.
    Source: Lehtinen et al., Noise2Noise (2018), section 3.4 and appendix A.
    PyTorch: own twin.
    """

    buffer_names = ("gamma",)

    def __init__(
        self,
        gamma: float = 2.0,
        eps: float = 1e-8,
        reduction: str = "mean",
        dtype: Any = np.float32,
    ) -> None:
        """Start with `gamma`; `eps` keeps the power finite at D = 0.

        Raises:
            ValueError: `gamma` below 0, `eps` not above 0, or an unknown reduction.
            TypeError: `dtype` is not floating.
        """
        super().__init__(reduction)
        start = number(gamma, "gamma", "AnnealedL0Loss")
        if start < 0:
            raise ValueError(f"AnnealedL0Loss: gamma: expected at least 0, got {gamma}")
        self.gamma = np.asarray(start, dtype=dtype)
        if self.gamma.dtype.kind != "f":
            raise TypeError(
                f"AnnealedL0Loss: dtype: expected a floating dtype, got {self.gamma.dtype}"
            )
        self.eps = number(eps, "eps", "AnnealedL0Loss", above=0)

    def forward(self, prediction: Array, target: Array) -> Array:
        """The loss, 0-d."""
        return self.forward_and_vjp(prediction, target)[0]

    def forward_and_vjp(self, prediction: Array, target: Array) -> tuple[Array, Vjp]:
        """The loss, and its vjp."""
        self._check(prediction, target)
        xp = array_module(prediction)
        d = prediction - target
        gamma = xp.array(self.gamma, dtype=d.dtype)  # a copy: later assignments must not count
        weight = self._weight(d.size)

        def vjp(dvalue: Array) -> tuple[Array, None]:
            slope = gamma * (xp.abs(d) + self.eps) ** (gamma - 1) * xp.sign(d)
            return slope * (dvalue * weight), None

        y = _total((xp.abs(d) + self.eps) ** gamma, weight)
        return y, once(vjp, self, y)

    def describe(self) -> str:
        """The offset, and the reduction where it is not the mean."""
        return ", ".join(filter(None, (f"eps={self.eps}", super().describe())))


class HDRLoss(_Regression):
    """value = sum D^2 / (|prediction| + eps)^2 / n, the denominator treated as a constant.

    VJP: dprediction = dvalue 2 D / (|prediction| + eps)^2 / n; the target gets None.
    Keeps: D / (|prediction| + eps)^2.
    Source: Lehtinen et al., Noise2Noise (2018), section 3.5 (Monte Carlo rendering).
    PyTorch: own twin.
    """

    def __init__(self, eps: float = 0.01, reduction: str = "mean") -> None:
        """`eps` keeps the denominator away from 0.

        Raises:
            ValueError: `eps` not above 0, or an unknown reduction.
        """
        super().__init__(reduction)
        self.eps = number(eps, "eps", "HDRLoss", above=0)

    def forward(self, prediction: Array, target: Array) -> Array:
        """The loss, 0-d."""
        return self.forward_and_vjp(prediction, target)[0]

    def forward_and_vjp(self, prediction: Array, target: Array) -> tuple[Array, Vjp]:
        """The loss, and its vjp."""
        self._check(prediction, target)
        xp = array_module(prediction)
        d = prediction - target
        scaled = d / (xp.abs(prediction) + self.eps) ** 2
        weight = self._weight(d.size)

        def vjp(dvalue: Array) -> tuple[Array, None]:
            return scaled * (dvalue * (2 * weight)), None

        y = _total(d * scaled, weight)
        return y, once(vjp, self, y)

    def describe(self) -> str:
        """The offset, and the reduction where it is not the mean."""
        return ", ".join(filter(None, (f"eps={self.eps}", super().describe())))
