"""At a glance: is a scan running, is any frame lost, is anything late."""

from __future__ import annotations

from typing import Any

from dashboards.source.panels import WRITER, bars, board, grown, lines, number, of, quantile, rate, share, words
from dashboards.source.shared import GREEN, HIGHEST, LOSS, PREVIEW, RATES, RED, RING, TO_TOMOGRAM, YELLOW


def overview() -> Any:
    lost = {
        "missing": f"sum({grown('streamer_frames_missing_total')})",
        "corrupt": f"sum({grown('streamer_frames_corrupt_total')})",
        "not written": f"sum({grown('streamer_frames_dropped_total', WRITER)})",
        "unusable": f"sum({grown('streamer_frames_unusable_total')})",
    }
    latency = {"50 %": quantile(0.5, PREVIEW), "95 %": quantile(0.95, PREVIEW), "99 %": quantile(0.99, PREVIEW)}
    progress = f"{of('streamer_scan_frames_received')} / ({of('streamer_scan_frames_expected')} > 0)"
    full_in = f"-{of('streamer_disk_free_bytes')} / deriv({of('streamer_disk_free_bytes')}[10m])"
    top = [
        (
            4,
            5,
            words(
                "State",
                "Where the daemon is in the life of a scan.",
                {"{{streamer_scan_state}}": f"{of('streamer_scan_state')} == 1"},
            ),
        ),
        (
            4,
            5,
            words(
                "Last verdict",
                "Of the last finished scan.",
                {"{{streamer_last_verdict}}": f"{of('streamer_last_verdict')} == 1"},
            ),
        ),
        (
            8,
            5,
            number(
                "Lost frames",
                "In the time range shown. Missing: never came, known when a scan ends. Corrupt: "
                "failed the check; a good copy may have replaced it. Not written: lost by the raw writer. "
                "Unusable: came whole, but shows no projection of the sample.",
                "short",
                lost,
                LOSS,
            ),
        ),
        (
            8,
            5,
            words(
                "Alerts",
                "Those that fire; each has a section in docs/how-to/alerts.md.",
                {"{{alertname}}": 'max by (alertname) (ALERTS{alertstate="firing", instance=~"$instance"})'},
            ),
        ),
    ]
    middle = [
        (
            4,
            5,
            share(
                "Progress", "Frames received of the scan in hand.", {"frames": f"max({progress})"}, ((None, "blue"),)
            ),
        ),
        (
            6,
            5,
            share(
                "Ring",
                "Share of the ring that the raw writer has not released, now and at most since the scan was "
                "armed. When it is full the detector is held back.",
                {"now": f"max({RING})", "highest": f"max({HIGHEST})"},
                ((None, GREEN), (0.5, YELLOW), (0.8, RED)),
            ),
        ),
        (
            4,
            5,
            number(
                "Disk free",
                "Where raw files are written.",
                "bytes",
                {"free": f"min({of('streamer_disk_free_bytes')})"},
                ((None, RED), (2e9, YELLOW), (2e10, GREEN)),
            ),
        ),
        (
            4,
            5,
            number(
                "Disk full in",
                "At the rate of the last ten minutes; negative while it becomes emptier.",
                "s",
                {"time": f"min({full_in})"},
            ),
        ),
        (
            6,
            5,
            number(
                "Last frame → tomogram", "How long the tomogram took after the last frame of a scan.", "s", TO_TOMOGRAM
            ),
        ),
    ]
    below = [
        (12, 8, lines("Frame rate", "Frames taken into the ring, and flushed to raw files.", "reqps", RATES)),
        (
            12,
            8,
            lines("Latency frame → preview", "From a frame's arrival to the planes that contain it.", "s", latency),
        ),
    ]
    bottom = [
        (
            8,
            8,
            lines(
                "Back-pressure",
                "Share of the time in which the detector had to wait for the ring.",
                "percentunit",
                {"held back": f"sum({rate('streamer_ingest_blocked_seconds_total')})"},
            ),
        ),
        (
            8,
            8,
            bars(
                "Verdicts",
                "On the scans of the time range shown.",
                "short",
                {"{{decision}}": f"sum by (decision) ({grown('streamer_verdicts_total')})"},
            ),
        ),
        (
            8,
            8,
            lines(
                "Rejected messages by reason",
                "Messages that were not taken.",
                "short",
                {"{{reason}}": f"sum by (reason) ({rate('streamer_frames_rejected_total')})"},
                stacked=True,
            ),
        ),
    ]
    text = "One daemon at a glance: is the scan running, is any frame lost, is anything late."
    return board("streamer-overview", "Streamer", text, [top, middle, below, bottom], "15m")
