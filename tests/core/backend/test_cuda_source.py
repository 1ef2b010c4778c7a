"""The CUDA sources as text, and as nvcc takes them."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest

from streamer.core.backend import cuda_source as cuda
from streamer.core.backend import gpu_kernels as kernels_cuda
from streamer.core.fbp import kernels as kernels_fbp
from streamer.core.fourier import gpu_grid as volume
from streamer.core.fourier import kaiser_bessel as gridwindow
from streamer.core.fourier import kernels as kernels_grid
from streamer.core.planes import gpu_launches as planes
from streamer.core.planes import kernels as kernels_live
from streamer.core.planes import live_planes as live
from streamer.core.planes import shear
from streamer.core.tv import gpu_projector as iterative
from streamer.core.tv import kernels as kernels_iterative


def test_every_kernel_is_found() -> None:
    """The table is read from the source by a pattern; one that it misses would never be tested."""
    for unit in cuda.UNITS:
        written = cuda.source(f"{unit}.cu").count("__global__")
        assert written == sum(kernel.unit == unit for kernel in cuda.kernels().values())
    folder = Path(cuda.__file__).parent
    assert {path.stem for path in folder.glob("*.cu")} == set(cuda.UNITS)


def test_types_are_read_from_the_source() -> None:
    kernel = cuda.kernels()["prepare_u16"]
    limits = ("float", "float", "int", "long long*", "long long*", "float*", "long long")
    assert kernel.parameters == ("unsigned short*", "float*", "float*", *limits, "float*")
    assert (kernel.unit, kernel.threads) == ("prepare", 256)


@pytest.mark.parametrize("unit", cuda.UNITS)
def test_one_text_without_search_path(unit: str) -> None:
    text = cuda.flattened(unit)
    assert "#include" not in text
    assert "#pragma once" not in text
    assert text.count("struct Ray {") == 1


@pytest.mark.parametrize("unit", cuda.UNITS)
def test_nothing_that_repeats_differently(unit: str) -> None:
    """Atomic additions come in any order; results would no longer repeat bit for bit."""
    code = re.sub("//.*", "", cuda.flattened(unit))
    assert "__global__" in code
    assert not re.search(r"\batomic|__shfl|__\w+f\(", code)


def test_constants_are_those_of_python() -> None:
    text = "".join(cuda.flattened(unit) for unit in cuda.UNITS)
    value = {name: float(number.rstrip("f")) for name, number in re.findall(r"#define (\w+) ([\d.e+-]+f?)\b", text)}
    assert np.float32(value["EDGE"]) == np.float32(kernels_fbp.EDGE_PX)
    assert value["PACKS"] * 2 == value["DEPTH"] == kernels_cuda.ROWS_PER_PACK
    assert value["REACH"] * 2 == gridwindow.WINDOW_WIDTH
    assert value["SEAM"] == kernels_grid.SEAM_POINTS
    assert f"#define NUDGE {kernels_grid.OUTWARD_NUDGE.hex().replace('.0000000000000', '')}f" in text
    assert value["TERMS"] == volume.WINDOW_TERMS
    assert value["POINTS"] == value["SIDE"] ** 2
    assert (np.float32(value["TAP_NEAR"]), np.float32(value["TAP_FAR"])) == kernels_live.DERIVATIVE_TAPS
    assert value["BEFORE"] == kernels_live.DERIVATIVE_REACH - 0.5
    assert value["MAX_FRAMES"] == planes.MAX_FRAMES == live.FRAMES_PER_FOLD
    assert value["ROW_PAD"] == shear.CUBIC_PAD
    assert (value["PHASES"], value["PAD"]) == (kernels_iterative.FOOTPRINT_PHASES, kernels_iterative.EDGE_PAD)
    assert (value["MANY"], value["ADDING"]) == (iterative.ROWS_PER_THREAD, iterative.BLOCK_THREADS)


def test_lines_fit_the_page() -> None:
    for path in Path(cuda.__file__).parent.iterdir():
        if path.suffix in (".cu", ".cuh", ".hpp"):
            assert max(map(len, path.read_text().splitlines())) <= 120, path.name


@pytest.mark.gpu
@pytest.mark.parametrize("architecture", ["sm_80", "sm_90"])
@pytest.mark.parametrize("unit", cuda.UNITS)
def test_nvcc_compiles_without_spilling(unit: str, architecture: str, tmp_path: Path) -> None:
    """Needs nvcc but no GPU. Registers that do not suffice would go to slow memory: that counts as an error."""
    nvcc = shutil.which("nvcc")
    if nvcc is None:
        pytest.skip("nvcc is not installed")
    (tmp_path / "unit.cu").write_text(cuda.flattened(unit))
    command = [nvcc, f"-arch={architecture}", "-std=c++17", "-Werror", "all-warnings", "-Xptxas", "-v", "-cubin"]
    done = subprocess.run([*command, "-o", "unit.cubin", "unit.cu"], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    spills = re.findall(r"(\d+) bytes spill stores, (\d+) bytes spill loads", done.stderr)
    assert len(spills) == sum(kernel.unit == unit for kernel in cuda.kernels().values())
    assert set(spills) == {("0", "0")}
