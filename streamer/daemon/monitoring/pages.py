"""The pages that the daemon serves to monitoring: its metrics, whether it lives, whether it is ready."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from prometheus_client import CollectorRegistry, ProcessCollector

from streamer.daemon.monitoring.http import MakePage, Page, exposition
from streamer.metrics import MetricsSnapshot, StreamerCollector

PROCESS_OF_WRITER = "streamer_writer"


def monitoring_pages(
    snapshot: Callable[[], MetricsSnapshot],
    writer_pid: Callable[[], int],
    faults: Callable[[], Sequence[str]],
    problems: Callable[[], Sequence[str]],
) -> dict[str, MakePage]:
    """Pages by path. ``/livez`` fails with ``faults``, which only a restart ends; ``/readyz`` with all ``problems``.

    The metrics are those of ``snapshot`` and what the kernel says of this process and of the raw writer's.
    """
    registry = CollectorRegistry()
    registry.register(StreamerCollector(snapshot))
    ProcessCollector(registry=registry)
    ProcessCollector(PROCESS_OF_WRITER, writer_pid, registry=registry)
    return {
        "/metrics": exposition(registry),
        "/livez": lambda _accept: _verdict(faults(), "alive"),
        "/readyz": lambda _accept: _verdict(problems(), "ready"),
    }


def _verdict(faults: Sequence[str], fine: str) -> Page:
    return Page("".join(f"{line}\n" for line in faults or [fine]).encode(), status=503 if faults else 200)
