"""Images of a foreign detector become frames: indices over several series, kinds, angles."""

from __future__ import annotations

import math

import pytest

from streamer.flow.assembly import Assembly
from streamer.flow.dialects.message import Image, SeriesEnd, SeriesStart
from streamer.flow.kinds import Kinds
from streamer.flow.wire import FrameHeader, WireError
from streamer.frames import FrameKind, ScanSpec


def spec(**values: object) -> ScanSpec:
    fields = {"rows": 2, "columns": 3, "projections": 4, "flats": 2, "darks": 2, "start_deg": 10.0, "range_deg": 40.0}
    return ScanSpec(scan_id="s-1", sample="tooth", **{**fields, **values})  # type: ignore[arg-type]


def image(number: int | None, series: str | None = None, **values: object) -> Image:
    return Image((2, 3), "<u2", memoryview(bytes(12)), series=series, number=number, **values)  # type: ignore[arg-type]


def headers(assembly: Assembly, now_s: float = 0.0) -> list[FrameHeader]:
    return [ready.header for ready in assembly.due(now_s)]


def test_one_series_of_all_kinds_has_the_announced_kinds_and_angles() -> None:
    assembly = Assembly(spec(), "camera", Kinds())
    for number in range(8):
        assembly.image(image(number, timestamp_ns=number, exposure_s=0.5), 0.0)
    found = headers(assembly)
    assert [header.index for header in found] == list(range(8))
    assert "".join("PFDI"[header.kind] for header in found) == "DDFFPPPP"
    assert [header.angle_deg for header in found] == [None, None, None, None, 10.0, 20.0, 30.0, 40.0]
    assert [(header.seq, header.timestamp_ns) for header in found] == [(number, number) for number in range(8)]
    assert {(header.scan_id, header.src, header.exposure_s, header.size) for header in found} == {
        ("s-1", "camera", 0.5, 12)
    }
    assert headers(assembly) == []


def test_series_that_are_announced_follow_each_other_also_when_their_last_frames_lack() -> None:
    assembly = Assembly(spec(), "camera", Kinds())
    for name, frames, sent in (("1", 2, [0]), ("2", 2, [1]), ("3", 4, [0, 2])):
        assembly.start(SeriesStart(name, frames))
        assembly.start(SeriesStart(name, frames))  # sent again
        for number in sent:
            assembly.image(image(number, name), 0.0)
    found = headers(assembly)
    assert [header.index for header in found] == [0, 3, 4, 6]
    assert [header.angle_deg for header in found] == [None, None, 10.0, 30.0]
    assert assembly.frames == 8


def test_the_end_of_a_series_says_how_many_frames_it_had() -> None:
    assembly = Assembly(spec(), "camera", Kinds())
    assembly.start(SeriesStart("1"))
    assembly.image(image(0, "1"), 0.0)
    assembly.end(SeriesEnd("1", frames=2))
    assembly.start(SeriesStart("2"))
    assembly.image(image(0, "2"), 0.0)
    assert [header.index for header in headers(assembly)] == [0, 2]


def test_a_series_whose_announcement_was_lost_is_a_series_of_its_own() -> None:
    assembly = Assembly(spec(), "camera", Kinds())
    assembly.start(SeriesStart("1", 2))
    assembly.image(image(0, "1"), 0.0)
    assembly.image(image(1, "2"), 0.0)
    assert [header.index for header in headers(assembly)] == [0, 3]


def test_without_messages_between_series_a_numbering_that_begins_anew_is_the_next_series() -> None:
    assembly = Assembly(spec(), "camera", Kinds())
    for number in (100, 101, 101, 1, 2, 1, 3, 4):  # the camera counts from 100, then from 1, then from 1
        assembly.image(image(number), 0.0)
    assert [header.index for header in headers(assembly)] == [0, 1, 1, 2, 3, 4, 6, 7]


def test_images_without_numbers_are_counted() -> None:
    assembly = Assembly(spec(), "camera", Kinds())
    for _ in range(3):
        assembly.image(image(None), 0.0)
    assert [header.index for header in headers(assembly)] == [0, 1, 2]


def test_one_channel_makes_the_scan_and_the_others_are_named() -> None:
    assembly = Assembly(spec(), "camera", Kinds())
    for number in range(2):
        for channel in ("threshold_1", "threshold_2"):
            assembly.image(image(number, channel=channel), 0.0)
    assert [header.index for header in headers(assembly)] == [0, 1]
    assert list(assembly.remarks()) == [
        "2 images of channel 'threshold_2' were left out; the scan is made of channel 'threshold_1'"
    ]


