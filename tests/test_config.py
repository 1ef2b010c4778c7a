"""The configuration: file, environment, and the same again as ``--print-config`` writes it."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import Any

import pytest

from streamer.config import Config, check_security, check_source, load, render, unguarded
from streamer.frames import BadInput
from streamer.options import Options
from tests.paths import ROOT

OTHER = {
    "source": {"endpoint": "ipc:///tmp/frames", "bind": True, "high_water_mark": 3},
    "writer": {"directory": 'data "of" today\\é', "flush_s": 1, "tomogram": False},
    "reconstruction": {"threads": 2, "window": "hann", "sliding_deg": 90.0, "tilt": -0.5, "geometry": "half"},
    "preparation": {"zingers": 8.0, "delta_beta": 250.0},
    "limits": {"max_resolution_px": 3.5, "min_coverage": 1.0},
}


def written(folder: Path, text: str) -> Path:
    path = folder / "beamline.toml"
    path.write_text(text, encoding="utf-8")
    return path


def changed(options: Options) -> dict[str, Any]:
    return {name: values for name, values in options.model_dump(exclude_defaults=True, mode="json").items() if values}


def test_the_shipped_configuration_is_the_printed_one() -> None:
    shipped = ROOT / "deploy" / "streamer.toml"
    assert shipped.read_text(encoding="utf-8") == render(Config()), "write it with streamer run --print-config"
    assert load(shipped, {}) == Config()


def test_every_option_is_described() -> None:
    for name, section in Config.model_fields.items():
        assert isinstance(section.annotation, type)
        for key, field in section.annotation.model_fields.items():
            assert field.description, f"{name}.{key}"
            assert field.get_default() is not None or field.examples, f"{name}.{key}"


def test_what_is_printed_is_read_again(tmp_path: Path) -> None:
    config = Config(**OTHER)
    path = written(tmp_path, render(config))
    assert load(path, {}) == config
    assert changed(load(path, {})) == OTHER
    text = path.read_text(encoding="utf-8")
    assert "threads = 2 # default: unset" in text
    assert 'window = "hann" # default: "linear"' in text


def test_options_without_a_default_may_be_set_as_their_example_is(tmp_path: Path) -> None:
    text = re.sub("^# (?=[a-z_]+ = )", "", render(Config()), flags=re.MULTILINE)
    assert len(changed(load(written(tmp_path, text), {}))) >= 3
    assert tomllib.loads(text).keys() == Config.model_fields.keys()


def test_environment_overrides_the_file(tmp_path: Path) -> None:
    path = written(tmp_path, "metrics.port = 1\n")
    assert load(path, {"STREAMER_METRICS__PORT": "2", "STREAMER_LOG": "x"}).metrics.port == 2
    given = {"METRICS__ENABLED": "false", "RECONSTRUCTION__TILT": "1.5", "WRITER__DIRECTORY": "2024"}
    config = load(path, {f"STREAMER_{name}": value for name, value in given.items()})
    assert (config.metrics.enabled, config.reconstruction.tilt, config.writer.directory) == (False, 1.5, Path("2024"))


@pytest.mark.parametrize(
    ("text", "environment", "said"),
    [
        ("[ring]\nmemory = 5", {}, "ring.memory: no such option; known here: memory_mb, max_slots"),
        ("[rings]\nmemory_mb = 5", {}, "rings: no such option; known here: reconstruction, preparation, limits, "),
        ("ring = 5", {}, "ring: give a section, not 5"),
        ("ring = 5", {"STREAMER_RING__MEMORY_MB": "7"}, "ring: give a section, not 5"),
        ("metrics.port = 70000", {}, "metrics.port: give a whole number from 0 to 65535, not 70000"),
        ("metrics.port = 'x'", {}, "metrics.port: give a whole number from 0 to 65535, not 'x'"),
        ("metrics.port = true", {}, "metrics.port: give a whole number from 0 to 65535, not True"),
        ("metrics.enabled = 1", {}, "metrics.enabled: give true or false, not 1"),
        ("limits.min_coverage = nan", {}, "limits.min_coverage: give a number from 0 to 1, not nan"),
        ("limits.max_motion = 2", {}, "limits.max_motion: no such option; known here: min_coverage, "),
        (
            "source.endpoint = 'udp://*:1'",
            {},
            "source.endpoint: give an endpoint: tcp://HOST:PORT, ipc://PATH or pva://NAME, not ",
        ),
        (
            "reconstruction.tilt = 'left'",
            {},
            "reconstruction.tilt: give auto, off or a number from -5 to 5, not 'left'",
        ),
        ("control.events = 'tcp://host'", {}, "control.events: give an endpoint: tcp://HOST:PORT or ipc://PATH, not "),
        ("control.events = 'ipc://'", {}, "control.events: give an endpoint"),
        ("control.events = 'tcp://host:65536'", {}, "control.events: give an endpoint"),
        ("preparation.stripes = 'on'", {}, "preparation.stripes: give off, live or full, not 'on'"),
        ("", {"STREAMER_METRICS__PRT": "2"}, "metrics.prt: no such option; known here: enabled, host, port"),
        ("", {"STREAMER_WRITER__FLUSH_S": "0"}, "writer.flush_s: give a number above 0, at most 60, not '0'"),
        ("][", {}, "not valid TOML"),
    ],
)
def test_an_error_names_the_file_the_option_and_what_may_be_given(
    tmp_path: Path, text: str, environment: dict[str, str], said: str
) -> None:
    path = written(tmp_path, text)
    with pytest.raises(BadInput) as error:
        load(path, environment)
    assert str(error.value).startswith(f"{path}: {said}")
    assert len(str(error.value).splitlines()) == 1


@pytest.mark.parametrize("endpoint", ["tcp://*:1", "tcp://[::1]:5581", "tcp://eth0:*", "ipc://here", "tcp://h:0"])
def test_endpoints(endpoint: str) -> None:
    assert Config(control={"events": endpoint}).control.events == endpoint


OPEN = "open to other machines without keys; listen on 127.0.0.1, set security.keys (see `streamer keys`)"


@pytest.mark.parametrize(
    ("sections", "said"),
    [
        (
            {"control": {"endpoint": "tcp://*:5581"}},
            f"control.endpoint *:5581: {OPEN}, or say security.insecure = true",
        ),
        ({"control": {"events": "tcp://0.0.0.0:5582"}}, "control.events 0.0.0.0:5582: open"),
        ({"preview": {"endpoint": "tcp://beamline-7:5583"}}, "preview.endpoint beamline-7:5583: open"),
        ({"preview": {"endpoint": "tcp://[::]:5583"}}, "preview.endpoint [::]:5583: open"),
        ({"metrics": {"host": "0.0.0.0"}}, "metrics.host 0.0.0.0:9108: open"),
        ({"metrics": {"host": ""}}, "metrics.host :9108: open"),
        ({"source": {"endpoint": "tcp://eth1:5580", "bind": True}}, "source.endpoint eth1:5580: open"),
        (
            {"control": {"endpoint": "tcp://*:1"}, "metrics": {"host": "10.0.0.1"}},
            f"control.endpoint *:1, metrics.host 10.0.0.1:9108: {OPEN} and, for frames, security.frames, or",
        ),
        (
            {"source": {"endpoint": "tcp://*:5580", "bind": True}, "security": {"keys": "keys"}},
            "source.endpoint *:5580: open",
        ),
        ({"security": {"frames": True}}, "security.frames: the source cannot need a key without security.keys"),
    ],
)
def test_a_socket_that_others_reach_needs_keys_or_a_word(sections: dict[str, Any], said: str) -> None:
    with pytest.raises(BadInput) as error:
        check_security(Config(**sections))
    assert str(error.value).startswith(said)
    if "frames" not in sections.get("security", {}):
        insecure = Config(**{**sections, "security": {**sections.get("security", {}), "insecure": True}})
        check_security(insecure)
        assert unguarded(insecure)


@pytest.mark.parametrize(
    "sections",
    [
        {},
        {"control": {"endpoint": "tcp://127.0.0.2:*"}, "metrics": {"host": "localhost"}},
        {"control": {"endpoint": "tcp://[::1]:5581"}, "preview": {"endpoint": "ipc:///run/streamer/preview"}},
        {
            "control": {"endpoint": "tcp://*:5581", "events": "tcp://*:5582"},
            "preview": {"endpoint": "tcp://*:5583"},
            "security": {"keys": "keys"},
        },
        {"source": {"endpoint": "tcp://camera:5580"}},
        {"source": {"endpoint": "tcp://*:5580", "bind": True}, "security": {"keys": "keys", "frames": True}},
        {"metrics": {"host": "0.0.0.0", "enabled": False}},
    ],
)
def test_a_socket_of_this_machine_or_with_keys_needs_nothing(sections: dict[str, Any]) -> None:
    config = Config(**sections)
    check_security(config)
    assert unguarded(config) == {}


def test_without_a_file_the_environment_is_named() -> None:
    with pytest.raises(BadInput, match=r"^environment: metrics\.port: "):
        load(None, {"STREAMER_METRICS__PORT": "-1"})
    with pytest.raises(BadInput, match=r"none\.toml: cannot be read: No such file"):
        load(Path("none.toml"), {})


@pytest.mark.parametrize(
    ("options", "way_out"),
    [
        ({"source": "pandabox"}, "positions.endpoint: a source 'pandabox' needs one; give HOST:PORT"),
        ({"source": "stins"}, "positions.endpoint: a source 'stins' needs one; give tcp://HOST:PORT"),
        ({"source": "attribute", "value": " , "}, "positions.value: name what holds the position"),
    ],
)
def test_positions_that_cannot_come_name_what_lacks(options, way_out):
    with pytest.raises(BadInput, match=re.escape(way_out)):
        Config(positions=options).positions.check(native=False)


def test_positions_of_frames_that_carry_their_angles_are_refused():
    options = {"source": "table"}
    Config(positions=options).positions.check(native=False)
    with pytest.raises(BadInput, match=r"positions\.source: frames in the native format carry their angles"):
        Config(positions=options).positions.check(native=True)


def test_an_encoder_without_counts_is_refused():
    with pytest.raises(BadInput, match=r"positions\.counts_per_deg: give a number other than 0, not 0"):
        Config(positions={"counts_per_deg": 0})


@pytest.mark.parametrize(
    ("options", "way_out"),
    [
        ({"dialect": "stins", "socket": "sub"}, "source.socket: the dialect stins has pull, not sub"),
        ({"dialect": "stins", "transport": "acknowledged"}, "source.transport: acknowledged is for the native dialect"),
        ({"socket": "sub"}, "source.socket: only for another source.dialect than native"),
        ({"channel": "threshold_2", "dialect": "dectris-v1"}, "source.channel: only dectris-v2 has several"),
        ({"dialect": "pva"}, "source.endpoint: pva://NAME of a PV, not bound, for the dialect pva"),
        ({"endpoint": "pva://cam:1"}, "source.endpoint: pva://NAME of a PV, not bound, for the dialect pva"),
        ({"dialect": "pva", "endpoint": "pva://cam:1", "bind": True}, "source.endpoint: pva://NAME of a PV, not bound"),
    ],
)
def test_options_of_the_source_that_contradict_each_other_are_named(options: dict[str, Any], way_out: str) -> None:
    with pytest.raises(BadInput, match=re.escape(way_out)):
        check_source(Config(source=options).source)


def test_a_dialect_that_nobody_speaks_is_refused_with_those_that_are_spoken() -> None:
    with pytest.raises(BadInput, match=r"source\.dialect: give one of native, dectris-v1, .*array-1\.0, .*karabo"):
        Config(source={"dialect": "klingon"})
    for options in (
        {"dialect": "pva", "endpoint": "pva://cam:1"},
        {"dialect": "odin"},
        {"dialect": "karabo", "socket": "req"},
        {},
    ):
        check_source(Config(source=options).source)
