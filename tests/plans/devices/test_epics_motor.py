"""Motor records of the IOC, and what moves them, over Channel Access. All three are processes of their own."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from streamer.cli.rig.processes import ManagedProcess, local_channel_access, start_beamline, start_ioc
from tests.paths import ROOT

Ask = Callable[[str], str]


class Session:
    def __init__(self, endpoint: str, environment: dict[str, str], log: Path) -> None:
        self._log = log.open("wb")
        self.process = subprocess.Popen(
            [sys.executable, "-m", "tests.plans.devices.epics_session", endpoint],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._log,
            text=True,
            cwd=ROOT,
            env=environment,
        )

    def ask(self, line: str) -> str:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(line + "\n")
        self.process.stdin.flush()
        return self.process.stdout.readline().rstrip()

    def end(self) -> None:
        self.process.kill()
        self.process.communicate()
        self._log.close()


@pytest.fixture(scope="module")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[ManagedProcess, ManagedProcess, Ask]]:
    folder, environment = tmp_path_factory.mktemp("ioc"), local_channel_access()
    beamline = start_beamline(folder, "--size", "16", "--rows", "4", "--mount-s", "0.5")
    endpoint = beamline.wait_ready()["control"]
    ioc = start_ioc(folder, endpoint, environment)
    ioc.wait_ready()
    session = Session(endpoint, {**os.environ, **environment}, folder / "session.log")
    yield beamline, ioc, session.ask
    session.end()
    ioc.kill()
    beamline.kill()


@pytest.fixture
def ask(servers: tuple[ManagedProcess, ManagedProcess, Ask]) -> Ask:
    ask = servers[2]
    for line in ("put('SIM:rot.SPMG', 3)", "put('SIM:rot.VELO', 720)", "put('SIM:rot.VAL', 0)", "put('SIM:x.VAL', 0)"):
        assert ask(line) == "1.0"
    assert ask("until(lambda: has_heard(plain))") == "True"
    return ask


def test_a_move_ends_when_the_motor_stands(ask: Ask) -> None:
    assert ask("outcome(lambda: plain.set(90))") == "done"
    assert (
        ask("get('SIM:rot.RBV'), get('SIM:rot.VAL'), get('SIM:rot.DMOV'), get('SIM:rot.MOVN')")
        == "(90.0, 90.0, 1.0, 0.0)"
    )
    assert ask("outcome(lambda: rot.set(-90.5))") == "done"
    assert ask("get('SIM:rot.RBV'), get('SIM:rot.TDIR'), rot.position, rot.egu") == "(-90.5, 0.0, -90.5, 'deg')"


def test_a_put_with_callback_is_answered_when_the_motor_stands(ask: Ask) -> None:
    """ophyd-async's Motor relies on it: an IOC that answers at once leads to wrong positions."""
    assert ask("put('SIM:rot.VELO', 90), put('SIM:rot.VAL', 45), get('SIM:rot.RBV')") == "(1.0, 1.0, 45.0)"


@pytest.mark.parametrize("target", [0.0, 0.001, 30.0])
def test_dmov_goes_to_0_and_back_with_every_move_however_short(ask: Ask, target: float) -> None:
    """Else an EpicsMotor waits for ever, as for a move to where it stands."""
    assert ask(f"seen('SIM:rot.DMOV', lambda: put('SIM:rot.VAL', {target}))") == "[1.0, 0.0, 1.0]"
    assert ask(f"outcome(lambda: plain.set({target}))") == "done"


def test_the_target_is_seen_before_the_motor_moves(ask: Ask) -> None:
    assert ask("seen('SIM:rot.VAL', lambda: put('SIM:rot.VAL', 20))") == "[0.0, 20.0]"


def test_a_stop_ends_the_move_where_the_motor_is(ask: Ask) -> None:
    assert ask("put('SIM:rot.VELO', 10)") == "1.0"
    assert ask("once(lambda: link.ask(GetBeamlineStatus()).rotation.moving, rot.stop)") == "None"
    assert ask("outcome(lambda: rot.set(1000))") == "MotionStopped: rot (SIM:rot): the move to 1000 deg was stopped"
    assert ask("until(lambda: get('SIM:rot.DMOV') == 1 and get('SIM:rot.STOP') == 0)") == "True"
    assert ask("0 < get('SIM:rot.RBV') < 500, get('SIM:rot.VAL') == get('SIM:rot.RBV')") == "(True, True)"


