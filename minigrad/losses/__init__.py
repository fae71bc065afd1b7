"""The losses: leaves that measure, most of them by one number; `reduction` may ask for more."""

from minigrad.losses.blind_spot import DBSNLoss, MAPLoss
from minigrad.losses.clusters import GaussianStdKLLoss, MixtureKLLoss, UniformKLLoss
from minigrad.losses.contrastive import ContrastiveLoss
from minigrad.losses.density import DensityNLLLoss, PN2VLoss
from minigrad.losses.divergence import FreeBits, GaussianKLLoss, SampledKLLoss, StandardNormalKLLoss
from minigrad.losses.keras import L1L2Penalty, PixelKLDLoss
from minigrad.losses.likelihood import (
    CrossEntropyLoss,
    GaussianNLLLoss,
    LogMixtureLoss,
    LogVarianceNLLLoss,
)
from minigrad.losses.multivariate import MultivariateDBSNLoss, MultivariateMAPLoss
from minigrad.losses.regression import (
    AnnealedL0Loss,
    CharbonnierLoss,
    HalfSquaredErrorLoss,
    HDRLoss,
    L1Loss,
    MaskedMSELoss,
    MSELoss,
)

__all__ = [
    "MSELoss",
    "L1Loss",
    "MaskedMSELoss",
    "AnnealedL0Loss",
    "HDRLoss",
    "CharbonnierLoss",
    "GaussianNLLLoss",
    "LogVarianceNLLLoss",
    "CrossEntropyLoss",
    "LogMixtureLoss",
    "DensityNLLLoss",
    "PN2VLoss",
    "GaussianKLLoss",
    "SampledKLLoss",
    "StandardNormalKLLoss",
    "FreeBits",
    "UniformKLLoss",
    "GaussianStdKLLoss",
    "MixtureKLLoss",
    "ContrastiveLoss",
    "PixelKLDLoss",
    "L1L2Penalty",
    "MAPLoss",
    "DBSNLoss",
    "MultivariateMAPLoss",
    "MultivariateDBSNLoss",
    "HalfSquaredErrorLoss",
]
