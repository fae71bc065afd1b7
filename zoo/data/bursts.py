"""Bursts: several pictures of one scene, from a folder of frames or a TIFF file of many pages.

A burst is an array (C, T, H, W), float32 in [0, 1]: channels, frames, height, width.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from zoo.data.images import count_pages, list_images, natural_order, read_image, read_pages
from zoo.data.picture import ImageError, Picture, with_channels


def list_bursts(folder: str | Path) -> list[Path]:
    """The bursts in a folder, by name: its folders of pictures and its TIFF files of many pages.

    A folder that has neither, but pictures, is one burst. A path of a file gives that file.

    Raises: ImageError when nothing is found, or when single pictures lie beside the bursts.
    """
    folder = Path(folder)
    files = list_images(folder)
    if folder.is_file():
        return files
    stacks = [file for file in files if count_pages(file) > 1]
    single = [file for file in files if file not in stacks]
    inside = [item for item in folder.iterdir() if item.is_dir() and not item.name.startswith(".")]
    bursts = sorted([*stacks, *(item for item in inside if list_images(item))])
    if bursts and single:
        raise ImageError(single[0], f"a single picture beside bursts such as {bursts[0].name}")
    if not bursts and not single:
        raise ImageError(folder, "no burst: no folder of pictures, no TIFF of many pages")
    return bursts or [folder]


def frame_count(path: str | Path) -> int:
    """Number of frames of a burst: pictures in a folder, or pages of a TIFF file.

    Raises: ImageError with the path and the reason.
    """
    path = Path(path)
    return count_pages(path) if path.is_file() else len(list_images(path))


def read_burst(
    path: str | Path, *, first: int = 0, frames: int | None = None, channels: int | None = 3
) -> np.ndarray:
    """Frames `first` to `first + frames` of a burst (None: to the end), (C, T, H, W).

    path: a folder, whose pictures are the frames, in the order of their names (numbers in them by
    value: 9.png before 10.png), or a TIFF file, whose pages are. 8 and 16 bits are both brought to
    [0, 1]; alpha is dropped.
    channels: 3 repeats gray frames, 1 takes the luma of colour frames, None keeps what there is.

    Raises: ImageError when a file cannot be read, when there are too few frames, or when frames
    differ in size, or some are gray and some in colour.
    """
    path = Path(path)
    held = frame_count(path)
    last = held if frames is None else first + frames
    if not 0 <= first < last <= held:
        wanted = f"frames {first} to {last - 1}" if last > first else "no frame"
        raise ImageError(path, f"{held} frames in the burst, {wanted} asked for")
    names, pictures = _frames(path, slice(first, last))
    for name, picture in zip(names, pictures, strict=True):
        _check_alike(name, picture, names[0], pictures[0])
    wanted_channels = len(pictures[0].pixels) if channels is None else channels
    planes = [with_channels(picture.pixels, wanted_channels) for picture in pictures]
    return np.stack(planes, axis=1)  # (C, T, H, W)


def _frames(path: Path, which: slice) -> tuple[list[str], list[Picture]]:
    if path.is_file():
        pages = read_pages(path, which)
        return [f"{path}: page {which.start + i}" for i in range(len(pages))], pages
    files = sorted(list_images(path), key=natural_order)[which]
    return [str(file) for file in files], [read_image(file) for file in files]


def _check_alike(name: str, picture: Picture, first_name: str, first: Picture) -> None:
    for what, found, expected in (
        ("size", *(f"{p.size[0]}x{p.size[1]}" for p in (picture, first))),
        ("kind", *(("gray" if len(p.pixels) == 1 else "colour") for p in (picture, first))),
    ):
        if found != expected:
            reason = f"frames of one burst must agree in {what}: {found} here, {expected} in"
            raise ImageError(name, f"{reason} {first_name}")
