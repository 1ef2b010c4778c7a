"""Keeps what ``streamer bench ingest`` measures: ``python -m benchmarks.streams.ingest [--size PX] [--seconds S]``."""

from __future__ import annotations

import argparse
import json
import tempfile
from pathlib import Path

from benchmarks.record import record
from streamer.cli import main as streamer


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--size", action="append", help="rows and columns of the detector (default 512, 1024, 2048)")
    parser.add_argument("--seconds", default="5", help="for each way (default 5)")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "result.json"
        options = [word for size in args.size or ("512", "1024", "2048") for word in ("--size", size)]
        if code := streamer(["bench", "ingest", *options, "--seconds", args.seconds, "--json", str(path)]):
            raise SystemExit(code)
        result = json.loads(path.read_text(encoding="utf-8"))
    record("ingest", result)


if __name__ == "__main__":
    main()
