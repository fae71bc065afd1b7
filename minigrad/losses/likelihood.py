"""GaussianNLLLoss, LogVarianceNLLLoss, CrossEntropyLoss, LogMixtureLoss: minus the logarithm of how
likely the target is.

All return a 0-d array. D is prediction - target, n the number of target values (of pixels for
CrossEntropyLoss); with `reduction="sum"`, n is 1. Logarithms are natural: the unit is the nat.
"""

from __future__ import annotations

import math

from minigrad.backend import Array, array_module, is_array
from minigrad.checks import number, same_kind, whole
from minigrad.layers.join import unbroadcast
from minigrad.losses.regression import _Regression, _total
from minigrad.module import Vjp, once

HALF_LOG_TAU = math.log(math.tau) / 2
"""log sqrt(2 pi): what normalises the Gaussian density of variance 1."""


def exp_below_max(x: Array, axis: int) -> tuple[Array, Array]:
    """(max, e^(x - max)) along `axis`, which stays: no exponential overflows, the largest is 1."""
    xp = array_module(x)
    top = x.max(axis, keepdims=True)
    return top, xp.exp(x - top)


class GaussianNLLLoss(_Regression):
    """value = sum (log v + D^2 / v) / 2n, with v = max(var, eps); `full` adds log(2 pi) / 2.

    Shapes: prediction and target any, the same; var the same, or with axes of length 1, or without
        the last axis: a variance that several elements share.
    VJP, with the clamp by eps treated as the identity (d_var flows where var < eps, as in PyTorch):
        dprediction = dvalue D / (v n);
        d_var = dvalue (1 - D^2 / v) / v / 2n, summed over the elements that share it;
        the target gets None.
    Keeps: D / v, (1 - D^2 / v) / v.
    Source: Nix and Weigend, Estimating the mean and variance of the target probability distribution
        (1994).
    PyTorch: `torch.nn.GaussianNLLLoss`, which refuses a negative var; here it counts as eps.
    """

    def __init__(self, full: bool = False, eps: float = 1e-6, reduction: str = "mean") -> None:
        """`full` adds the constant of the density; `eps` is the least variance.

        Raises:
            ValueError: `eps` not above 0, or an unknown reduction.
        """
        super().__init__(reduction)
        self.full = full
        self.eps = number(eps, "eps", "GaussianNLLLoss", above=0)

    def forward(self, prediction: Array, target: Array, var: Array) -> Array:
        """The loss, 0-d."""
        return self.forward_and_vjp(prediction, target, var)[0]

    def forward_and_vjp(self, prediction: Array, target: Array, var: Array) -> tuple[Array, Vjp]:
        """The loss, and its vjp."""
        self._check(prediction, target)
        shared, given = self._shared(prediction, var), var.shape
        xp = array_module(prediction)
        v = xp.maximum(var.reshape(shared), self.eps)
        d = prediction - target
        scaled = d / v
        excess = (1 - d * scaled) / v  # not 1/v - (D/v)^2, whose two terms are rounded apart
        weight = self._weight(d.size)

        def vjp(dvalue: Array) -> tuple[Array, None, Array]:
            slope = dvalue * weight
            dv = excess * (slope / 2)
            return scaled * slope, None, unbroadcast(dv, shared).reshape(given)

        terms = (xp.log(v) + d * scaled) / 2
        y = _total(terms + HALF_LOG_TAU if self.full else terms, weight)
        return y, once(vjp, self, y)

    def describe(self) -> str:
        """What differs from the defaults."""
        return _listed("full=True" if self.full else "", f"eps={self.eps}", super().describe())

    def _shared(self, prediction: Array, var: Array) -> tuple[int, ...]:
        """The shape of `var` with every axis of `prediction`."""
        self.check_input(var, name="var")
        same_kind(var, "var", "GaussianNLLLoss", prediction, "prediction")
        full = prediction.shape
        shape = (*var.shape, 1) if var.shape == full[:-1] and full else var.shape
        fits = [m in (n, 1) for m, n in zip(shape, full, strict=False)]
        if len(shape) != len(full) or False in fits:
            raise ValueError(
                f"GaussianNLLLoss: var: expected the prediction's shape {full}, axes of it 1 or "
                f"the last left out, got {var.shape}"
            )
        return shape


