"""Whole pictures: tiles equal the whole, any size, any channels, files kept as they were."""

from __future__ import annotations

import dataclasses
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import zoo
from zoo.data.images import read_image
from zoo.denoise import ChannelError, denoise_files, denoise_image, find_pictures
from zoo.inference import tiling
from zoo.inference.receptive import receptive_field


def network(name="n2n-prelu-unet", seed=0, **arguments):
    return zoo.create(name, rng=np.random.default_rng(seed), **arguments)


def small(channels=3, dtype=np.float32):
    """A U-Net whose field is small enough for small pictures to need tiles."""
    return network(features=3, depth=2, channels=channels, dtype=dtype)


def whole(model, image):
    """The network's own answer for (H, W, C), in one pass."""
    return model.denoise(image.transpose(2, 0, 1)[None])[0].transpose(1, 2, 0)


def picture(height, width, channels=3, dtype=np.float32, seed=1):
    return np.random.default_rng(seed).random((height, width, channels)).astype(dtype)


# --------------------------------------------------------------------------- tiles


@pytest.mark.parametrize(
    ("name", "arguments", "size", "tile"),
    [
        ("n2n-simple", {}, (61, 83), 20),
        ("n2n-simple", {"upsampling": "nearest"}, (61, 83), 20),
        ("n2n-prelu-unet", {"features": 8}, (75, 230), 32),
        ("n2n-unet", {}, (30, 330), 128),
    ],
)
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_tiled_equals_whole(name, arguments, size, tile, dtype):
    """To rounding: in float32 twice what the network itself is off by, as both results are."""
    model = network(name, dtype=dtype, **arguments)
    image = picture(*size, dtype=dtype)
    calls = []
    tiled = denoise_image(model, image, tile=tile, progress=lambda *where: calls.append(where))
    expected = whole(model, image)
    exact = whole(network(name, dtype=dtype, **arguments).astype(np.float64), image.astype(float))
    bound = 1e-12 if dtype is np.float64 else 2 * np.abs(expected - exact).max()
    assert calls[-1][0] == calls[-1][1] > 2
    assert np.abs(tiled - expected).max() <= bound


def test_less_than_the_measured_overlap_is_not_enough():
    """The overlap is needed in full: one step of the grid less, and pixels change."""
    model = small(dtype=np.float64)
    field, image = receptive_field(model), picture(60, 90, dtype=np.float64)
    plan = tiling.plan(model, 60, 90, tile=12)
    assert plan.halo == field.halo
    expected = whole(model, image)
    assert np.abs(tiling.run(model, image, plan) - expected).max() <= 1e-12
    for side in range(4):
        halo = tuple(reach - 4 * (i == side) for i, reach in enumerate(plan.halo))
        short = dataclasses.replace(plan, halo=halo)
        assert np.abs(tiling.run(model, image, short) - expected).max() > 1e-12, f"side {side}"


@pytest.mark.parametrize("height", [1, 2, 3, 5, 16, 33])
@pytest.mark.parametrize("width", [1, 4, 7, 47])
def test_any_size(height, width):
    model, image = small(), picture(height, width)
    expected = whole(model, image)
    for tile in (None, 1, 8, 1000):
        assert np.allclose(denoise_image(model, image, tile=tile), expected, rtol=0, atol=1e-6)


def test_tiles_are_chosen_by_memory(monkeypatch):
    model = small()
    assert tiling.plan(model, 100, 100).whole
    per_pixel = tiling.bytes_per_pixel(model)
    assert per_pixel >= 4 * 3 * 2
    monkeypatch.setattr(tiling, "PROBE", 1)
    monkeypatch.setattr(tiling, "WORKING_BYTES", int(per_pixel * 120**2))
    assert tiling.plan(model, 100, 100).whole
    plan = tiling.plan(model, 300, 200)
    reads = [
        (b.read[0][1] - b.read[0][0]) * (b.read[1][1] - b.read[1][0])
        for b in tiling.boxes(plan, 300, 200, model.multiple)
    ]
    assert not plan.whole and not plan.note and max(reads) <= 120**2


def test_a_field_larger_than_the_memory_is_said(monkeypatch):
    model, image, said = small(), picture(50, 50), []
    monkeypatch.setattr(tiling, "PROBE", 1)
    monkeypatch.setattr(tiling, "WORKING_BYTES", 1000)
    result = denoise_image(model, image, notice=said.append)
    assert len(said) == 1 and "receptive field needs" in said[0] and "smallest tile" in said[0]
    assert np.allclose(result, whole(model, image), rtol=0, atol=1e-6)


