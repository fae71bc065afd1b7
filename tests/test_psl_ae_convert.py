"""`zoo convert` of PSL-AE's networks as Keras saves them: SavedModels and HDF5."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

import zoo
from minigrad import CheckpointError
from zoo.convert import convert

Arrays = list[tuple[str, str, np.ndarray]]
"""(layer, name, values) in Keras' layout, in the order of the network."""


def keras_layout(model: Any) -> dict[str, Arrays]:
    """Every network of `model`, as Keras holds it."""

    def layer(name: str, module: Any) -> Arrays:
        w = module.weight
        kernel = w.T if w.ndim == 2 else w.transpose(2, 3, 1, 0)
        return [(name, "kernel", kernel), (name, "bias", module.bias)]

    encoder, found = model.encoder, {}
    weights = [layer(f"conv{i}", getattr(encoder, f"conv{i}")) for i in range(1, 6)]
    bn, dense = encoder.bn, layer("fc1", encoder.fc1)
    c = bn.num_features
    side = int(np.sqrt(encoder.fc1.in_features // c))
    kernel = dense[0][2].reshape(c, side, side, -1).transpose(1, 2, 0, 3)  # rows of h, w, c
    dense[0] = ("fc1", "kernel", kernel.reshape(-1, kernel.shape[-1]))
    norm = [
        ("bn", "gamma", bn.weight),
        ("bn", "beta", bn.bias),
        ("bn", "moving_mean", bn.running_mean),
        ("bn", "moving_variance", bn.running_var),
    ]
    found["celeba_encoder"] = (
        [a for pair in weights for a in pair] + norm + dense + layer("fc2", encoder.fc2)
    )
    fc = model.classifier
    found["celeba_classifier"] = layer("fc1", fc.fc1) + layer("fc2", fc.fc2)
    for k, decoder in enumerate(model.decoders):
        c, side, _ = decoder.reshape.shape
        kernel, bias = (a for _, _, a in layer("fc", decoder.fc))
        kernel = kernel.reshape(-1, c, side, side).transpose(0, 2, 3, 1)
        bias = bias.reshape(c, side, side).transpose(1, 2, 0).ravel()
        arrays: Arrays = [("fc", "kernel", kernel.reshape(len(kernel), -1)), ("fc", "bias", bias)]
        for i in range(1, 7):
            arrays += layer(f"deconv{i}", getattr(decoder, f"deconv{i}"))
        found[f"celeba_decoder{k + 1}"] = arrays
    return found


def varint(value: int) -> bytes:
    out = b""
    while value > 127:
        out, value = out + bytes([value & 127 | 128]), value >> 7
    return out + bytes([value])


def field(number: int, value: int | bytes) -> bytes:
    if isinstance(value, int):
        return varint(number << 3) + varint(value)
    return varint(number << 3 | 2) + varint(len(value)) + value


def block(entries: list[tuple[bytes, bytes]]) -> bytes:
    out, last = b"", b""
    for key, value in entries:
        shared = 0
        while shared < min(len(key), len(last)) and key[shared] == last[shared]:
            shared += 1
        head = varint(shared) + varint(len(key) - shared) + varint(len(value))
        out, last = out + head + key[shared:] + value, key
    return out + (0).to_bytes(4, "little") + (1).to_bytes(4, "little")


def write_saved_model(folder: Path, arrays: Arrays, by_layer: bool) -> None:
    """The two files of a SavedModel that hold its variables."""
    (folder / "variables").mkdir(parents=True)
    layers = list(dict.fromkeys(layer for layer, _, _ in arrays))
    data, entries = b"", []
    for number, (layer, name, values) in enumerate(arrays):
        where = (
            f"layer_with_weights-{layers.index(layer)}/{name}"
            if by_layer
            else (f"variables/{number}")
        )
        shape = b"".join(field(2, field(1, n)) for n in values.shape)
        content = np.ascontiguousarray(values, "<f4").tobytes()
        told = field(1, 1) + field(2, shape) + field(4, len(data)) + field(5, len(content))
        told += varint(6 << 3 | 5) + b"\0\0\0\0"  # a checksum
        entries.append((f"{where}/.ATTRIBUTES/VARIABLE_VALUE".encode(), told))
        data += content
    entries.append((b"_CHECKPOINTABLE_OBJECT_GRAPH", field(1, 7) + field(5, 3)))
    entries.append((b"keras_api/metrics/0/total/.ATTRIBUTES/VARIABLE_VALUE", field(1, 1)))
    entries.sort()
    first = block([(b"", field(1, 1)), *entries])
    second = block([(b"zzz", varint(0) + varint(len(first)))])
    at = len(first) + 5
    footer = varint(0) + varint(0) + varint(at) + varint(len(second))
    content = first + bytes(5) + second + bytes(5) + footer.ljust(40, b"\0")
    content += (0xDB4775248B80FB57).to_bytes(8, "little")
    (folder / "variables" / "variables.index").write_bytes(content)
    (folder / "variables" / "variables.data-00000-of-00001").write_bytes(data)


def write_hdf5(path: Path, arrays: Arrays) -> None:
    """As Keras' save_weights."""
    with h5py.File(path, "w") as file:
        layers = list(dict.fromkeys(layer for layer, _, _ in arrays))
        file.attrs["layer_names"] = [name.encode() for name in layers]
        for layer in layers:
            group = file.create_group(layer)
            own = [(name, values) for at, name, values in arrays if at == layer]
            group.attrs["weight_names"] = [f"{layer}/{name}:0".encode() for name, _ in own]
            for name, values in own:
                group[f"{layer}/{name}:0"] = values


@pytest.fixture
def model() -> Any:
    made: Any = zoo.create("psl-ae", width=2, block=8, clusters=2, latent=6)
    rng = np.random.default_rng(0)
    for parameter in made.parameters():
        parameter.value[...] = rng.standard_normal(parameter.value.shape)
    made.encoder.bn.running_mean[...] = rng.standard_normal(9)
    return made


@pytest.mark.parametrize("kind", ["variables", "layers", "hdf5"])
def test_released_networks_become_one_file(kind: str, model: Any, tmp_path: Path) -> None:
    folder, out = tmp_path / "pretrained models", tmp_path / "psl.safetensors"
    folder.mkdir()
    for name, arrays in keras_layout(model).items():
        if kind == "hdf5":
            write_hdf5(folder / f"{name}.h5", arrays)
        else:
            write_saved_model(folder / name, arrays, kind == "layers")
    (folder / "celeba_contrastive_encoder").mkdir()
    done = convert(folder, "psl-ae", out, noise="psl-heterogeneous:1")
    assert done.arguments == {"block": 8, "channels": 3, "clusters": 2, "latent": 6, "width": 2}
    loaded = zoo.load(out)
    found = loaded.state_dict()
    for key, array in model.state_dict().items():
        if "num_batches" not in key:
            np.testing.assert_array_equal(found[key], array, err_msg=key)
    assert loaded.metadata["noise"] == "psl-heterogeneous:1"
    x = np.random.default_rng(1).random((1, 3, 21, 17), np.float32)
    np.testing.assert_array_equal(loaded.denoise(x), model.denoise(x))


def test_folders_that_are_none(model: Any, tmp_path: Path) -> None:
    out, folder = tmp_path / "out.safetensors", tmp_path / "nets"
    folder.mkdir()
    with pytest.raises(CheckpointError, match="a folder with nothing; expected one encoder"):
        convert(folder, "psl-ae", out)
    with pytest.raises(CheckpointError, match="not a regular file"):
        convert(folder, "mwcnn", out)
    layout = keras_layout(model)
    for name, arrays in layout.items():
        write_saved_model(folder / name, arrays, True)
    index = folder / "celeba_encoder" / "variables" / "variables.index"
    whole = index.read_bytes()
    for damaged, message in (
        (whole[:-8] + bytes(8), "no index of TensorFlow's variables"),
        (bytes(40) + whole[40:], "damaged|beyond|no such|not such a network|declare"),
        (whole[:-48] + b"\xff" * 40 + whole[-8:], "more than ten bytes"),
    ):
        index.write_bytes(damaged)
        with pytest.raises(CheckpointError, match=message):
            convert(folder, "psl-ae", out)
    index.write_bytes(whole)
    data = index.with_name("variables.data-00000-of-00001")
    content = data.read_bytes()
    data.write_bytes(content[:-4])
    with pytest.raises(CheckpointError, match="ends before layer"):
        convert(folder, "psl-ae", out)
    data.unlink()
    with pytest.raises(CheckpointError, match="cannot read"):
        convert(folder, "psl-ae", out)
    data.write_bytes(content)
    convert(folder, "psl-ae", out)


def test_a_damaged_byte_is_refused_or_read_but_never_raises_anything_else(
    model: Any, tmp_path: Path
) -> None:
    folder = tmp_path / "nets"
    for name, arrays in keras_layout(model).items():
        write_saved_model(folder / name, arrays, True)
    index = folder / "celeba_classifier" / "variables" / "variables.index"
    whole, rng = index.read_bytes(), np.random.default_rng(0)
    for number in range(60):
        damaged = bytearray(whole)
        damaged[rng.integers(len(whole))] = rng.integers(256)
        index.write_bytes(bytes(damaged))
        try:
            convert(folder, "psl-ae", tmp_path / f"{number}.safetensors")
        except CheckpointError as error:
            assert str(error)
