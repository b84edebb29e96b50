from datetime import UTC, datetime, timedelta

import pytest

from api.batches.schedule import Schedule


def utc(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


def test_without_a_schedule_a_batch_may_run_at_once():
    schedule = Schedule.of({})
    assert schedule.allows(utc("2026-03-01 12:00"))
    assert schedule.next_start(utc("2026-03-01 12:00")) is None


@pytest.mark.parametrize("start_at", ["2026-03-01T13:00:00+01:00", 1772366400])
def test_a_start(start_at):
    schedule = Schedule.of({"start_at": start_at})
    assert not schedule.allows(utc("2026-03-01 11:59"))
    assert schedule.next_start(utc("2026-03-01 11:59")) == utc("2026-03-01 12:00")
    assert schedule.allows(utc("2026-03-01 12:00"))


@pytest.mark.parametrize("window", ["22:00–06:00", "22:00-06:00"])
def test_a_window_across_midnight(window):
    schedule = Schedule.of({"window": window})
    assert schedule.allows(utc("2026-03-01 22:00"))
    assert schedule.allows(utc("2026-03-02 05:59"))
    assert not schedule.allows(utc("2026-03-02 06:00"))
    assert schedule.next_start(utc("2026-03-02 06:00")) == utc("2026-03-02 22:00")


def test_a_window_by_day_in_its_own_zone():
    schedule = Schedule.of({"window": "09:00–17:00", "timezone": "Europe/Paris"})
    assert not schedule.allows(utc("2026-07-01 06:59"))
    assert schedule.allows(utc("2026-07-01 07:00"))
    assert schedule.next_start(utc("2026-07-01 15:00")) == utc("2026-07-02 07:00")
    # An hour later once summer time is over.
    assert schedule.next_start(utc("2026-10-24 15:00")) == utc("2026-10-25 08:00")


def test_a_start_within_the_window_and_outside_of_it():
    schedule = Schedule.of({"start_at": "2026-03-01T23:00:00Z", "window": "22:00–06:00"})
    assert schedule.next_start(utc("2026-03-01 22:30")) == utc("2026-03-01 23:00")
    late = Schedule.of({"start_at": "2026-03-01T12:00:00Z", "window": "22:00–06:00"})
    assert late.next_start(utc("2026-03-01 01:00")) == utc("2026-03-01 22:00")


@pytest.mark.parametrize(
    ("asked", "reason"),
    [
        ({"window": "25:00–06:00"}, "HH:MM"),
        ({"window": "06:00–06:00"}, "begins when it ends"),
        ({"start_at": "2026-03-01T12:00:00"}, "without a time zone"),
        ({"start_at": "tomorrow"}, "isoformat"),
        ({"timezone": "Mars/Olympus"}, "no such time zone"),
    ],
)
def test_what_is_no_schedule(asked, reason):
    with pytest.raises(ValueError, match=reason):
        Schedule.of(asked)


def test_the_end_of_work_in_a_window():
    schedule = Schedule.of({"window": "22:00–06:00"})
    noon = utc("2026-03-01 12:00")
    assert schedule.finish(noon, timedelta(hours=8)) == utc("2026-03-02 06:00")
    assert schedule.finish(noon, timedelta(hours=9)) == utc("2026-03-02 23:00")
    assert schedule.finish(utc("2026-03-02 05:00"), timedelta(hours=2)) == utc("2026-03-02 23:00")
    assert Schedule.of({}).finish(noon, timedelta(hours=30)) == utc("2026-03-02 18:00")
    assert schedule.finish(noon, timedelta(days=3000)) is None


def test_the_night_that_has_an_hour_twice():
    schedule = Schedule.of({"window": "22:00–02:30", "timezone": "Europe/Paris"})
    twice = utc("2026-10-25 01:10")  # the second 02:10
    assert schedule.finish(twice, timedelta(minutes=20)) == utc("2026-10-25 01:30")
