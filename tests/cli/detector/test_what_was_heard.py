"""What ``streamer check ENDPOINT`` says of messages: rates, gaps, what a scan lacks, and a configuration that loads."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from streamer.cli.detector.look import missing, report
from streamer.config import load
from streamer.flow.dialects import TRAITS
from streamer.flow.dialects.message import Image, Message, SeriesEnd, SeriesStart
from streamer.flow.dialects.recognise import NATIVE, Recognised
from streamer.io.foreign.probe import Heard

ENDPOINT = "tcp://camera:9999"
PIXELS = np.zeros(24, "<u2").data.cast("B")


def picture(number: int | None, shape: tuple[int, int] = (4, 6), **attributes: Any) -> Image:
    return Image(shape, "<u2", PIXELS, number=number, attributes=attributes)


def said(found: Recognised, kind: Any = "pull", times_s: list[float] | None = None, bind: bool = False) -> list[str]:
    times = [0.1 * number for number in range(len(found.messages))] if times_s is None else times_s
    return list(report(found, Heard(kind, times_s=times), ENDPOINT, bind))


def configured(lines: list[str]) -> dict[str, Any]:
    """The configuration that is proposed, as TOML reads it."""
    return tomllib.loads("\n".join(line.strip() for line in lines[lines.index("configuration:") + 1 :]))


def test_rates_are_those_of_the_images_and_a_pause_does_not_count() -> None:
    messages: list[Message] = [SeriesStart("7"), *(picture(number) for number in range(5)), SeriesEnd("7")]
    lines = said(Recognised("stins", messages), times_s=[0.0, 5.0, 5.02, 5.04, 9.0, 9.02, 50.0])
    assert lines[0] == "dialect stins, as MAX IV STINS, dranspose speak it; 5 images, 50 per second"
    assert lines[1] == "5 images of 4 rows × 6 columns, <u2, compression none"
    assert "1 series began and 1 ended meanwhile" in lines
    assert said(Recognised("stins", [picture(0)]))[0].endswith("; 1 images")


def test_images_of_several_shapes_and_refused_messages_are_counted() -> None:
    messages = [picture(0), picture(1, (4, 6)), picture(2, (8, 3)), None, None, None]
    refused: dict[int | str, str] = {3: "no pixels", 4: "no pixels", 5: "no header"}
    lines = said(Recognised("stins", messages, refused))
    assert "2 images of 4 rows × 6 columns, <u2, compression none" in lines
    assert "1 images of 8 rows × 3 columns, <u2, compression none" in lines
    assert "2 messages would be refused: no pixels" in lines
    assert "1 messages would be refused: no header" in lines


@pytest.mark.parametrize(("numbers", "gaps"), [((4, 5, 6, 7), 0), ((4, 6, 7, 9), 2), ((7, 7), 1), ((7, 6), 1)])
def test_gaps_between_frame_numbers_are_counted(numbers: tuple[int, ...], gaps: int) -> None:
    lines = list(missing(TRAITS["stins"], [picture(number) for number in numbers], ["Angle", "ImageKey"]))
    assert lines == (
        [f"the frame numbers do not follow each other in {gaps} places: frames are lost, or only some are shown"]
        if gaps
        else []
    )


@pytest.mark.parametrize(
    ("names", "lacking"),
    [
        ([], ["angles", "darks, flats, projections"]),
        (["SampleTheta"], ["darks, flats, projections"]),
        (["omega", "frame_type"], []),
        (["SaveDest"], ["angles"]),
        (["ImageCounter"], ["angles", "darks, flats, projections"]),
    ],
)
def test_angles_and_kinds_are_found_by_the_names_of_attributes(names: list[str], lacking: list[str]) -> None:
    lines = list(missing(TRAITS["stins"], [picture(0)], names))
    assert [line.removeprefix("missing: ").split(".")[0] for line in lines] == lacking


def test_every_lack_of_a_dialect_is_named() -> None:
    for traits in TRAITS.values():
        text = "\n".join(missing(traits, [], []))
        assert ("missing: frame numbers." in text) is not traits.numbers_frames
        assert ("missing: angles." in text) is not traits.sends_angles
        assert ("missing: darks, flats" in text) is not traits.sends_kinds
        assert ("missing: a message before" in text) is not traits.announces
        assert ("missing: an end." in text) is not traits.ends


@pytest.mark.parametrize(
    ("dialect", "kind", "bind", "attributes"),
    [
        ("adzmq", "sub", False, {}),
        ("adzmq", "pull", True, {"image_key": 0, "omega": 1.5}),
        ("stins", "pull", False, {"Angle": 1.5}),
    ],
)
def test_the_configuration_that_is_proposed_is_one(
    tmp_path: Path, dialect: str, kind: str, bind: bool, attributes: dict[str, Any]
) -> None:
    found = Recognised(dialect, [picture(number, **attributes) for number in range(3)])
    lines = said(found, kind, bind=bind)
    source = configured(lines)["source"]
    assert (source["endpoint"], source["dialect"]) == (ENDPOINT, dialect)
    assert source.get("bind", False) is bind
    assert source.get("socket") == (None if kind == TRAITS[dialect].sockets[0] else kind)
    path = tmp_path / "beamline.toml"
    path.write_text("\n".join(lines[lines.index("configuration:") + 1 :]))
    config = load(path, {})
    assert (config.source.dialect, config.source.bind) == (dialect, bind)
    assert config.kinds.attribute == ("image_key" if "image_key" in attributes else None)
    assert (config.positions.source == "attribute") is bool(attributes)
    if attributes:
        assert config.positions.value in attributes


def test_our_own_format_and_what_nobody_knows() -> None:
    native = said(Recognised(NATIVE), times_s=[1.0, 1.5, 2.0])
    assert native[0] == "dialect native; 3 images, 2 per second"
    assert configured(native) == {"source": {"endpoint": ENDPOINT, "dialect": "native"}}
    unknown = said(Recognised(None, refused={"stins": "no header", "odin": "no JSON"}))
    assert unknown == ["no dialect of Streamer fits the messages:", "  stins: no header", "  odin: no JSON"]
