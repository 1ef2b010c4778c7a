"""docs/protocol.md against the structs: each has its table, with every key, its rule, its default and a meaning."""

from __future__ import annotations

import re
import threading
from dataclasses import is_dataclass
from types import ModuleType
from typing import Any

import pytest
import zmq
from msgspec import NODEFAULT, Struct, inspect

from streamer.core.quality.artefacts import Artefacts
from streamer.flow import wire
from streamer.flow.wire import acknowledged, axes, beamline, changer, control, daemon, events, looks
from streamer.flow.wire.control import Reply, Request
from streamer.frames import Quality, Reason, ScanSpec
from streamer.pipeline.layout.layout import Layout
from streamer.schema import rules
from tests.gui.stand_in_daemon import StandInDaemon
from tests.io.sources.receiving_daemon import Disk, Sink, receiving
from tests.paths import ROOT

PAGE = (ROOT / "docs" / "protocol.md").read_text(encoding="utf-8")
MODULES = (wire, acknowledged, control, daemon, looks, events, axes, changer, beamline)
BASES = (wire.Header, Reply)
"""Their keys are described once, for all headers and all replies."""

MUST_BE_THERE = ("magic", "v")
"""Of a header: they have defaults for those who send, but not for those who read."""


def structs_of(module: ModuleType) -> set[type[Struct]]:
    return {
        kind
        for name, kind in vars(module).items()
        if isinstance(kind, type) and issubclass(kind, Struct) and kind.__module__ == module.__name__ and name[0] != "_"
    }


DOCUMENTED: dict[str, Any] = {kind.__name__: kind for kind in (ScanSpec, Quality, Reason)} | {
    kind.__name__: kind for module in MODULES for kind in structs_of(module)
}


def tables() -> dict[str, list[list[str]]]:
    """The rows of each table under a line such as "Map `Report`:", by that name."""
    found = re.findall(r"^(?:Map|Arguments|Reply) `(\w+)`[^\n]*:\n\n((?:\|.*\n)+)", PAGE, re.M)
    return {
        name: [[cell.strip() for cell in re.split(r"(?<!\\)\|", row)[1:-1]] for row in rows.splitlines()[2:]]
        for name, rows in found
    }


TABLES = tables()


def own_fields(kind: Any) -> dict[str, tuple[str, str]]:
    """Rule and default of each field, as the page writes them."""
    info = inspect.type_info(kind)
    assert isinstance(info, (inspect.StructType, inspect.DataclassType))
    words = rules(kind)
    hidden = {name for base in BASES if issubclass(kind, base) and kind is not base for name in base.__struct_fields__}
    return {
        field.encode_name: (words[field.encode_name].partition(": 1 to")[0].replace("|", r"\|"), default(kind, field))
        for field in info.fields
        if field.encode_name not in hidden
    }


def default(kind: Any, field: inspect.Field) -> str:
    if field.required or (kind is wire.Header and field.name in MUST_BE_THERE):
        return "required"
    value = (
        field.default_factory()
        if field.default is NODEFAULT and field.default_factory is not NODEFAULT
        else field.default
    )
    match value:
        case None:
            return "nil"
        case bool():
            return str(value).lower()
        case str():
            return f'"{value}"'
        case tuple() | list() | frozenset():
            return "[]"
        case dict() | Struct():
            return "{}"
    if is_dataclass(value):
        return "{}"
    return "left out" if value is NODEFAULT else str(value)


def test_every_struct_with_keys_of_its_own_has_a_table() -> None:
    bases = {Request, Reply, control.Refusal, events.Event}
    wanted = {name for name, kind in DOCUMENTED.items() if kind not in bases and own_fields(kind)}
    assert set(TABLES) == wanted


@pytest.mark.parametrize("name", sorted(TABLES))
def test_a_table_says_what_the_struct_says(name: str) -> None:
    rows = TABLES[name]
    assert {key.strip("`"): (value, default) for key, value, default, _ in rows} == own_fields(DOCUMENTED[name])
    assert all(meaning for *_, meaning in rows)


