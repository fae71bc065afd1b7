"""The networks of the zoo, one file per family; each `wire` reads like the paper's figure."""

from zoo.architectures.bias_free_dncnn import BFDnCNN, PCSTDnCNN
from zoo.architectures.bias_free_unet import BFUNet
from zoo.architectures.dbsn import DBSN
from zoo.architectures.dbsn_denoiser import (
    BlindSpotDenoiser,
    DBSNColor,
    DBSNGray,
    NoiseMap,
    PriorMean,
)
from zoo.architectures.dbsn_sigma import SigmaMuNet, SigmaNNet
from zoo.architectures.denoiser import Denoiser, Place, evaluating, pad_to_multiple, padded_side
from zoo.architectures.divnoising import DivNoising
from zoo.architectures.dncnn import DnCNN, KairDnCNN, ResidualDenoiser
from zoo.architectures.hdn import HDN
from zoo.architectures.mwcnn import MWCNN
from zoo.architectures.n2n_prelu_unet import N2NPReLUUNet
from zoo.architectures.n2n_simple import N2NSimple
from zoo.architectures.n2n_unet import N2NUNet
from zoo.architectures.psl_ae_denoiser import PSLAE
from zoo.architectures.sampling import Inference, Latent, StochasticDenoiser
from zoo.architectures.staged import BFRCNN, BFSDenseNet

__all__ = [
    "BFDnCNN",
    "BFRCNN",
    "BFSDenseNet",
    "BFUNet",
    "BlindSpotDenoiser",
    "DBSN",
    "DBSNColor",
    "DBSNGray",
    "Denoiser",
    "DivNoising",
    "DnCNN",
    "HDN",
    "Inference",
    "PSLAE",
    "KairDnCNN",
    "Latent",
    "MWCNN",
    "N2NPReLUUNet",
    "N2NSimple",
    "N2NUNet",
    "NoiseMap",
    "PCSTDnCNN",
    "Place",
    "PriorMean",
    "ResidualDenoiser",
    "SigmaMuNet",
    "SigmaNNet",
    "StochasticDenoiser",
    "evaluating",
    "pad_to_multiple",
    "padded_side",
]
