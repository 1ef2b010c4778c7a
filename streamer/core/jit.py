"""How kernels are compiled and fed: one typed decorator, one rule for array arguments.

Rules that all kernels of ``streamer.core`` keep:

- ``threads`` share out *outputs*, so that no two threads write the same element and every element is summed in a fixed
  order: results are bit-identical between runs and do not depend on the number of threads.
- Maths is float32, but geometry that a whole line of pixels shares is computed in float64 and rounded once.
- Arrays that are read come from ``as_input``.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar, cast

import numba
import numpy as np
from numpy.typing import DTypeLike

from streamer.core.arrays import Array

# GNU OpenMP's threads spin for milliseconds at the end of a parallel loop by default. On a machine whose cores have
# other work as well (camera, writer, viewer) the one that is awaited then gets no core: loops of 0.5 ms took 20. So
# many turns are some tens of microseconds, after which the core is given up. Read when the library is loaded.
os.environ.setdefault("GOMP_SPINCOUNT", "2000")

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


@contextmanager
def at_most(threads: int) -> Iterator[None]:
    """Inside, kernels called from this thread use no more than so many threads, however many pieces of work they cut.

    With one there is nobody to wait for, which is what short work on a busy machine wants.
    """
    before = numba.get_num_threads()
    numba.set_num_threads(min(threads, before))
    try:
        yield
    finally:
        numba.set_num_threads(before)


def as_input(array: Any, dtype: DTypeLike | None = None) -> Array:
    """C-contiguous, native, read-only view (a copy only where needed) of an array that a kernel reads.

    Numba compiles once per array type, and "read-only" belongs to the type: frames that lie in the ring are read-only,
    frames in tests are not. Passing every input through here keeps it at one compilation, which ``warm`` has done.
    """
    kept = dtype is None or array.dtype == dtype
    if kept and type(array) is np.ndarray and array.dtype.isnative and array.flags.c_contiguous and array.ndim:
        if not array.flags.writeable:
            return array
        view = array.view()
    else:
        view = np.ascontiguousarray(array, dtype=array.dtype.newbyteorder("=") if dtype is None else dtype).view()
    view.flags.writeable = False
    return view
