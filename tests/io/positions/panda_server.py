"""The data port of a PandABox, written from PandABlocks-server's page on data capture."""

from __future__ import annotations

import socket
import struct
import threading
from collections.abc import Sequence
from typing import Self

import numpy as np
from numpy.typing import NDArray

FIELDS = (("COUNTER1.OUT", "int32", "Value"), ("INENC1.VAL", "int32", "Mean"))
BYTES = {"int32": "<i4", "uint32": "<u4", "int64": "<i8", "double": "<f8"}


def header(options: str, fields: Sequence[tuple[str, str, str]], missed: int = 0) -> bytes:
    """The header of one experiment, as the options of the connection want it."""
    ascii_data, xml = "FRAMED" not in options, "XML" in options
    form, process = "ASCII" if ascii_data else "Framed", "Unscaled" if "UNSCALED" in options else "Scaled"
    size = sum(np.dtype(BYTES[kind]).itemsize for _name, kind, _capture in fields)
    if xml:
        of_sample = "" if ascii_data else f' sample_bytes="{size}"'
        lines = ["<header>", f'<data missed="{missed}" process="{process}" format="{form}"{of_sample} />', "<fields>"]
        lines += [f'<field name="{name}" type="{kind}" capture="{how}" />' for name, kind, how in fields]
        lines += ["</fields>", "</header>"]
    else:
        lines = [f"missed: {missed}", f"process: {process}", f"format: {form}"]
        lines += [] if ascii_data else [f"sample_bytes: {size}"]
        lines += ["fields:", *(f" {name} {kind} {how}" for name, kind, how in fields)]
    return "\n".join([*lines, "", ""]).encode()


def rows(options: str, fields: Sequence[tuple[str, str, str]], values: NDArray[np.float64]) -> bytes:
    """Rows of captured values (n, fields)."""
    if "FRAMED" not in options:
        return "".join(" " + " ".join(f"{v:.17g}" for v in row) + "\n" for row in values).encode()
    kinds = np.dtype([(str(at), BYTES[kind]) for at, (_name, kind, _how) in enumerate(fields)])
    data = np.array([tuple(row) for row in values], kinds).tobytes()
    return b"BIN " + struct.pack("<I", 8 + len(data)) + data


class PandaServer:
    """One client at a time. ``arm``, ``send`` and ``disarm`` are what the hardware does."""

    def __init__(self, fields: Sequence[tuple[str, str, str]] = FIELDS) -> None:
        self.fields = fields
        self.options = ""
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self._client: socket.socket | None = None
        self.connected = threading.Event()
        self._sent = 0
        self._armed = False
        self._thread = threading.Thread(target=self._accept, daemon=True)
        self._thread.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.drop()
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._thread.join()

    @property
    def endpoint(self) -> str:
        return f"127.0.0.1:{self.port}"

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            line = b""
            while not line.endswith(b"\n"):
                line += client.recv(1)
            self.options = line.decode()
            client.sendall(b"OK\n")
            if self._armed:  # this client is late
                client.sendall(header(self.options, self.fields, self._sent))
            self._client = client
            self.connected.set()

    def arm(self) -> None:
        self._armed, self._sent = True, 0
        self._write(header(self.options, self.fields))

    def send(self, values: NDArray[np.float64]) -> None:
        """Captured values (n, fields)."""
        self._sent += len(values)
        self._write(rows(self.options, self.fields, values))

    def disarm(self, reason: str = "Ok") -> None:
        self._armed = False
        self._write(f"END {self._sent} {reason}\n".encode())

    def drop(self) -> None:
        """The connection breaks."""
        if self._client is not None:
            self.connected.clear()
            self._client.close()
            self._client = None

    def _write(self, data: bytes) -> None:
        if self._client is not None:
            self._client.sendall(data)
