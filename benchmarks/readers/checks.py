"""What each program says of a file, run by the Python of an environment that has it, without Streamer.

python checks.py CHECK FILE prints one line: JSON of what was found. ``__main__`` compares it with the truth.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

ENTRY = "entry"
VOXEL = 3, 5, 7
"""One value is compared, so that axes cannot be exchanged."""


def tool(name: str, *arguments: str) -> str:
    """What a command of the same environment prints."""
    command = [str(Path(sys.executable).parent / name), *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    return done.stdout + done.stderr


def nxvalidate(path: str) -> dict[str, Any]:
    return {"errors": int(re.findall(r"number of errors: (\d+)", tool("nxvalidate", path))[-1])}


def nxcheck(path: str) -> dict[str, Any]:
    return {"errors": int(re.findall(r"number of errors: (\d+)", tool("nxcheck", path))[-1])}


def punx(path: str) -> dict[str, Any]:
    return {"errors": int(re.findall(r"^ERROR +(\d+)", tool("punx", "validate", path), re.M)[-1])}


def h5py_plain(path: str, swmr: bool = False) -> dict[str, Any]:
    import h5py

    with h5py.File(path, swmr=swmr) as file:
        entry = file[ENTRY]
        data, detector = entry["data/data"], entry["instrument/detector"]
        return {
            "frames": len(detector["image_key"]),
            "missing": len(entry["streamer/missing_frames"]),
            "last_angle_deg": float(entry["sample/rotation_angle"][-1]),
            "mean": float(data[()].mean()),
            "voxel": float(data[VOXEL]),
        }


def h5py_swmr(path: str) -> dict[str, Any]:
    return h5py_plain(path, swmr=True)


def nxtomo(path: str) -> dict[str, Any]:
    from nxtomo.application.nxtomo import NXtomo

    scan = NXtomo().load(path, ENTRY)
    detector = scan.instrument.detector
    return {
        "frames": len(detector.image_key_control),
        "distance_m": float(detector.distance.to("m").magnitude),
        "pixel_size_m": float(detector.x_pixel_size.to("m").magnitude),
        "energy_kev": float(scan.instrument.beam.incident_energy.to("keV").magnitude),
        "last_angle_deg": float(scan.sample.rotation_angle[-1].to("deg").magnitude),
    }


def tomoscan(path: str) -> dict[str, Any]:
    from tomoscan.esrf.scan.nxtomoscan import NXtomoScan
    from tomoscan.validator import ReconstructionValidator

    scan = NXtomoScan(path, ENTRY)
    validator = ReconstructionValidator(scan, check_phase_retrieval=True, check_values=True)
    return {
        "valid": bool(validator.is_valid()) and "INVALID" not in validator.checkup(),
        "projections": len(scan.projections),
        "flats": len(scan.flats),
        "darks": len(scan.darks),
        "energy_kev": float(scan.energy),
        "distance_m": float(scan.sample_detector_distance),
    }


def tomoscan_volume(path: str) -> dict[str, Any]:
    from tomoscan.esrf.volume.hdf5volume import HDF5Volume

    volume = HDF5Volume(path, data_path="entry/reconstruction")
    volume.load()
    return {"mean": float(volume.data.mean()), "voxel": float(volume.data[VOXEL]), "pixel_size_m": volume.voxel_size[0]}


def nabu(path: str) -> dict[str, Any]:
    """``nabu-config``, ``nabu-validator``, and the analysis of the dataset with which a reconstruction begins."""
    from nabu.resources.dataset_analyzer import analyze_dataset

    configuration = Path(path).with_suffix(".conf")
    tool("nabu-config", "--dataset", path, "--output", str(configuration))
    scan = analyze_dataset(path)
    return {
        "config": path in configuration.read_text(),
        "valid": "No issue found" in tool("nabu-validator", path, ENTRY),
        "projections": int(scan.n_angles),
        "energy_kev": float(scan.energy),
        "distance_m": float(scan.distance),
        "pixel_size_m": float(scan.pixel_size) * 1e-6,
    }


def silx(path: str) -> dict[str, Any]:
    from silx.io import open as silx_open
    from silx.io.nxdata import get_default

    with silx_open(path) as file:
        plot = get_default(file)
        return {"valid": plot.is_valid, "mean": float(plot.signal[()].mean()), "voxel": float(plot.signal[VOXEL])}


def nexusformat(path: str) -> dict[str, Any]:
    from nexusformat.nexus import nxload

    values = nxload(path).plottable_data.nxsignal.nxdata
    return {"mean": float(values.mean()), "voxel": float(values[VOXEL])}


def httomo(path: str) -> dict[str, Any]:
    """The loader of a pipeline whose paths are all "auto"."""
    import h5py
    from httomo.loaders.standard_tomo_loader import StandardTomoLoader
    from httomo.transform_loader_params import parse_config, parse_preview
    from mpi4py import MPI

    paths = dict.fromkeys(("data_path", "image_key_path", "rotation_angles"), "auto")
    data, keys, angles, darks, flats = parse_config(Path(path), paths)
    with h5py.File(path) as file:
        shape = file[data.data_path].shape
    preview = parse_preview(None, shape)
    loader = StandardTomoLoader(data.in_file, data.data_path, keys, darks, flats, angles, preview, 0, MPI.COMM_WORLD)
    count = loader.global_shape[0]
    return {
        "projections": count,
        "flats": len(loader.flats),
        "darks": len(loader.darks),
        "projections_mean": float(loader.read_block(0, count).data.mean()),
    }


def ome_zarr(path: str) -> dict[str, Any]:
    from ome_zarr.io import parse_url
    from ome_zarr.reader import Reader

    (node,) = Reader(parse_url(path))()
    scale = node.metadata["coordinateTransformations"][0][0]["scale"][0]
    values = node.data[0].compute()
    found = {"mean": float(values.mean()), "voxel": float(values[VOXEL])}
    return {**found, "levels": len(node.data), "pixel_size_m": scale * 1e-6}


def ome_zarr_models(path: str) -> dict[str, Any]:
    import zarr
    from ome_zarr_models.v05.image import Image

    multiscale = Image.from_zarr(zarr.open_group(path, mode="r")).attributes.ome.multiscales[0]
    return {"levels": len(multiscale.datasets), "unit": multiscale.axes[0].unit}


def napari_ome_zarr(path: str) -> dict[str, Any]:
    from napari_ome_zarr import napari_get_reader

    ((levels, options, kind),) = napari_get_reader(path)(path)
    values = levels[0].compute()
    return {
        "kind": kind,
        "levels": len(levels),
        "mean": float(values.mean()),
        "voxel": float(values[VOXEL]),
        "pixel_size_m": options["scale"][0] * 1e-6,
    }


def imagej_rules(path: str) -> dict[str, Any]:
    """What Fiji's own reader goes by (ImageJ's TiffDecoder): the description, the resolution, strips without
    compression, and for uint16 the straight line of the calibration.
    """
    import tifffile

    means, voxel, slices = [], 0.0, sorted(Path(path).glob("*.tif"))
    for number, each in enumerate(slices):
        with tifffile.TiffFile(each) as file:
            page, told = file.pages.first, file.imagej_metadata
            across = page.tags["XResolution"].value
            values = told.get("c0", 0) + told.get("c1", 1) * page.asarray().astype(float)
            means.append(float(values.mean()))
            if number == VOXEL[0]:
                voxel = float(values[VOXEL[1:]])
            assert page.compression == 1
            assert page.tags["ImageDescription"].value.startswith("ImageJ=")
    size = across[1] / across[0] * {"um": 1e-6}[told["unit"]]
    return {"slices": len(slices), "mean": sum(means) / len(means), "voxel": voxel, "pixel_size_m": size}


def tifffile_ome(path: str) -> dict[str, Any]:
    import tifffile

    with tifffile.TiffFile(path) as file:
        size = re.search(r'PhysicalSizeZ="([\d.]+)" PhysicalSizeZUnit="µm"', file.ome_metadata)
        values = file.asarray()
    return {"mean": float(values.mean()), "voxel": float(values[VOXEL]), "pixel_size_m": float(size[1]) * 1e-6}


if __name__ == "__main__":
    print(json.dumps(globals()[sys.argv[1]](sys.argv[2])))
