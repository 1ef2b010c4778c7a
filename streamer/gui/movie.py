"""Snapshots, and movies of the pictures as they change: GIFs, which every program shows."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable
from pathlib import Path

from PIL import Image
from PySide6.QtCore import Qt
from PySide6.QtGui import QImage
from PySide6.QtWidgets import QWidget

WIDTH_PX = 960
MOST_FRAMES = 900
EVERY_S = 0.2
SHOWN_S = 0.1
"""Of a frame in the movie, which runs at twice the speed."""

LAST_SHOWN_S = 2.0
WRITTEN_WITHIN_S = 60.0
"""For so long a window that was closed waits for its movies; 900 pictures take some 15 s."""


class Movie:
    """Frames of a widget. The file is written by a thread of its own, which calls ``done`` with a line."""

    def __init__(self) -> None:
        self._frames: list[Image.Image] = []
        self._taken_s = -1e9

    def __len__(self) -> int:
        return len(self._frames)

    @property
    def full(self) -> bool:
        return len(self._frames) >= MOST_FRAMES

    def take(self, widget: QWidget, now: float) -> None:
        """Take a frame, unless the last one is too recent."""
        if now - self._taken_s < EVERY_S or self.full:
            return
        self._taken_s = now
        shot = widget.grab().toImage()
        if shot.width() > WIDTH_PX:
            shot = shot.scaledToWidth(WIDTH_PX, Qt.TransformationMode.SmoothTransformation)
        shot = shot.convertToFormat(QImage.Format.Format_RGB888)
        frame = Image.frombytes(
            "RGB", (shot.width(), shot.height()), bytes(shot.constBits()), "raw", "RGB", shot.bytesPerLine()
        )
        self._frames.append(frame.quantize(128))

    def save(self, path: Path, done: Callable[[str], None]) -> threading.Thread:
        """Write what was taken; empty movies are not written."""
        writing = threading.Thread(target=self._write, args=(path, done), name="movie", daemon=True)
        writing.start()
        return writing

    def _write(self, path: Path, done: Callable[[str], None]) -> None:
        if not self._frames:
            done("the movie has no pictures")
            return
        size = self._frames[0].size
        frames = [frame if frame.size == size else frame.resize(size) for frame in self._frames]
        shown = [round(1000 * SHOWN_S)] * (len(frames) - 1) + [round(1000 * LAST_SHOWN_S)]
        try:
            frames[0].save(path, "GIF", save_all=True, append_images=frames[1:], duration=shown, loop=0)
        except OSError as error:
            done(f"cannot write {path}: {error.strerror}")
        else:
            done(f"saved {path}: {len(frames)} pictures")


class Recorder:
    """Takes what the user wants to keep into files of ``folder``, never over one that is there.

    ``name`` is that of a snapshot at this moment. ``tell`` shows a line at once; ``tell_later``, which the thread that
    writes a movie calls, with the next pictures.
    """

    def __init__(
        self,
        folder: Path,
        name: Callable[[], str],
        tell: Callable[[str], None],
        tell_later: Callable[[str], None],
    ) -> None:
        self._folder, self._name, self._tell, self._tell_later = folder, name, tell, tell_later
        self._writing: list[threading.Thread] = []
        self.movie: Movie | None = None  # that grows

    def snapshot(self, save: Callable[[Path], bool]) -> None:
        """``save`` writes a PNG; False when it cannot."""
        path = free_path(self._folder / self._name())
        self._tell(f"saved {path}" if save(path) else f"cannot write {path}")

    def toggle_movie(self) -> None:
        """Begin a movie; the second time, write it."""
        movie, self.movie = self.movie, Movie() if self.movie is None else None
        if movie is None:
            self._tell("movie: it grows until V is pressed again")
        else:
            self._tell("writing the movie")  # what the thread says comes after
            path = free_path((self._folder / self._name()).with_suffix(".gif"))
            self._writing.append(movie.save(path, self._tell_later))

    def take(self, widget: QWidget, now: float) -> None:
        """Take a frame of the movie that grows, if one does. One that is full is written."""
        if self.movie is not None:
            self.movie.take(widget, now)
            if self.movie.full:
                self.toggle_movie()

    def finish(self) -> None:
        """Wait until the movies are written."""
        finish(self._writing, WRITTEN_WITHIN_S)


def finish(writing: Iterable[threading.Thread], within_s: float) -> bool:
    """Wait until these movies are written, at most so long; whether they are."""
    threads, deadline = list(writing), time.monotonic() + within_s
    for each in threads:
        each.join(max(0.0, deadline - time.monotonic()))
    return not any(each.is_alive() for each in threads)


def free_path(path: Path) -> Path:
    """The path, with a number behind its name when that is taken."""
    free, number = path, 1
    while free.exists():
        number += 1
        free = path.with_stem(f"{path.stem}-{number}")
    return free