def test_out_of_memory_halves_the_tile():
    model, image, said = small(), picture(90, 90), []
    expected, denoise = whole(model, image), model.denoise

    def on_a_small_machine(most):
        def limited(noisy, **given):
            if noisy.shape[2] * noisy.shape[3] > most:
                raise MemoryError
            return denoise(noisy, **given)

        return limited

    model.denoise = on_a_small_machine(60**2)
    result = denoise_image(model, image, tile=64, notice=said.append)
    assert np.allclose(result, expected, rtol=0, atol=1e-6)
    assert any("no memory for tiles" in line for line in said)
    model.denoise = on_a_small_machine(10)
    with pytest.raises(MemoryError, match="smallest tile"):
        denoise_image(model, image, tile=64)


# --------------------------------------------------------------------------- channels


def test_gray_picture_with_a_colour_network():
    model, gray = small(), picture(21, 30, 1)
    expected = whole(model, np.repeat(gray, 3, axis=2)).mean(axis=2)
    assert np.allclose(denoise_image(model, gray[:, :, 0]), expected, atol=1e-6)
    assert denoise_image(model, gray).shape == gray.shape


def test_colour_picture_with_a_gray_network():
    model, image = small(channels=1), picture(21, 30)
    result = denoise_image(model, image)
    for i in range(3):
        assert np.allclose(result[:, :, i], whole(model, image[:, :, i : i + 1])[:, :, 0])


@pytest.mark.parametrize("channels", [2, 4])
def test_alpha_is_returned_as_it_came(channels):
    image = picture(9, 14, channels)
    result = denoise_image(small(), image)
    assert np.array_equal(result[:, :, -1], image[:, :, -1])
    expected = denoise_image(small(), image[:, :, :-1])
    assert np.array_equal(result[:, :, :-1], expected)


def test_the_input_is_not_written_to_and_the_dtype_stays():
    image = picture(20, 20, dtype=np.float64)
    image.flags.writeable = False
    assert denoise_image(small(), image).dtype == np.float64


def test_wrong_arguments():
    model = small()
    with pytest.raises(TypeError, match="expected floats in"):
        denoise_image(model, np.zeros((4, 4, 3), np.uint8))
    with pytest.raises(ValueError, match=r"\(H, W\) or \(H, W, C\)"):
        denoise_image(model, np.zeros((1, 3, 4, 4)))
    with pytest.raises(ValueError, match=r"with 1 to 4 channels, got \(3, 40, 50\)"):
        denoise_image(network(channels=1), picture(40, 50).transpose(2, 0, 1))
    with pytest.raises(ValueError, match="ensemble: expected 1, 2, 4 or 8, got 3"):
        denoise_image(model, picture(4, 4), ensemble=3)
    with pytest.raises(ValueError, match="tile: expected at least 1"):
        denoise_image(model, picture(4, 4), tile=0)
    with pytest.raises(ChannelError, match=r"3 channel\(s\), but N2NPReLUUNet takes 2"):
        denoise_image(network(features=2, depth=2, channels=2), picture(4, 4))


# --------------------------------------------------------------------------- ensemble


def test_ensemble_is_the_mean_over_flips_and_turns():
    model, image = small(dtype=np.float64), picture(13, 22, dtype=np.float64)
    results = []
    for flip in (False, True):
        for turns in range(4):
            moved = np.rot90(image[:, ::-1] if flip else image, turns)
            undone = np.rot90(whole(model, moved), -turns)
            results.append(undone[:, ::-1] if flip else undone)
    found = denoise_image(model, image, ensemble=8)
    assert np.abs(found - np.mean(results, axis=0)).max() < 1e-12


def test_ensemble_commutes_with_flips_and_turns():
    model, image = small(dtype=np.float64), picture(16, 16, dtype=np.float64)
    straight = denoise_image(model, image, ensemble=8)
    for moved, undo in (
        (np.rot90(image), lambda y: np.rot90(y, -1)),
        (image[::-1], lambda y: y[::-1]),
    ):
        assert np.abs(undo(denoise_image(model, moved, ensemble=8)) - straight).max() < 1e-12


# --------------------------------------------------------------------------- files


