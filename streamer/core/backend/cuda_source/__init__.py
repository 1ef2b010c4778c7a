"""The CUDA sources, as data: what CuPy, nvcc and the tests' host compiler are given."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cache
from importlib.resources import files

UNITS = ("prepare", "backproject", "fourier", "iterative", "planes", "stored")
"""Translation units; each is ``<name>.cu`` in this package."""

_INCLUDE = re.compile(r'^#include "(\w+\.cuh)"$', re.MULTILINE)
_KERNEL = re.compile(r'extern "C" __global__ void __launch_bounds__\((\d+)[, \d]*\)\s+(\w+)\(([^)]*)\)')


@dataclass(frozen=True)
class Kernel:
    """One kernel as its source declares it: ``parameters`` are C types without const and names, pointers with "*"."""

    name: str
    unit: str
    threads: int
    parameters: tuple[str, ...]


def source(file: str) -> str:
    """Text of a file of this package."""
    return files(__package__).joinpath(file).read_text(encoding="utf-8")


@cache
def flattened(unit: str) -> str:
    """Source of a unit with its headers in place, each once: NVRTC is then given one text and no search path."""
    seen: set[str] = set()

    def put(match: re.Match[str]) -> str:
        header = match.group(1)
        if header in seen:
            return ""
        seen.add(header)
        return _INCLUDE.sub(put, source(header).replace("#pragma once\n", ""))

    return _INCLUDE.sub(put, source(f"{unit}.cu"))


@cache
def kernels() -> dict[str, Kernel]:
    """All kernels by name, read from the sources, so that there is no second list of them to keep."""
    found = {}
    for unit in UNITS:
        for threads, name, parameters in _KERNEL.findall(source(f"{unit}.cu")):
            types = tuple(_type(parameter) for parameter in parameters.split(","))
            found[name] = Kernel(name, unit, int(threads), types)
    return found


def _type(parameter: str) -> str:
    """ "const float *raw" → "float*", "long long pixels" → "long long"."""
    words = parameter.replace("const ", "").replace("*", " * ").split()
    return " ".join(words[:-1]).replace(" *", "*")
