"""Devices over EPICS Channel Access. Needs pyepics, the extra ``epics``.

The camera is ``cameras.area_detector``. Motors may be plain ``ophyd.EpicsMotor``; ``motor.Motor`` is one that says why
it did not move. Constructors connect nothing and wait for nothing.
"""
