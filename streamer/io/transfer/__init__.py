"""Copies finished files to other storage, each once, whatever is killed in between."""
