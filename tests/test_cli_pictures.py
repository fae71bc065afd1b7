"""`zoo denoise` and `zoo evaluate` on what goes wrong: each file is told, none stops the others."""

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
from zoo.__main__ import main
from zoo.data.images import list_images
from zoo.data.picture import ImageError
from zoo.denoise import OutputError, check_output

ROOT = Path(zoo.__file__).parent.parent


@pytest.fixture
def weights(tmp_path):
    path = tmp_path / "net.safetensors"
    model = zoo.create("n2n-simple", features=4, rng=np.random.default_rng(0))
    zoo.save(path, model, {"recipe": 'name = "x"\nseed = 3'})
    return path


@pytest.fixture
def photos(tmp_path):
    folder = tmp_path / "photos"
    folder.mkdir()
    for number in range(2):
        levels = np.random.default_rng(number).integers(0, 256, (20, 30, 3), dtype=np.uint8)
        Image.fromarray(levels).save(folder / f"{number}.png")
    return folder


def run(capsys, *arguments):
    code = main([str(argument) for argument in arguments])
    out, err = capsys.readouterr()
    assert "Traceback" not in out + err
    return code, out, err


# --------------------------------------------------------------------------- denoise


def test_results_are_replaced_only_on_demand(weights, photos, tmp_path, capsys):
    base = ("denoise", photos, "--weights", weights, "--out", tmp_path / "out")
    assert run(capsys, *base)[0] == 0
    (tmp_path / "out" / "0.png").write_text("mine")
    (tmp_path / "out" / "1.png").unlink()
    code, out, err = run(capsys, *base)
    assert code == 2 and "1 of 2 pictures written" in out
    assert err.count("\n") == 1 and "0.png exists already; --overwrite" in err
    assert (tmp_path / "out" / "0.png").read_text() == "mine"
    assert run(capsys, *base, "--overwrite")[0] == 0
    with Image.open(tmp_path / "out" / "0.png") as image:
        assert image.size == (30, 20)


def test_an_empty_output_folder_is_refused(weights, photos, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    code, _, err = run(capsys, "denoise", photos, "--weights", weights, "--out", "")
    assert code == 2 and "got an empty text" in err
    assert not (tmp_path / "0.png").exists()


def test_sources_that_are_no_pictures(weights, photos, tmp_path, capsys):
    (tmp_path / "empty").mkdir()
    (tmp_path / "loop.png").symlink_to(tmp_path / "loop.png")
    below = photos / "0.png" / "y.png"
    sources = (tmp_path / "empty", tmp_path / "loop.png", below, photos / "1.png")
    out = tmp_path / "out"
    code, _, err = run(capsys, "denoise", *sources, "--weights", weights, "--out", out)
    assert code == 2 and err.count("\n") == 3
    assert f"{tmp_path / 'empty'}: holds no picture files" in err
    assert f"{tmp_path / 'loop.png'}: cannot be read:" in err
    assert f"{below}: cannot be read: Not a directory" in err
    assert [path.name for path in out.iterdir()] == ["1.png"]


def test_a_folder_that_cannot_be_read_is_a_wrong_input(photos, monkeypatch):
    def refuse(path):
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(Path, "iterdir", refuse)
    with pytest.raises(ImageError, match="photos: cannot be read: Permission denied"):
        list_images(photos)


def test_an_output_folder_that_is_a_loop(tmp_path):
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    assert check_output([tmp_path / "a.png"], tmp_path / "loop") == tmp_path / "loop"
    with pytest.raises(OutputError, match="inputs are never overwritten"):
        check_output([tmp_path / "a.png"], tmp_path)


def test_a_format_that_cannot_be_written_is_told_before_the_work(
    weights, photos, tmp_path, monkeypatch, capsys
):
    (photos / "0.png").rename(photos / "0.xyz")
    monkeypatch.setattr("zoo.denoise.denoise_image", lambda *_, **__: pytest.fail("computed"))
    out = tmp_path / "out"
    code, _, err = run(capsys, "denoise", photos / "0.xyz", "--weights", weights, "--out", out)
    assert code == 2 and "unknown picture format" in err


def test_a_network_with_fewer_channels_out_is_refused_at_once(photos, tmp_path, capsys):
    path = tmp_path / "narrow.safetensors"
    zoo.save(path, zoo.create("n2n-unet", out_channels=1))
    code, _, err = run(capsys, "denoise", photos, "--weights", path, "--out", tmp_path / "out")
    assert code == 2 and err.count("\n") == 1 and "gives 1 channel(s) for 3" in err
    assert not (tmp_path / "out").exists()
    code, _, err = run(capsys, "evaluate", path, "--data", photos, "--noise", "gaussian:25")
    assert code == 2 and "gives 1 channel(s) for 3" in err


@pytest.mark.parametrize("verb", ["denoise", "evaluate", "info"])
def test_all_verbs_find_weights_alike(verb, weights, photos, tmp_path, monkeypatch, capsys):
    def use(name):
        more = {
            "denoise": ("denoise", photos, "--overwrite", "--out", tmp_path / "o", "--weights"),
            "evaluate": ("evaluate", "--data", photos, "--noise", "gaussian:25"),
            "info": ("info",),
        }[verb]
        return run(capsys, *more, name)

    (tmp_path / "run").mkdir()
    code, _, err = use(tmp_path / "run")
    assert code == 2 and "run: a folder without model.safetensors" in err
    (tmp_path / "run" / "model.safetensors").write_bytes(weights.read_bytes())
    monkeypatch.setattr("zoo.inference.weights.FOLDER", tmp_path)
    for name in (weights, tmp_path / "run", "net"):
        assert use(name)[0] == 0
    code, _, err = use(tmp_path / "none.safetensors")
    assert code == 2 and "none.safetensors: no such file" in err


# --------------------------------------------------------------------------- evaluate


def test_evaluate_goes_on_after_a_bad_picture(weights, photos, capsys):
    (photos / "0.png").write_text("no picture")
    Image.new("RGB", (1, 1)).save(photos / "2.png")
    base = ("evaluate", weights, "--data", photos, "--noise", "gaussian:25")
    code, out, err = run(capsys, *base, "--json")
    found = json.loads(out)
    assert code == 2 and not found["ok"]
    assert [failure["name"] for failure in found["failures"]] == ["0.png"]
    assert [image["name"] for image in found["images"]] == ["1.png", "2.png"]
    assert f"{photos / '0.png'}: not a PNG" in err
    assert found["means"]["ssim"] == found["images"][0]["ssim"] is not None
    assert "mean over 1 of 2 pictures" in found["protocol"]["ssim"]
    code, out, _ = run(capsys, *base)
    assert code == 2 and "1.png" in out and "psnr_images" in out


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--limit", "-1"), "--limit: expected at least 1 picture, got -1"),
        (("--limit", "0"), "--limit: expected at least 1 picture, got 0"),
        (("--data", ""), "--data: expected a path, got an empty text"),
        (("--seed", "-1"), "--seed: must not be negative, got -1"),
        (("--noise", "gaussian:1e999"), "level must be finite, got inf"),
    ],
)
def test_wrong_arguments_are_named(arguments, words, weights, photos, capsys):
    base = ("evaluate", weights, "--data", photos, "--noise", "gaussian:25")
    code, _, err = run(capsys, *base, *arguments)
    assert code == 2 and words in err


