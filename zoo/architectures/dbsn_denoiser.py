"""The denoisers that D-BSN and its two small networks make together, for gray and for colour."""

from __future__ import annotations

from typing import Any, Literal, NamedTuple

import numpy as np

from minigrad import (
    Covariance3x3,
    ExpandAs,
    Mean,
    Module,
    MultivariatePosteriorMean,
    Offset,
    PosteriorMean,
    Sequential,
    Softplus,
    Square,
)
from minigrad.backend import Array, array_module
from minigrad.module import Vjp, once
from zoo.architectures.dbsn import DBSN, Activation, BlindSpot
from zoo.architectures.dbsn_sigma import FLOOR, SHIFT, SigmaMuNet, SigmaNNet
from zoo.architectures.denoiser import Denoiser


class Estimates(NamedTuple):
    """What is known of each pixel: the mean and the variance that its surroundings give its clean
    value, and the variance of its noise. Gray: (N, 1, H, W) each; colour: mu (N, 3, H, W), the
    variances (N, H, W, 3, 3).
    """

    mu: Any
    sigma_mu: Any
    sigma_n: Any


class BlindSpotDenoiser(Denoiser):
    """The posterior mean of each pixel, given itself and its surroundings.

        mu, features = dbsn(y)                  what the surroundings say, blind to the pixel
        sigma_mu from sigma_mu(features)        how sure they are
        sigma_n  from sigma_n(y or mu)          how far the pixel is to be trusted
        x = (y sigma_mu + mu sigma_n) / (sigma_mu + sigma_n)     in gray; in colour with matrices

    `noise` says which noise it is for, all of it independent from pixel to pixel:
        "awgn": one level for a picture. sigma_n(y) is averaged over the picture.
        "hg": heteroscedastic Gaussian. sigma_n(mu): the level follows from the clean value.

    The average is over the whole picture also where `denoise` sees a tile of it (`survey`).
    """

    noise: str
    dbsn: DBSN
    sigma_mu: SigmaMuNet
    sigma_n: SigmaNNet
    prior: Module
    """From the raw entries of `sigma_mu` to variances."""
    level: Module
    """From the raw entries of `sigma_n` to variances."""
    bayes: Module
    mean: Mean
    expand: ExpandAs

    def sigmas(self, y: Any, mu: Any, features: Any, *means: Any) -> tuple[Any, Any]:
        """(sigma_mu, sigma_n) of each pixel; `means` as of `wire`."""
        prior = self.prior(self.sigma_mu(features))
        if self.noise == "hg":
            return prior, self.level(self.sigma_n(mu))
        mean = means[0] if means else self.mean(self.sigma_n(y))
        return prior, self.expand(self.level(mean), prior)

    def noise_of(self, clean: Any) -> Any:
        """sigma_n for clean pictures, from which the network of the noise is read whatever the kind
        of noise: what synthetic noise is made of.
        """
        raw = self.sigma_n(clean)
        if self.noise == "hg":
            return self.level(raw)
        return self.level(self.mean(raw)) if self.noise == "awgn" else self.mean(self.level(raw))

    def estimates(self, y: Any, *means: Any) -> Estimates:
        """All three; `means` as of `wire`."""
        mu, features = self.dbsn(y)
        return Estimates(mu, *self.sigmas(y, mu, features, *means))

    def wire(self, y: Any, *means: Any) -> Any:
        """The posterior mean; `means` of the picture, which are taken of y where they are not
        given.
        """
        mu, sigma_mu, sigma_n = self.estimates(y, *means)
        return self.bayes(mu, y, sigma_mu, sigma_n)

    def survey(self, x: Array, rows: slice, columns: slice) -> tuple[Array, ...]:
        """The sum of the raw noise estimates, for noise of one level; nothing for other noise."""
        if self.noise != "awgn":
            return ()
        return (_sum(self.sigma_n.forward(x[:, :, rows, columns]), (2, 3)),)


