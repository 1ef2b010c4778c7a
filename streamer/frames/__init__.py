"""The vocabulary shared by every part of Streamer: plain frozen values, no behaviour of the outside world.

Units are in the names (``_deg``, ``_s``, ``_m``, ``_px``). Arrays are (row, column); columns run perpendicular
to the rotation axis. See the glossary in ``docs/glossary.md``.
"""

from streamer.frames.errors import BadInput, StreamerError, system_reason
from streamer.frames.scan import (
    DTYPES,
    MAX_FRAMES,
    MAX_SIDE,
    NAME,
    Count,
    Frame,
    FrameKind,
    FrameMeta,
    Name,
    PixelType,
    ScanSpec,
    frame_dtype,
)
from streamer.frames.verdict import NOT_JUDGED, Decision, Quality, Reason, ReasonCode, Verdict

__all__ = [
    "DTYPES",
    "MAX_FRAMES",
    "MAX_SIDE",
    "NAME",
    "NOT_JUDGED",
    "BadInput",
    "Count",
    "Decision",
    "Frame",
    "FrameKind",
    "FrameMeta",
    "Name",
    "PixelType",
    "Quality",
    "Reason",
    "ReasonCode",
    "ScanSpec",
    "StreamerError",
    "Verdict",
    "frame_dtype",
    "system_reason",
]
