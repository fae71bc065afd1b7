"""The networks of the zoo in PyTorch, by the same papers and under the same state-dict keys."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from torch import nn

from validation.twins.networks.dbsn import DBSNColor, DBSNGray
from validation.twins.networks.dncnn import BFDnCNN, DnCNN, KairDnCNN, PCSTDnCNN
from validation.twins.networks.hdn import HDN, DivNoising
from validation.twins.networks.mwcnn import MWCNN
from validation.twins.networks.noise2noise import PReLUUNet, Simple, UNet
from validation.twins.networks.psl_ae import PSLAE
from validation.twins.networks.staged import RCNN, SDenseNet
from validation.twins.networks.unet import BFUNet

TWINS: dict[str, Callable[..., nn.Module]] = {
    "n2n-simple": Simple,
    "n2n-prelu-unet": PReLUUNet,
    "n2n-unet": UNet,
    "dncnn-s": DnCNN,
    "dncnn-b": partial(DnCNN, depth=20),
    "dncnn-kair": KairDnCNN,
    "bf-dncnn": BFDnCNN,
    "bf-unet": BFUNet,
    "bf-rcnn": RCNN,
    "bf-sdensenet": SDenseNet,
    "pcst-dncnn": PCSTDnCNN,
    "dbsn-gray": DBSNGray,
    "dbsn-color": DBSNColor,
    "mwcnn": MWCNN,
    "hdn": HDN,
    "divnoising": DivNoising,
    "psl-ae": PSLAE,
}
"""For each name of the registry what makes its equal, with the same constructor arguments."""
