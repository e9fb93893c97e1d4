"""Quiet hours by the clock on the wall of a place."""

import math
from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from orchestrator.core.concurrency import DAYS, make_quiet, parse_quiet, quiet_until


def at(text, zone="UTC", fold=0):
    return datetime.fromisoformat(text).replace(tzinfo=ZoneInfo(zone), fold=fold).timestamp()


def over(hours, text, zone="UTC", fold=0):
    """When it is over, as UTC text; None where it is not quiet."""
    until, quiet = quiet_until([parse_quiet(each) for each in hours], at(text, zone, fold))
    return None if quiet is None else datetime.fromtimestamp(until, UTC).strftime("%a %H:%M")


OFFICE = ["mon-fri 08:00-18:00 Europe/Berlin"]
NIGHT = ["mon-fri 22:00-06:00 Europe/Berlin"]


@pytest.mark.parametrize(
    ("hours", "local", "wanted"),
    [
        (OFFICE, "2026-01-05 07:59:59", None),  # a Monday
        (OFFICE, "2026-01-05 08:00", "Mon 17:00"),
        (OFFICE, "2026-01-05 17:59:59", "Mon 17:00"),
        (OFFICE, "2026-01-05 18:00", None),
        (OFFICE, "2026-01-10 12:00", None),  # a Saturday
        (OFFICE, "2026-07-06 12:00", "Mon 16:00"),  # in summer an hour earlier by UTC
        (NIGHT, "2026-01-05 23:00", "Tue 05:00"),
        (NIGHT, "2026-01-06 03:00", "Tue 05:00"),
        (NIGHT, "2026-01-05 03:00", None),  # it began on Sunday, which is not among the days
        (NIGHT, "2026-01-10 03:00", "Sat 05:00"),  # it began on Friday
        (NIGHT, "2026-01-10 23:00", None),
        (["mon 08:00-12:00", "mon 11:00-15:00", "mon 15:00-16:00"], "2026-01-05 10:00", "Mon 16:00"),
        (["mon 08:00-12:00", "mon 12:01-13:00"], "2026-01-05 10:00", "Mon 12:00"),
        (["sat-mon 00:00-24:00"], "2026-01-03 12:00", "Tue 00:00"),
        (["mon 08:00-18:00 Asia/Kolkata"], "2026-01-05 04:00", "Mon 12:30"),
    ],
)
def test_quiet_hours_end_when_the_clock_there_says_so(hours, local, wanted):
    zone = "Europe/Berlin" if "Berlin" in hours[0] else "UTC"
    assert over(hours, local, zone) == wanted


def test_what_is_always_quiet_never_ends():
    hours = [parse_quiet("00:00-13:00 Europe/Berlin"), parse_quiet("12:00-24:00 Europe/Berlin")]
    assert quiet_until(hours, at("2026-01-05 12:00"))[0] == math.inf


SPRING = "2026-03-29"  # Berlin: 02:00 becomes 03:00
AUTUMN = "2026-10-25"  # Berlin: 03:00 becomes 02:00


@pytest.mark.parametrize(
    ("hours", "utc", "wanted"),
    [
        ("01:00-02:30 Europe/Berlin", f"{SPRING} 00:30", "Sun 01:00"),  # 02:30 never comes: over when it is passed
        ("02:30-05:00 Europe/Berlin", f"{SPRING} 00:59", None),
        ("02:30-05:00 Europe/Berlin", f"{SPRING} 01:00", "Sun 03:00"),
        ("00:00-06:00 Europe/Berlin", f"{SPRING} 00:00", "Sun 04:00"),  # an hour shorter
        ("01:00-02:30 Europe/Berlin", f"{AUTUMN} 00:45", "Sun 01:30"),  # 02:30 comes twice: over at the second
        ("02:30-05:00 Europe/Berlin", f"{AUTUMN} 00:29", None),
        ("02:30-05:00 Europe/Berlin", f"{AUTUMN} 00:30", "Sun 04:00"),  # and begins at the first
        ("02:30-05:00 Europe/Berlin", f"{AUTUMN} 01:10", "Sun 04:00"),  # also while it is 02:10 for the second time
        ("00:00-06:00 Europe/Berlin", f"{AUTUMN} 00:00", "Sun 05:00"),  # an hour longer
    ],
)
def test_daylight_saving_time_moves_quiet_hours_with_the_clock(hours, utc, wanted):
    assert over([hours], utc) == wanted


@given(st.integers(0, 1439), st.integers(0, 1440), st.sets(st.integers(0, 6), min_size=1), st.integers(0, 366 * 1440))
def test_in_a_zone_without_summer_time_it_is_quiet_as_the_minutes_of_the_week_say(begin, end, days, minute):
    assume((end - begin) % 1440 != 0)
    hours = make_quiet([DAYS[day] for day in sorted(days)], clock(begin), clock(end), "UTC")
    length = (end - begin) % 1440
    now = at("2026-01-05 00:00") + minute * 60
    covered = {(day * 1440 + begin + step) % 10_080 for day in days for step in range(length)}
    until, quiet = quiet_until([hours], now)
    assert (quiet is not None) == (minute % 10_080 in covered)
    if quiet is not None:
        first = next(step for step in range(10_081) if (minute + step) % 10_080 not in covered)
        assert until - now == first * 60


def clock(minutes):
    return f"{minutes // 60:02d}:{minutes % 60:02d}"


@pytest.mark.parametrize(
    ("text", "written"),
    [
        ("mon-fri 08:00-18:00 Europe/Berlin", "mon-fri 08:00-18:00 Europe/Berlin"),
        ("Sat, Sun 8:00 - 9:30", "sat,sun 08:00-09:30 UTC"),
        ("22:00-06:00 America/New_York", "22:00-06:00 America/New_York"),
        ("fri-mon 00:00-24:00", "mon,fri,sat,sun 00:00-24:00 UTC"),
        ("mon-sun 01:00-02:00 Etc/GMT+3", "01:00-02:00 Etc/GMT+3"),
    ],
)
def test_quiet_hours_are_read_as_people_write_them(text, written):
    assert str(parse_quiet(text)) == written
    assert parse_quiet(written) == parse_quiet(text)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("always", "expected quiet hours such as"),
        ("mon-fry 08:00-18:00", "unknown day 'fry'"),
        ("08:00-18:60", "expected a time of day"),
        ("08:00-25:00", "expected a time of day"),
        ("24:00-01:00", "begin at 23:59"),
        ("08:00-08:00", "are empty; for a whole day write 00:00-24:00"),
        ("08:00-18:00 Mars/Olympus", "unknown time zone 'Mars/Olympus'"),
        ("08:00-18:00 Europe", "unknown time zone"),
        ("08:00-18:00 /etc/passwd", "unknown time zone"),
    ],
)
def test_what_is_no_quiet_hour_is_refused_with_a_remedy(text, problem):
    with pytest.raises(ValueError, match=problem.replace("(", "\\(")):
        parse_quiet(text)
