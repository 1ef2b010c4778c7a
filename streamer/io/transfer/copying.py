"""Copies one file so that it can go on after a crash, and is right when it has its name."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO

from streamer.frames import StreamerError
from streamer.io.place import place

BLOCK = 4 * 2**20
PARTIAL = ".transfer"


class TransferError(StreamerError):
    """A file could not be copied now; the message is one line."""


class Stopped(Exception):
    """The copy is to be left as it is, to go on another time."""


def partial_of(target: Path) -> Path:
    """Where a copy grows until it has its name."""
    return target.with_name(f".{target.name}{PARTIAL}")


def checksum(path: Path, go_on: Callable[[], bool] = lambda: True) -> str:
    """SHA-256 of a file, in hexadecimal. Raises Stopped, OSError."""
    digest = hashlib.sha256()
    with path.open("rb", buffering=0) as file:
        while block := file.read(BLOCK):
            _check(go_on)
            digest.update(block)
    return digest.hexdigest()


def copy(source: Path, target: Path, replace: bool = False, go_on: Callable[[], bool] = lambda: True) -> str:
    """Copy ``source`` to ``target``; the SHA-256 of both, which were read for it.

    What an earlier attempt left is compared block by block, and kept as far as it is equal. The target has its name
    only when all of it is on the disk, was read back, and is equal. ``replace``: a target that is there is an older
    copy; else it must be equal, and is left alone. Raises TransferError, Stopped when ``go_on()`` is false, OSError.
    """
    before = source.stat()
    target.parent.mkdir(parents=True, exist_ok=True)
    partial = partial_of(target)
    if os.path.lexists(target) and not replace:
        return _same(source, target, partial, go_on)
    descriptor = os.open(partial, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o666)
    with source.open("rb", buffering=0) as original, os.fdopen(descriptor, "r+b", buffering=0) as copied:
        wanted = _write(original, copied, go_on)
        os.fchmod(copied.fileno(), before.st_mode & 0o777)
        os.fsync(copied.fileno())
    after = source.stat()
    if (after.st_size, after.st_mtime_ns) != (before.st_size, before.st_mtime_ns):
        raise TransferError(f"{source}: changed while it was copied")
    if checksum(partial, go_on) != wanted:
        partial.unlink()
        raise TransferError(f"{target}: what was written is not what was read; it is copied again")
    os.utime(partial, ns=(after.st_atime_ns, after.st_mtime_ns))
    if replace:
        partial.replace(target)
    else:
        try:
            place(partial, target)
        except FileExistsError as error:
            raise TransferError(f"{target}: somebody else made it meanwhile") from error
    _sync_folder(target.parent)
    return wanted


def _same(source: Path, target: Path, partial: Path, go_on: Callable[[], bool]) -> str:
    """The checksum of a copy that is there already. Raises TransferError when it is another file."""
    if source.stat().st_size != target.stat().st_size or (found := checksum(target, go_on)) != checksum(source, go_on):
        raise TransferError(f"{target}: exists already and is another file; it is left alone")
    with suppress(FileNotFoundError):
        partial.unlink()  # killed between giving the name and dropping the old one
    return found


def _write(original: BinaryIO, copied: BinaryIO, go_on: Callable[[], bool]) -> str:
    """Write what is missing, and what differs; the checksum of the original."""
    digest, equal = hashlib.sha256(), True
    while block := original.read(BLOCK):
        _check(go_on)
        digest.update(block)
        if equal:
            place_of_block = copied.tell()
            if copied.read(len(block)) == block:
                continue
            equal = False
            copied.seek(place_of_block)
        _write_all(copied, block)
    copied.truncate(original.tell())
    return digest.hexdigest()


def _write_all(file: BinaryIO, block: bytes) -> None:
    rest = memoryview(block)
    while rest:
        rest = rest[file.write(rest) :]


def _check(go_on: Callable[[], bool]) -> None:
    if not go_on():
        raise Stopped


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
