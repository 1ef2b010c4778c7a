"""Scans shared out among processes: the result is that of one."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import h5py
import numpy as np
import pytest
from numpy.typing import NDArray

from streamer.client import LinkError
from streamer.core.backend.selection import select_backend
from streamer.flow.wire.daemon import Arm
from streamer.flow.wire.looks import GetLatest
from streamer.frames import Decision
from streamer.io.source_file import ScanFile
from streamer.io.tomogram import read_tomogram
from streamer.pipeline.reconstruction.row_blocks import ReadRows
from streamer.pipeline.scan_pipeline import ScanPipeline
from streamer.pipeline.settings import Settings
from tests.cluster.cluster_rig import CENTER, ROWS, Scan, Sharded


@pytest.fixture(scope="module", params=["processes-2", "processes-4", "ray-2", "ray-4"])
def sharded(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sharded]:
    engine, shards = request.param.split("-")
    daemon = Sharded(tmp_path_factory.mktemp("sharded"), int(shards), engine=engine)
    yield daemon
    daemon.close()


def unused(_first: int, _last: int) -> ReadRows:
    raise AssertionError("everything is in memory")


def by_one_process(scan: Scan) -> tuple[NDArray[np.float32], dict[str, NDArray[np.float32]]]:
    """Tomogram and planes of the same frames, made by one pipeline."""
    pipeline = ScanPipeline(scan.spec, select_backend("numba", 1)[0], Settings(), fixed_center=CENTER)
    pipeline.push_batch(scan.metas, scan.pixels)
    pipeline.refine_center()
    tomogram = np.concatenate([block.copy() for _, block in pipeline.tomogram(unused)])  # type: ignore[arg-type]
    return tomogram, pipeline.planes.snapshot()()


def test_a_tomogram_is_that_of_one_process_bit_for_bit(sharded: Sharded) -> None:
    scan = Scan("whole")
    report = sharded.run(scan)
    assert report.error is None
    assert (report.state, report.frames.received, report.frames.missing) == ("complete", scan.spec.frames, 0)
    assert report.tomogram_file is not None
    expected, _ = by_one_process(scan)
    found = read_tomogram(Path(report.tomogram_file))
    assert found.status == "complete"
    np.testing.assert_array_equal(found.data, expected)


def test_planes_are_stitched_of_one_geometry(sharded: Sharded) -> None:
    scan = Scan("planes")
    sharded.run(scan)
    _, expected = by_one_process(scan)
    for name in ("xy", "xz", "yz"):
        latest = sharded.link.ask(GetLatest(name))
        header = latest.header
        assert (header.scan_id, header.angles, header.volume) == ("planes", scan.spec.projections, (ROWS, 64, 64))
        picture = np.frombuffer(latest.pixels, "<u2").reshape(header.shape).astype(np.float64)
        shown = header.lo + picture / 65535 * (header.hi - header.lo)
        step = (header.hi - header.lo) / 65535
        np.testing.assert_allclose(shown, np.clip(expected[name], header.lo, header.hi), atol=2 * step)


def test_the_scout_finds_the_axis_and_judges(sharded: Sharded) -> None:
    scan = Scan("judged")
    report = sharded.run(scan, center=None)
    assert report.center_px == pytest.approx(CENTER, abs=0.1)
    assert report.verdict in (Decision.CONTINUE, Decision.ENOUGH)
    assert report.final
    assert report.plan["shards"] in (2, 4)


def test_the_raw_file_shows_the_rows_of_all_as_one_scan(sharded: Sharded) -> None:
    scan = Scan("raw")
    report = sharded.run(scan)
    with ScanFile.open(Path(report.raw_file)) as file:
        frames = np.array([frame.pixels for frame in file.frames()])
        assert file.spec() == scan.spec
    np.testing.assert_array_equal(frames, scan.pixels)
    with h5py.File(report.raw_file) as opened:
        assert opened["entry/instrument/detector/data"].is_virtual
        assert len(opened["entry/streamer/missing_rows"]) == 0


def test_a_scan_that_cannot_be_shared_out_is_refused_with_the_way_out(sharded: Sharded) -> None:
    scan = Scan("too-low", rows=16)
    with pytest.raises(LinkError, match=r"16 rows are too few for \d shards; set compute\.shards to 1 or less"):
        sharded.link.ask(Arm(scan.spec))
    assert sharded.run(Scan("after-it")).state == "complete"
