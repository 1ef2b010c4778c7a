"""Open a recorded scan, look at it, reconstruct it, and write the slices.

python examples/reconstruct_file.py SCAN.h5 OUT.tif|OUT.h5

SCAN.h5 is NXtomo or DXchange. OUT.h5 is NXtomoproc with the volume at /entry/data/data; OUT.tif holds
one float32 page for each detector row and needs ``pip install tifffile``.
"""

import sys
from pathlib import Path

import streamer


def main(scan_file: str, out: Path) -> None:
    with streamer.open(scan_file) as scan:
        projections, rows, columns = scan.shape
        print(f"{scan.spec.sample}: {projections} projections of {rows} × {columns} pixels")
        print(f"angles from {scan.angles_deg[0]:g}° to {scan.angles_deg[-1]:g}°")
        middle = rows // 2
        preview = scan.reconstruct(rows=slice(middle, middle + 1))  # one slice, to see the centre
        result = scan.reconstruct(center=preview.center, stripes="full")
    print(f"centre of rotation {result.center:.2f}")
    print(result.verdict)
    if out.suffix in (".tif", ".tiff"):
        import tifffile

        tifffile.imwrite(out, result.volume, imagej=True)
    else:
        result.save(out)
    print(f"{out}: {result.volume.shape} in {result.unit}")


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
