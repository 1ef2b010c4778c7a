"""The verdict in raw files and tomograms."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import h5py
import numpy as np
import pytest

from streamer import __version__
from streamer.cli import main
from streamer.cli.report import lines
from streamer.frames import BadInput, Decision, Quality, Reason, ReasonCode, Verdict
from streamer.io.archive import GROUP, TOO_LONG, Archive, read_archive, sections, versions, write_archive
from streamer.io.raw.nxtomo import NXtomoFile
from streamer.io.raw.segments import seal
from streamer.io.source_file import ScanFile
from streamer.io.tomogram import TomogramFile, read_tomogram
from streamer.pipeline.settings import ReconstructionOptions, Settings
from tests.io.helpers import SPEC, STARTED, meta_of, pixels_of

REASONS = (Reason(ReasonCode.MOTION, "the sample moved by 3 px"), Reason(ReasonCode.SET_ASIDE, "µ: 2 no light"))
ARCHIVE = Archive(
    SPEC.scan_id,
    SPEC.sample,
    Verdict(Decision.RETAKE, REASONS, final=True),
    Quality(projections=40, expected=40, coverage=0.95, center_px=5.25, center_confidence=0.9, motion_px=3.0),
    unusable={"no light": "12-13"},
    frames={"expected": 50, "received": 48, "missing": 2},
    settings=sections(Settings(reconstruction=ReconstructionOptions(window="hann"))),
    notes=("nothing else",),
)


def raw_file(path: Path) -> Path:
    file = NXtomoFile.create(path, SPEC, STARTED)
    for index in range(48):
        file.append(meta_of(index), pixels_of(index))
    file.close("incomplete", frames={"missing": [48, 49]}, note="cut")
    return path


def tomogram(path: Path) -> Path:
    with TomogramFile.create(path, (2, 4, 4), SPEC) as file:
        file.write_rows(0, np.ones((2, 4, 4), np.float32))
    return path


@pytest.mark.parametrize("make", [raw_file, tomogram])
def test_what_is_written_is_read_back(tmp_path: Path, make: type) -> None:
    path = make(tmp_path / "a.h5")
    size = path.stat().st_size
    write_archive(path, ARCHIVE)
    content = read_archive(path)
    assert Verdict.from_dict(content) == ARCHIVE.verdict
    assert content["quality"] == ARCHIVE.quality.to_dict()
    assert (content["frames"], content["unusable"]) == (ARCHIVE.frames, ARCHIVE.unusable)
    assert (content["scan_id"], content["sample"]) == (SPEC.scan_id, SPEC.sample)
    assert content["settings"]["limits"] == Settings().limits.model_dump(mode="json")
    assert content["versions"] == versions()
    assert content["versions"]["streamer"] == __version__
    assert path.stat().st_size == size
    with h5py.File(path) as file:
        group = file[GROUP]
        assert (group.attrs["NX_class"], group["account"].attrs["NX_class"]) == ("NXprocess", "NXnote")
        assert group["decision"].asstr()[()] == "RETAKE"
        assert group["reasons"].asstr()[()].splitlines() == [str(reason) for reason in REASONS]
        assert group["program"].asstr()[()] == "Streamer"
        assert group["date"].asstr()[()] == content["date"] != ""


def test_pixels_are_left_alone(tmp_path: Path) -> None:
    raw, volume = raw_file(tmp_path / "a.nx"), tomogram(tmp_path / "v.h5")
    for path in (raw, volume):
        write_archive(path, ARCHIVE)
    np.testing.assert_array_equal(read_tomogram(volume).data, np.ones((2, 4, 4)))
    with ScanFile.open(raw) as scan:
        np.testing.assert_array_equal([frame.pixels for frame in scan.frames()], [pixels_of(i) for i in range(48)])


def test_it_may_be_written_again(tmp_path: Path) -> None:
    path = raw_file(tmp_path / "a.nx")
    write_archive(path, ARCHIVE)
    write_archive(path, replace(ARCHIVE, verdict=Verdict(Decision.ENOUGH, final=True)))
    assert Verdict.from_dict(read_archive(path)) == Verdict(Decision.ENOUGH, final=True)


def test_what_is_too_long_says_so(tmp_path: Path) -> None:
    path = raw_file(tmp_path / "a.nx")
    write_archive(path, replace(ARCHIVE, notes=["x" * 1000] * 500, unusable={"no light": "1, " * 100_000}))
    content = read_archive(path)
    assert (content["notes"], content["unusable"]) == (TOO_LONG, TOO_LONG)
    assert content["settings"] == ARCHIVE.settings
    assert lines(content)


def test_a_file_without_room_stays_as_it_is(tmp_path: Path) -> None:
    path = raw_file(tmp_path / "a.nx")
    with h5py.File(path, "r+") as file:
        del file[GROUP]
    before = path.read_bytes()
    with pytest.raises(BadInput, match="has no room for a verdict"):
        write_archive(path, ARCHIVE)
    assert path.read_bytes() == before


def test_no_link_is_followed(tmp_path: Path) -> None:
    path = raw_file(tmp_path / "a.nx")
    (tmp_path / "link.nx").symlink_to(path)
    with pytest.raises(OSError, match="symbolic link"):
        write_archive(tmp_path / "link.nx", ARCHIVE)


def test_the_file_that_joins_segments_keeps_it(tmp_path: Path) -> None:
    path = raw_file(tmp_path / "a.nx")
    write_archive(path, ARCHIVE)
    with h5py.File(path) as file:
        at = file["entry/instrument/detector/data"].id.get_chunk_info(7).byte_offset
    content = bytearray(path.read_bytes())
    content[at] ^= 1
    path.write_bytes(content)
    assert seal(path).lost.tolist() == [7]
    assert read_archive(path)["lost"] == [7]
    assert Verdict.from_dict(read_archive(path)) == ARCHIVE.verdict


class TestReport:
    def test_everything_is_told(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        path = raw_file(tmp_path / "a.nx")
        write_archive(path, ARCHIVE)
        assert main(["report", str(path), "--json", str(tmp_path / "r.json")]) == 0
        told = capsys.readouterr().out.splitlines()
        assert told[0] == f"raw file of scan {SPEC.scan_id} of {SPEC.sample}: incomplete"
        for line in (
            "  note      cut",
            "  missing   2 frames: 48-49",
            "            motion: the sample moved by 3 px",
            "  frames    50 expected, 48 received, 2 missing",
            "  unusable  no light: 12-13",
            "  measured  coverage 95.0%, centre 5.25 px, confidence 0.90, motion 3.00 px",
            "  options   reconstruction.window hann",
            "  note      nothing else",
        ):
            assert line in told
        assert any(line.startswith("  verdict   RETAKE, 20") for line in told)
        assert any(line.startswith("  limits    min_coverage 0.98, ") for line in told)
        assert any(f"streamer {__version__}" in line for line in told)
        assert '"code": "motion"' in (tmp_path / "r.json").read_text()

    @pytest.mark.parametrize("make", [raw_file, tomogram])
    def test_a_scan_that_was_not_judged(self, tmp_path: Path, make: type) -> None:
        content = read_archive(make(tmp_path / "a.h5"))
        assert "  verdict   none: the scan was not judged, or its daemon ended before" in lines(content)

    def test_another_file_is_refused(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        with h5py.File(tmp_path / "a.h5", "w") as file:
            file["x"] = 1
        assert main(["report", str(tmp_path / "a.h5")]) == 2
        assert capsys.readouterr().err.endswith("a.h5: neither a raw file nor a tomogram of Streamer\n")
