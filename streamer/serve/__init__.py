"""Scans in Tiled while they run: raw frames, planes and tomogram of a daemon's data folder, by a process of its own."""
