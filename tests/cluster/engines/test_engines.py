"""What every engine does: the same tests for processes of this machine and for Ray."""

from __future__ import annotations

import os
import signal
import socket
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from streamer.cluster.engines import ray_places
from streamer.cluster.engines.engine import Engine
from streamer.cluster.engines.nursery import Nursery
from streamer.cluster.engines.processes import Processes, gpus_here
from streamer.cluster.engines.ray_places import RayPlaces, environment_of
from streamer.cluster.messages import Setup
from streamer.frames import BadInput
from tests.cluster.cluster_rig import eventually, is_alive
from tests.cluster.engines.told_program import SILENT

PROGRAM = "tests.cluster.engines.told_program"


@pytest.fixture(scope="module", params=["processes", "ray"])
def engine(request: pytest.FixtureRequest) -> Iterator[Engine]:
    made: Engine = Processes() if request.param == "processes" else RayPlaces("local", everywhere=False)
    made.reserve(2, 1, 1)
    yield made
    made.close()


def parent_of(pid: int) -> int:
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])


def told(text: str = "told", mark: Path | None = None) -> Setup:
    return Setup(text, "127.0.0.1", threads=3, scout="" if mark is None else str(mark))


class TestAnyEngine:
    def test_a_process_is_what_it_is_told_to_be_and_says_so(self, engine: Engine) -> None:
        helper = engine.start(PROGRAM, told())
        ready = helper.ready()
        assert (ready.calls, ready.frames) == ("127.0.0.1", "told")
        assert ready.text == f"3 threads of {helper.pid}"
        assert helper.alive
        assert helper.is_ready
        helper.end(0.0)

    def test_its_death_is_seen_at_once_and_another_takes_its_place(self, engine: Engine) -> None:
        first, second = (engine.start(PROGRAM, told()) for _ in range(2))
        for helper in (first, second):
            helper.ready()
        os.kill(first.pid, signal.SIGKILL)
        began = time.monotonic()
        eventually(lambda: not first.alive, "its death is seen")
        assert time.monotonic() - began < 0.5
        assert second.alive
        third = engine.start(PROGRAM, told("again"))
        assert third.ready().frames == "again"
        assert third.pid not in (first.pid, second.pid)
        for helper in (first, second, third):
            helper.end(0.0)

    def test_one_that_dies_as_it_starts_is_never_ready(self, engine: Engine) -> None:
        helper = engine.start(PROGRAM, told(SILENT))
        eventually(lambda: helper.pid, "it runs")
        assert not helper.is_ready
        os.kill(helper.pid, signal.SIGKILL)
        with pytest.raises(BadInput, match=r"tests\.cluster\.engines\.told_program ended as it started"):
            helper.ready()
        helper.end(0.0)

    def test_a_program_that_is_not_there_is_a_process_that_ends(self, engine: Engine) -> None:
        helper = engine.start("tests.cluster.engines.no_such_program", told())
        with pytest.raises(BadInput, match="ended as it started"):
            helper.ready()
        helper.end(0.0)

    def test_one_that_does_not_end_is_killed(self, engine: Engine) -> None:
        helper = engine.start(PROGRAM, told())
        helper.ready()
        pid = helper.pid
        helper.end(0.05)
        eventually(lambda: not is_alive(pid), "it is killed")
        assert not helper.alive

    def test_one_that_is_left_goes_by_itself(self, engine: Engine, tmp_path: Path) -> None:
        mark = tmp_path / "mark"
        helper = engine.start(PROGRAM, told(mark=mark))
        helper.ready()
        helper.leave()
        eventually(mark.exists, "it has noticed")
        helper.end(5.0)

    def test_the_cutter_is_on_the_machine_of_the_scout(self, engine: Engine) -> None:
        helper = engine.start(PROGRAM, told(), here=True)
        helper.ready()
        assert parent_of(parent_of(helper.pid)) == os.getpid()
        helper.end(0.0)


