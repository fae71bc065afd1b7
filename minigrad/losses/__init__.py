"""The losses: leaves whose output is one number."""

from minigrad.losses.regression import AnnealedL0Loss, HDRLoss, L1Loss, MaskedMSELoss, MSELoss

__all__ = ["MSELoss", "L1Loss", "MaskedMSELoss", "AnnealedL0Loss", "HDRLoss"]
