"""``tomo_advise``: do the settings that it recommends reach the wanted resolution, and does a cheaper scan not?

``python -m benchmarks.plans.advise`` writes results/advise.json. For each sample and each wanted resolution, after the
looks, two scans are taken in the virtual beamline, whose light follows the exposure: with the settings advised, and
with a quarter of their light, which should give 29 % less resolution.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass, replace
from typing import Any

from benchmarks.plans.rig import Rig, rig
from benchmarks.record import record
from streamer_plans import stubs
from streamer_plans.scan import TomoScan
from streamer_plans.scans.advice import Wanted
from streamer_plans.scans.advise import tomo_advise
from streamer_plans.tomo import tomo_fly

COLUMNS, ROWS = 96, 24
KINDS = ["good", "good", "good"]  # a beetle in amber, an implant in bone, a fibre composite
FLAT_EXPOSURE_S = 0.02
WANTED_PX = (6.0, 4.5, 3.5)
MOST_DOSE_S = 4.0
CHEAPER = 1 / 4


@dataclass(frozen=True)
class Case:
    """One sample and one wanted resolution: what was advised, and the resolution of the two scans."""

    sample: int
    wanted_px: float
    advised: Any
    reached_px: float | None
    cheaper_px: float | None

    def to_dict(self) -> dict[str, Any]:
        advice = self.advised.advice
        return {
            "sample": self.sample,
            "wanted_px": self.wanted_px,
            "looks": len(self.advised.looks),
            "dose_of_looks_s": round(self.advised.spent_s, 4),
            "projections": advice.projections,
            "exposure_s": round(advice.exposure_s, 6),
            "rate_hz": round(advice.rate_hz, 2),
            "dose_s": round(advice.dose_s, 4),
            "expected_px": round(advice.resolution_px, 3),
            "reached_px": None if self.reached_px is None else round(self.reached_px, 3),
            "cheaper_px": None if self.cheaper_px is None else round(self.cheaper_px, 3),
        }


def measure(at: Rig, sample: int, wanted_px: float) -> Case:
    """Advice for the mounted sample, and the two scans."""
    plain = TomoScan(f"sample-{sample}", darks=10, flats=20, x_out_mm=6.0, verdict_timeout_s=300.0)
    advised = at.run(tomo_advise(at.beamline, plain, Wanted(wanted_px, MOST_DOSE_S)))
    scan = advised.scan
    dear, cheap = (
        at.run(tomo_fly(at.beamline, replace(scan, exposure_s=share * scan.exposure_s))).report.quality.resolution_px
        for share in (1.0, CHEAPER)
    )
    return Case(sample, wanted_px, advised, dear, cheap)


def main() -> None:
    """Measure, print, and write the result."""
    argparse.ArgumentParser(description=__doc__).parse_args()
    cases = []
    with rig(COLUMNS, ROWS, KINDS, "demo", "--flat-exposure", str(FLAT_EXPOSURE_S)) as at:
        at.beamline.rotation.velocity.put(2000.0)
        for sample in range(len(KINDS)):
            if sample:
                at.engine(stubs.to_exchange(at.beamline.sample_x, at.beamline.changer))
                at.engine(stubs.mount(at.beamline.changer, sample))
            for wanted_px in WANTED_PX:
                cases.append(measure(at, sample, wanted_px))
                print(cases[-1].to_dict())
    reached = [case for case in cases if case.reached_px is not None and case.reached_px <= case.wanted_px]
    missed = [case for case in cases if case.cheaper_px is None or case.cheaper_px > case.wanted_px]
    record(
        "advise",
        {
            "columns": COLUMNS,
            "rows": ROWS,
            "most_dose_s": MOST_DOSE_S,
            "cheaper": CHEAPER,
            "cases": [case.to_dict() for case in cases],
            "advised_reach_it": f"{len(reached)} of {len(cases)}",
            "cheaper_do_not": f"{len(missed)} of {len(cases)}",
        },
    )


if __name__ == "__main__":
    main()