class DBSNGray(BlindSpotDenoiser):
    """D-BSN for gray pictures: variances are numbers.

        sigma_mu = r_mu^2        sigma_n = (softplus(r_n - 4) + 1e-3)^2

    With "awgn" r_n is averaged over the picture first. The authors' test program forgets that and
    takes the level of each pixel (`faithful_test`); their training does not.

    Shapes: (N, 1, H, W) -> the same, of any H and W. 6,614,995 parameters for "awgn", 6,619,747 for
    "hg". Keys `dbsn.*`, `sigma_mu.*`, `sigma_n.*`: the authors', after the name of the network.
    Source: Wu, Liu, Cao, Ren and Zuo, Unpaired learning of deep image denoising (2020); the
        authors' code.
    """

    def __init__(
        self,
        width: int = 96,
        blocks: int = 8,
        noise: Literal["awgn", "hg"] = "awgn",
        sigma_width: int | None = None,
        blind_spot: BlindSpot = "masked",
        activation: Activation = "relu",
        gamma: float = 1.0,
        faithful_test: bool = False,
        sigma_mu_gain: float = 1.0,
        sigma_n_start: float | None = None,
        *,
        dtype: Any = np.float32,
        rng: np.random.Generator | None = None,
    ) -> None:
        """`width`, `blocks`, `blind_spot`, `activation` are those of `DBSN`; `sigma_width` is that
        of the other two, by default 16 for "awgn" and 32 for "hg".

        `gamma` below 1 trusts the noisy pixel more (`PosteriorMean`). `sigma_mu_gain` and
        `sigma_n_start` (in units of 1/255) change the first weights: see `SigmaMuNet`, `SigmaNNet`.

        Raises:
            ValueError: another word, or a number that cannot be.
        """
        _check_noise("DBSNGray", noise, ("awgn", "hg"))
        rng = np.random.default_rng() if rng is None else rng
        how: Any = {"dtype": dtype, "rng": rng}
        small = (16 if noise == "awgn" else 32) if sigma_width is None else sigma_width
        self.channels, self.noise, self.faithful_test = 1, noise, faithful_test
        self.dbsn = DBSN(1, width, blocks, blind_spot, activation, **how)
        self.sigma_mu = SigmaMuNet(width, small, 1, gain=sigma_mu_gain, **how)
        self.sigma_n = SigmaNNet(1, small, 1, start=sigma_n_start, **how)
        self.prior = Square()
        self.level = Sequential(Offset(SHIFT), Softplus(), Offset(FLOOR), Square())
        self.bayes = PosteriorMean(gamma)
        self.mean, self.expand = Mean((2, 3), keepdim=True), ExpandAs()

    def sigmas(self, y: Any, mu: Any, features: Any, *means: Any) -> tuple[Any, Any]:
        """(sigma_mu, sigma_n) of each pixel; `means` as of `wire`."""
        if self._each_pixel:
            return self.prior(self.sigma_mu(features)), self.level(self.sigma_n(y))
        return super().sigmas(y, mu, features, *means)

    def survey(self, x: Array, rows: slice, columns: slice) -> tuple[Array, ...]:
        """The sum of the raw noise estimates, for noise of one level; nothing for other noise."""
        return () if self._each_pixel else super().survey(x, rows, columns)

    @property
    def _each_pixel(self) -> bool:
        """Whether the authors' test program is followed, which averages nothing."""
        return self.faithful_test and self.noise == "awgn" and not self.training

    def describe(self) -> str:
        """What the layers do not show."""
        return f"noise={self.noise}" + (", faithful_test=True" if self.faithful_test else "")


