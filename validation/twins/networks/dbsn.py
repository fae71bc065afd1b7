"""Twins of the blind-spot denoisers. Arguments that only choose first weights are accepted and not
used: a twin is given its weights.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional

Act = Callable[[], nn.Module]


class Masked(nn.Conv2d):
    """A convolution whose centre is dead, and with `trimmed` scaled up for the taps it lacks."""

    def __init__(self, width: int, kernel: int, trimmed: bool) -> None:
        super().__init__(width, width, kernel, padding=kernel // 2)
        self.trimmed = trimmed

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) -> the same."""
        mask, half = torch.ones_like(self.weight), self.kernel_size[0] // 2
        mask[:, :, half, half] = 0
        plain = functional.conv2d(x, self.weight * mask, None, padding=half)
        assert self.bias is not None
        bias = self.bias[:, None, None]
        if not self.trimmed:
            return plain + bias
        one = torch.ones_like(x[:1, :1])
        count = functional.conv2d(one, mask[:1, :1], None, padding=half)
        some = count.clamp(max=1)
        return some * (plain * (some * mask[0, 0].numel() / (count + 1e-8)) + bias)


class MDC(nn.Module):
    """Three ways side by side, joined and added to the input."""

    def __init__(self, width: int, dilation: int, act: Act) -> None:
        super().__init__()

        def way(kernel: int) -> nn.Sequential:
            padding = dilation * (kernel // 2)
            conv = nn.Conv2d(width, width, kernel, padding=padding, dilation=dilation)
            return nn.Sequential(nn.Conv2d(width, width, 1), act(), conv, act())

        self.inception_br1, self.inception_br2 = way(5), way(3)
        self.inception_br3 = nn.Sequential(nn.Conv2d(width, width, 1), act())
        self.concat = nn.Conv2d(3 * width, width, 1)
        self.middle_1x1_convs = nn.Sequential(
            nn.Conv2d(width, width, 1), act(), nn.Conv2d(width, width, 1), act()
        )

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) -> the same."""
        ways = [self.inception_br1(x), self.inception_br2(x), self.inception_br3(x)]
        joined = torch.relu(self.concat(torch.cat(ways, 1)))
        y: Tensor = self.middle_1x1_convs(joined + x)
        return y


class Branch(nn.Module):
    """A masked convolution, two 1x1, the blocks, one 1x1."""

    def __init__(self, width: int, kernel: int, blocks: int, trimmed: bool, act: Act) -> None:
        super().__init__()
        layers: list[nn.Module] = [Masked(width, kernel, trimmed), act()]
        for _ in range(2):
            layers += [nn.Conv2d(width, width, 1), act()]
        layers += [MDC(width, (kernel + 1) // 2, act) for _ in range(blocks)]
        self.branch = nn.Sequential(*layers, nn.Conv2d(width, width, 1))

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) -> the same."""
        y: Tensor = self.branch(x)
        return y


class Trunk(nn.Module):
    """D-BSN: mean and features."""

    def __init__(self, channels: int, width: int, blocks: int, trimmed: bool, act: Act) -> None:
        super().__init__()
        self.dbsn_head = nn.Sequential(nn.Conv2d(channels, width, 1), act())
        self.br1 = Branch(width, 3, blocks, trimmed, act)
        self.br2 = Branch(width, 5, blocks, trimmed, act)
        self.concat = nn.Conv2d(2 * width, width, 1)
        convs = [nn.Conv2d(width, n, 1) for n in (width, width, channels)]
        self.dbsn_tail = nn.Sequential(convs[0], act(), convs[1], act(), convs[2])

    def forward(self, y: Tensor) -> tuple[Tensor, Tensor]:
        """(N, C, H, W) -> (N, C, H, W), (N, width, H, W)."""
        h = self.dbsn_head(y)
        features = self.concat(torch.cat([self.br1(h), self.br2(h)], 1))
        return self.dbsn_tail(features), features


class SigmaMu(nn.Module):
    """Three 1x1 convolutions."""

    def __init__(self, inputs: int, width: int, outputs: int) -> None:
        super().__init__()
        self.conv = nn.Sequential(
            nn.Conv2d(inputs, width, 1),
            nn.ReLU(),
            nn.Conv2d(width, width, 1),
            nn.ReLU(),
            nn.Conv2d(width, outputs, 1),
        )

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) -> (N, outputs, H, W)."""
        y: Tensor = self.conv(x)
        return y


class SigmaN(nn.Module):
    """Five 1x1 convolutions."""

    def __init__(self, channels: int, width: int, outputs: int) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for inputs in (channels, width, width, width):
            layers += [nn.Conv2d(inputs, width, 1), nn.ReLU()]
        self.conv = nn.Sequential(*layers)
        self.conv_final = nn.Conv2d(width, outputs, 1)
        self.gray = channels == 1

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) -> (N, outputs, H, W)."""
        y: Tensor = self.conv_final(self.conv(x))
        return y + 3e-4 if self.gray else torch.where(y == 0, 1e-4, y)


