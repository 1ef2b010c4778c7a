"""The virtual beamline as a process: faults on demand, reproducibility, back-pressure, start and end."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from streamer.flow.wire import End, checksum
from streamer.sim.truth import read_truth


def test_injected_faults_arrive_as_recorded(beamline: Any) -> None:
    faults = {"drop": [9], "duplicate": [10], "reorder": [12], "corrupt": [14], "truncate": [16], "late": [18]}
    beamline.do("faults", set=faults)
    scan = beamline.scan("faulty", 12, late=1)
    assert {
        k: v for k, v in read_truth(beamline.truth_dir / "faulty.truth.json")["faults"].items() if k in faults
    } == faults
    order = [h.meta.index for h, _ in scan.frames]
    assert order == [*range(9), 10, 10, 11, 13, 12, *range(14, 18), 19, 18]
    assert isinstance(scan.messages[-2], End)
    assert scan.messages[-2].frames == 20
    bad = {h.meta.index for h, p in scan.frames if len(p) != h.size or checksum(p) != h.checksum}
    assert bad == {14, 16}
    assert [h.meta.index for h, _ in beamline.scan("clean", 4).frames] == list(range(12))


def test_stalled_camera_and_dumped_beam(beamline: Any) -> None:
    beamline.do("faults", set={"stall": 6, "beam_dump": [2, 3], "beam_scale": 1.5})
    join = beamline.collect()
    beamline.do("prepare", spec=beamline.spec("stalled"), rate_hz=500.0)
    beamline.do("shutter", open=True)
    beamline.do("x", target_mm=6.0)
    beamline.settle()
    beamline.take(10, 1)
    status = beamline.settle()
    assert "before frame 6" in status["detector"]["error"]
    beamline.do("finish", status="aborted")
    frames = beamline.frames(join())
    means = [np.frombuffer(p, "<u2").mean() for _, p in frames]
    assert len(means) == 6
    assert max(means[2:4]) < 60
    assert min(means[:2]) > 3000
    assert [h.meta.monitor > 1 for h, _ in frames[:4]] == [True, True, False, False]


def test_light_follows_the_exposure_where_it_is_asked_to(start_beamline: Callable[..., Any]) -> None:
    beamline = start_beamline("--size", "32", "--samples", "1", "--flat-exposure", "0.01")
    lit = []
    for number, exposure_s in enumerate([0.002, 0.004, 0.1]):
        scan = beamline.scan(f"scan-{number}", projections=1, exposure_s=exposure_s)
        lit.append(scan.stack(1) - scan.stack(2).mean(axis=0))
    assert np.median(lit[1]) == pytest.approx(2 * np.median(lit[0]), rel=0.02)
    assert np.median(lit[2]) > 1.4 * 5 * np.median(lit[0]), "ten times the flat level"
    assert np.ptp(np.median(lit[2], axis=(1, 2))) < 1, "which the camera cannot hold"


def test_grip_failure_is_reported_and_the_next_mount_works(beamline: Any) -> None:
    beamline.do("faults", set={"changer": ["grip_failed"]})
    beamline.do("mount", slot=None)
    beamline.settle()
    beamline.do("mount", slot=4)
    status = beamline.settle()
    assert status["changer"]["mounted"] is None
    assert "slot 4" in status["changer"]["fault"]
    assert beamline.ask("mount", slot=4)["code"] == "bad_input"
    assert beamline.ask("x", target_mm=1.0)["code"] == "busy", "the gripper is in"
    beamline.mount(4)
    changer = beamline.settle()["changer"]
    assert (changer["mounted"], changer["fault"]) == (4, None)


def test_stuck_shutter_gives_dark_projections(beamline: Any) -> None:
    beamline.do("faults", set={"shutter": "lying"})
    join = beamline.collect()
    beamline.do("prepare", spec=beamline.spec("stuck"), rate_hz=500.0)
    beamline.do("shutter", open=True)
    assert beamline.do("status")["shutter"] == "open"
    beamline.take(2, 0)
    beamline.settle()
    beamline.do("finish", status="ok")
    assert all(np.frombuffer(p, "<u2").mean() < 60 for _, p in beamline.frames(join()))
    assert read_truth(beamline.truth_dir / "stuck.truth.json")["frames"]["seen"] == "DD"


def test_same_seed_gives_the_same_frames(start_beamline: Callable[..., Any]) -> None:
    options = ("--size", "32", "--preset", "fast", "--mount-s", "0", "--samples", "1")
    hashes = []
    for more in (("--seed", "3"), ("--seed", "3", "--cache-mb", "0"), ("--seed", "4")):
        beamline = start_beamline(*options, *more)
        beamline.do("mount", slot=0)
        hashes.append(beamline.scan("again", 10).hashes)
        beamline.do("quit")
        assert beamline.process.wait(100) == 0
    assert hashes[0] == hashes[1], "rendered ahead or live, the frames are the same"
    assert not set(hashes[0]) & set(hashes[2])


def test_sigterm_ends_it_cleanly_even_when_nobody_receives(start_beamline: Callable[..., Any]) -> None:
    beamline = start_beamline("--size", "32", "--samples", "1")
    beamline.pull.close(linger=0)
    beamline.do("prepare", spec=beamline.spec("alone"), rate_hz=500.0)
    beamline.take(1000, 2)
    beamline.process.stop()
    assert beamline.process.poll() == 0
    assert beamline.process.log.read_text() == ""
    assert not beamline.ready.exists()


def test_it_ends_with_its_parent(tmp_path: Path) -> None:
    ready = tmp_path / "ready.json"
    child = (
        f"[{sys.executable!r}, '-m', 'streamer.sim', '--size', '16', '--samples', '1', '--with-parent', "
        f"'--ready-file', {str(ready)!r}]"
    )
    script = (
        "import subprocess, pathlib, time\n"
        f"subprocess.Popen({child})\n"
        f"while not pathlib.Path({str(ready)!r}).exists(): time.sleep(0.01)\n"
        f"print(pathlib.Path({str(ready)!r}).read_text())\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=100, check=True)
    assert json.loads(done.stdout)["pid"]
    # The pipe of stderr is inherited by the grandchild: run() returns only when that has ended too.
    assert done.stderr == ""


@pytest.mark.parametrize(
    "options",
    [
        ["--size", "3"],
        ["--preset", "dream"],
        ["--rate-limit", "-1"],
        ["--flat-exposure", "0"],
        ["--frames", "tcp://nowhere"],
    ],
)
def test_bad_options_end_with_code_2_and_no_traceback(options: list[str]) -> None:
    done = subprocess.run([sys.executable, "-m", "streamer.sim", *options], capture_output=True, text=True, timeout=100)
    assert done.returncode == 2
    assert "Traceback" not in done.stderr
    assert done.stderr.strip()


def test_slow_receiver_holds_the_camera_back_and_loses_nothing(start_beamline: Callable[..., Any]) -> None:
    beamline = start_beamline("--size", "512", "--rows", "256", "--samples", "1", "--rate-limit", "100000")
    beamline.do("prepare", spec=beamline.spec("slow"), rate_hz=5000.0)
    beamline.take(400, 2)
    issued = 0

    def held_back() -> bool:
        nonlocal issued
        before, issued = issued, beamline.do("status")["detector"]["issued"]
        return 0 < issued == before

    beamline.wait(held_back)
    assert beamline.do("status")["detector"]["acquiring"]
    assert issued < 400
    join = beamline.collect()
    beamline.settle()
    beamline.do("finish", status="ok")
    assert [header.meta.index for header, _ in beamline.frames(join())] == list(range(400))


@pytest.mark.parametrize("preset", ["highres", "cine"])
def test_other_presets_scan(start_beamline: Callable[..., Any], preset: str) -> None:
    beamline = start_beamline("--size", "32", "--preset", preset, "--mount-s", "0", "--samples", "1")
    beamline.do("mount", slot=0)
    join = beamline.collect()
    beamline.do("prepare", spec=beamline.spec("one", 4), rate_hz=100.0)
    beamline.do("shutter", open=True)
    beamline.take(4, 0, trigger="position", start_deg=0.0, step_deg=45.0)
    beamline.do("rotation", target_deg=136.0, velocity_deg_s=1000.0)
    beamline.settle()
    beamline.do("finish", status="ok")
    frames = [np.frombuffer(p, "<u2").reshape(h.shape).astype(float) for h, p in beamline.frames(join())]
    assert len(frames) == 4
    assert all(frame[12:20, 16:22].mean() < 0.97 * frame[:, :3].mean() for frame in frames)
    beamline.do("quit")
    assert beamline.process.wait(100) == 0
