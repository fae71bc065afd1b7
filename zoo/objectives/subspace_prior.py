"""Stage 2 of PSL-AE with a learned prior: encoder, decoder 0 and prior in one loss.

Source: Yang, Yang and Bajaj, Patch subspace learning autoencoder (2021), arXiv 2104.00253, and the
authors' code of 2020; the mixture is ours.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from minigrad import Add, GaussianStdKLLoss, Mean, MixtureKLLoss, Scale, UniformKLLoss
from minigrad.module import Module
from zoo.objectives.clusters import Used
from zoo.objectives.subspace import Reconstruction, SubspaceObjective


class PriorOutput(NamedTuple):
    """loss: the sum. reconstruction, prior, uniform: its terms before they are weighed; used: see
    `Used`. 0-d.
    """

    loss: Any
    reconstruction: Any
    prior: Any
    uniform: Any
    used: Any


class PatchPrior(SubspaceObjective):
    """loss = reconstruction + w prior + KL(y || uniform) + balance KL(mean y || uniform).

    z is drawn from the Gaussian of the patch. prior "gate": the mean over patches and dimensions of
    KL(N(mu, sigma) || N(mu_p, sigma_p)), whose parameters are linear in the gate's probabilities,
    as in the authors' code of 2020. prior "mixture", ours: `MixtureKLLoss` against K components,
    an upper bound of the divergence from their mixture; what it says of y takes the place of the
    third term.

    balance, ours: of the batch's mean y. It asks that the clusters share the patches, not that
    each patch be torn between them.
    """

    logged = PriorOutput._fields
    priors = ("gate", "mixture")

    def __init__(
        self,
        network: Module,
        loss: str = "reconstruction",
        *,
        kld_weight: float = 1.0,
        prior_weight: float = 0.01,
        balance: float = 0.0,
        l1: float = 0.0,
        l2: float = 0.0,
    ) -> None:
        super().__init__(network, l1, l2)
        self.loss = Reconstruction(self.network.block, kld_weight)
        self.uniform, self.used = UniformKLLoss(), Used()
        self.gaussian, self.mixture = GaussianStdKLLoss(), MixtureKLLoss()
        self.weigh, self.add = Scale(prior_weight), Add()
        self.mean, self.balance = Mean(0, keepdim=True), Scale(balance)

    def wire(self, noisy: Any, clean: Any) -> PriorOutput:
        """Encode, draw, decode; the terms."""
        net, encoder = self.network, self.network.encoder
        mu, sigma, reg, gate = encoder(noisy)
        reconstruction = self.loss(net.decoders[0](net.sample(mu, sigma)), clean)
        uniform = self.uniform(reg)
        if net.prior == "gate":
            prior = self.gaussian(mu, sigma, *encoder.prior(gate))
            total = self.add(self.add(reconstruction, uniform), self.weigh(prior))
        else:
            prior = self.mixture(gate, mu, sigma, *encoder.components(gate))
            total = self.add(reconstruction, self.weigh(prior))
        if self.balance.factor:
            total = self.add(total, self.balance(self.uniform(self.mean(gate))))
        return PriorOutput(total, reconstruction, prior, uniform, self.used(gate))
