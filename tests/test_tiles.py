"""Every network of the registry: tiles equal the whole picture, to the last bits."""

from __future__ import annotations

import functools
from typing import Any

import numpy as np
import pytest

import zoo
from tests.test_bias_free import lively
from zoo.architectures import StochasticDenoiser
from zoo.denoise import denoise_image
from zoo.inference import tiling
from zoo.inference.receptive import receptive_field

NARROW: dict[str, dict[str, Any]] = {
    "n2n-simple": {"features": 6},
    "n2n-prelu-unet": {"features": 5, "depth": 2},
    "dncnn-s": {"features": 6},
    "dncnn-b": {"features": 6},
    "dncnn-kair": {"features": 6},
    "bf-dncnn": {"features": 6, "init": "native"},
    "bf-unet": {"features": 6},
    "bf-rcnn": {"features": 6},
    "bf-sdensenet": {"features": 6},
    "pcst-dncnn": {"features": 6},
    "dbsn-gray": {"width": 4, "blocks": 1},
    "dbsn-color": {"width": 4, "blocks": 1, "noise": "mg"},
    "mwcnn": {"level1": 3, "level2": 4, "level3": 5},
    "hdn": {"z_dims": [2, 3], "n_filters": 3, "blocks_per_layer": 1, "img_shape": [16, 16]},
    "divnoising": {"z_dim": 3, "init_filters": 3},
    "psl-ae": {"width": 2, "latent": 8},
}
"""What makes them quick; a network that is not named here is tried as it is."""


@functools.cache
def network(name: str, dtype: Any) -> zoo.Denoiser:
    """With weights for which every layer matters. The logarithms of variances stand no lively ones:
    networks that draw keep their first weights.
    """
    rng = np.random.default_rng(7)
    model = zoo.create(name, dtype=np.float64, rng=rng, **NARROW.get(name, {}))
    calm = isinstance(model, StochasticDenoiser)
    return (model if calm else lively(model)).astype(dtype)


def whole(model: zoo.Denoiser, image: np.ndarray) -> np.ndarray:
    """The network's own answer for (H, W, C), in one pass."""
    return model.denoise(image.transpose(2, 0, 1)[None])[0].transpose(1, 2, 0)


@pytest.mark.parametrize("name", zoo.list_models())
def test_tiled_equals_whole(name: str) -> None:
    """Odd sizes, sizes below the receptive field, and tiles of any side."""
    rng = np.random.default_rng(0)
    for _ in range(6 if max(receptive_field(network(name, np.float64)).size) < 150 else 2):
        h, w = (int(side) for side in rng.integers(1, 91, 2))
        tile = max(1, round(rng.uniform(0.2, 1) * max(h, w)))
        for dtype, bound in ((np.float64, 1e-13), (np.float32, 4 * 2.0**-23)):
            model = network(name, dtype)
            image = rng.random((h, w, model.channels)).astype(dtype)
            expected = whole(model, image)
            error = np.abs(denoise_image(model, image, tile=tile) - expected).max()
            worst = bound * max(1.0, np.abs(expected).max())
            if dtype == np.float32 and name.startswith("dbsn"):  # larger inside than at its end
                exact = whole(network(name, np.float64), image.astype(np.float64))
                worst = max(worst, 2 * np.abs(expected - exact).max())  # of either pass
            assert error <= worst, f"{h} x {w}, tiles of {tile}, {dtype.__name__}"


@pytest.mark.parametrize(("h", "w"), [(61, 70), (70, 61), (63, 63), (1, 80)])
def test_tiles_of_a_network_that_pads_odd_sides_itself(h: int, w: int) -> None:
    """The zeros of the last row and column are those of the whole picture, and of no other tile."""
    model = network("bf-unet", np.float64)
    assert (model.multiple, model.grid) == (1, 2)
    plan = tiling.plan(model, h, w, tile=15)
    assert plan.tile[0] % 2 == plan.tile[1] % 2 == 0 and not any(side % 2 for side in plan.halo)
    cut = list(tiling.boxes(plan, h, w, model.multiple))
    assert all(start % 2 == 0 for box in cut for start, _ in (*box.read, *box.write))
    assert max(box.read[0][1] for box in cut) == h and max(box.read[1][1] for box in cut) == w
    image = np.random.default_rng(0).random((h, w, 1))
    assert np.abs(tiling.run(model, image, plan) - whole(model, image)).max() <= 1e-13
    smaller = tiling.halved(tiling.plan(model, h, w), model)
    assert smaller is not None and not any(side % 2 for side in smaller.tile)
    assert np.abs(tiling.run(model, image, smaller) - whole(model, image)).max() <= 1e-13


def test_the_field_of_a_recurrent_network_grows_with_its_stages() -> None:
    fields = [
        receptive_field(zoo.create("bf-rcnn", features=2, hidden=1, max_stage=stages)).size
        for stages in (1, 2, 3)
    ]
    assert fields == [(7, 7), (13, 13), (19, 19)]
