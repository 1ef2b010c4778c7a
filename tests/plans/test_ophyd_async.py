"""Devices of ophyd-async beside those of ophyd, in the same plans and the same RunEngine."""

from __future__ import annotations

from dataclasses import replace

import bluesky.plan_stubs as bps
import pytest

from streamer.client import LinkTimeout
from streamer_plans.tomo import tomo_fly, tomo_step


@pytest.mark.parametrize("plan", [tomo_fly, lambda station, scan: tomo_step(station, scan, [0.0, 60.0, 120.0])])
def test_a_stage_of_ophyd_async_takes_the_sample_out_and_in(engine, documents, start_daemon, connect, scan, plan):
    from ophyd_async.sim import SimMotor  # of the extra "epics"

    motor = SimMotor("sample_x", instant=True)
    station = replace(connect(start_daemon()), sample_x=motor)
    outcome = engine(plan(station, replace(scan, x_in_mm=0.25))).plan_result
    assert outcome.report.state == "complete"
    assert documents.announced("detector") == outcome.report.written
    assert engine(bps.rd(motor)).plan_result == 0.25


class Deaf:
    """A device that cannot be connected."""

    name = "rotation"

    async def connect(self) -> None:
        raise TimeoutError("ca://NOBODY:m1.RBV:\n  not found")


def test_what_cannot_be_connected_is_named_before_anything_moves(engine, documents, start_daemon, connect, scan):
    station = replace(connect(start_daemon()), rotation=Deaf())
    with pytest.raises(LinkTimeout, match=r"^rotation cannot be connected: ca://NOBODY:m1.RBV: not found$"):
        engine(tomo_fly(station, scan))
    assert documents.all == []
