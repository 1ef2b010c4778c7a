"""Tells systemd how the daemon is (sd_notify(3)): ready, alive, stopping, and what it does."""

from __future__ import annotations

import socket
from collections.abc import Callable, Mapping
from contextlib import suppress

Tell = Callable[[str], None]
"""Sends assignments, a line each, to the service manager."""

START_S = 120.0
"""What systemd waits for after each word of a service that is not ready yet."""


def condition(status: str, starting: bool, alive: bool) -> str:
    """The regular word: what is done, to be patient with a service that is ``starting``, and that it is ``alive``."""
    lines = [f"STATUS={status}"]
    if starting:
        lines.append(f"EXTEND_TIMEOUT_USEC={START_S * 1e6:.0f}")
    if alive:
        lines.append("WATCHDOG=1")
    return "\n".join(lines)


def service_manager(environment: Mapping[str, str]) -> Tell:
    """A function that tells the service manager named in ``NOTIFY_SOCKET``; without one it does nothing.

    It never waits and never fails: a manager that does not read must not hold up the daemon.
    """
    address = environment.get("NOTIFY_SOCKET", "")
    if not address.startswith(("/", "@")):
        return lambda _text: None
    if address.startswith("@"):
        address = "\0" + address[1:]  # in the abstract namespace

    def tell(text: str) -> None:
        with suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as sender:
            sender.setblocking(False)
            sender.sendto(text.encode(), address)

    return tell
