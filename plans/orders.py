"""Orders of angles in which any part of a scan covers the half circle evenly, so that stopping early pays.

Pure functions. Golden angles suit a stage that stops at each of them. Interlaced turns suit one that turns on and on:
the detector is triggered at one constant step, which brings each turn between the angles of those before.
"""

from math import gcd

from streamer.frames import BadInput

GOLDEN = (5**0.5 - 1) / 2


def golden_angles(count: int, start_deg: float = 0.0, range_deg: float = 180.0) -> list[float]:
    """``count`` angles in golden-ratio order (T. Köhler, IEEE NSS 2004, 3961)."""
    return [start_deg + range_deg * ((k * GOLDEN) % 1.0) for k in range(count)]


def interlaced_count(projections: int, turns: int) -> int:
    """The number of projections, ``projections`` or a few more, that ``turns`` interlaced turns fill evenly.

    At a constant step of ``turns`` · range / count, every turn begins another part of a step later than the one before.
    That part is the fraction nearest to the golden ratio that leaves no angle measured twice. So all turns together
    have equal steps, and the first few fill each other's gaps; best are 2, 3, 5, 8 or 13 turns. This is the interlaced
    view sampling of K. A. Mohan et al., IEEE Trans. Comput. Imaging 1, 96 (2015), with golden in place of bit-reversed
    starts, for which the triggers would need a table of positions. Raises BadInput.
    """
    if turns < 1 or projections < 2 * turns:
        raise BadInput(f"{projections} projections in {turns} interlaced turns: at least two in each are needed")
    parts = [part for part in range(1, turns + 1) if gcd(part, turns) == 1]
    best = min(parts, key=lambda part: abs(part / turns - GOLDEN))
    return projections + (best - projections) % turns


def interlaced_angles(count: int, turns: int, start_deg: float = 0.0, range_deg: float = 180.0) -> list[float]:
    """Angles of ``count`` projections (see ``interlaced_count``) in ``turns`` turns of ``range_deg``, as they go on."""
    return [start_deg + range_deg * turns * k / count for k in range(count)]
