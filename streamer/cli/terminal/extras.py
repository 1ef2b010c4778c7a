"""Packages that only some verbs need: what is missing is named before anything takes time."""

from __future__ import annotations

import os
import sys
from importlib.util import find_spec

from streamer.frames import BadInput


def need(extra: str, what: str, *modules: str) -> None:
    """Raises BadInput when one of the ``modules`` of an ``extra`` is not installed; ``what`` needs them."""
    missing = [module for module in modules if not _is_there(module)]
    if missing:
        raise BadInput(
            f"{what} needs {', '.join(missing)}: {_python()} -m pip install -e '.[{extra}]' in the repository, "
            f"or 'tomo-streamer[{extra}]' where the package is in an index"
        )


def _python() -> str:
    """The Python that runs, as one would type it here: another one's pip would install for that one."""
    here = os.path.relpath(sys.executable)
    return sys.executable if here.startswith(os.pardir) else here


def _is_there(module: str) -> bool:
    try:
        return find_spec(module) is not None
    except ModuleNotFoundError:  # its package is not there
        return False
