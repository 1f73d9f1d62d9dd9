"""When will it next be like that? Times as fields that have to fit, such as "9 h 30 min" or "2 mon". Pure.

A request is a list of fields: an hour of 9 fits from 9:00:00 to 9:59:59 on any day, ``2 mon`` the second Monday of any
month, ``-1 d`` the last day of one. :func:`until` gives the first second at which all of them fit. All is local
time without a zone; a time that a change to summer time leaves out is passed over by whoever knows the zone.
"""

from __future__ import annotations

import re
from calendar import monthrange
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Final

LAST_YEAR: Final = 2200
"""Nothing is looked for behind this (29 February on a Monday: every 28 years, or 40 around 2100)."""
FIRST_YEAR: Final = 1900

_UNITS: Final = {
    "second": ("s", "sec", "second", "seconds"),
    "minute": ("min", "minute", "minutes"),
    "hour": ("h", "hr", "hour", "hours"),
    "day": ("d", "dy", "day", "days"),
    "week": ("wk", "week", "weeks"),
    "month": ("mo", "month", "months"),
    "year": ("y", "yr", "year", "years"),
}
_UNIT_OF: Final = {word: unit for unit, words in _UNITS.items() for word in words}
_WEEKDAYS: Final = ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")
_RANGES: Final = {
    "second": (0, 59),
    "minute": (0, 59),
    "hour": (0, 23),
    "day": (1, 31),
    "week": (1, 53),
    "month": (1, 12),
    "year": (FIRST_YEAR, LAST_YEAR),
}
_MOST_WEEKDAYS: Final = 5
_TIME: Final = re.compile(r"(\d{1,2}):(\d{2})(?::(\d{2}))?")
_SECOND: Final = timedelta(seconds=1)


class UntilError(ValueError):
    """What was asked for cannot be read, or never happens. One line."""


@dataclass(frozen=True, slots=True)
class Fields:
    """What has to fit; None fits always. Negative numbers count from the end (of the month for days and weekdays).

    `weekday` counts from Monday, 0; `nth` says which one of its kind in the month.
    """

    year: int | None = None
    month: int | None = None
    week: int | None = None
    day: int | None = None
    weekday: int | None = None
    nth: int | None = None
    hour: int | None = None
    minute: int | None = None
    second: int | None = None

    def fit(self, t: datetime) -> bool:
        """Whether they all do."""
        return self.misfit(t) is None

    def misfit(self, t: datetime) -> str | None:
        """The coarsest unit in which `t` does not fit."""
        if self.year not in (None, t.year):
            return "year"
        if not _is(self.month, t.month, 12):
            return "month"
        if not self._week_fits(t):
            return "week"
        if not (_is(self.day, t.day, _days(t)) and self._weekday_fits(t)):
            return "day"
        for unit, size in (("hour", 23), ("minute", 59), ("second", 59)):
            if not _is(getattr(self, unit), getattr(t, unit), size + 1, first=0):
                return unit
        return None

    def _week_fits(self, t: datetime) -> bool:
        """Weeks as ISO 8601 counts them."""
        if self.week is None:
            return True
        iso = t.isocalendar()
        return _is(self.week, iso.week, date(iso.year, 12, 28).isocalendar().week)

    def _weekday_fits(self, t: datetime) -> bool:
        if self.weekday is None:
            return True
        if t.weekday() != self.weekday:
            return False
        before, behind = (t.day - 1) // 7 + 1, (_days(t) - t.day) // 7 + 1
        return self.nth in (None, before, -behind)


def _is(want: int | None, have: int, size: int, *, first: int = 1) -> bool:
    """Whether a number, or one that counts from the end of `size` values, is what is wanted."""
    if want is None:
        return True
    return have == (want if want >= 0 else size + want + first)


def _days(t: datetime) -> int:
    return monthrange(t.year, t.month)[1]


# -- reading -------------------------------------------------------------------------------------------------


def parse(words: Sequence[str], now: datetime) -> Fields:
    """Read a request. Raises UntilError."""
    found: dict[str, int] = {}
    rest = [part for word in words for part in word.replace(",", " ").split()]
    if not rest:
        raise UntilError("when? For example 9:30, or 2 mon, or 24 d 12 mo")
    while rest:
        word = rest.pop(0)
        fields = _date(word, now) or _clock(word)
        if fields is None:
            fields = _counted(word, rest)
        for name, number in fields.items():
            if found.get(name, number) != number:
                raise UntilError(f"two values for the {name}: {found[name]} and {number}")
            found[name] = number
    return _checked(Fields(**found))


