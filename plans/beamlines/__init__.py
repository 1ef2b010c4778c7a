"""Files ``beamline.toml`` of the virtual beamline: over its own socket, over EPICS, and with devices of ophyd-async."""