class DBSNColor(BlindSpotDenoiser):
    """D-BSN for colour pictures: variances are 3x3 matrices, since colours may be noisy together.

    With r the raw entries and P = diag(softplus(r_n - 4) + 1e-3):
        "awgn", "hg": sigma_mu = diag(r_mu^2), sigma_n = P P'       3 channels each
        "mg", multivariate Gaussian: U U', averaged over the picture, for both: 6 channels each, the
            upper triangle of U row by row

    With "awgn" r_n is averaged over the picture. `pixelwise` leaves the sigma_mu of "mg" as it is
    at each pixel, which is what it is meant to be; the authors average it as well.

    Shapes: (N, 3, H, W) -> the same, of any H and W. 6,620,329 parameters for "awgn" and "hg",
    6,620,527 for "mg". Keys as of `DBSNGray`.
    Source: Wu, Liu, Cao, Ren and Zuo, Unpaired learning of deep image denoising (2020); the
        authors' code.
    """

    def __init__(
        self,
        width: int = 96,
        blocks: int = 8,
        noise: Literal["awgn", "hg", "mg"] = "awgn",
        sigma_width: int = 32,
        blind_spot: BlindSpot = "masked",
        activation: Activation = "relu",
        gamma: float = 1.0,
        pixelwise: bool = False,
        sigma_mu_gain: float = 1.0,
        sigma_n_start: float | None = None,
        *,
        dtype: Any = np.float32,
        rng: np.random.Generator | None = None,
    ) -> None:
        """As of `DBSNGray`; but here `gamma` below 1 trusts mu more (`MultivariatePosteriorMean`).

        Raises:
            ValueError: another word, or a number that cannot be.
        """
        _check_noise("DBSNColor", noise, ("awgn", "hg", "mg"))
        rng = np.random.default_rng() if rng is None else rng
        how: Any = {"dtype": dtype, "rng": rng}
        entries = 6 if noise == "mg" else 3
        self.channels, self.noise, self.pixelwise = 3, noise, pixelwise
        self.dbsn = DBSN(3, width, blocks, blind_spot, activation, **how)
        self.sigma_mu = SigmaMuNet(width, sigma_width, entries, gain=sigma_mu_gain, **how)
        self.sigma_n = SigmaNNet(3, sigma_width, entries, start=sigma_n_start, **how)
        self.prior = Covariance3x3(entries)
        positive = (Offset(SHIFT), Softplus(), Offset(FLOOR)) if noise != "mg" else ()
        self.level = Sequential(*positive, Covariance3x3(entries))
        self.bayes = MultivariatePosteriorMean(gamma)
        self.mean = Mean((1, 2) if noise == "mg" else (2, 3), keepdim=True)
        self.expand = ExpandAs()

    def sigmas(self, y: Any, mu: Any, features: Any, *means: Any) -> tuple[Any, Any]:
        """(sigma_mu, sigma_n) of each pixel; `means` as of `wire`."""
        if self.noise != "mg":
            return super().sigmas(y, mu, features, *means)
        prior = self.prior(self.sigma_mu(features))
        noise, *of_prior = means or (self.mean(self.level(self.sigma_n(y))),)
        noise = self.expand(noise, prior)
        if self.pixelwise:
            return prior, noise
        mean = of_prior[0] if of_prior else self.mean(prior)
        return self.expand(mean, prior), noise

    def survey(self, x: Array, rows: slice, columns: slice) -> tuple[Array, ...]:
        """The sums of the maps that are averaged over the picture."""
        if self.noise != "mg":
            return super().survey(x, rows, columns)
        noise = self.level(self.sigma_n.forward(x[:, :, rows, columns]))
        found = (_sum(noise, (1, 2)),)
        if self.pixelwise:
            return found
        features = self.dbsn.forward(x).features[:, :, rows, columns]
        return *found, _sum(self.prior(self.sigma_mu.forward(features)), (1, 2))

    def describe(self) -> str:
        """What the layers do not show."""
        return f"noise={self.noise}" + (", pixelwise=True" if self.pixelwise else "")


def _check_noise(name: str, noise: str, known: tuple[str, ...]) -> None:
    if noise not in known:
        raise ValueError(f"{name}: noise: expected one of {known}, got {noise!r}")


def _sum(maps: Array, axes: tuple[int, ...]) -> Array:
    """Over rows and columns; in double precision, since a picture has many."""
    return maps.sum(axes, dtype=np.float64, keepdims=True)


# ------------------------------------------------------------------------------- views


class _View(Denoiser):
    """Another picture that the same network makes: whatever it learns shows here."""

    def __init__(self, model: BlindSpotDenoiser) -> None:
        """`model` is shared, not copied."""
        self.model = model
        self.channels = model.channels

    def survey(self, x: Array, rows: slice, columns: slice) -> tuple[Array, ...]:
        """As of the network."""
        return self.model.survey(x, rows, columns)


class PriorMean(_View):
    """mu alone: each pixel from its surroundings, whatever it is itself."""

    def survey(self, x: Array, rows: slice, columns: slice) -> tuple[Array, ...]:
        """Nothing: mu is local."""
        return ()

    def wire(self, y: Any) -> Any:
        """D-BSN, without its features."""
        return self.model.dbsn(y).mu


class NoiseMap(_View):
    """The estimated standard deviation of the noise at each pixel, in [0, 1]: (N, C, H, W)."""

    def __init__(self, model: BlindSpotDenoiser) -> None:
        """`model` is shared, not copied."""
        super().__init__(model)
        self.deviation = Deviation()

    def wire(self, y: Any, *means: Any) -> Any:
        """sigma_n, its root taken."""
        return self.deviation(self.model.estimates(y, *means).sigma_n)


class Deviation(Module):
    """y = sqrt(x) of variances above 0; of 3x3 matrices, the roots of the diagonal.

    Shapes: x and y (N, 1, H, W); or x (N, H, W, 3, 3), y (N, 3, H, W).
    VJP: dx = dy / (2 y), on the diagonal of a matrix, elsewhere 0.
    Keeps: y.
    """

    def forward(self, x: Array) -> Array:
        """The deviations."""
        self.check_input(x)
        xp = array_module(x)
        return xp.sqrt(x if x.ndim == 4 else xp.einsum("nhwii->nihw", x))

    def forward_and_vjp(self, x: Array) -> tuple[Array, Vjp]:
        """The deviations, and their vjp."""
        y, xp, matrices = self.forward(x), array_module(x), x.ndim == 5

        def vjp(dy: Array) -> Array:
            dx = dy / (2 * y)
            identity = xp.eye(3, dtype=dx.dtype)
            return xp.einsum("nihw,ij->nhwij", dx, identity) if matrices else dx

        return y, once(vjp, self, y)
