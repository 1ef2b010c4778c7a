"""Compiles the kernels with a progress bar: once for an installation, so that no scan waits for it."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from streamer.cli.terminal.progress import Progress
from streamer.core.backend.selection import Backend, select_backend, usable_threads
from streamer.core.warmup import OFFLINE, STEPS, warm
from streamer.pipeline.preparation.warmup import warm_preparation
from streamer.pipeline.rehearsal import rehearse

MORE = {"preparation": warm_preparation, "rehearsal": rehearse}


def warm_with_bar(backend: Backend) -> float:
    """Compile all kernels, or load them from the cache; return the seconds it took."""
    began = time.perf_counter()
    with Progress("kernels", len({**STEPS, **OFFLINE, **MORE})) as bar:
        bar.say("loading kernels; the first time they are compiled, which takes some minutes")
        with interruptible():
            warm(backend, lambda done, _total: bar.at(done), offline=True, more=MORE, processes=usable_threads())
    return time.perf_counter() - began


@contextmanager
def interruptible() -> Iterator[None]:
    """Make Ctrl-C end as KeyboardInterrupt whatever comes of it: numba's compiler may swallow that, or fail by it."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    pressed = threading.Event()

    def interrupt(_number: int, _frame: FrameType | None) -> None:
        pressed.set()
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGINT, interrupt)
    try:
        yield
    except Exception as error:
        if pressed.is_set():
            raise KeyboardInterrupt from error
        raise
    finally:
        signal.signal(signal.SIGINT, before)
    if pressed.is_set():
        raise KeyboardInterrupt


if __name__ == "__main__":
    warm_with_bar(select_backend()[0])
