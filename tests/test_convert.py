"""From official files to files of the zoo: which tensors, which arguments, what is said."""

from __future__ import annotations

import argparse
import errno
import hashlib
import json

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

import zoo
from minigrad.checkpoint import CheckpointError
from tests.official import same, saved
from tests.shared import shared_folder
from zoo.__main__ import main
from zoo.convert import convert, families
from zoo.registry import REGISTRY

SMALL: dict[str, list[dict]] = {
    "n2n-simple": [{"features": 3}, {"channels": 1, "features": 2, "upsampling": "nearest"}],
    "n2n-prelu-unet": [
        {"features": 2, "depth": 3},
        {"channels": 1, "features": 2, "stem_activation": "relu", "decoder_features": 5},
    ],
    "n2n-unet": [{}, {"channels": 1, "out_channels": 2}],
    "dncnn-s": [{"features": 3, "depth": 4}, {"channels": 3, "features": 2, "depth": 2}],
    "dncnn-b": [{"features": 3, "depth": 3}],
    "dncnn-kair": [{"features": 3, "depth": 4}, {"channels": 3, "features": 2, "form": "BR"}],
    "bf-dncnn": [{"features": 3, "depth": 4}, {"channels": 3, "features": 2, "bias": True}],
    "bf-unet": [{"features": 2}, {"channels": 3, "features": 2, "bias": True}],
    "bf-rcnn": [{"features": 3, "hidden": 2}, {"channels": 3, "features": 2, "bias": True}],
    "bf-sdensenet": [
        {"features": 3, "hidden": 2, "max_stage": 3},
        {"channels": 3, "features": 2, "bias": True},
    ],
    "pcst-dncnn": [{"features": 3, "depth": 4}, {"channels": 1, "features": 2, "depth": 3}],
    "dbsn-gray": [{"width": 3, "blocks": 2, "sigma_width": 4}, {"width": 2, "blocks": 1}],
    "dbsn-color": [
        {"width": 3, "blocks": 2, "sigma_width": 4, "noise": "mg"},
        {"width": 2, "blocks": 1},
    ],
    "mwcnn": [
        {"channels": 3, "level1": 4, "level2": 3, "level3": 2},
        {"level1": 2, "level2": 3, "level3": 5},
    ],
    "psl-ae": [
        {"width": 2, "block": 8, "clusters": 3, "latent": 5},
        {
            "channels": 1,
            "width": 2,
            "block": 8,
            "latent": 4,
            "prior": "gate",
            "two_heads": True,
            "released": True,
        },
    ],
}
_LADDER = {"z_dims": [2, 3], "n_filters": 3, "blocks_per_layer": 2, "img_shape": [8, 16]}
SMALL |= {
    "hdn": [
        _LADDER,
        {**_LADDER, "batchnorm": False, "channels": 3, "gated": False, "merge_type": "linear"},
        {**_LADDER, "res_block_type": "cabdcabd", "dropout": None, "stochastic_skip": False},
        {**_LADDER, "res_block_type": "bacdbac", "no_initial_downscaling": False},
    ],
    "divnoising": [
        {"z_dim": 3, "init_filters": 2},
        {"init_filters": 2, "n_depth": 3, "n_filters_per_depth": 3, "bias": False},
    ],
}
CASES = [(name, i) for name, cases in SMALL.items() for i in range(len(cases))]


def state_of(name: str, **arguments) -> dict[str, torch.Tensor]:
    """The state dict of a new network, as PyTorch's tensors."""
    model = zoo.create(name, rng=np.random.default_rng(0), **arguments)
    return {key: torch.from_numpy(np.array(value)) for key, value in model.state_dict().items()}


@pytest.fixture
def write(tmp_path):
    """Write an object as PyTorch does; the path."""

    def written(content, **how):
        path = tmp_path / "official.pt"
        path.write_bytes(saved(content, **how))
        return path

    return written


@pytest.fixture
def out(tmp_path):
    return tmp_path / "out.safetensors"


