"""Official files read without their frameworks: every kind of content, bit for bit."""

from __future__ import annotations

import argparse
import collections
import io
import pickle
import subprocess
import sys
import tarfile

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from minigrad.checkpoint import CheckpointError
from tests.official import array, legacy, same, saved, tensor_program, zipped
from zoo.convert import read_checkpoint
from zoo.convert.budget import Refused
from zoo.convert.contents import read_bytes
from zoo.convert.records import Made, Name, View
from zoo.convert.states import states, stored_sigma

FORMATS = [(old, protocol) for old in (False, True) for protocol in (2, 3, 4, 5)]
KINDS = [
    *(torch.float16, torch.bfloat16, torch.float32, torch.float64, torch.complex64),
    *(torch.complex128, torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64),
    *(torch.bool, torch.uint16, torch.uint32, torch.uint64),
]


def drawn(kind: torch.dtype, *shape: int) -> torch.Tensor:
    """Any bits; of booleans any values."""
    if kind == torch.bool:
        return torch.rand(shape) < 0.5
    size = torch.empty((), dtype=kind).element_size()
    bits = np.random.default_rng(size).integers(0, 120, (*shape, size), dtype=np.uint8)
    return torch.from_numpy(bits).view(kind)[..., 0].clone()


def state_of(content: bytes):
    contents = read_bytes(content)
    (found,) = states(contents.value, contents.budget)
    return {name: array(contents, tensor) for name, tensor in found.tensors.items()}


@pytest.mark.parametrize(("old", "protocol"), FORMATS)
def test_tensors_of_every_kind(old, protocol):
    tensors = {str(kind).rpartition(".")[2]: drawn(kind, 3, 2) for kind in KINDS}
    found = state_of(saved(tensors, legacy=old, protocol=protocol))
    assert list(found) == list(tensors)
    for name, tensor in tensors.items():
        assert same(found[name], tensor), name


@pytest.mark.parametrize("old", [False, True])
def test_views_of_shared_storages(old):
    base = torch.randn(4, 6)
    tensors = {
        "base": base,
        "transposed": base.t(),
        "row": base[2],
        "column": base[:, 3],
        "steps": base[::2, 1::3],
        "none": base[4:],
        "one": base[1, 1],
        "spread": base[0, :1].expand(5),
        "diagonal": base.as_strided((4,), (7,), 0),
        "overlapping": base.as_strided((3, 4), (1, 1), 5),
        "empty": torch.empty(0, 7),
        "parameter": torch.nn.Parameter(base[1:]),
        "buffer": torch.randn(7)[3:],
    }
    content = saved(tensors, legacy=old)
    found = state_of(content)
    for name, tensor in tensors.items():
        assert same(found[name], tensor), name
    contents = read_bytes(content)
    assert contents.value["base"].storage is contents.value["transposed"].storage


@given(st.data())
def test_any_view_of_a_storage(data):
    shape = data.draw(st.lists(st.integers(0, 3), max_size=4))
    strides = data.draw(st.lists(st.integers(0, 5), min_size=len(shape), max_size=len(shape)))
    offset = data.draw(st.integers(0, 4))
    base = torch.arange(64.0)
    view = base.as_strided(shape, strides, offset)
    assert same(state_of(saved({"w": view}))["w"], view)


@pytest.mark.parametrize(("old", "protocol"), FORMATS)
def test_everything_around_the_tensors(old, protocol):
    content = {
        "arguments": argparse.Namespace(min_noise=0.0, names=["a", "b"]),
        "scalars": [np.float32(1.5), np.float64(-2), np.int64(3), np.bool_(True), np.uint8(7)],
        "array": np.arange(6.0).reshape(2, 3),
        "fortran": np.asfortranarray(np.arange(6, dtype=np.int16).reshape(2, 3)),
        "big endian": np.arange(3, dtype=">f4"),
        "nothing": np.zeros((0, 3)),
        "objects": np.array([None, "a"], dtype=object),
        "size": torch.Size([2, 3]),
        "numbers": [0, -1, 255, 70_000, -(2**40), 2**200, 1.5, True, False, None],
        "texts": ["", "ä€", "\U0001f600", "a\nb"],
        "bytes": [b"", b"\x00\xff", bytearray(b"xyz"), bytearray()],
        "sets": [{1, "a"}, frozenset((2, "b")), set()],
        "tuples": [(), (1,), (1, 2), (1, 2, 3), (1, 2, 3, 4)],
        "tables": {1: "small", 2**70: "large", (1, 2): "tuple", None: "none"},
        "default": collections.defaultdict(list, {"a": [1]}),
        "odd": [1 + 2j, slice(1, 2), range(3), torch.float32, torch.device("cpu"), Ellipsis],
    }
    read = read_bytes(saved(content, legacy=old, protocol=protocol))
    found = read.value
    assert found["arguments"].attributes == {"min_noise": 0.0, "names": ["a", "b"]}
    assert found["arguments"].name.name == "Namespace"
    assert found["scalars"] == [1.5, -2.0, 3, True, 7]
    for name in ("array", "fortran", "big endian", "nothing"):
        values = array(read, found[name])
        assert np.array_equal(values, content[name]) and values.shape == content[name].shape
        assert values.dtype == content[name].dtype.newbyteorder("=")
    assert found["objects"].values is None
    for name in ("size", "numbers", "texts", "bytes", "sets", "tuples"):
        assert found[name] == content[name], name
    assert [*found["tables"].values()] == ["small", "large", "tuple", "none"]
    assert found["tables"][1] == "small" and found["default"] == {"a": [1]}
    assert all(isinstance(item, Made | Name) for item in found["odd"])


