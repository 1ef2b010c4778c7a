"""Compiles the kernels with a progress bar: once for an installation, so that no scan waits for it."""

from __future__ import annotations

import time

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
        warm(backend, lambda done, _total: bar.at(done), offline=True, more=MORE, processes=usable_threads())
    return time.perf_counter() - began


if __name__ == "__main__":
    warm_with_bar(select_backend()[0])
