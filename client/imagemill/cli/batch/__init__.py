"""`imagemill batch`: many jobs at once, from a folder to a folder of results."""

from imagemill.cli.batch.commands import app

__all__ = ["app"]