def mixed_folder(folder: Path) -> Path:
    """Pictures of many kinds, and files that are none."""
    import png

    folder.mkdir()
    rng = np.random.default_rng(0)
    gray16 = rng.integers(0, 65536, (15, 21), dtype=np.uint16)
    colour16 = rng.integers(0, 65536, (13, 18, 3), dtype=np.uint16)
    with (folder / "gray16.png").open("wb") as file:
        png.Writer(21, 15, greyscale=True, bitdepth=16).write(file, gray16.tolist())
    with (folder / "rgb16.png").open("wb") as file:
        rows = colour16.reshape(13, -1).tolist()
        png.Writer(18, 13, greyscale=False, bitdepth=16).write(file, rows)
    alpha = rng.integers(0, 256, (17, 12, 4), dtype=np.uint8)
    Image.fromarray(alpha).save(folder / "rgba.png")
    colours = rng.integers(0, 256, (30, 31, 3), dtype=np.uint8)
    Image.fromarray(colours).quantize(16).save(folder / "palette.png")
    Image.fromarray(colours[:1, :1]).save(folder / "one.png")
    large = Image.fromarray(colours).resize((700, 500))
    large.save(folder / "large.jpg", quality=90)
    content = (folder / "large.jpg").read_bytes()
    (folder / "truncated.jpg").write_bytes(content[: len(content) // 2])
    (folder / "text.png").write_text("this is no picture\n")
    (folder / "notes.txt").write_text("left alone\n")
    (folder / ".hidden.png").write_bytes(b"")
    return folder


def test_mixed_folder(tmp_path):
    source = mixed_folder(tmp_path / "in")
    before = {path.name: path.read_bytes() for path in source.iterdir()}
    results = denoise_files(small(), [source], tmp_path / "out", tile=128)
    assert {path.name: path.read_bytes() for path in source.iterdir()} == before

    errors = {r.source.name: r.error for r in results if r.error}
    assert set(errors) == {"truncated.jpg", "text.png"}
    for name, error in errors.items():
        assert str(source / name) in error and "\n" not in error

    out = tmp_path / "out"
    good = {"gray16.png", "rgb16.png", "rgba.png", "palette.png", "one.png", "large.jpg"}
    assert {path.name for path in out.iterdir()} == good
    for name in good:
        old, new = read_image(source / name), read_image(out / name)
        assert (new.depth, new.pixels.shape) == (old.depth, old.pixels.shape), name
        assert (new.alpha is None) == (old.alpha is None), name
    kept = read_image(out / "rgba.png").alpha
    assert np.array_equal(kept, read_image(source / "rgba.png").alpha)
    assert read_image(out / "palette.png").mode == "RGB"
    with Image.open(out / "large.jpg") as image:
        assert image.format == "JPEG" and image.size == (700, 500)


def test_values_of_a_file_are_those_of_the_array(tmp_path):
    """16-bit values come out as the network's answer, rounded once."""
    source = mixed_folder(tmp_path / "in") / "rgb16.png"
    model = small()
    denoise_files(model, [source], tmp_path / "out")
    noisy = read_image(source).pixels.transpose(1, 2, 0)
    expected = np.rint(np.clip(denoise_image(model, noisy).astype(np.float64), 0, 1) * 65535)
    found = read_image(tmp_path / "out" / "rgb16.png").levels()
    assert np.array_equal(found, expected)


def test_inputs_are_never_overwritten(tmp_path):
    source = mixed_folder(tmp_path / "in")
    for sources in ([source], [source / "one.png"]):
        with pytest.raises(ValueError, match="inputs are never overwritten"):
            denoise_files(small(), sources, source)
    link = tmp_path / "link"
    link.symlink_to(source)
    with pytest.raises(ValueError, match="inputs are never overwritten"):
        denoise_files(small(), [source], link)
    with pytest.raises(ValueError, match="expected a folder"):
        denoise_files(small(), [source / "one.png"], source / "notes.txt")


def test_two_inputs_of_one_name(tmp_path):
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        Image.new("RGB", (5, 5)).save(tmp_path / folder / "same.png")
    results = denoise_files(small(), [tmp_path / "a", tmp_path / "b"], tmp_path / "out")
    assert results[0].error is None
    assert "same name as" in results[1].error
    (tmp_path / "a" / "same.png").write_text("no picture")
    results = denoise_files(small(), [tmp_path / "a", tmp_path / "b"], tmp_path / "other")
    assert results[0].error.startswith(f"{tmp_path / 'a' / 'same.png'}: ")
    assert results[1].error is None  # nothing is overwritten


def test_an_error_names_the_input(tmp_path):
    """Even where the output's name contains it."""
    file = Path(os.path.relpath(tmp_path / "x.jpg"))
    Image.new("RGBA", (5, 5)).save(file, format="PNG")
    (result,) = denoise_files(small(), [file], tmp_path / "out")
    assert result.error.startswith(f"{file}: ")


def test_a_full_disk_is_no_fault_of_the_file(tmp_path, monkeypatch):
    Image.new("RGB", (5, 5)).save(tmp_path / "a.png")

    def refuse(path, picture):
        raise OSError(28, "No space left on device", str(path))

    monkeypatch.setattr("zoo.data.pages.write_image", refuse)
    (result,) = denoise_files(small(), [tmp_path / "a.png"], tmp_path / "out")
    assert result.machine and "No space left on device" in result.error


def test_find_pictures(tmp_path):
    source = mixed_folder(tmp_path / "in")
    (tmp_path / "empty").mkdir()
    found, failures = find_pictures([source, tmp_path / "empty", "elsewhere.png", source])
    names = [path.name for path in found]
    assert [f.error for f in failures] == [f"{tmp_path / 'empty'}: holds no picture files"]
    assert names == [*sorted(names[:-1]), "elsewhere.png"]
    assert "notes.txt" not in names and ".hidden.png" not in names


# --------------------------------------------------------------------------- memory

PEAK = """
import sys
from zoo.__main__ import main
code = main(["denoise", sys.argv[1], "--weights", sys.argv[2], "--out", sys.argv[3]])
# Not getrusage: its maximum survives exec, and would be that of the test process.
status = dict(line.split(":", 1) for line in open("/proc/self/status"))
print(code, status["VmHWM"].split()[0])
"""


@pytest.mark.timeout(1200)
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="reads /proc")
@pytest.mark.parametrize(
    ("name", "width", "height", "most_mib"),
    [
        ("n2n-simple", 1600, 1200, 900),
        pytest.param("n2n-simple", 4000, 3000, 2048, marks=pytest.mark.proof),
        pytest.param("n2n-prelu-unet", 4000, 3000, 2048, marks=pytest.mark.proof),
    ],
)
def test_memory_of_a_large_picture(tmp_path, name, width, height, most_mib):
    if width == 4000 and os.environ.get("MINIGRAD_PROOF") != "1":
        pytest.skip("set MINIGRAD_PROOF=1")
    levels = np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)
    Image.fromarray(levels).save(tmp_path / "large.png", compress_level=1)
    zoo.save(tmp_path / "net.safetensors", network(name))
    command = [sys.executable, "-c", PEAK]
    arguments = [tmp_path / "large.png", tmp_path / "net.safetensors", tmp_path / "out"]
    done = subprocess.run(
        [*command, *map(str, arguments)], capture_output=True, text=True, check=True
    )
    code, kib = map(int, done.stdout.split("\n")[-2].split())
    assert code == 0
    assert kib / 1024 <= most_mib
    assert read_image(tmp_path / "out" / "large.png").size == (height, width)


def test_gray_and_colour_pictures_by_networks_of_their_own(tmp_path):
    folder = tmp_path / "in"
    folder.mkdir()
    rng = np.random.default_rng(0)
    for name, shape in (
        ("gray.png", (20, 30)),
        ("both.png", (20, 30, 2)),
        ("colour.png", (20, 30, 3)),
    ):
        Image.fromarray(rng.integers(0, 256, shape, dtype=np.uint8)).save(folder / name)
    gray, colour = small(channels=1), small(channels=3)
    for model, out in (({1: gray, 3: colour}, "two"), (colour, "one")):
        assert all(r.error is None for r in denoise_files(model, [folder], tmp_path / out))
    for name, model in (("gray.png", gray), ("both.png", gray), ("colour.png", colour)):
        noisy = read_image(folder / name).pixels.transpose(1, 2, 0)
        expected = np.round(255 * np.clip(denoise_image(model, noisy), 0, 1))
        found = 255 * read_image(tmp_path / "two" / name).pixels.transpose(1, 2, 0)
        np.testing.assert_allclose(found, expected, atol=1e-3)
    assert (tmp_path / "two" / "gray.png").read_bytes() != (
        tmp_path / "one" / "gray.png"
    ).read_bytes()
