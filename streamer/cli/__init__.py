"""The command line. Exit codes: 0 done, 1 failed, 2 bad input (one line on stderr, no traceback)."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from difflib import get_close_matches
from importlib import import_module

from streamer import __version__

DESCRIPTION = """\
Streamer reconstructs tomograms while the scan runs, and tells the plan what to
do next.

  streamer demo                           the whole system, nothing to set up
  streamer run beamline.toml              the daemon at a beamline
  streamer view                           a window on what it reconstructs now
  streamer reconstruct scan.nx -o out.h5  the same reconstruction from a file
"""

EPILOG = """\
streamer VERB --help explains a verb, with examples.
exit codes: 0 done; 1 failed; 2 bad input, with one line that says what may be
given
"""

VERBS = {
    "demo": "run the whole system on a virtual beamline",
    "sim": "start the virtual beamline alone, for a daemon and plans of your own",
    "run": "start the daemon: take frames, reconstruct, judge",
    "check": "check a configuration, ports and folder before the daemon starts",
    "view": "watch the planes fill in, in a window",
    "status": "ask a daemon what it is doing",
    "abort": "end the scan that a daemon has in hand",
    "trigger": "keep the latest turns of a scan that turns on and on, and those that follow",
    "replay": "send a recorded scan to a daemon as a detector would",
    "cluster": "check what processes that share a scan out can do here",
    "tee": "give one detector's frames to several receivers",
    "reconstruct": "reconstruct a recorded scan",
    "serve": "serve scans by Tiled while they run",
    "web": "serve a web page: planes to move, verdict, past scans, 3-D",
    "stitch": "join scans of a field that is wider than the detector",
    "export": "write a tomogram or a scan in the format of other programs",
    "report": "show the verdict that a raw file or a tomogram holds",
    "recover": "make the raw file that a crash left readable, and list what it lacks",
    "transfer": "copy finished scans to other storage, with checksums",
    "keys": "make keys for a daemon that other machines may reach",
    "bench": "measure what this machine can do",
}
"""Each verb is a module of that name with ``add_parser`` and ``run``; only the module in use is imported."""


def main(argv: Sequence[str] | None = None) -> int:
    words = (sys.argv[1:] if argv is None else list(argv)) or ["--help"]
    wanted = next((word for word in words if not word.startswith("-")), None)
    program = f"streamer {wanted}" if wanted in VERBS else "streamer"
    # What is solved by linear algebra here is small, and OpenBLAS's other threads spin for 0.1 s after each solution:
    # a judgement would take a core from the frames. Read when NumPy is loaded, and by processes that are started.
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    try:
        return _run(words, wanted, program)
    except KeyboardInterrupt:
        print(f"{program}: interrupted", file=sys.stderr)
        return 1


def _run(words: list[str], wanted: str | None, program: str) -> int:
    """The exit code of a verb. What takes time to import is imported here, where Ctrl-C is waited for."""
    from streamer.cli.terminal.outputs import json_alone
    from streamer.cli.terminal.words import say
    from streamer.frames import BadInput, StreamerError

    code: int
    try:
        args = _parsed(words, wanted)
        with json_alone(getattr(args, "json", None)):
            code = args.run(args)
    except BadInput as error:
        say(f"{program}: {error}", stream=sys.stderr)
        code = 2
    except StreamerError as error:
        say(f"{program}: {error}", stream=sys.stderr)
        code = 1
    except BrokenPipeError:
        # The reader of our output is gone (``| head``). Without this, Python would complain again at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        code = 1
    return code


def _parsed(words: list[str], wanted: str | None) -> argparse.Namespace:
    from streamer.cli.terminal.arguments import Parser
    from streamer.frames import BadInput

    parser = Parser(
        prog="streamer",
        description=DESCRIPTION,
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"streamer {__version__}")
    verbs = parser.add_subparsers(dest="verb", required=True, metavar="VERB")
    for verb, text in VERBS.items():
        if verb == wanted:
            import_module(f"streamer.cli.{verb}").add_parser(verbs)
        else:
            verbs.add_parser(verb, help=text)
    if wanted is not None and wanted not in VERBS:
        raise BadInput(_no_verb(wanted))
    return parser.parse_args(words)


def _no_verb(word: str) -> str:
    near = get_close_matches(word, VERBS, n=1)
    return f"there is no verb {word!r}; " + (f"did you mean {near[0]}?" if near else f"it is one of {', '.join(VERBS)}")
