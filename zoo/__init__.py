"""zoo: published image denoisers on minigrad.

    import zoo

    zoo.list_models()                       # what there is
    model = zoo.create("n2n-prelu-unet")    # a new network
    model = zoo.load("model.safetensors")   # a trained one
    clean = model.denoise(noisy)            # (N, C, H, W) in [0, 1], any size

The command line is `zoo --help`.
"""

from zoo.architectures import Denoiser
from zoo.registry import UnknownModelError, create, list_models, load, save

__all__ = ["Denoiser", "UnknownModelError", "create", "list_models", "load", "save"]
