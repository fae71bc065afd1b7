"""What we add to PSL-AE: clusters from k-means, and decoders that find their own patches.

    patch-clusters   the classifier learns the clusters that k-means finds among the vectors z
    patch-experts    classifier and decoders together, as a gate and its experts

The published classifier is drawn to equal probabilities and nothing else, so that its clusters mean
nothing. These two come after stage 2, in place of stage 3 or before it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from minigrad import Add, Frozen, Mean, Scale, UniformKLLoss
from minigrad.backend import device_of, to_device, to_host
from minigrad.module import Module
from zoo.architectures import evaluating
from zoo.objectives.base import Batch
from zoo.objectives.clusters import (
    CrossEntropy,
    ExpertErrors,
    GatedExperts,
    Nearest,
    Used,
    kmeans,
)
from zoo.objectives.subspace import Reconstruction, SubspaceObjective, copy_first_decoder

SEEN = 4096
"""Patches, at most, that k-means looks at."""


class ClustersOutput(NamedTuple):
    """loss: the cross-entropy. used: see `Used`. 0-d."""

    loss: Any
    used: Any


class PatchClusters(SubspaceObjective):
    """loss = cross-entropy of y = classifier(z) and the cluster of k-means that z lies in.

    k-means is run once, on the vectors of the first patches. The encoder is a constant.
    """

    logged = ClustersOutput._fields
    priors = ("none",)

    def __init__(self, network: Module, loss: str = "cross_entropy") -> None:
        super().__init__(network)
        net = self.network
        self.encoder, self.loss, self.used = Frozen(net.encoder), CrossEntropy(), Used()
        self.nearest = Nearest(np.zeros((net.clusters, net.latent), net.dtype))

    def begin(self, batches: Callable[[int], Batch]) -> None:
        """Find the centres."""
        device, step = device_of(self.nearest.centres), 0
        found: list[np.ndarray] = []
        with evaluating(self.network):
            while sum(len(z) for z in found) < SEEN and step < SEEN:
                noisy = to_device(batches(step)[0], device)
                found.append(to_host(self.network.encoder.forward(noisy)))
                step += 1
        centres = kmeans(np.concatenate(found)[:SEEN], self.network.clusters)
        self.nearest.centres = to_device(centres, device)

    def wire(self, noisy: Any, clean: Any) -> ClustersOutput:
        """The classifier against k-means."""
        z = self.encoder(noisy)
        y = self.network.classifier(z)  # type: ignore[misc]
        return ClustersOutput(self.loss(y, self.nearest(z)), self.used(y))

    def slots(self, trained: bool = False) -> dict[str, tuple[Module, str]]:
        """Those of the network, and the centres."""
        more = {} if trained else {"nearest.centres": (self.nearest, "centres")}
        return super().slots(trained) | more


class ExpertsOutput(NamedTuple):
    """loss: with the balance term. used: see `Used`. 0-d."""

    loss: Any
    used: Any


class PatchExperts(SubspaceObjective):
    """loss = `GatedExperts`(classifier(z), errors of all decoders) + balance KL(mean y || uniform).

    Every decoder is tried on every patch; the loss gives each patch to the decoders that do it
    best, in equal shares, and has the classifier foretell them. The temperature falls from 4 T to T
    over the stage: at first the classifier decides, then the errors.

    loss "reconstruction", for a network with soft routing: the error of the decoders' mean,
    weighted by y, in place of the first term. The decoders then work together, and the gate learns
    by what it makes of them.

    The classifier begins where it is (see `PatchClusters`), the decoders as copies of decoder 0.
    `joint`: the encoder learns too.
    """

    logged = ExpertsOutput._fields

    def __init__(
        self,
        network: Module,
        loss: str = "gated",
        *,
        temperature: float = 0.25,
        balance: float = 0.0,
        joint: bool = False,
        rounds: int = 3,
    ) -> None:
        super().__init__(network)
        net = self.network
        self.soft = loss == "reconstruction"
        if self.soft and net.routing != "soft":
            raise ValueError(
                "objective: patch-experts with loss 'reconstruction' needs soft routing"
            )
        self.lowest = temperature
        self.mean_error = Reconstruction(net.block, 0.0)
        self.encoder = net.encoder if joint else Frozen(net.encoder)
        self.errors, self.loss = ExpertErrors(net.decoders), GatedExperts(temperature, rounds)
        self.uniform, self.mean, self.used = UniformKLLoss(), Mean(0, keepdim=True), Used()
        self.balance, self.add = Scale(balance), Add()

    def begin(self, batches: Callable[[int], Batch]) -> None:
        """Every decoder becomes a copy of decoder 0."""
        copy_first_decoder(self.network)

    def ready(self) -> None:
        """The decoders are what they are."""

    def anneal(self, fraction: float) -> None:
        """T falls exponentially, to its end after three quarters of the stage."""
        self.loss.temperature = self.lowest * 4 ** max(0.0, 1 - fraction / 0.75)

    def wire(self, noisy: Any, clean: Any) -> ExpertsOutput:
        """The gate, all experts, the loss."""
        z = self.encoder(noisy)
        y = self.network.classifier(z)  # type: ignore[misc]
        if self.soft:
            value = self.mean_error(self.network.decoders(z, y), clean)
        else:
            value = self.loss(y, self.errors(z, clean))
        total = self.add(value, self.balance(self.uniform(self.mean(y))))
        return ExpertsOutput(total, self.used(y))
