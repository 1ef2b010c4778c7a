"""What the configuration says of the raw writer, as its process takes it."""

from __future__ import annotations

from streamer.config import Config
from streamer.io.raw.writer_child import WriterOptions


def writer_options(config: Config, source_keeps: bool) -> WriterOptions:
    """``source_keeps``: whether frames are kept where they come from until they are acknowledged."""
    section = config.writer
    return WriterOptions(
        flush_s=section.flush_s,
        reserve_bytes=int(section.reserve_mb * 2**20),
        fsync_s=section.fsync_s,
        hang_s=section.hang_s,
        patience_s=section.patience_s,
        source_keeps=source_keeps,
        direct=section.direct,
        verify=section.verify,
        keep_compressed=section.keep_compressed,
    )
