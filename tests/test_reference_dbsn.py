"""Stored tensors of D-BSN, its sigma networks and MWCNN, and how far D-BSN sees.

They were made in float64 by the authors' own code; they are read from the folder `reference/dbsn`
of the shared folder. Where that is absent the tests are skipped, but never in continuous
integration.
"""

from __future__ import annotations

import functools
import zlib
from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file

import minigrad as mg
from tests.shared import DBSN as FOLDER
from zoo import architectures
from zoo.architectures import DBSN, SigmaMuNet, SigmaNNet

pytestmark = pytest.mark.usefixtures("shared")  # skips, or fails with CI set, without the folder

Tensors = Mapping[str, np.ndarray]
NETWORKS: dict[str, dict[str, Any]] = {
    "dbsn_gray_small": {"width": 4},
    "dbsn_color_small": {"channels": 3, "width": 6, "blocks": 2},
    "dbsn_gray_leaky": {"width": 4, "blocks": 1, "activation": "leaky_relu"},
    "dbsn_gray_trimmed": {"width": 4, "blocks": 1, "blind_spot": "trimmed"},
}
SIGMAS: dict[str, tuple[str, mg.Module]] = {
    "gray_sigma_mu_16": ("sigma_nets_gray", SigmaMuNet(96, 16, 1)),
    "gray_sigma_n_16": ("sigma_nets_gray", SigmaNNet(1, 16, 1)),
    "gray_sigma_n_1layer": ("sigma_nets_gray", SigmaNNet(1, 16, 1, layers=1)),
    "color_sigma_mu_3": ("sigma_nets_color", SigmaMuNet(96, 32, 3)),
    "color_sigma_mu_6": ("sigma_nets_color", SigmaMuNet(96, 32, 6)),
    "color_sigma_n_3": ("sigma_nets_color", SigmaNNet(3, 32, 3)),
    "color_sigma_n_6": ("sigma_nets_color", SigmaNNet(3, 32, 6)),
}


@functools.cache
def tensors(name: str) -> dict[str, np.ndarray]:
    return load_file(FOLDER / f"{name}.safetensors")


def under(prefix: str, arrays: Tensors) -> dict[str, np.ndarray]:
    return {k.removeprefix(prefix): a for k, a in arrays.items() if k.startswith(prefix)}


def close(found: np.ndarray, expected: np.ndarray, rtol: float, what: str = "") -> None:
    """To `rtol` of the largest entry."""
    size = np.abs(expected).max(initial=0)
    np.testing.assert_allclose(found, expected, rtol=0, atol=rtol * size, err_msg=what)


def check_gradients(network: mg.Module, expected: Tensors, rtol: float) -> None:
    """Those of all parameters, and no others."""
    found = {name: p.grad for name, p in network.named_parameters().items()}
    assert set(found) == set(expected)
    for name, gradient in found.items():
        close(gradient, expected[name], rtol, name)


@pytest.fixture(params=[np.float64, np.float32], ids=["float64", "float32"])
def precision(request: pytest.FixtureRequest) -> tuple[Any, float]:
    """A dtype and the part of the largest entry to which results agree."""
    return request.param, 1e-10 if request.param == np.float64 else 1e-4


@pytest.mark.parametrize("name", NETWORKS)
def test_dbsn(name: str, precision: tuple[Any, float]) -> None:
    dtype, rtol = precision
    t, network = tensors(name), DBSN(**NETWORKS[name])
    network.load_state_dict(under("param/", t))
    network.astype(dtype)
    (mu, features), vjp = network.forward_and_vjp(t["x"].astype(dtype))
    close(mu, t["mu"], rtol)
    close(features, t["mid"], rtol)
    dx = vjp(t["dL_dmu"].astype(dtype), t["dL_dmid"].astype(dtype))
    close(dx, t["dL_dx"], rtol)
    check_gradients(network, under("grad/", t), rtol)


def by_recipe(shapes: Mapping[str, tuple[int, ...]]) -> dict[str, np.ndarray]:
    """The parameters of the wide network, which are not stored but drawn by their names."""
    found = {}
    for key, shape in shapes.items():
        z = np.random.RandomState(zlib.crc32(key.encode())).standard_normal(shape)
        found[key] = z * (np.sqrt(2 / np.prod(shape[1:])) if len(shape) == 4 else 0.05)
    return found


