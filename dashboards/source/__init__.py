"""The Python that writes the dashboards: ``python -m dashboards.source`` (``make dashboards``)."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from grafana_foundation_sdk.cog.encoder import JSONEncoder

from dashboards.source.hardware import hardware
from dashboards.source.latency import latency
from dashboards.source.overview import overview
from dashboards.source.quality import quality
from dashboards.source.samples import samples

BOARDS: dict[str, Callable[[], Any]] = {
    "overview": overview,
    "latency": latency,
    "samples": samples,
    "quality": quality,
    "hardware": hardware,
}
"""By the name of their file."""


def as_json(board: Any) -> str:
    return json.dumps(board.build(), cls=JSONEncoder, indent=1, ensure_ascii=False) + "\n"
