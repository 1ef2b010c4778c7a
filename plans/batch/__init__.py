"""Batches: many samples without anybody watching, from a sheet, with a journal."""

from .plan import BatchStation, tomo_batch
from .policy import Choice, Policy
from .samples import Attempt, BatchEvent, Sample, SampleOutcome
from .session import sheet_batch

__all__ = [
    "Attempt",
    "BatchEvent",
    "BatchStation",
    "Choice",
    "Policy",
    "Sample",
    "SampleOutcome",
    "sheet_batch",
    "tomo_batch",
]
