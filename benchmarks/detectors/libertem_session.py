"""libertem-dectris, in an environment of its own; the recordings are its simulator's: sizes (i64) and parts in turn.

``record IMAGES.npy ENCODING FILE`` writes a recording with pixels that HDF5's filters or the package lz4 compress.
``mocked COUNT FILE`` writes what the simulator makes of itself, with the size of the pixels that it leaves out.
``send FILE ENDPOINT`` has the simulator send a recording, once it is told by a line.
``receive ENDPOINT FILE.npy`` writes the images of one series that its receiver takes.
"""

from __future__ import annotations

import json
import struct
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import h5py
import hdf5plugin
import libertem_dectris
import lz4.block
import numpy as np
import zmq

SERIES = 34
MOCKED_SIDE = 512
BLOCK = 8192
STACK = 32


def main(verb: str, *words: str) -> None:
    {"record": write, "mocked": write_mocked, "send": send, "receive": receive}[verb](*words)


def save(parts: Sequence[bytes], path: str) -> None:
    with open(path, "wb") as file:
        for part in parts:
            file.write(struct.pack("<q", len(part)) + part)


def write(images: str, encoding: str, path: str) -> None:
    frames = np.load(images)
    parts = [start_header(), configuration(*frames.shape, 8 * frames.itemsize)]
    for number, blob in enumerate(compressed(frames, encoding)):
        parts += image(number, frames[0], encoding, blob)
    save(parts, path)


def compressed(frames: np.ndarray[Any, Any], encoding: str) -> Iterator[bytes]:
    if encoding == "lz4<":
        yield from (lz4.block.compress(frame.tobytes(), store_size=False) for frame in frames)
        return
    with tempfile.TemporaryDirectory() as folder, h5py.File(Path(folder) / "chunks.h5", "w") as file:
        packer = hdf5plugin.Bitshuffle(cname="lz4")
        data = file.create_dataset("data", data=frames, chunks=(1, *frames.shape[1:]), compression=packer)
        for number in range(len(frames)):
            yield data.id.read_direct_chunk((number, 0, 0))[1]


def start_header() -> bytes:
    return json.dumps({"htype": "dheader-1.0", "series": SERIES, "header_detail": "basic"}).encode()


def configuration(count: int, rows: int, columns: int, bits: int) -> bytes:
    entries = {
        "nimages": count,
        "ntrigger": 1,
        "trigger_mode": "ints",
        "bit_depth_image": bits,
        "x_pixels_in_detector": columns,
        "y_pixels_in_detector": rows,
        "omega_start": 0.0,
        "omega_increment": 0.5,
    }
    return json.dumps(entries).encode()


def image(number: int, frame: np.ndarray[Any, Any], encoding: str, blob: bytes) -> list[bytes]:
    header = {"htype": "dimage-1.0", "series": SERIES, "frame": number, "hash": "0" * 32}
    shape, kind = frame.shape[::-1], frame.dtype.name
    pixels = {"htype": "dimage_d-1.0", "shape": shape, "type": kind, "encoding": encoding, "size": len(blob)}
    times = {
        "htype": "dconfig-1.0",
        "real_time": 1_000_000,
        "start_time": number * 10**6,
        "stop_time": (number + 1) * 10**6,
    }
    return [json.dumps(header).encode(), json.dumps(pixels).encode(), blob, json.dumps(times).encode()]


def write_mocked(count: str, path: str) -> None:
    simulator = libertem_dectris.DectrisSim.new_mocked("tcp://127.0.0.1", int(count), random_port=True)
    with zmq.Context() as context, context.socket(zmq.PULL) as socket:
        socket.connect(simulator.get_uri())
        simulator.send_headers()
        parts = socket.recv_multipart() + socket.recv_multipart()
        for _ in range(int(count)):
            simulator.send_frames(1)
            header, pixels, blob, times = socket.recv_multipart()
            assert blob[:12] == bytes(12)
            size = struct.pack(">QI", 2 * MOCKED_SIDE**2, BLOCK)
            parts += [header, pixels, size + blob[12:], times]
    save(parts, path)


def send(path: str, endpoint: str) -> None:
    simulator = libertem_dectris.DectrisSim(endpoint, path)
    print("ready", flush=True)
    sys.stdin.readline()
    simulator.send_headers()
    simulator.send_frames()
    simulator.send_footer()
    sys.stdin.readline()


def receive(endpoint: str, path: str) -> None:
    with tempfile.TemporaryDirectory() as folder:
        connection = libertem_dectris.DectrisConnection(
            endpoint, STACK, str(Path(folder) / "shm"), num_slots=20, bytes_per_frame=2**20
        )
        connection.start_passive()
        print("ready", flush=True)
        while connection.wait_for_arm(1.0) is None:
            pass
        reader = libertem_dectris.CamClient(connection.get_socket_path())
        stacks = []
        while (stack := connection.get_next_stack(STACK)) is not None:
            shape = (len(stack), *stack.get_shape()[::-1])
            frames = np.zeros(shape, np.dtype(stack.get_dtype_string()))
            reader.decode_range_into_buffer(stack, frames, 0, len(stack))
            reader.done(stack)
            stacks.append(frames)
        connection.close()
        reader.close()
    np.save(path, np.concatenate(stacks))
    print("saved", flush=True)
    sys.stdin.readline()


if __name__ == "__main__":
    main(*sys.argv[1:])
