"""The networks of the zoo, one file per family; each `wire` reads like the paper's figure."""

from zoo.architectures.denoiser import Denoiser, evaluating, pad_to_multiple
from zoo.architectures.n2n_prelu_unet import N2NPReLUUNet
from zoo.architectures.n2n_simple import N2NSimple
from zoo.architectures.n2n_unet import N2NUNet

__all__ = ["Denoiser", "N2NPReLUUNet", "N2NSimple", "N2NUNet", "evaluating", "pad_to_multiple"]
