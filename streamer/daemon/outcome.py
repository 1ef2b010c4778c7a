"""How a scan ended, and what was made of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass
class Ending:
    """How the frames of a scan ended. ``status``: ok, stopped, aborted or stalled."""

    status: str
    note: str = ""


@dataclass
class Result:
    """What the finisher produced."""

    tomogram_files: list[str] = field(default_factory=list)
    last_frame_to_tomogram_s: float | None = None
    artefacts: Mapping[str, float | None] = field(default_factory=dict)
    geometry: dict[str, Any] = field(default_factory=dict)
    error: str | None = None

    @property
    def tomogram_file(self) -> str | None:
        """The latest one."""
        return self.tomogram_files[-1] if self.tomogram_files else None
