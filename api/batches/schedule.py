"""When a batch may run: not before its start, and within its window of the day."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, time, timedelta, tzinfo
from typing import Any
from zoneinfo import ZoneInfo

HORIZON = timedelta(days=3660)  # further ahead nothing is foretold
WINDOW = re.compile(r"([01]\d|2[0-3]):([0-5]\d) ?[–-] ?([01]\d|2[0-3]):([0-5]\d)")  # 22:00–06:00


@dataclass(frozen=True)
class Schedule:
    """A start, and the wall-clock hours of a time zone in which the batch runs; `until` is left
    out of them. A window whose end lies before its beginning goes past midnight."""

    start_at: datetime | None = None
    since: time | None = None
    until: time | None = None
    zone: tzinfo = UTC

    @classmethod
    def of(cls, request: Mapping[str, Any]) -> "Schedule":
        """The schedule of a batch's request, which was checked when it came.

        Raises ValueError for a start, window or zone that is none.
        """
        start_at, window = request.get("start_at"), request.get("window")
        try:
            zone = ZoneInfo(request.get("timezone") or "UTC")
        except (KeyError, OSError):
            raise ValueError("no such time zone") from None
        since, until = _hours(window) if window else (None, None)
        return cls(_moment(start_at) if start_at is not None else None, since, until, zone)

    def allows(self, now: datetime) -> bool:
        """Whether the batch may run now."""
        return (self.start_at is None or now >= self.start_at) and self._within(now)

    def next_start(self, now: datetime) -> datetime | None:
        """When it may run next, in UTC; None where it may now."""
        if self.allows(now):
            return None
        earliest = max(now, self.start_at or now)
        if self._within(earliest):
            return earliest.astimezone(UTC)
        assert self.since is not None
        local = earliest.astimezone(self.zone)
        begin = datetime.combine(local.date(), self.since, self.zone)
        if begin <= local:
            begin = datetime.combine(local.date() + timedelta(days=1), self.since, self.zone)
        return begin.astimezone(UTC)

    def finish(self, now: datetime, work: timedelta) -> datetime | None:
        """When so much work is done that begins now, in UTC; None where that is too far away."""
        horizon = now + HORIZON
        while now < horizon:
            now = self.next_start(now) or now
            end = self._end(now)
            if end is None or work <= end - now:
                return (now + work).astimezone(UTC) if work < HORIZON else None
            work -= end - now
            now = end
        return None

    def _end(self, now: datetime) -> datetime | None:
        """When the window closes that `now` is in, in UTC; None where it stays open."""
        if self.until is None:
            return None
        local = now.astimezone(self.zone)
        day = local.date() + timedelta(days=int(self.until <= local.time()))
        end = datetime.combine(day, self.until, self.zone)
        if end.astimezone(UTC) <= now:  # the hour that a night has twice
            end = end.replace(fold=1)
        return end.astimezone(UTC)

    def _within(self, now: datetime) -> bool:
        if self.since is None or self.until is None:
            return True
        local = now.astimezone(self.zone).time()
        if self.since < self.until:
            return self.since <= local < self.until
        return local >= self.since or local < self.until


def _hours(window: str) -> tuple[time, time]:
    found = WINDOW.fullmatch(window)
    if not found:
        raise ValueError("a window is HH:MM–HH:MM, such as 22:00–06:00")
    first, second, third, fourth = map(int, found.groups())
    since, until = time(first, second), time(third, fourth)
    if since == until:
        raise ValueError("a window that begins when it ends")
    return since, until


def _moment(value: str | float) -> datetime:
    """RFC 3339, or seconds since the epoch. Raises ValueError."""
    if not isinstance(value, str):
        return datetime.fromtimestamp(value, UTC)
    moment = datetime.fromisoformat(value)
    if moment.tzinfo is None:
        raise ValueError("a start without a time zone")
    return moment
