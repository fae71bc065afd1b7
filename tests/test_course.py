"""Pickled pairs of tensors, read without PyTorch and without executing anything."""

from __future__ import annotations

import io
import os
import pickle
import subprocess
import sys
import tracemalloc
import zipfile

import numpy as np
import pytest
import torch
from safetensors.numpy import save_file

from zoo.data import DataError, read_pairs, write_pairs

SHAPE = (4, 3, 5, 6)


def pair(seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    rng = np.random.default_rng(seed)
    return tuple(torch.from_numpy(rng.integers(0, 256, SHAPE, dtype=np.uint8)) for _ in range(2))


def refused(path, reason: str) -> None:
    """The file is refused with one line, without asking for much memory."""
    tracemalloc.start()
    try:
        with pytest.raises(DataError) as caught:
            read_pairs(path)
        assert tracemalloc.get_traced_memory()[1] < 8_000_000
    finally:
        tracemalloc.stop()
    text = str(caught.value)
    assert text.startswith(f"{path}: ")
    assert reason in text
    assert "\n" not in text


@pytest.mark.parametrize("container", [tuple, list])
def test_a_torch_file_is_read_exactly(tmp_path, container):
    first, second = pair()
    torch.save(container([first, second]), tmp_path / "train_data.pkl")
    a, b = read_pairs(tmp_path / "train_data.pkl")
    assert a.dtype == np.uint8
    np.testing.assert_array_equal(a, first.numpy())
    np.testing.assert_array_equal(b, second.numpy())


def test_views_that_share_a_storage(tmp_path):
    both = torch.from_numpy(np.arange(720, dtype=np.uint8).reshape(8, 3, 5, 6))
    torch.save((both[:4], both[4:]), tmp_path / "a.pkl")
    a, b = read_pairs(tmp_path / "a.pkl")
    np.testing.assert_array_equal(np.concatenate([a, b]), both.numpy())


def test_neither_torch_nor_code_is_imported(tmp_path):
    torch.save(pair(), tmp_path / "a.pkl")
    program = (
        "import sys; from zoo.data import read_pairs; "
        f"read_pairs({str(tmp_path / 'a.pkl')!r}); assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", program], check=True, timeout=60)


@pytest.mark.parametrize("validation", [False, True])
def test_own_files(tmp_path, validation):
    first, second = (item.numpy() for item in pair())
    write_pairs(tmp_path / "a.safetensors", first, second, validation=validation)
    a, b = read_pairs(tmp_path / "a.safetensors")
    np.testing.assert_array_equal(a, first)
    np.testing.assert_array_equal(b, second)
    assert [item.name for item in tmp_path.iterdir()] == ["a.safetensors"]


def test_own_files_with_wrong_contents(tmp_path):
    path = tmp_path / "a.safetensors"
    values = np.zeros(SHAPE, np.uint8)
    save_file({"input": values, "clean": values}, path)
    refused(path, "expected keys input, target or noisy, clean")
    save_file({"input": values, "target": values.astype(np.float32)}, path)
    refused(path, "expected two uint8 arrays")
    save_file({"input": values, "target": values[:2]}, path)
    refused(path, "(2, 3, 5, 6)")
    path.write_bytes(path.read_bytes()[:-9])
    refused(path, "damaged safetensors")
    with pytest.raises(DataError, match="expected two uint8"):
        write_pairs(path, values, values[0])


# --- files that must be refused ------------------------------------------------------------------


class Hostile:
    """Pickles as a call of os.system."""

    def __init__(self, command: str) -> None:
        self.command = command

    def __reduce__(self):
        return os.system, (self.command,)


def test_a_pickle_that_runs_a_command(tmp_path):
    mark = tmp_path / "mark"
    torch.save((Hostile(f"touch {mark}"), pair()[0]), tmp_path / "a.pkl")
    refused(tmp_path / "a.pkl", "system")
    (tmp_path / "b.pkl").write_bytes(pickle.dumps(Hostile(f"touch {mark}")))
    refused(tmp_path / "b.pkl", "neither a zip archive")
    assert not mark.exists()


def test_a_zero_stride_view_of_8_gib(tmp_path):
    view = torch.zeros(1, dtype=torch.uint8).expand(2048, 4, 1024, 1024)
    torch.save((view, view), tmp_path / "a.pkl")
    assert (tmp_path / "a.pkl").stat().st_size < 4000
    refused(tmp_path / "a.pkl", "more than the limit of")


@pytest.mark.parametrize(
    "view",
    [
        torch.arange(360).to(torch.uint8).as_strided(SHAPE, (0, 30, 6, 1)),
        pair()[0].transpose(2, 3),
    ],
)
def test_any_view_is_read_as_pytorch_does(view, tmp_path):
    torch.save((view, view), tmp_path / "a.pkl")
    for found in read_pairs(tmp_path / "a.pkl"):
        np.testing.assert_array_equal(found, view.numpy())


@pytest.mark.parametrize("share", [0.02, 0.3, 0.7, 0.99])
def test_a_truncated_file(tmp_path, share):
    torch.save(pair(), tmp_path / "a.pkl")
    content = (tmp_path / "a.pkl").read_bytes()
    (tmp_path / "a.pkl").write_bytes(content[: int(share * len(content))])
    refused(tmp_path / "a.pkl", "truncated")


