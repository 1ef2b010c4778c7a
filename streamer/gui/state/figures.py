"""Numbers in words. No Qt."""

from __future__ import annotations

LARGEST_WHOLE = 1e9
"""Below it a float of 32 bits is written without an exponent."""

CENTRE_DECIMALS = 2
"""Of the centre of rotation in pixels."""


def number_text(value: float, digits: int = 4, decimals: int | None = None) -> str:
    """A number to so many significant digits, or to so many decimals; no digit before the point is ever dropped."""
    if decimals is None and 10 ** (digits - 1) <= abs(value) < LARGEST_WHOLE:
        decimals = 0
    return (f"{value:.{digits}g}" if decimals is None else f"{value:.{decimals}f}").replace("-", "−")
