"""Twin of `psl-ae`. Arguments that only matter in training are accepted and not used."""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional


def same_conv(x: Tensor, layer: nn.Conv2d) -> Tensor:
    """A convolution with Keras' border: for stride 2 and even sides below and on the right."""
    stride, kernel = layer.stride[0], layer.kernel_size[0]
    total = [max((-(-n // stride) - 1) * stride + kernel - n, 0) for n in x.shape[2:]]
    (h, w) = total
    x = functional.pad(x, (w // 2, w - w // 2, h // 2, h - h // 2))
    return functional.conv2d(x, layer.weight, layer.bias, stride)


def same_deconv(x: Tensor, layer: nn.ConvTranspose2d) -> Tensor:
    """A transposed convolution without padding, cut to `stride` times the sides."""
    stride, kernel = layer.stride[0], layer.kernel_size[0]
    y = functional.conv_transpose2d(x, layer.weight, layer.bias, stride)
    at, (h, w) = max(kernel - stride, 0) // 2, (stride * n for n in x.shape[2:])
    return y[:, :, at : at + h, at : at + w]


class Trunk(nn.Module):
    """Five convolutions and a norm, which with `frozen` divides by its running statistics."""

    def __init__(
        self, channels: int, widths: tuple[int, ...], strides: tuple[int, ...], frozen: bool
    ) -> None:
        super().__init__()
        pairs = zip(pairwise((channels, *widths)), strides, strict=True)
        for i, ((c, k), s) in enumerate(pairs, start=1):
            setattr(self, f"conv{i}", nn.Conv2d(c, k, 3, s))
        self.bn, self.frozen = nn.BatchNorm2d(widths[-1], 1e-3, 0.01), frozen

    def features(self, x: Tensor) -> Tensor:
        """(N, C, b, b) -> (N, D)."""
        for i in range(1, 6):
            x = torch.relu(same_conv(x, getattr(self, f"conv{i}")))
        if not self.frozen:
            return torch.flatten(self.bn(x), 1)
        bn = self.bn
        y = functional.batch_norm(
            x, bn.running_mean, bn.running_var, bn.weight, bn.bias, False, 0, 1e-3
        )
        return torch.flatten(y, 1)


class Encoder(Trunk):
    """The trunk, and two dense layers."""

    def __init__(self, channels: int, block: int, width: int, latent: int, frozen: bool) -> None:
        widths = (width, 2 * width, 3 * width, 4 * width, 9 * width // 2)
        super().__init__(channels, widths, (1, 2, 1, 1, 2), frozen)
        self.fc1 = nn.Linear(widths[-1] * (block // 4) ** 2, 16 * width)
        self.fc2 = nn.Linear(16 * width, latent)

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, b, b) -> (N, latent)."""
        return torch.relu(self.fc2(torch.relu(self.fc1(self.features(x)))))


class PriorEncoder(Trunk):
    """The trunk; the mean of z, and the gate. What training alone needs is held, not used."""

    def __init__(
        self,
        channels: int,
        block: int,
        width: int,
        latent: int,
        clusters: int,
        two_heads: bool,
        frozen: bool,
    ) -> None:
        widths = (width, 2 * width, 3 * width, 9 * width // 2, 8 * width)
        super().__init__(channels, widths, (1, 2, 1, 2, 1), frozen)
        hidden, head = 16 * width, 8 * width
        self.fc = nn.Linear(widths[-1] * (block // 4) ** 2, hidden)
        self.y_hid, self.y_gate = nn.Linear(hidden, head), nn.Linear(head, clusters)
        self.y_reg = nn.Linear(head, clusters) if two_heads else None
        self.prior_mean, self.prior_sig = (nn.Linear(clusters, latent) for _ in range(2))
        self.z_hid = nn.Linear(hidden, head)
        self.z_mean, self.z_sig = (nn.Linear(head, latent) for _ in range(2))

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """(N, C, b, b) -> the mean of z, the gate."""
        h = torch.relu(self.fc(self.features(x)))
        gate = torch.softmax(self.y_gate(torch.relu(self.y_hid(h))), 1)
        return self.z_mean(torch.relu(self.z_hid(h))), gate


class Decoder(nn.Module):
    """A dense layer and transposed convolutions."""

    def __init__(
        self,
        channels: int,
        block: int,
        widths: tuple[int, ...],
        latent: int,
        strides: tuple[int, ...],
    ) -> None:
        super().__init__()
        self.form, self.count = (widths[0], block // 4, block // 4), len(widths)
        self.fc = nn.Linear(latent, widths[0] * (block // 4) ** 2)
        pairs = zip(pairwise((*widths, channels)), strides, strict=True)
        for i, ((c, k), s) in enumerate(pairs, start=1):
            setattr(self, f"deconv{i}", nn.ConvTranspose2d(c, k, 3, s))

    def forward(self, z: Tensor) -> Tensor:
        """(N, latent) -> (N, C, b, b)."""
        x = torch.relu(self.fc(z)).reshape(-1, *self.form)
        for i in range(1, self.count):
            x = torch.relu(same_deconv(x, getattr(self, f"deconv{i}")))
        return torch.sigmoid(same_deconv(x, getattr(self, f"deconv{self.count}")))


class Classifier(nn.Module):
    """Two dense layers and a softmax."""

    def __init__(self, latent: int, hidden: int, clusters: int) -> None:
        super().__init__()
        self.fc1, self.fc2 = nn.Linear(latent, hidden), nn.Linear(hidden, clusters)

    def forward(self, z: Tensor) -> Tensor:
        """(N, latent) -> (N, K)."""
        return torch.softmax(self.fc2(torch.relu(self.fc1(z))), 1)


class PSLAE(nn.Module):
    """Divide, encode, decode by the cluster's decoder, merge."""

    def __init__(
        self,
        channels: int = 3,
        block: int = 16,
        overlap: int = 4,
        clusters: int = 2,
        width: int = 16,
        latent: int | None = None,
        prior: str = "none",
        routing: str = "hard",
        blend: bool = True,
        sampling: str = "sigma",
        two_heads: bool = False,
        released: bool = False,
        dropout: float = 0.0,
        bn_mode: str = "frozen",
    ) -> None:
        super().__init__()
        self.block, self.step, self.soft, self.blend = (
            block,
            block - overlap,
            routing == "soft",
            blend,
        )
        plain, frozen = prior == "none", bn_mode == "frozen"
        latent = (128 if plain else 96) if latent is None else latent
        if plain:
            widths: tuple[int, ...] = (9 * width // 2, 4 * width, 3 * width, 2 * width, width)
            strides: tuple[int, ...] = (2, 1, 1, 1, 2, 1)
            self.encoder: nn.Module = Encoder(channels, block, width, latent, frozen)
            self.classifier = Classifier(latent, max(1, latent // 2), clusters)
        else:
            widths = (
                8 * width,
                9 * width // 2,
                3 * width,
                2 * width,
                *((width,) if released else ()),
            )
            strides = (1, 2, 1, 2, 1, *((1,) if released else ()))
            self.encoder = PriorEncoder(channels, block, width, latent, clusters, two_heads, frozen)
        self.plain = plain
        self.decoders = nn.ModuleList(
            Decoder(channels, block, (16 * width, *widths), latent, strides)
            for _ in range(clusters)
        )

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) -> the same."""
        n, c, h, w = x.shape
        b, s, sizes = self.block, self.step, x.shape[2:]
        columns = functional.unfold(x, b, stride=s)  # (N, C b b, L)
        patches = columns.transpose(1, 2).reshape(-1, c, b, b)
        if self.plain:
            z = self.encoder(patches)
            y = self.classifier(z)
        else:
            z, y = self.encoder(patches)
        made = self._routed(z, y)
        fades = [self._fades((size - (b - s)) // s).to(x.dtype) for size in sizes]
        weights = torch.einsum("ip,jq->ijpq", *fades).reshape(1, -1, 1, b, b)
        made = (made.reshape(n, -1, c, b, b) * weights).reshape(n, -1, c * b * b)
        return functional.fold(made.transpose(1, 2), (h, w), b, stride=s)

    def _routed(self, z: Tensor, y: Tensor) -> Tensor:
        if self.soft:
            parts = [d(z) * y[:, k, None, None, None] for k, d in enumerate(self.decoders)]
            return torch.stack(parts).sum(0)
        labels = y.argmax(1)
        order, parts = [], []
        for k, decoder in enumerate(self.decoders):
            rows = torch.nonzero(labels == k)[:, 0]
            if len(rows):
                order.append(rows)
                parts.append(decoder(z[rows]))
        return torch.cat(parts)[torch.argsort(torch.cat(order))]

    def _fades(self, count: int) -> Tensor:
        """(count, b): how much each patch of a row counts."""
        o = self.block - self.step
        rise = torch.arange(1, o + 1, dtype=torch.float64) / (o + 1)
        if not self.blend:
            rise = (rise >= 0.5).to(rise.dtype)
        fades = torch.ones(count, self.block, dtype=torch.float64)
        fades[1:, :o] = rise
        fades[:-1, self.block - o :] = 1 - rise
        return fades
