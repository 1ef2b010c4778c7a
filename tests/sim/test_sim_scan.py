"""What one scan of the virtual detector records: counters, what each frame shows, its faults, its truth."""

from __future__ import annotations

from typing import Any

import pytest

from streamer.flow.wire.beamline import Faults
from streamer.frames import FrameKind, ScanSpec
from streamer.sim.faults import TRANSPORT_FAULTS
from streamer.sim.presets import PRESETS
from streamer.sim.scan import BeamContent, VirtualScan
from streamer.sim.station import Setup, VirtualStation

PRESET = PRESETS["demo"]


def scan_of(projections: int = 4, **faults: Any) -> VirtualScan:
    return VirtualScan(ScanSpec("s", "wood", 8, 16, projections, flats=2, darks=2), 100.0, 1, Faults(**faults))


@pytest.fixture(scope="module")
def in_the_beam() -> BeamContent:
    station = VirtualStation(Setup(PRESET, 8, 16, seed=3, kinds=("good",)))
    station.changer = station.changer.mount(0, 0.0)
    return BeamContent(True, station.expected_scene()[1])


DARK, OPEN = BeamContent(False, None), BeamContent(True, None)


def test_a_frame_is_what_it_shows_whatever_its_label_says(in_the_beam: BeamContent) -> None:
    scan = scan_of()
    looks = [(FrameKind.DARK, DARK), (FrameKind.FLAT, OPEN), (FrameKind.PROJECTION, in_the_beam)]
    looks += [(FrameKind.PROJECTION, DARK), (FrameKind.FLAT, in_the_beam)]
    for number, (kind, look) in enumerate(looks):
        scan.note(kind, look, 10.0 * number)
    truth = scan.truth(PRESET, 3, 8, 16, "ok")
    assert truth["frames"] == {"kind": [2, 1, 0, 0, 1], "seen": "DFPDP", "angle_deg": [0.0, 10.0, 20.0, 30.0, 40.0]}
    assert (truth["issued"], scan.issued, scan.projections) == (5, 5, 2)
    assert scan.progress == 0.5


@pytest.mark.parametrize(("status", "complete"), [(None, False), ("ok", True), ("aborted", True)])
def test_the_truth_says_whether_the_scan_is_over(status: str | None, complete: bool) -> None:
    truth = scan_of().truth(PRESET, 3, 8, 16, status)
    assert (truth["complete"], truth["status"]) == (complete, status)
    assert truth["geometry"]["center_px"] is None
    assert truth["sample"] == "nothing"
    assert truth["geometry"]["pixel_size_m"] == pytest.approx(PRESET.pixel_mm(16) * 1e-3)


def test_an_exposure_that_is_not_given_is_the_time_from_frame_to_frame() -> None:
    assert scan_of().exposure_s == 0.01
    spec = ScanSpec("s", "wood", 8, 16, 4, exposure_s=0.004)
    assert VirtualScan(spec, 100.0, 1, Faults()).exposure_s == 0.004


def sent(scan: VirtualScan, frames: int) -> list[tuple[str, bytes]]:
    """(message, payload) of everything that goes out, an "end" among them."""
    numbers = iter(range(1000))

    def message_of(index: int) -> list[Any]:
        return [f"{index}#{next(numbers)}", bytes([index] * 8)]

    out: list[list[Any]] = []
    for index in range(frames):
        out += scan.transport.route(index, lambda index=index: message_of(index))
    out += scan.transport.before_end()
    out.append(["end", b""])
    out += scan.transport.after_end()
    return [(str(header), bytes(payload)) for header, payload in out]


def test_without_faults_every_frame_goes_out_once_and_in_order() -> None:
    assert sent(scan_of(), 4) == [(f"{i}#{i}", bytes([i] * 8)) for i in range(4)] + [("end", b"")]


def test_each_fault_does_what_it_is_called_and_is_recorded() -> None:
    one = frozenset({1})
    names = {name: [header.split("#")[0] for header, _ in sent(scan_of(**{name: one}), 3)] for name in TRANSPORT_FAULTS}
    assert names["drop"] == ["0", "2", "end"]
    assert names["duplicate"] == ["0", "1", "1", "2", "end"]
    assert names["reorder"] == ["0", "2", "1", "end"]
    assert names["late"] == ["0", "2", "end", "1"]
    for name in ("corrupt", "truncate"):
        assert names[name] == ["0", "1", "2", "end"]
    for name in TRANSPORT_FAULTS:
        scan = scan_of(**{name: one})
        sent(scan, 3)
        recorded = scan.truth(PRESET, 3, 8, 16, "ok")["faults"]
        assert {kind: recorded[kind] for kind in TRANSPORT_FAULTS} == {
            kind: [1] if kind == name else [] for kind in TRANSPORT_FAULTS
        }


def test_a_duplicate_is_a_message_of_its_own_with_the_same_pixels() -> None:
    (_, (first, pixels), (second, again), *_) = sent(scan_of(duplicate=frozenset({1})), 3)
    assert first != second
    assert pixels == again == bytes([1] * 8)


def test_damage_changes_one_byte_or_the_length_and_no_other_frame() -> None:
    whole = dict(sent(scan_of(), 3))
    corrupt, cut = (dict(sent(scan_of(**{name: frozenset({1})}), 3)) for name in ("corrupt", "truncate"))
    assert sum(a != b for a, b in zip(corrupt["1#1"], whole["1#1"], strict=True)) == 1
    assert cut["1#1"] == whole["1#1"][:4]
    for damaged in (corrupt, cut):
        assert {name: damaged[name] for name in ("0#0", "2#2")} == {name: whole[name] for name in ("0#0", "2#2")}


def test_the_last_frame_is_held_back_no_further_than_the_end() -> None:
    assert [header.split("#")[0] for header, _ in sent(scan_of(reorder=frozenset({2})), 3)] == ["0", "1", "2", "end"]
    assert [header.split("#")[0] for header, _ in sent(scan_of(late=frozenset({0, 2})), 3)] == ["1", "end", "0", "2"]


def test_a_frame_has_one_fault_the_first_of_the_list() -> None:
    both = {"drop": frozenset({1}), "corrupt": frozenset({1})}
    scan = scan_of(**both)
    assert [header.split("#")[0] for header, _ in sent(scan, 3)] == ["0", "2", "end"]
    assert (scan.transport.injected["drop"], scan.transport.injected["corrupt"]) == ([1], [])
