"""The stages of PSL-AE: contrast, autoencoder with a classifier, decoders of clusters.

Patches (N, C, b, b), noisy and clean, values in [0, 1]. In the order in which they are used:

    patch-contrast      stage 1: the encoder, so that the noisy and the clean form of a patch agree
    patch-autoencoder   stage 2: encoder and decoder 0 by reconstruction; the classifier apart
    patch-decoders      stage 3: copies of decoder 0, each on the patches of its cluster

With a prior, `patch-prior` (subspace_prior.py) takes the place of the first two.

Source: Yang, Yang and Bajaj, Patch subspace learning autoencoder (2021), arXiv 2104.00253, and the
authors' code.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from minigrad import (
    Add,
    Composite,
    ContrastiveLoss,
    Detach,
    Frozen,
    L1L2Penalty,
    MSELoss,
    Normalize,
    PixelKLDLoss,
    SameConv2d,
    SameConvTranspose2d,
    Scale,
    UniformKLLoss,
)
from minigrad.backend import Array, array_module
from minigrad.module import Module
from minigrad.noise import Noise
from minigrad.optimiser import Optimiser
from zoo.architectures import PSLAE
from zoo.architectures.psl_ae import ProjectionHead
from zoo.objectives.base import Batch, Objective
from zoo.objectives.clusters import Agreement, Used


class SubspaceObjective(Objective):
    """What the stages share: the network, which must be `psl-ae`, and its penalty on weights."""

    network: PSLAE
    priors: tuple[str, ...] = ("none", "gate", "mixture")
    """Kinds of network that the stage is for."""

    def __init__(self, network: Module, l1: float = 0.0, l2: float = 0.0) -> None:
        if not isinstance(network, PSLAE):
            raise ValueError(
                f"objective: a patch objective needs psl-ae, got {type(network).__name__}"
            )
        if network.prior not in self.priors:
            raise ValueError(
                f"objective: {type(self).__name__} is for prior {' or '.join(self.priors)}, the "
                f"network has {network.prior!r}"
            )
        self.network = network
        self.penalty = L1L2Penalty(l1, l2) if l1 or l2 else None

    def slots(self, trained: bool = False) -> dict[str, tuple[Module, str]]:
        """Those of the network alone, parts of which some objectives hold in two ways."""
        found = self.network.slots(trained)
        return {f"network.{key}": slot for key, slot in found.items()}

    def ready(self) -> None:
        """Up to stage 3 there is one decoder, decoder 0: all others are copies of it."""
        copy_first_decoder(self.network)

    def penalise(self, *parts: Module) -> None:
        """Add the gradient of the penalty on the kernels of the convolutions of `parts`."""
        if self.penalty is None:
            return
        for part in parts:
            for module in part.modules():
                if isinstance(module, SameConv2d | SameConvTranspose2d):
                    value, vjp = self.penalty.forward_and_vjp(module.weight)
                    module.accumulate(weight=vjp(array_module(value).ones_like(value)), bias=None)


class Reconstruction(Composite):
    """value = b^2 mse(x, t) + w kld(x, t), the second over the channels of each pixel.

    x, t: (N, C, b, b). With w = 1 it is least not at x = t but about 1.5 grey levels above it: the
    second term falls with every x that grows.
    """

    def __init__(self, block: int, kld_weight: float) -> None:
        self.mse, self.scale = MSELoss(), Scale(block * block)
        self.kld = PixelKLDLoss() if kld_weight else None
        self.weigh, self.add = Scale(kld_weight), Add()

    def wire(self, x: Any, t: Any) -> Any:
        """The sum of both terms."""
        value = self.scale(self.mse(x, t))
        return value if self.kld is None else self.add(value, self.weigh(self.kld(x, t)))


# ------------------------------------------------------------------------- stage 1


class ContrastOutput(NamedTuple):
    """loss: the sum or mean over the batch; accuracy: the share of patches that find their partner,
    in both directions. 0-d.
    """

    loss: Any
    accuracy: Any


class PatchContrast(SubspaceObjective):
    """loss = contrastive(h(clean), h(noisy)), h = normalize(head(encoder(.))).

    A patch and its noisy form shall be alike, and unlike all others of the batch. The head is left
    behind with the stage.
    """

    logged = ContrastOutput._fields
    priors = ("none",)

    def __init__(
        self,
        network: Module,
        loss: str = "sum",
        *,
        temperature: float = 0.1,
        noise: Noise | None = None,
        l1: float = 0.0,
        l2: float = 0.0,
    ) -> None:
        """`loss`: the reduction over the batch, "sum" as in the authors' code, or "mean"; `noise`
        is where the head's first weights are drawn from.
        """
        super().__init__(network, l1, l2)
        rng = np.random.default_rng() if noise is None else noise.generator()
        self.head = ProjectionHead(self.network.latent, dtype=self.network.dtype, rng=rng)
        self.normalize = Normalize(floor="square")
        self.loss = ContrastiveLoss(temperature, loss)
        self.agreement = Agreement()

    def wire(self, noisy: Any, clean: Any) -> ContrastOutput:
        """Both views through the one encoder and head."""
        u, v = (self.normalize(self.head(self.network.encoder(x))) for x in (clean, noisy))
        return ContrastOutput(self.loss(u, v), self.agreement(u, v))

    def trained(self) -> Module:
        """The network and the head."""
        return self

    def slots(self, trained: bool = False) -> dict[str, tuple[Module, str]]:
        """Of the network and the head."""
        head = {f"head.{key}": slot for key, slot in self.head.slots(trained).items()}
        return super().slots(trained) | head


# ------------------------------------------------------------------------- stage 2


class AutoencoderOutput(NamedTuple):
    """loss: of the reconstruction. uniform: mean divergence of y from equal probabilities, before
    the step of the classifier. used: clusters in use, 1 to K (`Used`). 0-d.
    """

    loss: Any
    uniform: Any
    used: Any


class PatchAutoencoder(SubspaceObjective):
    """Two steps a batch: encoder and decoder 0 by reconstruction; then the classifier alone.

    1. x = decoder(encoder(noisy)); loss = `Reconstruction`(x, clean).
    2. y = classifier(encoder(x)), with the encoder as step 1 leaves it and the x made before it;
       loss = mean KL(y || uniform). With `classifier_input` "noisy" x is the noisy patch.

    The second loss is least where all clusters are equally probable for every patch: alone it gives
    clusters no meaning.
    """

    logged = AutoencoderOutput._fields
    priors = ("none",)

    def __init__(
        self,
        network: Module,
        loss: str = "reconstruction",
        *,
        kld_weight: float = 1.0,
        classifier_input: str = "reconstruction",
        l1: float = 0.0,
        l2: float = 0.0,
    ) -> None:
        super().__init__(network, l1, l2)
        self.loss = Reconstruction(self.network.block, kld_weight)
        self.classifier_input = classifier_input
        self.autoencode = _Autoencode(self.network, self.loss)
        self.spread = _Spread(self.network)
        self.detach = Detach()

    def wire(self, noisy: Any, clean: Any) -> AutoencoderOutput:
        """Both losses, of one and the same encoder."""
        loss, x = self.autoencode(noisy, clean)
        return AutoencoderOutput(loss, *self.spread(self._seen(noisy, self.detach(x))))

    def _seen(self, noisy: Any, x: Any) -> Any:
        return x if self.classifier_input == "reconstruction" else noisy

    def training_step(self, parts: Sequence[Batch], optimiser: Optimiser) -> tuple[Array, ...]:
        """The two steps, each with its own step of the optimiser."""
        share = 1 / len(parts)
        made, losses, told = [], [], []
        self.zero_grad()
        for noisy, clean in parts:
            (loss, x), vjp = self.autoencode.forward_and_vjp(noisy, clean)
            vjp(array_module(loss).full_like(loss, share), None)
            made.append(self._seen(noisy, x))
            losses.append(loss * share)
        self.penalise(self.network.encoder, self.network.decoders[0])
        optimiser.step()
        self.zero_grad()
        for seen in made:
            (uniform, used), vjp = self.spread.forward_and_vjp(seen)
            vjp(array_module(uniform).full_like(uniform, share), None)
            told.append((uniform * share, used * share))
        optimiser.step()
        columns = (losses, *zip(*told, strict=True))
        return AutoencoderOutput(*(sum(column[1:], column[0]) for column in columns))


class _Autoencode(Composite):
    """(loss, x) of encoder and decoder 0."""

    def __init__(self, network: PSLAE, loss: Module) -> None:
        self.encoder, self.decoder, self.loss = network.encoder, network.decoders[0], loss

    def wire(self, noisy: Any, clean: Any) -> Any:
        x = self.decoder(self.encoder(noisy))
        return self.loss(x, clean), x


class _Spread(Composite):
    """(KL(y || uniform), clusters in use) of the classifier behind the frozen encoder."""

    def __init__(self, network: PSLAE) -> None:
        self.encoder, self.classifier = Frozen(network.encoder), network.classifier
        self.uniform, self.used = UniformKLLoss(), Used()

    def wire(self, x: Any) -> Any:
        y = self.classifier(self.encoder(x))  # type: ignore[misc]
        return self.uniform(y), self.used(y)


# ------------------------------------------------------------------------- stage 3


class DecodersOutput(NamedTuple):
    """loss: of the reconstruction. used: see `Used`. 0-d."""

    loss: Any
    used: Any


class PatchDecoders(SubspaceObjective):
    """loss = `Reconstruction`(decoder k of z, clean), k the cluster of the noisy patch.

    Encoder and classifier are constants. Decoders begin as copies of decoder 0; one whose cluster
    is empty stays that. A batch holds patches of all clusters, and a decoder learns from its own.
    """

    logged = DecodersOutput._fields

    def __init__(
        self,
        network: Module,
        loss: str = "reconstruction",
        *,
        kld_weight: float = 1.0,
        l1: float = 0.0,
        l2: float = 0.0,
    ) -> None:
        super().__init__(network, l1, l2)
        self.loss = Reconstruction(self.network.block, kld_weight)
        self.code, self.used = Frozen(Coder(self.network)), Used()

    def begin(self, batches: Any) -> None:
        """Every decoder becomes a copy of decoder 0."""
        copy_first_decoder(self.network)

    def ready(self) -> None:
        """The decoders are what they are."""

    def wire(self, noisy: Any, clean: Any) -> DecodersOutput:
        """Route, then the loss."""
        z, y = self.code(noisy)
        return DecodersOutput(self.loss(self.network.decoders(z, y), clean), self.used(y))

    def training_step(self, parts: Sequence[Batch], optimiser: Optimiser) -> tuple[Array, ...]:
        """As of every objective, with the penalty on the decoders in training."""
        if self.penalty is None:
            return super().training_step(parts, optimiser)
        return super().training_step(parts, _Penalised(self, optimiser))  # type: ignore[arg-type]


class _Penalised:
    """An optimiser that has the penalty added before its step."""

    def __init__(self, owner: PatchDecoders, optimiser: Optimiser) -> None:
        self.owner, self.optimiser = owner, optimiser

    def step(self) -> None:
        self.owner.penalise(self.owner.network.decoders)
        self.optimiser.step()


class Coder(Composite):
    """(z, y) of patches, by the encoder and the classifier of the network."""

    def __init__(self, network: PSLAE) -> None:
        self.network = network

    def wire(self, patches: Any) -> Any:
        """`PSLAE.code`."""
        return self.network.code(patches)


def copy_first_decoder(network: PSLAE) -> None:
    """Give every decoder the weights of decoder 0."""
    first = network.decoders[0].state_dict()
    for decoder in list(network.decoders)[1:]:
        decoder.load_state_dict({key: array.copy() for key, array in first.items()})
