"""Who may do what over HTTP: tokens, and the headers Host and Origin of a request. No sockets."""

from __future__ import annotations

import hmac
import os
import stat
from collections.abc import Iterable
from dataclasses import dataclass
from enum import IntEnum
from hashlib import sha256
from ipaddress import ip_address
from pathlib import Path
from urllib.parse import urlsplit

from streamer.frames import BadInput

SHORTEST_TOKEN = 20
MAX_TOKEN_FILE = 4096
DEFAULT_PORTS = {"http": 80, "https": 443}

HEADERS = {
    "content-security-policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data: blob:; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "permissions-policy": "camera=(), microphone=(), geolocation=()",
}
"""Headers of every answer. Nothing is loaded from elsewhere, and no script or style stands in a page."""


class Right(IntEnum):
    """What a client may do; each includes those before it."""

    NONE = 0
    LOOK = 1
    STEER = 2


@dataclass(frozen=True)
class Access:
    """The tokens of a page. ``anyone_looks``: whoever reaches it may look, without a token."""

    look: str | None = None
    steer: str | None = None
    anyone_looks: bool = False

    def right(self, token: str) -> Right:
        """What the holder of a token may do; of an empty one, what everybody may do.

        The time that it takes depends neither on the tokens nor on what they have in common with this one.
        """
        looks, steers = _equal(token, self.look), _equal(token, self.steer)
        if steers:
            return Right.STEER
        return Right.LOOK if looks or (self.anyone_looks and not token) else Right.NONE


def _equal(given: str, token: str | None) -> bool:
    digests = [sha256(text.encode("utf-8", "surrogatepass")).digest() for text in (given, token or "")]
    return hmac.compare_digest(*digests) and bool(token)


def read_token(path: Path) -> str:
    """The token in a file: its only line. Raises BadInput when others may read the file, or the token is short."""
    try:
        with path.open("rb") as file:
            about = os.fstat(file.fileno())
            content = file.read(MAX_TOKEN_FILE + 1)
    except OSError as error:
        way_out = f"(umask 077; openssl rand -base64 33 > {path}) makes one"
        raise BadInput(f"{path}: no token can be read: {(error.strerror or '').lower()}; {way_out}") from error
    # A credential that systemd hands over belongs to root, and the group bits are those of its access list.
    private = about.st_mode & (0o037 if about.st_uid == 0 else 0o077) == 0
    if not stat.S_ISREG(about.st_mode) or not private:
        raise BadInput(f"{path}: others may read this token; chmod 600 {path}")
    token = content.decode("ascii", "replace").strip()
    if not SHORTEST_TOKEN <= len(token) <= MAX_TOKEN_FILE or not token.isascii() or len(token.split()) != 1:
        raise BadInput(f"{path}: a token is one line of {SHORTEST_TOKEN} or more letters, digits and signs")
    return token


def is_loopback(host: str) -> bool:
    """Whether only this machine reaches what listens at ``host``."""
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def host_is_ours(host: str | None, names: Iterable[str]) -> bool:
    """Whether a request asked for this server: by an address, or by one of these names.

    A page elsewhere whose name was made to point here (DNS rebinding) asks for its own name.
    """
    name = _host_name(host)
    if name is None:
        return False
    try:
        ip_address(name)
    except ValueError:
        return name in {each.lower() for each in (*names, "localhost")}
    return True


def origin_is_ours(origin: str | None, host: str | None) -> bool:
    """Whether a request comes from a page of the host that it asks, or from no page at all."""
    if origin is None:
        return True
    try:
        parts = urlsplit(origin)
        usual = DEFAULT_PORTS[parts.scheme]
        asked = urlsplit(f"//{host or ''}")
        theirs, ours = (parts.hostname, parts.port or usual), (asked.hostname, asked.port or usual)
    except (KeyError, ValueError):
        return False
    return parts.hostname is not None and theirs == ours


def _host_name(host: str | None) -> str | None:
    try:
        parts = urlsplit(f"//{host or ''}")
        _ = parts.port
    except ValueError:
        return None
    whole = parts.netloc == (host or "") and "@" not in parts.netloc
    return parts.hostname if whole else None
