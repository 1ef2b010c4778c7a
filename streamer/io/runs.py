"""Where the file of a recorded scan is: given by name, the newest of a folder, or the one of a run in Tiled."""

from __future__ import annotations

import http.client
import json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any
from urllib.error import HTTPError, URLError
from urllib.parse import quote, unquote, urlsplit
from urllib.request import Request, urlopen

from streamer.frames import BadInput
from streamer.io.layouts.layout import ReadOptions
from streamer.io.source_file import ScanFile

SUFFIXES = (".nx", ".nxs", ".h5", ".hdf", ".hdf5")
DEPTH = 4  # run, stream, group, array
PAGE = 100  # entries of a run that are looked at on each level
ANSWER_S = 10.0
ANSWERS = {404: "there is no such run", 401: "it wants a key: set TILED_API_KEY", 403: "the key may not see it"}


def newest_scan(folder: Path, options: ReadOptions | None = None) -> Path:
    """The newest file in a folder that holds a scan. Raises BadInput when none does."""
    found = [path for path in folder.iterdir() if path.suffix in SUFFIXES and "+" not in path.stem]
    for path in sorted(found, key=lambda each: (each.stat().st_mtime_ns, each.name), reverse=True):
        try:
            with ScanFile.open(path, options):
                return path
        except BadInput:
            continue  # a tomogram, or a file of another program
    raise BadInput(f"{folder}: no file of this folder holds a scan ({', '.join(SUFFIXES)})")


def scan_of_run(tiled: str, run: str, api_key: str | None = None) -> Path:
    """The file that a run in Tiled refers to. ``tiled`` is the address of the server, with the path of a catalogue.

    Raises BadInput when the server does not answer or does not know the run, or when no file of it is a scan that this
    machine can read.
    """
    address = urlsplit(tiled)
    if address.scheme not in ("http", "https") or not address.netloc:
        raise BadInput(f"--tiled {tiled}: give the address of a server, for example http://127.0.0.1:8000")
    server = f"{address.scheme}://{address.netloc}/api/v1"
    path = "/".join(filter(None, (address.path.strip("/"), quote(run, safe=""))))
    headers = {"Accept": "application/json"} | ({"Authorization": f"Apikey {api_key}"} if api_key else {})
    files = dict.fromkeys(_files(server, path, headers))  # each once, in their order
    if not files:
        raise BadInput(f"run {run}: Tiled at {tiled} names no file of it")
    for file in files:
        try:
            with ScanFile.open(file):
                return file
        except BadInput as error:
            problem = error
    raise problem


def _files(server: str, path: str, headers: Mapping[str, str]) -> Iterator[Path]:
    entry = _ask(f"{server}/metadata/{path}?include_data_sources=true", headers)["data"]
    yield from _files_below(server, path, entry, headers, DEPTH)


def _files_below(
    server: str, path: str, entry: Mapping[str, Any], headers: Mapping[str, str], depth: int
) -> Iterator[Path]:
    for source in entry["attributes"].get("data_sources") or ():
        for asset in source.get("assets") or ():
            uri = urlsplit(asset.get("data_uri", ""))
            file = Path(unquote(uri.path))
            if uri.scheme == "file" and file.suffix in SUFFIXES:
                yield file
    if entry["attributes"].get("structure_family") in ("container", "composite") and depth:
        found = _ask(f"{server}/search/{path}?include_data_sources=true&page[limit]={PAGE}", headers)["data"]
        for child in found:
            yield from _files_below(server, f"{path}/{quote(child['id'], safe='')}", child, headers, depth - 1)


def _ask(url: str, headers: Mapping[str, str]) -> dict[str, Any]:
    try:
        with urlopen(Request(url, headers=dict(headers)), timeout=ANSWER_S) as reply:  # http or https, as checked
            answer = json.loads(reply.read())
    except HTTPError as error:
        error.close()
        text = ANSWERS.get(error.code, f"the server answers {error.code} {error.reason}")
        raise BadInput(f"{_plain(url)}: {text}") from error
    except (URLError, http.client.HTTPException, OSError, ValueError) as error:
        raise BadInput(f"{_plain(url)}: no Tiled server answers ({error})") from error
    if not isinstance(answer, dict) or "data" not in answer:
        raise BadInput(f"{_plain(url)}: the answer is none of Tiled's")
    return answer


def _plain(url: str) -> str:
    return url.partition("?")[0].replace("/api/v1/metadata/", "/").replace("/api/v1/search/", "/")


def find_scan(run: str, tiled: str | None, options: ReadOptions | None = None) -> tuple[Path, str]:
    """The file of a scan, and a note on how it was found. ``run`` is a file, a folder, or with ``tiled`` a uid."""
    if tiled is not None:
        path = scan_of_run(tiled, run, os.environ.get("TILED_API_KEY"))
        return path, f"run {run} is {path}"
    given = Path(run)
    if given.is_dir():
        path = newest_scan(given, options)
        return path, f"the newest scan of {given} is {path.name}"
    return given, ""
