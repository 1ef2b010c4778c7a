"""Compressed pixels, decompressed straight into memory that is there, and nothing beyond it.

The compressor is bitshuffle, and the LZ4 in it, as hdf5plugin ships them for HDF5 (``libh5bshuf``). bitshuffle is not
told where its input ends: the sizes of its blocks are added up before it is called. No size that a peer claims is ever
allocated. Why this library: ``docs/decisions/0014-codec-of-hdf5plugin.md``. The framings:

- ``lz4``: one LZ4 block.
- ``bslz4``: for each block of 8 KiB of pixels its size (u32, big endian) and an LZ4 block of its transposed bits. The
  last ``elements % 8`` elements follow as they are.
- ``lz4-h5``, ``bslz4-h5``: what the HDF5 filters 32004 and 32008 store: raw size (u64, big endian), block size in bytes
  (u32, big endian), then blocks as above. An ``lz4-h5`` block as long as its pixels is not compressed.
"""

from __future__ import annotations

import struct
from ctypes import CDLL, c_int, c_int64, c_size_t, c_void_p
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import hdf5plugin
import numpy as np
from numpy.typing import NDArray

from streamer.flow.wire import WireError

if TYPE_CHECKING:
    from streamer.flow.dialects.message import Codec

BLOCK_BYTES = 8192
"""Bytes of pixels in a bitshuffle block unless a header says otherwise."""

MIN_BLOCK_BYTES = 128
"""Smaller blocks are refused: they cost time and compress nothing."""

MOST_SHRUNK = 255
"""Times that LZ4 makes data smaller at most."""

MAX_BYTES = 2**31 - 1  # LZ4 counts in int

_HEADER = struct.Struct(">QI")
_SIZE = struct.Struct(">I")


def decompress_into(codec: Codec, data: memoryview, out: memoryview, itemsize: int) -> None:
    """Fill ``out`` with the pixels that ``data`` holds; both are contiguous bytes, ``itemsize`` is that of a pixel.

    Bytes after the compressed pixels are ignored. Raises WireError("codec") when ``data`` does not hold exactly
    ``out.nbytes`` bytes of pixels; ``out`` may be half filled then.
    """
    if codec == "none":
        if data.nbytes != out.nbytes:
            raise _wrong(codec, f"has {data.nbytes} bytes, expected {out.nbytes}")
        np.copyto(np.frombuffer(out, np.uint8), np.frombuffer(data, np.uint8))  # lets other threads run
        return
    if not (data.nbytes and out.nbytes) or max(data.nbytes, out.nbytes) > MAX_BYTES:
        raise _wrong(codec, f"has {data.nbytes} bytes for {out.nbytes} bytes of pixels, the limit is {MAX_BYTES}")
    block = BLOCK_BYTES
    if codec.endswith("-h5"):
        block = _block_bytes(codec, data, out.nbytes)
        data = data[_HEADER.size :]
    if codec == "lz4":
        _lz4_block(codec, data, out)
    elif codec == "lz4-h5":
        _lz4_blocks(codec, data, out, block)
    else:
        _bitshuffled(codec, data, out, itemsize, block)


def decompressed(codec: Codec, data: memoryview, nbytes: int, itemsize: int) -> NDArray[np.uint8]:
    """The pixels of ``data`` in memory of their own. Raises WireError("codec")."""
    if nbytes > MOST_SHRUNK * data.nbytes:
        raise _wrong(codec, f"claims {nbytes} bytes of pixels in {data.nbytes} bytes")
    out = np.empty(nbytes, np.uint8)
    decompress_into(codec, data, out.data, itemsize)
    return out


def compress(codec: Codec, data: memoryview, itemsize: int) -> bytes:
    """Pixels (contiguous bytes) as ``decompress_into`` takes them."""
    if codec == "none":
        return bytes(data)
    room = data.nbytes + data.nbytes // 128 + 1024  # more than LZ4 and the sizes of the blocks may add
    out = np.empty(room, np.uint8)
    header = b""
    if codec.startswith("bslz4"):
        block = BLOCK_BYTES
        size = library().bshuf_compress_lz4(
            _address(data), out.ctypes.data, data.nbytes // itemsize, itemsize, block // itemsize
        )
    else:
        block = data.nbytes
        size = library().LZ4_compress_default(_address(data), out.ctypes.data, data.nbytes, room)
    if codec.endswith("-h5"):
        header = _HEADER.pack(data.nbytes, block)
    if codec == "lz4-h5":
        packed = bytes(data) if size >= data.nbytes else out[:size].tobytes()
        return header + _SIZE.pack(len(packed)) + packed
    return header + out[:size].tobytes()


