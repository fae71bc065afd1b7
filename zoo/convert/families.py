"""Constructor arguments of each network of the zoo, from the shapes of its tensors.

One entry a network: what it adds to a new network is one function here. What shapes do not tell
(whether a U-Net returns the noise, how often a block is used) is left to the caller.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from typing import Any

Shapes = Mapping[str, tuple[int, ...]]


def arguments(model: str, shapes: Shapes) -> dict[str, Any]:
    """The arguments that the shapes tell; {} when they are not those of this network at all."""
    try:
        return _FAMILIES[model](shapes) if model in _FAMILIES else {}
    except (
        KeyError,
        IndexError,
        ValueError,
        StopIteration,
    ):  # a tensor is missing, or has too few axes
        return {}


PARTS: dict[str, dict[str, str]] = {
    name: {part: f"state_dict_{part}" for part in ("dbsn", "sigma_mu", "sigma_n")}
    for name in ("dbsn-gray", "dbsn-color")
}
"""Of networks made of several: the parts, and the key of each one's state dict in their files."""


def _count(shapes: Shapes, pattern: str) -> int:
    """How many names match the regular expression as a whole."""
    return sum(bool(re.fullmatch(pattern, name)) for name in shapes)


def _chain(first: str, weights: str) -> Callable[[Shapes], dict[str, Any]]:
    """A chain of convolutions: the name of the first, and the pattern of all their names."""

    def found(shapes: Shapes) -> dict[str, Any]:
        features, channels = shapes[first][:2]
        depth = sum(
            len(shape) == 4 and bool(re.fullmatch(weights, name)) for name, shape in shapes.items()
        )
        return {"channels": channels, "features": features, "depth": depth}

    return found


_dncnn = _chain("dncnn.0.weight", r"dncnn\.\d+\.weight")


def _kair(shapes: Shapes) -> dict[str, Any]:
    normed = any(name.endswith(".running_mean") for name in shapes)
    chain = _chain("model.0.weight", r"model\.\d+\.weight")(shapes)
    return {**chain, "form": "BR" if normed else "R"}


def _bf_dncnn(shapes: Shapes) -> dict[str, Any]:
    conv = r"(first_layer|hidden_layer_list\.\d+|last_layer)\.weight"
    return {**_chain("first_layer.weight", conv)(shapes), "bias": "first_layer.bias" in shapes}


def _bf_unet(shapes: Shapes) -> dict[str, Any]:
    features, channels = shapes["conv1.weight"][:2]
    return {"channels": channels, "features": features, "bias": "conv1.bias" in shapes}


def _block(shapes: Shapes, prefix: str) -> dict[str, Any]:
    """What RCNN and SDenseNet share."""
    return {
        "features": shapes[f"{prefix}.first_layer.weight"][0],
        "hidden": _count(shapes, re.escape(prefix) + r"\.hidden_layer_list\.\d+\.weight"),
        "bias": f"{prefix}.first_layer.bias" in shapes,
    }


def _bf_rcnn(shapes: Shapes) -> dict[str, Any]:
    return {"channels": shapes["cnn.last_layer.weight"][0], **_block(shapes, "cnn")}


def _bf_sdensenet(shapes: Shapes) -> dict[str, Any]:
    return {
        "channels": shapes["cnn_list.0.first_layer.weight"][1],
        "max_stage": _count(shapes, r"cnn_list\.\d+\.first_layer\.weight"),
        **_block(shapes, "cnn_list.0"),
    }


def _n2n_simple(shapes: Shapes) -> dict[str, Any]:
    features, channels = shapes["0.weight"][:2]
    upsampling = "nearest" if "4.1.weight" in shapes else "transpose"
    return {"channels": channels, "features": features, "upsampling": upsampling}


def _n2n_prelu_unet(shapes: Shapes) -> dict[str, Any]:
    features, channels = shapes["conv0.weight"][:2]
    return {
        "channels": channels,
        "features": features,
        "depth": _count(shapes, r"eblocks\.\d+\.conv\.weight"),
        "stem_activation": "prelu" if "relu.weight" in shapes else "relu",
        "decoder_features": shapes["dblocks.0.conv0.weight"][0],
    }


def _n2n_unet(shapes: Shapes) -> dict[str, Any]:
    return {
        "channels": shapes["enc_conv0.weight"][1],
        "out_channels": shapes["dec_conv1c.weight"][0],
    }


def _dbsn_gray(shapes: Shapes) -> dict[str, Any]:
    return {
        "width": shapes["dbsn.dbsn_head.0.weight"][0],
        "blocks": _count(shapes, r"dbsn\.br1\.branch\.\d+\.concat\.weight"),
        "sigma_width": shapes["sigma_mu.conv.0.weight"][0],
    }


def _dbsn_color(shapes: Shapes) -> dict[str, Any]:
    """Six entries of a covariance tell multivariate noise; three are those of both other kinds."""
    entries = shapes["sigma_n.conv_final.weight"][0]
    return {**_dbsn_gray(shapes), **({"noise": "mg"} if entries == 6 else {})}


