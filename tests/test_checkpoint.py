"""Checkpoints: round trips, malformed files, and disks that refuse."""

from __future__ import annotations

import errno
import json
import os
import stat
import struct
import threading
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.numpy

import minigrad.checkpoint
from minigrad.checkpoint import CHECKSUM, CheckpointError, load, save

DTYPES = [
    "bool",
    "uint8",
    "int8",
    "uint16",
    "int16",
    "uint32",
    "int32",
    "uint64",
    "int64",
    "float16",
    "float32",
    "float64",
]


def arrays(seed: int = 0) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    return {
        "conv.0.weight": rng.standard_normal((4, 3, 3, 3)).astype(np.float32),
        "conv.0.bias": rng.standard_normal(4).astype(np.float32),
        "step": np.asarray(seed, np.int64),
    }


def same(a: dict[str, np.ndarray], b: dict[str, np.ndarray]) -> bool:
    return a.keys() == b.keys() and all(
        a[k].dtype == b[k].dtype and a[k].shape == b[k].shape and a[k].tobytes() == b[k].tobytes()
        for k in a
    )


# --- round trips ----------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", [(), (1,), (3, 5), (2, 0, 3), (2, 1, 2, 3)])
def test_round_trip(tmp_path: Path, dtype: str, shape: Any) -> None:
    rng = np.random.default_rng(1)
    array = np.asarray(rng.integers(0, 100, shape), dtype)
    save(tmp_path / "a.safetensors", {"x": array}, {"k": "v"})
    found, metadata = load(tmp_path / "a.safetensors")
    assert same(found, {"x": array})
    assert metadata == {"k": "v"}
    assert found["x"].flags.writeable


def test_layouts_and_byte_orders(tmp_path: Path) -> None:
    x = np.arange(24.0).reshape(2, 3, 4)
    views = {
        "fortran": np.asfortranarray(x),
        "transposed": x.T,
        "reversed": x[::-1, :, ::-2],
        "broadcast": np.broadcast_to(x[:1], (5, 3, 4)),
        "swapped": x.astype(">f8"),
        "scalar": np.float64(2.5),
    }
    save(tmp_path / "a", views)
    found, metadata = load(tmp_path / "a")
    assert metadata == {}
    for name, view in views.items():
        np.testing.assert_array_equal(found[name], view)


def test_special_values_and_text(tmp_path: Path) -> None:
    x = np.array([np.nan, np.inf, -np.inf, -0.0, 5e-324])
    text = {"recipe": 'a = "1"\nb = [2, 3]', "empty": "", "größe": "µ ≤ 3 \x00 \U0001f600"}
    save(tmp_path / "a", {"x": x}, text)
    found, metadata = load(tmp_path / "a")
    assert found["x"].tobytes() == x.tobytes()
    assert metadata == text
    save(tmp_path / "a", {}, text)
    assert load(tmp_path / "a") == ({}, text)


def test_other_programs_read_and_write_it(tmp_path: Path) -> None:
    save(tmp_path / "ours", arrays(), {"k": "v"})
    assert same(safetensors.numpy.load_file(tmp_path / "ours"), arrays())
    safetensors.numpy.save_file(arrays(), tmp_path / "theirs", {"k": "v"})
    found, metadata = load(tmp_path / "theirs")
    assert same(found, arrays())
    assert metadata == {"k": "v"}


def test_permissions_follow_the_umask(tmp_path: Path) -> None:
    before = os.umask(0o027)
    try:
        save(tmp_path / "a", arrays())
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "a").stat().st_mode) == 0o640


@pytest.mark.parametrize(
    ("content", "metadata", "message"),
    [
        ({"../x": np.zeros(1)}, {}, r"tensor name '\.\./x'"),
        ({"": np.zeros(1)}, {}, "tensor name ''"),
        ({"a b": np.zeros(1)}, {}, "tensor name 'a b'"),
        ({"x\n": np.zeros(1)}, {}, "tensor name"),
        ({"x": np.array([object()])}, {}, "tensor x: dtype object"),
        ({"x": np.array(["text"])}, {}, "tensor x: dtype <U4"),
        ({"x": np.zeros(1, complex)}, {}, "tensor x: dtype complex128"),
        ({"x": np.zeros(1)}, {"step": 3}, "metadata: expected text, got 'step': 3"),
        ({"x": np.zeros(1)}, {CHECKSUM: "0"}, "metadata"),
        ({"x": np.zeros(1)}, {"k": "\ud800"}, "metadata: .*surrogates"),
        ({"x": np.zeros(1)}, {"k": "long" * (1 << 20)}, "header of .* bytes, limit"),
    ],
)
def test_what_cannot_be_stored(tmp_path: Path, content: Any, metadata: Any, message: str) -> None:
    with pytest.raises(CheckpointError, match=message):
        save(tmp_path / "a", content, metadata)
    assert not list(tmp_path.iterdir())


