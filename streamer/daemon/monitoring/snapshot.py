"""Reads every counter of the daemon for a scrape of the metrics. The counting parts do not know of metrics."""

from __future__ import annotations

import shutil
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

from streamer import __version__
from streamer.core.backend.engine import DeviceError
from streamer.core.backend.selection import Backend
from streamer.daemon.monitoring.tally import figures
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
    tally = scans.tally
    lost, unusable = dict(tally.totals), Counter(tally.unusable)
    written, written_bytes = tally.written, tally.written_bytes
    if session is not None and running:
        # Missing frames are counted at the end: a gap may still close, and a counter must never decrease.
        for name in ("duplicate", "late", "corrupt", "disordered"):
            lost[name] += getattr(session.ledger, name)
        unusable.update(session.quality.unusable_counts)
        written += session.written
        written_bytes += session.written * session.spec.frame_nbytes
    disk, gpu = disk_space(daemon.directory), gpu_memory(daemon.backend)
    return MetricsSnapshot(
        version=__version__,
        backend=daemon.backend.name,
        scan_state=scans.state,
        scan_frames_expected=session.ledger.expected if session is not None else 0,
        scan_frames_received=session.ledger.received if session is not None else 0,
        frames_received=dict(ingest.frames_by_kind),
        frames_rejected=dict(ingest.rejected_by_reason),
        messages_put_off=dict(ingest.put_off_by_cause),
        receive_errors=dict(ingest.errors_by_kind),
        threads=daemon.supervisor.threads,
        thread_restarts=dict(daemon.supervisor.restarts),
        frames_missing=dict(tally.missing),
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
        recon_memory_kept=daemon.scans.pipelines.memory.kept_bytes,
        recon_skipped=compute.skipped,
        writer_up=writer.alive,
        writer_written=written,
        written_bytes={"raw": written_bytes, "tomogram": daemon.finisher.tomogram_bytes},
        writer_lost=scans.lost_by_writer,
        writer_errors=daemon.writer_errors,
        writer_restarts=writer.restarts,
        writer_state=writer.state[0],
        disk_free_bytes=None if disk is None else disk[0],
        disk_size_bytes=None if disk is None else disk[1],
        gpu_memory_used_bytes=None if gpu is None else gpu[0],
        gpu_memory_bytes=None if gpu is None else gpu[1],
        projections_folded=compute.folded,
        previews_published=daemon.previews.sent,
        frame_to_preview=compute.latency.snapshot(),
        last_frame_to_tomogram=daemon.finisher.latency.snapshot(),
        frame_transport=ingest.transport.snapshot(),
        frames_ahead_of_clock=ingest.ahead,
        stages=daemon.finisher.stages.snapshot(),
        scans=dict(tally.results),
        verdicts={decision.value: count for decision, count in tally.verdicts.items()},
        phases_s=dict(tally.phases_s),
        quality=figures(tally.quality),
        verdict=tally.verdict.decision.value if tally.ended_s else "",
        last_scan_timestamp_s=tally.ended_s,
        control_requests=dict(daemon.control.requests),
        gpu_fallbacks=dict(daemon.backend.fallbacks.events),
        insecure=daemon.insecure,
        connections_refused={} if daemon.access is None else dict(daemon.access.refused),
        connections_cut=dict(daemon.connections.cut),
        connections_open=dict(daemon.connections.open),
    )


def disk_space(directory: Path) -> tuple[int, int] | None:
    """Free and whole space of a folder's disk; None while it cannot be looked at, which must not blind us."""
    try:
        usage = shutil.disk_usage(directory)
    except OSError:
        return None
    return usage.free, usage.total


def gpu_memory(backend: Backend) -> tuple[int, int] | None:
    """Memory in use on the device, by whomever, and all of it; None without a device, or when it does not say."""
    if not backend.on_device:
        return None
    try:
        used, whole = backend.kernels.engine.memory_bytes()
    except DeviceError:
        return None
    return used, whole
