"""Some detector rows of native messages, for a receiver that works on a part of the detector. No sockets here."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from msgspec import structs

from streamer.flow import wire
from streamer.frames import BadInput, ScanSpec

Part = bytes | memoryview

ROWS_KEY = "rows"
"""Key of a scan's metadata that says which rows of the detector it has."""


class RowCut:
    """Rows ``first`` to ``end`` (left out) of every frame. Raises BadInput for a range that is none."""

    def __init__(self, first: int, end: int) -> None:
        if not 0 <= first < end:
            raise BadInput(f"rows {first}:{end}: give the first row and the one behind the last, such as 0:512")
        self.first, self.end = first, end

    def __str__(self) -> str:
        return f"{self.first}:{self.end}"

    def of(self, parts: Sequence[memoryview]) -> list[Part]:
        """The same message with these rows alone; the pixels share the memory of ``parts``.

        A frame whose checksum is wrong keeps it, so that the receiver finds it corrupt. Raises WireError for what is no
        native message, and for frames that do not have these rows.
        """
        message = wire.decode(parts[0])
        if isinstance(message, wire.Start):
            self._check(message.spec.rows)
            return list(wire.encode(structs.replace(message, spec=self.part(message.spec))))
        if not isinstance(message, wire.FrameHeader):
            return list(parts)
        rows, columns = message.shape
        self._check(rows)
        if len(parts) != 2 or parts[1].nbytes != message.size:
            raise wire.WireError("truncated", f"frame {message.index} of scan {message.scan_id} is not whole")
        row_bytes = columns * np.dtype(message.dtype).itemsize
        pixels = parts[1][self.first * row_bytes : self.end * row_bytes]
        checksum = message.checksum
        if checksum is not None and wire.checksum(parts[1]) == checksum:
            checksum = wire.checksum(pixels)
        header = structs.replace(message, shape=(self.rows, columns), size=pixels.nbytes, checksum=checksum)
        return [wire.pack(header), pixels]

    def part(self, spec: ScanSpec) -> ScanSpec:
        """The scan as it would be announced with these rows alone."""
        metadata = {**spec.metadata, ROWS_KEY: f"{self} of {spec.rows}"}
        return structs.replace(spec, rows=self.rows, metadata=metadata)

    @property
    def rows(self) -> int:
        return self.end - self.first

    def _check(self, rows: int) -> None:
        if self.end > rows:
            raise wire.WireError("shape", f"rows {self} of a detector that has {rows}")
