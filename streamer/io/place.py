"""Room for files, their final names, permissions and group; nothing is overwritten, no symbolic link is followed."""

from __future__ import annotations

import errno
import os
import shutil
import stat
from contextlib import suppress
from pathlib import Path

from streamer.frames import BadInput


def check_room(directory: Path, nbytes: int) -> None:
    """Before anything is made: an allocation that fails in the end has filled the disk for everybody until then.

    Raises OSError.
    """
    disk = os.statvfs(directory)
    if nbytes > disk.f_bavail * disk.f_frsize:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


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


def set_file_mode(mode: str) -> None:
    """Give all files that this process and its children make the permissions ``mode`` (octal), or fewer.

    Folders can be entered by whoever may read files.
    """
    files = int(mode, 8)
    os.umask(0o777 & ~(files | (files & 0o444) >> 2))


def give_to_group(directory: Path, group: str) -> None:
    """Have new files in a folder belong to a group. Raises BadInput when the folder cannot be set so."""
    found = directory.stat()
    try:
        shutil.chown(directory, group=group)
        directory.chmod(stat.S_IMODE(found.st_mode) | stat.S_ISGID)
    except LookupError as error:
        raise BadInput(f"writer.group: there is no group {group!r} on this machine") from error
    except OSError as error:
        way_out = f"let its owner do: chgrp {group} {directory}; chmod g+s {directory}"
        made = directory.stat()
        if not made.st_mode & stat.S_ISGID or directory.group() != group:
            raise BadInput(
                f"writer.group: {directory} cannot be given to {group}: {error.strerror}; {way_out}"
            ) from error
