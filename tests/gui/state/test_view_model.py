"""What a viewer knows and says, without Qt and without sockets."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streamer.flow.scan import ScanState
from streamer.flow.wire import WireError, decode_as, pack
from streamer.flow.wire.daemon import DaemonStatus, Report, read_preview
from streamer.flow.wire.events import read_event
from streamer.flow.wire.looks import PastScans
from streamer.frames import Decision
from streamer.gui.state.model import MAX_HISTORY, MAX_PLANES, ViewModel
from streamer.gui.state.scan import ShownScan
from streamer.gui.state.texts import Connection, Texts, duration

ENDPOINT = "tcp://127.0.0.1:5581"
FINE = {"code": "nothing_wrong", "text": "fine so far"}
MOVED = {"code": "motion", "text": "it moved"}


def header(**changes: Any) -> dict[str, Any]:
    entries = {
        "scan_id": "s1", "sample": "foam", "plane": "xy", "version": 1, "angles": 127, "of": 360, "shape": [4, 6],
        "lo": -1.0, "hi": 3.0, "unit": "1/cm", "pixel_size_m": 1e-5, "bin": 2, "center_px": 511.5,
        "frame_rate_hz": 480.0, "verdict": "CONTINUE", "reasons": [FINE],
    }  # fmt: skip
    return {**entries, **changes}


def pixels(rows: int = 4, columns: int = 6) -> bytes:
    return np.linspace(0, 65535, rows * columns).astype("<u2").tobytes()


def report(**changes: Any) -> dict[str, Any]:
    frames = {"expected": 400, "received": 150, "missing": 2, "duplicate": 0, "late": 0, "corrupt": 1}
    base = {"scan_id": "s1", "sample": "foam", "state": "acquiring", "frames": frames}
    progress = {"projections": {"received": 130, "expected": 360}, "verdict": "CONTINUE", "reasons": [], "final": False}
    quality = {"center_px": 511.52, "center_confidence": 0.93, **changes.pop("quality", {})}
    return {**base, **progress, "quality": quality, **changes}


def show(model: ViewModel, entries: dict[str, Any], payload: bytes, now: float) -> bool:
    """A preview from the network, read as the client reads it; whether it could be true."""
    try:
        model.preview(*read_preview([b"plane", pack(entries), payload]), now)
    except WireError:
        model.broken += 1
        return False
    return True


def hear(model: ViewModel, topic: str, entries: dict[str, Any], now: float) -> None:
    try:
        model.event(read_event([topic.encode(), pack(entries)]), now)
    except WireError:
        model.broken += 1


def learn(model: ViewModel, entries: dict[str, Any], now: float) -> None:
    endpoints = {"control": ENDPOINT, "events": "", "preview": "", "source": ""}
    ring = {"slots": 0, "occupied": 0, "high_water": 0}
    status = {"state": "idle", "version": "1", "backend": "numba", "endpoints": endpoints, "ring": ring, **entries}
    try:
        model.status(decode_as(pack(status), DaemonStatus, "status"), now)
    except WireError:
        model.broken += 1


@pytest.fixture
def model() -> ViewModel:
    return ViewModel(ENDPOINT)


def test_a_plane_is_shown_with_its_values(model: ViewModel) -> None:
    assert show(model, header(), pixels(), 0.0)
    image = model.planes["xy"].image
    assert image.dtype == np.float32
    np.testing.assert_allclose(image.ravel(), np.linspace(-1, 3, 24), atol=4 / 65535)
    assert Texts(model).angles == "127 of 360 angles"
    assert Texts(model).center == "511.50 px"
    assert Texts(model).rate(0.5) == "480 frames/s"
    assert Texts(model).verdict == "CONTINUE"
    assert Texts(model).reasons == "so far: nothing_wrong: fine so far"
    assert model.revisions["xy"] == 1


@pytest.mark.parametrize(
    "changes",
    [
        {"shape": [4, 7]}, {"shape": [4]}, {"shape": "46"}, {"shape": [True, 24]}, {"shape": [-4, -6]}, {"shape": None},
        {"shape": [0, 0]}, {"shape": [2**63, 1]}, {"lo": 4.0}, {"lo": float("nan")}, {"hi": float("inf")},
        {"hi": 1e300}, {"lo": None}, {"plane": ""}, {"plane": "../x"}, {"plane": 3}, {"scan_id": None},
        {"angles": -1}, {"angles": 1.5}, {"of": None}, {"bin": 0}, {"pixel_size_m": -1.0}, {"pixel_size_m": "1"},
        {"reasons": "no"}, {"reasons": [1]}, {"reasons": ["it moved"]}, {"reasons": [{"code": "motion"}]},
        {"verdict": 7}, {"unit": 5}, {"center_px": "left"}, {"frame_rate_hz": float("nan")},
    ],
)  # fmt: skip
def test_a_plane_that_cannot_be_true_is_counted_and_changes_nothing(model: ViewModel, changes: dict[str, Any]) -> None:
    show(model, header(), pixels(), 0.0)
    before = (model.scan, dict(model.planes), dict(model.revisions))
    assert not show(model, header(**changes), pixels(), 1.0)
    assert model.broken == 1
    assert (model.scan, model.planes, model.revisions) == before
    assert Texts(model).status_line(1.0).endswith("1 unreadable messages")


values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats()
    | st.text(max_size=5)
    | st.binary(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)
known = st.sampled_from(sorted({*header(), *report(), "report", "quality", "state", "version", "scan"}))


@settings(max_examples=150, deadline=None)
@given(changes=st.dictionaries(known, values, max_size=5), payload=st.binary(max_size=60), topic=st.text(max_size=8))
def test_garbage_never_raises(changes: dict[str, Any], payload: bytes, topic: str) -> None:
    model = ViewModel(ENDPOINT)
    show(model, {**header(), **changes}, pixels(), 0.0)
    show(model, {**header(), **changes}, payload, 0.0)
    for each in ("scan", "progress", "verdict", topic):
        hear(model, each, {**report(), **changes}, 1.0)
        hear(model, each, {"scan_id": "s1", "report": {**report(), **changes}, "quality": changes}, 1.0)
        hear(model, each, changes, 1.0)
    learn(model, {"scan": {**report(), **changes}}, 2.0)
    learn(model, changes, 2.0)
    assert Texts(model).status_line(3.0).isprintable()
    assert all(
        np.isfinite([model.contrast.levels(name).low, model.contrast.levels(name).high]).all() for name in model.planes
    )
    assert isinstance(Texts(model).reasons + Texts(model).title + Texts(model).empty(3.0), str)


def test_the_connection_in_words(model: ViewModel) -> None:
    assert Texts(model).link_text(0.0) == f"waiting for the daemon at {ENDPOINT}"
    learn(model, {"state": "idle", "scan": None}, 1.0)
    assert Texts(model).link_text(1.0) == "connected, no scan"
    hear(model, "scan", {"scan_id": "s1", "state": "armed"}, 2.0)
    assert Texts(model).link_text(2.0) == "connected, scan armed"
    hear(model, "scan", {"scan_id": "s1", "state": "acquiring"}, 3.0)
    show(model, header(), pixels(), 3.0)
    assert (Texts(model).link(4.0), Texts(model).link_text(4.0)) == (Connection.LIVE, "live")
    learn(model, {"scan": report(frames={"received": 0})}, 7.0)
    assert (Texts(model).link(7.0), Texts(model).link_text(7.0)) == (Connection.STALLED, "no frame for 4 s")
    assert Texts(model).rate(7.0) == "–"
    hear(model, "progress", {"scan_id": "s1", "report": report()}, 8.0)
    assert Texts(model).link_text(8.0) == "live"
    hear(model, "scan", {"scan_id": "s1", "state": "draining"}, 9.0)
    assert Texts(model).link_text(9.0) == "live, draining"
    hear(model, "scan", {"scan_id": "s1", "state": "incomplete", "report": report(state="incomplete")}, 9.0)
    assert (Texts(model).link(10.0), Texts(model).link_text(10.0)) == (Connection.FINISHED, "scan incomplete")
    assert Texts(model).link_text(21.0) == f"waiting for the daemon at {ENDPOINT} (silent for 12 s)"


def test_between_flats_and_projections_nothing_is_wrong(model: ViewModel) -> None:
    texts = Texts(model)
    model.heard_s, model.data_s = 9.0, 0.0
    scan = model.scan = ShownScan("s1", state=ScanState.ACQUIRING, of=60, received=20)
    assert (texts.link(9.0), texts.link_text(9.0)) == (Connection.LIVE, "live, darks and flats")
    model.scan = replace(scan, angles=10, frame_rate_hz=0.2)
    assert texts.link(9.0) is Connection.LIVE, "a slow camera"
    model.scan = replace(scan, angles=10, frame_rate_hz=20.0)
    assert texts.link(9.0) is Connection.STALLED
    model.scan = replace(scan, angles=60, frame_rate_hz=20.0)
    assert texts.link(9.0) is Connection.LIVE, "flats follow"


def test_time_that_is_left(model: ViewModel) -> None:
    texts = Texts(model)
    model.heard_s = model.data_s = 0.0
    model.scan = ShownScan("s1", state=ScanState.ACQUIRING, angles=10, of=610, frame_rate_hz=4.0)
    assert texts.left(0.0) == "2 min 30 s left"
    model.scan = replace(model.scan, angles=610)
    assert texts.left(0.0) == ""
    assert [duration(s) for s in (0.4, 59, 601, 7300)] == ["0 s", "59 s", "10 min", "2 h 1 min"]
    assert [duration(s) for s in (59.6, 599, 600, 3599, 3600)] == [
        "1 min 0 s",
        "9 min 59 s",
        "10 min",
        "59 min",
        "1 h 0 min",
    ]


def test_flats_and_darks_count_as_data(model: ViewModel) -> None:
    for second in range(10):
        frames = {"received": second, "missing": 0, "corrupt": 0}
        hear(model, "progress", {"scan_id": "s1", "report": report(frames=frames)}, float(second))
    assert Texts(model).link(9.5) is Connection.LIVE


def test_a_report_fills_the_cards(model: ViewModel) -> None:
    quality = {"resolution_px": 2.44}
    hear(model, "progress", {"scan_id": "s1", "report": report(quality=quality)}, 0.0)
    assert model.scan.lost == 3
    assert Texts(model).lost == "2 missing, 1 corrupt"
    assert (Texts(model).center, Texts(model).confidence) == ("511.52 px", "confidence 93 %")
    assert Texts(model).resolution == "2.4 px"
    assert Texts(model).fraction == pytest.approx(130 / 360)
    assert Texts(model).title == "foam   ·   scan s1"


def test_a_new_scan_never_shows_the_old_sample(model: ViewModel) -> None:
    show(model, header(), pixels(), 0.0)
    bone = report(scan_id="s2", sample="bone", state="armed")
    hear(model, "scan", {"scan_id": "s2", "state": "armed", "report": bone}, 1.0)
    assert not model.planes
    show(model, header(), pixels(), 1.1)
    assert not model.planes
    assert (model.stale, model.broken) == (1, 0)
    show(model, header(scan_id="s2", sample="bone"), pixels(), 1.2)
    assert model.planes["xy"].sample == "bone"


def test_the_daemon_decides_which_scan_runs(model: ViewModel) -> None:
    show(model, header(), pixels(), 0.0)
    show(model, header(scan_id="stray"), pixels(), 0.0)
    learn(model, {"scan": report()}, 1.0)
    assert model.scan.scan_id == "s1"
    assert show(model, header(), pixels(), 1.0)
    assert "xy" in model.planes


def test_a_scan_that_is_run_again_starts_empty(model: ViewModel) -> None:
    show(model, header(), pixels(), 0.0)
    hear(model, "scan", {"scan_id": "s1", "state": "complete", "report": report(state="complete", final=True)}, 1.0)
    hear(model, "scan", {"scan_id": "s1", "state": "acquiring"}, 2.0)
    assert not model.planes
    assert (model.scan.decision, model.scan.lost, model.scan.final) == (None, 0, False)


def test_the_last_word_stands_against_a_late_preview(model: ViewModel) -> None:
    hear(model, "verdict", {"scan_id": "s1", "verdict": "RETAKE", "reasons": [MOVED], "final": True}, 0.0)
    show(model, header(), pixels(), 0.1)
    assert model.scan.decision is Decision.RETAKE
    assert Texts(model).reasons == "motion: it moved"


def test_a_word_of_a_newer_daemon_is_unknown_but_told(model: ViewModel) -> None:
    hear(model, "verdict", {"scan_id": "s1", "verdict": "DEFROST", "reasons": [], "final": True}, 0.0)
    assert Texts(model).verdict == "UNKNOWN"
    assert Texts(model).reasons == "other: the decision 'DEFROST' is not known to this version"


def test_history_of_the_session(model: ViewModel) -> None:
    for number, verdict in enumerate(["ENOUGH", "RETAKE"]):
        entries = report(scan_id=f"s{number}", sample=f"foam-{number}", verdict=verdict, final=True, state="complete")
        hear(model, "scan", {"scan_id": f"s{number}", "state": "complete", "report": entries}, 0.0)
    told = [(scan.sample, scan.decision) for scan in model.history.values()]
    assert told == [("foam-0", Decision.ENOUGH), ("foam-1", Decision.RETAKE)]
    for number in range(2 * MAX_HISTORY):
        hear(model, "scan", {"scan_id": f"n{number}", "state": "complete"}, 0.0)
    assert len(model.history) == MAX_HISTORY


def told(scan_id: str, resolution_px: float) -> Report:
    """The report of a scan that is over."""
    entries = report(scan_id=scan_id, state="complete", verdict="ENOUGH", final=True)
    quality = {"projections": 90, "expected": 90, "resolution_px": resolution_px}
    return decode_as(pack({**entries, "quality": quality}), Report, "report")


def test_scans_are_in_the_order_in_which_they_ran_whenever_the_viewer_hears_of_them(model: ViewModel) -> None:
    running = report(scan_id="s3", quality={"projections": 10, "expected": 90, "resolution_px": 3.0})
    learn(model, {"scan": running}, 0.0)
    model.past(PastScans([told("s1", 1.0), told("s2", 2.0)], []))
    assert list(model.history) == ["s1", "s2", "s3"]
    assert model.trends.over_scans("resolution") == [(1.0, 1.0), (2.0, 2.0), (3.0, 3.0)]
    # The connection was lost for a while, and the daemon tells the newest scans alone.
    model.past(PastScans([told("s2", 2.0), told("s2b", 2.5)], []))
    assert list(model.history) == ["s1", "s2", "s2b", "s3"]
    assert [value for _, value in model.trends.over_scans("resolution")] == [1.0, 2.0, 2.5, 3.0]
    assert model.trends.within("s2", "resolution") == [(90.0, 2.0)], "the same report twice is one point"


def test_a_past_scan_without_pictures_is_not_opened(model: ViewModel) -> None:
    show(model, header(), pixels(), 0.0)
    hear(model, "scan", {"scan_id": "s1", "state": "complete"}, 1.0)
    model.past(PastScans([told("s0", 1.0)], []))
    hear(model, "scan", {"scan_id": "s2", "state": "armed"}, 2.0)
    assert Texts(model).past == "foam, the last one"
    assert not model.open("s0")
    assert (model.opened, Texts(model).past) == ("", "foam, the last one")
    assert model.open("s1")
    assert Texts(model).past == "foam, opened again"
    assert model.open("s2")
    assert Texts(model).past == "foam, the last one"


def test_the_last_result_stays_on_the_screen_until_the_next_one_has_a_picture(model: ViewModel) -> None:
    show(model, header(), pixels(), 0.0)
    hear(model, "scan", {"scan_id": "s1", "state": "complete"}, 1.0)
    assert not model.shows_past
    hear(model, "scan", {"scan_id": "s2", "state": "acquiring"}, 2.0)
    assert model.shows_past
    assert {picture.scan_id for picture in model.shown_planes.values()} == {"s1"}
    assert model.shown_scan.scan_id == "s1"
    assert model.scan.scan_id == "s2"
    show(model, header(scan_id="s2", sample="wood", angles=3), pixels(), 3.0)
    assert not model.shows_past
    assert {picture.scan_id for picture in model.shown_planes.values()} == {"s2"}
    assert Texts(model).past == ""


def test_a_plane_that_is_removed_is_gone_from_screen_and_contrast(model: ViewModel) -> None:
    show(model, header(), pixels(), 0.0)
    show(model, header(plane="free", hi=30.0), pixels(), 0.0)
    model.contrast.linked = True
    assert model.contrast.levels("xy").high > 25.0
    model.remove("free")
    assert model.plane_order == ["xy"]
    assert model.contrast.levels("xy").high < 3.1


def test_the_number_of_planes_is_bounded(model: ViewModel) -> None:
    for number in range(2 * MAX_PLANES):
        show(model, header(plane=f"p{number}"), pixels(), 0.0)
    assert len(model.planes) == MAX_PLANES
    assert model.broken == MAX_PLANES


def test_planes_keep_their_place(model: ViewModel) -> None:
    for name in ("row-9", "yz", "xy", "xz"):
        show(model, header(plane=name), pixels(), 0.0)
    assert model.plane_order == ["xy", "xz", "yz", "row-9"]


def test_texts_of_a_peer_are_tamed(model: ViewModel) -> None:
    reasons = [{"code": "motion", "text": "a\nb\x1b[31m" + "x" * 999}]
    hear(model, "verdict", {"scan_id": "s1", "verdict": "RETAKE", "reasons": reasons, "final": True}, 0.0)
    assert Texts(model).reasons.startswith("motion: a b [31m")
    assert len(Texts(model).reasons) <= len("motion: ") + 300
