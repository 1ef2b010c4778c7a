"""The folder of each scan below the daemon's, and whom it belongs to."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from streamer.config import Writer
from streamer.flow.folder_template import FolderTemplate, filled, placeholders
from streamer.frames import BadInput, ScanSpec
from streamer.io.place import give_to_group
from streamer.io.scan_folder import make_folder


@dataclass(frozen=True)
class NewFolder:
    """A folder that is to be made. New ones from number ``first`` on belong to ``group``; None: to that around them."""

    root: Path
    names: tuple[str, ...]
    group: str | None
    first: int

    def make(self) -> Path:
        """Raises BadInput when it cannot be made, or given to the group."""
        return make_folder(self.root, self.names, self._prepare)

    def _prepare(self, path: Path) -> None:
        if self.group is not None and len(path.relative_to(self.root).parts) > self.first:
            give_to_group(path, self.group)


def check_folders(config: Writer) -> None:
    """Raises BadInput when two groups would have the same folder."""
    own = placeholders(config.group or "")
    if lacking := own - placeholders(config.folder or ""):
        raise BadInput(f"writer.group: {config.group} differs by scan; have {{{min(lacking)}}} in writer.folder, too")


class ScanFolders:
    """Folders below ``root``, as the configuration names them. Raises BadInput as ``check_folders`` does."""

    def __init__(self, root: Path, config: Writer) -> None:
        check_folders(config)
        self._root, self._group = root, config.group or ""
        self._template = FolderTemplate(config.folder or "")

    @property
    def depth(self) -> int:
        """How deep below the root scans lie."""
        return len(self._template.parts)

    def of(self, spec: ScanSpec, now: float) -> NewFolder:
        """The folder of a scan that is armed ``now``, s since 1970 UTC. Raises BadInput when a name makes none."""
        own = placeholders(self._group)
        group = filled(self._group, spec, now) if own else None
        return NewFolder(self._root, self._template.folders(spec, now), group, self._template.first_with(self._group))
