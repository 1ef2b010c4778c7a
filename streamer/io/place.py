"""Files get their final names without overwriting anything and without following a symbolic link."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path


def place(temporary: Path, path: Path) -> Path:
    """Rename ``temporary`` to ``path``, and give ``path``. Raises FileExistsError when something has that name."""
    try:
        os.link(temporary, path, follow_symlinks=False)  # the one call that gives a name only when it is free
    except FileExistsError:
        raise
    except OSError:  # a file system without hard links
        if os.path.lexists(path):
            raise FileExistsError(path) from None
        return temporary.rename(path)
    with suppress(OSError):
        temporary.unlink()
    return path