def test_dbsn_of_the_default_width() -> None:
    t, network = tensors("dbsn_gray_default"), DBSN()
    arrays = by_recipe({key: a.shape for key, a in network.state_dict().items()})
    for key, (total, norm) in under("paramstat/", t).items():
        found = arrays[key].sum(), np.linalg.norm(arrays[key])
        np.testing.assert_allclose(found, (total, norm), rtol=1e-12, atol=1e-12 * norm)
    network.load_state_dict(arrays)
    (mu, features), vjp = network.forward_and_vjp(t["x"])
    close(mu, t["mu"], 1e-9)
    close(features, t["mid"], 1e-9)
    close(vjp(t["dL_dmu"], t["dL_dmid"]), t["dL_dx"], 1e-9)
    gradients = {name: p.grad for name, p in network.named_parameters().items()}
    assert set(gradients) == set(under("gradstat/", t))
    for name, expected in under("grad/", t).items():
        close(gradients[name], expected, 1e-9, name)
    for name, (total, norm, product, largest) in under("gradstat/", t).items():
        g = gradients[name]
        v = np.random.RandomState(zlib.crc32(f"proj:{name}".encode())).standard_normal(g.shape)
        found = g.sum(), np.linalg.norm(g), (g * v).sum()
        np.testing.assert_allclose(
            found, (total, norm, product), rtol=1e-9, atol=1e-9 * norm * g.size**0.5, err_msg=name
        )
        assert np.abs(g).max() == pytest.approx(largest, rel=1e-9), name
        if f"gradslice/{name}" in t:
            part = g.reshape(-1)[:: max(1, g.size // 32)][:32]
            np.testing.assert_allclose(part, t[f"gradslice/{name}"], rtol=0, atol=1e-9 * largest)


@pytest.mark.parametrize("name", SIGMAS)
def test_sigma_networks(name: str, precision: tuple[Any, float]) -> None:
    (dtype, rtol), (file, network) = precision, SIGMAS[name]
    t = under(f"{name}/", tensors(file))
    network.load_state_dict(under("param/", t))
    network.astype(dtype)
    y, vjp = network.forward_and_vjp(t["x"].astype(dtype))
    close(y, t["y"], rtol)
    close(vjp(t["dL_dy"].astype(dtype)), t["dL_dx"], rtol)
    check_gradients(network, under("grad/", t), rtol)


def test_mwcnn(precision: tuple[Any, float]) -> None:
    dtype, rtol = precision
    t, network = tensors("mwcnn_small"), architectures.MWCNN(1, 5, 6, 7)
    network.load_state_dict(under("param/", t))
    network.astype(dtype)
    y, vjp = network.forward_and_vjp(t["x"].astype(dtype))
    close(y, t["y"], rtol)
    close(vjp(t["dL_dy"].astype(dtype)), t["dL_dx"], rtol)
    check_gradients(network, under("grad/", t), rtol)


@pytest.mark.parametrize(
    ("order", "name"), [("interleaved", "y_interleaved"), ("band-major", "y_mwcnn_order")]
)
def test_wavelets_in_both_orders(order: str, name: str) -> None:
    t = under("dwt/", tensors("mwcnn_small"))
    bands = mg.HaarDWT(order)(t["x"])
    np.testing.assert_allclose(bands, t[name], rtol=0, atol=1e-15)
    np.testing.assert_allclose(mg.HaarIWT(order)(bands), t["iwt_of_y"], rtol=0, atol=1e-15)


def test_what_the_default_network_sees() -> None:
    """9,520 of 101 x 101 offsets. A narrow network moves as the default one does; positive
    weights and inputs let everything through, so that the support of the VJP is all of it.
    """
    network = DBSN(width=2, dtype=np.float64, rng=np.random.default_rng(0))
    for parameter in network.parameters():
        parameter.value = np.full_like(parameter.value, 1 / parameter.value[0].size)
    x = np.random.default_rng(1).random((1, 1, 121, 121)) + 0.1
    (mu, _), vjp = network.forward_and_vjp(x)
    dmu = np.zeros_like(mu)
    dmu[0, 0, 60, 60] = 1
    dx = vjp(dmu, None)[0, 0]
    seen = tensors("blindspot_support_default")["support"]
    assert seen.sum() == 9_520
    np.testing.assert_array_equal(dx[10:111, 10:111] != 0, seen)
    dx[10:111, 10:111] = 0
    assert not dx.any()
