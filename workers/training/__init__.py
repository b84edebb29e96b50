"""Training code: the worlds, loops and commands that make the project's own checkpoints."""
