"""How kernels are compiled and fed: one typed decorator, one rule for array arguments."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar, cast

import numba
import numpy as np
from numpy.typing import DTypeLike, NDArray

F = TypeVar("F", bound=Callable[..., Any])

# No "nnan"/"ninf": detectors send NaN, and the kernels must be able to see it. "reassoc" is left out as well, so that
# the order of every sum is the one written down.
FAST_MATH = {"contract", "arcp", "nsz"}


def kernel(*, parallel: bool = False, inline: bool = False) -> Callable[[F], F]:
    """``numba.njit`` with an on-disk cache, for functions at module level only (a closure cannot be cached)."""
    options: dict[str, Any] = {"cache": True, "parallel": parallel, "fastmath": FAST_MATH, "nogil": True}
    if inline:
        options["inline"] = "always"
    return cast("Callable[[F], F]", numba.njit(**options))


def as_input(array: NDArray[Any], dtype: DTypeLike | None = None) -> NDArray[Any]:
    """C-contiguous, native, read-only view (a copy only where needed) of an array that a kernel reads.

    Numba compiles once per array type, and "read-only" belongs to the type: frames that lie in the ring are read-only,
    frames in tests are not. Passing every input through here keeps it at one compilation, which ``warm`` has done.
    """
    view = np.ascontiguousarray(array, dtype=array.dtype.newbyteorder("=") if dtype is None else dtype).view()
    view.flags.writeable = False
    return view
