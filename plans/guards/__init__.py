"""Against the loss of the beam or of the daemon: a guard within a scan in flight, suspenders everywhere else."""
