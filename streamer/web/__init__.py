"""A web page on what a daemon reconstructs, by a process of its own that only subscribes and asks."""
