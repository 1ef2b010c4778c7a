"""Beam, detector and stage of the virtual beamline."""