def _mwcnn(shapes: Shapes) -> dict[str, Any]:
    levels = {f"level{i}": shapes[f"level{i}_prev.block.0.weight"][0] for i in (1, 2, 3)}
    return {"channels": shapes["level1_prev.block.0.weight"][1] // 4, **levels}


_ORDERS = (
    *((order, 0.2) for order in ("bacdbacd", "bacdbac", "cabdcabd")),
    *((order, None) for order in ("bacdbac", "cabdcabd", "bacdbacd")),
)
"""How a residual block of HDN is spelt, with its dropout; the first that fits counts."""


def _places(order: str, dropout: float | None, normed: bool) -> list[tuple[int, int]]:
    """(place in the block, axes of the weight) of its norms and convolutions; the gate's, without
    axes.
    """
    letters = [
        letter for letter in order if (letter != "b" or normed) and (letter != "d" or dropout)
    ]
    axes = {"b": 1, "c": 4}
    found = [(i, axes[letter]) for i, letter in enumerate(letters) if letter in axes]
    return [*found, (len(letters), 0)]


def _hdn(shapes: Shapes) -> dict[str, Any]:
    layers = _count(shapes, r"top_down_layers\.\d+\.stochastic\.conv_out\.weight")
    rung = "top_down_layers.{}.{}"
    outs = [shapes[rung.format(i, "stochastic.conv_out.weight")] for i in range(layers)]
    first = "final_top_down.0.res.block."
    down = 1 if any(name.startswith(first) for name in shapes) else 2
    block = f"final_top_down.{down - 1}.res.block."
    normed = any(name.endswith(".running_mean") for name in shapes)
    weights = {n.removeprefix(block): s for n, s in shapes.items() if n.startswith(block)}
    gated = any(name.endswith(".conv.weight") for name in weights)
    found = sorted(
        (int(name.partition(".")[0]), 0 if ".conv." in name else len(shape))
        for name, shape in weights.items()
        if name.endswith(".weight")
    )
    order, dropout = next(
        (order, dropout)
        for order, dropout in _ORDERS
        if found == _places(order, dropout, normed)[: None if gated else -1]
    )
    grid = shapes[rung.format(layers - 1, "top_prior_params")][2:]
    linear = rung.format(0, "merge.layer.weight") in shapes
    skip = rung.format(0, "skip_connection_merger.layer.0.weight")
    return {
        "z_dims": [shape[1] for shape in outs],
        "channels": shapes["likelihood.parameter_net.weight"][0],
        "n_filters": outs[0][0],
        "blocks_per_layer": _count(shapes, r"bottom_up_layers\.0\.net\.\d+\.res\.block\.\d\.weight")
        // (len([1 for _, axes in found if axes])),
        "merge_type": "linear" if linear else "residual",
        "batchnorm": normed,
        "stochastic_skip": skip in shapes,
        "dropout": dropout,
        "img_shape": [n * (down << layers) for n in grid],
        "res_block_type": order,
        "gated": gated,
        "no_initial_downscaling": down == 1,
    }


def _divnoising(shapes: Shapes) -> dict[str, Any]:
    first = shapes["encoder.down_convs.0.conv1.weight"]
    return {
        "z_dim": shapes["encoder.convmu.weight"][0],
        "init_filters": first[0],
        "n_filters_per_depth": _count(shapes, r"encoder\.down_convs\.0\.conv\d\.weight"),
        "n_depth": _count(shapes, r"encoder\.down_convs\.\d+\.conv1\.weight"),
        "kernel_size": shapes["encoder.convmu.weight"][2],
        "bias": "encoder.convmu.bias" in shapes,
    }


def _psl_ae(shapes: Shapes) -> dict[str, Any]:
    """All but the overlap, which no weight tells, and what only says how parts are used."""
    prior, first = "encoder.z_mean.weight" in shapes, shapes["encoder.conv1.weight"]
    head = shapes["encoder.z_mean.weight" if prior else "encoder.fc2.weight"]
    dense = shapes["encoder.fc.weight" if prior else "encoder.fc1.weight"]
    side = math.isqrt(dense[1] // shapes["encoder.conv5.weight"][0])
    found = {
        "channels": first[1],
        "block": 4 * side,
        "clusters": _count(shapes, r"decoders\.\d+\.fc\.weight"),
        "width": first[0],
        "latent": head[0],
    }
    if not prior:
        return found
    more = {"two_heads": "encoder.y_reg.weight" in shapes}
    more["released"] = "decoders.0.deconv6.weight" in shapes
    return {**found, "prior": "gate", **more}


_FAMILIES: dict[str, Callable[[Shapes], dict[str, Any]]] = {
    "n2n-simple": _n2n_simple,
    "n2n-prelu-unet": _n2n_prelu_unet,
    "n2n-unet": _n2n_unet,
    "dncnn-s": _dncnn,
    "dncnn-b": _dncnn,
    "dncnn-kair": _kair,
    "bf-dncnn": _bf_dncnn,
    "bf-unet": _bf_unet,
    "bf-rcnn": _bf_rcnn,
    "bf-sdensenet": _bf_sdensenet,
    "pcst-dncnn": _chain("conv_layers.0.weight", r"conv_layers\.\d+\.weight"),
    "dbsn-gray": _dbsn_gray,
    "dbsn-color": _dbsn_color,
    "mwcnn": _mwcnn,
    "hdn": _hdn,
    "divnoising": _divnoising,
    "psl-ae": _psl_ae,
}
