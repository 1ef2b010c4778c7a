"""The engine "ray": places granted by Ray, on this machine or several; it watches them and makes them anew.

Only there: what runs in a place is connected to the scout, and goes on when Ray does not. The cutter stays with the
scout, beside the detector.
"""

from __future__ import annotations

import json
import logging
import os
import secrets
import socket
import subprocess
import sys
import threading
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from queue import Empty, Queue
from typing import Any

import streamer
from streamer.cluster.engines.lifeline import Lifeline, keep_alive
from streamer.cluster.engines.processes import Processes
from streamer.cluster.messages import Setup
from streamer.frames import BadInput

log = logging.getLogger(__name__)

LOCAL = "local"
BEGIN_S, GRANT_S, SECRET_S = 120.0, 2.0, 5.0
SETTINGS = {
    "RAY_worker_niceness": "0",  # at its 15, shards wait for everything else on the machine
    "RAY_USAGE_STATS_ENABLED": "0",  # it would tell its makers
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    "RAY_TMPDIR": "/tmp",  # the names of its sockets must be short
    "RAY_BACKEND_LOG_LEVEL": "fatal",
}


def environment_of(address: str, environment: Mapping[str, str]) -> dict[str, str]:
    """What Ray is to find in its environment. Raises BadInput for a cluster that anybody may enter.

    Ray listens on all networks of a machine, whatever it is told, so it is never used without a token.
    """
    known = {**SETTINGS, **environment}
    if known.get("RAY_AUTH_MODE") == "token":
        return known
    if address != LOCAL:
        raise BadInput(
            f"compute.address {address}: Ray without a token lets everybody in who reaches it; "
            "set RAY_AUTH_MODE=token for it and for the daemon"
        )
    return {**known, "RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": secrets.token_hex(32)}


@dataclass
class _Held:
    """A place, and what was started in it last."""

    number: int
    line: Lifeline | None = None


