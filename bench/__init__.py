"""Measurements: how fast the project is beside the plain way to do the same.

python -m bench [NAME…]

One file a measurement; each is found by its `BENCHMARK = …`.
"""
