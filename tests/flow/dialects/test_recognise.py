"""Which dialect is spoken is found also where some of the messages are in none, or in another."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from msgspec import structs

from streamer.flow import wire
from streamer.flow.dialects import DIALECTS
from streamer.flow.dialects.message import Image
from streamer.flow.dialects.recognise import NATIVE, recognise
from streamer.frames import ScanSpec

PIXELS = np.arange(24, dtype="<u2").reshape(4, 6)
JUNK = [memoryview(b"junk")]
SPEC = ScanSpec("scan-1", "tooth", rows=4, columns=6, projections=10)


def images(name: str, count: int) -> list[list[memoryview]]:
    """Messages of this dialect, one image each."""
    image = Image((4, 6), "<u2", PIXELS.data.cast("B"), series="7", timestamp_ns=1, exposure_s=0.1)
    sent: Any = DIALECTS[name].encode_image
    return [[memoryview(part) for part in sent(structs.replace(image, number=number))] for number in range(count)]


@pytest.mark.parametrize("name", sorted(DIALECTS))
def test_truncated_and_foreign_messages_among_others_are_refused(name: str) -> None:
    other = "odin" if name != "odin" else "stins"
    messages = [*images(name, 4), JUNK, *images(other, 1)]
    messages[1] = messages[1][:-1] or JUNK
    found = recognise(messages)
    taken = [message is not None for message in found.messages]
    assert found.dialect == ("adzmq" if name == "array-1.0" else name)  # ours has attributes, which mean ADZMQ
    assert taken[:1] + taken[2:5] == [True, True, True, False]
    assert 4 in found.refused


def test_our_own_format_is_known_among_others() -> None:
    own = [[memoryview(part) for part in wire.encode(wire.Start(SPEC, src="camera"))]] * 3
    found = recognise([*own, JUNK, *images("stins", 2)])
    assert found.dialect == NATIVE
    assert sorted(found.refused) == [3, 4, 5]
    assert recognise([own[0], *images("stins", 2)]).dialect == "stins"


def test_junk_alone_is_no_dialect() -> None:
    found = recognise([JUNK, JUNK])
    assert found.dialect is None
    assert set(found.refused) == set(DIALECTS)
