"""PixelKLDLoss, L1L2Penalty: two terms as Keras defines them, for networks that come from there."""

from __future__ import annotations

from minigrad.backend import Array, array_module
from minigrad.checks import number
from minigrad.module import Module, Vjp, once
from minigrad.reduction import Reduced


class PixelKLDLoss(Reduced):
    """value = mean over pixels of sum_c t log(t / x): a pixel's channels taken as a distribution.

    x is the prediction and t the target, both clipped to [eps, 1]. The channels of a pixel are no
    distribution: they do not sum to 1, so the loss is not least at x = t. It falls with every x
    that grows, up to 1. With `reduction="sum"` the pixels are summed.

    Shapes: prediction and target (N, C, ...), values in [0, 1].
    VJP: dprediction = -dvalue t / x / n where eps <= prediction <= 1 (both ends included), else 0,
        n the number of pixels, with "sum" 1; the target gets None.
    Keeps: the quotient, 0 outside.
    Source: Chollet et al., Keras (2015), `keras.losses.KLDivergence`, channels on axis 1.
    PyTorch: none; `torch.clamp` and `torch.log`.
    """

    reductions = ("mean", "sum")

    def __init__(self, eps: float = 1e-7, reduction: str = "mean") -> None:
        """`eps` is the smallest number that a logarithm or a quotient is taken of.

        Raises:
            ValueError: `eps` does not lie between 0 and 1, or an unknown reduction.
        """
        super().__init__(reduction)
        self.eps = number(eps, "eps", "PixelKLDLoss", above=0)
        if self.eps >= 1:
            raise ValueError(f"PixelKLDLoss: eps: expected a number below 1, got {eps}")

    def forward(self, prediction: Array, target: Array) -> Array:
        """The loss, 0-d."""
        return self.forward_and_vjp(prediction, target)[0]

    def forward_and_vjp(self, prediction: Array, target: Array) -> tuple[Array, Vjp]:
        """The loss, and its vjp."""
        self.check_input(prediction, name="prediction")
        if prediction.ndim < 2:
            raise ValueError(
                f"PixelKLDLoss: prediction: expected shape (N, C, ...), got {prediction.shape}"
            )
        self.check_form(target, "target", prediction.shape, prediction, "prediction")
        xp = array_module(prediction)
        t, x = xp.clip(target, self.eps, 1), xp.clip(prediction, self.eps, 1)
        ratio = t / x
        terms = (t * xp.log(ratio)).sum(1)  # (N, ...)
        slope = xp.where((prediction >= self.eps) & (prediction <= 1), -ratio, 0)
        pixels = terms.shape

        def vjp(dvalue: Array) -> tuple[Array, None]:
            return slope * self.spread(dvalue, pixels)[:, None], None

        y = self.reduce(terms)
        return y, once(vjp, self, y)

    def describe(self) -> str:
        """The smallest number, and the reduction where it is not the mean."""
        return ", ".join(filter(None, (f"eps={self.eps}", super().describe())))


class L1L2Penalty(Module):
    """value = l1 sum |w| + l2 sum w^2, a penalty on weights; arrays of any shape.

    VJP: dw = dvalue (l1 sign(w) + 2 l2 w), with sign(0) = 0.
    Keeps: w.
    Source: Chollet et al., Keras (2015), `keras.regularizers.L1L2`.
    PyTorch: none; `l1 * w.abs().sum() + l2 * (w * w).sum()`.
    """

    def __init__(self, l1: float = 0.01, l2: float = 0.01) -> None:
        """`l1` weighs the sizes, `l2` their squares; a `weight_decay` of 2 l2 has the gradient of
        the second.

        Raises:
            ValueError: one of them is no finite number from 0.
        """
        self.l1, self.l2 = number(l1, "l1", "L1L2Penalty"), number(l2, "l2", "L1L2Penalty")
        for name, value in (("l1", self.l1), ("l2", self.l2)):
            if value < 0:
                raise ValueError(f"L1L2Penalty: {name}: expected at least 0, got {value:g}")

    def forward(self, w: Array) -> Array:
        """The penalty, 0-d."""
        return self.forward_and_vjp(w)[0]

    def forward_and_vjp(self, w: Array) -> tuple[Array, Vjp]:
        """The penalty, and its vjp."""
        self.check_input(w, name="w")
        xp = array_module(w)

        def vjp(dvalue: Array) -> Array:
            return (xp.sign(w) * self.l1 + w * (2 * self.l2)) * dvalue

        y = xp.asarray(xp.abs(w).sum() * self.l1 + (w * w).sum() * self.l2, dtype=w.dtype)
        return y, once(vjp, self, y)

    def describe(self) -> str:
        """Both factors."""
        return f"l1={self.l1}, l2={self.l2}"
