"""Whether a scan has room in a folder."""

from __future__ import annotations

import os
from pathlib import Path

from streamer.frames import BadInput


def free_bytes(directory: Path) -> int:
    """Bytes that this user may still write there."""
    stat = os.statvfs(directory)
    return stat.f_bavail * stat.f_frsize


def check_space(directory: Path, nbytes: int, reserve_bytes: int) -> None:
    """Raises BadInput unless ``directory`` can be written and has room for ``nbytes`` and the reserve."""
    if not directory.is_dir():
        raise BadInput(f"{directory}: no such folder; make it or set another one")
    if not os.access(directory, os.W_OK | os.X_OK):
        raise BadInput(f"{directory}: may not be written by this user")
    free = free_bytes(directory)
    if os.statvfs(directory).f_flag & os.ST_RDONLY:
        raise BadInput(f"{directory}: lies on a read-only file system")
    if free < nbytes + reserve_bytes:
        raise BadInput(
            f"{directory}: {free / 1e9:.2f} GB free, the scan needs {nbytes / 1e9:.2f} GB "
            f"and {reserve_bytes / 1e9:.2f} GB are to stay free"
        )
