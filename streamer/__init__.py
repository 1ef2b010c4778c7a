"""Streamer: live tomographic reconstruction of a detector stream."""

from importlib.metadata import PackageNotFoundError, version

try:
    __version__ = version("tomo-streamer")
except PackageNotFoundError:  # a source tree that was never installed
    __version__ = "0+unknown"
