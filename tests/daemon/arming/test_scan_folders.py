"""Each scan in its own folder: by proposal, with its group; nothing outside, nothing over what is there."""

from __future__ import annotations

import grp
import os
import stat
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from msgspec import structs

from streamer.config import Writer
from streamer.daemon.arming.scan_folders import check_folders
from streamer.flow import wire
from streamer.frames import BadInput
from tests.daemon.arming.test_resume import HALF, leave
from tests.daemon.rig import Rig, TinyScan

TEMPLATE = "{year}/{proposal}/{sample}"
YEAR = time.strftime("%Y")


def of_proposal(proposal: str = "ev17", scan_id: str = "scan-1") -> TinyScan:
    scan = TinyScan(scan_id)
    scan.spec = structs.replace(scan.spec, metadata={"proposal": proposal})
    return scan


def test_raw_file_and_tomogram_lie_in_the_folder_of_the_proposal(build: Callable[..., Rig], tmp_path: Path) -> None:
    rig = build(writer={"folder": TEMPLATE})
    scan = of_proposal()
    rig.run(scan)
    report = rig.finish(scan)
    folder = tmp_path / YEAR / "ev17" / "body"
    assert report.raw_file == str(folder / "scan-1.nx")
    assert report.tomogram_file == str(folder / "scan-1.tomogram.h5")
    assert sorted(path.name for path in folder.iterdir()) == ["scan-1.nx", "scan-1.tomogram.h5"]
    assert [path.name for path in tmp_path.iterdir()] == [YEAR]


@pytest.mark.parametrize("hostile", ["../../etc", "/etc", "..", "a/b", "a\0"])
def test_a_hostile_proposal_is_refused_and_makes_nothing(
    build: Callable[..., Rig], tmp_path: Path, hostile: str
) -> None:
    rig = build(writer={"folder": TEMPLATE})
    with pytest.raises(BadInput, match=r"metadata\.proposal is .* needs a name"):
        rig.scans.arm(of_proposal(hostile).spec)
    assert rig.scans.current is None
    assert not list(tmp_path.iterdir())


def test_a_scan_without_a_proposal_is_told_what_lacks(build: Callable[..., Rig]) -> None:
    rig = build(writer={"folder": TEMPLATE})
    with pytest.raises(BadInput, match="'proposal'; give it in the metadata of the scan"):
        rig.scans.arm(TinyScan().spec)


def test_a_link_that_leads_out_is_not_followed(build: Callable[..., Rig], tmp_path: Path) -> None:
    root, elsewhere = tmp_path / "root", tmp_path / "elsewhere"
    elsewhere.mkdir()
    (root / YEAR).mkdir(parents=True)
    (root / YEAR / "ev17").symlink_to(elsewhere)
    rig = build(writer={"folder": TEMPLATE, "directory": root})
    with pytest.raises(BadInput, match="no folder can be made there"):
        rig.scans.arm(of_proposal().spec)
    assert not list(elsewhere.iterdir())


def test_a_raw_file_in_the_folder_is_never_overwritten(build: Callable[..., Rig], tmp_path: Path) -> None:
    rig = build(writer={"folder": TEMPLATE})
    folder = tmp_path / YEAR / "ev17" / "body"
    folder.mkdir(parents=True)
    (folder / "scan-1.nx").write_text("precious")
    with pytest.raises(BadInput, match="exists already"):
        rig.scans.arm(of_proposal().spec)
    assert (folder / "scan-1.nx").read_text() == "precious"


def test_a_scan_is_taken_up_where_it_lies(build: Callable[..., Rig], tmp_path: Path) -> None:
    """Even when the year is another one by now."""
    scan, folder = of_proposal(), tmp_path / "2019" / "ev17" / "body"
    folder.mkdir(parents=True)
    leave(folder, scan, range(HALF))
    rig = build(writer={"folder": TEMPLATE})
    assert rig.ingest.admit(wire.Start(scan.spec)) == ""
    rig.feed(scan, range(HALF, scan.spec.frames))
    report = rig.finish(scan)
    assert (report.state, report.written) == ("complete", scan.spec.frames)
    assert report.raw_file == str(folder / "scan-1.nx")
    assert not (tmp_path / YEAR).exists() or YEAR == "2019"


def test_a_scan_id_of_another_folder_is_not_used_again(build: Callable[..., Rig], tmp_path: Path) -> None:
    folder = tmp_path / "2019" / "ev3" / "body"
    folder.mkdir(parents=True)
    leave(folder, of_proposal("ev3"), range(3), "aborted", "")
    rig = build(writer={"folder": TEMPLATE})
    with pytest.raises(BadInput, match=r"scan-1\.nx exists already"):
        rig.scans.arm(of_proposal().spec)


def test_folders_of_a_proposal_belong_to_its_group(build: Callable[..., Rig], tmp_path: Path) -> None:
    group = "daemon" if os.geteuid() == 0 else grp.getgrgid(os.getgid()).gr_name
    rig = build(writer={"folder": TEMPLATE, "group": "{proposal}"})
    rig.scans.arm(of_proposal(group).spec)
    year, own = tmp_path / YEAR, tmp_path / YEAR / group
    assert own.group() == group
    assert own.stat().st_mode & stat.S_ISGID
    assert (own / "body" / "scan-1.nx").group() == group
    assert not year.stat().st_mode & stat.S_ISGID, "the year is everybody's"


def test_a_group_that_does_not_exist_is_refused(build: Callable[..., Rig], tmp_path: Path) -> None:
    rig = build(writer={"folder": TEMPLATE, "group": "{proposal}"})
    with pytest.raises(BadInput, match=r"writer\.group: there is no group 'nobody-knows-it'"):
        rig.scans.arm(of_proposal("nobody-knows-it").spec)
    assert not (tmp_path / YEAR / "nobody-knows-it").exists(), "it would be taken for one that has its group"


def test_two_groups_in_one_folder_are_no_configuration() -> None:
    with pytest.raises(BadInput, match=r"writer\.group: .* have \{proposal\} in writer\.folder, too"):
        check_folders(Writer(folder="{year}", group="{proposal}"))
