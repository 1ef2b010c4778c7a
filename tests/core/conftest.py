from __future__ import annotations

from pathlib import Path

import pytest

from tests.paths import DATA


@pytest.fixture(scope="session")
def data() -> Path:
    """Folder of the measured scans, beside the project."""
    return DATA
