"""Other programs: environments for them, so that none is a dependency of ours, and how they are begun."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path


def environment(folder: Path, packages: Sequence[str], bare: Sequence[str] = ()) -> Path:
    """The Python of an environment, which uv makes when it is not there; ``bare`` come without their dependencies."""
    python = folder / "bin" / "python"
    if not python.exists():
        uv = str(Path(sys.executable).parent / "uv")
        subprocess.run([uv, "venv", "-q", "-p", sys.executable, str(folder)], check=True)
        install = [uv, "pip", "install", "-q", "-p", str(python)]
        subprocess.run([*install, *packages], check=True)
        if bare:
            subprocess.run([*install, "--no-deps", *bare], check=True)
    return python


@contextmanager
def waiting(*words: object) -> Iterator[subprocess.Popen[str]]:
    """A program that says "ready" and waits for ``begin``; it is killed in the end."""
    process = subprocess.Popen(list(map(str, words)), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def begin(process: subprocess.Popen[str]) -> None:
    """Give a program that is ``waiting`` the line that it waits for."""
    assert process.stdin is not None
    process.stdin.write("\n")
    process.stdin.flush()