class _Denoiser(nn.Module):
    """What gray and colour share."""

    def __init__(
        self,
        channels: int,
        width: int,
        blocks: int,
        noise: str,
        entries: int,
        small: int,
        blind_spot: str,
        activation: str,
        gamma: float,
    ) -> None:
        super().__init__()

        def act() -> nn.Module:
            return nn.LeakyReLU(0.1) if activation == "leaky_relu" else nn.ReLU()

        self.noise, self.gamma = noise, gamma
        self.dbsn = Trunk(channels, width, blocks, blind_spot == "trimmed", act)
        self.sigma_mu = SigmaMu(width, small, entries)
        self.sigma_n = SigmaN(channels, small, entries)

    def raw(self, y: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """mu, and the raw entries; those of one level of noise are averaged."""
        mu, features = self.dbsn(y)
        noise = self.sigma_n(mu if self.noise == "hg" else y)
        if self.noise == "awgn":
            noise = noise.mean((2, 3), keepdim=True).expand_as(noise)
        return mu, self.sigma_mu(features), noise


def level(raw: Tensor) -> Tensor:
    """The standard deviation that a raw entry means."""
    return functional.softplus(raw - 4) + 1e-3


class DBSNGray(_Denoiser):
    """Twin of `dbsn-gray`."""

    def __init__(
        self,
        width: int = 96,
        blocks: int = 8,
        noise: str = "awgn",
        sigma_width: int | None = None,
        blind_spot: str = "masked",
        activation: str = "relu",
        gamma: float = 1.0,
        faithful_test: bool = False,
        sigma_mu_gain: float = 1.0,
        sigma_n_start: float | None = None,
    ) -> None:
        small = sigma_width or (16 if noise == "awgn" else 32)
        super().__init__(1, width, blocks, noise, 1, small, blind_spot, activation, gamma)
        self.faithful_test = faithful_test

    def forward(self, y: Tensor) -> Tensor:
        """(N, 1, H, W) -> the same."""
        mu, prior, noise = self.raw(y)
        if self.faithful_test and not self.training and self.noise == "awgn":
            noise = self.sigma_n(y)
        a, b = prior**2, self.gamma * level(noise) ** 2
        return (y * a + mu * b) / (a + b)


class DBSNColor(_Denoiser):
    """Twin of `dbsn-color`."""

    def __init__(
        self,
        width: int = 96,
        blocks: int = 8,
        noise: str = "awgn",
        sigma_width: int = 32,
        blind_spot: str = "masked",
        activation: str = "relu",
        gamma: float = 1.0,
        pixelwise: bool = False,
        sigma_mu_gain: float = 1.0,
        sigma_n_start: float | None = None,
    ) -> None:
        entries = 6 if noise == "mg" else 3
        how = (sigma_width, blind_spot, activation, gamma)
        super().__init__(3, width, blocks, noise, entries, *how)
        self.pixelwise = pixelwise

    def forward(self, y: Tensor) -> Tensor:
        """(N, 3, H, W) -> the same."""
        mu, prior, noise = self.raw(y)
        if self.noise == "mg":
            a, b = covariance(prior), covariance(noise).mean((1, 2), keepdim=True)
            if not self.pixelwise:
                a = a.mean((1, 2), keepdim=True)
        else:
            a, b = covariance(prior), covariance(level(noise))
        return posterior_mean(mu, y, a, b, self.gamma)


def posterior_mean(mu: Tensor, y: Tensor, a: Tensor, b: Tensor, gamma: float) -> Tensor:
    """mu + M (M + N + e N M)^-1 (y - mu - e N mu), with M = a + e I and N = (b + e I) / gamma: the
    authors' (M^-1 + N^-1 + e I)^-1 (M^-1 mu + N^-1 y), of which no two inverses cancel.
    """
    eps = 1e-6
    ridge = eps * torch.eye(3, dtype=y.dtype, device=y.device)
    m, n = a + ridge, (b + ridge) / gamma
    mu, y = (x.permute(0, 2, 3, 1)[..., None] for x in (mu, y))  # (N, H, W, 3, 1)
    total = m + n + eps * (n @ m)
    x = mu + m @ torch.linalg.solve(total, y - mu - eps * (n @ mu))
    return x[..., 0].permute(0, 3, 1, 2)


def covariance(raw: Tensor) -> Tensor:
    """(N, 6 or 3, H, W) -> (N, H, W, 3, 3): U U' of an upper triangular, or diagonal, U."""
    places = (0, 1, 2, 4, 5, 8) if raw.shape[1] == 6 else (0, 4, 8)
    n, _, h, w = raw.shape
    u = raw.new_zeros(n, h, w, 9)
    u[..., places] = raw.permute(0, 2, 3, 1)
    u = u.reshape(n, h, w, 3, 3)
    return u @ u.mT