@pytest.mark.parametrize("old", [False, True])
def test_a_pickled_module_is_a_tree_of_tensors(old):
    net = torch.nn.Sequential(
        torch.nn.Conv2d(1, 4, 3),
        torch.nn.BatchNorm2d(4),
        torch.nn.Sequential(torch.nn.ReLU(), torch.nn.Conv2d(4, 1, 3, bias=False)),
    )
    net.add_module("again", net[0])  # the same module under two names
    for wrapped in (net, torch.nn.DataParallel(net)):
        found = state_of(saved(wrapped, legacy=old))
        expected = wrapped.state_dict()
        assert list(found) == list(expected)
        assert all(same(found[name], tensor) for name, tensor in expected.items())


def test_names_of_older_versions():
    # Old tensors had no hooks, and parameters were objects of their own class.
    program = tensor_program(call=b"ctorch._utils\n_rebuild_tensor\n")
    values = np.array([1, 2], "<f4").tobytes()
    assert state_of(zipped(program, data__0=values))["w"].tolist() == [1, 2]
    inner = program[len(b"\x80\x02}X\x01\x00\x00\x00w") : -2]
    parameter = b"ctorch.nn.parameter\nParameter\n" + inner + b"\x85R(\x89\x89Ntb"
    program = b"\x80\x02}X\x01\x00\x00\x00w" + parameter + b"s."
    assert state_of(zipped(program, data__0=values))["w"].tolist() == [1, 2]
    # Python 2: texts of bytes, pairs as an argument of the dictionary, another name for builtins.
    program = b"ccollections\nOrderedDict\n((lp0\n(lp1\nS'a'\naI5\naatR."
    assert read_bytes(program).value == {"a": 5}
    assert read_bytes(b"c__builtin__\nset\n((lI1\natR.").value == {1}
    program = (
        b"cnumpy.core.multiarray\nscalar\n(cnumpy\ndtype\n(S'f4'\nI0\nI1\ntR"
        b"(I3\nS'<'\nNNNI-1\nI-1\nI0\ntbS'\\x00\\x00@@'\ntR."
    )
    assert read_bytes(program).value == 3.0
    # Protocols 0 and 1 make objects by copy_reg.
    program = b"ccopy_reg\n_reconstructor\n(cargparse\nNamespace\nc__builtin__\nobject\nNtR"
    assert read_bytes(program + b"(dS'a'\nI1\nsb.").value.attributes == {"a": 1}
    for protocol in (0, 1, 2, 3, 4, 5):
        again = read_bytes(pickle.dumps([{"b": (1.5, "x", [np.float64(2)])}], protocol)).value
        assert again == [{"b": (1.5, "x", [2.0])}]


def test_parts_of_storages_in_files_before_2018():
    program = tensor_program(size=b"K\x02\x85", count=b"K\x04")
    part = b"X\x01\x00\x00\x00vK\x01K\x02\x87tQ"  # (key of the view, first value, values)
    values = np.array([4], "<i8").tobytes() + np.arange(4, dtype="<f4").tobytes()
    content = legacy(program.replace(b"K\x04tQ", b"K\x04" + part), ["0"], values)
    assert state_of(content)["w"].tolist() == [1, 2]
    content = legacy(program.replace(b"K\x04tQ", b"K\x04NtQ"), ["0"], values)
    assert state_of(content)["w"].tolist() == [0, 1]


