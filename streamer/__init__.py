"""Streamer: live tomographic reconstruction of a detector stream.

    import streamer

    result = streamer.reconstruct(projections, angles_deg, flats=flats, darks=darks)
    with streamer.open("scan.nx") as scan:
        result = scan.reconstruct(stripes="full")

What is used is loaded when it is used, so ``import streamer`` takes no time.
"""

from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from streamer.api import Result, Scan, open, reconstruct
    from streamer.frames import BadInput

__all__ = ["BadInput", "Result", "Scan", "__version__", "open", "reconstruct"]

try:
    __version__ = version("tomo-streamer")
except PackageNotFoundError:  # a source tree that was never installed
    __version__ = "0+unknown"


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module 'streamer' has no attribute {name!r}")
    return getattr(import_module("streamer.api"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