def bundled() -> dict[str, torch.Tensor]:
    return state_of("dncnn-s", features=2, depth=3)


# --------------------------------------------------------------------------- what is taken over


def test_every_network_can_be_converted():
    assert {*SMALL} == {*REGISTRY} == {*families._FAMILIES}


@pytest.mark.parametrize(("name", "index"), CASES)
def test_arguments_follow_from_shapes(name, index, write, out):
    arguments = SMALL[name][index]
    state = state_of(name, **arguments)
    done = convert(write(state), name, out)
    everything = {**REGISTRY[name].arguments, **arguments}
    found = {**REGISTRY[name].arguments, **done.arguments}
    if name == "n2n-unet" and everything["out_channels"] is None:
        everything["out_channels"] = everything["channels"]
    if name == "n2n-prelu-unet" and everything["decoder_features"] is None:
        everything["decoder_features"] = 2 * everything["features"]
    if name == "dbsn-gray" and everything["sigma_width"] is None:
        everything["sigma_width"] = 16
    assert found == everything
    loaded = zoo.load(out).state_dict()
    assert all(same(loaded[key], tensor) for key, tensor in state.items())
    y = np.random.default_rng(1).random((1, zoo.load(out).channels, 9, 8), np.float32)
    expected = zoo.create(name, **arguments)
    expected.load_state_dict({key: tensor.numpy() for key, tensor in state.items()})
    assert np.array_equal(zoo.load(out).denoise(y), expected.denoise(y))


LAYOUTS = {
    "the state dict": lambda s: (s, "the file itself"),
    "DataParallel": lambda s: ({f"module.{k}": v for k, v in s.items()}, "the file itself"),
    "a wrapper in a wrapper": lambda s: (
        {"state_dict": {f"module.net.{k}": v for k, v in s.items()}, "epoch": 3},
        "state_dict",
    ),
    "a checkpoint": lambda s: (
        {
            "model_state_dict": s,
            "optimizer_state_dict": {"state": {0: {"exp_avg": torch.ones(2)}}},
            "rng": torch.get_rng_state(),
        },
        "model_state_dict",
    ),
    "patch-craft": lambda s: (
        {"model_params": s, "optimizer_params": {}, "train_loss_mean_arr": np.ones(3)},
        "model_params",
    ),
    "bias-free": lambda s: (
        {
            "step": 5,
            "score": np.float64(29.1),
            "model": [s],
            "optimizer": [{"state": {}}],
            "args": argparse.Namespace(min_noise=100.0, max_noise=0.0, model="dncnn"),
        },
        "model.0",
    ),
    "a number beside the tensors": lambda s: ({**s, "epoch": 3}, "the file itself"),
    "a name like an optimiser's": lambda s: ({"best_optimal": s}, "best_optimal"),
    "an object": lambda s: (argparse.Namespace(weights=s, other=[1]), "weights"),
    "two, of which one fits": lambda s: ({"net": s, "critic": {"w": torch.ones(9)}}, "net"),
}


@pytest.mark.parametrize("old", [False, True])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_where_the_state_dict_is(layout, old, write, out):
    state = bundled()
    content, place = LAYOUTS[layout](state)
    done = convert(write(content, legacy=old), "dncnn-s", out)
    assert done.part == place and done.tensors == len(state) and done.left_out == []
    assert done.container == ("PyTorch legacy" if old else "PyTorch zip")
    loaded = zoo.load(out).state_dict()
    assert all(same(loaded[key], tensor) for key, tensor in state.items())


def test_a_choice_of_state_dicts(write, out):
    mine, other = bundled(), {key: value + 1 for key, value in bundled().items()}
    path = write({"net": mine, "ema": other})
    with pytest.raises(CheckpointError, match="several .* fit dncnn-s: 'net', 'ema'; name"):
        convert(path, "dncnn-s", out)
    with pytest.raises(CheckpointError, match="no state dict at 'emma'; there are: 'net', 'ema'"):
        convert(path, "dncnn-s", out, part="emma")
    assert convert(path, "dncnn-s", out, part="ema").part == "ema"
    loaded = zoo.load(out).state_dict()
    assert all(same(loaded[key], tensor) for key, tensor in other.items())


