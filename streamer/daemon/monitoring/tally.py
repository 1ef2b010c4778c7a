"""What came of all scans since the daemon's start: totals that never decrease, and the numbers of the last one."""

from __future__ import annotations

from collections import Counter

from streamer.daemon.session import Session
from streamer.flow.scan import Ledger, ScanState
from streamer.frames import NOT_JUDGED, Decision, Quality

PHASES = ("between", "waiting", "acquiring", "finishing")
"""How the time passes: no scan is in hand; armed without a frame; from the first frame to the last one; until the final
report."""


class Tally:
    """Counts finished scans. ``Scans.lock`` is held by whoever adds or reads."""

    def __init__(self) -> None:
        self.results = {state.value: 0 for state in ScanState if state.final}
        self.verdicts = dict.fromkeys(Decision, 0)
        self.totals = dict.fromkeys(("duplicate", "late", "corrupt", "disordered"), 0)
        self.unusable: Counter[str] = Counter()  # projections that were set aside, by cause
        self.missing: Counter[str] = Counter()  # frames that never came, by kind
        self.written = 0  # frames in raw files
        self.written_bytes = 0  # pixels in raw files
        self.phases_s = dict.fromkeys(PHASES, 0.0)
        self.quality, self.verdict = Quality(), NOT_JUDGED  # of the last scan
        self.ended_s = 0.0  # when the last scan was over, UTC; 0 for never
        self._ended: float | None = None  # the same on the daemon's clock

    def refused(self, ledger: Ledger, state: ScanState) -> None:
        """Count a scan that was not taken."""
        self.results[state.value] += 1
        self._lacks(ledger)

    def add(self, session: Session, now: float, utc_s: float) -> None:
        """Count a scan that is over ``now`` on the daemon's clock (s)."""
        ledger = session.ledger
        self.results[session.state.value] += 1
        self.verdicts[session.verdict.decision] += 1
        self.unusable.update(session.quality.unusable_counts)
        self._lacks(ledger)
        for name in self.totals:
            self.totals[name] += getattr(ledger, name)
        self.written += session.written
        self.written_bytes += session.written * session.spec.frame_nbytes
        self.quality, self.verdict, self.ended_s = session.quality, session.verdict, utc_s
        self._pass(session, now)

    def _lacks(self, ledger: Ledger) -> None:
        self.missing.update({kind.name.lower(): n for kind, n in ledger.missing_of().items()})

    def _pass(self, session: Session, now: float) -> None:
        first = now if session.first_frame_s is None else session.first_frame_s
        last = first if session.last_frame_s is None else session.last_frame_s
        moments = (self._ended, session.armed_s, first, last, now)
        for phase, begin, end in zip(PHASES, moments, moments[1:], strict=False):
            if begin is not None and end is not None:
                self.phases_s[phase] += max(0.0, end - begin)
        self._ended = now


def figures(quality: Quality) -> dict[str, float]:
    """Numbers of a quality by the name of their metric; those that could not be measured are left out."""
    found: dict[str, float | None] = {
        "coverage_ratio": quality.coverage if quality.expected else None,
        "center_px": quality.center_px,
        "center_confidence": None if quality.center_px is None else quality.center_confidence,
        "center_offset_px": quality.center_offset_px,
        "motion_px": quality.motion_px,
        "misfit_px": quality.misfit_px,
        "resolution_px": quality.resolution_px,
        "projection_snr": quality.snr,
        "voxel_snr": quality.voxel_snr,
        "peak_attenuation": quality.peak_attenuation,
        "flat_drift_ratio": quality.flat_drift,
        "saturated_ratio": quality.saturation,
        "truncated_ratio": quality.truncation,
        "zingers_ratio": quality.zingers,
        "pattern_attenuation": quality.pattern,
        "mass_change_ratio": quality.mass_change,
        "projections_per_column": quality.projections_per_column,
    }
    return {name: value for name, value in found.items() if value is not None}
