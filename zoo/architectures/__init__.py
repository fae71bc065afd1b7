"""The networks of the zoo, one file per family; each `wire` reads like the paper's figure."""

from zoo.architectures.bias_free_dncnn import BFDnCNN, PCSTDnCNN
from zoo.architectures.bias_free_unet import BFUNet
from zoo.architectures.denoiser import Denoiser, evaluating, pad_to_multiple
from zoo.architectures.dncnn import DnCNN, KairDnCNN, ResidualDenoiser
from zoo.architectures.n2n_prelu_unet import N2NPReLUUNet
from zoo.architectures.n2n_simple import N2NSimple
from zoo.architectures.n2n_unet import N2NUNet
from zoo.architectures.staged import BFRCNN, BFSDenseNet

__all__ = [
    "BFDnCNN",
    "BFRCNN",
    "BFSDenseNet",
    "BFUNet",
    "Denoiser",
    "DnCNN",
    "KairDnCNN",
    "N2NPReLUUNet",
    "N2NSimple",
    "N2NUNet",
    "PCSTDnCNN",
    "ResidualDenoiser",
    "evaluating",
    "pad_to_multiple",
]
