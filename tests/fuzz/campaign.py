"""Many mutated messages for every decoder in turn."""

from __future__ import annotations

import time
from collections import Counter
from dataclasses import dataclass, field
from random import Random

from tests.fuzz.mutations import corpus, mutated
from tests.fuzz.targets import TARGETS


@dataclass
class Outcome:
    """Messages by target, and the first one that broke a decoder: target, bytes, error."""

    taken: Counter[str] = field(default_factory=Counter)
    refused: Counter[str] = field(default_factory=Counter)
    broken: tuple[str, bytes, Exception] | None = None
    seconds: float = 0.0


def campaign(messages: int, seed: int) -> Outcome:
    """Feed ``messages`` messages; stops at the first that breaks a decoder."""
    random, stored, outcome, began = Random(seed), corpus(), Outcome(), time.perf_counter()
    names = sorted(TARGETS)
    for number in range(messages):
        name = names[number % len(names)]
        data = mutated(random, stored, name)
        try:
            taken = TARGETS[name](data)
        except Exception as error:
            outcome.broken = (name, data, error)
            break
        (outcome.taken if taken else outcome.refused)[name] += 1
    outcome.seconds = time.perf_counter() - began
    return outcome
