"""Can the verdict be trusted? Scans with and without faults, whose right verdict is known beforehand."""
