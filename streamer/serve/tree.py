"""The tree that Tiled serves: scans, each with its arrays and its planes. Entries are made anew for each request."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tiled.adapters.array import ArrayAdapter
from tiled.adapters.mapping import MapAdapter
from tiled.config import Authentication
from tiled.server.app import build_app
from tiled.server.schemas import Asset, DataSource, Management
from tiled.structures.array import ArrayStructure, BuiltinDtype
from tiled.structures.core import StructureFamily

from streamer import __version__
from streamer.serve.folder import Stored, about, arrays, scans
from streamer.serve.planes import LivePlanes, Picture

BLOCK_BYTES = 8 * 2**20
"""What a client gets at once, unless one frame or slice is larger."""


class StoredAdapter:
    """An array in a file, by Tiled's protocol for arrays."""

    structure_family = StructureFamily.array
    specs: tuple[Any, ...] = ()

    def __init__(self, stored: Stored) -> None:
        self._stored = stored
        first, *rest = stored.shape
        each = max(1, BLOCK_BYTES // (stored.dtype.itemsize * int(np.prod(rest))))
        blocks = tuple(min(each, first - at) for at in range(0, first, each))
        chunks = (blocks, *((n,) for n in rest))
        kind = BuiltinDtype.from_numpy_dtype(stored.dtype)
        self._structure = ArrayStructure(kind, chunks, stored.shape, dims=stored.dims)
        asset = Asset(data_uri=stored.path.resolve().as_uri(), is_directory=False, parameter="data_uris", num=0)
        self.data_sources = [
            DataSource(
                structure_family=StructureFamily.array,
                structure=self._structure,
                mimetype="application/x-hdf5",
                parameters={"dataset": stored.dataset},
                assets=[asset],
                management=Management.external,
            )
        ]

    def metadata(self) -> dict[str, Any]:
        return {}

    def structure(self) -> Any:
        return self._structure

    def read(self, slice: Any = ...) -> NDArray[Any]:  # Tiled's name
        return self._stored.read(tuple(slice) if slice else ...)

    def read_block(self, block: Any, slice: Any = ...) -> NDArray[Any]:
        values = self._stored.read(tuple(block.slice_from_chunks(self._structure.chunks)))
        return values[tuple(slice)] if slice else values


class Scans(Mapping[str, Any]):
    """The scans of a folder by their ids, the newest last."""

    def __init__(self, folder: Path, planes: LivePlanes | None) -> None:
        self._folder, self._planes = folder, planes

    def __iter__(self) -> Iterator[str]:
        return iter(scans(self._folder))

    def __len__(self) -> int:
        return len(scans(self._folder))

    def __getitem__(self, scan_id: str) -> Any:
        raw = scans(self._folder)[scan_id]
        entries: dict[str, Any] = {name: StoredAdapter(stored) for name, stored in arrays(raw).items()}
        live = {} if self._planes is None else self._planes.of(scan_id)
        if live:
            entries["planes"] = MapAdapter({name: _plane(live[name]) for name in sorted(live)})
        return MapAdapter(entries, metadata=about(raw))


def _plane(picture: Picture) -> Any:
    header, payload = picture
    told = ("angles", "of", "unit", "pixel_size_m", "bin", "center_px", "verdict", "final", "version")
    metadata = {name: getattr(header, name) for name in told}
    return ArrayAdapter.from_array(header.values(payload), dims=("down", "across"), metadata=metadata)


def application(folder: Path, planes: LivePlanes | None, api_key: str | None) -> Any:
    """The ASGI application. Without a key everybody who reaches it may read; nobody may write."""
    tree = MapAdapter(Scans(folder, planes), metadata={"streamer": __version__})
    access = Authentication(single_user_api_key=api_key, allow_anonymous_access=api_key is None)
    return build_app(tree, authentication=access)
