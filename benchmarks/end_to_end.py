"""Keeps what ``streamer bench end-to-end`` measures: ``python -m benchmarks.end_to_end [--size PX]``."""

from __future__ import annotations

import argparse
import json
import tempfile
from pathlib import Path

from benchmarks.record import record
from streamer.cli import main as streamer


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--size", action="append", help="rows and columns of the detector (default 256 and 512)")
    sizes = parser.parse_args().size or ["256", "512"]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "result.json"
        options = [word for size in sizes for word in ("--size", size)]
        if code := streamer(["bench", "end-to-end", *options, "--json", str(path)]):
            raise SystemExit(code)
        result = json.loads(path.read_text(encoding="utf-8"))
    record("end_to_end", result)


if __name__ == "__main__":
    main()
