"""Plans for special scans: time-resolved, wide, magnified, aligned, adaptive."""
