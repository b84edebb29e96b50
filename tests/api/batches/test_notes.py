from collections import Counter
from itertools import pairwise

from api.batches.collecting import Closed
from api.batches.notes import EXAMPLES, POINT_MS, POINTS, SLOWEST, noted
from shared.batches import BatchCounts


def closed(*took, **failures):
    lines = [
        {"custom_id": each, "error": {"code": code, "message": f"about {each}"}}
        for code, ids in failures.items()
        for each in ids
    ]
    return Closed(0, len(took), Counter({c: len(f) for c, f in failures.items()}), lines, [*took])


def test_examples_are_few_and_the_slowest_items_stay():
    first = closed(*((ms, f"a{ms}") for ms in range(40)), invalid_image=["x", "y", "z", "more"])
    second = closed((1000, "slow"), (5, "quick"), poison=["p"])
    notes = noted({}, [first], BatchCounts(), now=0)
    notes |= noted(notes, [second], BatchCounts(), now=1)
    assert [each["custom_id"] for each in notes["examples"]["invalid_image"]] == ["x", "y", "z"]
    assert len(notes["examples"]["invalid_image"]) == EXAMPLES
    assert notes["examples"]["poison"] == [{"custom_id": "p", "message": "about p"}]
    assert notes["slowest"][0] == [1000, "slow"]
    assert len(notes["slowest"]) == SLOWEST
    assert [5, "quick"] not in notes["slowest"]


def test_the_curve_has_half_as_many_points_when_there_are_too_many():
    notes, now = {}, 0
    for turn in range(3 * POINTS):
        for half in (0, 1):
            now = turn * POINT_MS + half * POINT_MS // 2
            notes |= noted(notes, [closed()], BatchCounts(completed=turn), now)
    points = notes["points"]
    assert POINTS // 2 <= len(points) <= POINTS
    steps = {later[0] - earlier[0] for earlier, later in pairwise(points)}
    assert steps == {notes["point_ms"]}
    assert points[0] == [0, 0, 0]
    assert now - points[-1][0] <= notes["point_ms"]


def test_what_stays_as_it_was_is_not_told_again():
    chunk = closed((7, "a"), poison=["p"])
    notes = noted({}, [chunk], BatchCounts(), now=0)
    assert noted(notes, [chunk], BatchCounts(), now=1) == {}