def test_a_projection_where_none_was_announced_has_no_angle_and_is_named() -> None:
    assembly = Assembly(spec(), "camera", Kinds(attribute="ImageKey"))
    for number, key in enumerate((2, 2, 1, 0, 0)):
        assembly.image(image(number, attributes={"ImageKey": key}), 0.0)
    *_, wrong, right = headers(assembly)
    assert wrong.kind is FrameKind.PROJECTION
    assert wrong.angle_deg is not None
    assert math.isnan(wrong.angle_deg)
    assert right.angle_deg == 10.0
    assert list(assembly.remarks()) == [
        "announced as flat, sent as projection: frames 3",
        "no position is known for frames 3",
    ]


@pytest.mark.parametrize(("step_deg", "named"), [(10.0, False), (10.05, False), (0.0, False), (9.0, True)])
def test_a_step_that_the_detector_announces_otherwise_is_named(step_deg: float, named: bool) -> None:
    assembly = Assembly(spec(), "camera", Kinds())
    assembly.start(SeriesStart("1", 8, step_deg=step_deg))
    assert list(assembly.remarks()) == ["the detector announces steps of 9°, the scan 10°: the scan's are used"] * named


@pytest.mark.parametrize(
    ("announced", "number"),
    [(True, 2), *((announced, n) for announced in (True, False) for n in (8, 10**6, 2**63 - 1))],
)
def test_a_number_beyond_its_series_is_refused_and_moves_no_later_frame(announced: bool, number: int) -> None:
    assembly = Assembly(spec(), "camera", Kinds())
    if announced:
        assembly.start(SeriesStart("1", 2))
    assembly.image(image(0, "1"), 0.0)
    with pytest.raises(WireError, match=r"image .* of series '1', which has [28] frames at most") as caught:
        assembly.image(image(number, "1"), 0.0)
    assembly.image(image(1, "1"), 0.0)
    for index in range(6):
        assembly.image(image(index, "2"), 0.0)
    assert caught.value.reason == "beyond"
    assert [header.index for header in headers(assembly)] == list(range(8))
    assert assembly.frames == 8


def test_a_number_beyond_the_scan_does_not_begin_a_series_where_there_are_none() -> None:
    assembly = Assembly(spec(), "camera", Kinds())
    for number in (100, 101, 2**40, 102, 103, 104, 105, 106, 107):
        if number == 2**40:
            with pytest.raises(WireError, match="of the scan, which has 8 frames at most"):
                assembly.image(image(number), 0.0)
        else:
            assembly.image(image(number), 0.0)
    assert [header.index for header in headers(assembly)] == list(range(8))


@pytest.mark.parametrize("claimed", [0, 10**9])
@pytest.mark.parametrize("said_by", ["start", "end"])
def test_a_series_that_claims_no_frames_or_more_than_the_scan_has_leaves_it_to_the_later_ones(
    said_by: str, claimed: int
) -> None:
    assembly = Assembly(spec(), "camera", Kinds())
    assembly.start(SeriesStart("1", claimed if said_by == "start" else None))
    for number in range(2):
        assembly.image(image(number, "1"), 0.0)
    assembly.end(SeriesEnd("1", frames=claimed if said_by == "end" else None))
    assert assembly.frames == 2
    for number in range(6):
        assembly.image(image(number, "2"), 0.0)
    assert [header.index for header in headers(assembly)] == list(range(8))


def test_before_a_trigger_numbers_have_no_end() -> None:
    assembly = Assembly(spec(before_trigger=2), "camera", Kinds())
    for number in (0, 1, 10**6):
        assembly.image(image(number, "1"), 0.0)
    assert [header.index for header in headers(assembly)] == [0, 1, 10**6]


def test_the_end_of_another_series_ends_nothing() -> None:
    assembly = Assembly(spec(), "camera", Kinds())
    assembly.end(SeriesEnd("6"))
    assembly.start(SeriesStart("7", 8))
    assembly.end(SeriesEnd("6", frames=1))
    assert (assembly.frames, assembly.ended) == (8, False)
    assembly.end(SeriesEnd("7"))
    assert assembly.ended


def test_a_series_that_ended_may_be_announced_again_by_the_same_name() -> None:
    assembly = Assembly(spec(), "camera", Kinds())
    for number in (0, 1):  # the second of the first series, and the first of the second one are lost
        assembly.start(SeriesStart("0"))
        assembly.image(image(number), 0.0)
        assembly.end(SeriesEnd())
    assert [header.index for header in headers(assembly)] == [0, 2]


def test_a_detector_that_is_started_again_does_not_take_the_places_of_frames_that_it_announced() -> None:
    assembly = Assembly(spec(), "camera", Kinds())
    assembly.start(SeriesStart("1", 8))
    assembly.image(image(0, "1"), 0.0)
    assembly.start(SeriesStart("2", 8))
    with pytest.raises(WireError, match="image 0 of series '2', for which the scan has no frames left"):
        assembly.image(image(0, "2"), 0.0)
    assert [header.index for header in headers(assembly)] == [0]