class LogVarianceNLLLoss(_Regression):
    """value = sum (l + D^2 e^-l) / 2n, with l = max(log_var, lower_bound); `full` adds log(2 pi)/2.

    The log-variance may be any number, so a network's output needs no activation.

    Shapes: prediction (the mean), target and log_var any, the same.
    VJP: dprediction = dvalue D e^-l / n;  dtarget = -dprediction (the target may be computed, too);
        d_log_var = dvalue (1 - D^2 e^-l) / 2n where log_var >= lower_bound, else 0.
    Keeps: D e^-l, (1 - D^2 e^-l) / 2 or 0.
    Source: Kingma and Welling, Auto-encoding variational Bayes (2014), appendix C.2.
    PyTorch: none; `torch.nn.GaussianNLLLoss` of e^l.
    """

    def __init__(
        self, full: bool = False, lower_bound: float | None = None, reduction: str = "mean"
    ) -> None:
        """`full` adds the constant of the density; `lower_bound` is the least log-variance.

        Raises:
            ValueError: `lower_bound` neither None nor a finite number, or an unknown reduction.
        """
        super().__init__(reduction)
        self.full = full
        self.lower_bound = (
            None
            if lower_bound is None
            else number(lower_bound, "lower_bound", "LogVarianceNLLLoss")
        )

    def forward(self, prediction: Array, target: Array, log_var: Array) -> Array:
        """The loss, 0-d."""
        return self.forward_and_vjp(prediction, target, log_var)[0]

    def forward_and_vjp(
        self, prediction: Array, target: Array, log_var: Array
    ) -> tuple[Array, Vjp]:
        """The loss, and its vjp."""
        self._check(prediction, target)
        self.check_form(log_var, "log_var", prediction.shape, prediction, "prediction")
        xp = array_module(prediction)
        bound = self.lower_bound
        clipped = log_var if bound is None else xp.maximum(log_var, bound)
        d = prediction - target
        d_mean = d * xp.exp(-clipped)
        square = d * d_mean
        d_log = (1 - square) / 2
        if bound is not None:
            d_log = xp.where(log_var >= bound, d_log, 0)
        weight = self._weight(d.size)

        def vjp(dvalue: Array) -> tuple[Array, Array, Array]:
            slope = dvalue * weight
            dprediction = d_mean * slope
            return dprediction, -dprediction, d_log * slope

        terms = (clipped + square) / 2
        y = _total(terms + HALF_LOG_TAU if self.full else terms, weight)
        return y, once(vjp, self, y)

    def describe(self) -> str:
        """What differs from the defaults."""
        bound = "" if self.lower_bound is None else f"lower_bound={self.lower_bound}"
        return _listed("full=True" if self.full else "", bound, super().describe())


