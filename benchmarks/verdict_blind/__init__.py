"""A blind examination of the quality verdict: scans written from the list of faults alone, with their truth.

The scans are drawn without knowledge of how the verdict is measured, and independently of ``streamer.sim``:
analytic bodies in 3-D, moved before they are projected. What each verdict should be is in ``kinds``, fixed
before the first run. ``python -m benchmarks.verdict_blind --help`` explains the tables.
"""
