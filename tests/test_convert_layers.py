"""DnCNN as Keras, MATLAB and pickled modules have it: the same function after conversion."""

from __future__ import annotations

import io
import itertools
import json
import struct
import zlib
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import torch

import zoo
from minigrad.checkpoint import CheckpointError
from tests.official import saved
from zoo.convert import convert
from zoo.convert.budget import Budget, Refused
from zoo.convert.contents import read_bytes
from zoo.convert.matlab import read as read_matlab

scipy_io = pytest.importorskip("scipy.io")

DEPTH, FEATURES = 4, 5
EPSILON = 1e-3


class DnCNN(torch.nn.Module):
    """The authors' network: biases in the first layer alone, or in all."""

    def __init__(self, channels: int = 1, biases: bool = False) -> None:
        super().__init__()
        conv = lambda a, b, bias: torch.nn.Conv2d(a, b, 3, padding=1, bias=bias)  # noqa: E731
        layers = [conv(channels, FEATURES, True), torch.nn.ReLU()]
        for _ in range(DEPTH - 2):
            norm = torch.nn.BatchNorm2d(FEATURES, eps=EPSILON)
            for values in (norm.weight, norm.bias, norm.running_mean, norm.running_var):
                torch.nn.init.uniform_(values, 0.2, 2.0)
            layers += [conv(FEATURES, FEATURES, biases), norm, torch.nn.ReLU()]
        self.dncnn = torch.nn.Sequential(*layers, conv(FEATURES, channels, biases))

    def forward(self, y: torch.Tensor) -> torch.Tensor:
        return y - self.dncnn(y)

    def parts(self):
        """(convolution, norm after it or None), in order."""
        found = []
        for layer in self.dncnn:
            if isinstance(layer, torch.nn.Conv2d):
                found.append([layer, None])
            elif isinstance(layer, torch.nn.BatchNorm2d):
                found[-1][1] = layer
        return found


def net(channels: int = 1, biases: bool = False) -> DnCNN:
    torch.manual_seed(channels + 2 * biases)
    return DnCNN(channels, biases).eval()


def values(tensor: torch.Tensor) -> np.ndarray:
    return tensor.detach().numpy()


def hwio(conv: torch.nn.Conv2d) -> np.ndarray:
    return np.ascontiguousarray(values(conv.weight).transpose(2, 3, 1, 0))


def agrees(path: Path, expected: DnCNN, tmp_path: Path) -> None:
    """The converted network computes what PyTorch's does."""
    channels = expected.dncnn[0].in_channels
    done = convert(path, "dncnn-kair", tmp_path / "out.safetensors", overwrite=True)
    shape = {"channels": channels, "features": FEATURES, "depth": DEPTH}
    assert done.arguments == {**shape, "form": "R"}
    y = torch.rand(2, channels, 9, 11)
    with torch.no_grad():
        theirs = expected(y).numpy()
    ours = zoo.load(tmp_path / "out.safetensors").denoise(y.numpy())
    np.testing.assert_allclose(ours, theirs, rtol=0, atol=2e-5 * np.abs(theirs).max())


# --------------------------------------------------------------------------- pickled modules


@pytest.mark.parametrize("old", [False, True])
@pytest.mark.parametrize("biases", [False, True])
def test_a_pickled_module(old, biases, tmp_path):
    module = net(biases=biases)
    (tmp_path / "model.pth").write_bytes(saved(module, legacy=old))
    agrees(tmp_path / "model.pth", module, tmp_path)
    wrapped = torch.nn.DataParallel(module)
    (tmp_path / "model.pth").write_bytes(saved(wrapped, legacy=old))
    agrees(tmp_path / "model.pth", module, tmp_path)


# --------------------------------------------------------------------------- Keras


SAID = {"c": ("Conv2D", {"strides": [1, 1], "padding": "same", "activation": "linear"})}
SAID |= {"b": ("BatchNormalization", {"epsilon": EPSILON}), "r": ("ReLU", {})}


