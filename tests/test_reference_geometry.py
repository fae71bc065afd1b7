"""Stored tensors of the layers that move pixels: wavelets, merged patches, bilinear resizing.

The values were made in float64 by PyTorch and by the authors' own code; they are read from the
folder `reference` of the shared folder. Where that is absent the tests are skipped, but never in
continuous integration.
"""

from __future__ import annotations

import functools

import numpy as np
import pytest
from safetensors.numpy import load_file

import minigrad as mg
from tests.shared import SHARED

pytestmark = pytest.mark.usefixtures("shared")  # skips, or fails with CI set, without the folder


@functools.cache
def tensors(name: str) -> dict[str, np.ndarray]:
    return load_file(SHARED / "reference" / f"{name}.safetensors")


def close(actual: np.ndarray, expected: np.ndarray, rtol: float = 1e-10) -> None:
    """Relative to the largest entry."""
    assert actual.shape == expected.shape
    assert np.abs(actual - expected).max() <= rtol * np.abs(expected).max()


# ------------------------------------------------------------------ wavelets

BANDS = {"interleaved": "dwt/y_interleaved", "band-major": "dwt/y_mwcnn_order"}


@pytest.mark.parametrize("order", BANDS)
def test_haar_bands_have_the_stored_order_and_signs(order: str) -> None:
    t = tensors("dbsn/mwcnn_small")
    x, bands = t["dwt/x"], t[BANDS[order]]
    y, vjp = mg.HaarDWT(order).forward_and_vjp(x)
    close(y, bands)
    close(vjp(bands), x)
    y, vjp = mg.HaarIWT(order).forward_and_vjp(bands)
    close(y, t["dwt/iwt_of_y"])
    close(vjp(x), bands)


def test_the_two_orders_of_haar_bands_are_not_the_same() -> None:
    t = tensors("dbsn/mwcnn_small")
    wrong = mg.HaarIWT("band-major")(t["dwt/y_interleaved"])
    assert np.abs(wrong - t["dwt/x"]).max() > 0.1


def test_haar_in_float32() -> None:
    t = tensors("dbsn/mwcnn_small")
    y = mg.HaarDWT()(t["dwt/x"].astype(np.float32))
    assert y.dtype == np.float32
    close(y, t["dwt/y_interleaved"], rtol=1e-6)


def test_haar_kernels_are_the_stored_ones() -> None:
    """The student keeps them as weights (4, 1, 2, 2): each is the answer to one pixel."""
    t = tensors("dbsn/mwcnn_small")
    pixels = np.eye(4).reshape(4, 1, 2, 2)
    answers = mg.HaarDWT()(pixels)[:, :, 0, 0].T.reshape(4, 1, 2, 2)
    for name in ("DWT", "IWT"):
        close(answers, t[f"param/{name}.weight"])


# ------------------------------------------------------------------ patches


def test_merged_patches() -> None:
    t = tensors("psl_ae/losses_float64")
    patches, image = t["merge_dot_cos.patches_column_major"], t["merge.image_bs8_ov2_nb3"]
    y, vjp = mg.MergePatches(8, 2, 3).forward_and_vjp(patches)
    close(y[0], image)
    weights = np.cos(np.arange(y.size)).reshape(y.shape)
    close((y * weights).sum().reshape(1), t["merge_dot_cos.value"])
    close(vjp(weights), t["merge_dot_cos.grad.patches_column_major"])


def test_merging_divided_patches_gives_the_image_back() -> None:
    image = tensors("psl_ae/losses_float64")["merge.image_bs8_ov2_nb3"][None]
    for dtype, rtol in ((np.float64, 1e-12), (np.float32, 1e-6)):
        patches = mg.DividePatches(8, 2)(image.astype(dtype))
        assert patches.shape == (9, 3, 8, 8)
        close(mg.MergePatches(8, 2, 3)(patches), image, rtol)


# ------------------------------------------------------------------ resizing


@pytest.mark.parametrize("mode", ["bilinear", "nearest"])
def test_doubled_images(mode: str) -> None:
    stored, name = tensors("hdn/ops"), f"upsample_{mode}_x2"
    y, vjp = mg.Upsample(scale_factor=2, mode=mode).forward_and_vjp(stored[f"{name}.in.x"])
    close(y, stored[f"{name}.out0"])
    close(vjp(stored[f"{name}.cot0"]), stored[f"{name}.grad.x"])