# --- malformed files ------------------------------------------------------------------------------


def raw(
    header: bytes | dict[str, Any] | str, data: bytes = b"", length: int | None = None
) -> bytes:
    if isinstance(header, dict):
        header = json.dumps(header)
    if isinstance(header, str):
        header = header.encode()
    return struct.pack("<Q", len(header) if length is None else length) + header + data


def entry(dtype: Any = "F32", shape: Any = (2,), offsets: Any = (0, 8)) -> dict[str, Any]:
    return {"dtype": dtype, "shape": list(shape), "data_offsets": list(offsets)}


D8 = bytes(8)
MALFORMED: dict[str, tuple[bytes, str]] = {
    "empty": (b"", "truncated"),
    "seven bytes": (b"1234567", "truncated"),
    "no header": (raw(b""), "header: expected"),
    "header longer than file": (raw({"x": entry()}, D8, 10_000), "truncated"),
    "header of 2^64 - 1": (raw(b"{}", b"", 2**64 - 1), "truncated"),
    "header over its limit": (raw(b"{" + b" " * (5 << 20) + b"}"), "limit"),
    "not JSON": (raw(b"{nonsense}"), "not valid JSON"),
    "not UTF-8": (raw(b'{"\xff": 1}'), "not valid JSON"),
    "a list": (raw(b"[]"), r"expected '\{' first"),
    "starts with a space": (raw(b' {"x":1}'), r"expected '\{' first"),
    "nested too deep": (raw('{"x":' + "[" * 100_000 + "]" * 100_000 + "}"), "not valid JSON"),
    "number too long": (raw('{"x":' + "9" * 10_000 + "}"), "not valid JSON"),
    "duplicate tensor": (
        raw(f'{{"x":{json.dumps(entry())},"x":{json.dumps(entry())}}}', D8),
        "'x' appears more than once",
    ),
    "duplicate field": (
        raw('{"x":{"dtype":"F32","dtype":"F32","shape":[2],"data_offsets":[0,8]}}', D8),
        "'dtype' appears more than once",
    ),
    "duplicate metadata": (raw('{"__metadata__":{"a":"1","a":"2"}}'), "more than once"),
    "metadata no object": (raw({"__metadata__": ["a"]}), "__metadata__"),
    "metadata not text": (raw({"__metadata__": {"step": 3}}), "__metadata__"),
    "entry no object": (raw({"x": 3}), "tensor x: expected dtype"),
    "field missing": (raw({"x": {"dtype": "F32", "shape": [2]}}, D8), "tensor x: expected dtype"),
    "field unknown": (raw({"x": {**entry(), "code": "1"}}, D8), "tensor x: expected dtype"),
    "name climbs": (raw({"../../x": entry()}, D8), "tensor name"),
    "name empty": (raw({"": entry()}, D8), "tensor name"),
    "name with newline": (raw({"x\n": entry()}, D8), "tensor name"),
    "name not ASCII": (raw({"ｘ": entry()}, D8), "tensor name"),
    "dtype unknown": (raw({"x": entry("F33")}, D8), "'F33' is not supported"),
    "dtype number": (raw({"x": entry(3)}, D8), "is not supported"),
    "dtype list": (raw({"x": entry(["F32"])}, D8), "is not supported"),
    "shape negative": (raw({"x": entry(shape=(-2,))}, D8), "bad shape"),
    "shape fractional": (raw({"x": entry(shape=(2.0,))}, D8), "bad shape"),
    "shape boolean": (raw({"x": entry(shape=(True, 2))}, D8), "bad shape"),
    "shape text": (raw({"x": entry(shape="2")}, D8), "bad shape"),
    "shape overflows": (raw({"x": entry(shape=(2**62, 2**62, 4))}, D8), "takes"),
    "shape beyond 2^63": (raw({"x": entry(shape=(0, 2**64), offsets=(0, 0))}), "bad shape"),
    "too many axes": (raw({"x": entry(shape=(1,) * 65 + (2,))}, D8), "bad shape"),
    "huge empty": (raw({"x": entry(shape=(2**62, 2**62, 0), offsets=(0, 0))}), "not a valid"),
    "shape larger than data": (raw({"x": entry(shape=(10**12,), offsets=(0, 4 * 10**12))}), "hold"),
    "shape and offsets differ": (raw({"x": entry(shape=(3,))}, D8), "takes 12 bytes"),
    "offsets reversed": (raw({"x": entry(offsets=(8, 0))}, D8), "takes 8 bytes"),
    "offsets three": (raw({"x": entry(offsets=(0, 4, 8))}, D8), "bad shape"),
    "trailing bytes": (raw({"x": entry()}, D8 + b"!"), "the file holds 9"),
    "data missing": (raw({"x": entry()}, D8[:-1]), "the file holds 7"),
    "overlap": (raw({"x": entry(), "y": entry()}, D8 * 2), "not a valid"),
    "hole": (raw({"x": entry(), "y": entry(offsets=(16, 24))}, D8 * 2), "not a valid"),
    "pickle": (b"\x80\x04\x95" + b"\x00" * 40, "truncated|header"),
    "zip": (b"PK\x03\x04" + b"\x00" * 60, "header|truncated"),
    "wrong checksum": (raw({"__metadata__": {CHECKSUM: "0"}, "x": entry()}, D8), "checksum"),
}


