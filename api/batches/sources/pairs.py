"""Two sources side by side: every item of the first with one of the second."""

import random
from collections.abc import Iterator
from typing import Literal

from api.batches.sources.disk_table import DiskTable
from api.batches.sources.line import Line

Match = Literal["name", "random"]


def lines(first: Iterator[Line], second: Iterator[Line], match: Match, seed: int) -> Iterator[Line]:
    """By `$name`, where of equal names the second source's first one counts; or drawn at random,
    the same ones for the same seed."""
    table = DiskTable()
    for place, line in enumerate(second):
        if line.variables and "image" in line.variables:
            key = line.variables["name"] if match == "name" else str(place)
            table.add(key, line.variables["image"])
    chance, partners = random.Random(seed), len(table)
    for line in first:
        if not line.variables or "image" not in line.variables:
            yield line
            continue
        if match == "name":
            partner = table.get(line.variables["name"])
        else:
            partner = table.at(chance.randrange(partners)) if partners else None
        if partner is None:
            yield Line.bad("no_partner", "the second source has none for it", line.custom_id)
            continue
        image = line.variables["image"]
        variables = {**line.variables, "first": image, "second": partner}
        yield Line(line.custom_id, variables, line=line.line, bytes=line.bytes)