@pytest.mark.parametrize(
    ("section", "requests"),
    [("### 2.1", daemon.DAEMON_REQUESTS + looks.LOOK_REQUESTS), ("### 2.2", beamline.BEAMLINE_REQUESTS)],
)
def test_every_verb_is_described_with_its_arguments_and_its_reply(section: str, requests: Any) -> None:
    text = PAGE.partition(section)[2].partition("\n## ")[0].partition("\n### ")[0]
    described = dict(re.findall(r"\n#### `(\w+)`\n(.*?)(?=\n#### |\Z)", text, re.S))
    assert set(described) == {kind.verb for kind in requests}
    for kind in requests:
        words = described[kind.verb]
        assert (f"Arguments `{kind.__name__}`" if own_fields(kind) else "No arguments") in words
        reply = kind.reply.__name__
        assert (f"`{reply}`" if own_fields(kind.reply) else ["Reply", " no further keys"][0]) in words


def test_every_event_is_described() -> None:
    text = PAGE.partition("\n## 3.")[2].partition("\n## ")[0]
    described = dict(re.findall(r"\n### `(\w+)`\n.*?Map `(\w+)`", text, re.S))
    assert described == {kind.topic: kind.__name__ for kind in events.EVENT_TYPES}


def test_the_maps_that_are_free_have_the_keys_that_are_named() -> None:
    def named(what: str) -> set[str]:
        return set(re.findall(r"`(\w+)`", PAGE.partition(f"Keys of `{what}`")[2].partition("\n\n")[0]))

    assert named("artefacts") == {*Artefacts.__dataclass_fields__, "stripe_index"}
    assert named("geometry") == set(Layout(4, 8, 3.5).to_dict())


def example(start: str) -> str:
    """The Python example that contains a text."""
    return next(code for code in re.findall(r"```python\n(.*?)```", PAGE, re.S) if start in code)


def test_the_detector_of_the_page_sends_a_whole_scan() -> None:
    names: dict[str, Any] = {}
    code = example("zmq.PUSH").replace("tcp://*:5580", "inproc://frames")
    with zmq.Context() as context, context.socket(zmq.PULL) as pull:
        pull.connect("inproc://frames")
        exec(code.replace("zmq.Context()", "CONTEXT"), {"CONTEXT": context}, names)
        received = [pull.recv_multipart() for _ in range(6)]
        names["socket"].close(0)
    messages = [wire.decode(header) for header, *_ in received]
    assert [type(message) for message in messages] == [wire.Start, *[wire.FrameHeader] * 4, wire.End]
    assert all(len(parts[1]) == 16 * 32 * 2 for parts in received[1:5])


def test_the_client_of_the_page_gets_its_answer(capsys: pytest.CaptureFixture[str]) -> None:
    server = StandInDaemon()
    names: dict[str, Any] = {}
    serving = threading.Thread(target=server.serve, args=(60.0,))
    serving.start()
    code = example("zmq.REQ").replace("tcp://127.0.0.1:5581", server.endpoint)
    exec(code.replace("zmq.Context()", "CONTEXT"), {"CONTEXT": server.context}, names)
    serving.join()
    names["socket"].close(0)
    assert capsys.readouterr().out == f"idle {server.events.endpoint}\n"
    server.close()


def test_the_acknowledged_detector_of_the_page_sends_a_whole_scan() -> None:
    sink = Sink(Disk())
    with receiving(sink) as endpoint:
        exec(example("zmq.DEALER").replace("tcp://127.0.0.1:5580", endpoint), names := {})
        names["socket"].context.destroy(linger=0)
    assert sorted(sink.disk.frames) == [0, 1, 2, 3]
    assert (sink.disk.doubled, sink.disk.ended, sink.bad) == (0, 1, [])