def _block_bytes(codec: Codec, data: memoryview, expected: int) -> int:
    if data.nbytes < _HEADER.size:
        raise _wrong(codec, f"has {data.nbytes} bytes, its header alone has {_HEADER.size}")
    raw, block = _HEADER.unpack_from(data)
    if raw != expected:
        raise _wrong(codec, f"claims {raw} bytes of pixels, expected {expected}")
    if block < min(MIN_BLOCK_BYTES, expected):
        raise _wrong(codec, f"has blocks of {block} bytes, the least is {MIN_BLOCK_BYTES}")
    return int(block)


def _lz4_block(codec: Codec, data: memoryview, out: memoryview) -> None:
    # "partial" stops when all pixels are there, whatever follows.
    size = library().LZ4_decompress_safe_partial(_address(data), _address(out), data.nbytes, out.nbytes, out.nbytes)
    if size != out.nbytes:
        raise _wrong(codec, "is damaged or truncated")


def _lz4_blocks(codec: Codec, data: memoryview, out: memoryview, block: int) -> None:
    at = 0
    for start in range(0, out.nbytes, block):
        pixels = out[start : start + block]
        size = _block_size(codec, data, at)
        at += _SIZE.size
        if size == pixels.nbytes:
            pixels[:] = data[at : at + size]
        else:
            _lz4_block(codec, data[at : at + size], pixels)
        at += size


def _bitshuffled(codec: Codec, data: memoryview, out: memoryview, itemsize: int, block: int) -> None:
    eight = 8 * itemsize
    if block % eight:
        raise _wrong(codec, f"has blocks of {block} bytes, no multiple of {eight}")
    blocks, rest = divmod(out.nbytes, block)
    at, size_at = 0, _SIZE.unpack_from
    try:
        for _ in range(blocks + (rest >= eight)):  # a frame has a thousand blocks: no more for each than must be
            (size,) = size_at(data, at)
            if not size:
                raise _wrong(codec, "has an empty block")
            at += _SIZE.size + size
    except struct.error as error:  # the next size is beyond the end
        raise _wrong(codec, "is truncated") from error
    if at + out.nbytes % eight > data.nbytes:
        raise _wrong(codec, "is truncated")
    elements = out.nbytes // itemsize
    if library().bshuf_decompress_lz4(_address(data), _address(out), elements, itemsize, block // itemsize) < 0:
        raise _wrong(codec, "is damaged")


def _block_size(codec: Codec, data: memoryview, at: int) -> int:
    """Bytes of the block whose size is at ``at``; all of them are in ``data``."""
    left = data.nbytes - at - _SIZE.size
    size = int(_SIZE.unpack_from(data, at)[0]) if left >= 0 else 0
    if not 0 < size <= left:
        raise _wrong(codec, "is truncated")
    return size


def _wrong(codec: Codec, text: str) -> WireError:
    return WireError("codec", f"image compressed as {codec} {text}")


def _address(buffer: memoryview) -> int:
    return int(np.frombuffer(buffer, np.uint8).ctypes.data)


@cache
def library() -> Any:
    """The functions of bitshuffle and LZ4, with the types of their arguments."""
    suffix = hdf5plugin.get_config().build_config.filter_file_extension
    shared = CDLL(str(Path(hdf5plugin.PLUGIN_PATH) / f"libh5bshuf{suffix}"))
    for function in (shared.bshuf_compress_lz4, shared.bshuf_decompress_lz4):
        function.argtypes, function.restype = (c_void_p, c_void_p, c_size_t, c_size_t, c_size_t), c_int64
    shared.LZ4_compress_default.argtypes = (c_void_p, c_void_p, c_int, c_int)
    shared.LZ4_decompress_safe_partial.argtypes = (c_void_p, c_void_p, c_int, c_int, c_int)
    return shared
