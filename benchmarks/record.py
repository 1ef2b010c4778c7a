"""Keeps a measurement together with what it was measured with."""

from __future__ import annotations

import json
import os
import platform
import sys
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

from streamer import __version__

RESULTS = Path(__file__).parent / "results"
PACKAGES = ("numpy", "scipy", "numba", "h5py", "pyzmq", "msgspec")


def record(name: str, result: dict[str, Any]) -> Path:
    """Write ``results/<name>.json``: the command, the date, versions, processor, load and niceness, and the result.

    Of places that only this machine has, the command names the last part.
    """
    spec = sys.modules["__main__"].__spec__
    module = f"benchmarks.{name}" if spec is None else spec.name.removesuffix(".__main__")
    words = [Path(word).name if Path(word).is_absolute() else word for word in sys.argv[1:]]
    content = {
        "command": " ".join(["python -m", module, *words]),
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "python": platform.python_version(),
        "versions": {"tomo-streamer": __version__, **{package: version(package) for package in PACKAGES}},
        "processor": _processor(),
        "cores": os.cpu_count(),
        "load": os.getloadavg(),
        "niceness": os.nice(0),
        "result": result,
    }
    RESULTS.mkdir(exist_ok=True)
    path = RESULTS / f"{name}.json"
    path.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
    print(json.dumps(result, indent=2))
    return path


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor()
    return next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), "unknown")
