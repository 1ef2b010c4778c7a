"""What ``streamer check ENDPOINT`` says of messages: rates, gaps, what a scan lacks, and a configuration that loads."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

import h5py
import hdf5plugin
import numpy as np
import pytest
from msgspec import structs
from numpy.typing import NDArray

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


LOST = "the frame numbers do not follow each other in {} places: frames are lost, or only some are shown"
BACK = "the frame numbers go back or repeat in {} places: a new start without a message, or two detectors"
TURNS = "images of {} series come in turns: two detectors send at once, which makes no scan"


@pytest.mark.parametrize(
    ("images", "said_of_them"),
    [
        ([("7", n) for n in (4, 5, 6, 7)], []),
        ([("7", n) for n in (4, 6, 7, 9)], [LOST.format(2)]),
        ([("7", n) for n in (7, 7)], [BACK.format(1)]),
        ([(None, n) for n in (7, 8, 0, 1, 3)], [LOST.format(1), BACK.format(1)]),
        ([("7", 58), ("7", 59), ("8", 0), ("8", 1)], []),  # the next series
        ([("7", 0), ("8", 40), ("7", 1), ("8", 41)], [TURNS.format(2)]),
        ([("7", 0), ("7", 1), ("8", 0), ("7", 2)], [TURNS.format(2)]),
        ([(None, None), (None, None)], []),
    ],
)
def test_numbers_tell_of_loss_of_a_new_start_and_of_two_detectors(
    images: list[tuple[str | None, int | None]], said_of_them: list[str]
) -> None:
    pictures = [structs.replace(picture(number), series=series) for series, number in images]
    assert list(missing(TRAITS["stins"], pictures, ["Angle", "ImageKey"])) == said_of_them


def test_the_thresholds_of_a_detector_have_the_same_numbers() -> None:
    pictures = [structs.replace(picture(number), channel=name) for number in range(3) for name in ("one", "two")]
    assert list(missing(TRAITS["stins"], pictures, ["Angle", "ImageKey"])) == []


def test_compressed_images_that_cannot_be_unpacked_are_counted() -> None:
    packed = as_filter_stores(np.arange(24, dtype="<u2").reshape(4, 6))
    images = [
        Image((4, 6), "<u2", memoryview(data), "bslz4-h5", number=number)
        for number, data in enumerate((packed, packed[:-4], packed[:8]))
    ]
    lines = said(Recognised("stins", [*images, Image((4, 7), "<u2", memoryview(packed), "bslz4-h5", number=3)]))
    corrupt = [line for line in lines if "would be corrupt: " in line]
    assert sum(int(line.split()[0]) for line in corrupt) == 3


def as_filter_stores(pixels: NDArray[Any]) -> bytes:
    with h5py.File("image", "w", driver="core", backing_store=False) as file:
        data = file.create_dataset("image", data=pixels, chunks=pixels.shape, **hdf5plugin.Bitshuffle(cname="lz4"))
        return bytes(data.id.read_direct_chunk((0, 0))[1])


def test_names_from_the_wire_cannot_rule_the_terminal_or_write_the_configuration() -> None:
    hostile = {'angle"\n[writer]\ndirectory = "/': 1.0, "rot\x1b[2J": 1.0, "omega" * 100: 1.0}
    lines = said(Recognised("stins", [picture(0, **hostile)]))
    assert all(map(str.isprintable, lines))
    assert max(map(len, lines[: lines.index("configuration:")])) < 300
    assert configured(lines)["positions"]["value"] == "omega" * 100
    quoted = said(Recognised("stins", [picture(0, **{'angle "of" \\ µ': 1.0})]))
    assert configured(quoted)["positions"]["value"] == 'angle "of" \\ µ'


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
    native = said(Recognised(NATIVE, refused={1: "no header"}), times_s=[1.0, 1.5, 2.0])
    assert native[:2] == ["dialect native; 3 images, 2 per second", "1 messages would be refused: no header"]
    assert configured(native) == {"source": {"endpoint": ENDPOINT, "dialect": "native"}}
    unknown = said(Recognised(None, refused={"stins": "no header", "odin": "no JSON"}))
    assert unknown == ["no dialect of Streamer fits the messages:", "  stins: no header", "  odin: no JSON"]
