"""The kernels of ``projection_check``: what the rows of a raw frame show, in one pass over each."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from streamer.core.jit import kernel

Array = NDArray[Any]

SPIKE, SPIKE_SIGMAS = 1.5, 8.0
"""A zinger is so much brighter than its neighbours, and by more than so many standard deviations of their noise."""

_MIX = np.uint64(0x9E3779B97F4A7C15)


@kernel(inline=True)
def _values_of(row: Array, values: Array) -> None:
    for c in range(values.size):
        values[c] = np.float64(row[c])


@kernel()
def _read(raw: Array, kind: int, values: Array) -> None:
    """values (columns,) float64 of a row of bytes (uint8), see PIXEL_KINDS."""
    if kind == 1:
        _values_of(raw, values)
    elif kind == 2:
        _values_of(raw.view(np.uint16), values)
    elif kind == 4:
        _values_of(raw.view(np.uint32), values)
    else:
        _values_of(raw.view(np.float32), values)


@kernel()
def _mark_of(words: Array) -> Any:
    """A number of 64 bits by which rows are told apart; those that differ in one word have different ones."""
    # Four products in turn: one alone waits for itself.
    a, b, c, d = _MIX, _MIX ^ np.uint64(1), _MIX ^ np.uint64(2), _MIX ^ np.uint64(3)
    for k in range(0, words.size - 3, 4):
        a = (a ^ np.uint64(words[k])) * _MIX
        b = (b ^ np.uint64(words[k + 1])) * _MIX
        c = (c ^ np.uint64(words[k + 2])) * _MIX
        d = (d ^ np.uint64(words[k + 3])) * _MIX
    for k in range(words.size - words.size % 4, words.size):
        a = (a ^ np.uint64(words[k])) * _MIX
    for part in (b, c, d):
        a = ((a ^ (a >> np.uint64(29))) * _MIX) ^ part
    return a ^ (a >> np.uint64(32))


@kernel()
def _mark_row(raw: Array, kind: int) -> Any:
    """``_mark_of`` a row of bytes (uint8)."""
    if kind == 1:
        return _mark_of(raw)
    if kind == 2:
        return _mark_of(raw.view(np.uint16))
    return _mark_of(raw.view(np.uint32))


@kernel()
def _mend(values: Array) -> int:
    """Set what is no number to 0, in a row (columns,); returns how many there were."""
    broken = 0
    for c in range(values.size):
        sound = abs(values[c]) < np.inf
        broken += not sound
        values[c] = values[c] if sound else 0.0
    return broken


# Loops of few arrays each: of more than that the compiler does not find out that they do not overlap, and takes one
# pixel at a time.
@kernel()
def _cut_off(values: Array, ceiling: Array) -> None:
    for c in range(values.size):
        values[c] = min(values[c], ceiling[c])


@kernel()
def _subtract(values: Array, dark: Array, net: Array) -> None:
    for c in range(net.size):
        net[c] = values[c] - dark[c]


@kernel()
def _find_largest(values: Array, hidden: Array, most: Array, equal: Array) -> None:
    """most (columns,) is the largest value + hidden in each column so far, and equal how often it came."""
    for c in range(values.size):
        value, top = values[c] + hidden[c], most[c]
        count = equal[c] + 1.0 if value == top else equal[c]
        equal[c] = 1.0 if value > top else count
        most[c] = value if value > top else top


@kernel()
def _light_of(net: Array, known: Array, parts: Array) -> float:
    """Sum of a row (columns,) where ``known`` is 1 and not 0; ``parts`` is scratch, of the same size."""
    size = net.size
    for c in range(size):
        parts[c] = net[c] * known[c]
    # Half is added to half: a sum of one number after the other waits for each of its additions.
    while size > 1:
        half = size // 2
        below, above = parts[:half], parts[size - half : size]
        for c in range(half):
            below[c] += above[c]
        size -= half
    return float(parts[0])


@kernel()
def _add_light(net: Array, known: Array, lit: Array) -> None:
    """Add a row (columns,), where ``known`` is 1 and not 0, to lit (columns,)."""
    for c in range(lit.size):
        lit[c] += net[c] * known[c]


@kernel()
def _peaks(net: Array, flat: Array) -> int:
    """Pixels of a row (columns,), not those at its ends, that outshine their neighbours in it."""
    found = 0
    for c in range(1, net.size - 1):
        here, before, after = net[c], net[c - 1], net[c + 1]
        found += (here > 0.2 * flat[c]) & (here > SPIKE * (before if before > after else after))
    return found


@kernel()
def _spikes(net: Array, above: Array, below: Array, dark: Array, flat: Array, noise: float) -> int:
    """Pixels of a row (columns,) that outshine their four neighbours, and by more than the noise at their level.

    ``above`` and ``below`` are the raw rows next to it, empty where there is none.
    """
    found = 0
    for c in range(1, net.size - 1):
        here, level = net[c], max(net[c - 1], net[c + 1])
        if here > 0.2 * flat[c] and here > SPIKE * level:
            level = max(level, 0.0)
            if above.size:
                level = max(level, above[c] - dark[c])
            if below.size:
                level = max(level, below[c] - dark[c])
            found += here > SPIKE * level and here - level > SPIKE_SIGMAS * noise * np.sqrt(level * flat[c])
    return found


@kernel()
def look_at(
    raw: Array, kind: int, every: int, dark: Array, flat: Array, known: Array, hidden: Array, ceiling: Array,
    beam: Array, faint: float, noise: float, margin: int, compared: Array, found: Array, marks: Array,
) -> None:  # fmt: skip
    """Look at each ``every``-th row of raw (frames, rows, bytes of a row) uint8 of a ``kind`` of PIXEL_KINDS.

    found (frames, 8): net light, rows without light, pixels that are no number, the largest pixel, how many equal it,
    spikes, and the net light of ``margin`` columns at the left and right edge. Of the same rows (rows, columns) are
    dark, flat, ``known`` (1 where the flat has light, else 0), ``hidden`` (-inf where the largest pixel is not looked
    for, else 0), ``ceiling`` (where pixels are cut off; it may be empty), and ``beam`` (rows,), the light of the flat.
    marks (frames, rows) uint64 are those of the rows ``compared``.
    """
    rows, columns = dark.shape
    values, net, nothing = np.empty(columns), np.empty(columns), np.empty(0)
    above, below, parts = np.empty(columns), np.empty(columns), np.empty(columns)
    most, equal, lit = np.empty(columns), np.empty(columns), np.empty(columns)
    for f in range(raw.shape[0]):
        most[:], equal[:] = -np.inf, 0.0
        light, dim, broken, spikes = 0.0, 0, 0, 0
        lit[:] = 0.0
        for r in range(rows):
            at = r * every
            _read(raw[f, at], kind, values)
            if kind == 8:
                broken += _mend(values)
            if ceiling.size:
                _cut_off(values, ceiling[r])
            _subtract(values, dark[r], net)
            _find_largest(values, hidden[r], most, equal)
            row_light = _light_of(net, known[r], parts)
            light += row_light
            _add_light(net, known[r], lit)
            dim += beam[r] > 0 and row_light < faint * beam[r]
            if _peaks(net, flat[r]) > 0:
                over, under = nothing, nothing
                if at > 0:
                    _read(raw[f, at - 1], kind, above)
                    over = above
                if at + 1 < raw.shape[1]:
                    _read(raw[f, at + 1], kind, below)
                    under = below
                spikes += _spikes(net, over, under, dark[r], flat[r], noise)
        top, at_top = -np.inf, 0.0
        for c in range(columns):
            if most[c] > top:
                top, at_top = most[c], 0.0
            if most[c] == top and top > -np.inf:
                at_top += equal[c]
        found[f, 0], found[f, 1], found[f, 2] = light, dim, broken
        found[f, 3], found[f, 4], found[f, 5] = top, at_top, spikes
        found[f, 6], found[f, 7] = 0.0, 0.0
        for c in range(margin):
            found[f, 6] += lit[c]
            found[f, 7] += lit[columns - 1 - c]
        for k in range(compared.size):
            marks[f, k] = _mark_row(raw[f, compared[k]], kind)
