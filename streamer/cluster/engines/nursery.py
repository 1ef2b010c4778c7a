"""A process that has imported everything and forks others: they begin in hundredths of a second, and share its memory.

No kernel with threads has run in it, it has no sockets of ZeroMQ and no GPU: none of these outlives a fork.
"""

from __future__ import annotations

import gc
import importlib
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import traceback
from contextlib import suppress
from pathlib import Path
from typing import NoReturn

import streamer
from streamer.cluster.engines.lifeline import START_S, ScoutGone, ToScout, readable
from streamer.core.simd.checked_copy import prepare
from streamer.daemon.supervision import show_name

PRELOADED = ("streamer.cluster.shard", "streamer.cluster.cutter", "scipy.optimize")
REAP_S = 1.0
"""How long a process that has ended may wait to be noticed by its parent; the scout notices it at once."""

START, KILL = "start", "kill"


class Nursery:
    """As whoever wants processes sees it. Any thread may call."""

    def __init__(self, apart: bool = False) -> None:
        """Starts it, ``apart`` in a session of its own, which signals for the group of its parent do not reach.

        Raises OSError.
        """
        root = str(Path(streamer.__file__).resolve().parent.parent)
        paths = os.pathsep.join([root, *filter(None, [os.environ.get("PYTHONPATH")])])
        self._control, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._control.settimeout(START_S)
        self._lock = threading.Lock()
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "streamer.cluster.engines.nursery", str(theirs.fileno())],
                stdin=subprocess.DEVNULL,
                start_new_session=apart,
                pass_fds=[theirs.fileno()],
                env={**os.environ, "PYTHONPATH": paths},
            )

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def alive(self) -> bool:
        return self._process.poll() is None

    def start(self, program: str, gpu: int | None, end: socket.socket) -> int:
        """Have ``main`` of a module run in a new process, whose scout is at the other ``end``; its pid.

        Raises OSError when the nursery is gone, or has not begun to work within minutes.
        """
        with self._lock:
            socket.send_fds(self._control, [json.dumps([START, program, gpu]).encode()], [end.fileno()])
            said = self._control.recv(64)
        if not said:
            raise ConnectionResetError("the process that starts the others is gone")
        return int(said)

    def kill(self, pid: int) -> None:
        """End one of its processes, unless it has ended."""
        with self._lock, suppress(OSError):
            self._control.send(json.dumps([KILL, pid]).encode())

    def close(self) -> None:
        """No more are started; those that run go on."""
        self._control.close()
        try:
            self._process.wait(REAP_S)
        except subprocess.TimeoutExpired:  # it still imports
            self._process.kill()
            self._process.wait()


def serve(control: socket.socket) -> None:
    """Fork whatever is asked for, until nobody asks any more."""
    children: set[int] = set()
    while True:
        asked = readable(control, REAP_S)
        children -= {child for child in children if os.waitpid(child, os.WNOHANG)[0]}
        if not asked:
            continue
        message, ends, *_ = socket.recv_fds(control, 4096, 1)
        if not message:
            return
        kind, *words = json.loads(message)
        if kind == KILL:
            if words[0] in children:  # until it is waited for, no other process has its number
                os.kill(words[0], signal.SIGKILL)
            continue
        child = os.fork()
        if child == 0:
            control.close()
            _be(words[0], words[1], socket.socket(fileno=ends[0]))
        os.close(ends[0])
        children.add(child)
        with suppress(BrokenPipeError):
            control.send(str(child).encode())


def _be(program: str, gpu: int | None, end: socket.socket) -> NoReturn:
    """Become the program; does not return into the nursery's code whatever happens."""
    code = 1
    try:
        if gpu is not None:
            os.environ["CUDA_VISIBLE_DEVICES"] = str(gpu)
        importlib.import_module(program).start(ToScout(end))
        code = 0
    except ScoutGone:
        pass  # whoever ended it, by Ctrl-C for example, wants no word of its processes
    except BaseException:
        traceback.print_exc()
    os._exit(code)


def main() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # which a terminal sends to the whole group; the scout decides
    show_name("nursery")
    for name in PRELOADED:
        importlib.import_module(name)
    prepare()  # numba's first kernel, of one thread, takes three quarters of what the start of a shard does
    gc.collect()
    gc.freeze()  # a collection would touch, and so copy, the memory that all share
    with suppress(ConnectionResetError):
        serve(socket.socket(fileno=int(sys.argv[1])))


if __name__ == "__main__":
    main()
