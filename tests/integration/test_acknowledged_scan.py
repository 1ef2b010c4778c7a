"""The acknowledged transport between real processes."""

from __future__ import annotations

from pathlib import Path

import h5py
from msgspec import convert
from station import Station

from streamer.cli import main
from streamer.cli.rig.processes import ANYWHERE, start_daemon
from streamer.client import Link
from streamer.flow.wire.beamline import Faults
from streamer.flow.wire.daemon import FrameCounts, GetStatus


def test_a_scan_is_accounted_for_and_its_file_becomes_many(tmp_path: Path) -> None:
    """Faults of the source come through as they are; replays in a row wait for each other, and none is lost."""
    station = Station(tmp_path / "station", transport="acknowledged")
    try:
        faults = convert({"drop": [60], "duplicate": [80, 81], "reorder": [100], "corrupt": [70]}, Faults)
        report = station.scan("faulty", faults=faults)
    finally:
        station.close()
    assert report.frames == FrameCounts(
        expected=102, received=100, missing=1, duplicate=2, corrupt=1, missing_projections=1
    )
    assert report.written == 100
    daemon = start_daemon(
        tmp_path / "replayed",
        source={"endpoint": ANYWHERE, "bind": True, "transport": "acknowledged"},
        writer={"directory": tmp_path / "replayed", "reserve_mb": 0},
    )
    try:
        endpoints = daemon.wait_ready()
        options = ["--to", endpoints["source"], "--connect", "--transport", "acknowledged", "--control", "none"]
        for number in range(3):
            assert main(["replay", report.raw_file, *options, "--scan-id", f"again-{number}"]) == 0
        with Link(endpoints["control"], "the daemon") as link:
            scans = [link.ask(GetStatus(f"again-{number}")).scan for number in range(3)]
    finally:
        daemon.stop()
    assert [scan is not None and scan.state.final and scan.written for scan in scans] == [100, 100, 100]
    with h5py.File(tmp_path / "replayed" / "again-2.nx") as file:
        assert len(file["entry/instrument/detector/data"]) == 100
