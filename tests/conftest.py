"""What tests of several layers share: their order, the numba backend, and the CUDA kernels, compiled for the host."""

from __future__ import annotations

import ctypes
import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from streamer.core.backend.selection import Backend, BackendError, select_backend
from tests.core.shim import ShimEngine, compile_kernels

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    # A shell that runs the tests in the background has them ignore Ctrl-C, and so would every process that they start.
    signal.signal(signal.SIGINT, signal.default_int_handler)


LONG = (
    "plans/interruptions/test_over_epics.py",
    "integration/test_whole_demo.py",
    "plans/batch/test_restart.py",
    "faults/test_writer_faults.py",
    "faults/test_source_faults.py",
    "plans/interruptions/test_users.py",
    "benchmarks/test_batch_night.py",
    "plans/interruptions/test_failures.py",
    "plans/scans/",
    "plans/interruptions/test_beam_loss.py",
    "plans/",
    "faults/",
    "integration/",
    "test_examples.py",
    "test_wheel.py",
    "security/",
    "benchmarks/",
    "serve/",
    "sim/",
    "cli/",
)
"""Files and folders whose tests take long, as they start processes or scan in real time; the longest first."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Long files come first: processes that take one file after the other end together then."""
    here = Path(__file__).parent

    def place(item: pytest.Item) -> int:
        name = item.path.relative_to(here).as_posix()
        return next((place for place, start in enumerate(LONG) if name.startswith(start)), len(LONG))

    items.sort(key=place)


@pytest.fixture(autouse=True)
def _same_priority() -> Iterator[None]:
    """A test that has this process give way slows all tests after it, and whatever processes they start."""
    before = os.getpriority(os.PRIO_PROCESS, 0)
    yield
    assert os.getpriority(os.PRIO_PROCESS, 0) == before


@pytest.fixture(scope="session")
def numba_backend() -> Backend:
    return select_backend("numba", threads=2)[0]


@pytest.fixture
def gpu() -> Backend:
    """The GPU; the test is skipped where there is none, and fails where there is one that does not work."""
    pytest.importorskip("cupy", exc_type=ImportError)
    try:
        return select_backend("cupy")[0]
    except BackendError as error:
        if "no CUDA-capable device" in str(error) or "driver version is insufficient" in str(error):
            pytest.skip(str(error))
        raise


@pytest.fixture(scope="session")
def library(tmp_path_factory: pytest.TempPathFactory) -> ctypes.CDLL:
    return compile_kernels(tmp_path_factory.mktemp("shim"))


@pytest.fixture
def engine(library: ctypes.CDLL) -> ShimEngine:
    return ShimEngine(library)
