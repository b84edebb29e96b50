"""Timing in pairs: the order, and what is made of the numbers."""

import itertools

import pytest

from bench.paired import Comparison, Spread, Ticks, compare


def test_the_two_ways_take_turns_in_going_first():
    calls = []

    def way(name, seconds):
        times = iter(seconds)

        def run():
            calls.append(name)
            return {"whole": next(times)}

        return run

    found = compare(way("a", [99, 2, 4, 6]), way("b", [99, 1, 1, 2]), pairs=3)

    assert "".join(calls) == "ab" + "ab" + "ba" + "ab"
    assert found == {"whole": Comparison(plain=(2, 4, 6), ours=(1, 1, 2))}  # not the first call


def test_the_ratio_is_that_of_the_medians_and_its_spread_that_of_the_pairs():
    comparison = Comparison(plain=(2, 4, 100, 8, 6), ours=(1, 1, 20, 4, 2))
    assert comparison.speedup == 3  # 6 / 2, whatever the outlier
    assert comparison.by_pair == Spread(median=3, low=2, high=4)  # of 2, 4, 5, 2, 3


def test_every_part_is_compared_on_its_own():
    found = compare(lambda: {"x": 4, "y": 9}, lambda: {"x": 2, "y": 3}, pairs=2)
    assert {part: each.speedup for part, each in found.items()} == {"x": 2, "y": 3}


def test_ticks_tell_the_time_of_one_repetition():
    ticks = Ticks(itertools.accumulate([100, 7, 1, 2, 3, 50]).__next__)
    for _ in range(6):
        ticks()
    assert ticks.each(1, 4) == pytest.approx((1 + 2 + 3) / 3)
