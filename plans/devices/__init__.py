"""Ophyd devices of a tomography beamline and of the Streamer daemon.

Each file holds a base, which knows Bluesky, and the simulated hardware, which knows the virtual beamline. Hardware of
another kind has a file of its own, as ``eiger``. Constructors open nothing: a device that is built while its server is
down works as soon as the server is up.
"""
