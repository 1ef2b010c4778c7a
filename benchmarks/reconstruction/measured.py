"""The measured scans: stripes of the sinogram and rings of the slice, before and after they were removed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import h5py
import numpy as np
from algotom.prep.removal import remove_all_stripe
from PIL import Image

from benchmarks.reconstruction.center import center_of
from benchmarks.reconstruction.pages import Panel, span, write_page
from streamer.core.arrays import Array
from streamer.core.backend.selection import Backend
from streamer.core.fourier.volume import reconstruct_rows_fourier
from streamer.core.preprocessing.stripes import remove_stripes
from streamer.core.quality.artefacts import ring_index, stripe_index
from streamer.frames import ScanSpec
from streamer.pipeline.layout.choice import choose_layout
from streamer.pipeline.layout.evidence import sinogram_evidence
from streamer.pipeline.layout.layout import Layout

AIR = 46_900.0  # counts of the neutron sinogram outside of the sample


def neutrons(data: Path) -> tuple[Array, Array, float]:
    """Attenuation (angles, rows, columns), angles (radian) and the range in degrees; the repeated last angle is off."""
    counts = np.asarray(Image.open(data / "neutron_sinogram_360.tif")).astype(np.float32)[:-1]
    attenuation = -np.log(np.maximum(counts, 1) / AIR).astype(np.float32)
    return attenuation[:, None], np.arange(len(counts)) * 2 * np.pi / len(counts), 360.0


def tooth(data: Path) -> tuple[Array, Array, float]:
    """As ``neutrons``, of the first row of the tooth."""
    with h5py.File(data / "tooth.h5") as file:
        frames, flats, darks = (file[f"exchange/{name}"][:, :1] for name in ("data", "data_white", "data_dark"))
        angles = np.deg2rad(file["exchange/theta"][:])
    dark = darks.mean(axis=0)
    share = (frames - dark) / np.maximum(flats.mean(axis=0) - dark, 1)
    return -np.log(np.maximum(share, 1e-4)).astype(np.float32), angles, 180.0


def measured_scans(backend: Backend, data: Path, pictures: Path | None) -> dict[str, Any]:
    """Stripe and ring index of each scan before and after ``remove_stripes``, and after algotom's removal."""
    result: dict[str, Any] = {}
    for name, read in (("neutron sinogram", neutrons), ("tooth", tooth)):
        try:
            attenuation, angles, range_deg = read(data)
        except OSError as error:
            result[name] = f"not measured: {error}"
            continue
        result[name] = _measure(backend, name, attenuation, angles, range_deg, pictures)
    return result


def _measure(
    backend: Backend, name: str, attenuation: Array, angles: Array, range_deg: float, pictures: Path | None
) -> dict[str, Any]:
    spec = ScanSpec("scan", "scan", 1, attenuation.shape[2], len(angles), range_deg=range_deg)
    clean = attenuation.copy()
    count = remove_stripes(clean, order=np.argsort(angles), threads=backend.threads)
    rival = np.ascontiguousarray(remove_all_stripe(attenuation[:, 0].copy(), 3.0, 81, 31), np.float32)[:, None]
    estimate = center_of(backend, clean, angles, range_deg)
    layout = choose_layout(spec, sinogram_evidence(spec, angles, clean, estimate))
    sinograms = {"before": attenuation, "after": clean, "after algotom": rival}
    slices = {key: _slice(backend, layout, lines, angles) for key, lines in sinograms.items()}
    middle = ((layout.width - 1) / 2,) * 2
    figures = {
        key: {
            "stripe_index": round(stripe_index(sinograms[key][:, 0]), 5),
            "ring_index": round(ring_index(slices[key], middle), 5),
        }
        for key in sinograms
    }
    if pictures is not None:
        low, high = span(slices["after"])
        lines_low, lines_high = span(attenuation)
        shown = [
            Panel(f"sinogram, {key}", lines[:, 0], lines_low, lines_high, axes=("column", "angle"), unit="attenuation")
            for key, lines in list(sinograms.items())[:2]
        ]
        shown += [Panel(f"slice, {key}", image, low, high) for key, image in slices.items()]
        texts = [f"{key}: stripe index {f['stripe_index']}, ring index {f['ring_index']}" for key, f in figures.items()]
        write_page(pictures / f"{name.replace(' ', '_')}.png", name, ["    ".join(texts), layout.reason], shown)
    return {
        **figures,
        "center_px": round(layout.detector_center, 2),
        "dead_columns": count.dead,
        "wide_stripes": count.large,
        "layout": layout.reason,
    }


def _slice(backend: Backend, layout: Layout, lines: Array, angles: Array) -> Array:
    return reconstruct_rows_fourier(
        backend, layout.place(lines), angles, layout.weights(angles), layout.center(), extend=layout.extend
    )[0]