def test_big_endian_values():
    values = np.array([1, 2], ">f4").tobytes()
    content = zipped(tensor_program(), data__0=values, byteorder=b"big")
    found = state_of(content)["w"]
    assert found.tolist() == [1, 2] and found.dtype.isnative


def test_a_plain_pickle_of_arrays():
    values = np.random.default_rng(0).standard_normal((2, 3))
    for protocol in (0, 1, 2, 3, 4, 5):
        content = pickle.dumps({"w": values, "b": values[0]}, protocol)
        read = read_bytes(content)
        assert read.container == "pickle"
        assert np.array_equal(array(read, read.value["w"]), values)


def test_where_state_dicts_are():
    net = torch.nn.Conv2d(1, 2, 3)
    moments = {"step": torch.tensor(1.0), "exp_avg": torch.ones(3)}
    content = {
        "epoch": 3,
        "net": [net.state_dict()],
        "ema": {"shadow": net.state_dict()},
        "optimizer": {"state": {0: moments}, "param_groups": [{"lr": 0.1}]},
        "lr_scheduler": {"x": torch.ones(1)},
        "losses": np.ones(3),
    }
    read = read_bytes(saved(content))
    found = states(read.value, read.budget)
    assert [(state.place, len(state.tensors)) for state in found] == [
        ("net.0", 2),
        ("ema.shadow", 2),
    ]
    assert states(read_bytes(saved([1, {"a": 2}])).value, read.budget) == []


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ({"min_noise": 0.0, "max_noise": 55.0}, (0, 55)),
        ({"min_noise": 100, "max_noise": 0, "noise_mode": "B"}, (0, 100)),
        ({"min_noise": 0, "max_noise": 55, "noise_mode": "S", "noise_std": 25.0}, (25, 25)),
        ({"min_noise": 0}, None),
        ({"min_noise": "a", "max_noise": float("nan")}, None),
    ],
)
def test_training_arguments_tell_the_noise(arguments, expected):
    for stored in (argparse.Namespace(**arguments), arguments):
        assert stored_sigma(read_bytes(saved({"args": stored})).value) == expected
    assert stored_sigma(read_bytes(saved([1])).value) is None


def test_a_file_is_read_without_torch_and_h5py(tmp_path):
    (tmp_path / "a.pt").write_bytes(saved({"w": torch.ones(3)}))
    program = (
        "import sys; from zoo.convert import read_checkpoint; "
        f"read_checkpoint({str(tmp_path / 'a.pt')!r}); "
        "assert not {'torch', 'h5py', 'scipy'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", program], check=True, timeout=60)


def test_other_files(tmp_path):
    path = tmp_path / "a.pt"
    with tarfile.open(path, "w") as archive:
        archive.addfile(tarfile.TarInfo("storages"), io.BytesIO())
    for content, words in (
        (path.read_bytes(), "tar archive, the format of PyTorch before"),
        (b"", "an empty file"),
        (b"just text, long enough", "no weights file"),
        (b"Instructions\n", "no weights file"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n", "pointer of Git LFS"),
        (b"<!DOCTYPE html><html>", "a web page"),
        (b"\x1f\x8b\x08\x00", "gzip"),
        (zipped(b"N.").replace(b"a/data.pkl", b"a/data.pkx"), "no single member"),
        (b"\x93NUMPY\x01\x00", "no weights file"),
        (zipped(b"N.", constants__pkl=b"").replace(b"s/pkl", b"s.pkl"), "TorchScript"),
    ):
        path.write_bytes(content)
        with pytest.raises(CheckpointError, match=words) as caught:
            read_checkpoint(path)
        assert str(caught.value).startswith(f"{path}: ")
    path.write_bytes(saved([1]))
    with pytest.raises(CheckpointError, match="more than the limit of 100"):
        read_checkpoint(path, max_bytes=100)
    with pytest.raises(CheckpointError, match="not a regular file"):
        read_checkpoint(tmp_path)
    with pytest.raises(CheckpointError, match="cannot read: No such file"):
        read_checkpoint(tmp_path / "none.pt")


def test_the_cap_counts_all_tensors():
    content = saved({"a": torch.ones(1000), "b": torch.ones(1000)})
    read = read_bytes(content, max_bytes=len(content))
    assert isinstance(read.value["a"], View)
    array(read, read.value["a"])
    read.budget.tensors = 3999
    with pytest.raises(Refused, match="tensor: with it the tensors take more than the limit"):
        array(read, read.value["b"])
