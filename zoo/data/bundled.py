"""The bundled photographs: where they lie, and their names.

Licences and authors of every file stand in `samples/SOURCES.md`.
"""

from __future__ import annotations

from importlib import resources
from pathlib import Path

from zoo.data.images import list_images


def samples_dir(part: str | None = None) -> Path:
    """The folder of the bundled photographs; `part` is "train", "test" or None for both's parent.

    The two parts have no photograph in common.
    """
    if part not in (None, "train", "test"):
        raise ValueError(f"samples_dir: part must be 'train', 'test' or None, got {part!r}")
    root = Path(str(resources.files("zoo.data"))) / "samples"
    return root if part is None else root / part


def sample_files(part: str) -> list[Path]:
    """The bundled photographs of `part` ("train" or "test"), by name."""
    return list_images(samples_dir(part))
