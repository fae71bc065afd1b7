"""ELU, SELU, GELU, Tanh, Softplus: activations with a curve in them."""

from __future__ import annotations

import math

from minigrad.backend import Array, array_module, replaceable
from minigrad.checks import number
from minigrad.layers.activation import sigmoid
from minigrad.module import Module, Vjp, once
from minigrad.special import erfc

# With these, a normal x of mean 0 and variance 1 gives a y of mean 0 and variance 1.
_SELU_ALPHA = 1.6732632423543772848170429916717
_SELU_SCALE = 1.0507009873554804934193349852946


@replaceable
def elu(x: Array, alpha: float, scale: float = 1.0) -> Array:
    """scale x where x > 0, else scale alpha (e^x - 1): one of the two summands is 0."""
    xp = array_module(x)
    return xp.maximum(x, 0) * scale + xp.expm1(xp.minimum(x, 0)) * (scale * alpha)


@replaceable
def elu_dx(dy: Array, y: Array, alpha: float, scale: float = 1.0) -> Array:
    """dy times scale, or times y + scale alpha where y <= 0: there that is scale alpha e^x."""
    return dy * array_module(y).where(y > 0, scale, y + scale * alpha)


class ELU(Module):
    """y = x where x > 0, else a (e^x - 1), with a fixed a; values above -a, arrays of any shape.

    VJP: dx = dy where x > 0, else dy (y + a), since a e^x = y + a (a dy at x = 0).
    Keeps: y (the next layer usually keeps the same array).
    Source: Clevert, Unterthiner and Hochreiter, Fast and accurate deep network learning by
        exponential linear units (2016), equation 15.
    PyTorch: `torch.nn.ELU`.
    """

    def __init__(self, alpha: float = 1.0) -> None:
        """`alpha` is a.

        Raises:
            ValueError: it is no finite number from 0: below 0, y would not tell the sign of x.
        """
        self.alpha = number(alpha, "alpha", "ELU", at_least=0)

    def forward(self, x: Array) -> Array:
        """x, bent towards -a where it is negative."""
        self.check_input(x)
        return elu(x, self.alpha)

    def forward_and_vjp(self, x: Array) -> tuple[Array, Vjp]:
        """The same, and its vjp."""
        y = self.forward(x)

        def vjp(dy: Array) -> Array:
            return elu_dx(dy, y, self.alpha)

        return y, once(vjp, self, y)

    def describe(self) -> str:
        """The bound a."""
        return f"{self.alpha}"


class SELU(Module):
    """y = s x where x > 0, else s a (e^x - 1), with s = 1.0507... and a = 1.6732...; any shape.

    VJP: dx = dy s where x > 0, else dy (y + s a) (s a dy at x = 0).
    Keeps: y.
    Source: Klambauer, Unterthiner, Mayr and Hochreiter, Self-normalizing neural networks (2017),
        equation 2.
    PyTorch: `torch.nn.SELU`.
    """

    def forward(self, x: Array) -> Array:
        """The scaled ELU of `x`."""
        self.check_input(x)
        return elu(x, _SELU_ALPHA, _SELU_SCALE)

    def forward_and_vjp(self, x: Array) -> tuple[Array, Vjp]:
        """The same, and its vjp."""
        y = self.forward(x)

        def vjp(dy: Array) -> Array:
            return elu_dx(dy, y, _SELU_ALPHA, _SELU_SCALE)

        return y, once(vjp, self, y)


@replaceable
def gelu(x: Array) -> Array:
    """x Phi(x): Phi, the normal distribution function, is erfc(-x / sqrt(2)) / 2."""
    return x * (0.5 * erfc(x * -math.sqrt(0.5)))


@replaceable
def gelu_dx(dy: Array, x: Array) -> Array:
    """dy (Phi(x) + x phi(x)), with the normal density phi = Phi'."""
    xp = array_module(x)
    size = xp.minimum(xp.abs(x), 40)  # phi is 0 from here on; the square of more could overflow
    density = xp.exp(-0.5 * size * size) / math.sqrt(2 * math.pi)
    return dy * (0.5 * erfc(x * -math.sqrt(0.5)) + x * density)


_SLOPE, _CUBIC = math.sqrt(2 / math.pi), 0.044715


@replaceable
def gelu_tanh(x: Array) -> Array:
    """x (1 + tanh u) / 2 = x sigmoid(2 u), with u = sqrt(2 / pi) (x + 0.044715 x^3)."""
    return x * sigmoid(_twice_u(x)[0])


@replaceable
def gelu_tanh_dx(dy: Array, x: Array) -> Array:
    """dy (s + x s (1 - s) 2 u'), with s = sigmoid(2 u); 1 - s is sigmoid(-2 u) to all digits."""
    t, dt = _twice_u(x)
    s = sigmoid(t)
    return dy * (s + x * s * sigmoid(-t) * dt)


