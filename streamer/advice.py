"""What a person does about each reason of a verdict: a sentence for whoever stands at the beamline.

The viewer and ``docs/reasons.md`` show it; a test compares the two.
"""

from __future__ import annotations

from streamer.frames import Decision, ReasonCode, Verdict

ADVICE: dict[ReasonCode, str] = {
    ReasonCode.NO_PROJECTIONS: "Look whether the shutter opened and the camera was triggered, then scan again.",
    ReasonCode.NO_FLATS: "Let the plan take flats with the sample out of the beam, then scan again.",
    ReasonCode.NO_LIGHT: "Open the shutters, look at the beam current, then scan again.",
    ReasonCode.EMPTY: "Look whether the sample is mounted and in the field of view.",
    ReasonCode.MOTION: "Fix the sample, let it settle, then scan again; a shorter scan leaves it less time to move.",
    ReasonCode.MISFIT: "Look for a loose sample or a stage that slips, then scan again.",
    ReasonCode.AFTERGLOW: "Use another scintillator, less light or longer pauses between images, then scan again.",
    ReasonCode.SAMPLE_CHANGED: "Look at the sample: fasten it again or lower the dose, then scan again.",
    ReasonCode.AXIS_OFF: "Move the rotation axis by the distance that is named, then scan again.",
    ReasonCode.SATURATED: "Shorten the exposure or attenuate the beam, then scan again.",
    ReasonCode.UNUSABLE: "Look at the beam and at the camera: the causes are named; then scan again.",
    ReasonCode.ANGLES_WRONG: "Check the encoder, the trigger and the number of steps per turn of the rotation.",
    ReasonCode.FLATS_WRONG: "See that the sample leaves the beam for the flats: did its motor move?",
    ReasonCode.DARKS_LIT: "See that the shutter closes for the darks.",
    ReasonCode.SHADOW: "Look for what stands in the beam: a holder, a slit, a wrong region of the detector.",
    ReasonCode.PATTERN: "Take new flats; if it stays, clean or replace the scintillator or look at the camera.",
    ReasonCode.BEAM_MOVED: "Wait until the beam stands still, or take flats more often, then scan again.",
    ReasonCode.ZINGERS: "Shield the camera, or switch preparation.zingers on.",
    ReasonCode.BEAM_DRIFTED: "Wait until the beam is steady, take flats more often, or set preparation.flat_drift.",
    ReasonCode.FRAMES_LOST: "Look at the network and at the disk; a second daemon may be taking the frames.",
    ReasonCode.ANGLES_MISSING: "Scan again, or only the angles that lack.",
    ReasonCode.RESOLUTION_NOT_REACHED: "Take more projections or expose longer.",
    ReasonCode.CENTER_UNKNOWN: "Give the centre by hand in the viewer, and judge the planes by eye.",
    ReasonCode.TRUNCATED: "Nothing, if the inside of the sample is enough; else take a wider field or offset the axis.",
    ReasonCode.CENTER_UNCERTAIN: "Look at the planes, and nudge the centre until edges are single.",
    ReasonCode.SET_ASIDE: "Nothing: the other frames are enough.",
    ReasonCode.GAP: "Look whether something hides the sample at these angles.",
    ReasonCode.DEAD_COLUMNS: "Nothing now; give the map of the defects (source.defects) before the next scan.",
    ReasonCode.FEW_PROJECTIONS: "Take more projections.",
    ReasonCode.LITTLE_LIGHT: "Expose longer or take more projections.",
    ReasonCode.AFTER_ENOUGH: "Nothing: the data before it are enough.",
    ReasonCode.NOTHING_WRONG: "Nothing.",
    ReasonCode.NOT_JUDGED: "Wait: the first projections have not come.",
    ReasonCode.RECONSTRUCTION_FAILED: "Keep the raw file, run streamer reconstruct on it; read the daemon's log.",
    ReasonCode.RAW_DATA_LOST: "Make room on the disk, look at the log of the daemon, then scan again.",
    ReasonCode.SCAN_FAILED: "Read why the plan stopped, mend it, then scan again.",
    ReasonCode.NOT_SCANNED: "Put the sample into the queue again.",
    ReasonCode.REFUSED: "The sentence says what is wrong with the scan; change that, then scan again.",
    ReasonCode.NO_VERDICT: "See whether the daemon runs (streamer status), then scan again.",
    ReasonCode.OTHER: "Read the sentence; the daemon is newer than this program.",
}  # fmt: skip

WHILE_RUNNING = {
    Decision.CONTINUE: "Let it run.",
    Decision.ENOUGH: "It may be stopped: what has come is enough.",
}


def advice(verdict: Verdict | None) -> str:
    """What to do about a verdict, in a sentence; empty when there is none."""
    if verdict is None:
        return ""
    if not verdict.final and verdict.decision in WHILE_RUNNING:
        return WHILE_RUNNING[verdict.decision]
    if verdict.final and verdict.decision is Decision.ENOUGH:
        return "Go on with the next sample."
    decisive = [code for code in verdict.codes if code.decision is verdict.decision]
    code = next(iter([*decisive, *verdict.codes]), None)
    return "" if code is None else ADVICE[code]
