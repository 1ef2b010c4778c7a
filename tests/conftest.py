"""What tests of several layers share: the numba backend, and the CUDA kernels, compiled once for the host."""

from __future__ import annotations

import ctypes
import signal

import pytest

from streamer.core.backend.selection import Backend, select_backend
from tests.core.shim import ShimEngine, compile_kernels

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    # A shell that runs the tests in the background has them ignore Ctrl-C, and so would every process that they start.
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session")
def numba_backend() -> Backend:
    return select_backend("numba", threads=2)[0]


@pytest.fixture(scope="session")
def library(tmp_path_factory: pytest.TempPathFactory) -> ctypes.CDLL:
    return compile_kernels(tmp_path_factory.mktemp("shim"))


@pytest.fixture
def engine(library: ctypes.CDLL) -> ShimEngine:
    return ShimEngine(library)
