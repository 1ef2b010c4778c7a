"""Child processes of ``streamer demo``: started, waited for, and always stopped."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import IO, Any

from streamer.frames import StreamerError

POLL_S = 0.05


class ChildError(StreamerError):
    """A process of the demo ended or did not come up; the message names its log."""


class Child:
    """``python -m MODULE ARGS`` in a session of its own, so that Ctrl-C reaches it only through us, in good order."""

    def __init__(
        self, name: str, arguments: Sequence[str], log: Path, ready: Path | None = None, pipe: bool = False
    ) -> None:
        self.name, self.log, self._ready = name, log, ready
        log.parent.mkdir(parents=True, exist_ok=True)
        if ready is not None:
            ready.unlink(missing_ok=True)
        with log.open("wb") as sink:
            self._process = subprocess.Popen(
                [sys.executable, "-m", *arguments],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE if pipe else sink,
                stderr=sink,
                start_new_session=True,
                env={**os.environ, "PYTHONUNBUFFERED": "1"},
            )

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def output(self) -> IO[bytes]:
        assert self._process.stdout is not None
        return self._process.stdout

    def poll(self) -> int | None:
        return self._process.poll()

    def wait_ready(self, timeout_s: float) -> dict[str, Any]:
        """The map that the child writes once it is up. Raises ChildError when it ends first or takes too long."""
        assert self._ready is not None
        deadline = time.monotonic() + timeout_s
        while not self._ready.exists():
            if self._process.poll() is not None:
                raise ChildError(f"the {self.name} ended with code {self._process.returncode}: {self.last_line()}")
            if time.monotonic() > deadline:
                raise ChildError(f"the {self.name} was not up after {timeout_s:g} s; see {self.log}")
            time.sleep(POLL_S)
        return self.endpoints(self._ready)

    @staticmethod
    def endpoints(ready: Path) -> dict[str, Any]:
        """What a child wrote into its ready file."""
        endpoints: dict[str, Any] = json.loads(ready.read_text(encoding="utf-8"))
        return endpoints

    def last_line(self) -> str:
        """The last line of its log, which is where a one-line error is."""
        lines = self.log.read_text(encoding="utf-8", errors="replace").strip().splitlines()
        return lines[-1] if lines else f"it said nothing; see {self.log}"

    def wait(self, timeout_s: float) -> int:
        """Its exit code. Raises ChildError when it goes on for longer."""
        try:
            return self._process.wait(timeout_s)
        except subprocess.TimeoutExpired as error:
            raise ChildError(f"the {self.name} did not end within {timeout_s:g} s; see {self.log}") from error

    def stop(self, number: int = signal.SIGTERM, timeout_s: float = 15.0) -> None:
        """Ask it to end, and end it when it does not."""
        if self._process.poll() is None:
            self._process.send_signal(number)
            try:
                self._process.wait(timeout_s)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
        if self._process.stdout is not None:
            self._process.stdout.close()
