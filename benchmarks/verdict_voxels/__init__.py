"""Is Streamer's verdict right? A third, independent examination: bodies of voxels and a projector of its own.

It was written from the list of kinds of fault, without reading the code of the checks. Nothing of Streamer is used to
make the scans or to measure the damage: projector, filtered backprojection, noise and fields are NumPy and SciPy. No
limit of the product is set on it.

Each specimen gives one good scan, one hard but good scan, and several spoiled ones with another fault each. The good
scan is the twin of the spoiled ones: same body, same geometry, same quanta wherever the fault leaves a frame alone. The
damage is the ratio of the rms error of the spoiled scan's tomogram to that of its twin, against the body itself at its
best rigid pose; once for the product's tomogram, which decides, and once for a plain filtered backprojection at the
announced angles and the true axis.

How to read the tables:
  caught          faults with a damage above 1.1 (or that count always) whose verdict is not ENOUGH or CONTINUE
  harmless        alarms on faults whose damage is below 1.1
  false alarms    good and hard scans whose verdict is not ENOUGH or CONTINUE
  wanted          the same when each user wants 1.15 times the resolution of his good scan
  ×1.5 missed     scans with a damage above 1.5 that are called ENOUGH, as a share of all spoiled ones
"""