class CrossEntropyLoss(_Regression):
    """value = -sum t log p / n, with p the softmax of the logits along axis 1: the classes.

    t = (1 - s) target + s / C for a label smoothing s and C classes; n = number of pixels and
    images (the elements over C).

    Shapes: logits and target (N, C, ...) or (C,); the target holds probabilities.
    VJP: dlogits = dvalue (p sum_c t_c - t) / n, where sum_c t_c is 1 for true probabilities; the
        target gets None.
    Keeps: p sum_c t_c - t.
    PyTorch: `torch.nn.CrossEntropyLoss` with probabilities as target.
    """

    def __init__(self, reduction: str = "mean", label_smoothing: float = 0.0) -> None:
        """`label_smoothing` s mixes the target with equal probabilities.

        Raises:
            ValueError: `label_smoothing` outside [0, 1], or an unknown reduction.
        """
        super().__init__(reduction)
        self.label_smoothing = number(label_smoothing, "label_smoothing", "CrossEntropyLoss")
        if not 0 <= self.label_smoothing <= 1:
            raise ValueError(
                f"CrossEntropyLoss: label_smoothing: expected 0 to 1, got {label_smoothing}"
            )

    def forward(self, logits: Array, target: Array) -> Array:
        """The loss, 0-d."""
        return self.forward_and_vjp(logits, target)[0]

    def forward_and_vjp(self, logits: Array, target: Array) -> tuple[Array, Vjp]:
        """The loss, and its vjp."""
        axis = self._classes(logits, target)
        xp = array_module(logits)
        c, s = logits.shape[axis], self.label_smoothing
        t = target * (1 - s) + s / c if s else target
        top, e = exp_below_max(logits, axis)
        total = e.sum(axis, keepdims=True)
        log_p = logits - top - xp.log(total)
        gradient = e / total * t.sum(axis, keepdims=True) - t
        weight = self._weight(logits.size // c)

        def vjp(dvalue: Array) -> tuple[Array, None]:
            return gradient * (dvalue * weight), None

        y = _total(t * log_p, -weight)
        return y, once(vjp, self, y)

    def describe(self) -> str:
        """What differs from the defaults."""
        smoothing = f"label_smoothing={self.label_smoothing}" if self.label_smoothing else ""
        return _listed(super().describe(), smoothing)

    def _classes(self, logits: Array, target: Array) -> int:
        """The axis of the classes, after the checks."""
        if is_array(target) and target.dtype.kind in "iu":
            raise TypeError(
                f"CrossEntropyLoss: target: expected probabilities in the logits' shape, got "
                f"{target.dtype} class indices: make them one-hot, "
                "np.moveaxis(np.eye(C, dtype=logits.dtype)[target], -1, 1)"
            )
        self._check(logits, target, "logits")
        axis = min(1, logits.ndim - 1)
        if axis < 0 or not logits.shape[axis]:
            raise ValueError(
                f"CrossEntropyLoss: logits: expected at least one class on axis 1, got shape "
                f"{logits.shape}"
            )
        return axis


class LogMixtureLoss(_Regression):
    """value = -sum log p(target) / n, with a mixture of K Gaussians for each target value:
    p(x) = sum_k a_k N(x; mean_k, e^(2 log_sigma_k)), a = softmax of the logits along `dim`.

    Shapes: logits, mean, log_sigma the same, with K on axis `dim`; target without that axis.
    VJP, with r_k = (x - mean_k) / sigma_k and rho_k the part of component k in p(x):
        dlogits = dvalue (a - rho) / n;  dmean = -dvalue rho r / (sigma n);
        d_log_sigma = dvalue rho (1 - r^2) / n;  dtarget = -(sum over k of dmean).
    Keeps: a - rho, rho r / sigma, rho (1 - r^2).
    Source: Bishop, Mixture density networks (1994).
    PyTorch: none; minus `log_prob` of `torch.distributions.MixtureSameFamily`.
    """

    def __init__(self, dim: int = 1, reduction: str = "mean") -> None:
        """`dim` is the axis of the components, from the end if negative.

        Raises:
            ValueError: `dim` is no whole number, or an unknown reduction. (That the axis exists is
                checked by a call.)
        """
        super().__init__(reduction)
        self.dim = whole(dim, "dim", "LogMixtureLoss")

    def forward(self, logits: Array, mean: Array, log_sigma: Array, target: Array) -> Array:
        """The loss, 0-d."""
        return self.forward_and_vjp(logits, mean, log_sigma, target)[0]

    def forward_and_vjp(
        self, logits: Array, mean: Array, log_sigma: Array, target: Array
    ) -> tuple[Array, Vjp]:
        """The loss, and its vjp."""
        self._check_mixture(logits, mean, log_sigma, target)
        xp, dim = array_module(logits), self.dim
        inverse = xp.exp(-log_sigma)
        r = (xp.expand_dims(target, dim) - mean) * inverse
        top, e = exp_below_max(logits, dim)
        total = e.sum(dim, keepdims=True)
        terms = logits - top - xp.log(total) - r * r / 2 - log_sigma
        highest, parts = exp_below_max(terms, dim)
        density = parts.sum(dim, keepdims=True)
        rho = parts / density
        pull = rho * r
        d_logits, d_log_sigma, pull = e / total - rho, rho - pull * r, pull * inverse
        weight = self._weight(target.size)

        def vjp(dvalue: Array) -> tuple[Array, Array, Array, Array]:
            slope = dvalue * weight
            dtarget = pull.sum(dim) * slope
            return d_logits * slope, pull * -slope, d_log_sigma * slope, dtarget

        y = _total(highest + xp.log(density) - HALF_LOG_TAU, -weight)
        return y, once(vjp, self, y)

    def describe(self) -> str:
        """The axis, and the reduction where it is not the mean."""
        return _listed(f"dim={self.dim}", super().describe())

    def _check_mixture(self, logits: Array, mean: Array, log_sigma: Array, target: Array) -> None:
        self.check_input(logits, name="logits")
        shape, dim = logits.shape, self.dim
        if not -len(shape) <= dim < len(shape) or not shape[dim]:
            raise ValueError(
                f"LogMixtureLoss: logits: expected at least one component on axis {dim}, got "
                f"shape {shape}"
            )
        self.check_form(mean, "mean", shape, logits, "logits")
        self.check_form(log_sigma, "log_sigma", shape, logits, "logits")
        self.check_input(target, name="target")
        same_kind(target, "target", "LogMixtureLoss", logits, "logits")
        dim %= len(shape)
        if target.shape != shape[:dim] + shape[dim + 1 :]:
            raise ValueError(
                f"LogMixtureLoss: target: expected the logits' shape {shape} without axis {dim}, "
                f"got {target.shape}"
            )


def _listed(*settings: str) -> str:
    return ", ".join(filter(None, settings))
