"""The engine "processes": all on this machine; needs nothing else."""

from __future__ import annotations

import os
import signal
import socket
import threading
from contextlib import suppress
from pathlib import Path

from streamer.cluster.engines.lifeline import Lifeline
from streamer.cluster.engines.nursery import Nursery
from streamer.cluster.messages import Setup

GPUS = Path("/proc/driver/nvidia/gpus")


def gpus_here(folder: Path = GPUS) -> int:
    """GPUs that the driver knows."""
    return sum(1 for _ in folder.iterdir()) if folder.is_dir() else 0


class Processes:
    """See ``engine.Engine``. Any thread may call."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._nursery: Nursery | None = None
        self.gpus = gpus_here()

    def reserve(self, shards: int, spares: int, threads: int | None) -> None:
        """The system shares the machine out among however many there are."""
        with self._lock:
            self._nursery = self._nursery or Nursery()  # it imports while the caller goes on

    def start(self, program: str, setup: Setup, gpu: int | None = None, here: bool = False) -> Lifeline:
        ours, theirs = socket.socketpair()
        with theirs:
            try:
                nursery = self._living()
                try:
                    pid = nursery.start(program, gpu, theirs)
                except ConnectionError:  # it was killed, and is not dead yet
                    nursery = self._living(after=nursery)
                    pid = nursery.start(program, gpu, theirs)
            except OSError:
                ours.close()
                raise
        line = Lifeline(program, setup, lambda pid: _kill(nursery, pid))
        line.pid = pid
        line.attach(ours)
        return line

    def _living(self, after: Nursery | None = None) -> Nursery:
        """The nursery, or a new one where there is none, it has ended, or it is ``after``."""
        with self._lock:
            if self._nursery is not None and (self._nursery is after or not self._nursery.alive):
                self._nursery.close()
                self._nursery = None
            self._nursery = self._nursery or Nursery()
            return self._nursery

    def close(self) -> None:
        with self._lock:
            if self._nursery is not None:
                self._nursery.close()
            self._nursery = None


def _kill(nursery: Nursery, pid: int) -> None:
    if nursery.alive:
        nursery.kill(pid)
    else:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
