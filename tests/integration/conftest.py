from __future__ import annotations

from collections.abc import Iterator

import pytest
from station import Station


@pytest.fixture(scope="session")
def shared_station(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Station]:
    """One beamline for all tests that leave it as they found it, under names of scans that no other test has."""
    station = Station(tmp_path_factory.mktemp("station"))
    yield station
    station.close()
