"""Which weights file a name means: a file, a run folder, or weights that came with the package."""

from __future__ import annotations

from pathlib import Path

FOLDER = Path(__file__).parent.parent / "weights"
"""Where the bundled weights are."""
DEFAULTS = {1: "bf-unet-gray", 3: "bf-unet-color"}
"""The bundled weights that `zoo denoise` uses, by the channels of a picture."""
IN_A_RUN = "model.safetensors"


def bundled_weights() -> dict[str, Path]:
    """The bundled weight files by name."""
    return {path.stem: path for path in sorted(FOLDER.glob("*.safetensors"))}


def default_weights() -> dict[int, Path]:
    """The bundled weights that are used when none are named, by the channels of a picture.

    Raises:
        FileNotFoundError: this installation lacks them.
    """
    paths = {channels: FOLDER / f"{name}.safetensors" for channels, name in DEFAULTS.items()}
    for channels, path in paths.items():
        if not path.is_file():
            raise FileNotFoundError(
                f"{path}: the bundled weights are missing; give --weights FILE, or train some with "
                f"`zoo train {DEFAULTS[channels]} --out RUN`"
            )
    return paths


def weights_file(name: str | Path) -> Path | None:
    """The weights file that `name` means; None when there is nothing of that name.

    A file, or the weights of a run folder, goes before bundled weights of the same name.

    Raises:
        FileNotFoundError: a folder without weights, or a missing `.safetensors` file.
    """
    path, bundled = Path(name), bundled_weights()
    if (path / IN_A_RUN).is_file():
        return path / IN_A_RUN
    if path.is_file():
        return path
    if str(name) in bundled:
        return bundled[str(name)]
    if path.suffix == ".safetensors" and not path.is_dir():
        raise FileNotFoundError(f"{path}: no such file")
    if path.is_dir():
        raise FileNotFoundError(
            f"{path}: a folder without {IN_A_RUN}; a run has it once its training is finished"
        )
    return None