@pytest.mark.parametrize(
    ("kinds", "expected"),
    [
        ([torch.float16], np.float32),
        ([torch.bfloat16], np.float32),
        ([torch.float64], np.float64),
        ([torch.float16, torch.float32], np.float32),
        ([torch.float32, torch.float64], np.float64),
    ],
)
def test_precisions(kinds, expected, write, out):
    state = {key: v.to(kinds[i % len(kinds)]) for i, (key, v) in enumerate(bundled().items())}
    state["dncnn.3.num_batches_tracked"] = torch.tensor(7)
    convert(write(state), "dncnn-s", out)
    loaded = zoo.load(out)
    assert loaded.dtype == expected
    for key, tensor in state.items():
        assert np.array_equal(loaded.state_dict()[key], tensor.double().numpy())


def test_counters_of_batches(write, out):
    """They may be absent, have an axis, or stand where the network has none."""
    state = bundled()
    state["dncnn.3.num_batches_tracked"] = torch.tensor([7])
    convert(write(state), "dncnn-s", out)
    assert zoo.load(out).state_dict()["dncnn.3.num_batches_tracked"].shape == ()
    del state["dncnn.3.num_batches_tracked"]
    assert convert(write(state), "dncnn-s", out, overwrite=True).tensors == 7
    state["dncnn.1.num_batches_tracked"] = torch.tensor(7)
    done = convert(write(state), "dncnn-s", out, overwrite=True)
    assert done.left_out == ["dncnn.1.num_batches_tracked"]


def test_shared_blocks(write, out):
    separate = state_of("n2n-prelu-unet", features=2, share_blocks=False)
    with pytest.raises(CheckpointError, match=r"eblocks.0.conv.weight and eblocks.1.*differ"):
        convert(write(separate), "n2n-prelu-unet", out)
    convert(write(separate), "n2n-prelu-unet", out, arguments={"share_blocks": False})
    loaded = zoo.load(out).state_dict()
    assert all(same(loaded[key], tensor) for key, tensor in separate.items())


def test_safetensors_and_a_pickle_of_arrays(tmp_path, out):
    state = bundled()
    save_file(
        {f"module.{key}": tensor for key, tensor in state.items()}, tmp_path / "a.safetensors"
    )
    assert convert(tmp_path / "a.safetensors", "dncnn-s", out).container == "safetensors"
    assert same(zoo.load(out).state_dict()["dncnn.0.weight"], state["dncnn.0.weight"])
    (tmp_path / "broken.safetensors").write_bytes((tmp_path / "a.safetensors").read_bytes()[:-1])
    with pytest.raises(CheckpointError, match="not a valid safetensors file"):
        convert(tmp_path / "broken.safetensors", "dncnn-s", out, overwrite=True)


# --------------------------------------------------------------------------- what is written


def test_metadata(write, out):
    path = write({"model": [bundled()], "args": argparse.Namespace(min_noise=0.0, max_noise=55)})
    done = convert(path, "dncnn-s", out)
    found = zoo.load(out).metadata
    assert found["noise"] == "gaussian:0-55" and found["colour"] == "gray"
    assert found["value_range"] == "0 1" and found["architecture"] == "dncnn-s"
    assert found["source"] == "official.pt"
    assert found["source_sha256"] == done.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
    assert done.metadata.items() <= found.items()
    convert(path, "dncnn-s", out, noise="correlated:10:kernel=3", source="a URL", overwrite=True)
    found = zoo.load(out).metadata
    assert found["noise"] == "correlated:10:kernel=3" and found["source"] == "a URL"
    colour = write(state_of("dncnn-s", channels=3, features=2, depth=3))
    assert convert(colour, "dncnn-s", out, overwrite=True).metadata["colour"] == "RGB"
    assert "noise" not in zoo.load(out).metadata


