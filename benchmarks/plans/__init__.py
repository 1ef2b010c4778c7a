"""Plans that take scans of the virtual beamline with a real daemon, measured against the truth."""