def test_a_new_target_replaces_the_move_under_way(ask: Ask) -> None:
    assert ask("put('SIM:rot.VELO', 20), put('SIM:rot.VAL', 1000, wait=False)").startswith("(1.0, ")
    assert ask("until(lambda: get('SIM:rot.RBV') > 1)") == "True"
    assert ask("put('SIM:rot.VELO', 720), put('SIM:rot.VAL', -5), get('SIM:rot.RBV')") == "(1.0, 1.0, -5.0)"


def test_limits_are_those_of_the_record(ask: Ask) -> None:
    said = "LimitError: x (SIM:x) cannot go to 11 mm: its limits are -10 to 10"
    assert ask("outcome(lambda: x.set(11))") == said
    assert ask("put('SIM:x.VAL', 11), get('SIM:x.LVIO'), get('SIM:x.RBV'), get('SIM:x.VAL')") == "(1.0, 1.0, 0.0, 0.0)"
    assert ask("put('SIM:x.HLM', 2), until(lambda: x.high_limit_travel.get() == 2)") == "(1.0, True)"
    assert ask("until(lambda: x.limits == (-10, 2)), x.limits") == "(True, (-10.0, 2.0))"
    assert ask("outcome(lambda: x.set(3))") == "LimitError: x (SIM:x) cannot go to 3 mm: its limits are -10 to 2"
    assert ask("put('SIM:x.HLM', 10), outcome(lambda: x.set(1)), get('SIM:x.LVIO')") == "(1.0, 'done', 0.0)"


def test_a_motor_that_is_paused_says_so_instead_of_hanging(ask: Ask) -> None:
    assert ask("put('SIM:rot.SPMG', 1), until(lambda: rot.stop_or_go.get() == 'Pause')") == "(1.0, True)"
    said = "MotionStopped: rot (SIM:rot) cannot move: SIM:rot.SPMG is Pause; set it to Go"
    assert ask("outcome(lambda: rot.set(30))") == said
    assert ask("put('SIM:rot.VAL', 30), get('SIM:rot.RBV')") == "(1.0, 0.0)"
    assert ask("put('SIM:rot.SPMG', 3), get('SIM:rot.RBV')") == "(1.0, 30.0)"


def test_a_pause_keeps_the_target_and_a_stop_does_not(ask: Ask) -> None:
    for word, place in (("1", "200.0"), ("0", "rest")):
        assert ask("put('SIM:rot.SPMG', 3), put('SIM:rot.VAL', 0), put('SIM:rot.VELO', 50)") == "(1.0, 1.0, 1.0)"
        assert ask("put('SIM:rot.VAL', 200, wait=False), until(lambda: get('SIM:rot.RBV') > 1)").endswith(", True)")
        assert ask(f"put('SIM:rot.SPMG', {word}), until(lambda: get('SIM:rot.DMOV') == 1)") == "(1.0, True)"
        assert ask("1 < get('SIM:rot.RBV') < 200") == "True"
        assert ask("put('SIM:rot.VELO', 720), put('SIM:rot.SPMG', 3)") == "(1.0, 1.0)"
        assert ask("get('SIM:rot.RBV')" if place == "200.0" else "get('SIM:rot.RBV') < 200") in (place, "True")


def test_the_origin_can_be_set_by_hand(ask: Ask) -> None:
    assert ask("outcome(lambda: plain.set(20)), plain.set_current_position(5), get('SIM:rot.RBV')") == (
        "('done', None, 5.0)"
    )
    assert ask("get('SIM:rot.DRBV'), get('SIM:rot.OFF'), get('SIM:rot.VAL')") == "(20.0, -15.0, 5.0)"
    assert ask("outcome(lambda: plain.set(-15)), get('SIM:rot.DRBV')") == "('done', 0.0)"
    assert ask("put('SIM:rot.DIR', 1), put('SIM:rot.OFF', 0), outcome(lambda: plain.set(30)), get('SIM:rot.DRBV')") == (
        "(1.0, 1.0, 'done', -30.0)"
    )
    assert ask("put('SIM:rot.DIR', 0), get('SIM:rot.RBV')") == "(1.0, -30.0)"


