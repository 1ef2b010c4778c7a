"""What took part in a decision, for those who ask a year later."""

import platform
from importlib.metadata import PackageNotFoundError, version
from typing import Any

PACKAGES = ("tomo-streamer", "bluesky", "ophyd")


def versions(station: Any) -> dict[str, str]:
    """Versions of the daemon, of Python and of the packages that decide. Raises LinkTimeout."""
    return {"daemon": station.streamer.version(), "python": platform.python_version(), **_packages()}


def _packages() -> dict[str, str]:
    found = {}
    for name in PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = "not installed"
    return found