def test_an_empty_text_is_no_path(weights, photos, tmp_path, capsys):
    for arguments in (
        ("denoise", photos, "--weights", "", "--out", tmp_path / "out"),
        ("denoise", "", "--out", tmp_path / "out"),
        ("train", "n2n-demo", "--data", "", "--out", tmp_path / "run"),
    ):
        code, _, err = run(capsys, *arguments)
        assert code == 2 and "expected a path, got an empty text" in err


def test_a_network_that_gives_nan_is_not_perfect(photos, tmp_path, capsys):
    model = zoo.create("dncnn-kair", features=2, depth=4, channels=3)
    for parameter in model.parameters():
        parameter.value[...] = 1e30
    zoo.save(tmp_path / "bad.safetensors", model)
    base = ("evaluate", tmp_path / "bad.safetensors", "--data", photos, "--noise", "gaussian:25")
    code, out, err = run(capsys, *base)
    assert code == 2 and "the network gives values that are not finite" in err and "inf" not in out


# --------------------------------------------------------------------------- names and output


def test_names_with_brackets_are_no_markup(weights, photos, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    for name in ("d[red]", "d["):
        photos = photos.rename(tmp_path / name)
        code, out, _ = run(capsys, "evaluate", weights, "--data", name, "--noise", "gaussian:25")
        assert code == 0 and f"on {name}" in out
    (tmp_path / "d[").rename(tmp_path / "x]")
    (tmp_path / "d[").mkdir()
    (tmp_path / "x]").rename(tmp_path / "d[" / "x]")
    code, out, _ = run(capsys, "evaluate", weights, "--data", "d[/x]", "--noise", "gaussian:25")
    assert code == 0 and "on d[/x]" in out


def test_names_that_are_no_text(weights, photos, tmp_path):
    strange = os.fsencode(photos) + b"/\xff.png"
    try:
        os.rename(photos / "0.png", strange)
    except OSError:
        pytest.skip("this file system takes no such names")
    paths = os.pathsep.join(filter(None, (str(ROOT), os.environ.get("PYTHONPATH"))))
    environment = {**os.environ, "PYTHONPATH": paths, "PYTHONIOENCODING": "utf-8:strict"}

    def program(*arguments):
        command = [sys.executable, "-m", "zoo", "denoise", photos, "--weights", weights, *arguments]
        return subprocess.run(
            command, capture_output=True, text=True, cwd=tmp_path, env=environment, timeout=120
        )

    done = program("--out", "one")
    assert done.returncode == 0 and "\\udcff.png" in done.stdout
    done = program("--out", "two", "--json")
    assert done.returncode == 0
    assert any(file["source"].endswith("\udcff.png") for file in json.loads(done.stdout)["files"])


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["info", "no-such-network", "--json"], 2, "no file and no network"),
        (["evaluate", "--json"], 2, "the following arguments are required"),
        (["nonsense", "--json"], 2, "nonsense"),
        (["list", "no-such-thing", "--json"], 2, "nothing matches"),
    ],
)
def test_a_failure_is_an_object_too(arguments, code, words, capsys):
    found, out, err = run(capsys, *arguments)
    assert found == code
    assert json.loads(out).items() >= {"ok": False, "exit_code": code}.items()
    assert words in json.loads(out)["error"] and words in err


def test_version(capsys):
    code, out, _ = run(capsys, "--version")
    assert (code, out) == (0, "zoo 0.1.0\n")


def test_info_shows_a_text_of_several_lines_as_such(weights, capsys):
    code, out, _ = run(capsys, "info", weights)
    assert code == 0
    lines = [line.strip() for line in out.splitlines()]
    place = lines.index("metadata         recipe =")
    assert lines[place + 1 : place + 3] == ['name = "x"', "seed = 3"]
