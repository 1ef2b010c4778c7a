"""Reproducible random numbers that need no generator object: a hash of integers."""

from __future__ import annotations

import math

_MASK = (1 << 64) - 1


def mix(*numbers: int) -> int:
    """64 well-mixed bits of some integers (splitmix64, chained)."""
    state = 0
    for number in numbers:
        z = ((state ^ (number & _MASK)) + 0x9E3779B97F4A7C15) & _MASK
        z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & _MASK
        z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & _MASK
        state = z ^ (z >> 31)
    return state


def gauss(*numbers: int) -> float:
    """A standard normal deviate of some integers (Box and Muller)."""
    bits = mix(*numbers)
    radius = math.sqrt(-2.0 * math.log(((bits >> 32) + 0.5) / 2.0**32))
    return radius * math.cos(2.0 * math.pi * (bits & 0xFFFFFFFF) / 2.0**32)
