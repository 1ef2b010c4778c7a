from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image

from streamer.frames import BadInput
from streamer.web.geometry import FreePlane, Place
from streamer.web.messages import (
    Cut,
    Enter,
    FixTheCenter,
    Move,
    Open,
    Stop,
    eight_bits,
    jpeg,
    read_wish,
    split_picture,
    thumbnail,
    with_picture,
)


@pytest.mark.parametrize(
    ("text", "wish", "steers"),
    [
        ('{"do": "enter", "token": "abc"}', Enter("abc"), False),
        ('{"do": "move", "place": {"x": 1, "y": 2, "z": 3}}', Move(Place(1, 2, 3)), True),
        (
            '{"do": "cut", "scan_id": "s1", "place": {"x": 1, "y": 2, "z": 3, "free": {"tilt_deg": 30}}}',
            Cut("s1", Place(1, 2, 3, FreePlane(0, 30, 0))),
            False,
        ),
        ('{"do": "center", "px": null}', FixTheCenter(None), True),
        ('{"do": "stop", "scan_id": "s1", "abort": true}', Stop("s1", True), True),
        ('{"do": "open", "scan_id": "s1"}', Open("s1"), False),
    ],
)
def test_wishes_are_read(text: str, wish: object, steers: bool) -> None:
    read = read_wish(text)
    assert read == wish
    assert read.steers is steers


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "nonsense",
        '{"do": "reboot"}',
        '{"do": "move", "place": {"x": 1, "y": 2}}',
        '{"do": "move", "place": {"x": 1e9, "y": 2, "z": 3}}',
        '{"do": "move", "place": {"x": NaN, "y": 2, "z": 3}}',
        '{"do": "open", "scan_id": "../etc/passwd"}',
        '{"do": "center"}',
        '{"do": "center", "px": 1, "more": 2}',
        '{"do": "enter", "token": "' + "x" * 5000 + '"}',
        '{"do": "enter", "token": "\ud800"}',
    ],
)
def test_anything_else_is_one_line(text: str) -> None:
    with pytest.raises(BadInput) as caught:
        read_wish(text)
    assert "\n" not in str(caught.value)


def test_a_picture_travels_with_its_header() -> None:
    grey = np.linspace(0, 255, 600).astype(np.uint8).reshape(20, 30)
    header, content = split_picture(with_picture({"plane": "xy"}, jpeg(grey)))
    assert header == {"plane": "xy"}
    seen = np.asarray(Image.open(io.BytesIO(content)))
    assert seen.shape == (20, 30)
    assert np.abs(seen.astype(int) - grey).max() < 12


def test_a_preview_keeps_its_upper_bytes() -> None:
    pixels = np.array([[0, 255, 256], [4096, 65535, 32768]], "<u2")
    assert eight_bits(pixels.tobytes(), (2, 3)).tolist() == [[0, 0, 1], [16, 255, 128]]


def test_thumbnails_are_small() -> None:
    small = Image.open(io.BytesIO(thumbnail(np.zeros((500, 1000), np.uint8))))
    assert small.size == (91, 46)
