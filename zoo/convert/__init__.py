"""Official weights files become files of the zoo, without the frameworks that wrote them.

    from zoo.convert import convert

    convert("net.pth", "dncnn-s", "dncnn_s25.safetensors", noise="gaussian:25")

A file of PyTorch is a pickle, which is a program: whoever loads it runs it. Here it is only read.
One module a container: `torch_zip`, `torch_legacy`, `hdf5` (Keras, MATLAB 7.3), `matlab`; `pickles`
and `rebuild` read pickles into the inert `records`, `budget` bounds what that may cost; `states`
finds the state dict, `families` the constructor arguments, `conversion` puts all together.
"""

from zoo.convert.budget import MAX_BYTES
from zoo.convert.contents import Contents, read_checkpoint
from zoo.convert.conversion import Conversion, convert

__all__ = ["MAX_BYTES", "Contents", "Conversion", "convert", "read_checkpoint"]
