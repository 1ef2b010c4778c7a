"""Positions of an encoder in a stream of their own: read from bytes, joined to frames by trigger number."""
