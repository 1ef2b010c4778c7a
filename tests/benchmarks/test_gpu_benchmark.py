"""The GPU benchmark on the host shim: what it measures is really computed. The times mean nothing there."""

from __future__ import annotations

from importlib.util import find_spec

import numpy as np
import pytest

from benchmarks import gpu
from streamer.core.backend.selection import Backend
from streamer.core.fourier.volume import reconstruct_rows_fourier
from tests.core.shim import ShimEngine, shim_backend


def test_the_tomogram_is_that_of_the_counts(engine: ShimEngine, numba_backend: Backend) -> None:
    """Also in chunks: from counts through the ring and the preparation to slices."""
    scan = gpu.Scan(shim_backend(engine), 20, 24, 30)
    raw = scan.frames[np.arange(30) % gpu.SHOTS]
    attenuation = np.log(gpu.FLAT / raw.astype(np.float64)).astype(np.float32)
    expected = reconstruct_rows_fourier(numba_backend, attenuation, scan.angles, scan.weights, 11.5)
    for claims, chunks in ((2**40, 1), (1_230_000, 2)):
        engine.claims = claims
        out = np.full(expected.shape, np.nan, np.float32)
        assert scan.tomogram(out, 8) == chunks
        assert np.abs(out - expected).max() < 5e-4 * np.abs(expected).max()


def test_every_figure_is_there(engine: ShimEngine) -> None:
    words = "--size 32 --frames 9 --projections 10 --small 16 --small-projections 5 --batch 4 --repeat 1 --planes 16"
    result = gpu.measure(shim_backend(engine), gpu.arguments(words.split()))
    assert {"to_device_gb_s", "to_host_gb_s", "transforms_per_s"} <= result["limits"].keys()
    assert {"frames_per_s", "copies_alone_per_s", "kernels_alone_per_s", "overlap"} <= result["stream"].keys()
    assert (result["tomogram"]["size"], result["small"]["projections"]) == (32, 5)
    assert result["small"]["per_s"] > 0
    assert min(value for name, value in result["planes"].items()) > 0
    assert {"ms_per_frame", "staged_ms", "stored_ms", "copies_alone_ms", "images_ms"} <= result["planes"].keys()
    assert {"resident_ms", "measured_ms"} <= result["planes"].keys()
    assert (result["pipeline"]["store"], result["pipeline"]["frames"]) == ("DeviceStore", 9)
    assert result["pipeline"]["last_frame_to_tomogram_s"] > result["pipeline"]["center_s"] >= 0
    assert engine.used == 0


@pytest.mark.skipif(find_spec("cupy") is not None, reason="CuPy is installed")
def test_no_gpu_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert gpu.main([]) == 1
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert "no GPU figures: backend 'cupy' cannot run" in error
