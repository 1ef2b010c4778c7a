"""Foreign dialects end to end: a scan is sent as a detector sends it, and the daemon's raw file holds the same."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from streamer.cli import main
from streamer.cli.rig.processes import ANYWHERE, start_daemon
from streamer.client import Link
from streamer.flow.dialects import DIALECTS
from streamer.flow.scan import ScanState
from streamer.flow.wire.daemon import GetStatus, Report
from tests.io.helpers import local_pv_access

ROWS, COLUMNS, PROJECTIONS = 6, 32, 40
KEYS = [2] * 3 + [1] * 4 + [0] * PROJECTIONS + [1] * 4
ANGLES = np.concatenate([np.zeros(7), np.arange(PROJECTIONS) * 4.5 + np.resize([0.0, 0.5], PROJECTIONS), np.zeros(4)])
UNEVEN: dict[str, dict[str, Any]] = {
    "stins": {"source": "attribute", "value": "angle"},
    "adzmq": {"source": "attribute", "value": "angle"},
    "karabo": {"source": "attribute", "value": "DETECTOR:angle"},
    "pva": {"source": "attribute", "value": "angle"},
}
"""Dialects whose images are read with their angles; in the others they are as planned."""


@pytest.fixture(scope="module")
def scan(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An NXtomo file of a disc: darks, flats, projections at uneven angles, flats."""
    path = tmp_path_factory.mktemp("scan") / "scan.nx"
    rng = np.random.default_rng(8)
    across = np.sqrt(np.clip(100.0 - (np.arange(COLUMNS) - 15.5) ** 2, 0, None))
    light = {0: 1000 * np.exp(-0.05 * across), 1: np.full(COLUMNS, 1000.0), 2: np.zeros(COLUMNS)}
    with h5py.File(path, "w") as file:
        entry = file.create_group("entry")
        entry.attrs["NX_class"] = "NXentry"
        entry["definition"] = "NXtomo"
        entry["instrument/detector/data"] = [rng.poisson(np.tile(light[key], (ROWS, 1))).astype("<u2") for key in KEYS]
        entry["instrument/detector/image_key"] = np.array(KEYS)
        entry["sample/rotation_angle"] = ANGLES
        entry["sample/rotation_angle"].attrs["units"] = "degree"
    return path


def replayed(folder: Path, scan: Path, name: str, *options: str, **source: Any) -> Report:
    """The report of a scan that a daemon of its own took in a dialect."""
    daemon = start_daemon(
        folder,
        source={"endpoint": ANYWHERE, "bind": name != "pva", "dialect": name, **source},
        positions=UNEVEN.get(name, {}),
        writer={"directory": folder / "data", "reserve_mb": 0},
    )
    try:
        ends = daemon.wait_ready()
        words = ["replay", str(scan), "--to", ends["source"], "--control", ends["control"]]
        if name != "pva":
            words += ["--connect"]
        assert main([*words, "--dialect", name, "--scan-id", "scan", *options]) == 0, daemon.log.read_text()
        with Link(ends["control"], "the daemon") as link:
            report = link.ask(GetStatus("scan")).scan
    finally:
        daemon.stop(timeout_s=100)
    assert report is not None
    return report


def check_file(report: Report, scan: Path, angles: Any) -> None:
    with h5py.File(report.raw_file) as raw, h5py.File(scan) as sent:
        for name in ("data", "image_key"):
            path = f"entry/instrument/detector/{name}"
            np.testing.assert_array_equal(raw[path][()], sent[path][()])
        stored = raw["entry/sample/rotation_angle"][()][7:-4]
    np.testing.assert_allclose(stored, angles, atol=1e-6)


@pytest.mark.parametrize("name", [name for name in DIALECTS if name not in ("array-1.0", "adzmq")])
def test_a_scan_that_is_replayed_in_a_dialect_is_in_the_raw_file(tmp_path: Path, scan: Path, name: str) -> None:
    report = replayed(tmp_path, scan, name)
    assert (report.state, report.frames.received, report.frames.expected) == (ScanState.COMPLETE, 51, 51)
    first, step = ANGLES[7], (ANGLES[-5] - ANGLES[7]) / (PROJECTIONS - 1)
    planned = first + step * np.arange(PROJECTIONS)
    check_file(report, scan, ANGLES[7:-4] if name in UNEVEN else planned)


def test_images_that_are_pushed_where_they_are_usually_published(tmp_path: Path, scan: Path) -> None:
    report = replayed(tmp_path, scan, "adzmq", "--socket", "pull", "--rate", "1000", socket="pull")
    check_file(report, scan, ANGLES[7:-4])


def test_a_pv_is_never_further_than_the_daemon_can_take(
    tmp_path: Path, scan: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in local_pv_access().items():
        monkeypatch.setenv(name, value)
    report = replayed(tmp_path, scan, "pva", endpoint="pva://camera:image")
    assert (report.state, report.frames.missing, report.frames.received) == (ScanState.COMPLETE, 0, 51)
    check_file(report, scan, ANGLES[7:-4])
