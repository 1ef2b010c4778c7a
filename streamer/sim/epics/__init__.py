"""Records of EPICS in front of the virtual beamline, over Channel Access. Needs caproto, the extra ``epics``.

The IOC is a client of the virtual beamline's control socket, in a process of its own: the physics, the interlocks and
the claims stay in one place for both ways of control, and each of the two processes may die without the other, as at a
real beamline.
"""
