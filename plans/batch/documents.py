"""The documents of a batch's runs as JSON lines, so that they can be compared with journal and files."""

import json
import os
from pathlib import Path
from typing import Any

DOCUMENTS = "documents.jsonl"


class DocumentLines:
    """A subscriber of a RunEngine: one line [name, document] each, appended. Starts and stops are safe on the disk."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._file = (folder / DOCUMENTS).open("ab")

    def __call__(self, name: str, document: dict[str, Any]) -> None:
        self._file.write(json.dumps([name, document], allow_nan=False, default=str).encode() + b"\n")
        self._file.flush()
        if name in ("start", "stop"):
            os.fsync(self._file.fileno())

    def close(self) -> None:
        self._file.close()
