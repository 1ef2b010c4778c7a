"""Whom the files belong to."""

from __future__ import annotations

import grp
import os
import stat
from pathlib import Path

import pytest

from streamer.frames import BadInput
from streamer.io.place import give_to_group, set_file_mode


def test_new_files_belong_to_the_group_of_the_folder(tmp_path: Path) -> None:
    group = grp.getgrgid(os.getgid()).gr_name
    give_to_group(tmp_path, group)
    assert tmp_path.stat().st_mode & stat.S_ISGID
    (tmp_path / "file").touch()
    assert (tmp_path / "file").group() == group


def test_a_group_that_does_not_exist_is_named(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match=r"writer\.group: there is no group 'nobody-knows-it'"):
        give_to_group(tmp_path, "nobody-knows-it")


@pytest.mark.parametrize(
    ("mode", "file", "folder"), [("640", 0o640, 0o750), ("600", 0o600, 0o700), ("664", 0o664, 0o775)]
)
def test_new_files_have_the_permissions(tmp_path: Path, mode: str, file: int, folder: int) -> None:
    before = os.umask(0o077)
    try:
        set_file_mode(mode)
        (tmp_path / "file").touch()
        (tmp_path / "folder").mkdir()
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "file").stat().st_mode) == file
    assert stat.S_IMODE((tmp_path / "folder").stat().st_mode) == folder
