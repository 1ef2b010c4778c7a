"""The errors that Streamer raises on purpose."""

from __future__ import annotations

import os


class StreamerError(Exception):
    """Base of every error that Streamer raises on purpose. Never raised itself.

    BadInput              somebody gave us something unusable; the message is one line and names it
    └─ wire.WireError     a peer sent bytes that we cannot accept
    core.backend.BackendError, io.writer.WriterError, …   defined beside the code that raises them
    """


def system_reason(error: OSError) -> str:
    """Why the system refused, on one line. HDF5 puts a paragraph into its errors, with times and addresses."""
    return os.strerror(error.errno) if error.errno else str(error).split("\n")[0]


class BadInput(StreamerError):
    """Input of the user or of a peer is unusable. ``str(error)`` is one line that says what, where, and the way out."""
