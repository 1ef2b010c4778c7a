"""Reads every counter of the daemon for a scrape of the metrics. The counting parts do not know of metrics."""

from __future__ import annotations

import shutil
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

from streamer import __version__
from streamer.metrics import MetricsSnapshot

if TYPE_CHECKING:
    from streamer.daemon.app import Daemon


def snapshot(daemon: Daemon) -> MetricsSnapshot:
    with daemon.scans.lock:
        return _snapshot(daemon)


def _snapshot(daemon: Daemon) -> MetricsSnapshot:
    ingest, scans, compute, writer = daemon.ingest, daemon.scans, daemon.compute, daemon.writer
    session = scans.current
    running = session is not None and not session.over
    lost, unusable = dict(scans.totals), Counter(scans.unusable)
    if session is not None and running:
        # Missing frames are counted at the end: a gap may still close, and a counter must never decrease.
        for name in ("duplicate", "late", "corrupt", "disordered"):
            lost[name] += getattr(session.ledger, name)
        unusable.update(session.quality.unusable_counts)
    return MetricsSnapshot(
        version=__version__,
        backend=daemon.backend.name,
        scan_state=scans.state,
        scan_frames_expected=session.ledger.expected if session is not None else 0,
        scan_frames_received=session.ledger.received if session is not None else 0,
        frames_received=dict(ingest.frames_by_kind),
        frames_rejected=dict(ingest.rejected_by_reason),
        receive_errors=dict(ingest.errors_by_kind),
        threads=daemon.supervisor.threads,
        thread_restarts=dict(daemon.supervisor.restarts),
        frames_missing=dict(scans.missing),
        frames_duplicate=lost["duplicate"],
        frames_late=lost["late"],
        frames_corrupt=lost["corrupt"],
        frames_reordered=lost["disordered"],
        frames_unusable=dict(unusable),
        ingest_bytes=ingest.bytes,
        ingest_blocked_s=ingest.full_s,
        last_frame_timestamp_s=ingest.last_frame_ns / 1e9,
        ring_slots=daemon.ring.slots,
        ring_occupied=daemon.ring.occupied,
        ring_high_water=daemon.ring.high_water,
        ring_bytes=daemon.ring_bytes,
        recon_backlog=compute.backlog,
        recon_memory_kept=daemon.scans.memory.kept_bytes,
        recon_skipped=compute.skipped,
        writer_up=writer.alive,
        writer_written=scans.written_before + (session.written if session is not None and running else 0),
        writer_lost=scans.lost_by_writer,
        writer_errors=daemon.writer_errors,
        writer_restarts=writer.restarts,
        writer_state=writer.state[0],
        disk_free_bytes=free_bytes(daemon.directory),
        projections_folded=compute.folded,
        previews_published=daemon.previews.sent,
        frame_to_preview=compute.latency.snapshot(),
        last_frame_to_tomogram=daemon.finisher.latency.snapshot(),
        scans=scans.results,
        verdicts={decision.value: count for decision, count in scans.verdicts.items()},
        control_requests=dict(daemon.control.requests),
        gpu_fallbacks=dict(daemon.backend.fallbacks.events),
        insecure=daemon.insecure,
        connections_refused={} if daemon.access is None else dict(daemon.access.refused),
        connections_cut=dict(daemon.connections.cut),
    )


def free_bytes(directory: Path) -> int | None:
    """Free space of a folder; None while it cannot be looked at, which must not blind the monitoring."""
    try:
        return shutil.disk_usage(directory).free
    except OSError:
        return None
