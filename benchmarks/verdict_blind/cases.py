"""One case of the examination: a good scan, or a spoiled one beside its twin without the fault."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np

from benchmarks.verdict_blind.damage import deviation, true_resolution
from benchmarks.verdict_blind.exposure import expose
from benchmarks.verdict_blind.kinds import COUNTS, KINDS, Kind
from benchmarks.verdict_blind.phantoms import FAMILIES
from benchmarks.verdict_blind.product import Opinion, verdict_of
from benchmarks.verdict_blind.scan import Draft, draw, strain

GOOD = "good"
HARD_SHARE, HARD_TWINS = 0.7, 0.3
"""How many of the good scans, and of the spoiled ones with their twins, are hard."""

WORST = 99.0


@dataclass
class Outcome:
    """What the product said of one scan, and what it should have said.

    ``growth`` is the ratio of the error to the twin's (None for good scans, and where a tomogram is lacking); ``right``
    the decisions that are right. ``center_error`` is in pixels, ``resolution`` and ``true_resolution`` are periods.
    """

    case: int
    kind: str
    family: str
    order: str
    hardships: list[str]
    decision: str
    reasons: list[str]
    size: float = 0.0
    growth: float | None = None
    counts: bool = False
    right: list[str] = field(default_factory=lambda: ["ENOUGH"])
    axis_known: bool = True
    center_error: float | None = None
    confidence: float = 0.0
    resolution: float | None = None
    true_resolution: float | None = None
    quality: dict[str, Any] = field(default_factory=dict)

    @property
    def caught(self) -> bool:
        return self.decision != "ENOUGH"

    def line(self) -> str:
        growth = "" if self.growth is None else f", error × {self.growth:.2f}"
        what = self.kind if self.kind == GOOD else f"{self.kind} {self.size:.3g}{growth}"
        return f"{self.case}: {what}, {self.family}, {self.order}: {self.decision}, {'; '.join(self.reasons)}"


@dataclass(frozen=True)
class Case:
    """What case ``number`` of an examination is; ``kind`` None is a good scan."""

    number: int
    seed: int
    family: str
    hard: bool
    kind: Kind | None
    size: float

    @classmethod
    def of(cls, examination: int, number: int) -> Case:
        """Every third scan is good; the kinds take turns in the others."""
        seed = int(np.random.SeedSequence([examination, number]).generate_state(1)[0])
        rng = np.random.default_rng([seed, 4])
        kind = KINDS[(number - number // 3 - 1) % len(KINDS)] if number % 3 else None
        hard = bool(rng.random() < (HARD_SHARE if kind is None else HARD_TWINS))
        return cls(number, seed, str(rng.choice(list(FAMILIES))), hard, kind, kind.size(rng) if kind else 0.0)

    def drafts(self) -> tuple[Draft, Draft | None]:
        """The good scan, and the spoiled one of the same seed."""
        order = None
        if self.kind and self.kind.half_turn and draw(self.seed, self.family).order == "full":
            order = "half"
        good = draw(self.seed, self.family, order)
        if self.hard:
            strain(good)
        if self.kind is None:
            return good, None
        rng = np.random.default_rng([self.seed, 5])
        plan = self.kind.plan(self.size, rng) if self.kind.plan else {}
        spoiled = draw(self.seed, self.family, order, **plan)
        if self.hard:
            strain(spoiled)
        self.kind.edit(spoiled, rng, self.size)
        return good, spoiled

    def examine(self) -> list[Outcome]:
        """The outcome of the good scan, and that of the spoiled one where there is one."""
        good, spoiled = self.drafts()
        outcome, errors = _judged(self, good)
        if spoiled is None or self.kind is None:
            return [outcome]
        bad, worse = _judged(self, spoiled)
        bad.kind, bad.size, bad.axis_known = self.kind.name, self.size, not self.kind.moves_axis
        if errors and worse:
            bad.growth = min(max(w / e for w, e in zip(worse, errors, strict=True)), WORST)
        bad.counts = self.size >= self.kind.always or (bad.growth is not None and bad.growth > COUNTS)
        bad.right = sorted(self.kind.right if bad.counts else self.kind.right | {"ENOUGH"})
        return [outcome, bad]


def _judged(case: Case, draft: Draft) -> tuple[Outcome, tuple[float, float] | None]:
    scan = expose(draft)
    try:
        opinion = verdict_of(scan)
    except Exception as error:  # that the product fails is an outcome; the other scans are examined all the same
        opinion = Opinion("FAILED", (f"{type(error).__name__}: {error}",), {}, None)
    quality = opinion.quality
    center = quality.get("center_px")
    outcome = Outcome(
        case.number,
        GOOD,
        case.family,
        draft.order,
        draft.hardships,
        opinion.decision,
        list(opinion.reasons),
        center_error=None if center is None else center - draft.center,
        confidence=quality.get("center_confidence", 0.0),
        resolution=quality.get("resolution_px"),
        quality=quality,
    )
    if opinion.tomogram is None:
        return outcome, None
    errors, pose = deviation(draft, opinion.tomogram)
    if np.isfinite(errors[0]):
        outcome.true_resolution = true_resolution(draft, opinion.tomogram, pose)
    return outcome, errors


def examine(examination: int, number: int) -> list[Outcome]:
    return Case.of(examination, number).examine()


def in_detail(examination: int, number: int) -> list[dict[str, Any]]:
    """Everything about one case, for whoever wants to see why."""
    return [asdict(outcome) for outcome in examine(examination, number)]
