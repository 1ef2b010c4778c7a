"""Movies: which frames are taken, what the file holds, and what is said when it cannot be written."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageSequence
from PySide6.QtCore import Qt
from PySide6.QtTest import QTest
from PySide6.QtWidgets import QApplication, QWidget

from streamer.gui.movie import EVERY_S, MOST_FRAMES, WIDTH_PX, Movie, Recorder, finish, free_path
from streamer.gui.state.model import ViewModel
from streamer.gui.window import ViewerWindow

RED, GREEN, BLUE = "#d02010", "#10b030", "#2040e0"


def screen(width: int, height: int) -> QWidget:
    made = QWidget()
    made.resize(width, height)
    return made


def filmed(widget: QWidget, *colours: str) -> Movie:
    """A movie in which the widget takes one colour after the other."""
    movie = Movie()
    for number, colour in enumerate(colours):
        widget.setStyleSheet(f"background: {colour};")
        movie.take(widget, float(number))
    return movie


def written(movie: Movie, path: Path) -> str:
    """Save, and what was said at the end."""
    said: list[str] = []
    movie.save(path, said.append).join(60.0)
    assert len(said) == 1
    return said[0]


def test_frames_are_taken_at_most_five_times_a_second(qt: QApplication) -> None:
    movie, widget = Movie(), screen(8, 8)
    taken = []
    for now in (100.0, 100.1, 100.19, 100.25, 100.3, 100.5, 103.0):
        before = len(movie)
        movie.take(widget, now)
        taken.append(len(movie) - before)
    assert taken == [1, 0, 0, 1, 0, 1, 1]


def test_a_forgotten_movie_stops_growing(qt: QApplication) -> None:
    movie, widget = Movie(), screen(4, 4)
    for number in range(MOST_FRAMES + 5):
        assert movie.full is (number >= MOST_FRAMES)
        movie.take(widget, 2 * EVERY_S * number)
    assert len(movie) == MOST_FRAMES


def test_the_file_holds_the_frames_in_their_order(qt: QApplication, tmp_path: Path) -> None:
    path = tmp_path / "scan.gif"
    assert written(filmed(screen(60, 40), RED, GREEN, BLUE), path) == f"saved {path}: 3 pictures"
    with Image.open(path) as gif:
        assert gif.size == (60, 40)
        assert gif.info["loop"] == 0
        frames = [(frame.info["duration"], frame.convert("RGB")) for frame in ImageSequence.Iterator(gif)]
    assert [duration for duration, _ in frames] == [100, 100, 2000], "milliseconds: the last one is looked at"
    for (_, frame), colour in zip(frames, (RED, GREEN, BLUE), strict=True):
        wanted = [int(colour[at : at + 2], 16) for at in (1, 3, 5)]
        np.testing.assert_allclose(np.asarray(frame).reshape(-1, 3), [wanted] * 2400, atol=8)


def test_a_still_scan_takes_its_time(qt: QApplication, tmp_path: Path) -> None:
    path = tmp_path / "still.gif"
    written(filmed(screen(20, 20), RED, RED, RED, BLUE), path)
    with Image.open(path) as gif:
        assert sum(frame.info["duration"] for frame in ImageSequence.Iterator(gif)) == 2300


@pytest.mark.parametrize(("size", "wanted"), [((1600, 900), (WIDTH_PX, 540)), ((961, 400), (WIDTH_PX, 400))])
def test_a_large_window_is_made_smaller(
    qt: QApplication, tmp_path: Path, size: tuple[int, int], wanted: tuple[int, int]
) -> None:
    widget = screen(*size)
    movie = filmed(widget, RED)
    widget.resize(300, 200)  # while the movie runs
    widget.setStyleSheet(f"background: {BLUE};")
    movie.take(widget, 9.0)
    assert written(movie, tmp_path / "large.gif").endswith("2 pictures")
    with Image.open(tmp_path / "large.gif") as gif:
        frames = [frame.convert("RGB") for frame in ImageSequence.Iterator(gif)]
    assert [frame.size for frame in frames] == [wanted, wanted]
    blue = np.asarray(frames[1])
    assert (blue[:, :, 2] > 200).all(), "the smaller picture fills the movie"
    assert (blue[:, :, 0] < 60).all()


def test_without_frames_there_is_no_file(qt: QApplication, tmp_path: Path) -> None:
    assert written(Movie(), tmp_path / "none.gif") == "the movie has no pictures"
    assert not list(tmp_path.iterdir())


def test_a_missing_folder_and_a_full_disk_are_told_in_one_line(qt: QApplication, tmp_path: Path) -> None:
    movie = filmed(screen(20, 20), RED, BLUE)
    gone = tmp_path / "gone" / "scan.gif"
    assert written(movie, gone) == f"cannot write {gone}: No such file or directory"
    full = tmp_path / "full.gif"
    full.symlink_to("/dev/full")
    assert written(movie, full) == f"cannot write {full}: No space left on device"


def test_a_snapshot_that_cannot_be_written_is_told(qt: QApplication, tmp_path: Path) -> None:
    window = ViewerWindow(ViewModel("tcp://127.0.0.1:1"), None, tmp_path / "gone")
    window.show()
    qt.processEvents()
    try:
        QTest.keyClick(window, Qt.Key.Key_S)
        assert window.foot.text.text() == f"cannot write {tmp_path / 'gone' / 'streamer_no-scan_0of0.png'}"
        full = tmp_path / "full.png"
        full.symlink_to("/dev/full")
        assert not window.save_png(full)
    finally:
        window.close()
        window.deleteLater()


def test_a_movie_that_cannot_be_written_is_told_however_quickly(
    qt: QApplication, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save = Movie.save

    def quick(movie: Movie, path: Path, done: Callable[[str], None]) -> threading.Thread:
        writing = save(movie, path, done)
        writing.join()
        return writing

    monkeypatch.setattr(Movie, "save", quick)
    window = ViewerWindow(ViewModel("tcp://127.0.0.1:1"), None, tmp_path / "gone")
    window.show()
    qt.processEvents()
    try:
        QTest.keyClicks(window, "v")
        assert window.foot.text.text() == "movie: it grows until V is pressed again"
        QTest.keyClicks(window, "v")
        window.refresh()
        gone = tmp_path / "gone" / "streamer_no-scan_0of0.gif"
        assert window.foot.text.text() == f"cannot write {gone}: No such file or directory"
    finally:
        window.close()
        window.deleteLater()


def test_a_movie_that_is_being_written_is_not_cut_by_closing(qt: QApplication, tmp_path: Path) -> None:
    now = [0.0]
    window = ViewerWindow(ViewModel("tcp://127.0.0.1:1"), None, tmp_path, clock=lambda: now[0])
    window.show()
    qt.processEvents()
    QTest.keyClicks(window, "v")
    for number in range(40):
        now[0] += 2 * EVERY_S
        window.empty.setStyleSheet(f"background: #{6 * number:02x}4080;")
        window.refresh()
    QTest.keyClicks(window, "v")
    window.close()
    window.deleteLater()
    with Image.open(tmp_path / "streamer_no-scan_0of0.gif") as gif:
        assert sum(frame.info["duration"] for frame in ImageSequence.Iterator(gif)) == 2000 + 100 * (41 - 1)


def test_no_disk_holds_a_window_for_ever() -> None:
    stuck, freed = threading.Event(), threading.Event()
    writing = threading.Thread(target=lambda: (stuck.set(), freed.wait(60.0)), daemon=True)
    writing.start()
    assert stuck.wait(60.0)
    assert finish([writing], 0.05) is False
    freed.set()
    assert finish([writing], 60.0) is True


def test_no_picture_is_written_over_another(tmp_path: Path) -> None:
    path = tmp_path / "scan.5of60.gif"
    assert free_path(path) == path
    names = []
    for _ in range(3):
        free_path(path).touch()
        names = sorted(each.name for each in tmp_path.iterdir())
    assert names == ["scan.5of60-2.gif", "scan.5of60-3.gif", "scan.5of60.gif"]


class Recording:
    """A recorder, what it said, and at once or later."""

    def __init__(self, folder: Path) -> None:
        self.said: list[str] = []
        self.later: list[str] = []
        self.recorder = Recorder(folder, lambda: "scan_5of60.png", self.said.append, self.later.append)


def test_a_snapshot_has_a_name_of_its_own_and_says_whether_it_is_there(tmp_path: Path) -> None:
    recording = Recording(tmp_path)
    (tmp_path / "scan_5of60.png").touch()
    asked: list[Path] = []
    recording.recorder.snapshot(lambda path: not asked.append(path))
    recording.recorder.snapshot(lambda _path: False)
    other = tmp_path / "scan_5of60-2.png"
    assert asked == [other]
    assert recording.said == [f"saved {other}", f"cannot write {other}"]


def test_a_movie_that_is_full_is_written_by_itself(qt: QApplication, tmp_path: Path) -> None:
    recording, widget = Recording(tmp_path), screen(4, 4)
    recording.recorder.take(widget, 0.0)
    assert recording.recorder.movie is None, "nobody wants one"
    recording.recorder.toggle_movie()
    for number in range(MOST_FRAMES + 5):
        recording.recorder.take(widget, 2 * EVERY_S * number)
    assert recording.recorder.movie is None
    recording.recorder.finish()
    assert recording.said == ["movie: it grows until V is pressed again", "writing the movie"]
    assert recording.later == [f"saved {tmp_path / 'scan_5of60.gif'}: {MOST_FRAMES} pictures"]
