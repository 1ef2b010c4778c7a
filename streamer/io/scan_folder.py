"""Makes and finds the folders of scans. No symbolic link is followed, so that none leads out of the daemon's folder."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

from streamer.frames import BadInput

INTO = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


def make_folder(root: Path, names: tuple[str, ...], prepare: Callable[[Path], object]) -> Path:
    """Make folders one in the other below ``root``, and give the innermost. ``prepare`` is called with each new one.

    Raises BadInput when one of the names is something else than a folder, such as a symbolic link, or cannot be made.
    """
    path = root
    try:
        here = os.open(root, INTO)
        try:
            for name in names:
                path, made = path / name, True
                try:
                    os.mkdir(name, dir_fd=here)
                except FileExistsError:
                    made = False
                inner = os.open(name, INTO, dir_fd=here)
                os.close(here)
                here = inner
                if made:
                    _prepared(path, prepare)
        finally:
            os.close(here)
    except OSError as error:
        raise BadInput(f"{path}: no folder can be made there: {(error.strerror or str(error)).lower()}") from error
    return path


def _prepared(path: Path, prepare: Callable[[Path], object]) -> None:
    try:
        prepare(path)
    except BaseException:
        with suppress(OSError):
            path.rmdir()  # the next scan would take it for one that was prepared
        raise


def remove_empty(folder: Path, root: Path) -> None:
    """Remove a folder and those around it, as far as they are empty, below ``root``."""
    with suppress(OSError):
        while folder != root and folder.is_relative_to(root):
            folder.rmdir()
            folder = folder.parent


def folders_below(root: Path, depth: int) -> Iterator[Path]:
    """The folders that lie so deep below ``root``."""
    if depth == 0:
        yield root
        return
    with suppress(OSError), os.scandir(root) as entries:
        for entry in entries:
            if entry.is_dir(follow_symlinks=False):
                yield from folders_below(root / entry.name, depth - 1)
