"""Ophyd devices of a tomography beamline and of the Streamer daemon.

Each file holds a base, which knows Bluesky, and beside it the simulated hardware, which knows the virtual beamline.
Hardware of another kind (EPICS, Tango) goes beside the simulated one. Constructors open nothing: a device that is
built while its server is down works as soon as the server is up.
"""
