"""Kernels are compiled before anything waits for them: once in an installation's life, with a progress bar."""

from __future__ import annotations

import time

from streamer.cli.progress import Progress
from streamer.core.backend.selection import Backend, select_backend, usable_threads
from streamer.core.warmup import OFFLINE, STEPS, warm
from streamer.pipeline.preparation.warmup import warm_preparation
from streamer.pipeline.rehearsal import rehearse

MORE = {"preparation": warm_preparation, "rehearsal": rehearse}


def warm_with_bar(backend: Backend) -> float:
    """Compile all kernels, or load them where that was done before; the seconds it took."""
    began = time.perf_counter()
    with Progress(
        "loading kernels (compiled the first time: a minute or two)", len({**STEPS, **OFFLINE, **MORE})
    ) as bar:
        warm(backend, lambda done, _total: bar.at(done), offline=True, more=MORE, processes=usable_threads())
    return time.perf_counter() - began


if __name__ == "__main__":
    warm_with_bar(select_backend()[0])
