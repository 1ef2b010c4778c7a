"""Options of the preparation: what is done to raw frames before they are reconstructed."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from streamer.options import Options

FlatDrift = Literal["off", "margins", "monitor", "eigen"]


class PreparationOptions(Options):
    """What is done to projections in addition to dark and flat correction."""

    zingers: float = Field(0.0, ge=0)
    """standard deviations of photon noise above which a bright pixel is replaced; 8 is a good value, 0 is off"""
    defects: bool = True
    """replace pixels that darks and flats show to be dead, hot, stuck or noisy"""
    flat_drift: FlatDrift = "off"
    """where the change of the beam since the flats is measured: at the margins beside the sample, by the monitor of
    each frame, or as a sum of eigen-flats"""
    stripes: Literal["off", "live", "full"] = "off"
    """removal of stripes, which become rings: live subtracts offsets of detector columns, full also corrects them
    grey value by grey value when the tomogram is made"""
    delta_beta: float | None = Field(None, ge=0, examples=[100.0])
    """δ/β of the sample for phase retrieval (Paganin), which needs energy, distance and pixel size; unset: none"""

    @property
    def needs_host(self) -> str:
        """Those options for which the CPU needs the attenuation of every projection, by name; empty without any."""
        wanted = {
            "zingers": self.zingers > 0,
            "flat_drift": self.flat_drift != "off",
            "stripes": self.stripes != "off",
            "delta_beta": self.delta_beta is not None,
        }
        return ", ".join(name for name, on in wanted.items() if on)
