"""The virtual beamline: a process of its own that is commanded as hardware and speaks the real frame protocol.

    materials ← phantom ← render ← prerender ┐
    beamline, detector ──────────────────────┼─ acquisition ← control ← server
    presets, samples, stage, faults ← station┘
    volume ← truth                              what a report compares a tomogram with

It knows nothing of the daemon but the wire.
"""
