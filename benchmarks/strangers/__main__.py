"""What strangers can do to a daemon: ``python -m benchmarks.strangers [--messages N] [--sockets N] [--idle N]``.

Everything is tried on a daemon with keys; floods on one without keys as well, which only its own machine reaches. An
attempt that works, a daemon that does not answer, or a scan that is not whole afterwards makes the exit code 1.
"""

from __future__ import annotations

import argparse
import resource
import sys
import tempfile
from pathlib import Path
from typing import Any

from benchmarks.record import record
from benchmarks.strangers.attempts import attempts
from benchmarks.strangers.floods import floods
from benchmarks.strangers.house import House
from tests.fuzz.campaign import campaign

WHOLE = "complete, 99 of 99 frames, 99 written"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--messages", type=int, default=1_000_000, help="mutated messages for the decoders")
    parser.add_argument("--sockets", type=int, default=100_000, help="mutated messages over the sockets")
    parser.add_argument("--idle", type=int, default=2000, help="idle connections")
    parser.add_argument("--mb", type=int, default=400, help="size of an unfinished message")
    args = parser.parse_args()
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    result: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as name:
        house = House(Path(name) / "keys", keys=True)
        try:
            house.good_scan()
            tried = list(attempts(house))
            result["tried_with_keys_required"] = [vars(attempt) for attempt in tried]
            result["worked"] = sum(attempt.worked for attempt in tried)
            result["refused_connections"] = house.metric("connections_refused_total")
            result["floods_with_keys"] = _flood(house, args)
        finally:
            house.close()
        house = House(Path(name) / "plain", keys=False)
        try:
            result["floods_without_keys"] = _flood(house, args)
        finally:
            house.close()
    outcome = campaign(args.messages, 1)
    result["decoders"] = {
        "messages": args.messages,
        "taken": sum(outcome.taken.values()),
        "refused_in_one_line": sum(outcome.refused.values()),
        "broken": outcome.broken is not None,
        "seconds": round(outcome.seconds, 1),
    }
    record("strangers", result)
    scans = [
        flood["scan_after"] for kind in ("floods_with_keys", "floods_without_keys") for flood in result[kind].values()
    ]
    return 1 if result["worked"] or outcome.broken or any(scan != WHOLE for scan in scans) else 0


def _flood(house: House, args: argparse.Namespace) -> dict[str, Any]:
    house.good_scan()
    result = {}
    for name, flood in floods(args.mb, args.idle, args.sockets).items():
        print(name, flush=True)
        result[name] = {**flood(house), "scan_after": house.good_scan()}
        print(result[name], flush=True)
    return result


if __name__ == "__main__":
    sys.exit(main())
