"""Files that appear whole or not at all."""

from __future__ import annotations

import os

import pytest

from minigrad.files import replacing, write_whole


def test_text_and_bytes(tmp_path):
    write_whole(tmp_path / "a", "häuser\n")
    assert (tmp_path / "a").read_bytes() == "häuser\n".encode()
    write_whole(tmp_path / "a", b"\0\1")
    assert (tmp_path / "a").read_bytes() == b"\0\1"
    assert os.listdir(tmp_path) == ["a"]


def test_an_error_leaves_what_was_there(tmp_path):
    write_whole(tmp_path / "a", b"old")
    with pytest.raises(RuntimeError), replacing(tmp_path / "a") as file:
        file.write(b"new")
        raise RuntimeError
    assert (tmp_path / "a").read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["a"]


def test_the_umask_is_followed(tmp_path):
    before = os.umask(0o027)
    try:
        write_whole(tmp_path / "a", b"")
    finally:
        os.umask(before)
    if os.name == "posix":
        assert (tmp_path / "a").stat().st_mode & 0o777 == 0o640
