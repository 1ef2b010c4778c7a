"""Raw files: what they hold, the process that writes them and is replaced when it fails, and what a crash left."""
