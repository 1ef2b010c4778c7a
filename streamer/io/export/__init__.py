"""Tomograms and raw scans in the formats of other programs, written block by block: a volume may exceed the memory."""
