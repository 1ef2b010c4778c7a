from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from streamer.core.backend import selection
from streamer.core.backend.selection import Backend, BackendError, select_backend, usable_threads
from streamer.core.fbp.backprojection import backproject_rows
from tests.core.suites import BackendSuite


class TestNumba(BackendSuite):
    @pytest.fixture
    def backend(self, numba_backend: Backend) -> Backend:
        return numba_backend


@pytest.mark.parametrize("gpu", [True, False])
def test_auto_says_why_it_is_not_the_gpu_where_there_is_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, gpu: bool
) -> None:
    monkeypatch.setattr(selection, "GPU", tmp_path if gpu else tmp_path / "none")
    backend, reason = select_backend("auto")
    assert backend.name == "numba"
    assert backend.threads == usable_threads()
    assert ("GPU" in reason) == gpu


def test_an_explicit_gpu_is_never_replaced() -> None:
    """On a machine with a working GPU it is taken, on any other refused; never is it the CPU."""
    try:
        backend, reason = select_backend("cupy")
    except BackendError as error:
        assert "'cupy' cannot run" in str(error)  # noqa: PT017
    else:
        assert (backend.name, backend.on_device) == ("cupy", True)
        assert "cupy" in reason


@pytest.mark.parametrize(("name", "threads"), [("opencl", None), ("numba", 0)])
def test_nonsense_is_refused(name: str, threads: int | None) -> None:
    with pytest.raises(BackendError):
        select_backend(name, threads)


def test_the_number_of_threads_does_not_change_a_bit() -> None:
    rng = np.random.default_rng(0)
    p, theta = rng.normal(size=(9, 40, 3)).astype(np.float32), rng.uniform(0, np.pi, 9)
    results = {
        backproject_rows(
            select_backend("numba", threads)[0], p, theta, np.ones(9), 19.1, np.empty((3, 41, 37), np.float32)
        ).tobytes()
        for threads in (1, 2, 3, 64)
    }
    assert len(results) == 1
