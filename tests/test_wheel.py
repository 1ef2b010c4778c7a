"""What a user without the repository gets."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import sysconfig
import venv
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


def run(*words: str | Path, cwd: Path) -> str:
    """Standard output of a program that must succeed, and that does not find the repository."""
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    done = subprocess.run(list(map(str, words)), cwd=cwd, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    source, out = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("dist")
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    for name in ("streamer", "plans"):
        shutil.copytree(ROOT / name, source / name, ignore=shutil.ignore_patterns("__pycache__"))
    (source / "streamer_plans").symlink_to((ROOT / "streamer_plans").readlink())
    run(sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", out, cwd=source)
    return next(out.glob("*.whl"))


def test_it_holds_every_module_and_no_name_but_its_own(wheel: Path) -> None:
    files = {name for name in zipfile.ZipFile(wheel).namelist() if ".dist-info/" not in name}
    kinds = (".py", ".cu", ".cuh", ".typed", ".toml", ".html", ".css", ".js", ".svg", ".txt")
    sources = [path for top in ("streamer", "plans") for path in (ROOT / top).rglob("*") if path.suffix in kinds]
    names = {path.relative_to(ROOT).as_posix() for path in sources}
    assert files == {f"streamer_{name}" if name.startswith("plans/") else name for name in names}


def test_it_runs_where_the_repository_is_not(wheel: Path, tmp_path: Path) -> None:
    place = tmp_path / "venv"
    venv.create(place, system_site_packages=True)
    run(
        sys.executable,
        "-m",
        "pip",
        "--python",
        place,
        "install",
        "--quiet",
        "--no-index",
        "--no-deps",
        wheel,
        cwd=tmp_path,
    )
    packages = next(place.glob("lib/python*/site-packages"))
    (packages / "dependencies.pth").write_text(sysconfig.get_path("purelib"))  # of the environment of the tests
    assert run(place / "bin/streamer", "--version", cwd=tmp_path).startswith("streamer 0.")
    assert "the daemon" in run(place / "bin/streamer", "--help", cwd=tmp_path)
    places = "import streamer, streamer_plans.tomo as tomo; print(streamer.__file__, tomo.__file__)"
    assert run(place / "bin/python", "-c", places, cwd=tmp_path).count(str(packages)) == 2
