"""Where the time goes, from the detector to the screen."""

from __future__ import annotations

from typing import Any

from dashboards.source.panels import board, distribution, lines, of, quantile, rate
from dashboards.source.shared import PREVIEW, RATES


def latency() -> Any:
    seconds, runs = rate("streamer_stage_seconds_sum"), rate("streamer_stage_seconds_count")
    mean = f"sum by (stage) ({seconds}) / sum by (stage) ({runs})"
    transport = "streamer_frame_transport_seconds"
    through = {
        **RATES,
        "folded": f"sum({rate('streamer_projections_folded_total')})",
        "planes shown": f"sum({rate('streamer_previews_published_total')})",
    }
    behind = {
        "waiting for the reconstruction": f"sum({of('streamer_recon_backlog_frames')})",
        "waiting for the raw writer": f"sum({of('streamer_ring_occupied_frames')})",
    }
    rows = [
        [(24, 9, distribution("Frame → preview", "From a frame's arrival to the planes that contain it.", PREVIEW))],
        [
            (
                12,
                8,
                lines(
                    "Transport",
                    "From the stamp of the source to the frame's arrival; right as far as the clocks agree.",
                    "s",
                    {"50 %": quantile(0.5, transport), "99 %": quantile(0.99, transport)},
                ),
            ),
            (
                12,
                8,
                lines(
                    "Frames ahead of the clock",
                    "Stamped later than they arrived: the source's clock is fast.",
                    "short",
                    {"frames/s": f"sum({rate('streamer_frames_ahead_of_clock_total')})"},
                ),
            ),
        ],
        [
            (12, 8, lines("Time of a stage", "Mean duration of one piece of work.", "s", {"{{stage}}": mean})),
            (
                12,
                8,
                lines(
                    "Share of the time",
                    "Which stage the compute thread is busy with.",
                    "percentunit",
                    {"{{stage}}": f"sum by (stage) ({rate('streamer_stage_seconds_sum')})"},
                    stacked=True,
                ),
            ),
        ],
        [
            (8, 8, lines("Throughput", "Frames, and planes published, per second.", "reqps", through)),
            (8, 8, lines("Backlog", "Frames in the ring that a reader has yet to take.", "short", behind)),
            (
                8,
                8,
                lines(
                    "Skipped by the reconstruction",
                    "Read again from the raw file at the end of the scan.",
                    "reqps",
                    {"{{stage}}": f"sum by (stage) ({rate('streamer_frames_dropped_total')})"},
                ),
            ),
        ],
    ]
    return board(
        "streamer-latency", "Streamer: latency", "Where the time goes, from the detector to the screen.", rows, "30m"
    )
