"""What the verbs show and take at a terminal: arguments, progress, output files."""
