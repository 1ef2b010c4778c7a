"""What the previews of one moment have in common."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from streamer.daemon.session import Session
from streamer.flow.wire.daemon import PreviewHeader
from streamer.pipeline.scan_pipeline import ScanPipeline


class PreviewHeaders:
    """Makes headers whose ``version`` grows. Belongs to the compute thread."""

    def __init__(self) -> None:
        self._version = 0

    def next(self, session: Session, pipeline: ScanPipeline) -> Callable[..., PreviewHeader]:
        """A header of this moment, in which the rest is for each plane to say."""
        self._version += 1
        duration = (session.last_frame_s or 0.0) - (session.first_frame_s or 0.0)
        verdict = session.verdict
        return partial(
            PreviewHeader,
            scan_id=session.spec.scan_id,
            sample=session.spec.sample,
            version=self._version,
            angles=pipeline.view.count,
            of=session.spec.projections,
            unit=pipeline.unit,
            pixel_size_m=session.spec.pixel_size_m,
            volume=(session.spec.rows, *pipeline.shape[1:]),
            center_px=pipeline.center,
            frame_rate_hz=(session.ledger.received - 1) / duration if duration > 0 else 0.0,
            verdict=verdict.decision,
            reasons=verdict.reasons,
            final=verdict.final,
        )
