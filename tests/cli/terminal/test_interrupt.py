"""Ctrl-C before a verb has begun, and while kernels are compiled."""

import os
import signal
import subprocess
import sys
from contextlib import suppress

import pytest

from streamer.cli import main
from streamer.cli.warming import interruptible


def test_ctrl_c_while_a_verb_is_imported_is_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupted(_name: str) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("streamer.cli.import_module", interrupted)
    assert main(["status"]) == 1
    assert capsys.readouterr().err == "streamer status: interrupted\n"


def compiler_failed_by_it() -> None:
    with suppress(KeyboardInterrupt):
        os.kill(os.getpid(), signal.SIGINT)
    raise RuntimeError("no compiled object yet")


def test_an_interrupt_that_the_compiler_swallows_or_fails_by_stays_one() -> None:
    before = signal.getsignal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt), interruptible(), suppress(KeyboardInterrupt):
        os.kill(os.getpid(), signal.SIGINT)
    with pytest.raises(KeyboardInterrupt), interruptible():
        compiler_failed_by_it()
    with pytest.raises(RuntimeError, match="true fault"), interruptible():
        raise RuntimeError("true fault")
    assert signal.getsignal(signal.SIGINT) is before


POOL = """
import multiprocessing, os, signal, time
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from streamer.core.warmup import _end_at_interrupt, _interrupts_wait
if __name__ == "__main__":
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(2, context, initializer=_end_at_interrupt) as pool:
        with _interrupts_wait():
            waiting = [pool.submit(time.sleep, 60) for _ in range(2)]
        for child in multiprocessing.active_children():
            os.kill(child.pid, signal.SIGINT)  # while they start
        try:
            waiting[0].result(30)
        except BrokenProcessPool:
            print("ended")
"""


def test_processes_that_compile_end_at_ctrl_c_without_a_word(tmp_path: os.PathLike[str]) -> None:
    program = os.path.join(tmp_path, "pool.py")
    with open(program, "w", encoding="utf-8") as file:
        file.write(POOL)
    done = subprocess.run([sys.executable, program], capture_output=True, text=True, timeout=120, check=False)
    assert (done.stdout, done.stderr) == ("ended\n", "")
