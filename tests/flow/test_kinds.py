"""Dark, flat or projection: the order as announced, attributes, the shutter, and what contradicts."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamer.flow.kinds import Kinds, Order, attribute_kind, decide, shutter_open
from streamer.frames import BadInput, FrameKind, ScanSpec

DARK, FLAT, PROJECTION, INVALID = FrameKind.DARK, FrameKind.FLAT, FrameKind.PROJECTION, FrameKind.INVALID


def spec(projections: int = 7, flats: int = 4, darks: int = 2, order: str | None = None) -> ScanSpec:
    metadata = {} if order is None else {"order": order}
    return ScanSpec("s-1", "tooth", 4, 6, projections, flats, darks, metadata=metadata)


def kinds(order: Order, frames: int) -> str:
    return "".join("PFDI"[order.kind(index)] for index in range(frames))  # type: ignore[index]


def test_the_usual_order_is_darks_flats_projections() -> None:
    order = Order.of(spec(), Kinds().order)
    assert kinds(order, 13) == "DDFFFFPPPPPPP"
    assert order.kind(13) is None
    assert [order.projection(index) for index in (5, 6, 12, 13)] == [None, 0, 6, None]


def test_kinds_without_a_number_share_what_is_announced() -> None:
    order = Order.of(spec(flats=5), "flats projections:3 flats:1 projections flats darks")
    assert kinds(order, 14) == "FFPPPFPPPPFFDD"
    assert order.projection(6) == 3


def test_a_scan_announces_its_own_order() -> None:
    order = Order.of(spec(order="flats:4 projections:7 darks:2"), "darks flats projections")
    assert kinds(order, 13) == "FFFFPPPPPPPDD"


@pytest.mark.parametrize("order", ["darks:10 flats projections", "darks flats", "darks:1 flats projections"])
def test_an_order_that_does_not_fit_the_scan_says_the_way_out(order: str) -> None:
    with pytest.raises(BadInput, match=r"scan s-1: \d .+ are not those of .+; change kinds.order, or announce"):
        Order.of(spec(), order)


@pytest.mark.parametrize("order", ["", "dark", "darks:", "darks:x", "darks:-1", "projections : 3"])
def test_what_is_no_order_is_refused_by_configuration_and_scan(order: str) -> None:
    with pytest.raises(BadInput, match=r"order: give kinds in their order, such as"):
        Kinds(order=order)
    with pytest.raises(BadInput, match=r"scan s-1: metadata.order is .+ expected kinds such as"):
        Order.of(spec(order=order), "darks flats projections")


@given(st.lists(st.tuples(st.sampled_from(["darks", "flats", "projections"]), st.integers(0, 9)), min_size=1))
def test_every_announced_frame_has_one_kind_and_projections_are_counted_in_order(
    parts: list[tuple[str, int]],
) -> None:
    total = {word: sum(n for each, n in parts if each == word) for word in ("darks", "flats", "projections")}
    if not total["projections"]:
        parts, total["projections"] = [*parts, ("projections", 1)], 1
    scan = spec(total["projections"], total["flats"], total["darks"])
    order = Order.of(scan, " ".join(f"{word}:{n}" for word, n in parts))
    found = [order.kind(index) for index in range(scan.frames)]
    assert [found.count(kind) for kind in (DARK, FLAT, PROJECTION)] == [scan.darks, scan.flats, scan.projections]
    places = [order.projection(index) for index in range(scan.frames)]
    assert [place for place in places if place is not None] == list(range(scan.projections))
    assert all((place is None) is (kind is not PROJECTION) for place, kind in zip(places, found, strict=True))


@pytest.mark.parametrize("value", [1, 1.0, "1", " Flat ", "flat"])
def test_values_of_an_attribute_are_compared_as_people_read_them(value: int | float | str) -> None:
    values = Kinds(attribute="ImageKey", flat="1, FLAT").values()
    assert attribute_kind({"ImageKey": value}, "ImageKey", values) is FLAT


def test_an_attribute_that_lacks_or_means_nothing_says_nothing() -> None:
    values = Kinds(attribute="ImageKey").values()
    assert attribute_kind({}, "ImageKey", values) is None
    assert attribute_kind({"ImageKey": 7}, "ImageKey", values) is None
    assert attribute_kind({"ImageKey": 1}, None, values) is None


@pytest.mark.parametrize(("value", "is_open"), [(0, False), ("Closed", False), (1, True), ("open", True), (2.5, True)])
def test_the_shutter_as_an_attribute(value: int | float | str, is_open: bool) -> None:
    assert shutter_open({"Shutter": value}, "Shutter") is is_open
    assert shutter_open({"Shutter": value}, "Other") is None


@pytest.mark.parametrize(
    ("said", "is_open", "announced", "kind", "contradiction"),
    [
        (None, None, FLAT, FLAT, ""),
        (None, True, FLAT, FLAT, ""),
        (None, False, DARK, DARK, ""),
        (FLAT, None, FLAT, FLAT, ""),
        (FLAT, None, None, FLAT, ""),
        (None, None, None, INVALID, ""),
        (FLAT, None, PROJECTION, FLAT, "announced as projection, sent as flat"),
        (None, False, PROJECTION, DARK, "projection with the shutter closed"),
        (None, True, DARK, INVALID, "dark with the shutter open"),
        (DARK, True, DARK, DARK, "dark with the shutter open"),
    ],
)
def test_the_image_is_believed_before_the_shutter_and_the_shutter_before_the_order(
    said: FrameKind | None, is_open: bool | None, announced: FrameKind | None, kind: FrameKind, contradiction: str
) -> None:
    assert decide(said, is_open, announced) == (kind, contradiction)
