"""A daemon that shows a phantom, and the page that is served of it: one of each for every module."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.web.served import STEER, PhantomDaemon, ServedPage, token_file


@pytest.fixture(scope="module")
def daemon(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PhantomDaemon]:
    with PhantomDaemon(tmp_path_factory.mktemp("tomograms")) as made:
        yield made


@pytest.fixture(scope="module")
def batch(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a batch that has not begun."""
    return tmp_path_factory.mktemp("batch")


@pytest.fixture(scope="module")
def served(daemon: PhantomDaemon, batch: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServedPage]:
    token = token_file(tmp_path_factory.mktemp("tokens"), "steer", STEER)
    with ServedPage(daemon.endpoint, "--steer-token", token, "--batch", batch, "--metrics", "0") as made:
        yield made
