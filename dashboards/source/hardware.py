"""Memory, processor, disk and GPU."""

from __future__ import annotations

from typing import Any

from dashboards.source.panels import (
    JOB,
    board,
    grown,
    lines,
    number,
    of,
    of_web,
    rate,
    rate_of_web,
    share,
    words,
)
from dashboards.source.shared import GREEN, LOSS, RED, YELLOW


def hardware() -> Any:
    of_writer = "streamer_writer_process"
    gpu = f"{of('streamer_gpu_memory_used_bytes')} / {of('streamer_gpu_memory_bytes')}"
    rows = [
        [
            (
                6,
                5,
                number(
                    "Up since",
                    "Start of the daemon.",
                    "dateTimeFromNow",
                    {"start": f"max({of('process_start_time_seconds', JOB)}) * 1000"},
                ),
            ),
            (
                6,
                5,
                words(
                    "Version",
                    "Of Streamer, and the backend that computes.",
                    {"{{version}}, {{backend}}": of("streamer_build_info")},
                ),
            ),
            (
                6,
                5,
                number(
                    "Threads",
                    "1 while a thread works.",
                    "short",
                    {"{{thread}}": of("streamer_thread_up")},
                    ((None, RED), (1, GREEN)),
                ),
            ),
            (
                6,
                5,
                number(
                    "Faults",
                    "Threads and raw writers that began anew, raw files given up, in the time range shown.",
                    "short",
                    {
                        "threads": f"sum({grown('streamer_thread_restarts_total')})",
                        "writers": f"sum({grown('streamer_writer_restarts_total')})",
                        "files": f"sum({grown('streamer_writer_errors_total')})",
                    },
                    LOSS,
                ),
            ),
        ],
        [
            (
                12,
                8,
                lines(
                    "Memory",
                    "Resident memory of the daemon and its raw writer (both count the ring); the ring; what "
                    "is kept for the next scan.",
                    "bytes",
                    {
                        "daemon": of("process_resident_memory_bytes", JOB),
                        "raw writer": of(f"{of_writer}_resident_memory_bytes"),
                        "ring": of("streamer_ring_memory_bytes"),
                        "kept": of("streamer_recon_memory_kept_bytes"),
                    },
                ),
            ),
            (
                12,
                8,
                lines(
                    "Processor",
                    "Cores in use.",
                    "short",
                    {
                        "daemon": rate("process_cpu_seconds_total", JOB),
                        "raw writer": rate(f"{of_writer}_cpu_seconds_total"),
                    },
                ),
            ),
        ],
        [
            (
                8,
                8,
                lines(
                    "Disk",
                    "Of writer.directory.",
                    "bytes",
                    {"free": of("streamer_disk_free_bytes"), "size": of("streamer_disk_size_bytes")},
                ),
            ),
            (
                8,
                8,
                lines(
                    "Written",
                    "Pixels of raw files, voxels of tomograms.",
                    "Bps",
                    {"{{file}}": f"sum by (file) ({rate('streamer_written_bytes_total')})"},
                ),
            ),
            (
                8,
                8,
                lines(
                    "Received",
                    "Pixels from the detector.",
                    "Bps",
                    {"pixels": f"sum({rate('streamer_ingest_bytes_total')})"},
                ),
            ),
        ],
        [
            (
                6,
                8,
                share(
                    "GPU memory",
                    "In use, by the daemon and others. Empty without a GPU.",
                    {"used": gpu},
                    ((None, GREEN), (0.8, YELLOW), (0.95, RED)),
                ),
            ),
            (
                6,
                8,
                number(
                    "GPU fallbacks",
                    "Work cut smaller, or done by the CPU, in the time range shown.",
                    "short",
                    {"{{reason}}": f"sum by (reason) ({grown('streamer_gpu_fallbacks_total')})"},
                    LOSS,
                ),
            ),
            (
                6,
                8,
                lines(
                    "Open files",
                    "Of the daemon and its raw writer.",
                    "short",
                    {"daemon": of("process_open_fds", JOB), "raw writer": of(f"{of_writer}_open_fds")},
                ),
            ),
            (
                6,
                8,
                lines(
                    "Connections",
                    "Of clients over TCP, and those that were refused or cut.",
                    "short",
                    {
                        "{{socket}}": of("streamer_connections"),
                        "refused": f"sum({of('streamer_connections_refused_total')})",
                        "cut": f"sum({of('streamer_connections_cut_total')})",
                    },
                ),
            ),
        ],
        [
            (
                8,
                8,
                lines(
                    "Web page: clients",
                    "Open pages, those that see the detector, and those that were cut off as they took nothing.",
                    "short",
                    {
                        "pages": f"sum({of_web('streamer_web_clients')})",
                        "see the detector": f"sum({of_web('streamer_web_clients_seeing_detector')})",
                        "cut": f"sum({of_web('streamer_web_clients_cut_total')})",
                    },
                ),
            ),
            (
                8,
                8,
                lines(
                    "Web page: messages",
                    "Pictures and texts that pages took, and those that a newer one overtook. Pages that are slow "
                    "drop pictures; nothing waits for them.",
                    "reqps",
                    {
                        "{{kind}}": f"sum by (kind) ({rate_of_web('streamer_web_messages_sent_total')})",
                        "dropped": f"sum({rate_of_web('streamer_web_messages_dropped_total')})",
                    },
                ),
            ),
            (
                8,
                8,
                lines(
                    "Web page: bytes",
                    "Sent to pages: messages, and boxes of tomograms.",
                    "Bps",
                    {
                        "messages": f"sum({rate_of_web('streamer_web_sent_bytes_total')})",
                        "bricks": f"sum({rate_of_web('streamer_web_brick_bytes_total')})",
                    },
                ),
            ),
        ],
    ]
    text = "Memory, processor, disk and GPU of the daemon; node_exporter and dcgm-exporter know the rest of the host."
    return board("streamer-hardware", "Streamer: hardware", text, rows, "3h")
