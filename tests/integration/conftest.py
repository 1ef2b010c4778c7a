from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from station import Station


@pytest.fixture(scope="module")
def shared_station(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Station]:
    """One beamline for all tests of a module that leave it as they found it."""
    station = Station(tmp_path_factory.mktemp("station"))
    yield station
    station.close()


@pytest.fixture
def own_folder(tmp_path: Path) -> Path:
    return tmp_path
