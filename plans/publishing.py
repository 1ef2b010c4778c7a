"""Documents for other processes over ZeroMQ, as Bluesky's own publisher sends them, but in msgpack.

Bluesky's publisher packs with pickle, and whoever can reach the socket of a listener that unpickles runs code there. A
message is one part: ``prefix name document``, with blanks between. Messages may be lost: the files are the record.
"""

import logging
from typing import Any

import msgspec
import numpy as np
from bluesky.callbacks.zmq import Publisher

from streamer.frames import BadInput

log = logging.getLogger(__name__)

NAMES = ("start", "descriptor", "event", "event_page", "resource", "datum", "stream_resource", "stream_datum", "stop")


class DocumentPublisher:
    """A callback for ``RunEngine.subscribe`` that sends to a listener, or to a ``bluesky-0MQ-proxy``, at ``address``.

    It never ends a run: a document that cannot be sent is logged.
    """

    def __init__(self, address: str, prefix: bytes = b"") -> None:
        self._publisher = Publisher(address, prefix=prefix, serializer=pack_document)

    def __call__(self, name: str, document: dict[str, Any]) -> None:
        try:
            self._publisher(name, document)
        except Exception:
            log.exception("a %s document is not published", name)

    def close(self) -> None:
        """Give the socket back; what is not sent is lost."""
        self._publisher.close()


def pack_document(document: dict[str, Any]) -> bytes:
    """msgpack of a document; NumPy's numbers and arrays become plain ones, and what is not known a text."""
    return _ENCODER.encode(document)


def _plain(value: Any) -> Any:
    if isinstance(value, np.ndarray):
        return value.tolist()
    return value.item() if isinstance(value, np.generic) else str(value)


_ENCODER = msgspec.msgpack.Encoder(enc_hook=_plain)


def read_document(message: bytes) -> tuple[str, dict[str, Any]]:
    """Name and document of a message. Raises BadInput, and runs nothing, for anything else."""
    parts = message.split(b" ", 2)
    name = parts[1].decode("ascii", "replace") if len(parts) == 3 else ""
    if name not in NAMES:
        raise BadInput(f"a message of {len(message)} bytes is no document: it names none of {', '.join(NAMES)}")
    try:
        return name, msgspec.msgpack.decode(parts[2], type=dict[str, Any])
    except msgspec.DecodeError as error:
        raise BadInput(f"a {name} document is no msgpack map: {error}") from error
