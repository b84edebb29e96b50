"""What a batch's keeper remembers of it: small, however many items there are."""

from collections.abc import Mapping, Sequence
from typing import Any

from api.batches.collecting import Closed
from shared.batches import BatchCounts

SUMS = "run_ms", "ran", "written", "reused"
EXAMPLES = 3  # of each error code
SLOWEST = 10  # items
POINT_MS = 5_000  # between two points of the curve, at first
POINTS = 120  # of the curve at most; when there are more, every other one goes


def noted(
    notes: Mapping[str, Any],
    closed: Sequence[Closed],
    counts: BatchCounts,
    now: int,
    took_ms: float = 0.0,
) -> dict[str, Any]:
    """What closed chunks change of the notes: `examples` by error code of {custom_id, message},
    `slowest` of [ms, custom_id], and `points` of [ms since the epoch, completed, failed].

    Sums of all closings, retries too: `run_ms` in which chunks were at work (`took_ms` are new),
    `ran` items, `written` bytes of what they made, and `reused` items.
    """
    examples = {code: list(each) for code, each in notes.get("examples", {}).items()}
    slowest = [tuple(each) for each in notes.get("slowest", [])]
    for chunk in closed:
        slowest += chunk.took
        for line in chunk.failures:
            some = examples.setdefault(line["error"]["code"], [])
            example = {"custom_id": line["custom_id"], "message": line["error"]["message"]}
            if len(some) < EXAMPLES and example not in some:
                some.append(example)
    points, every = notes.get("points", []), notes.get("point_ms", POINT_MS)
    if not points or now - points[-1][0] >= every:
        points = [*points, [now, counts.completed, counts.failed]]
    if len(points) > POINTS:
        points, every = points[::2], 2 * every
    sums = [
        round(took_ms),
        sum(chunk.work.total() for chunk in closed),
        sum(chunk.written for chunk in closed),
        sum(chunk.reused for chunk in closed),
    ]
    new = {
        **{name: notes.get(name, 0) + more for name, more in zip(SUMS, sums, strict=True)},
        "examples": examples,
        "slowest": [list(each) for each in sorted(set(slowest), reverse=True)[:SLOWEST]],
        "points": points,
        "point_ms": every,
    }
    return {name: value for name, value in new.items() if notes.get(name) != value}
