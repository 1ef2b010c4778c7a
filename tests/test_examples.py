"""The examples run as they stand, against real processes on this machine."""

from __future__ import annotations

import re
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile

from streamer.flow.scan import ScanState
from streamer.io.raw.nxtomo import NXtomoFile
from streamer.io.source_file import ScanFile
from streamer.io.tomogram import read_tomogram
from tests.daemon.rig import TinyScan
from tests.integration.station import Station

pytestmark = pytest.mark.timeout(900)  # the cache of kernels may be empty

EXAMPLES = Path(__file__).parents[1] / "examples"


def example(name: str, *arguments: object) -> str:
    """What the example prints; it must succeed and complain of nothing."""
    command = [sys.executable, str(EXAMPLES / f"{name}.py"), *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=600, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    return done.stdout


@pytest.fixture(scope="module")
def station(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Station]:
    station = Station(tmp_path_factory.mktemp("station"))
    yield station
    station.close()


@pytest.fixture(scope="module")
def session(station: Station) -> str:
    return example("bluesky_session", station.beamline["control"], station.daemon["control"])


def raw_file(session: str) -> Path:
    return Path(re.search("raw file (.*)", session)[1])


def test_arrays_are_reconstructed_and_the_page_says_what_is_printed() -> None:
    *figures, verdict = example("reconstruct_arrays").splitlines(keepends=True)
    assert "".join(figures) in (EXAMPLES.parent / "docs/how-to/python.md").read_text(encoding="utf-8")
    assert verdict.startswith("ENOUGH")


def test_a_bluesky_session_ends_with_a_verdict(session: str) -> None:
    assert "ENOUGH" in session
    assert re.search(r"\d+ of \d+ frames, ", session), "how it goes is shown while it runs"
    with ScanFile.open(raw_file(session)) as scan:
        assert scan.info.projections == 180


def test_the_session_in_the_readme_runs(station: Station) -> None:
    readme = (EXAMPLES.parent / "README.md").read_text(encoding="utf-8")
    (code,) = (block for block in re.findall(r"```python\n(.*?)```", readme, re.DOTALL) if "RunEngine" in block)
    for usual, here in (("5590", station.beamline["control"]), ("5581", station.daemon["control"])):
        assert f"tcp://127.0.0.1:{usual}" in code
        code = code.replace(f"tcp://127.0.0.1:{usual}", here)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=600, check=False)
    assert done.returncode == 0, done.stderr
    assert re.search(r"ENOUGH: .* /.*weevil.*\.nx", done.stdout), done.stdout
    assert "%|" in done.stdout, "how far it is"


def test_a_file_is_reconstructed_and_written(session: str, tmp_path: Path) -> None:
    pages, volume = tmp_path / "slices.tif", tmp_path / "volume.h5"
    told = example("reconstruct_file", raw_file(session), pages)
    assert "180 projections of 48 × 64 pixels" in told
    example("reconstruct_file", raw_file(session), volume)
    np.testing.assert_array_equal(tifffile.imread(pages), read_tomogram(volume).data)


def test_the_cells_of_a_notebook(session: str, tmp_path: Path) -> None:
    told = example("notebook", raw_file(session), tmp_path / "slice.png")
    assert re.search(r"weevil \(180, 48, 64\) -?0\.0° to 179\.0°", told)
    assert "ENOUGH" in told
    assert (tmp_path / "slice.png").stat().st_size > 10_000


def test_a_policy_decides_as_its_page_says() -> None:
    assert example("own_policy") in (EXAMPLES.parent / "docs/how-to/policy.md").read_text(encoding="utf-8")


def test_a_file_is_followed_while_it_is_written(tmp_path: Path) -> None:
    """From half of its frames to the end of the scan."""
    scan = TinyScan()
    file = NXtomoFile.create(tmp_path / "scan.nx", scan.spec, "")
    for meta, pixels in zip(scan.metas[:50], scan.pixels[:50], strict=True):
        file.append(meta, pixels)
    file.flush()
    command = [sys.executable, EXAMPLES / "read_growing.py", file.path]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as reader:
        assert reader.stdout.readline().startswith("50 frames, the newest at ")
        for meta, pixels in zip(scan.metas[50:], scan.pixels[50:], strict=True):
            file.append(meta, pixels)
        file.close("complete")
        told = reader.stdout.read()
    assert reader.returncode == 0
    assert told.splitlines()[-1] == f"{scan.spec.frames} frames, complete"


@pytest.mark.parametrize(
    ("name", "options", "printed"),
    [
        ("send_frames", {"attach": "always"}, r"195 frames of (\S+) sent"),
        ("send_acknowledged", {"transport": "acknowledged", "bind": True}, r"195 frames of (\S+) are safe"),
    ],
)
def test_a_detector_sends_frames(name: str, options: dict[str, Any], printed: str, tmp_path: Path) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        source = f"tcp://127.0.0.1:{free.getsockname()[1]}"
    station = Station(tmp_path, source={"endpoint": source, **options})
    try:
        scan_id = re.search(printed, example(name, source))[1]
        report = station.final(scan_id)
    finally:
        station.close()
    assert (report.state, report.frames.received) == (ScanState.COMPLETE, 195)
    assert report.center_px == pytest.approx(65.0, abs=0.1)


def test_metrics_are_watched(station: Station, session: str) -> None:
    told = example("watch_metrics", station.daemon["metrics"], 2)
    assert len(told.splitlines()) == 2
    assert re.fullmatch(r" +0 frames/s +[1-9]\d* written +0 missing +ring 0 of \d+", told.splitlines()[0])


def test_events_are_heard(station: Station) -> None:
    command = [sys.executable, EXAMPLES / "listen.py", station.daemon["control"], "1"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as listener:
        assert "backend numba: " in listener.stdout.readline()
        report = station.scan("heard", projections=180)
        told = listener.stdout.read()
    assert listener.returncode == 0
    assert re.search(f"heard is complete\n  192 of 192 frames, {report.verdict}: .*\n  raw file .*heard.nx", told)
