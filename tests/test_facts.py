"""What a person reads while a run goes on: lost answers do not flood the log, and none looks like the end."""

import pytest

from orchestrator.cli.log import LEVELS, PATIENCE, Follower
from orchestrator.core.events import (
    KINDS,
    Absent,
    Claimed,
    Doubted,
    Intended,
    Interrupted,
    Requested,
    RunEnded,
    WaveOpened,
)
from orchestrator.journal.port import Entry
from orchestrator.report import story


class Lines:
    """A log that keeps what it was told, by level."""

    def __init__(self):
        self.told = []

    def shows(self, level):
        return level in LEVELS

    def line(self, level, name, fields):
        self.told.append((level, name, dict(fields)))


@pytest.fixture
def lines():
    return Lines()


def doubted(n):
    return Doubted(f"t{n}", 1, "HTTP 500", 0.0, 1.0)


def test_lost_answers_are_told_once_in_a_while_with_what_happens_next(lines):
    clock = [0.0]
    observer = Follower(lines, None, lambda: clock[0])
    for number in range(3):
        observer.fact(Entry("travis", 1, 0.0, doubted(number)))
    clock[0] = PATIENCE
    observer.fact(Entry("travis", 1, 0.0, doubted(3)))
    assert [level for level, _, _ in lines.told] == ["warning", "debug", "debug", "warning"]
    first, last = lines.told[0][2], lines.told[-1][2]
    assert "looked for" in first["next"]
    assert first["others"] is None
    assert last["others"] == 3


def test_what_was_found_or_is_absent_is_no_longer_counted(lines):
    observer = Follower(lines, None, lambda: 0.0)
    observer.fact(Entry("travis", 1, 0.0, doubted(1)))
    observer.fact(Entry("travis", 1, 0.0, doubted(2)))
    observer.fact(Entry("travis", 1, 0.0, Requested("t1", "7", "found")))
    observer.fact(Entry("travis", 1, 0.0, Absent("t2", 1, "not there")))
    observer.fact(Entry("travis", 1, 0.0, doubted(3)))
    assert lines.told[-1][2]["others"] is None


@pytest.mark.parametrize(
    ("account", "event", "told"),
    [
        ("travis", Intended("t1", 2, "[r.aaaaaaaa]"), ("trigger.intended", {"target": "t1", "attempt": 2})),
        ("", WaveOpened(1), ("wave.opened", {"account": None})),
        ("", RunEnded(0), ("run.ended", {"account": None})),
        ("", Interrupted("SIGTERM"), ("run.interrupted", {"account": None})),
        ("travis", Claimed(1, "host", 7), ("account.claimed", {"account": "travis"})),
    ],
)
def test_every_fact_has_a_dotted_name_and_its_subject(account, event, told, lines):
    Follower(lines, None, lambda: 0.0).fact(Entry(account, 1, 0.0, event))
    assert lines.told == [("debug", *told)]


def test_each_kind_of_event_stands_once_in_the_table():
    assert set(story._STORY) == set(KINDS.values())
