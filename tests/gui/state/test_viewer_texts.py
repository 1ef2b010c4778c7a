"""The words of a viewer: numbers with their units, reasons that fit the banner, and nothing that is not known."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from streamer.flow.scan import ScanState
from streamer.flow.wire.daemon import PlaneSpec
from streamer.frames import Decision, Reason, ReasonCode, Verdict
from streamer.gui.state.model import ViewModel
from streamer.gui.state.plane import PlanePicture
from streamer.gui.state.scan import ShownScan
from streamer.gui.state.texts import SILENT_S, Connection, Texts

ENDPOINT = "tcp://127.0.0.1:5581"
MOVED = Reason(ReasonCode.MOTION, "it moved by 3 px")
ZINGERS = Reason(ReasonCode.ZINGERS, "1 in 900 pixels")
LONG = Reason(ReasonCode.MISFIT, "x" * 90)


def texts_of(**known: Any) -> Texts:
    """What is said at second 0 of a scan that runs, of which this is known."""
    model = ViewModel(ENDPOINT)
    model.heard_s = model.data_s = 0.0
    model.scan = ShownScan(**{"scan_id": "s1", "sample": "foam", "state": ScanState.ACQUIRING, **known})
    return Texts(model)


@pytest.mark.parametrize(
    ("rate", "words"),
    [(480.4, "480 frames/s"), (10.0, "10 frames/s"), (9.44, "9.4 frames/s"), (0.3, "0.3 frames/s"), (None, "–")],
)
def test_the_frame_rate_has_a_decimal_only_where_it_is_small(rate: float | None, words: str) -> None:
    assert texts_of(frame_rate_hz=rate, angles=5, of=90).rate(0.0) == words


def test_a_rate_of_old_is_not_the_rate_of_now() -> None:
    texts = texts_of(frame_rate_hz=4.0, angles=10, of=90)
    assert (texts.rate(1.0), texts.left(1.0)) == ("4.0 frames/s", "20 s left")
    assert texts.link(3.0) is Connection.STALLED
    assert (texts.rate(3.0), texts.left(3.0)) == ("–", "")
    assert texts.link(SILENT_S + 0.1) is Connection.WAITING
    assert texts.rate(SILENT_S + 0.1) == "–"


@pytest.mark.parametrize(
    ("center", "confidence", "words"),
    [
        (None, None, ("not known yet", "")),
        (511.517, 0.934, ("511.52 px", "confidence 93 %")),
        (-3.2, 0.5, ("−3.20 px", "confidence 50 %")),
        (700.0, None, ("700.00 px", "")),
    ],
)
def test_the_centre_of_rotation(center: float | None, confidence: float | None, words: tuple[str, str]) -> None:
    texts = texts_of(center_px=center, center_confidence=confidence)
    assert (texts.center, texts.confidence) == words
    texts.model.center_wanted(12.25)
    assert (texts.center, texts.confidence) == ("12.25 px", "held by hand")


@pytest.mark.parametrize(
    ("pixel_m", "bin_by", "step", "words"),
    [(6.5e-6, 1, 1.0, "15.9 µm"), (13e-6, 2, 1.0, "15.9 µm"), (39e-6, 3, 2.0, "15.9 µm"), (None, 1, 1.0, "")],
)
def test_the_resolution_is_in_voxels_of_the_scan_not_of_the_picture(
    pixel_m: float | None, bin_by: int, step: float, words: str
) -> None:
    texts = texts_of(resolution_px=2.44)
    assert (texts.resolution, texts.resolution_length) == ("2.4 px", "")
    place = PlaneSpec("xy", (0.0, 0.0, 0.0), (step, 0.0, 0.0), (0.0, step, 0.0), (8, 8))
    image = np.zeros((8, 8), np.float32)
    texts.model.planes["xy"] = PlanePicture("xy", "s1", "foam", image, "1/cm", 1, 9, bin_by, pixel_m, place)
    assert texts.resolution_length == words
    texts.model.scan = ShownScan("s1")
    assert (texts.resolution, texts.resolution_length) == ("–", "")


@pytest.mark.parametrize(
    ("reasons", "final", "words"),
    [
        ((MOVED,), True, "motion: it moved by 3 px"),
        ((MOVED,), False, "so far: motion: it moved by 3 px"),
        ((MOVED, ZINGERS), True, "motion: it moved by 3 px\nzingers: 1 in 900 pixels"),
        ((MOVED, ZINGERS, MOVED), True, "motion: it moved by 3 px; zingers: 1 in 900 pixels; motion: it moved by 3 px"),
        ((MOVED, LONG), True, f"motion: it moved by 3 px; misfit: {LONG.text}"),
        ((), True, ""),
    ],
)
def test_reasons_have_a_line_each_where_the_banner_has_room(
    reasons: tuple[Reason, ...], final: bool, words: str
) -> None:
    texts = texts_of(verdict=Verdict(Decision.RETAKE, reasons, final))
    assert texts.reasons == words


def test_an_error_goes_before_the_verdict_and_the_end_of_a_scan_makes_its_verdict_the_last_word() -> None:
    texts = texts_of(verdict=Verdict(Decision.RETAKE, (MOVED,)), state=ScanState.ABORTED)
    assert texts.reasons == "motion: it moved by 3 px"
    assert texts.advice.startswith("→ Fix the sample")
    texts.model.scan = replace(texts.model.scan, error="no memory for the tomogram")
    assert texts.reasons == "no memory for the tomogram"
    unjudged = texts_of()
    assert (unjudged.verdict, unjudged.reasons, unjudged.advice) == (
        "NO VERDICT", "nothing has been measured yet", "",
    )  # fmt: skip


@pytest.mark.parametrize(
    ("decision", "final", "words"),
    [
        (Decision.CONTINUE, False, "→ Let it run."),
        (Decision.ENOUGH, False, "→ It may be stopped: what has come is enough."),
        (Decision.ENOUGH, True, "→ Go on with the next sample."),
    ],
)
def test_advice_on_a_good_scan(decision: Decision, final: bool, words: str) -> None:
    assert texts_of(verdict=Verdict(decision, (), final)).advice == words


def test_what_stands_in_the_place_of_planes_that_have_not_come() -> None:
    texts = texts_of()
    assert texts.empty(0.0) == "waiting for the first planes of foam"
    texts.model.scan = replace(texts.model.scan, sample="")
    assert texts.empty(0.0) == "waiting for the first planes of s1"
    assert texts.title == "sample   ·   scan s1"
    texts.model.scan = replace(texts.model.scan, sample="foam", state=ScanState.ABORTED)
    assert texts.empty(0.0) == "scan aborted\nno planes came of foam"
    assert texts.empty(9.0) == f"waiting for the daemon at {ENDPOINT} (silent for 9 s)"
    texts.model.scan = ShownScan()
    assert (texts.empty(0.0), texts.title, texts.angles) == ("connected, no scan", "no scan yet", "no angles yet")


def test_more_projections_than_were_announced_are_a_full_bar() -> None:
    texts = texts_of(angles=91, of=90)
    assert (texts.angles, texts.fraction, texts.left(0.0)) == ("91 of 90 angles", 1.0, "")


def test_files_disk_and_name_of_a_snapshot() -> None:
    texts = texts_of(tomogram_file="/data/s1.h5", angles=7, of=90)
    assert texts.files == [("tomogram", "/data/s1.h5")]
    texts.model.scan = replace(texts.model.scan, raw_file="/data/s1.nx")
    assert texts.files == [("raw frames", "/data/s1.nx"), ("tomogram", "/data/s1.h5")]
    assert texts.disk == ""
    texts.model.disk_free_bytes = 1_233_900_000_000
    assert texts.disk == "1234 GB free"
    assert texts.snapshot_name == "streamer_s1_7of90.png"
    assert Texts(ViewModel(ENDPOINT)).snapshot_name == "streamer_no-scan_0of0.png"


def test_everything_in_one_line() -> None:
    known = {"angles": 130, "of": 370, "frame_rate_hz": 480.0, "missing": 2, "corrupt": 1}
    texts = texts_of(center_px=511.517, center_confidence=0.934, verdict=Verdict(Decision.CONTINUE), **known)
    assert texts.status_line(0.0).split("  ·  ") == [
        "live", "130 of 370 angles", "480 frames/s", "0 s left", "centre 511.52 px confidence 93 %",
        "2 missing, 1 corrupt", "CONTINUE",
    ]  # fmt: skip
    texts.model.scan, texts.model.broken = ShownScan(), 3
    assert texts.status_line(0.0) == "connected, no scan  ·  3 unreadable messages"
