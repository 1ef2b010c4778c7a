"""Shards of one scan: processes that each hold some rows of the detector, and the scout that decides for all of them.

The scout is the daemon that users know. It sees a few rows in the middle of the detector, finds the axis in them,
judges the scan, and tells the shards the geometry. The cutter takes the detector's frames and gives each shard its
rows. An engine starts the processes and tells of their death; frames never go through it.
"""
