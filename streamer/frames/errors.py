"""The errors that Streamer raises on purpose."""

from __future__ import annotations


class StreamerError(Exception):
    """Base of every error that Streamer raises on purpose. Never raised itself.

    BadInput              somebody gave us something unusable; the message is one line and names it
    └─ wire.WireError     a peer sent bytes that we cannot accept
    core.backend.BackendError, io.writer.WriterError, …   defined beside the code that raises them
    """


class BadInput(StreamerError):
    """Input of the user or of a peer is unusable. ``str(error)`` is one line that says what, where, and the way out."""