def _date(word: str, now: datetime) -> dict[str, int] | None:
    """``tomorrow``, ``today``, an ISO date with or without a time."""
    days = {"today": 0, "tomorrow": 1}.get(word.lower())
    if days is not None:
        when = now + timedelta(days=days)
        return {"year": when.year, "month": when.month, "day": when.day}
    if not re.match(r"\d{4}-", word):
        return None
    try:
        when = datetime.fromisoformat(word)
    except ValueError as err:
        raise UntilError(f"{word!r} is no date: {err}") from None
    if when.tzinfo is not None:
        raise UntilError(f"{word!r} has a zone; give local time")
    fields = {"year": when.year, "month": when.month, "day": when.day}
    if len(word) > len("2026-01-01"):
        fields |= {"hour": when.hour, "minute": when.minute, "second": when.second}
    return fields


def _clock(word: str) -> dict[str, int] | None:
    match = _TIME.fullmatch(word)
    if match is None:
        return None
    hour, minute, second = match.groups()
    return {"hour": int(hour), "minute": int(minute)} | ({"second": int(second)} if second else {})


def _counted(word: str, rest: list[str]) -> dict[str, int]:
    """A weekday, or a number with its unit or weekday."""
    weekday = _weekday(word)
    if weekday is not None:
        return {"weekday": weekday}
    match = re.fullmatch(r"([+-]?\d{1,4})(?:st|nd|rd|th)?([a-z]*)", word.lower())
    if match is None:
        raise UntilError(f"{word!r} is no number, weekday, time or date")
    number = int(match[1])
    if not match[2] and not rest:
        raise UntilError(f"{number} of what? Give a unit (s min h d wk mo yr) or a weekday")
    unit = match[2] or rest.pop(0).lower()
    weekday = _weekday(unit)
    if weekday is not None:
        if not 1 <= abs(number) <= _MOST_WEEKDAYS:
            raise UntilError(f"no month has a weekday number {number}")
        return {"weekday": weekday, "nth": number}
    if unit == "m":
        raise UntilError("'m' may be minutes or months; write min or mo")
    if unit not in _UNIT_OF:
        raise UntilError(f"{unit!r} is no unit (s min h d wk mo yr) and no weekday")
    return {_UNIT_OF[unit]: number}


def _weekday(word: str) -> int | None:
    """The number of a weekday, from its name or at least three letters of it."""
    lower = word.lower()
    return next((n for n, name in enumerate(_WEEKDAYS) if len(lower) >= 3 and name.startswith(lower)), None)


def _checked(fields: Fields) -> Fields:
    for unit, (low, high) in _RANGES.items():
        number = getattr(fields, unit)
        if number is None:
            continue
        size = high - low + 1
        if not (low <= number <= high or (number < 0 and unit != "year" and -number <= size)):
            raise UntilError(f"{number} is no {unit}; from {low} to {high}, or negative to count from the end")
    return fields


# -- searching -----------------------------------------------------------------------------------------------


def until(fields: Fields, now: datetime, *, inverted: bool = False, backwards: bool = False) -> datetime:
    """The first second from `now` on at which the fields fit (`inverted`: at which they do not); `backwards`: the last
    second up to `now`. If they fit now, it is the second that runs, which began up to a second before `now`. Raises
    UntilError if there is none between the years 1900 and 2200.
    """
    t = now.replace(microsecond=0)
    if now.microsecond and not backwards and not (fields.fit(t) ^ inverted):
        t += _SECOND
    while FIRST_YEAR <= t.year <= LAST_YEAR:
        unit = fields.misfit(t)
        if inverted:
            unit = _finest(fields) if unit is None else None
        if unit is None:
            return t
        t = _end(t, unit) if not backwards else _start(t, unit) - _SECOND
    raise UntilError("that never happens" + (" again" if not backwards else ""))


def _finest(fields: Fields) -> str:
    """The finest unit that the fields speak of: as long as it lasts, they go on to fit."""
    named = [unit for unit in _ORDER if getattr(fields, unit) is not None]
    return "day" if not named or (fields.weekday is not None and _ORDER.index(named[-1]) < _DAY) else named[-1]


_ORDER: Final = ("year", "month", "week", "day", "hour", "minute", "second")
_DAY: Final = _ORDER.index("day")
_STEPS: Final = {
    "week": timedelta(days=7),
    "day": timedelta(days=1),
    "hour": timedelta(hours=1),
    "minute": timedelta(minutes=1),
    "second": _SECOND,
}


def _start(t: datetime, unit: str) -> datetime:
    """When the year, month, ... that `t` lies in began."""
    if unit == "second":
        return t
    t = t.replace(second=0)
    if unit == "minute":
        return t
    t = t.replace(minute=0)
    if unit == "hour":
        return t
    t = t.replace(hour=0)
    if unit == "week":
        return t - timedelta(days=t.weekday())
    if unit == "day":
        return t
    return t.replace(day=1) if unit == "month" else t.replace(day=1, month=1)


def _end(t: datetime, unit: str) -> datetime:
    """When the next year, month, ... begins."""
    start = _start(t, unit)
    if unit in _STEPS:
        return start + _STEPS[unit]
    if unit == "year" or start.month == 12:
        return start.replace(year=start.year + 1, month=1)
    return start.replace(month=start.month + 1)
