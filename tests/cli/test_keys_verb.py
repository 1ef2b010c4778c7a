"""``streamer keys``, and what ``streamer check`` says of sockets that other machines reach."""

from __future__ import annotations

from pathlib import Path

import pytest

from streamer.cli import main
from streamer.keys import ClientKey


def keys(folder: Path, *words: str) -> int:
    return main(["keys", "--folder", str(folder / "keys"), *words])


def test_keys_are_made_listed_and_removed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert keys(tmp_path, "make") == 0
    assert f'security.keys = "{tmp_path / "keys"}"' in capsys.readouterr().out
    file = tmp_path / "camera.key"
    assert keys(tmp_path, "add", "camera", "--role", "send", "--role", "look", "-o", str(file)) == 0
    assert capsys.readouterr().out == f"{file}: the key of camera, who may look, send\n"
    key = ClientKey.read(file)
    assert keys(tmp_path, "list") == 0
    listed = capsys.readouterr().out
    assert listed.split() == ["camera", "look,", "send", key.public]
    assert key.secret not in listed
    assert keys(tmp_path, "remove", "camera") == 0
    assert keys(tmp_path, "list") == 0
    assert capsys.readouterr().out == "camera is removed\n"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["list"], "there is no key of a daemon; `streamer keys --folder "),
        (["add", "x", "--role", "king", "-o", "x"], "--role: give look, steer or send, not 'king'"),
        (["add", "x", "-o", "x"], "the following arguments are required: --role"),
        (["dance"], "ACTION: invalid choice: 'dance'"),
    ],
)
def test_mistakes_are_named(tmp_path: Path, capsys: pytest.CaptureFixture[str], words: list[str], said: str) -> None:
    assert keys(tmp_path, *words) == 2
    line = capsys.readouterr().err
    assert line.startswith("streamer keys: ")
    assert said in line
    assert line.count("\n") == 1


def test_a_daemon_that_others_may_reach_is_refused_or_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = tmp_path / "c.toml"
    config.write_text(f'control.endpoint = "tcp://*:0"\nwriter.directory = "{tmp_path}"\n')
    assert main(["check", str(config)]) == 2
    assert "control.endpoint *:0: open to other machines without keys; listen on 127.0.0.1" in capsys.readouterr().err
    assert main(["run", str(config)]) == 2
    assert "or say security.insecure = true" in capsys.readouterr().err
    with config.open("a") as file:
        file.write("security.insecure = true\n")
    main(["check", str(config)])  # the ports of a daemon on this machine may be taken
    assert "security.insecure: everybody who reaches tcp://*:0 may use it" in capsys.readouterr().out


def test_a_key_that_cannot_be_read_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["status", "--key", str(tmp_path / "none.key")]) == 2
    assert (
        capsys.readouterr().err == f"streamer status: {tmp_path}/none.key: cannot be read: No such file or directory\n"
    )
