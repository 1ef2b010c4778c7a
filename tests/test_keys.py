"""Key files: made once, read by their owner only, and refused with a line that names the file."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from streamer.frames import BadInput
from streamer.keys import ENVIRONMENT, ClientKey, KeyFolder, Role, client_key


@pytest.fixture
def folder(tmp_path: Path) -> KeyFolder:
    folder = KeyFolder(tmp_path / "keys")
    folder.make()
    return folder


def test_a_client_gets_what_it_needs_and_the_daemon_keeps_no_secret_of_it(folder: KeyFolder, tmp_path: Path) -> None:
    client = folder.add("viewer", [Role.LOOK], tmp_path / "viewer.key")
    key = ClientKey.read(tmp_path / "viewer.key")
    assert (key.public, key.daemon) == (client.public, folder.daemon().public)
    assert folder.clients() == [client]
    kept = (folder.path / "clients" / "viewer.toml").read_text()
    assert key.public in kept
    assert key.secret not in kept


def test_keys_differ(folder: KeyFolder, tmp_path: Path) -> None:
    publics = {folder.add(f"c{k}", [Role.SEND], tmp_path / f"{k}.key").public for k in range(20)}
    assert len(publics) == 20


@pytest.mark.parametrize("umask", [0, 0o077])
def test_nobody_else_reads_secrets(tmp_path: Path, umask: int) -> None:
    before = os.umask(umask)
    try:
        folder = KeyFolder(tmp_path / "keys")
        folder.make()
        folder.add("viewer", [Role.LOOK], tmp_path / "viewer.key")
    finally:
        os.umask(before)
    files = [tmp_path / "viewer.key", *(path for path in folder.path.rglob("*") if path.is_file())]
    assert [path.stat().st_mode & 0o777 for path in files] == [0o600] * 3
    assert folder.path.stat().st_mode & 0o077 == 0


def test_a_secret_that_others_may_read_is_not_used(folder: KeyFolder, tmp_path: Path) -> None:
    file = tmp_path / "viewer.key"
    folder.add("viewer", [Role.LOOK], file)
    file.chmod(0o640)
    with pytest.raises(BadInput, match=rf"^{file}: others may read this secret \(mode 640\); run `chmod 600"):
        ClientKey.read(file)


def test_no_key_is_overwritten_and_no_link_followed(folder: KeyFolder, tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="exists already"):
        folder.make()
    target, link = tmp_path / "target", tmp_path / "link"
    link.symlink_to(target)
    with pytest.raises(BadInput, match=f"{link}: "):
        folder.add("viewer", [Role.LOOK], link)
    assert not target.exists()
    folder.add("viewer", [Role.LOOK], tmp_path / "one")
    with pytest.raises(BadInput, match=r"viewer\.toml: exists already"):
        folder.add("viewer", [Role.LOOK], tmp_path / "two")
    assert not (tmp_path / "two").exists(), "a key that nobody knows is not left behind"


@pytest.mark.parametrize("name", ["", "..", "../x", "a/b", "-x", "a b", "x" * 101])
def test_a_name_is_no_path(folder: KeyFolder, tmp_path: Path, name: str) -> None:
    with pytest.raises(BadInput, match="use letters"):
        folder.add(name, [Role.LOOK], tmp_path / "key")
    with pytest.raises(BadInput, match="is not known"):
        folder.remove(name)


def test_a_removed_client_is_forgotten(folder: KeyFolder, tmp_path: Path) -> None:
    folder.add("viewer", [Role.LOOK], tmp_path / "viewer.key")
    before = folder.stamp()
    folder.remove("viewer")
    assert folder.clients() == []
    assert folder.stamp() != before
    with pytest.raises(BadInput, match="client 'viewer' is not known; known are none"):
        folder.remove("viewer")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "public is no key of 40 characters"),
        ("public = 5", "public is no key"),
        (f"public = '{'x' * 41}'", "public is no key"),
        (f"public = '{'~' * 40}'", "public is no key"),
        ("public = ", "not a key file"),
        ("\xff", "not a key file"),
    ],
)
def test_what_is_no_key_is_named(tmp_path: Path, text: str, said: str) -> None:
    file = tmp_path / "key"
    file.write_text(text, encoding="latin-1")
    file.chmod(0o600)
    with pytest.raises(BadInput, match=f"^{file}: {said}"):
        ClientKey.read(file)
    with pytest.raises(BadInput, match="cannot be read: No such file"):
        ClientKey.read(tmp_path / "none")


@pytest.mark.parametrize("roles", ["roles = ['king']", "roles = 5", "roles = [5]", ""])
def test_a_role_that_is_none_is_named(folder: KeyFolder, tmp_path: Path, roles: str) -> None:
    client = folder.add("viewer", [Role.LOOK], tmp_path / "viewer.key")
    (folder.path / "clients" / "viewer.toml").write_text(f"public = '{client.public}'\n{roles}\n")
    with pytest.raises(BadInput, match=r"viewer\.toml: roles must be a list of look, steer, send"):
        folder.clients()


def test_whoever_steers_may_look_and_nobody_may_more_than_is_said(folder: KeyFolder, tmp_path: Path) -> None:
    steer = folder.add("plan", [Role.STEER], tmp_path / "plan.key")
    assert [steer.may(role) for role in Role] == [True, True, False]
    send = folder.add("camera", [Role.SEND], tmp_path / "camera.key")
    assert [send.may(role) for role in Role] == [False, False, True]


def test_the_key_of_a_client_is_named_by_hand_or_by_the_environment(folder: KeyFolder, tmp_path: Path) -> None:
    for name in ("one", "two"):
        folder.add(name, [Role.LOOK], tmp_path / name)
    environment = {ENVIRONMENT: str(tmp_path / "two")}
    assert client_key(None, {}) is None
    assert client_key(None, environment) == ClientKey.read(tmp_path / "two")
    assert client_key(str(tmp_path / "one"), environment) == ClientKey.read(tmp_path / "one")