def write_keras(
    path: Path, module: DnCNN, *, whole: bool = True, link: str = "", **said: Any
) -> None:
    """As `model.save` does (with the description of the network), or `save_weights`.

    said: what the description says of every convolution.
    """
    layers = []
    for i, (conv, norm) in enumerate(module.parts()):
        own = {"kernel": hwio(conv)}
        if conv.bias is not None:
            own["bias"] = values(conv.bias)
        layers.append((f"conv{i}", own))
        if norm is not None:
            parts = (norm.weight, norm.bias, norm.running_mean, norm.running_var)
            names = ("gamma", "beta", "moving_mean", "moving_variance")
            layers.append((f"bn{i}", dict(zip(names, map(values, parts), strict=True))))
        layers.append((f"relu{i}", {}))
    with h5py.File(path, "w") as file:
        top = file.create_group("model_weights") if whole else file
        top.attrs["layer_names"] = np.array([name for name, _ in layers], "S")
        for name, own in layers:
            group = top.create_group(name)
            group.attrs["weight_names"] = np.array([f"{name}/{key}:0" for key in own], "S")
            for key, array in own.items():
                group[f"{name}/{key}:0"] = array
        if whole:
            config = []
            for name, _ in layers:
                kind, own = SAID[name[0]]
                own = {"name": name, **own, **(said if name[0] == "c" else {})}
                config.append({"class_name": own.pop("class_name", kind), "config": own})
            file.attrs["model_config"] = json.dumps({"config": {"layers": config}})
        if link:
            del top["conv0/conv0/kernel:0"]
            top["conv0/conv0/kernel:0"] = h5py.ExternalLink(link, "/x")


@pytest.mark.parametrize("channels", [1, 3])
def test_a_keras_file(channels, tmp_path):
    module = net(channels)
    write_keras(tmp_path / "model.h5", module)
    agrees(tmp_path / "model.h5", module, tmp_path)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("strides", [2, 2]),
        ("dilation_rate", [2, 2]),
        ("padding", "valid"),
        ("activation", "tanh"),
        ("class_name", "Conv2DTranspose"),
    ],
)
def test_keras_convolutions_of_another_kind(name, value, tmp_path):
    write_keras(tmp_path / "model.h5", net(), **{name: value})
    with pytest.raises(CheckpointError, match=rf"'conv0': {name}: expected .*, the file says"):
        convert(tmp_path / "model.h5", "dncnn-kair", tmp_path / "out.safetensors")


