"""The scans that daemons before this one left in the folder."""

from __future__ import annotations

import os
from pathlib import Path

from streamer.frames import ScanSpec
from streamer.io.raw.segments import segments_of
from streamer.io.raw.unclosed import is_written
from streamer.io.raw.unfinished import UnfinishedScan, find_unfinished, newest_scan, scan_of
from streamer.io.scan_folder import folders_below


class LeftBehind:
    """Raw files by scan id. ``newest`` is the scan that was running when a daemon died, unless that is long ago."""

    def __init__(self, directory: Path, depth: int, tomogram: bool, since: float) -> None:
        """Scans lie in folders so deep below ``directory``. ``tomogram``: each is to have one. ``since``: a scan is old
        if nothing was written later, s since 1970 UTC.
        """
        self._directory, self._tomogram = directory, tomogram
        files = [path for folder in folders_below(directory, depth) for path in folder.glob("*.nx")]
        self.newest = newest_scan(files, since)
        self._folders = {scan_of(path): path.parent for path in files}

    def raw_file(self, scan_id: str) -> Path:
        """Where it is; where it would be in the folder itself when there is none."""
        return self._folders.get(scan_id, self._directory) / f"{scan_id}.nx"

    def exists(self, scan_id: str) -> bool:
        return os.path.lexists(self.raw_file(scan_id))

    def find(self, scan_id: str, spec: ScanSpec | None = None) -> UnfinishedScan | None:
        """The scan, if it is not over; ``spec`` is what is known of it already.

        Raises Busy while the writer of a daemon that died still closes its file, BadInput when that was killed while it
        made the file, and there is no ``spec``.
        """
        raw_file = self.raw_file(scan_id)
        several = raw_file.with_name(f"{scan_id}.tomograms")
        tomogram = several if several.exists() else raw_file.with_name(f"{scan_id}.tomogram.h5")
        return find_unfinished(raw_file, tomogram if self._tomogram else None, spec)

    def is_written(self, scan_id: str) -> bool:
        """Whether that writer is still at work."""
        return any(map(is_written, segments_of(self.raw_file(scan_id))))
