"""Exact line integrals and voxels of bodies made of convex parts; both compiled.

A part is the set of points q with ``|A (q - c)| <= 1``, ``|s1·(q - c)| <= 1`` and ``|s2·(q - c)| <= 1``: an ellipsoid,
a cylinder (A of rank 2, s1 along its axis), or a box (A of rank 1). It is a row of ``PART`` numbers: value, c (3),
A (9), s1 (3), s2 (3), half extents of its bounding box (3).
"""

from __future__ import annotations

import numpy as np
from numba import njit

PART = 22
FAR = 1e9


@njit(cache=True, nogil=True)
def _clip(low, high, start, slope):  # type: ignore[no-untyped-def]
    """The part of low … high where |start + t·slope| <= 1."""
    if abs(slope) < 1e-12:
        return (low, high) if abs(start) <= 1.0 else (0.0, 0.0)
    first, second = (-1.0 - start) / slope, (1.0 - start) / slope
    return max(low, min(first, second)), min(high, max(first, second))


@njit(cache=True, nogil=True)
def project(parts, inverse, shift, weight, angles, center, rows, columns, sub):  # type: ignore[no-untyped-def]
    """Parallel projections (n, rows, columns) float32 of a moving body.

    ``parts`` (m, PART). At projection i the point q of the body is at ``M q + shift[i]`` of the rotating sample frame,
    ``inverse`` (n, 3, 3) holding the inverses of M; its density is multiplied by ``weight`` (n,). ``angles`` (n,) in
    radian: column u sees the rays with ``x cos θ + y sin θ = u - center``, row v those at ``z = v - (rows - 1) / 2``.
    Each pixel is the mean of ``sub`` × ``sub`` rays.
    """
    out = np.zeros((len(angles), rows, columns), np.float32)
    middle = (rows - 1) / 2
    for i in range(len(angles)):
        cos, sin = np.cos(angles[i]), np.sin(angles[i])
        inv = inverse[i]
        forward = np.ascontiguousarray(np.linalg.inv(inv))
        across, along, up = inv @ np.array([cos, sin, 0.0]), inv @ np.array([-sin, cos, 0.0]), inv[:, 2].copy()
        origin = -(inv @ shift[i])
        for part in parts:
            place = forward @ part[1:4].copy() + shift[i]
            matrix = part[4:13].copy().reshape(3, 3)
            slab_1, slab_2 = part[13:16].copy(), part[16:19].copy()
            s_half = z_half = 0.0
            for j in range(3):
                s_half += abs(cos * forward[0, j] + sin * forward[1, j]) * part[19 + j]
                z_half += abs(forward[2, j]) * part[19 + j]
            u_middle, v_middle = place[0] * cos + place[1] * sin + center, place[2] + middle
            u_first = max(0, int(np.floor(u_middle - s_half)))
            u_last = min(columns - 1, int(np.ceil(u_middle + s_half)))
            v_first, v_last = max(0, int(np.floor(v_middle - z_half))), min(rows - 1, int(np.ceil(v_middle + z_half)))
            start = origin - part[1:4]
            w0, wa, wb, wc = matrix @ start, matrix @ across, matrix @ along, matrix @ up
            bb = wb @ wb
            for v in range(v_first, v_last + 1):
                for u in range(u_first, u_last + 1):
                    total = 0.0
                    for k in range(sub * sub):
                        s = u - center + (k % sub + 0.5) / sub - 0.5
                        z = v - middle + (k // sub + 0.5) / sub - 0.5
                        ww = wb_w = 0.0
                        for j in range(3):
                            w = w0[j] + s * wa[j] + z * wc[j]
                            ww += w * w
                            wb_w += w * wb[j]
                        low, high = -FAR, FAR
                        if bb > 1e-18:
                            root = wb_w * wb_w - bb * (ww - 1.0)
                            if root <= 0.0:
                                continue
                            root = np.sqrt(root)
                            low, high = (-wb_w - root) / bb, (-wb_w + root) / bb
                        elif ww > 1.0:
                            continue
                        at_1 = at_2 = slope_1 = slope_2 = 0.0
                        for j in range(3):
                            q = start[j] + s * across[j] + z * up[j]
                            at_1 += slab_1[j] * q
                            at_2 += slab_2[j] * q
                            slope_1 += slab_1[j] * along[j]
                            slope_2 += slab_2[j] * along[j]
                        low, high = _clip(low, high, at_1, slope_1)
                        low, high = _clip(low, high, at_2, slope_2)
                        if high > low:
                            total += high - low
                    out[i, v, u] += part[0] * weight[i] * total / (sub * sub)
    return out


@njit(cache=True, nogil=True)
def voxels(parts, inverse, shift, heights, width, sub):  # type: ignore[no-untyped-def]
    """Slices (len(heights), width, width) float32 of the body at one pose, the axis in the middle of each.

    ``heights`` (k,) are z; each voxel is the mean of ``sub`` samples along each of its edges.
    """
    out = np.zeros((len(heights), width, width), np.float32)
    middle = (width - 1) / 2
    forward = np.ascontiguousarray(np.linalg.inv(inverse))
    for part in parts:
        place = forward @ part[1:4].copy() + shift
        half = np.zeros(3)
        for a in range(3):
            for j in range(3):
                half[a] += abs(forward[a, j]) * part[19 + j]
        x_first, x_last = int(np.floor(place[0] - half[0] + middle)), int(np.ceil(place[0] + half[0] + middle))
        y_first, y_last = int(np.floor(place[1] - half[1] + middle)), int(np.ceil(place[1] + half[1] + middle))
        for r in range(len(heights)):
            if abs(heights[r] - place[2]) > half[2] + 1.0:
                continue
            for y in range(max(0, y_first), min(width - 1, y_last) + 1):
                for x in range(max(0, x_first), min(width - 1, x_last) + 1):
                    inside = 0
                    for k in range(sub * sub * sub):
                        dx = x - middle + (k % sub + 0.5) / sub - 0.5 - shift[0]
                        dy = y - middle + (k // sub % sub + 0.5) / sub - 0.5 - shift[1]
                        dz = heights[r] + (k // (sub * sub) + 0.5) / sub - 0.5 - shift[2]
                        q0 = inverse[0, 0] * dx + inverse[0, 1] * dy + inverse[0, 2] * dz - part[1]
                        q1 = inverse[1, 0] * dx + inverse[1, 1] * dy + inverse[1, 2] * dz - part[2]
                        q2 = inverse[2, 0] * dx + inverse[2, 1] * dy + inverse[2, 2] * dz - part[3]
                        square = 0.0
                        for j in range(3):
                            w = part[4 + 3 * j] * q0 + part[5 + 3 * j] * q1 + part[6 + 3 * j] * q2
                            square += w * w
                        first = abs(part[13] * q0 + part[14] * q1 + part[15] * q2)
                        second = abs(part[16] * q0 + part[17] * q1 + part[18] * q2)
                        if square <= 1.0 and first <= 1.0 and second <= 1.0:
                            inside += 1
                    out[r, y, x] += part[0] * inside / (sub * sub * sub)
    return out
