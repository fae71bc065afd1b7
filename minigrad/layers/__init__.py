"""The leaves, in the order of the documentation: one room a file, forward and vjp side by side."""

from minigrad.layers.activation import LeakyReLU, PReLU, ReLU, Sigmoid
from minigrad.layers.conv import Conv2d
from minigrad.layers.conv_transpose import ConvTranspose2d
from minigrad.layers.join import Add, Concat, Multiply, Offset, Scale, Split, Subtract
from minigrad.layers.pool import AvgPool2d, MaxPool2d
from minigrad.layers.resize import Upsample
from minigrad.layers.unfold import Fold, Unfold

__all__ = [
    "Unfold",
    "Fold",
    "Conv2d",
    "ConvTranspose2d",
    "ReLU",
    "LeakyReLU",
    "PReLU",
    "Sigmoid",
    "MaxPool2d",
    "AvgPool2d",
    "Upsample",
    "Concat",
    "Split",
    "Add",
    "Subtract",
    "Multiply",
    "Scale",
    "Offset",
]
