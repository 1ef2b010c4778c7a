from __future__ import annotations

from pathlib import Path

import pytest

from streamer.core.backend.selection import Backend, BackendError, select_backend
from tests.paths import DATA


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
def data() -> Path:
    """Folder of the measured scans, beside the project."""
    return DATA
