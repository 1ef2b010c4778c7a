"""The cells of a notebook: open a scan, look at it, reconstruct a row.

Or: python examples/notebook.py SCAN.h5 PICTURE.png
"""

# %%
import sys

import matplotlib.pyplot as plt

import streamer

FILE, PICTURE = sys.argv[1:] if len(sys.argv) == 3 else ("scan.h5", "scan.png")

# %% What is in the file
scan = streamer.open(FILE)
print(scan.spec.sample, scan.shape, f"{scan.angles_deg[0]:.1f}° to {scan.angles_deg[-1]:.1f}°")

# %% One slice, to see whether the centre is right
middle = scan.shape[1] // 2
result = scan.reconstruct(rows=slice(middle, middle + 1))
print(result.verdict)
plt.imshow(result.volume[0], cmap="gray")
plt.colorbar(label=f"attenuation, {result.unit}")
plt.title(f"{scan.spec.sample}, row {middle}, centre {result.center:.2f}")
plt.savefig(PICTURE)

# %% The same half a pixel beside it: edges open into half moons
beside = scan.reconstruct(rows=slice(middle, middle + 1), center=result.center + 0.5)
print(f"largest change {abs(beside.volume - result.volume).max():.3g} {result.unit}")
scan.close()
