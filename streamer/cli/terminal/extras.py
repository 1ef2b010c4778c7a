"""Packages that only some verbs need: what is missing is named before anything takes time."""

from __future__ import annotations

from importlib.util import find_spec

from streamer.frames import BadInput


def need(extra: str, what: str, *modules: str) -> None:
    """Raises BadInput when one of the ``modules`` of an ``extra`` is not installed; ``what`` needs them."""
    missing = [module for module in modules if not _is_there(module)]
    if missing:
        raise BadInput(
            f"{what} needs {', '.join(missing)}: pip install '.[{extra}]' in the repository, "
            f"or 'tomo-streamer[{extra}]' where the package is in an index"
        )


def _is_there(module: str) -> bool:
    try:
        return find_spec(module) is not None
    except ModuleNotFoundError:  # its package is not there
        return False