def test_an_existing_file_is_kept(write, out):
    path = write(bundled())
    out.write_text("mine")
    with pytest.raises(CheckpointError, match="is there already"):
        convert(path, "dncnn-s", out)
    assert out.read_text() == "mine"


def test_a_file_is_never_converted_into_itself(write, out):
    path = write(bundled())
    before = path.read_bytes()
    with pytest.raises(CheckpointError, match="is the file that is read"):
        convert(path, "dncnn-s", path.parent / "." / path.name, overwrite=True)
    assert path.read_bytes() == before


def test_a_file_of_the_zoo_keeps_what_tensors_do_not_tell(tmp_path, out):
    path = tmp_path / "own.safetensors"
    zoo.save(path, zoo.create("bf-unet", features=2, residual=True), {"noise": "gaussian:25"})
    convert(path, "bf-unet", out)
    assert zoo.load(out).residual and zoo.load(out).metadata["noise"] == "gaussian:25"
    convert(path, "bf-unet", out, noise="gaussian:0-55", overwrite=True)
    assert zoo.load(out).metadata["noise"] == "gaussian:0-55"
    with pytest.raises(CheckpointError, match="a file of the zoo for 'bf-unet', not for dncnn-s"):
        convert(path, "dncnn-s", out, overwrite=True)


@pytest.mark.parametrize(
    ("content", "model", "arguments", "words"),
    [
        (
            bundled,
            "bf-unet",
            {},
            "missing: conv1.weight, .* and 4 more; unexpected: .*fits dncnn-b",
        ),
        (bundled, "dncnn-s", {"features": 1}, r"other shape: dncnn.0.weight \(2, 1, 3, 3\) inst"),
        (bundled, "dncnn-s", {"depth": 4}, r"depth=4\): missing: dncnn.6.*fits with .*depth=3"),
        (bundled, "dncnn-s", {"depth": 1}, "cannot be made: .*at least 2"),
        (bundled, "dncnn-s", {"features": 10**6}, "ask for more parameters than the"),
        (lambda: {"net": {"a": torch.ones(1)}}, "dncnn-s", {}, "net does not fit"),
        (lambda: {"0.weight": torch.ones(8)}, "dncnn-s", {}, "missing: dncnn.0.weight"),
        (lambda: {"epoch": 3, "w\n": 1}, "dncnn-s", {}, r"no state dict; its keys: 'epoch', 'w\\n"),
        (lambda: [1], "dncnn-s", {}, r"no state dict; it is \(1\)"),
        (lambda: dict.fromkeys(["a"], bundled()["dncnn.0.weight"]), "dncnn-s", {}, "unexpected: a"),
    ],
)
def test_what_does_not_fit_is_said(content, model, arguments, words, write, out):
    path = write(content())
    with pytest.raises(CheckpointError, match=words) as caught:
        convert(path, model, out, arguments=arguments)
    assert str(caught.value).startswith(f"{path}: ") and "\n" not in str(caught.value)
    assert not out.exists()


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_values_that_are_not_finite(bad, write, out):
    state = bundled()
    state["dncnn.2.weight"][0, 0, 0, 0] = bad
    with pytest.raises(CheckpointError, match=r"dncnn.2.weight: holds values that are not finite"):
        convert(write(state), "dncnn-s", out)
    state = {key: value.int() for key, value in bundled().items()}
    with pytest.raises(CheckpointError, match="expected a floating dtype, got int32"):
        convert(write(state), "dncnn-s", out)


def test_wrong_calls(write, out):
    path = write(bundled())
    with pytest.raises(zoo.UnknownModelError, match="the nearest: .*dncnn-s"):
        convert(path, "dncnn", out)
    with pytest.raises(TypeError, match="dncnn-s: dept: unknown key, nearest is 'depth'"):
        convert(path, "dncnn-s", out, arguments={"dept": 3})
    with pytest.raises(TypeError, match="dncnn-s: depth: expected an integer, got 'three'"):
        convert(path, "dncnn-s", out, arguments={"depth": "three"})
    with pytest.raises(ValueError, match="gausian"):
        convert(path, "dncnn-s", out, noise="gausian:25")


