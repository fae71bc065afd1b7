"""ContrastiveLoss: two views of one sample shall be alike, and unlike the views of all others."""

from __future__ import annotations

from minigrad.backend import Array, array_module, matmul
from minigrad.checks import number
from minigrad.layers.softmax import log_softmax, softmax
from minigrad.module import Vjp, once
from minigrad.reduction import Reduced


class ContrastiveLoss(Reduced):
    """k_i = -(log R_ii + log C_ii) / 2, with S = u v' / temperature, R its softmax along each row
    and C its softmax along each column.

    R_ii is the probability that u_i finds its partner v_i among all v, C_ii that v_i finds u_i. The
    value is all k_i, (N,), or their sum or mean ("none", "sum", "mean").

    Shapes: u, v (N, D), row i of both made from sample i. The rows are meant to have length 1, so
        that S is the cosine between two rows, divided by the temperature; nothing checks it.
    VJP, with w_i the cotangent of k_i and I the unit matrix:
        dS_ij = (w_i (R_ij - I_ij) + w_j (C_ij - I_ij)) / 2;
        du = dS v / temperature;  dv = dS' u / temperature.
    Keeps: u, v, S.
    Source: van den Oord, Li and Vinyals, Representation learning with contrastive predictive
        coding (2018), equation 4, in both directions: Radford et al., Learning transferable visual
        models from natural language supervision (2021), figure 3.
    PyTorch: none; the mean of two `cross_entropy` of S and of its transpose with targets 0, 1, ...
    """

    reductions = ("none", "sum", "mean")

    def __init__(self, temperature: float = 0.1, reduction: str = "sum") -> None:
        """`temperature` divides the similarities: the lower, the more the nearest one counts.

        Raises:
            ValueError: `temperature` not above 0, or an unknown reduction.
        """
        super().__init__(reduction)
        self.temperature = number(temperature, "temperature", "ContrastiveLoss", above=0)

    def forward(self, u: Array, v: Array) -> Array:
        """The loss, reduced."""
        return self.forward_and_vjp(u, v)[0]

    def forward_and_vjp(self, u: Array, v: Array) -> tuple[Array, Vjp]:
        """The loss, and its vjp."""
        self.check_input(u, ndim=2, name="u")
        self.check_form(v, "v", u.shape, u, "u")
        xp, n = array_module(u), u.shape[0]
        s = matmul(u, v.T) / self.temperature  # (N, N)

        def vjp(dvalue: Array) -> tuple[Array, Array]:
            w = self.spread(dvalue * (0.5 / self.temperature), (n,))
            own = xp.eye(n, dtype=s.dtype)
            ds = w[:, None] * (softmax(s, 1) - own) + w * (softmax(s, 0) - own)
            return matmul(ds, v), matmul(ds.T, u)

        hits = xp.diagonal(log_softmax(s, 1)) + xp.diagonal(log_softmax(s, 0))
        y = self.reduce(hits * -0.5)
        return y, once(vjp, self, y)

    def macs(self, *shapes: tuple[int, ...]) -> int:
        """N N D: each row of u with each row of v."""
        n, d = shapes[0]
        return n * n * d

    def describe(self) -> str:
        """The temperature, and the reduction where it is not the sum."""
        text = f"temperature={self.temperature}"
        return text if self.reduction == "sum" else f"{text}, reduction={self.reduction!r}"
