"""Waiting for the daemon and the beamline: after one of them is gone, and for a scan whose session ended."""

import time
from typing import Any

import bluesky.plan_stubs as bps

from streamer.client import LinkError, LinkTimeout
from streamer.flow.wire.daemon import Report

from .. import stubs
from ..stubs import Plan

ASK_S = 1.0


def await_servers(station: Any, patience_s: float) -> Plan:
    """Wait until both answer again. Returns whether they do, within ``patience_s`` seconds."""

    def answer() -> bool:
        try:
            station.streamer.version()
            station.changer.inventory()
        except (LinkError, LinkTimeout):
            return False
        return True

    end = time.monotonic() + patience_s
    while not (yield from stubs.call(answer)):
        if time.monotonic() > end:
            return False
        yield from bps.sleep(ASK_S)
    return True


def report_of(station: Any, scan_id: str, patience_s: float) -> Plan:
    """The report of a scan that nobody waited for, once it is over. None when the daemon does not know it."""

    def ask() -> Report | None:
        try:
            report: Report | None = station.streamer.poll(scan_id)
        except (LinkError, LinkTimeout):
            return None
        return report

    end = time.monotonic() + patience_s
    while True:
        report = yield from stubs.call(ask)
        if report is None or report.state.final or time.monotonic() > end:
            return report
        yield from bps.sleep(ASK_S)
