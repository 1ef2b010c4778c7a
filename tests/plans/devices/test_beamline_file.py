"""``beamline.toml``: devices by class, and errors that name what is wrong."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from streamer.frames import BadInput
from streamer_plans.devices.beamline import sim_beamline
from streamer_plans.devices.beamline_file import DEVICES, SHIPPED, default_beamline, open_beamline, read_beamline
from streamer_plans.devices.cameras.camera import Geometry
from streamer_plans.devices.stage import SimRotation
from tests.paths import ROOT

SIM = (SHIPPED / "sim.toml").read_text()
ENDPOINT = "tcp://127.0.0.1:9"


def test_the_file_of_the_virtual_beamline_is_what_sim_beamline_builds() -> None:
    from_file, built = open_beamline(ENDPOINT, {"streamer.endpoint": ENDPOINT}), sim_beamline(ENDPOINT, ENDPOINT)
    for name in DEVICES:
        assert type(getattr(from_file, name)) is type(getattr(built, name))
        if name != "beam_limits":
            assert getattr(from_file, name).name == getattr(built, name).name
    assert {link.endpoint for link in from_file.links} == {ENDPOINT}
    assert type(from_file.detector.hardware) is type(built.detector.hardware)
    assert from_file.detector.daemon is from_file.streamer
    assert from_file.rotation._claim is from_file.shutter._claim is from_file.detector.hardware._claim
    from_file.close()
    built.close()


def test_values_places_and_other_devices(tmp_path: Path) -> None:
    file = tmp_path / "beamline.toml"
    file.write_text(SIM + "stall_s = 3.0\n[flat_positions]\nleft = -4\n[note]\nclass = 'ophyd.Signal'\nvalue = 7\n")
    beamline = read_beamline(file, {"rotation.velocity": 5.0})
    assert beamline.detector.stall_s == 3.0
    assert beamline.flat_positions == {"left": -4.0}
    assert beamline.others["note"].get() == 7
    assert beamline.others["note"].name == "note"
    assert beamline.rotation.velocity.get() == 5.0
    beamline.close()


def test_a_camera_whose_class_is_awaited(tmp_path: Path) -> None:
    file = tmp_path / "beamline.toml"
    grey = "[grey]\nclass = 'tests.plans.devices.cameras.concert_camera.GreyCamera'\nrows = 8\ncolumns = 16\n"
    concert = "class = 'streamer_plans.devices.cameras.concert.ConcertCamera'\ncamera = '@grey'\nendpoint = 'tcp://127.0.0.1:9'"
    table = SIM[SIM.index("[camera]\n") : SIM.index("[streamer]\n")]
    file.write_text(SIM.replace(table, f"{grey}[camera]\n{concert}\nrotation = '@rotation'\nclaim = '@claim'\n"))
    beamline = read_beamline(file)
    assert beamline.detector.hardware.geometry() == Geometry(8, 16, None, 1000.0)
    beamline.detector.hardware.close()
    beamline.close()


def test_which_file_is_read(tmp_path: Path) -> None:
    (tmp_path / "beamline.toml").write_text(SIM.replace("[rotation]", "[rotation]\nname = 'theta'"))
    assert default_beamline({}, tmp_path).rotation.name == "theta"
    assert default_beamline({}, tmp_path / "elsewhere").rotation.name == "rotation"
    named = default_beamline({"STREAMER_BEAMLINE": str(tmp_path / "beamline.toml"), "STREAMER_DAEMON": ENDPOINT})
    assert named.rotation.name == "theta"
    assert named.streamer._link.endpoint == ENDPOINT
    assert isinstance(default_beamline({"STREAMER_BEAMLINE": ENDPOINT}).rotation, SimRotation)


ROTATION = 'class = "streamer_plans.devices.stage.SimRotation"'


@pytest.mark.parametrize(
    ("before", "after", "said"),
    [
        (ROTATION, 'class = "ophyd.EpicsMotr"', "[rotation] class ophyd.EpicsMotr: ophyd has no class EpicsMotr"),
        (ROTATION, 'class = "no_such.Motor"', "[rotation] class no_such.Motor: No module named 'no_such'"),
        (ROTATION, 'class = "Motor"', "[rotation] class is 'Motor'; give the dotted name of a class"),
        (ROTATION, "velocity = 3.0", "[rotation] class is None; give the dotted name"),
        (ROTATION, f"{ROTATION}\nvelocty = 3.0", "[rotation] velocty: streamer_plans.devices.stage.SimRotation has no"),
        (f'{ROTATION}\nlink = "@virtual"', ROTATION, "[rotation] link is missing"),
        (
            f'{ROTATION}\nlink = "@virtual"',
            f'{ROTATION}\nlink = "@virtuel"',
            "[rotation] link: there is no table [virt",
        ),
        ("[shutter]", "[shuter]", "the table [shutter] is missing; a beamline has rotation, sample_x, shutter"),
        (ROTATION, 'class = "ophyd.EpicsMotor"\nprefix = "m1"\nlimit = 3', "[rotation] ophyd.EpicsMotor: "),
        ('claims = "@claims"', 'claims = "@claim"', "claim → claim need each other"),
        ("# The", "daemon = 3 # The", "daemon stands outside of a table"),
        ("# The", "[flat_positions]\nleft = 'far' # The", "[flat_positions] left is 'far', expected a number of mm"),
        ("# The", "= # The", "Invalid statement (at line 1, column 1)"),
    ],
)
def test_what_is_wrong_is_named_in_one_line(tmp_path: Path, before: str, after: str, said: str) -> None:
    file = tmp_path / "beamline.toml"
    assert before in SIM
    file.write_text(SIM.replace(before, after, 1))
    with pytest.raises(BadInput) as error:
        read_beamline(file)
    assert said in str(error.value)
    assert str(error.value).startswith(f"{file}: ")
    assert "\n" not in str(error.value)


def test_a_file_that_is_not_there() -> None:
    with pytest.raises(BadInput, match=r"nowhere: No such file or directory; give a file, or one of epics, .*sim"):
        open_beamline("nowhere")
    with pytest.raises(BadInput, match=r"the table \[cmaera\] is missing, cmaera.x cannot be set"):
        open_beamline("sim", {"cmaera.x": 1})


@pytest.mark.parametrize("file", sorted(SHIPPED.glob("*.toml")) + sorted((ROOT / "examples").glob("beamline*.toml")))
def test_the_documented_files_build_without_any_server(file: Path) -> None:
    """In a process of its own, which ends without waiting for records that nobody serves."""
    code = "import sys; from pathlib import Path; from streamer_plans.devices.beamline_file import read_beamline; "
    code += "print(read_beamline(Path(sys.argv[1])).rotation.name)"
    done = subprocess.run([sys.executable, "-c", code, str(file)], capture_output=True, text=True, timeout=100)
    assert done.stdout == "rotation\n", done.stderr
