"""Where a verb listens: a port as an argument, and a socket of TCP."""

from __future__ import annotations

import errno
import socket
from typing import Annotated

from pydantic import Field

from streamer.cli.terminal.arguments import checked
from streamer.frames import BadInput

port = checked(Annotated[int, Field(ge=0, le=65535)])
"""Type of an argument; 0 is any free port."""


def listening(host: str, port: int) -> socket.socket:
    """A socket that listens at an address, IPv4 or IPv6. Raises BadInput, one line."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family)
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            why = "address already in use; is it running already? choose another --port, or 0 for any"
        else:
            why = (error.strerror or str(error)).lower()
        raise BadInput(f"--host {host} --port {port}: {why}") from error


def url(listener: socket.socket, host: str) -> str:
    """The address for a browser."""
    return f"http://{f'[{host}]' if ':' in host else host}:{listener.getsockname()[1]}"
