"""The ring of frames: how it lies in memory, its writer and its readers."""
