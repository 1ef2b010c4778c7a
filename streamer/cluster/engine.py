"""What starts the processes of a cluster and tells of their death: the one interface, and the engine "processes"."""

from __future__ import annotations

import os
import select
import subprocess
import sys
import time
from pathlib import Path
from typing import Protocol

import msgspec

import streamer
from streamer.cluster.messages import Ready, Setup
from streamer.frames import BadInput

START_S = 300.0
"""What a process may take that has to compile its kernels."""


class Helper(Protocol):
    """A process of a cluster."""

    @property
    def pid(self) -> int: ...

    @property
    def alive(self) -> bool: ...

    @property
    def is_ready(self) -> bool:
        """Whether it can work; does not wait."""

    def ready(self) -> Ready:
        """Its endpoints; waits until it can work. Raises BadInput when it cannot."""

    def end(self, timeout_s: float) -> None:
        """Wait until it ends, and no longer than that."""


class Engine(Protocol):
    """Places processes on what there is."""

    def start(self, program: str, setup: Setup, gpu: int | None = None) -> Helper:
        """Start a module of this package as a program; ``gpu`` is the only one that it sees. Raises OSError."""


class Process:
    """A helper on this machine."""

    def __init__(self, program: str, setup: Setup, gpu: int | None) -> None:
        root = str(Path(streamer.__file__).resolve().parent.parent)
        paths = os.pathsep.join([root, *filter(None, [os.environ.get("PYTHONPATH")])])
        environment = {**os.environ, "PYTHONPATH": paths}
        if gpu is not None:
            environment["CUDA_VISIBLE_DEVICES"] = str(gpu)
        self.program = program
        self._process = subprocess.Popen(
            [sys.executable, "-m", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment
        )
        assert self._process.stdin is not None
        self._process.stdin.write(msgspec.json.encode(setup))
        self._process.stdin.close()
        self._ready: Ready | None = None
        self._line = b""

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def alive(self) -> bool:
        return self._process.poll() is None

    @property
    def is_ready(self) -> bool:
        return self._read(0.0)

    def ready(self) -> Ready:
        deadline = time.monotonic() + START_S
        while not self._read(0.1):
            if not self.alive and not self._read(0.0):
                raise BadInput(f"{self.program} ended as it started (exit status {self._process.returncode})")
            if time.monotonic() > deadline:
                raise BadInput(f"{self.program} was not ready within {START_S:g} s")
        assert self._ready is not None
        return self._ready

    def _read(self, wait_s: float) -> bool:
        """Whether the line is there that says that it is ready."""
        out = self._process.stdout
        assert out is not None
        if self._ready is None and select.select([out], [], [], wait_s)[0]:
            self._line += os.read(out.fileno(), 4096)
            if self._line.endswith(b"\n"):
                self._ready = msgspec.json.decode(self._line, type=Ready)
        return self._ready is not None

    def end(self, timeout_s: float) -> None:
        try:
            self._process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        if self._process.stdout is not None:
            self._process.stdout.close()


class Processes:
    """Processes on this machine; needs nothing else."""

    def start(self, program: str, setup: Setup, gpu: int | None = None) -> Process:
        return Process(program, setup, gpu)
