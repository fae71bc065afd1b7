"""A picture file made anew, page by page: what is in memory is one page."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator
from pathlib import Path

from minigrad.files import replacing
from zoo.data import tiff
from zoo.data.images import check_writable, count_pages, read_image, read_pages, write_image
from zoo.data.picture import ImageError, Picture

Change = Callable[[Picture, int, int], Picture]
"""From a picture, the number of its page from 0 on, and how many there are, to another picture."""


def change_file(source: Path, target: Path, change: Change) -> tuple[int, int]:
    """Write `target` with every page of `source` changed; returns (height, width) of the last.

    A TIFF file of many pages is read and written page by page, each with its depth. The target
    appears whole or not at all.

    Raises: ImageError for a source that cannot be read, or a target that cannot hold it; OSError
    when the disk refuses.
    """
    pages = count_pages(source)
    if pages == 1:
        picture = read_image(source)
        check_writable(target, picture)
        changed = change(picture, 0, 1)
        write_image(target, changed)
        return changed.size
    if target.suffix.lower() not in (".tif", ".tiff"):
        raise ImageError(source, f"{pages} pages, which {target.suffix} does not hold")
    size = (0, 0)

    def changed_pages() -> Iterator[Picture]:
        nonlocal size
        for number in range(pages):
            picture = change(read_pages(source, slice(number, number + 1))[0], number, pages)
            size = picture.size
            yield picture

    with replacing(target) as file:
        tiff.write_pages(file, target, changed_pages())
    return size


def draw_path(folder: Path, file: Path, number: int, page: int, pages: int) -> Path:
    """Where a draw of a page of a picture is kept, both counted from 0: NAME-001, or with many
    pages NAME-page1-001.
    """
    where = f"-page{page + 1}" if pages > 1 else ""
    return folder / f"{file.stem}{where}-{number + 1:03d}{file.suffix}"


def found_there(target: Path, folder: Path | None) -> Path | None:
    """What a result would replace: the file `target`, or a draw of its name in the folder."""
    if os.path.lexists(target):
        return target
    name = re.compile(rf"{re.escape(target.stem)}(-page\d+)?-\d{{3,}}{re.escape(target.suffix)}")
    there = folder.iterdir() if folder is not None and folder.is_dir() else ()
    return next((path for path in there if name.fullmatch(path.name)), None)
