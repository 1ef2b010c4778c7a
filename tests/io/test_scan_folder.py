from __future__ import annotations

from pathlib import Path

import pytest

from streamer.frames import BadInput
from streamer.io.scan_folder import folders_below, make_folder, remove_empty


def test_folders_are_made_once_and_prepared_once(tmp_path: Path) -> None:
    prepared: list[Path] = []
    inner = make_folder(tmp_path, ("2026", "ev17"), prepared.append)
    assert inner == tmp_path / "2026" / "ev17"
    assert inner.is_dir()
    make_folder(tmp_path, ("2026", "ev18"), prepared.append)
    assert prepared == [tmp_path / "2026", inner, tmp_path / "2026" / "ev18"]
    assert make_folder(tmp_path, (), prepared.append) == tmp_path


@pytest.mark.parametrize("broken", [False, True])
def test_a_symbolic_link_is_not_followed(tmp_path: Path, broken: bool) -> None:
    root, elsewhere = tmp_path / "root", tmp_path / "elsewhere"
    root.mkdir()
    if not broken:
        elsewhere.mkdir()
    (root / "2026").symlink_to(elsewhere)
    with pytest.raises(BadInput, match=r"2026: no folder can be made there: "):
        make_folder(root, ("2026", "ev17"), lambda _path: None)
    assert broken or not list(elsewhere.iterdir())


def test_a_file_in_the_way_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "2026").write_text("precious")
    with pytest.raises(BadInput, match="not a directory"):
        make_folder(tmp_path, ("2026", "ev17"), lambda _path: None)
    assert (tmp_path / "2026").read_text() == "precious"


def test_empty_folders_go_and_no_others(tmp_path: Path) -> None:
    inner = make_folder(tmp_path, ("a", "b", "c"), lambda _path: None)
    (tmp_path / "a" / "kept").touch()
    remove_empty(inner, tmp_path)
    assert [path.name for path in tmp_path.rglob("*")] == ["a", "kept"]
    (tmp_path / "a" / "kept").unlink()
    remove_empty(tmp_path / "a", tmp_path)
    remove_empty(tmp_path, tmp_path)
    assert tmp_path.is_dir()
    assert not list(tmp_path.iterdir())


def test_folders_are_found_and_links_passed_over(tmp_path: Path) -> None:
    make_folder(tmp_path, ("2026", "ev17"), lambda _path: None)
    make_folder(tmp_path, ("2025", "ev3"), lambda _path: None)
    (tmp_path / "2026" / "link").symlink_to(tmp_path)
    (tmp_path / "2026" / "file").touch()
    assert sorted(folder.name for folder in folders_below(tmp_path, 2)) == ["ev17", "ev3"]
    assert list(folders_below(tmp_path, 0)) == [tmp_path]