@pytest.mark.parametrize("name", MALFORMED)
def test_malformed(tmp_path: Path, name: str) -> None:
    content, message = MALFORMED[name]
    path = tmp_path / "bad.safetensors"
    path.write_bytes(content)
    with pytest.raises(CheckpointError, match=message) as caught:
        load(path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)
    assert caught.value.path == path


def test_declared_size_allocates_nothing(tmp_path: Path) -> None:
    path = tmp_path / "bomb"
    bombs = [
        MALFORMED[k][0] for k in ("shape larger than data", "header of 2^64 - 1", "huge empty")
    ]
    for content in bombs:
        path.write_bytes(content)
        tracemalloc.start()
        with pytest.raises(CheckpointError):
            load(path)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert peak < 1 << 20


def test_mutations_give_nothing_else(tmp_path: Path) -> None:
    """Two thousand files with one to three bytes changed, cut or inserted."""
    path = tmp_path / "a"
    save(path, arrays(), {"k": "v"})
    good = path.read_bytes()
    rng = np.random.default_rng(0)
    header_end = 8 + struct.unpack("<Q", good[:8])[0]
    outcomes = {"error": 0, "loaded": 0}
    for _ in range(2000):
        content = bytearray(good)
        for _ in range(rng.integers(1, 4)):
            place = int(rng.integers(header_end if rng.random() < 0.7 else len(content)))
            kind = rng.integers(3)
            if kind == 0:
                content[place] = int(rng.integers(256))
            elif kind == 1:
                del content[place : place + int(rng.integers(1, 4))]
            else:
                content[place:place] = bytes(rng.integers(0, 256, 2).tolist())
        path.unlink()  # some file systems flush a file that is cut and written again
        path.write_bytes(content)
        try:
            found, metadata = load(path)
        except CheckpointError as error:
            assert str(path) in str(error)
            outcomes["error"] += 1
        else:
            # A changed byte may have met its old value, or the name of the checksum itself.
            assert bytes(content) == good or same(found, arrays()) or CHECKSUM not in metadata
            outcomes["loaded"] += 1
    assert outcomes["error"] > 1900


def test_flipped_bits_in_the_data_are_found(tmp_path: Path) -> None:
    path = tmp_path / "a"
    save(path, arrays(), {"k": "v"})
    good = path.read_bytes()
    for place in range(len(good) - 448, len(good), 37):
        content = bytearray(good)
        content[place] ^= 1
        path.write_bytes(content)
        with pytest.raises(CheckpointError, match="checksum differs"):
            load(path)


def test_limits_and_finite(tmp_path: Path) -> None:
    path = tmp_path / "a"
    bad = np.zeros((3, 4))
    bad[1, 2], bad[2, 0] = np.nan, np.inf
    save(path, {"fine": np.zeros(5), "weights": bad})
    assert load(path)[0]["weights"].shape == (3, 4)
    with pytest.raises(CheckpointError, match=r"tensor weights: 2 values .* nan at \(1, 2\)"):
        load(path, finite=True)
    with pytest.raises(CheckpointError, match=r"more than the limit of 100 \(max_bytes\)"):
        load(path, max_bytes=100)