class RayPlaces:
    """See ``engine.Engine``. Any thread may call."""

    def __init__(self, address: str, everywhere: bool) -> None:
        """``everywhere``: shards may be on other machines than this one; frames go there without keys.

        Raises BadInput when Ray is not there.
        """
        if find_spec("ray") is None:
            raise BadInput("compute.engine ray needs ray: pip install 'tomo-streamer[cluster]'")
        self._address, self._everywhere = address, everywhere
        self._environment = environment_of(address, os.environ)
        self._here = Processes()
        self._lock = threading.Lock()
        self._awaited: dict[str, Lifeline] = {}
        self._places: list[_Held] = []
        self._wanted: tuple[int, int, bool] | None = None
        self._closing = False
        self._begin()
        self._listener = socket.create_server((self._host, 0))
        self._accepting = threading.Thread(target=self._accept, name="places", daemon=True)
        self._accepting.start()

    def _begin(self) -> None:
        """Start the process that speaks to Ray, and learn what the cluster has."""
        root = str(Path(streamer.__file__).resolve().parent.parent)
        paths = os.pathsep.join([root, *filter(None, [os.environ.get("PYTHONPATH")])])
        self._control, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            words = [str(theirs.fileno()), self._address, "everywhere" if self._everywhere else "here"]
            self._driver = subprocess.Popen(
                [sys.executable, "-m", "streamer.cluster.engines.ray_driver", *words],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,  # Ray writes pages of red there, and has logs of its own
                start_new_session=True,
                pass_fds=[theirs.fileno()],
                env={**self._environment, "PYTHONPATH": paths},
            )
        self._answers: Queue[dict[str, Any]] = Queue()  # what an earlier driver said last is not of this one
        threading.Thread(target=self._hear, args=(self._control, self._answers), name="ray", daemon=True).start()
        try:
            if self._answer("ready", BEGIN_S) is None:
                raise BadInput(f"compute.address {self._address}: no answer from Ray within {BEGIN_S:g} s")
            cluster = self._ask("cluster", GRANT_S)
        except BadInput:
            self._control.close()
            self._driver.kill()
            self._driver.wait()
            raise
        self.gpus, self.cpus = int(cluster["gpus"]), int(cluster["cpus"])
        self._host = str(cluster["host"]) if self._everywhere and self._address != LOCAL else "127.0.0.1"

    def reserve(self, shards: int, spares: int, threads: int | None) -> None:
        self._wanted = shards + spares, threads or 1, self.gpus > 0
        self._reserve()

    def _reserve(self) -> None:
        assert self._wanted is not None
        places, threads, gpu = self._wanted
        if not self._ask("reserve", GRANT_S, *self._wanted):
            one = f"{threads} CPU{'s' if threads > 1 else ''}{' and a GPU' if gpu else ''}"
            most = min(self.gpus if gpu else places, self.cpus // threads)
            way_out = f"set compute.shards and compute.spares to {most} together" if most else "see `ray status`"
            raise BadInput(
                f"compute.engine ray: {places} shards and spares of {one} each are not granted; the cluster has "
                f"{self.cpus} CPUs and {self.gpus} GPUs, some of which may be in use; {way_out}, or try again later"
            )
        self._places = [_Held(number) for number in range(places)]

    def start(self, program: str, setup: Setup, gpu: int | None = None, here: bool = False) -> Lifeline:
        if here:
            return self._here.start(program, setup)
        with self._lock:
            if self._driver.poll() is not None:
                self._begin_again()
            place = next((held for held in self._places if held.line is None or not held.line.alive), None)
            if place is None:
                raise OSError("all places that Ray has granted are in use")
            secret, number = secrets.token_hex(16), place.number
            place.line = line = Lifeline(program, setup, lambda pid: self._say("kill", number, pid))
            self._awaited[secret] = line
            self._say("start", number, program, self._host, self._listener.getsockname()[1], secret)
        return line

    def _begin_again(self) -> None:
        """Ray was lost. What runs goes on; places are granted anew."""
        log.error("Ray is lost; it is asked for places again")
        try:
            self._begin()
            self._reserve()
        except BadInput as error:
            raise OSError(str(error)) from error

    # ── Ray's side ──────────────────────────────────────────────────────────────────────────────────────────────
    def _say(self, *words: Any) -> None:
        with suppress(OSError):
            self._control.send(json.dumps(words).encode())

    def _ask(self, what: str, timeout_s: float, *words: Any) -> Any:
        self._say(what, *words)
        answer = self._answer(what, timeout_s)
        if answer is None:
            raise BadInput(f"compute.engine ray: no answer from Ray within {timeout_s:g} s")
        return answer[what]

    def _answer(self, what: str, timeout_s: float) -> dict[str, Any] | None:
        try:
            answer = self._answers.get(timeout=timeout_s)
        except Empty:
            return None
        if what not in answer:
            raise BadInput(f"compute.address {self._address}: {answer.get('refused', 'Ray is gone')}")
        return answer

    def _hear(self, control: socket.socket, answers: Queue[dict[str, Any]]) -> None:
        """Pass on what the driver says. Of a thread of its own."""
        with suppress(OSError):
            while said := control.recv(65536):
                answer = json.loads(said)
                if "started" not in answer:
                    answers.put(answer)
                    continue
                line = self._awaited.get(answer["started"])
                if line is not None and "pid" in answer:
                    line.pid = answer["pid"]
                elif line is not None:
                    self._awaited.pop(answer["started"], None)
                    line.fail(f"was not started by Ray: {answer['error']}")
        if not self._closing:
            answers.put({"refused": "Ray is gone"})
            for line in self._unconnected():
                line.fail("was not started: Ray is gone")

    def _unconnected(self) -> list[Lifeline]:
        return [line for line in list(self._awaited.values()) if not line.connected]

    def _accept(self) -> None:
        """Connect processes with their lifelines. Of a thread of its own."""
        while not self._closing:
            try:
                end, peer = self._listener.accept()
            except OSError:
                return
            try:
                end.settimeout(SECRET_S)
                secret = end.recv(32, socket.MSG_WAITALL).decode("ascii", "replace")
                end.settimeout(None)
                line = self._awaited.get(secret)
                if line is None or line.connected:
                    end.close()
                    continue
                end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                keep_alive(end)
                line.attach(end, peer[0])
            except OSError:
                end.close()

    def close(self) -> None:
        self._closing = True
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)  # closing alone would not wake the thread that waits there
        self._listener.close()
        self._accepting.join()
        self._here.close()
        self._control.close()
        try:
            self._driver.wait(10.0)
        except subprocess.TimeoutExpired:
            self._driver.kill()
            self._driver.wait()
