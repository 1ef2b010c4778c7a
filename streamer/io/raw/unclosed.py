"""Raw files that their writer did not close: it still writes them, or was killed."""

from __future__ import annotations

import fcntl
import os
import struct
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO

import h5py

from streamer.frames import BadInput, system_reason


def open_raw(path: Path) -> h5py.File:
    """Open a raw file to read: finished, still growing, or left behind by a crash. Raises BadInput, one line."""
    try:
        return h5py.File(path, "r")
    except OSError as error:
        # Only then: of a file that is merely damaged, HDF5 would wait minutes for a writer to mend it.
        if _in_swmr_mode(path):
            with suppress(OSError):
                return h5py.File(path, "r", swmr=True)
        reason = system_reason(error).lower()
        if not path.exists():
            reason = "no such file"
        elif "truncated file" in reason:
            reason = "its end is missing; copy it again"
        raise BadInput(f"{path}: not a readable HDF5 file ({reason})") from error


def _in_swmr_mode(path: Path) -> bool:
    """Whether a writer has the file open, or was killed while it had."""
    try:
        with path.open("rb") as file:
            block = file.read(_SUPERBLOCK)
    except OSError:
        return False
    return len(block) == _SUPERBLOCK and block[:8] == _SIGNATURE and block[8] == 3 and block[_FLAGS] != 0


_SIGNATURE = b"\x89HDF\r\n\x1a\n"
_SUPERBLOCK = 48  # bytes of a version 2 or 3 superblock with 8-byte addresses
_FLAGS, _END, _CHECKSUM = 11, 28, 44  # where in it: marks of an open file, length of the file, checksum


def claim(fd: int) -> bool:
    """Mark an open file as being written, until the process that opened it closes it or dies.

    False when somebody else has marked it. The lock lies far beyond the end, where HDF5 has none of its own.
    """
    try:
        fcntl.fcntl(fd, fcntl.F_OFD_SETLK, _CLAIM)
    except OSError:
        return False
    return True


def is_written(path: Path) -> bool:
    """Whether a living process has claimed the file. False for what is no file."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        kind: int = struct.unpack_from("h", fcntl.fcntl(fd, fcntl.F_OFD_GETLK, _CLAIM))[0]
    finally:
        os.close(fd)
    return kind != fcntl.F_UNLCK


def _open(path: Path) -> BinaryIO:
    """For reading and writing, and no symbolic link: what that leads to is not ours."""
    return os.fdopen(os.open(path, os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC), "r+b")


_CLAIM = struct.pack("hhqqi", fcntl.F_WRLCK, os.SEEK_SET, 2**62, 1, 0)  # struct flock


def clear_swmr_flags(path: Path, extend: bool = False) -> bool:
    """Make a raw file whose writer was killed open like any other; True if something had to be changed.

    Only for files that nobody writes any more. Raises BadInput, and changes nothing, when it is not a file of the kind
    we write, or its end is missing: that one can be read in SWMR mode alone. With ``extend``, zeros take the place of
    the missing end; the checksums of its frames then find them.
    """
    with _open(path) as file:
        block, end = _superblock(file, path)
        short = file.seek(0, os.SEEK_END) < end
        if short and extend:
            file.truncate(end)
        if block[_FLAGS] == 0:
            return short and extend
        if short and not extend:
            raise BadInput(f"{path}: its end is missing")
        block[_FLAGS] = 0
        _replace(file, block)
    return True


def cut(path: Path, reserved: int, end: int) -> None:
    """End a closed file at byte ``end``, where nothing was written from there to ``reserved``, at which it ends now.

    A file that ends elsewhere is left as it is. HDF5 must not be made to use that space later. Raises as
    ``clear_swmr_flags`` does.
    """
    with _open(path) as file:
        block, found = _superblock(file, path)
        if found == reserved and end < reserved:
            block[_END : _END + 8] = end.to_bytes(8, "little")
            _replace(file, block)
            file.truncate(end)


def _superblock(file: BinaryIO, path: Path) -> tuple[bytearray, int]:
    """The superblock, and the length of the file that it names. Raises BadInput when it is not one of ours."""
    block = bytearray(file.read(_SUPERBLOCK))
    if len(block) < _SUPERBLOCK or block[:8] != _SIGNATURE or block[8] != 3 or block[9] != 8:
        raise BadInput(f"{path}: not an HDF5 file with a superblock of version 3")
    if int.from_bytes(block[_CHECKSUM:], "little") != lookup3(bytes(block[:_CHECKSUM])):
        raise BadInput(f"{path}: the checksum of the superblock is wrong, the file is damaged")
    return block, int.from_bytes(block[_END : _END + 8], "little")


def _replace(file: BinaryIO, block: bytearray) -> None:
    """Write a superblock with its checksum."""
    block[_CHECKSUM:] = lookup3(bytes(block[:_CHECKSUM])).to_bytes(4, "little")
    file.seek(0)
    file.write(block)
    file.flush()


_WORD = 0xFFFFFFFF


def _rotated(word: int, bits: int) -> int:
    return ((word << bits) | (word >> (32 - bits))) & _WORD


def lookup3(data: bytes) -> int:
    """Bob Jenkins' lookup3 hash (hashlittle, start value 0), HDF5's checksum of metadata."""
    a = b = c = (0xDEADBEEF + len(data)) & _WORD
    if not data:
        return c
    blocks = [data[i : i + 12].ljust(12, b"\0") for i in range(0, len(data), 12)]
    for block in blocks[:-1]:
        a, b, c = _mix(*_added(a, b, c, block))
    return _final(*_added(a, b, c, blocks[-1]))


def _added(a: int, b: int, c: int, block: bytes) -> tuple[int, int, int]:
    x, y, z = (int.from_bytes(block[i : i + 4], "little") for i in (0, 4, 8))
    return (a + x) & _WORD, (b + y) & _WORD, (c + z) & _WORD


def _mix(a: int, b: int, c: int) -> tuple[int, int, int]:
    for bits in (4, 6, 8, 16, 19, 4):
        a = ((a - c) & _WORD) ^ _rotated(c, bits)
        c = (c + b) & _WORD
        a, b, c = b, c, a
    return a, b, c


def _final(a: int, b: int, c: int) -> int:
    for bits in (14, 11, 25, 16, 4, 14, 24):
        c = ((c ^ b) - _rotated(b, bits)) & _WORD
        a, b, c = b, c, a
    # The rotation of names above ends one step late: the last word mixed is now called b.
    return b
