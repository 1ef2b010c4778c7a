"""An export has a name of its own until it is whole, and is removed when it does not get there."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from streamer.frames import BadInput, system_reason
from streamer.io.place import check_room, place

Tell = Callable[[int, int], None]
"""Called with the number of steps that are done, and of all steps."""


@contextmanager
def unfinished(path: Path, nbytes: int = 0) -> Iterator[Path]:
    """Give the path at which a file or a folder is to be made; in the end it becomes ``path``.

    It lies in a folder ``NAME.partial-…`` beside ``path``, which is removed whatever happens, but for a process that is
    killed. Raises BadInput when ``path`` exists, before or after the work, or when there is no room for it: ``nbytes``
    are known to be needed.
    """
    if os.path.lexists(path):
        raise BadInput(f"{path}: exists already and is never overwritten; choose another name")
    try:
        check_room(path.parent, nbytes)
        folder = Path(tempfile.mkdtemp(prefix=f"{path.name}.partial-", dir=path.parent))
    except OSError as error:
        raise BadInput(f"{path}: cannot be made ({system_reason(error)})") from error
    try:
        made = folder / path.name
        yield made
        if made.is_dir():
            made.rename(path)  # fails where something has that name, unless it is an empty folder
        else:
            place(made, path)
    except FileExistsError as error:
        raise BadInput(f"{path}: exists already and is never overwritten; choose another name") from error
    except OSError as error:
        raise BadInput(f"{path}: cannot be made ({system_reason(error)})") from error
    finally:
        shutil.rmtree(folder, ignore_errors=True)