def _twice_u(x: Array) -> tuple[Array, Array]:
    """2 u and its derivative."""
    x = array_module(x).clip(x, -40, 40)  # sigmoid is 0 or 1 from here on; x^3 might overflow
    squared = _CUBIC * x * x
    return 2 * _SLOPE * x * (1 + squared), 2 * _SLOPE * (1 + 3 * squared)


class GELU(Module):
    """y = x Phi(x), Phi the standard normal distribution function; arrays of any shape.

    With `approximate="tanh"`, y = x (1 + tanh u) / 2, u = sqrt(2 / pi) (x + 0.044715 x^3), which
    differs from it by less than 5e-4.

    VJP: dx = dy (Phi(x) + x phi(x)), phi the normal density;
        "tanh": dx = dy (s + x s (1 - s) 2 u'), s = (1 + tanh u) / 2.
    Keeps: x.
    Source: Hendrycks and Gimpel, Gaussian error linear units (2016), section 2.
    PyTorch: `torch.nn.GELU`.
    """

    def __init__(self, approximate: str = "none") -> None:
        """`approximate` is "none" or "tanh".

        Raises:
            ValueError: it is neither.
        """
        if approximate not in ("none", "tanh"):
            raise ValueError(f"GELU: approximate: expected 'none' or 'tanh', got {approximate!r}")
        self.approximate = approximate

    def forward(self, x: Array) -> Array:
        """x times the probability that a normal number lies below it."""
        self.check_input(x)
        return gelu(x) if self.approximate == "none" else gelu_tanh(x)

    def forward_and_vjp(self, x: Array) -> tuple[Array, Vjp]:
        """The same, and its vjp."""
        y = self.forward(x)

        def vjp(dy: Array) -> Array:
            return gelu_dx(dy, x) if self.approximate == "none" else gelu_tanh_dx(dy, x)

        return y, once(vjp, self, y)

    def describe(self) -> str:
        """Which form, where it is not the exact one."""
        return "" if self.approximate == "none" else f"approximate={self.approximate!r}"


class Tanh(Module):
    """y = tanh x, values from -1 to 1; arrays of any shape.

    VJP: dx = dy (1 - y^2).
    Keeps: y.
    PyTorch: `torch.nn.Tanh`.
    """

    def forward(self, x: Array) -> Array:
        """The hyperbolic tangent of `x`."""
        self.check_input(x)
        return array_module(x).tanh(x)

    def forward_and_vjp(self, x: Array) -> tuple[Array, Vjp]:
        """The same, and its vjp."""
        y = self.forward(x)

        def vjp(dy: Array) -> Array:
            return dy * (1 - y * y)

        return y, once(vjp, self, y)


@replaceable
def softplus(x: Array, beta: float, threshold: float) -> Array:
    """log(1 + e^t) / beta with t = beta x; x where t > threshold. Only e^-|t| is formed."""
    xp = array_module(x)
    t = x * beta
    soft = xp.maximum(t, 0) + xp.log1p(xp.exp(-xp.abs(t)))
    return xp.where(t > threshold, x, soft / beta)


@replaceable
def softplus_dx(dy: Array, x: Array, beta: float, threshold: float) -> Array:
    """dy sigmoid(beta x); dy where beta x > threshold."""
    t = x * beta
    return array_module(x).where(t > threshold, dy, dy * sigmoid(t))


class Softplus(Module):
    """y = log(1 + e^(b x)) / b, a smooth max(x, 0); y = x where b x > threshold; any shape.

    VJP: dx = dy sigmoid(b x); dx = dy where b x > threshold.
    Keeps: x.
    PyTorch: `torch.nn.Softplus`.
    """

    def __init__(self, beta: float = 1.0, threshold: float = 20.0) -> None:
        """`beta` is b: the larger, the sharper the bend. At `threshold` 20, y - x is 2e-9 / b.

        Raises:
            ValueError: `beta` is no finite number above 0, or `threshold` no finite number.
        """
        self.beta = number(beta, "beta", "Softplus", above=0)
        self.threshold = number(threshold, "threshold", "Softplus")

    def forward(self, x: Array) -> Array:
        """The smooth positive part of `x`."""
        self.check_input(x)
        return softplus(x, self.beta, self.threshold)

    def forward_and_vjp(self, x: Array) -> tuple[Array, Vjp]:
        """The same, and its vjp."""
        y = self.forward(x)

        def vjp(dy: Array) -> Array:
            return softplus_dx(dy, x, self.beta, self.threshold)

        return y, once(vjp, self, y)

    def describe(self) -> str:
        """Sharpness and threshold."""
        return f"beta={self.beta}, threshold={self.threshold}"
