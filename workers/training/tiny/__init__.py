"""Trains the `tiny` checkpoints on the world of `workers.training.world`.

`python -m workers.training.tiny` trains, `… evaluate` measures what was trained.
"""