def test_other_files(tmp_path):
    path = tmp_path / "a.pkl"
    path.write_text("just text\n")
    refused(path, "neither a zip archive")
    path.write_bytes(b"")
    refused(path, "empty file")
    refused(tmp_path / "none.pkl", "No such file")
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("readme.txt", "hello")
    refused(path, "no single member <root>/data.pkl")
    torch.save(pair(), path, _use_new_zipfile_serialization=False)
    refused(path, "neither a zip archive")


def test_other_values(tmp_path):
    path = tmp_path / "a.pkl"
    first, second = pair()
    torch.save((first.float(), second.float()), path)
    refused(path, "expected uint8 tensors, got float32")
    torch.save((first, second, first), path)
    refused(path, "expected a pair of tensors")
    torch.save({"a": first}, path)
    refused(path, "expected a pair of tensors, got dict")
    torch.save((first, second[:2]), path)
    refused(path, "of one shape")
    torch.save((first[0], second[0]), path)
    refused(path, "(N, C, H, W)")
    torch.save((first, 3), path)
    refused(path, "expected a pair of tensors")
    torch.save(torch.nn.Linear(2, 2), path)
    refused(path, "got an object of 'torch.nn.modules.linear.Linear'")


def rewritten(path, **members: bytes | None) -> None:
    """Exchange (or with None: drop) members of a torch file; names without the root."""
    with zipfile.ZipFile(path) as archive:
        root = archive.namelist()[0].partition("/")[0]
        contents = {name.partition("/")[2]: archive.read(name) for name in archive.namelist()}
    contents.update({name.replace("__", "/"): value for name, value in members.items()})
    with zipfile.ZipFile(path, "w") as archive:
        for name, value in contents.items():
            if value is not None:
                archive.writestr(f"{root}/{name}", value)


def program(path) -> bytes:
    with zipfile.ZipFile(path) as archive:
        return archive.read(next(name for name in archive.namelist() if "data.pkl" in name))


def test_sizes_that_do_not_agree(tmp_path):
    path = tmp_path / "a.pkl"
    torch.save(pair(), path)
    rewritten(path, data__0=b"\0" * 10)
    refused(path, "has 10 bytes, expected 360")
    rewritten(path, data__0=None)
    refused(path, "is missing")
    torch.save(pair(), path)
    rewritten(path, byteorder=b"middle")
    refused(path, "byte order b'middle'")


def test_a_compressed_member(tmp_path):
    path = tmp_path / "a.pkl"
    big = torch.zeros((1000, 3, 32, 32), dtype=torch.uint8)
    torch.save((big, big.clone()), path)
    with zipfile.ZipFile(path) as archive:
        contents = {name: archive.read(name) for name in archive.namelist()}
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, value in contents.items():
            archive.writestr(name, value)
    del contents
    refused(path, "a member is compressed")


def test_a_memo_index_that_would_fill_the_memory(tmp_path):
    path = tmp_path / "a.pkl"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("a/data.pkl", b"\x80\x02]r\xff\xff\xff\x7f.")
    refused(path, "memo index 2147483647")


@pytest.mark.parametrize(
    ("hostile", "words"),
    [
        (b"\x80\x02cbuiltins\neval\nX\x03\x00\x00\x001+1\x85R.", "an object of 'builtins.eval'"),
        (b"\x80\x02ctorch\nload\n.", "got 'torch.load'"),
        (b"\x80\x02ctorch.hub\nanyStorage\n.", "got 'torch.hub.anyStorage'"),
        (b"\x80\x02ctorch\nos.systemStorage\n.", "got 'torch.os.systemStorage'"),
        (b"\x80\x02ctorch\nByteStorage\n)R.", "an object of 'torch.ByteStorage'"),
        (b"\x80\x02X\x01\x00\x00\x00aQ.", "an unknown persistent id, 'a'"),
        (b"\x80\x02ctorch._utils\n_rebuild_tensor_v2\n)R.", "a tensor with 0 arguments"),
        (b"\x80\x04\x8c\x08builtins\x8c\x04eval\x93.", "got 'builtins.eval'"),
        (b"", "truncated"),
        (b"\x80\x02", "truncated"),
    ],
)
def test_pickles_with_other_names_or_calls(tmp_path, hostile, words):
    with zipfile.ZipFile(tmp_path / "a.pkl", "w") as archive:
        archive.writestr("a/data.pkl", hostile)
    refused(tmp_path / "a.pkl", words)


def test_mutated_files_give_one_kind_of_error(tmp_path):
    path = tmp_path / "a.pkl"
    torch.save(pair(), path)
    content = path.read_bytes()
    start = content.index(program(path))
    rng = np.random.default_rng(0)
    for turn in range(400):
        broken = bytearray(content)
        # Half of the faults hit the pickle itself.
        low, high = (start, start + 300) if turn % 2 else (0, len(content))
        for place in rng.integers(low, high, 2):
            broken[place] = rng.integers(256)
        path.write_bytes(bytes(broken))
        try:
            read_pairs(path)
        except DataError:
            continue


def test_a_pickle_that_is_too_long(tmp_path):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("a/data.pkl", b"]" * 2_000_000)
    (tmp_path / "a.pkl").write_bytes(buffer.getvalue())
    refused(tmp_path / "a.pkl", "more objects than a file of its size may")
