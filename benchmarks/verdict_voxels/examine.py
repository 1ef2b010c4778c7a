"""Take scans, give them to the product, and keep what it said beside what is true."""

from __future__ import annotations

import sys
import time
from collections.abc import Collection
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass, field
from functools import partial
from multiprocessing import get_context
from typing import Any

import numpy as np

import streamer
from benchmarks.verdict_voxels import beam_faults, camera_faults, sample_faults
from benchmarks.verdict_voxels.damage import EVERY, Truth, fitted, plain
from benchmarks.verdict_voxels.kinds import KINDS
from benchmarks.verdict_voxels.setup import Recording, Setup, expose
from benchmarks.verdict_voxels.specimens import HARD, Size, specimen
from streamer.frames import BadInput, Decision, ReasonCode

FAULTS = (beam_faults, camera_faults, sample_faults)  # importing them fills KINDS
SPOILED = 4
"""Spoiled scans of each specimen; with a good and a hard one it gives six."""
PER_SPECIMEN = SPOILED + 2
FINE = (Decision.ENOUGH, Decision.CONTINUE)


@dataclass
class Finding:
    """One scan: what it is, what the product said, and what is true. Errors in 1/pixel, lengths in pixels."""

    specimen: int
    family: str
    order: str
    kind: str  # good, hard: …, or the kind of fault
    size: int
    amount: float
    plain_error: float
    plain_posed: float | None  # at the best pose
    verdict: str = ""
    codes: list[str] = field(default_factory=list)
    text: str = ""
    error: float | None = None  # of the product's tomogram; None: it made none
    posed: float | None = None
    center_error: float | None = None
    confidence: float = 0.0
    resolution: float | None = None
    true_resolution: float | None = None
    seconds: float = 0.0
    damage: float | None = None  # over the good scan; at the best pose where the kind moves
    plain_damage: float | None = None
    wanted: float | None = None  # resolution that this user wants

    @property
    def alarm(self) -> bool:
        """Anything but ENOUGH and CONTINUE."""
        return self.verdict not in FINE

    @property
    def alarm_wanted(self) -> bool:
        """What it would be with ``limits.max_resolution_px``, which replaces the rule of too few projections."""
        deciding = [ReasonCode(code) for code in self.codes]
        other = any(code.decision not in (None, *FINE) and code is not ReasonCode.FEW_PROJECTIONS for code in deciding)
        late = self.wanted is not None and self.resolution is not None and self.resolution > self.wanted
        return (other if self.codes else self.alarm) or late

    @property
    def spoiled(self) -> bool:
        return self.kind in KINDS

    def counts(self, limit: float = 1.1) -> bool:
        """The fault raised the error by more than the limit, or always asks for an alarm."""
        if not self.spoiled:
            return False
        worst = self.plain_damage if self.damage is None else self.damage
        return KINDS[self.kind].always or (worst or 0.0) > limit

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


def ask(recording: Recording) -> tuple[streamer.Result | None, str, list[str], str]:
    """The product's result, verdict, codes and sentences; without a result where it refused the scan or crashed."""
    try:
        result = streamer.reconstruct(
            recording.projections, recording.angles_deg, flats=recording.flats, darks=recording.darks, threads=1
        )
    except BadInput as refusal:
        return None, "refused", [], str(refusal)
    except Exception as crash:  # the other scans go on
        return None, "crashed", [], repr(crash)
    reasons = result.verdict.reasons
    codes = [str(reason.code) for reason in reasons]
    return result, str(result.verdict.decision), codes, "; ".join(reason.text for reason in reasons)


