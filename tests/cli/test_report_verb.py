"""``streamer report`` and the summary of ``reconstruct``: whole answers for people, and JSON alone on stdout."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from streamer.cli import main
from streamer.cli.report import MEASURES, lines
from streamer.core.quality.verdict import Limits
from streamer.frames import Decision, Quality, Reason, ReasonCode, Verdict
from streamer.io.archive import Archive, read_archive, sections, write_archive
from streamer.io.raw.nxtomo import NXtomoFile
from streamer.io.tomogram import read_tomogram
from streamer.phantoms import Gaussian, exposures, half_turn, sinogram
from streamer.pipeline.preparation.options import PreparationOptions
from streamer.pipeline.settings import Settings
from tests.io.helpers import SPEC, STARTED, meta_of, pixels_of

REASONS = (
    Reason(ReasonCode.UNUSABLE, "9 of 40 projections hold no image"),
    Reason(ReasonCode.FRAMES_LOST, "3 are missing"),
)


def judged(**changes: Any) -> Archive:
    usual: dict[str, Any] = {
        "verdict": Verdict(Decision.RETAKE, REASONS, final=True),
        "quality": Quality(projections=31, expected=40, coverage=0.775),
        "unusable": {"no light": "12-19", "beam too weak": "30"},
        "frames": {"expected": 50, "received": 47, "missing": 3, "corrupt": 0},
        "settings": sections(Settings()),
    }
    return Archive(SPEC.scan_id, SPEC.sample, **{**usual, **changes})


def raw_file(path: Path, archive: Archive | None = None, lists: Mapping[str, list[int]] | None = None) -> Path:
    file = NXtomoFile.create(path, SPEC, STARTED)
    for index in range(12):
        file.append(meta_of(index), pixels_of(index))
    file.close("incomplete", frames=lists or {})
    if archive is not None:
        write_archive(path, archive)
    return path


def told(path: Path) -> dict[str, list[str]]:
    """Entries of the report by their titles; those without one belong to the title before."""
    found: dict[str, list[str]] = {}
    title = ""
    for line in lines(read_archive(path))[1:]:
        title = line[2:11].strip() or title
        found.setdefault(title, []).append(line[12:])
    return found


def test_verdict_reasons_and_frames_that_were_of_no_use_are_told(tmp_path: Path) -> None:
    lists = {"missing": [3, 4, 5], "corrupt": [9]}
    entries = told(raw_file(tmp_path / "a.nx", judged(), lists))
    assert entries["verdict"][0].startswith("RETAKE, 20")
    assert entries["verdict"][1:] == [str(reason) for reason in REASONS]
    assert entries["unusable"] == ["no light: 12-19", "beam too weak: 30"]
    assert entries["missing"] == ["3 frames: 3-5"]
    assert entries["corrupt"] == ["1 frames: 9"]
    assert "lost" not in entries
    assert entries["frames"] == ["50 expected, 47 received, 3 missing"]  # no word of what there is none of
    assert "options" not in entries  # all at their defaults


def test_a_long_list_of_frames_is_cut_and_says_so(tmp_path: Path) -> None:
    every_other = list(range(0, 40, 2))
    (entry,) = told(raw_file(tmp_path / "a.nx", judged(), {"missing": every_other}))["missing"]
    assert entry == "20 frames: 0, 2, 4, 6, 8, 10, 12, 14, …"


def test_what_was_too_long_for_the_file_is_said_to_lack(tmp_path: Path) -> None:
    many = {"no light": ", ".join(map(str, range(0, 200_000, 2)))}
    entries = told(raw_file(tmp_path / "a.nx", judged(unusable=many)))
    assert entries["unusable"] == ["too long for this file"]
    assert entries["verdict"][0].startswith("RETAKE, 20")


def test_every_measure_is_told_in_its_unit(tmp_path: Path) -> None:
    quality = Quality(
        projections=40, expected=40, coverage=1.0, center_px=5.254, center_confidence=0.987, resolution_px=2.34,
        motion_px=0.125, misfit_px=0.0625, mass_change=0.0123, snr=17.26, saturation=0.0042, flat_drift=0.031,
        truncation=0.25,
    )  # fmt: skip
    (entry,) = told(raw_file(tmp_path / "a.nx", judged(quality=quality)))["measured"]
    assert entry == (
        "coverage 100.0%, centre 5.25 px, confidence 0.99, resolution 2.3 px, motion 0.12 px, misfit 0.062 px, "
        "change of mass 1.2%, signal to noise 17.3, saturated 0.42%, drift of the beam 3.1%, cut off 25%"
    )
    assert set(MEASURES) <= set(quality.to_dict())


def test_limits_and_options_are_those_of_the_scan_not_of_today(tmp_path: Path) -> None:
    settings = Settings(limits=Limits(min_coverage=0.5), preparation=PreparationOptions(zingers=8.0, stripes="live"))
    entries = told(raw_file(tmp_path / "a.nx", judged(settings=sections(settings))))
    assert entries["limits"][0].startswith("min_coverage 0.5, ")
    assert "None" not in entries["limits"][0]
    assert sorted(entries["options"][0].split(", ")) == ["preparation.stripes live", "preparation.zingers 8.0"]


def test_the_report_as_json_is_alone_on_stdout(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = raw_file(tmp_path / "a.nx", judged(), {"missing": [3, 4, 5]})
    assert main(["report", str(path), "--json", "-"]) == 0
    said = capsys.readouterr()
    content = json.loads(said.out)
    assert content == read_archive(path)
    assert (content["missing"], content["unusable"]["no light"]) == ([3, 4, 5], "12-19")
    assert Verdict.from_dict(content) == judged().verdict
    assert said.err.splitlines() == lines(content)


def test_a_reconstruction_tells_programs_what_it_tells_people(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    body = [Gaussian(1.0, 4.0, 2.0, -3.0), Gaussian(0.7, 3.0, -8.0, 6.0)]
    attenuation = np.repeat(0.1 * sinogram(body, 48, half_turn(60), 22.5)[:, None], 2, axis=1)
    scan, out = tmp_path / "scan.h5", tmp_path / "out.h5"
    with h5py.File(scan, "w") as file:
        file["exchange/data"], file["exchange/theta"] = exposures(attenuation), np.arange(60) * 3.0
        file["exchange/data_white"] = exposures(np.zeros((2, 2, 48)))
        file["exchange/data_dark"] = np.full((2, 2, 48), 100, "<u2")
    assert main(["reconstruct", str(scan), "-o", str(out), "--json", "-"]) == 0
    said = capsys.readouterr()
    content = json.loads(said.out)
    assert content["center_px"] == pytest.approx(22.5, abs=0.2)
    tomogram = read_tomogram(out)
    assert tomogram.parameters["center_px"] == pytest.approx(content["center_px"])
    archived = read_archive(out)
    assert (content["verdict"], content["quality"]) == (archived["verdict"], archived["quality"])
    assert "reading scan.h5: " in said.err
    assert said.err.splitlines()[-1].startswith(f"{out}: 2×48×48 in {tomogram.unit}, ")
