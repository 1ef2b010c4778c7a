"""Named sets of parameters of the virtual beamline.

``highres``, ``fast`` and ``cine`` follow the parameter sets that KIT has published for its bending-magnet beamline and
for the simulator syris: 2.5 GeV, 1.5 T, 0.7 mm Al filter, 12 µm LSO:Tb or 50 µm LuAG scintillator, pco.dimax with a
full well of 36.8 ke⁻ and 10 e⁻ per count. The flat level is about 65 % of the full well. The field of view is fixed
and the pixel follows from the number of columns, so that one set of samples fits every size.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from streamer.sim.hardware.beamline import BeamTraits
from streamer.sim.hardware.detector import Camera

NOMINAL_FIELD_MM = 1.8688
"""Field of view for which the samples are drawn: 256 pixels of 7.3 µm."""


@dataclass(frozen=True, slots=True)
class Preset:
    """One beamline. ``energies_kev`` with ``weights`` (sum 1) is the spectrum as the camera weighs it."""

    name: str
    field_mm: float = NOMINAL_FIELD_MM
    energies_kev: tuple[float, ...] = (20.0,)
    weights: tuple[float, ...] = (1.0,)
    camera: Camera = field(default_factory=Camera)
    beam: BeamTraits = field(default_factory=BeamTraits)
    blur_px: float = 0.35
    roll_deg: float = 0.0
    pitch_deg: float = 0.0
    jitter_deg: float = 0.002
    encoder_error_deg: float = 0.0
    max_rate_hz: float = 1000.0
    rotation_deg_s: float = 90.0
    x_mm_s: float = 50.0
    out_mm: float = 5.0
    mount_s: float = 1.0

    def pixel_mm(self, columns: int) -> float:
        return self.field_mm / columns

    @property
    def mean_energy_kev(self) -> float:
        return sum(e * w for e, w in zip(self.energies_kev, self.weights, strict=True))


# White beam of the bending magnet through 0.7 mm Al, absorbed in 12 µm LSO, light per keV: computed from the
# transmission of Al (materials.py), a critical energy of 6.2 keV and an absorption of 33 % at 20 keV falling as E⁻³.
WHITE_BEAM = ((10.0, 15.0, 20.0, 25.0, 30.0), (0.029, 0.429, 0.334, 0.153, 0.055))

PRESETS = {
    preset.name: preset
    for preset in (
        Preset("demo"),
        Preset(
            "highres",
            field_mm=2.46,
            energies_kev=WHITE_BEAM[0],
            weights=WHITE_BEAM[1],
            camera=Camera(electrons_per_xray=1.9),
            beam=BeamTraits(stripes=0.04, dust=20, drift_px=0.5, current_saw=0.01),
            blur_px=0.6,
            roll_deg=0.1,
            encoder_error_deg=0.001,
            max_rate_hz=200.0,
            rotation_deg_s=20.0,
            x_mm_s=10.0,
            mount_s=10.0,
        ),
        Preset(
            "fast",
            field_mm=1.879,
            camera=Camera(electrons_per_xray=2.4, flat_level_e=20_000.0, read_noise_e=30.0),
            blur_px=0.5,
            max_rate_hz=5000.0,
            rotation_deg_s=500.0,
        ),
        Preset(
            "cine",
            field_mm=1.879,
            energies_kev=(30.0,),
            camera=Camera(electrons_per_xray=2.84, flat_level_e=15_000.0, read_noise_e=40.0),
            blur_px=0.5,
            max_rate_hz=20_000.0,
            rotation_deg_s=3600.0,
        ),
    )
}
