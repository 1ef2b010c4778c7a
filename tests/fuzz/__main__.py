"""``python -m tests.fuzz [--messages N] [--seed N]``: mutated messages for every decoder.

An input that breaks one is kept in the corpus.
"""

from __future__ import annotations

import argparse
import json
import sys
from hashlib import sha256

from tests.fuzz.campaign import campaign
from tests.fuzz.mutations import CORPUS


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--messages", type=int, default=1_000_000)
    parser.add_argument("--seed", type=int, default=1)
    args = parser.parse_args()
    outcome = campaign(args.messages, args.seed)
    print(json.dumps({"taken": outcome.taken, "refused": outcome.refused, "seconds": round(outcome.seconds, 1)}))
    if outcome.broken is None:
        return 0
    target, data, error = outcome.broken
    path = CORPUS / f"{target}-{sha256(data).hexdigest()[:12]}.bin"
    path.write_bytes(data)
    print(f"{target} raised {error!r}; the input is {path}", file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(main())
