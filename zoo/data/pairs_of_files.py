"""Folders of photographs in pairs, one noisy and one clean, told by their names."""

from __future__ import annotations

import re
from pathlib import Path

from zoo.data.images import SUFFIXES
from zoo.data.picture import ImageError

_NAMES = (("_real", "_mean"), ("NOISY", "GT"), ("_noisy", "_clean"))
"""What stands in the names of noisy pictures, and in its place in those of clean ones."""


def paired_files(folder: str | Path) -> list[tuple[Path, Path]]:
    """(noisy, clean) files in a folder and the folders in it, in order of their names.

    A noisy picture has `_real`, `NOISY` or `_noisy` in its name, its clean one `_mean`, `GT` or
    `_clean` in that place and all else alike, but for the suffix.

    Raises:
        ImageError: no such folder, or no pair in it.
    """
    root = Path(folder)
    if not root.is_dir():
        raise ImageError(root, "no such folder")
    found = sorted(p for p in root.rglob("*") if p.suffix.lower() in SUFFIXES)
    by_name = {str(path.with_suffix("")): path for path in found}
    pairs = []
    for path in found:
        for noisy, clean in _NAMES:
            other = re.sub(noisy, clean, path.stem)
            if noisy in path.stem and (partner := by_name.get(str(path.with_name(other)))):
                pairs.append((path, partner))
                break
    if not pairs:
        told = ", ".join(f"{noisy} and {clean}" for noisy, clean in _NAMES)
        raise ImageError(root, f"holds no pairs of pictures; names differ by {told}")
    return pairs