def test_a_refused_move_is_an_alarm_and_no_success(ask: Ask) -> None:
    """The gripper is in: the beamline does not let the rotation turn."""
    assert "the move to 30 deg failed: the record reports a problem (MSTA); see its IOC" in ask(
        "link.ask(Mount(0)), outcome(lambda: rot.set(30))"
    )
    assert ask("get('SIM:rot.RBV')") == "0.0"
    assert ask("int(get('SIM:rot.MSTA')) & 0x200") == "512"
    assert ask("until(lambda: get('SIM:changer:State_RBV', True) == 'parked')") == "True"
    assert ask("outcome(lambda: rot.set(30)), int(get('SIM:rot.MSTA')) & 0x200") == "('done', 0)"


def test_what_takes_too_long_fails_with_a_sentence(ask: Ask) -> None:
    assert ask("put('SIM:rot.VELO', 1), outcome(lambda: rot.set(100, timeout=0.3))") == (
        "(1.0, 'TimeoutError: rot (SIM:rot): the move to 100 deg was not done within 0.3 s')"
    )
    assert ask("rot.stop()") == "None"


def test_staging_gives_the_velocity_back_that_this_session_changed(ask: Ask) -> None:
    assert ask("[rot.stage(), rot.velocity.put(3), get('SIM:rot.VELO')][-1]") == "3.0"
    assert ask("rot.unstage() is not None and until(lambda: get('SIM:rot.VELO') == 720)") == "True"


def test_staging_leaves_the_velocity_that_somebody_else_changed(ask: Ask) -> None:
    assert ask("[rot.stage(), put('SIM:rot.VELO', 3), rot.unstage()] and get('SIM:rot.VELO')") == "3.0"


def test_a_claim_that_ends_gives_the_velocity_back_beside_the_hardware(ask: Ask) -> None:
    """When the session is dead, nothing else does."""
    assert ask("Record('SIM:claim:Take', 'SIM:claim:Take', text=True).order('scan-1 ann 3')") == "None"
    assert ask("get('SIM:claim:Owner_RBV', True), get('SIM:claim:User_RBV', True)") == "('scan-1', 'ann')"
    assert ask("put('SIM:rot.VELO', 7), put('SIM:shutter:Cmd', 1)") == "(1.0, 1.0)"
    assert ask("until(lambda: get('SIM:claim:Owner_RBV', True) == '')") == "True"
    assert ask("until(lambda: get('SIM:rot.VELO') == 720)") == "True"
    assert ask("until(lambda: get('SIM:shutter:Status_RBV', True) == 'Closed')") == "True"


@pytest.mark.parametrize("words", ["a/b ann 5", "scan-1 ann -5", "scan-1"])
def test_a_claim_that_makes_no_sense_is_answered(ask: Ask, words: str) -> None:
    assert ask(f"Record('SIM:claim:Take', 'SIM:claim:Take', text=True).order({words!r})") == "None"
    assert ask("get('SIM:claim:Answer_RBV', True)").startswith("bad_input: ")


def test_a_beamline_that_is_dead_behind_the_ioc_is_an_alarm(
    servers: tuple[ManagedProcess, ManagedProcess, Ask],
) -> None:
    """The last test of this module: it kills the servers."""
    beamline, ioc, ask = servers
    beamline.kill()
    assert ask("until(lambda: get('SIM:cam1:DetectorState_RBV', True) == 'Disconnected')") == "True"
    assert "the record reports a problem (MSTA)" in ask("outcome(lambda: rot.set(30))")
    ioc.kill()
    said = ask("outcome(lambda: rot.set(30))")
    assert said.startswith("LinkTimeout: SIM:rot does not answer within 5 s: is the IOC running")