def judge(setup: Setup, recording: Recording, number: int, name: str, size: int, amount: float, posed: bool) -> Finding:
    """What the product says of a recording, and what is true; ``posed``: take the errors at the best pose as well."""
    truth, plainly = Truth(setup), plain(recording, setup.axis)
    finding = Finding(
        specimen=number,
        family=setup.family,
        order=setup.order,
        kind=name,
        size=size,
        amount=amount,
        plain_error=truth.error(plainly),
        plain_posed=truth.posed_error(plainly) if posed else None,
    )
    began = time.perf_counter()
    result, finding.verdict, finding.codes, finding.text = ask(recording)
    finding.seconds = time.perf_counter() - began
    if result is not None:
        slices, quality = fitted(result.volume[::EVERY], setup.columns), result.quality
        finding.error = truth.error(slices)
        finding.posed = truth.posed_error(slices) if posed else None
        finding.center_error = None if quality.center_px is None else quality.center_px - setup.axis
        finding.confidence, finding.resolution = quality.center_confidence, quality.resolution_px
        finding.true_resolution = truth.resolution(slices)
    return finding


def plan(seed: int, specimens: int, only: Collection[str] = ()) -> list[list[tuple[str, int]]]:
    """Kinds and sizes for each specimen: all pairs, or those of ``only`` some, in random order, again and again."""
    pairs = [(name, size) for name in sorted(only or KINDS) for size in range(len(KINDS[name].sizes))]
    rng = np.random.default_rng([seed, 1_000_000])
    drawn: list[tuple[str, int]] = []
    while len(drawn) < specimens * SPOILED:
        drawn.extend(pairs[i] for i in rng.permutation(len(pairs)))
    return [drawn[i * SPOILED : (i + 1) * SPOILED] for i in range(specimens)]


def examine(seed: int, number: int, faults: list[tuple[str, int]], size: Size = (96, 144)) -> list[Finding]:
    """All scans of one specimen: the good one, a hard one, the spoiled ones."""
    base = specimen(seed, number, size)
    recording, lines = expose(base)
    base.known = base.pose.table(), lines
    good = judge(base, recording, number, "good", 0, 0.0, True)
    good.damage = good.plain_damage = 1.0
    good.wanted = 1.15 * good.resolution if good.resolution else None
    findings = [good]
    hard = list(HARD)[(number + number // len(HARD)) % len(HARD)]
    setup = base.twin()
    HARD[hard](setup, np.random.default_rng([seed, number, 1]))
    found = judge(setup, expose(setup)[0], number, f"hard: {hard}", 0, 0.0, False)
    findings.append(_compared(found, good))
    for name, which in faults:
        kind = KINDS[name]
        setup = base.twin()
        kind.apply(setup, kind.sizes[which], np.random.default_rng([seed, number, 2, which, *name.encode()]))
        found = judge(setup, expose(setup)[0], number, name, which, kind.sizes[which], kind.moves)
        found.wanted = good.wanted
        findings.append(_compared(found, good))
    return findings


def run(seed: int, specimens: int, workers: int, only: Collection[str] = ()) -> list[Finding]:
    """Findings of all specimens in order, whatever the number of workers; progress goes to stderr."""
    began = time.monotonic()
    findings: list[Finding] = []
    faults = plan(seed, specimens, only)
    with ProcessPoolExecutor(workers, get_context("spawn")) as pool:
        for done, found in enumerate(pool.map(partial(examine, seed), range(specimens), faults), 1):
            findings.extend(found)
            took = time.monotonic() - began
            left = took / done * (specimens - done)
            print(f"\r{len(findings)} scans in {took:.0f} s, {left:.0f} s to go ", end="", file=sys.stderr, flush=True)
    print(file=sys.stderr)
    return findings


def _compared(found: Finding, good: Finding) -> Finding:
    """Fill in the damage, at the best pose where that was searched."""
    if found.plain_posed is None or good.plain_posed is None:
        ours, theirs = found.error, good.error
        found.plain_damage = found.plain_error / good.plain_error
    else:
        ours, theirs = found.posed, good.posed
        found.plain_damage = found.plain_posed / good.plain_posed
    found.damage = None if ours is None or theirs is None else ours / theirs
    return found
