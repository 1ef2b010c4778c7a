"""Messages that are nearly right: the corpus, changed in a few places."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from random import Random

CORPUS = Path(__file__).parent / "corpus"

TOKENS = (
    b"\xc0",  # nil
    b"\xc1",  # no msgpack at all
    b"\xc2",
    b"\xc3",
    b"\xcb\x7f\xf8\x00\x00\x00\x00\x00\x00",  # NaN
    b"\xcb\x7f\xf0\x00\x00\x00\x00\x00\x00",  # infinity
    b"\xcb\x7f\xef\xff\xff\xff\xff\xff\xff",  # the largest float
    b"\xcf\xff\xff\xff\xff\xff\xff\xff\xff",  # 2**64 - 1
    b"\xd3\x80\x00\x00\x00\x00\x00\x00\x00",  # -2**63
    b"\xdb\xff\xff\xff\xff",  # a text of 4 GB
    b"\xc6\xff\xff\xff\xff",  # bytes, 4 GB of them
    b"\xdd\xff\xff\xff\xff",  # a list of 4 billion
    b"\xdf\xff\xff\xff\xff",  # a map of 4 billion
    b"\xd9\x04\xff\xfe\xfd\xfc",  # a text that is no UTF-8
    b"\xc7\x04\x00abcd",  # an extension
    b"\xd6\xff\x00\x00\x00\x00",  # a time stamp
    b"\x91" * 600,  # a list in a list in a list
    b"\x81\xa1a" * 600,
    b"\xa9../../etc",
    b"\xa2|O",
    b"\xa3>u2",
    b"\x00",
    b"\r\n\r\n",
    b"\x80\x04\x95\x0b\x00\x00\x00\x00\x00\x00\x00\x8c\x02os\x94.",  # a pickle
)


def corpus() -> dict[str, list[bytes]]:
    """The stored messages by target: ``corpus/TARGET-NAME.bin``."""
    found: dict[str, list[bytes]] = {}
    for path in sorted(CORPUS.glob("*.bin")):
        found.setdefault(path.name.partition("-")[0], []).append(path.read_bytes())
    return found


def mutated(random: Random, messages: Mapping[str, Sequence[bytes]], target: str) -> bytes:
    """A message for a target, with one to four changes; now and then a message for another one."""
    home = target if random.random() < 0.95 else random.choice(sorted(messages))
    data = bytearray(random.choice(messages[home]))
    for _ in range(random.randint(1, 4)):
        _change(random, data, messages[home])
    return bytes(data)


def _change(random: Random, data: bytearray, others: Sequence[bytes]) -> None:
    at = random.randint(0, len(data))
    match random.randrange(8):
        case 0 if data:  # one bit
            data[at % len(data)] ^= 1 << random.randrange(8)
        case 1 if data:  # one byte
            data[at % len(data)] = random.randrange(256)
        case 2:
            del data[at : at + random.randint(1, 16)]
        case 3:
            data[at:at] = random.randbytes(random.randint(1, 16))
        case 4:
            data[at:at] = random.choice(TOKENS)
        case 5:
            token = random.choice(TOKENS)
            data[at : at + len(token)] = token
        case 6:  # cut off
            del data[at:]
        case 7:  # a piece of another message
            other = random.choice(others)
            start = random.randint(0, len(other))
            data[at:at] = other[start : start + random.randint(1, 64)]
