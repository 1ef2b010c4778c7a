from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from streamer.core.backend.selection import Backend
from tests.daemon.rig import Rig, Transport


@pytest.fixture(scope="session")
def transport(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Transport]:
    made = Transport(tmp_path_factory.mktemp("writer"))
    yield made
    made.close()


@pytest.fixture
def build(transport: Transport, numba_backend: Backend, tmp_path: Path) -> Iterator[Callable[..., Rig]]:
    """Make the test's rig: ``build(ring={"max_slots": 16})``."""
    built: list[Rig] = []

    def make(**options: Any) -> Rig:
        built.append(Rig(transport, numba_backend, tmp_path, **options))
        return built[-1]

    yield make
    for rig in built:
        rig.close()


@pytest.fixture
def rig(build: Callable[..., Rig]) -> Rig:
    return build()
