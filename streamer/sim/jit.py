"""One decorator for the compiled kernels of the virtual beamline."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

from numba import njit

Kernel = Callable[..., Any]


def compiled(function: Kernel) -> Kernel:
    """Compile a module-level function with numba, cached on disk, releasing the GIL."""
    return cast(Kernel, njit(cache=True, nogil=True, error_model="numpy")(function))