def test_what_is_no_file(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="cannot read: No such file"):
        load(tmp_path / "absent")
    with pytest.raises(CheckpointError, match="not a regular file"):
        load(tmp_path)
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(CheckpointError, match="not a regular file"):
        load(tmp_path / "pipe")
    with pytest.raises(CheckpointError, match="cannot read"):
        load(tmp_path / ("x" * 300))


# --- disks that refuse ----------------------------------------------------------------------------


def fail_at(monkeypatch: pytest.MonkeyPatch, name: str, call: int, code: int) -> None:
    """Let the `call`-th use of os.<name> (counted from 1) fail with an error code."""
    real: Callable[..., Any] = getattr(os, name)
    count = 0

    def wrapper(*args: Any, **kwargs: Any) -> Any:
        nonlocal count
        count += 1
        if count == call:
            raise OSError(code, os.strerror(code))
        return real(*args, **kwargs)

    monkeypatch.setattr(minigrad.checkpoint.os, name, wrapper)


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EIO, errno.EROFS, errno.EDQUOT])
@pytest.mark.parametrize(
    ("name", "call"), [("open", 1), ("write", 1), ("write", 3), ("fsync", 1), ("replace", 1)]
)
def test_refusals(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, call: int, code: int
) -> None:
    """The old file stays, no temporary one remains, the message names path and free space."""
    path = tmp_path / "run.safetensors"
    save(path, arrays(1), {"step": "1"})
    with monkeypatch.context() as patch:
        short_writes(patch)
        fail_at(patch, name, call, code)
        with pytest.raises(CheckpointError) as caught:
            save(path, arrays(2), {"step": "2"})
    assert os.strerror(code) in str(caught.value)
    assert str(path) in str(caught.value)
    assert "MB free" in str(caught.value)
    assert os.listdir(tmp_path) == [path.name]
    found, metadata = load(path)
    assert same(found, arrays(1))
    assert metadata == {"step": "1"}


def short_writes(patch: pytest.MonkeyPatch) -> None:
    real = os.write
    patch.setattr(minigrad.checkpoint.os, "write", lambda fd, data: real(fd, data[:100]))


def test_short_writes_are_continued(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        short_writes(patch)
        save(tmp_path / "a", arrays())
    assert same(load(tmp_path / "a")[0], arrays())


def test_the_last_flush(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """When the folder cannot be flushed the file is whole all the same; some have no flush."""
    path = tmp_path / "a"
    save(path, arrays(1))
    with monkeypatch.context() as patch:
        fail_at(patch, "fsync", 2, errno.EIO)
        with pytest.raises(CheckpointError, match="cannot write"):
            save(path, arrays(2))
    assert same(load(path)[0], arrays(2))
    with monkeypatch.context() as patch:
        fail_at(patch, "fsync", 2, errno.EINVAL)
        save(path, arrays(3))
    assert same(load(path)[0], arrays(3))
    assert os.listdir(tmp_path) == ["a"]


def test_interruption(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a"
    save(path, arrays(1))

    def interrupt(*_: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(minigrad.checkpoint.os, "fsync", interrupt)
        with pytest.raises(KeyboardInterrupt):
            save(path, arrays(2))
    assert os.listdir(tmp_path) == ["a"]
    assert same(load(path)[0], arrays(1))


def test_no_folder(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="cannot write: No such file or directory"):
        save(tmp_path / "absent" / "a", arrays())


def test_order_of_the_acts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Write, flush the file, rename, flush the folder: in this order."""
    acts: list[str] = []
    for name in ("write", "fsync", "replace"):
        real = getattr(os, name)

        def note(*args: Any, _name: str = name, _real: Any = real) -> Any:
            folder = _name == "fsync" and stat.S_ISDIR(os.fstat(args[0]).st_mode)
            acts.append("fsync folder" if folder else _name)
            return _real(*args)

        monkeypatch.setattr(minigrad.checkpoint.os, name, note)
    save(tmp_path / "a", arrays())
    assert acts == ["write", "fsync", "replace", "fsync folder"]


def test_readers_see_old_or_new(tmp_path: Path) -> None:
    """While one thread saves again and again, every load gives one whole version."""
    path = tmp_path / "a"
    save(path, arrays(0))
    done = threading.Event()
    problems: list[str] = []

    def read() -> None:
        while not done.is_set():
            found, _ = load(path)
            if not same(found, arrays(int(found["step"]))):
                problems.append("mixed")

    reader = threading.Thread(target=read)
    reader.start()
    for seed in range(50):
        save(path, arrays(seed))
    done.set()
    reader.join()
    assert not problems
