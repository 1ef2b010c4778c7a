from __future__ import annotations

from pathlib import Path

import pytest

from streamer.core.backend import Backend, select_backend


@pytest.fixture(scope="session")
def numba_backend() -> Backend:
    return select_backend("numba", threads=2)[0]


@pytest.fixture(scope="session")
def data() -> Path:
    """Folder of the measured scans, beside the project."""
    return Path(__file__).resolve().parents[3] / "shared" / "data"