def test_processes_outlive_what_has_started_them() -> None:
    """An engine may be lost in the middle of a scan: processes go on, and others can be started."""
    with closing(Processes()) as engine:
        first = engine.start(PROGRAM, told())
        first.ready()
        nursery = parent_of(first.pid)
        os.kill(nursery, signal.SIGKILL)
        eventually(lambda: not is_alive(nursery), "it is gone")
        assert first.alive
        second = engine.start(PROGRAM, told())
        second.ready()
        first.end(0.0)
        eventually(lambda: not is_alive(first.pid), "it is killed without its parent")
        second.end(0.0)


def test_the_process_that_forks_others_has_nothing_that_does_not_outlive_a_fork() -> None:
    with closing(Processes()) as engine:
        helper = engine.start(PROGRAM, told())  # so it has imported everything
        helper.ready()
        nursery = parent_of(helper.pid)
        loaded = Path(f"/proc/{nursery}/maps").read_text()
        assert "libcuda" not in loaded
        assert "libzmq" in loaded
        open_files = [os.readlink(path) for path in Path(f"/proc/{nursery}/fd").iterdir()]
        assert not any("eventfd" in name or "eventpoll" in name for name in open_files)  # a context of ZeroMQ has both
        helper.end(0.0)


def test_one_whose_scout_is_gone_ends_without_a_word(capfd: pytest.CaptureFixture[str]) -> None:
    with closing(Nursery()) as nursery:
        ours, theirs = socket.socketpair()
        ours.close()
        with theirs:
            pid = nursery.start(PROGRAM, None, theirs)
        eventually(lambda: not is_alive(pid), "it has ended")
    assert capfd.readouterr() == ("", "")


def test_a_nursery_that_is_gone_says_so() -> None:
    nursery = Nursery()
    os.kill(nursery.pid, signal.SIGKILL)
    eventually(lambda: not nursery.alive, "it is gone")
    with closing(nursery), open(os.devnull) as end, pytest.raises(OSError, match=r"gone|pipe"):
        nursery.start(PROGRAM, None, end)  # type: ignore[arg-type]


def test_gpus_are_those_of_the_driver(tmp_path: Path) -> None:
    for name in ("0000:01:00.0", "0000:02:00.0"):
        (tmp_path / name).mkdir()
    assert gpus_here(tmp_path) == 2
    assert gpus_here(tmp_path / "no driver") == 0


class TestTokens:
    def test_a_cluster_without_one_is_refused_in_one_line(self) -> None:
        with pytest.raises(BadInput, match=r"compute\.address head:6379: .*set RAY_AUTH_MODE=token") as refused:
            environment_of("head:6379", {"RAY_AUTH_MODE": "disabled"})
        assert "\n" not in str(refused.value)

    def test_a_cluster_of_our_own_has_one_that_nobody_knows(self) -> None:
        one, other = environment_of("local", {}), environment_of("local", {})
        assert one["RAY_AUTH_MODE"] == "token"
        assert len(one["RAY_AUTH_TOKEN"]) == 64
        assert one["RAY_AUTH_TOKEN"] != other["RAY_AUTH_TOKEN"]

    def test_what_is_set_stays(self) -> None:
        given = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": "ours", "RAY_USAGE_STATS_ENABLED": "1"}
        assert environment_of("auto", given).items() >= given.items()

    def test_nothing_is_told_to_the_makers_of_ray(self) -> None:
        assert environment_of("local", {})["RAY_USAGE_STATS_ENABLED"] == "0"


def test_a_ray_that_does_not_answer_leaves_nothing_behind(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ray_places, "BEGIN_S", 0.0)
    before = os.listdir("/proc/self/fd")
    with pytest.raises(BadInput, match="no answer from Ray within 0 s"):
        RayPlaces("local", everywhere=False)
    eventually(lambda: len(os.listdir("/proc/self/fd")) <= len(before), "its connection is closed")


def test_what_the_cluster_lacks_is_said_within_two_seconds() -> None:
    with closing(RayPlaces("local", everywhere=False)) as engine:
        began = time.monotonic()
        with pytest.raises(BadInput, match=r"3000 shards and spares of 1 CPU each are not granted"):
            engine.reserve(2999, 1, 1)
        assert time.monotonic() - began < 2.5
        engine.reserve(1, 0, 1)
        helper = engine.start(PROGRAM, told())
        helper.ready()
        with pytest.raises(OSError, match="in use"):
            engine.start(PROGRAM, told())
        helper.end(0.0)