def test_keras_files_that_cannot_be_used(tmp_path):
    path, out = tmp_path / "model.h5", tmp_path / "out.safetensors"

    def refused(words: str, model: str = "dncnn-kair", **how) -> None:
        with pytest.raises(CheckpointError, match=words) as caught:
            convert(path, model, out, **how)
        assert str(caught.value).startswith(f"{path}: ") and "\n" not in str(caught.value)

    write_keras(path, net())
    refused("Keras HDF5 file of 4 convolutions; it can become dncnn-kair, not dncnn-s", "dncnn-s")
    refused("does not fit dncnn-kair", arguments={"form": "BR"})
    refused("more than the limit of 100", max_bytes=100)
    write_keras(path, net(), whole=False)
    refused("'bn1': a batch norm whose epsilon the file does not tell")
    (tmp_path / "other.h5").write_bytes(b"")
    write_keras(path, net(), link=str(tmp_path / "other.h5"))
    refused("is a link to somewhere else")
    whole = path.read_bytes()
    for size in (200, len(whole) // 2, len(whole) - 600):
        path.write_bytes(whole[:size])
        refused("damaged HDF5 file")
    with h5py.File(path, "w") as file:
        file["x"] = 1
    refused("not of Keras' save or save_weights")
    with h5py.File(path, "w") as file:
        file.attrs["layer_names"] = np.array(["a"], "S")
        group = file.create_group("a")
        group.attrs["weight_names"] = np.array(["kernel:0"], "S")
        group.create_dataset("kernel:0", (1 << 20, 1 << 20), "f4", chunks=(1024, 1024))
    refused("more than the limit of 67108864 bytes")
    with h5py.File(path, "w") as file:
        file.attrs["layer_names"] = np.array(["a", "b"], "S")
        for name, key, shape in (("a", "kernel", (3, 3, 1, 1)), ("b", "embeddings", (2,))):
            group = file.create_group(name)
            group.attrs["weight_names"] = np.array([key], "S")
            group[key] = np.zeros(shape, "f4")
    refused("'b': neither a convolution nor a batch norm; it has 'embeddings'")
    with h5py.File(path, "w") as file:
        file.attrs["layer_names"] = np.array(["inner"], "S")
        group = file.create_group("inner")
        group.attrs["weight_names"] = np.array(["a/kernel:0", "b/kernel:0"], "S")
        for key in ("a/kernel:0", "b/kernel:0"):
            group[key] = np.zeros((3, 3, 1, 1), "f4")
    refused("'inner' has several 'kernel': layers inside it")


def test_hdf5_data_that_are_elsewhere(tmp_path):
    """Outside the file, in another data set, or behind a filter that is a plug-in."""
    path = tmp_path / "model.h5"
    (tmp_path / "outside").write_bytes(bytes(36))
    layout = h5py.VirtualLayout((3, 3, 1, 1), "f4")
    layout[...] = h5py.VirtualSource(str(tmp_path / "other.h5"), "x", (3, 3, 1, 1))
    unknown = {"compression": 32_001, "allow_unknown_filter": True, "chunks": (3, 3, 1, 1)}
    for how in ({"external": [(str(tmp_path / "outside"), 0, 36)]}, unknown, None):
        with h5py.File(path, "w") as file:
            file.attrs["layer_names"] = np.array(["a"], "S")
            group = file.create_group("a")
            group.attrs["weight_names"] = np.array(["kernel:0"], "S")
            if how is None:
                group.create_virtual_dataset("kernel:0", layout)
            else:
                group.create_dataset("kernel:0", (3, 3, 1, 1), "f4", **how)
        with pytest.raises(CheckpointError, match="stored outside the file or in an unknown way"):
            convert(path, "dncnn-kair", tmp_path / "out.safetensors")


def mutated_hdf5(count: int, tmp_path: Path) -> None:
    """One to three bytes exchanged: an error of ours, or values."""
    write_keras(tmp_path / "a.h5", net())
    write_matlab_73(tmp_path / "a.mat", matlab_layers(net(biases=True)))
    sound = [(tmp_path / name).read_bytes() for name in ("a.h5", "a.mat")]
    rng = np.random.default_rng(0)
    for turn in range(count):
        broken = bytearray(sound[turn % 2])
        for place in rng.integers(0, len(broken), rng.integers(1, 4)):
            broken[place] = rng.integers(256)
        try:
            read_bytes(bytes(broken), max_bytes=1 << 24)
        except Refused:
            continue


def test_mutated_hdf5_files(tmp_path):
    mutated_hdf5(60, tmp_path)


@pytest.mark.proof
def test_many_mutated_hdf5_files(tmp_path):
    mutated_hdf5(2000, tmp_path)


def test_hdf5_needs_the_extra(tmp_path, monkeypatch):
    write_keras(tmp_path / "model.h5", net())
    monkeypatch.setitem(__import__("sys").modules, "h5py", None)
    with pytest.raises(CheckpointError, match=r"extra 'convert' .*pip install"):
        convert(tmp_path / "model.h5", "dncnn-kair", tmp_path / "out.safetensors")


# --------------------------------------------------------------------------- MATLAB


def matlab_layers(module: DnCNN, *, merged: bool = False) -> list[dict]:
    """`net.layers` of MatConvNet's SimpleNN."""
    layers: list[dict] = []
    for conv, norm in module.parts():
        out = conv.out_channels
        bias = np.zeros(out, "f4") if conv.bias is None else values(conv.bias)
        layers.append(
            {
                "type": "conv",
                "weights": [hwio(conv), bias.reshape(out, 1)],
                "stride": np.array([[1.0]]),
                "pad": np.ones((1, 4)),
            }
        )
        if norm is not None:
            deviation = np.sqrt(values(norm.running_var) + EPSILON)
            moments = np.stack([values(norm.running_mean), deviation], axis=1)
            parts = [values(norm.weight)[:, None], values(norm.bias)[:, None], moments]
            layers.append({"type": "bnorm", "weights": parts})
        layers.append({"type": "relu", "leak": np.array([[0.0]])})
    layers[-1] = {"type": "loss"}
    return layers


def cell(items: list) -> np.ndarray:
    found = np.empty((1, len(items)), object)
    for i, item in enumerate(items):
        found[0, i] = cell(item) if isinstance(item, list) else item
    return found


def write_matlab_5(path: Path, layers: list[dict], compressed: bool = False) -> None:
    layers = [{key: cell([v])[0, 0] for key, v in layer.items()} for layer in layers]
    for layer in layers:
        if isinstance(layer.get("weights"), list):
            layer["weights"] = cell(layer["weights"])
    content = {"net": {"layers": cell(layers)}, "epoch": 50.0, "note": "häß"}
    scipy_io.savemat(path, content, do_compression=compressed)


def write_matlab_73(path: Path, layers: list[dict]) -> None:
    """HDF5 behind a header of 512 bytes: cells are references, axes are reversed."""
    with h5py.File(path, "w", userblock_size=512) as file:
        hidden, numbers = file.create_group("#refs#"), itertools.count()

        def put(holder, name: str, value) -> None:
            if isinstance(value, dict):
                group = holder.create_group(name)
                group.attrs["MATLAB_class"] = np.bytes_("struct")
                for key, item in value.items():
                    put(group, key, item)
                return
            if isinstance(value, str):
                data, kind = np.array([[ord(c)] for c in value], "u2"), "char"
            elif isinstance(value, list):
                names = [f"x{next(numbers)}" for _ in value]
                for key, item in zip(names, value, strict=True):
                    put(hidden, key, item)
                data = np.array([hidden[key].ref for key in names], h5py.ref_dtype).reshape(-1, 1)
                kind = "cell"
            else:
                data, kind = np.asarray(value).T, "single"
            holder[name] = data
            holder[name].attrs["MATLAB_class"] = np.bytes_(kind)

        put(file, "net", {"layers": layers})
    with path.open("r+b") as raw:
        raw.write(b"MATLAB 7.3 MAT-file, Platform: GLNXA64".ljust(124) + b"\x00\x02IM")


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("version", ["5", "5 compressed", "7.3"])
def test_a_matconvnet_file(version, channels, tmp_path):
    module, path = net(channels, biases=True), tmp_path / "net.mat"
    if version == "7.3":
        write_matlab_73(path, matlab_layers(module))
    else:
        write_matlab_5(path, matlab_layers(module), compressed=version != "5")
    agrees(path, module, tmp_path)


@pytest.mark.parametrize(
    ("index", "change", "words"),
    [
        (1, {"leak": np.array([[0.1]])}, r"net.layers\{2\}: a layer of type 'relu'"),
        (1, {"type": "SubP"}, "a layer of type 'SubP'; known are conv, bnorm, relu"),
        (0, {"stride": np.array([[2.0]])}, r"net.layers\{1\}: stride: expected 1"),
        (0, {"pad": np.zeros((1, 4))}, "pad: expected 1"),
        (0, {"weights": []}, "without weights"),
        (0, {"weights": [np.zeros((3, 2, 1, 5), "f4")]}, "filters of shape"),
        (0, {"weights": [np.zeros((3, 3, 1, 5), "u1")]}, "expected floating numbers"),
        (0, {"weights": [np.zeros((3, 3, 1, 5), "f4"), np.zeros((4, 1), "f4")]}, "fit together"),
        (3, {"weights": [np.ones((5, 1)), np.ones((5, 1))]}, "without scale, shift and moments"),
        (3, {"weights": [np.ones((5, 1)), np.ones((5, 1)), np.zeros((5, 2))]}, "deviation of 0"),
    ],
)
def test_matconvnet_layers_that_are_unknown(index, change, words, tmp_path):
    layers = matlab_layers(net(biases=True))
    layers[index] = {**layers[index], **change}
    write_matlab_5(tmp_path / "net.mat", layers)
    with pytest.raises(CheckpointError, match=words):
        convert(tmp_path / "net.mat", "dncnn-kair", tmp_path / "out.safetensors")


def matlab_bytes(compressed: bool = False, **variables) -> bytes:
    buffer = io.BytesIO()
    scipy_io.savemat(buffer, variables, do_compression=compressed)
    return buffer.getvalue()


@pytest.mark.parametrize("compressed", [False, True])
def test_matlab_values(compressed):
    numbers = {f"v{kind}": np.arange(6).reshape(2, 3).astype(kind) for kind in "bBhHiIqQfd"}
    records = np.array([(1, 2.0), (3, 4.0)], [("a", "i4"), ("b", "f8")])
    content = matlab_bytes(
        compressed,
        **numbers,
        text="häß",
        empty=np.zeros((0, 3)),
        scalar=2.5,
        logical=np.array([[True, False]]),
        complex=np.array([1 + 2j]),
        records=records,
        cells=cell([1.0, "a", [2.0]]),
        cube=np.arange(24.0).reshape(2, 3, 4),
    )
    found = read_matlab(content, Budget(len(content)))
    for name, array in numbers.items():
        assert np.array_equal(found[name], array) and found[name].dtype == array.dtype
    assert found["text"] == "häß" and found["scalar"] == 2.5 and found["complex"] is None
    assert found["empty"].shape == (0, 3) and found["logical"].tolist() == [[1, 0]]
    assert [item["a"].item() for item in found["records"]] == [1, 3]
    assert found["cells"][1] == "a" and found["cells"][2][0] == 2.0
    assert np.array_equal(found["cube"], np.arange(24.0).reshape(2, 3, 4))


def test_matlab_files_that_are_damaged():
    """Cut, mutated, and too large: an error of ours, or values."""
    bomb = matlab_bytes(True, x=np.zeros(1 << 21))
    with pytest.raises(Refused, match="a compressed variable: with it the tensors take more"):
        read_matlab(bomb, Budget(len(bomb), max_bytes=1 << 20))
    body = zlib.compress(struct.pack("<II", 14, 1 << 30))
    lie = matlab_bytes()[:128] + struct.pack("<II", 15, len(body)) + body
    with pytest.raises(Refused, match="bytes cannot hold 1073741824"):
        read_matlab(lie, Budget(len(lie), max_bytes=1 << 40))
    layers = cell(matlab_layers(net())[:2])
    for compressed in (False, True):
        content = matlab_bytes(compressed, layers=layers, s={"a": cell([{"b": "text"}])})
        for end in range(0, len(content), 37):
            with pytest.raises(Refused, match="truncated|damaged"):
                read_matlab(content[:end] or b"x", Budget(end, 1 << 24))
                raise Refused("truncated between two variables")
        rng = np.random.default_rng(0)
        for _ in range(1500):
            broken = bytearray(content)
            for place in rng.integers(128, len(content), rng.integers(1, 4)):
                broken[place] = rng.integers(256)
            try:
                read_matlab(bytes(broken), Budget(len(content), 1 << 24))
            except Refused:
                continue
