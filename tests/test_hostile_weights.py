"""Weights files whose text and tensors do not fit: one error, and no memory beyond the file's."""

from __future__ import annotations

import json
import tracemalloc
from typing import Any

import numpy as np
import pytest

import minigrad as mg
import zoo
from minigrad.checkpoint import CheckpointError


def write(path, architecture: str, arguments: Any, arrays=None) -> None:
    text = arguments if isinstance(arguments, str) else json.dumps(arguments)
    arrays = {"a": np.ones(35_000, np.float32)} if arrays is None else arrays
    mg.checkpoint.save(path, arrays, {"architecture": architecture, "arguments": text})


@pytest.mark.parametrize(
    ("architecture", "arguments", "words"),
    [
        ("n2n-simple", {"features": 20_000}, "ask for more parameters"),
        ("n2n-simple", {"features": 10**12}, "features: 1000000000000, but the file holds 35000"),
        ("n2n-prelu-unet", {"depth": 100_000_000, "features": 1}, "depth: 100000000, but"),
        ("n2n-prelu-unet", {"depth": 30_000, "features": 1, "share_blocks": False}, "ask for more"),
        ("n2n-prelu-unet", {"depth": 30_000, "features": 1}, "missing|has no|expected"),
        ("n2n-simple", {"features": -3}, "a.safetensors"),
        ("n2n-simple", {"features": 0}, "a.safetensors"),
        ("n2n-simple", {"features": True}, "features: 'True' is not of type"),
        ("n2n-simple", {"features": 4.0}, "features: '4.0' is not of type"),
        ("n2n-simple", {"features": None}, "features: 'None' is not of type"),
        ("n2n-simple", {"features": [4]}, "is not of type"),
        ("n2n-simple", {"init": "zero"}, "init: 'zero' is not of type"),
        ("n2n-simple", {"rng": 1}, "has no 'rng'"),
        ("n2n-simple", {"dtype": "float64"}, "has no 'dtype'"),
        ("n2n-simple", {"nothing": 1}, "has no 'nothing'"),
        ("dncnn-s", {"features": 20_000}, "ask for more parameters"),
        ("dncnn-b", {"features": 1, "depth": 30_000}, "ask for more parameters"),
        ("dncnn-kair", {"form": "B"}, "form: 'B' is not of type"),
        ("bf-sdensenet", {"features": 1, "hidden": 1, "max_stage": 30_000}, "ask for more"),
        ("bf-rcnn", {"max_stage": 0}, "max_stage: expected at least 1, got 0"),
        ("n2n-unet", '{"offset": NaN}', "offset: 'nan' is not of type"),
        ("n2n-unet", '{"offset": 1e999}', "offset: 'inf' is not of type"),
        ("n2n-simple", "[1]", "expected an object"),
        ("n2n-simple", "{", "Expecting property name"),
        ("n2n-simple", "[" * 100_000, "recursion"),
    ],
)
def test_arguments_of_a_file_are_checked(architecture, arguments, words, tmp_path):
    path = tmp_path / "a.safetensors"
    write(path, architecture, arguments)
    tracemalloc.start()
    try:
        with pytest.raises(CheckpointError, match=words) as caught:
            zoo.load(path)
        assert tracemalloc.get_traced_memory()[1] < 100_000_000
    finally:
        tracemalloc.stop()
    assert str(caught.value).startswith(str(path))


def test_tensors_are_of_one_floating_type(tmp_path):
    path = tmp_path / "a.safetensors"
    sound = zoo.create("n2n-simple", features=4).state_dict()
    write(path, "n2n-simple", {"features": 4}, sound)
    assert zoo.load(path).dtype == np.float32
    first = next(iter(sound))
    whole = {key: array.astype(np.int32) for key, array in sound.items()}
    for arrays in (whole, {**sound, first: sound[first].astype(np.float64)}):
        write(path, "n2n-simple", {"features": 4}, arrays)
        with pytest.raises(CheckpointError, match="expected (one|a) floating (d?)type"):
            zoo.load(path)
    double = {key: array.astype(np.float64) for key, array in sound.items()}
    write(path, "n2n-simple", {"features": 4}, double)
    assert zoo.load(path).dtype == np.float64


def test_text_in_place_of_weights_is_called_so(tmp_path):
    path = tmp_path / "a.safetensors"
    path.write_text("this is no network\n")
    with pytest.raises(CheckpointError, match="not a safetensors file"):
        zoo.load(path)