# --------------------------------------------------------------------------- the command


def test_the_command(write, out, capsys):
    path = write({"net": bundled(), "ema": bundled()})
    base = ["convert", str(path), "--model", "dncnn-s", "--out", str(out)]
    assert main(base) == 2
    assert capsys.readouterr().err.startswith(f"zoo convert: {path}: several of its state dicts")
    chosen = [*base, "--part", "net", "--sigma", "0-55", "--set", "depth=3"]
    assert main(chosen) == 0
    told = capsys.readouterr().out
    assert "PyTorch zip, net" in told and "dncnn-s (channels=1, features=2, depth=3)" in told
    assert "gaussian:0-55" in told
    assert main([*chosen, "--json"]) == 2
    assert "is there already" in json.loads(capsys.readouterr().out)["error"]
    assert main([*chosen, "--json", "--overwrite", "--source", "here"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["ok"] and found["arguments"] == {"channels": 1, "features": 2, "depth": 3}
    assert found["metadata"]["source"] == "here" and len(found["sha256"]) == 64
    assert main(["info", str(out)]) == 0
    assert "noise = gaussian:0-55" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--model", "dncn-s"], "nearest: dncnn-s"),
        (["--set", "depth"], "--set depth: expected arg=VALUE"),
        (["--set", "depth=many"], "depth: expected an integer"),
        (["--sigma", "a lot"], "gaussian:25"),
        (["--sigma", "5", "--noise", "poisson:3"], "not allowed with"),
        (["--max-size", "0"], "--max-size: expected at least 1 MiB"),
    ],
)
def test_wrong_usage_of_the_command(arguments, words, write, out, capsys):
    path = write(bundled())
    assert main(["convert", str(path), "--model", "dncnn-s", "--out", str(out), *arguments]) == 2
    assert words in capsys.readouterr().err
    assert not out.exists()


def test_a_disk_that_refuses_ends_with_3(write, out, capsys, monkeypatch):
    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("minigrad.checkpoint.write_whole", full)
    arguments = ["convert", str(write(bundled())), "--model", "dncnn-s", "--out", str(out)]
    assert main(arguments) == 3
    assert "cannot write: No space left" in capsys.readouterr().err
    assert main(["convert", "none.pt", *arguments[2:]]) == 2


# --------------------------------------------------------------------------- published weights

PUBLISHED = {
    "bf_dncnn": ("bf-dncnn", "bias-free"),
    "bf_unet": ("bf-unet", "bias-free"),
    "dncnn_s": ("dncnn-s", "the state dict"),
    "dncnn_b": ("dncnn-b", "the state dict"),
    "kair_dncnn": ("dncnn-kair", "the state dict"),
    "pcst_dncnn": ("pcst-dncnn", "patch-craft"),
    "pcst_unet": ("bf-unet", "patch-craft"),
}
"""Beginning of the name of published weights: the network, and the layout of the authors' file."""


@pytest.mark.parametrize("old", [False, True])
def test_published_weights(old, write, out):
    """Each set, written as its authors did, comes back bit for bit."""
    from safetensors.torch import load_file

    paths = sorted((shared_folder() / "reference/patch_craft/weights").glob("*.safetensors"))
    assert len(paths) >= 14
    for path in paths:
        model, layout = next(v for k, v in PUBLISHED.items() if path.name.startswith(k))
        state = load_file(path)
        done = convert(write(LAYOUTS[layout](state)[0], legacy=old), model, out, overwrite=True)
        loaded = zoo.load(out).state_dict()
        assert done.left_out == [] and done.tensors == len(state)
        for key, tensor in state.items():
            found = loaded[key.removeprefix("module.")]
            # The reference gives counters of batches an axis, which the networks do not have.
            assert same(found.reshape(tuple(tensor.shape)), tensor), f"{path.name}: {key}"
