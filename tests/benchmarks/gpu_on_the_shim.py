"""``python -m tests.benchmarks.gpu_on_the_shim``: ``benchmarks.gpu``, with its options, on the kernels built by g++.

For the rehearsal of ``benchmarks/on_a_gpu.sh`` where there is no GPU. The times mean nothing.
"""

from __future__ import annotations

import json
from pathlib import Path
from tempfile import TemporaryDirectory

from benchmarks.gpu import arguments, measure
from tests.core.shim import ShimEngine, compile_kernels, shim_backend


def main() -> None:
    with TemporaryDirectory() as folder:
        print(json.dumps(measure(shim_backend(ShimEngine(compile_kernels(Path(folder)))), arguments()), indent=2))


if __name__ == "__main__":
    main()
