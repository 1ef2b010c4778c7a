from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from streamer.frames import BadInput
from streamer.io.shared import SHM, SharedBuffer
from tests.io.helpers import run_python


def test_memory_is_zeroed_and_shared_with_a_process_that_inherits_the_descriptor() -> None:
    code = (
        "import sys; from streamer.io.shared import SharedBuffer\n"
        "memory = SharedBuffer.open(int(sys.argv[1])).memory; print(len(memory)); memory[5] = memory[3] + 1"
    )
    with SharedBuffer.create(10_000) as shared:
        assert bytes(shared.memory) == bytes(10_000)
        shared.memory[3] = 41
        child = run_python(code, shared.fd, pass_fds=(shared.fd,))
        assert (child.stdout.strip(), child.stderr) == ("10000", "")
        assert shared.memory[5] == 42


def test_nothing_is_left_behind_by_a_killed_process(tmp_path: Path) -> None:
    code = (
        "import os, pathlib, sys; from streamer.io.shared import SharedBuffer\n"
        "shared = SharedBuffer.create(1_000_000, pathlib.Path(sys.argv[1]))\n"
        "print(os.listdir(sys.argv[1])); sys.stdout.flush(); os.kill(os.getpid(), 9)"
    )
    child = run_python(code, tmp_path)
    assert child.returncode == -9
    assert child.stdout.strip() == "[]"
    assert not list(tmp_path.iterdir())


def test_the_usual_place_is_memory_and_all_of_it_is_taken() -> None:
    with SharedBuffer.create(1_000_000) as shared:
        target = os.readlink(f"/proc/self/fd/{shared.fd}")
        blocks = os.fstat(shared.fd).st_blocks
    assert blocks * 512 >= 1_000_000, "no page is missing when it is touched"
    assert target.startswith(str(SHM))
    assert "(deleted)" in target


def test_too_little_room_is_an_error_at_once(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match=r"^shared memory: 1152921504606846976 bytes asked, \d+ free in .*smaller$"):
        SharedBuffer.create(2**60, tmp_path)
    with pytest.raises(BadInput, match="must be more than 0"):
        SharedBuffer.create(0)
    with pytest.raises(BadInput, match="0 free"):
        SharedBuffer.create(100, tmp_path / "nowhere")


def test_closing_twice_and_with_views_is_fine() -> None:
    shared = SharedBuffer.create(100)
    view = memoryview(shared.memory)
    shared.close()
    shared.close()
    assert view[0] == 0


def test_the_descriptor_is_not_inherited_by_chance() -> None:
    with SharedBuffer.create(100) as shared:
        command = [sys.executable, "-c", f"import os; os.fstat({shared.fd})"]
        assert subprocess.run(command, close_fds=False, stderr=subprocess.PIPE, check=False).returncode == 1
