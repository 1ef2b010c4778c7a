"""A night of samples: how many, how good, and where the time went."""

from __future__ import annotations

from typing import Any

from dashboards.source.panels import bars, board, grown, lines, number, of, rate, states
from dashboards.source.shared import TO_TOMOGRAM


def samples() -> Any:
    phases = {"{{phase}}": f"sum by (phase) (increase({of('streamer_scan_phase_seconds_total')}[$__range]))"}
    rows = [
        [
            (
                6,
                6,
                number(
                    "Scans",
                    "In the time range shown.",
                    "short",
                    {"{{result}}": f"sum by (result) ({grown('streamer_scans_total')}) > 0"},
                ),
            ),
            (
                6,
                6,
                number(
                    "Per hour",
                    "Finished scans.",
                    "short",
                    {"scans": f"sum(rate({of('streamer_scans_total')}[$__range])) * 3600"},
                ),
            ),
            (
                6,
                6,
                number(
                    "Last frame → tomogram",
                    "How long the tomogram took after the last frame of a scan.",
                    "s",
                    TO_TOMOGRAM,
                ),
            ),
            (
                6,
                6,
                number(
                    "Last scan",
                    "When it was over.",
                    "dateTimeFromNow",
                    {"over": f"max({of('streamer_last_scan_timestamp_seconds')}) * 1000"},
                ),
            ),
        ],
        [
            (
                12,
                8,
                states(
                    "Life of the scans",
                    "Where the daemon was in the life of a scan.",
                    {"{{streamer_scan_state}}": of("streamer_scan_state")},
                ),
            ),
            (
                12,
                8,
                states(
                    "Verdicts",
                    "Of the scan that was finished last.",
                    {"{{streamer_last_verdict}}": of("streamer_last_verdict")},
                ),
            ),
        ],
        [
            (
                8,
                8,
                bars(
                    "Where the night went",
                    "Between scans, waiting for the first frame, acquiring, finishing.",
                    "s",
                    phases,
                ),
            ),
            (
                8,
                8,
                lines(
                    "Frames of the scan in hand",
                    "Announced and received.",
                    "short",
                    {"announced": of("streamer_scan_frames_expected"), "received": of("streamer_scan_frames_received")},
                ),
            ),
            (
                8,
                8,
                bars(
                    "Unusable projections by cause",
                    "They came whole and were set aside.",
                    "short",
                    {"{{cause}}": f"sum by (cause) ({grown('streamer_frames_unusable_total')})"},
                ),
            ),
        ],
        [
            (
                12,
                8,
                lines(
                    "Requests of plans",
                    "On the control socket.",
                    "reqps",
                    {"{{verb}} {{result}}": f"sum by (verb, result) ({rate('streamer_control_requests_total')})"},
                ),
            ),
            (
                12,
                8,
                lines(
                    "Missing frames by kind",
                    "Since the daemon's start.",
                    "short",
                    {"{{kind}}": f"sum by (kind) ({of('streamer_frames_missing_total')})"},
                    points=True,
                ),
            ),
        ],
    ]
    text = "A night of samples: how many, how good, and where the time went."
    return board("streamer-samples", "Streamer: sample run", text, rows, "12h")
