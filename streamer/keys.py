"""Keys of a daemon and its clients (CURVE, Curve25519), as files that only their owner reads.

The daemon has a folder: its own pair of keys, and the public key and the roles of every client. A client has one file:
its own pair of keys, and the public key of the daemon. ``streamer keys`` makes them.
"""

from __future__ import annotations

import os
import re
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any, Self

import zmq

from streamer.frames import NAME, BadInput

ENVIRONMENT = "STREAMER_KEY"
"""Names the key file of a client."""

DAEMON_FILE = "daemon.key"
CLIENTS = "clients"
SUFFIX = ".toml"
KEY = re.compile(r"[0-9a-zA-Z.\-:+=^!/*?&<>()\[\]{}@%$#]{40}")  # 32 bytes in Z85


class Role(StrEnum):
    """What a client may do."""

    LOOK = "look"
    STEER = "steer"
    SEND = "send"


MEANING = {
    Role.LOOK: "read the state, the verdict, events and previews",
    Role.STEER: "also arm and abort scans, choose the planes, fix the centre",
    Role.SEND: "send frames",
}


@dataclass(frozen=True)
class KeyPair:
    """A public key and its secret, in Z85."""

    public: str
    secret: str

    @classmethod
    def new(cls) -> Self:
        public, secret = zmq.curve_keypair()
        return cls(public.decode(), secret.decode())


@dataclass(frozen=True)
class ClientKey:
    """What a client needs to reach a daemon: its own pair, and the public key of the daemon."""

    public: str
    secret: str
    daemon: str

    @classmethod
    def read(cls, path: Path) -> Self:
        """Raises BadInput when the file cannot be read, holds no key, or others may read it."""
        values = _read(path, secret=True)
        return cls(_key(path, values, "public"), _key(path, values, "secret"), _key(path, values, "daemon"))

    def apply(self, socket: zmq.Socket[bytes]) -> None:
        """Make a socket that is not connected yet speak with this daemon only."""
        socket.curve_publickey = self.public.encode()
        socket.curve_secretkey = self.secret.encode()
        socket.curve_serverkey = self.daemon.encode()


def client_key(path: Path | str | None, environment: Mapping[str, str]) -> ClientKey | None:
    """The key in a file, or in the one that STREAMER_KEY names; None without either. Raises BadInput."""
    chosen = path or environment.get(ENVIRONMENT)
    return ClientKey.read(Path(chosen)) if chosen else None


@dataclass(frozen=True)
class Client:
    """A client that a daemon knows."""

    name: str
    public: str
    roles: frozenset[Role]

    def may(self, role: Role) -> bool:
        """Whether it has the role. Whoever steers may also look."""
        return role in self.roles or (role is Role.LOOK and Role.STEER in self.roles)


class KeyFolder:
    """The keys of one daemon. Every method raises BadInput, which names the file, when it cannot do its work."""

    def __init__(self, path: Path) -> None:
        self.path = path

    @property
    def _clients(self) -> Path:
        return self.path / CLIENTS

    def make(self) -> KeyPair:
        """Make the folder and the pair of the daemon."""
        for folder in (self.path, self._clients):
            try:
                folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            except OSError as error:
                raise BadInput(f"{folder}: cannot be made: {error.strerror}") from error
        pair = KeyPair.new()
        _write(self.path / DAEMON_FILE, "The key of a Streamer daemon. Keep it secret.", _pair(pair))
        return pair

    def daemon(self) -> KeyPair:
        path = self.path / DAEMON_FILE
        if not path.exists():
            raise BadInput(f"{path}: there is no key of a daemon; `streamer keys --folder {self.path} make` makes one")
        values = _read(path, secret=True)
        return KeyPair(_key(path, values, "public"), _key(path, values, "secret"))

    def add(self, name: str, roles: Iterable[Role], file: Path) -> Client:
        """Make a client known, and write the file that it needs to ``file``."""
        if not NAME.fullmatch(name):
            raise BadInput(f"client {name!r}: use letters, digits, '.', '_' and '-'")
        daemon, pair = self.daemon(), KeyPair.new()
        client = Client(name, pair.public, frozenset(roles))
        words = ", ".join(sorted(client.roles))
        text = f"The key of {name}, a client of a Streamer daemon ({words}). Keep it secret."
        _write(file, text, {**_pair(pair), "daemon": daemon.public})
        try:
            known = {"public": pair.public, "roles": sorted(client.roles)}
            _write(self._clients / f"{name}{SUFFIX}", f"{name} may connect with this key.", known)
        except BaseException:
            file.unlink()
            raise
        return client

    def remove(self, name: str) -> None:
        """Forget a client: its requests are refused from now on, and it cannot connect again."""
        known = [client.name for client in self.clients()]
        if name not in known:
            raise BadInput(f"client {name!r} is not known; known are {', '.join(known) or 'none'}")
        (self._clients / f"{name}{SUFFIX}").unlink()

    def clients(self) -> list[Client]:
        """All clients, by name."""
        return [self._client(path) for path in sorted(self._clients.glob(f"*{SUFFIX}"))]

    def stamp(self) -> object:
        """Changes when a client is added, changed or removed."""
        try:
            with os.scandir(self._clients) as entries:
                return sorted((entry.name, entry.stat().st_mtime_ns) for entry in entries)
        except OSError as error:
            raise BadInput(f"{self._clients}: cannot be read: {error.strerror}") from error

    def _client(self, path: Path) -> Client:
        values = _read(path, secret=False)
        try:
            roles = frozenset(map(Role, values["roles"]))
        except (KeyError, TypeError, ValueError) as error:
            raise BadInput(f"{path}: roles must be a list of {', '.join(Role)}") from error
        return Client(path.name.removesuffix(SUFFIX), _key(path, values, "public"), roles)


def _pair(pair: KeyPair) -> dict[str, str]:
    return {"public": pair.public, "secret": pair.secret}


def _key(path: Path, values: Mapping[str, Any], name: str) -> str:
    key = values.get(name)
    if not isinstance(key, str) or not KEY.fullmatch(key):
        raise BadInput(f"{path}: {name} is no key of 40 characters; `streamer keys` makes the file")
    return key


def _read(path: Path, secret: bool) -> dict[str, Any]:
    try:
        with path.open("rb") as file:
            mode = os.fstat(file.fileno()).st_mode
            if secret and mode & 0o077:
                raise BadInput(f"{path}: others may read this secret (mode {mode & 0o777:o}); run `chmod 600 {path}`")
            return tomllib.load(file)
    except OSError as error:
        raise BadInput(f"{path}: cannot be read: {error.strerror}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise BadInput(f"{path}: not a key file: {error}") from error


def _write(path: Path, comment: str, values: Mapping[str, Any]) -> None:
    """Write a new file that only its owner reads. Z85 has no single quote, which TOML takes as it is."""
    lines = [f"# {comment}"]
    for name, value in values.items():
        words = f"'{value}'" if isinstance(value, str) else "[" + ", ".join(f"'{word}'" for word in value) + "]"
        lines.append(f"{name} = {words}")
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW
    try:
        with open(os.open(path, flags, 0o600), "w", encoding="ascii") as file:
            file.write("\n".join(lines) + "\n")
    except FileExistsError as error:
        raise BadInput(f"{path}: exists already, and a key is never overwritten; remove it first") from error
    except OSError as error:
        raise BadInput(f"{path}: cannot be written: {error.strerror}") from error
