"""What stands in the beam: bodies, materials, their movement, and the transmission of each view."""
