"""Blending one picture into another: the two passes of the compositor, and the classic ways."""
