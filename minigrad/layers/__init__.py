"""The leaves, in the order of the documentation: one room a file, forward and vjp side by side."""

from minigrad.layers.activation import LeakyReLU, PReLU, ReLU, Sigmoid
from minigrad.layers.bias_free_norm import BFBatchNorm2d, BFStdNorm2d
from minigrad.layers.border import (
    CenterCrop2d,
    CenterPad2d,
    Crop2d,
    ReflectionPad2d,
    ReplicationPad2d,
    ZeroPad2d,
)
from minigrad.layers.conv import Conv2d
from minigrad.layers.conv_transpose import ConvTranspose2d
from minigrad.layers.covariance import Covariance3x3, Inverse3x3, LogDet3x3, ReplaceZeros
from minigrad.layers.elementary import Exp, Expand, ExpandAs, Log, Mean, Square
from minigrad.layers.join import Add, Concat, Multiply, Offset, Scale, Split, Subtract
from minigrad.layers.linear import LearnedScale, Linear
from minigrad.layers.masked_conv import MaskedConv2d, TrimmedConv2d
from minigrad.layers.motion import Flip, Roll, Rot90, Shift2d
from minigrad.layers.noise_models import GaussianMixtureNoiseModel, HistogramNoiseModel
from minigrad.layers.norm import BatchNorm2d
from minigrad.layers.normalize import Normalize
from minigrad.layers.patches import DividePatches, MergePatches
from minigrad.layers.pool import AdaptiveAvgPool2d, AvgPool2d, MaxPool2d
from minigrad.layers.posterior import MultivariatePosteriorMean, PosteriorMean
from minigrad.layers.reshape import Flatten, Permute, Reshape
from minigrad.layers.resize import Upsample
from minigrad.layers.same_conv import SameConv2d, SameConvTranspose2d
from minigrad.layers.shuffle import PixelShuffle, PixelUnshuffle
from minigrad.layers.smooth import ELU, GELU, SELU, Softplus, Tanh
from minigrad.layers.softmax import LogSoftmax, Softmax
from minigrad.layers.stochastic import Dropout, Dropout2d, GaussianSample
from minigrad.layers.unfold import Fold, Unfold
from minigrad.layers.wavelet import HaarDWT, HaarIWT

__all__ = [
    "Unfold",
    "Fold",
    "Conv2d",
    "ConvTranspose2d",
    "MaskedConv2d",
    "TrimmedConv2d",
    "SameConv2d",
    "SameConvTranspose2d",
    "MaxPool2d",
    "AvgPool2d",
    "AdaptiveAvgPool2d",
    "Upsample",
    "ReLU",
    "LeakyReLU",
    "PReLU",
    "Sigmoid",
    "ELU",
    "SELU",
    "GELU",
    "Tanh",
    "Softplus",
    "Square",
    "Exp",
    "Log",
    "Mean",
    "Expand",
    "ExpandAs",
    "Linear",
    "LearnedScale",
    "Softmax",
    "LogSoftmax",
    "BatchNorm2d",
    "BFBatchNorm2d",
    "BFStdNorm2d",
    "Normalize",
    "ZeroPad2d",
    "ReflectionPad2d",
    "ReplicationPad2d",
    "Crop2d",
    "CenterCrop2d",
    "CenterPad2d",
    "Roll",
    "Shift2d",
    "Rot90",
    "Flip",
    "PixelShuffle",
    "PixelUnshuffle",
    "HaarDWT",
    "HaarIWT",
    "Reshape",
    "Flatten",
    "Permute",
    "DividePatches",
    "MergePatches",
    "Add",
    "Subtract",
    "Multiply",
    "Scale",
    "Offset",
    "Concat",
    "Split",
    "Dropout",
    "Dropout2d",
    "GaussianSample",
    "GaussianMixtureNoiseModel",
    "HistogramNoiseModel",
    "Covariance3x3",
    "Inverse3x3",
    "LogDet3x3",
    "ReplaceZeros",
    "PosteriorMean",
    "MultivariatePosteriorMean",
]
