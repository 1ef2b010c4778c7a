"""A daemon and a virtual beamline as processes, and scans between them: for the demo, the benches and tests."""
