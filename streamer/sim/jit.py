"""One decorator for the compiled kernels of the virtual beamline."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar, cast

from numba import njit

K = TypeVar("K", bound=Callable[..., Any])


def compiled(function: K) -> K:
    """Compile a module-level function with numba, cached on disk, releasing the GIL."""
    return cast(K, njit(cache=True, nogil=True, error_model="numpy")(function))
