"""Memory that is a mapped file: without a name, and gone with the last process that holds it; or with one, and kept."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import mmap
import os
import tempfile
from pathlib import Path

from streamer.frames import BadInput

SHM = Path("/dev/shm")


class SharedBuffer:
    """Bytes shared with every process that inherits ``fd``. ``memory`` is the mapping, a writable buffer."""

    def __init__(self, fd: int, nbytes: int, populate: bool = True) -> None:
        """Takes the descriptor over. Use ``create``, ``named`` or ``open``.

        With ``populate`` all pages are mapped now: the first frames would otherwise be five times slower.
        """
        self.fd = fd
        self.nbytes = nbytes
        self.memory = mmap.mmap(fd, nbytes, flags=mmap.MAP_SHARED | (getattr(mmap, "MAP_POPULATE", 0) * populate))

    @classmethod
    def create(cls, nbytes: int, directory: Path | None = None) -> SharedBuffer:
        """New zeroed memory, all of it reserved now. Raises BadInput when the place has not that much room.

        ``directory`` is /dev/shm where it exists, else the directory for temporary files.
        """
        if nbytes <= 0:
            raise BadInput(f"shared memory: {nbytes} bytes asked, must be more than 0")
        place = directory or (SHM if SHM.is_dir() and os.access(SHM, os.W_OK) else Path(tempfile.gettempdir()))
        try:
            # Looked at first: an allocation that fails in the end has taken the room from everybody until then.
            if nbytes > _free(place):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            with tempfile.TemporaryFile(dir=place, buffering=0) as file:
                # Without this, touching a page that /dev/shm has no room for is a SIGBUS in the middle of a scan.
                os.posix_fallocate(file.fileno(), 0, nbytes)
                fd = os.dup(file.fileno())
        except OSError as error:
            raise BadInput(
                f"shared memory: {nbytes} bytes asked, {_free(place)} free in {place} ({error.strerror}); "
                "make the ring smaller"
            ) from error
        return cls(fd, nbytes)

    @classmethod
    def named(cls, path: Path, nbytes: int) -> SharedBuffer:
        """Map a file, which outlives this process; made and reserved when it is not there. One process at a time.

        Raises BadInput when the file has another size, is in use, or cannot be made.
        """
        try:
            fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
            try:
                fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
                size = os.fstat(fd).st_size
                if size not in (0, nbytes):
                    raise BadInput(f"{path}: has {size} bytes, not {nbytes}; give the size it was made with")
                os.posix_fallocate(fd, 0, nbytes)
                return cls(fd, nbytes)
            except BaseException:
                os.close(fd)
                raise
        except BlockingIOError as error:
            raise BadInput(f"{path}: is used by another process") from error
        except OSError as error:
            raise BadInput(f"{path}: {nbytes} bytes cannot be reserved: {error.strerror}") from error

    @classmethod
    def open(cls, fd: int) -> SharedBuffer:
        """Map what another process created; ``fd`` was inherited from it."""
        return cls(fd, os.fstat(fd).st_size, populate=False)

    def close(self) -> None:
        """Unmap and close. While views of the memory are about, the mapping lives on until they are gone."""
        with contextlib.suppress(BufferError):
            self.memory.close()
        if self.fd >= 0:
            fcntl.flock(self.fd, fcntl.LOCK_UN)  # the mapping holds a copy of the descriptor
            os.close(self.fd)
            self.fd = -1

    def __enter__(self) -> SharedBuffer:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _free(place: Path) -> int:
    try:
        stat = os.statvfs(place)
    except OSError:
        return 0
    return stat.f_bavail * stat.f_frsize
