"""The command line: what it prints, what it ends with, in this process and as a program."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import zoo
from minigrad import DeviceError, resolve_device
from zoo.__main__ import main

VERBS = ("list", "info", "train", "resume", "evaluate", "denoise", "convert", "report", "doctor")
ROOT = Path(zoo.__file__).parent.parent


def program(*arguments, cwd, **environment):
    """The command as a program of its own."""
    paths = os.pathsep.join(filter(None, (str(ROOT), os.environ.get("PYTHONPATH"))))
    return subprocess.run(
        [sys.executable, "-m", "zoo", *map(str, arguments)],
        capture_output=True,
        text=True,
        cwd=cwd,
        env={**os.environ, "PYTHONPATH": paths, **environment},
        timeout=120,
    )


@pytest.fixture
def weights(tmp_path):
    path = tmp_path / "net.safetensors"
    model = zoo.create("n2n-simple", features=4, rng=np.random.default_rng(0))
    zoo.save(path, model, {"noise": "gaussian:25"})
    return path


@pytest.fixture
def photos(tmp_path):
    folder = tmp_path / "photos"
    folder.mkdir()
    for number, (height, width) in enumerate([(40, 52), (33, 47)]):
        levels = np.random.default_rng(number).integers(0, 256, (height, width, 3), dtype=np.uint8)
        Image.fromarray(levels).save(folder / f"{number}.png")
    return folder


def said(capsys):
    """(standard output, standard error), and the JSON object when the output is one."""
    out, err = capsys.readouterr()
    assert "Traceback" not in out + err
    return out, err


# --------------------------------------------------------------------------- all verbs


@pytest.mark.parametrize("verb", VERBS)
def test_help_has_an_example_and_the_exit_codes(verb, capsys):
    assert main([verb, "--help"]) == 0
    out, _ = said(capsys)
    assert f"  zoo {verb}" in out.split("example:")[1]
    assert "2 wrong usage or input; 3 disk or device" in out and "--json" in out


def test_top_level_help(capsys):
    assert main(["--help"]) == 0
    out, _ = said(capsys)
    assert all(verb in out for verb in VERBS)
    assert "MINIGRAD_KEEP_BLAS_CORE" in out


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["nonsense"],
        ["denoise"],
        ["denoise", "a.png"],
        ["train", "n2n-demo"],
        ["evaluate", "net.safetensors"],
        ["list", "--nonsense"],
        ["denoise", "a.png", "--out", "x", "--ensemble", "3"],
    ],
)
def test_wrong_usage_ends_with_2(arguments, capsys):
    assert main(arguments) == 2
    assert "usage: zoo" in said(capsys)[1]


def test_an_unexpected_error_is_one_line(monkeypatch, capsys):
    def broken(args):
        raise RuntimeError("something\nodd")

    monkeypatch.setattr("zoo.cli.models.run_list", broken)
    assert main(["list"]) == 1
    assert (
        said(capsys)[1] == "zoo list: RuntimeError: something odd (ZOO_TRACEBACK=1 shows where)\n"
    )
    monkeypatch.setenv("ZOO_TRACEBACK", "1")
    with pytest.raises(RuntimeError):
        main(["list"])


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (MemoryError(), 3),
        (OSError(28, "No space left on device", "x.png"), 3),
        (KeyboardInterrupt(), 130),
        (DeviceError("device 'cuda' cannot be used"), 3),
    ],
)
def test_exit_codes_of_the_machine(error, code, monkeypatch, capsys):
    def broken(args):
        raise error

    monkeypatch.setattr("zoo.cli.models.run_list", broken)
    assert main(["list"]) == code
    assert said(capsys)[1].startswith("zoo list: ")


# --------------------------------------------------------------------------- list, info


def test_list(capsys):
    assert main(["list"]) == 0
    out, _ = said(capsys)
    assert all(name in out for name in ("n2n-unet", "n2n-prelu-unet", "n2n-demo"))
    assert main(["list", "n2n-*unet", "--json"]) == 0
    found = json.loads(said(capsys)[0])
    assert [model["name"] for model in found["models"]] == ["n2n-prelu-unet", "n2n-unet"]
    assert main(["list", "n2n-smple"]) == 2
    assert "nearest: n2n-simple" in said(capsys)[1]


def test_info_of_a_name(capsys):
    assert main(["info", "n2n-prelu-unet", "--json"]) == 0
    out, err = said(capsys)
    found = json.loads(out)
    assert err.startswith("device: cpu")
    assert found["parameters"] == 211_845
    assert sum(layer["parameters"] for layer in found["layers"]) == 211_845
    assert found["macs"] == 70_659_072  # of one 32x32 picture
    assert found["multiple"] == 16
    assert found["receptive_field"]["size"] == [144, 144]
    assert found["layers"][0]["path"] == "conv0"
    assert found["layers"][0]["output"] == [1, 32, 32, 32]


def test_info_of_a_file(weights, capsys):
    assert main(["info", str(weights), "--size", "33"]) == 0
    out, _ = said(capsys)
    assert out.startswith("device: cpu")
    assert "1x3x36x36" in out  # padded to a multiple of 4
    assert "4 x 4 pixels for an aligned 4 x 4 block" in out
    assert "noise = gaussian:25" in out


def test_info_of_networks_that_take_every_size(capsys):
    assert main(["info", "bf-unet", "--size", "33"]) == 0
    out = said(capsys)[0]
    assert "1x1x33x33" in out and "any; tiles begin on a grid of 2" in out
    assert main(["info", "dncnn-s"]) == 0
    assert "35 x 35 pixels for one pixel of the output" in said(capsys)[0]
    assert main(["info", "bf-unet", "--json"]) == 0
    found = json.loads(said(capsys)[0])
    assert (found["multiple"], found["grid"], found["receptive_field"]["block"]) == (1, 2, 2)


@pytest.mark.parametrize("verb", ["info", "evaluate"])
def test_unknown_models_are_answered_with_the_nearest(verb, capsys):
    more = ["--noise", "gaussian:25"] if verb == "evaluate" else []
    assert main([verb, "n2n-unett", *more]) == 2
    assert "nearest: n2n-unet" in said(capsys)[1]
    assert main([verb, "missing.safetensors", *more]) == 2
    assert "missing.safetensors: no such file" in said(capsys)[1]


def test_a_file_that_holds_no_network(tmp_path, capsys):
    path = tmp_path / "broken.safetensors"
    path.write_bytes(b"no tensors here")
    assert main(["info", str(path)]) == 2
    err = said(capsys)[1]
    assert str(path) in err and err.count("\n") == 1


# --------------------------------------------------------------------------- train, resume, report

TINY = [
    *("--set", "stages.0.steps=4", "--set", "stages.0.batch=4", "--set", "stages.0.log_every=2"),
    *("--set", "validation.every=2", "--set", "validation.images=4"),
    *("--set", "checkpoint.every=2", "--set", "model_args.features=2"),
]


def test_train_resume_and_report(tmp_path, capsys):
    run = tmp_path / "run"
    assert main(["train", "n2n-demo", "--out", str(run), "--device", "cpu", *TINY]) == 0
    out, _ = said(capsys)
    assert out.startswith("device: cpu") and out.count("device:") == 1
    assert "PSNR, mean over pictures" in out and "psnr_global" in out
    assert (run / "model.safetensors").is_file()

    assert main(["resume", str(run), "--json", "--device", "cpu"]) == 0
    found = json.loads(said(capsys)[0])
    assert found["ok"] and found["step"] == 4 and found["cause"] == "finished"

    pytest.importorskip("matplotlib")
    assert main(["report", str(run), "--json"]) == 0
    files = json.loads(said(capsys)[0])["files"]
    assert all(Path(file).is_file() for file in files) and len(files) == 3

    assert main(["evaluate", str(run), "--noise", "subpixel:8", "--limit", "1", "--json"]) == 0
    assert json.loads(said(capsys)[0])["protocol"]["noise"].startswith("subpixel:8")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["train", "n2n-dmo", "--out", "x"], "n2n-demo"),
        (["train", "n2n-demo", "--out", "x", "--set", "stages.0.stps=3"], "'steps'"),
        (["train", "n2n-demo", "--out", "x", "--set", "stages.0.steps=many"], "an integer"),
        (["train", "n2n-demo", "--out", "x", "--data", "nowhere"], "nowhere: --data: no such"),
        (["resume", "nowhere"], "nowhere: no such run folder"),
        (["report", "nowhere"], "nowhere: no such run folder"),
        (["resume", "."], "config.toml is missing"),
        (["report", "."], "config.toml is missing"),
    ],
)
def test_wrong_input_of_training_ends_with_2(arguments, words, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(arguments) == 2
    assert words in said(capsys)[1]
    assert not (tmp_path / "x").exists()


# --------------------------------------------------------------------------- evaluate


def test_evaluate(weights, photos, capsys):
    base = ["evaluate", str(weights), "--data", str(photos), "--noise", "gaussian:25"]
    assert main([*base, "--json"]) == 0
    found = json.loads(said(capsys)[0])
    assert [image["name"] for image in found["images"]] == ["0.png", "1.png"]
    names = {"psnr_images", "psnr_global", "ssim"}
    assert set(found["means"]) == names | {f"{name}_noisy" for name in names}
    assert "default_rng(0)" in found["protocol"]["noise"]
    assert {"output", "border", "seed", "psnr", "ssim"} <= set(found["protocol"])

    # The protocol, by hand.
    first = np.asarray(Image.open(photos / "0.png"), np.float32).transpose(2, 0, 1) / 255
    white = np.random.default_rng(0).standard_normal(first.shape, dtype=np.float32)
    noisy = first + white * np.float32(25 / 255)
    clean = np.clip(zoo.load(weights).denoise(noisy[None])[0], 0, 1)
    for name, picture in (("psnr_noisy", noisy), ("psnr", clean)):
        expected = -10 * np.log10(np.mean((picture - first).astype(np.float64) ** 2))
        assert abs(found["images"][0][name] - expected) < 1e-4
    values = [image["psnr"] for image in found["images"]]
    assert abs(found["means"]["psnr_images"] - np.mean(values)) < 1e-9
    assert found["means"]["psnr_global"] != found["means"]["psnr_images"]

    assert main([*base, "--seed", "1", "--ensemble", "8", "--limit", "1"]) == 0
    out, _ = said(capsys)
    assert out.startswith("device:")
    assert "protocol: seed" in out and "8 flips and turns" in out and "1.png" not in out


def test_evaluate_other_laws_and_sizes(weights, tmp_path, capsys):
    Image.new("L", (9, 30), 90).save(tmp_path / "narrow.png")
    base = ["evaluate", str(weights), "--data", str(tmp_path), "--json", "--noise"]
    assert main([*base, "poisson:30"]) == 0
    assert json.loads(said(capsys)[0])["images"][0]["ssim"] is None  # smaller than its window
    assert main([*base, "subpixel:3"]) == 0
    assert json.loads(said(capsys)[0])["images"][0]["height_width"] == [10, 3]
    assert main([*base, "subpixel:16"]) == 2
    out, err = said(capsys)
    assert "narrow.png: 9x30 pixels are too few for subpixel:16" in err
    assert json.loads(out)["images"] == [] and not json.loads(out)["ok"]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"noise": "gausian:25"}, "gaussian"),
        ({"data": "nowhere"}, "nowhere: --data: no such folder"),
        ({"data": "."}, "holds no picture files"),
        ({"model": "n2n-simple"}, "network without weights"),
    ],
)
def test_wrong_input_of_evaluate(change, words, weights, tmp_path, monkeypatch, capsys):
    (tmp_path / "empty").mkdir()
    monkeypatch.chdir(tmp_path / "empty")
    use = {"model": str(weights), "data": "..", "noise": "gaussian:25", **change}
    assert main(["evaluate", use["model"], "--data", use["data"], "--noise", use["noise"]]) == 2
    assert words in said(capsys)[1]


# --------------------------------------------------------------------------- denoise


def test_denoise(weights, photos, tmp_path, capsys):
    out = tmp_path / "out"
    base = ["denoise", str(photos), "--weights", str(weights), "--out", str(out)]
    assert main([*base, "--ensemble", "8", "--tile", "16"]) == 0
    text, err = said(capsys)
    assert text.startswith("device:") and "2 of 2 pictures written" in text and err == ""
    assert {path.name for path in out.iterdir()} == {"0.png", "1.png"}
    (photos / "bad.png").write_text("no picture")
    assert main([*base, "--overwrite", "--json"]) == 2
    text, err = said(capsys)
    files = json.loads(text)["files"]
    assert [Path(file["source"]).name for file in files if file["error"]] == ["bad.png"]
    assert sum("bad.png" in line for line in err.splitlines() if "1/3" not in line) >= 1


def test_wrong_input_of_denoise(weights, photos, tmp_path, capsys):
    def run(*arguments):
        code = main(["denoise", *map(str, arguments)])
        return code, said(capsys)[1]

    code, err = run(photos, "--weights", weights, "--out", photos)
    assert code == 2 and "inputs are never overwritten" in err
    code, err = run(photos, "--weights", weights, "--out", tmp_path / "o", "--tile", 0)
    assert code == 2 and "--tile: expected at least 1" in err
    code, err = run(photos, "--weights", tmp_path / "no.safetensors", "--out", tmp_path / "o")
    assert code == 2 and "no.safetensors: no such file" in err
    code, err = run(tmp_path / "no.png", "--weights", weights, "--out", tmp_path / "o")
    assert code == 2 and "no.png" in err and err.count("\n") == 1
    (tmp_path / "empty").mkdir()
    code, err = run(tmp_path / "empty", "--weights", weights, "--out", tmp_path / "o")
    assert code == 2 and "holds no picture files" in err


def test_missing_bundled_weights_are_said(photos, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("zoo.inference.weights.DEFAULTS", {1: "none", 3: "none"})
    assert main(["denoise", str(photos), "--out", str(tmp_path / "out")]) == 2
    assert "give --weights FILE" in said(capsys)[1]


# --------------------------------------------------------------------------- the device


def cuda_is_usable():
    try:
        return resolve_device("cuda") == "cuda"
    except DeviceError:
        return False


@pytest.mark.skipif(cuda_is_usable(), reason="there is a GPU")
def test_cuda_without_a_gpu_ends_with_3(weights, photos, tmp_path, capsys):
    out = str(tmp_path / "out")
    for arguments in (
        ["denoise", str(photos), "--weights", str(weights), "--out", out],
        ["evaluate", str(weights), "--data", str(photos), "--noise", "gaussian:25"],
        ["train", "n2n-demo", "--out", out],
    ):
        assert main([*arguments, "--device", "cuda"]) == 3
        text, err = said(capsys)
        assert text == "" and "cannot be used" in err and "cupy-cuda" in err
    assert not Path(out).exists()


# --------------------------------------------------------------------------- as a program


def test_exit_codes_as_a_program(weights, photos, tmp_path):
    good = program("denoise", photos / "0.png", "--weights", weights, "--out", "out", cwd=tmp_path)
    assert good.returncode == 0 and good.stdout.startswith("device: ") and good.stderr == ""
    (photos / "bad.png").write_text("no picture")
    mixed = program("denoise", photos, "--weights", weights, "--out", "mixed", cwd=tmp_path)
    assert mixed.returncode == 2
    assert mixed.stderr.count("\n") == 1 and "bad.png" in mixed.stderr
    (tmp_path / "file").write_text("")
    disk = program(
        "denoise", photos / "0.png", "--weights", weights, "--out", "file/out", cwd=tmp_path
    )
    assert disk.returncode == 3 and "Traceback" not in disk.stderr
    assert program("info", "n2n-smple", cwd=tmp_path).returncode == 2
    assert program("nonsense", cwd=tmp_path).returncode == 2


def test_core_type_of_a_program(tmp_path):
    """The user's variable is kept and named in the first line."""
    done = program("info", "n2n-simple", cwd=tmp_path, OPENBLAS_CORETYPE="Haswell")
    first = done.stdout.splitlines()[0]
    assert first == "device: cpu; OPENBLAS_CORETYPE=Haswell (from the environment)"


def test_a_closed_pipe_is_no_error(tmp_path):
    command = f"'{sys.executable}' -m zoo list | head -n 1"
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        ["sh", "-c", command], capture_output=True, text=True, cwd=tmp_path, env=environment
    )
    assert "Traceback" not in done.stderr and "BrokenPipe" not in done.stderr


def test_help_is_quick_to_import(tmp_path):
    """Building the parser loads neither NumPy's users nor rich."""
    code = (
        "import sys, types\n"
        "package = types.ModuleType('zoo'); package.__path__ = [sys.argv[1] + '/zoo']\n"
        "sys.modules['zoo'] = package\n"
        "import zoo.__main__\n"
        "zoo.__main__.parser()\n"
        "print([m for m in ('numpy', 'rich', 'PIL', 'matplotlib') if m in sys.modules])\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(ROOT)],
        capture_output=True,
        text=True,
        check=True,
        cwd=ROOT,
    )
    assert done.stdout == "[]\n"
