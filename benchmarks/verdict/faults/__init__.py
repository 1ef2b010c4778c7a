"""Kinds of fault, each in several sizes, and which verdicts are right. Laid down before any of them was run."""

from benchmarks.verdict.faults import angles, beam, detector, sample
from benchmarks.verdict.faults.kind import FAULTS, Fault

__all__ = ["FAULTS", "Fault", "angles", "beam", "detector", "sample"]
