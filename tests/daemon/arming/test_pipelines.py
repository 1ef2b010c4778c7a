"""Where the reconstruction of a scan begins."""

from __future__ import annotations

import pytest
from msgspec import structs

from tests.daemon.rig import COLUMNS, Rig, TinyScan

SPEC = TinyScan().spec


def test_a_scan_begins_about_the_axis_of_the_one_before(rig: Rig) -> None:
    before = TinyScan()
    rig.run(before)
    rig.finish(before)
    axis = rig.session(before).result.geometry["detector_center_px"]
    for name, changes, begun in (
        ("same", {}, axis),
        ("wider", {"columns": 2 * COLUMNS}, COLUMNS - 0.5),
        ("finer", {"pixel_size_m": 5e-6}, (COLUMNS - 1) / 2),
        ("told", {"center_px": 20.0}, 20.0),
    ):
        pipeline = rig.scans.arm(structs.replace(SPEC, scan_id=name, **changes)).pipeline
        assert pipeline is not None
        assert pipeline.axis == pytest.approx(begun, abs=1e-3)
        assert pipeline.tracker.known is (name == "told"), "it is a guess, not a finding"
        rig.scans.disarm(name)
        rig.turn_until(lambda: rig.scans.current is None or rig.scans.current.over)
