"""Bluesky's documents about one scan: they describe its frames, and point at the daemon's file."""

import uuid
from collections.abc import Iterator
from typing import Any
from urllib.parse import quote

from event_model import compose_stream_resource

from streamer.frames import ScanSpec

IMAGE = "/entry/instrument/detector/data"
SCALARS = {  # suffix of the data key: (dataset in the NXtomo file, NumPy type, unit)
    "_image_key": ("/entry/instrument/detector/image_key", "|u1", ""),
    "_rotation_angle": ("/entry/sample/rotation_angle", "<f8", "deg"),
}
SCALAR_CHUNK = (1024,)


class ScanDocuments:
    """One file and its data keys: the images under ``name``, and what comes with each of them."""

    def __init__(self, name: str, spec: ScanSpec, raw_file: str) -> None:
        self._name, self._spec, self._raw_file = name, spec, raw_file
        self._announced = 0
        self._bundles: list[Any] = []

    def keys(self) -> dict[str, dict[str, Any]]:
        """Descriptions of the data keys."""
        common = {"source": f"streamer:{self._raw_file}", "external": "STREAM:"}
        shape = [self._spec.rows, self._spec.columns]
        keys: dict[str, dict[str, Any]] = {
            self._name: {**common, "dtype": "array", "dtype_numpy": self._spec.dtype, "shape": shape}
        }
        for suffix, (_, dtype, unit) in SCALARS.items():
            keys[self._name + suffix] = {**common, "dtype": "number", "dtype_numpy": dtype, "shape": [], "units": unit}
        return keys

    def assets(self, stop: int) -> Iterator[tuple[str, Any]]:
        """StreamResources, the first time, and StreamData for the frames before ``stop`` that are not announced yet."""
        if stop <= self._announced:
            return
        if not self._bundles:
            self._bundles = [self._resource(key, *place) for key, place in self._places().items()]
            for bundle in self._bundles:
                yield "stream_resource", bundle.stream_resource_doc
        start, self._announced = self._announced, stop
        for bundle in self._bundles:
            yield "stream_datum", bundle.compose_stream_datum({"start": start, "stop": stop})

    def _places(self) -> dict[str, tuple[str, tuple[int, ...]]]:
        images = (IMAGE, (1, self._spec.rows, self._spec.columns))
        return {self._name: images} | {
            self._name + suffix: (dataset, SCALAR_CHUNK) for suffix, (dataset, _, _) in SCALARS.items()
        }

    def _resource(self, key: str, dataset: str, chunk_shape: tuple[int, ...]) -> Any:
        return compose_stream_resource(
            mimetype="application/x-hdf5",
            uri=f"file://localhost{quote(self._raw_file)}",
            data_key=key,
            parameters={"dataset": dataset, "chunk_shape": chunk_shape, "swmr": True, "join_method": "stack"},
            uid=str(uuid.uuid4()),
        )
