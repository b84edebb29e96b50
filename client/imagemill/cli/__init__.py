"""The command line, `imagemill`."""

from imagemill.cli.app import main

__all__ = ["main"]
