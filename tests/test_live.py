"""What stands on stderr while a run goes on: one line a minute, or a picture that is redrawn in place."""

import re

import pytest
from live_states import STATES, snapshot, story
from test_live_pictures import Stream

from orchestrator.cli.bar import ORDER, shares
from orchestrator.cli.cells import Line, Style, cut, name, width_of
from orchestrator.cli.live import Redrawn, summary
from orchestrator.cli.picture import picture
from orchestrator.core.frozen import replace
from orchestrator.core.model import Outcome, Phase
from orchestrator.engine.snapshot import Left, NotPassed
from orchestrator.engine.stage import Stage, State, Work

GOING = STATES["going"]()
FOLLOWING = STATES["failed"]()
WAITING = STATES["waves"]()


@pytest.mark.parametrize(
    ("seen", "expected"),
    [
        (replace(FOLLOWING, build_left=None), "everything is triggered; builds are being followed"),
        (
            replace(GOING, state=State(Stage.CANCELING, "waits for 3 builds to stop", at_most=75.4)),
            "canceling: waits for 3 builds to stop, gives up in 1 min 15 s unless one more stops",
        ),
        (
            replace(GOING, state=State(Stage.STOPPING, "3 calls under way", at_most=28.0)),
            "stopping: 3 calls under way, at most 28 s",
        ),
        (replace(GOING, state=State(Stage.UNATTENDED)), "nobody drives the run: nothing is triggered"),
        (
            replace(GOING, waiting_for="in_flight 150", trigger_left=Left(3.2), build_left=Left(90.0, "builds hang")),
            "390 triggers a minute; waits for in_flight 150; "
            "last trigger in about 3 s; last build: unknown, builds hang",
        ),
    ],
    ids=lambda one: one if isinstance(one, str) else "",
)
def test_a_line_says_what_a_run_is_at_and_how_long_it_takes(seen, expected):
    assert summary(seen).endswith(f"; {expected}")


def test_a_line_counts_lost_answers_apart():
    assert "101 running, 18 queued, 3 requested, 36 waiting, 3 in doubt (looking up)" in summary(GOING)


# -- the terminal ---------------------------------------------------------------------------------------------------


def screen(size, **fields):
    stream = Stream(*size)
    return stream, Redrawn(stream, colour=True, size=lambda: stream.size, **fields)


def test_what_is_redrawn_is_what_would_be_drawn_at_once():
    stream, live = screen((80, 24))
    for state in ("going", "waves", "interrupted", "going", "large", "canceling"):
        seen = STATES[state]()
        live.show(seen, seen.at)
        fresh, other = screen((80, 24))
        other.show(seen, seen.at)
        assert stream.rows == fresh.rows


def test_only_lines_that_changed_are_written():
    stream, live = screen((80, 24))
    live.show(GOING, GOING.at)
    whole, stream.written = len(stream.written), ""
    live.show(replace(GOING, age=GOING.age + 1), GOING.at)
    assert len(stream.written) < whole / 4
    assert "51 s" in stream.text


@pytest.mark.parametrize("size", [(120, 40), (60, 20), (40, 24), (80, 10), (200, 50)], ids=str)
def test_a_terminal_that_changes_its_size_gets_a_picture_of_that_size(size):
    stream, live = screen((80, 24))
    live.show(GOING, GOING.at)
    stream.screen.resize(lines=size[1], columns=size[0])
    stream.screen.ensure_vbounds()
    for _ in range(2):
        live.show(GOING, GOING.at)
    fresh, other = screen(size)
    other.show(GOING, GOING.at)
    assert stream.text.endswith(fresh.text)


def test_what_stood_above_stays_and_nothing_is_left_behind():
    stream, live = screen((80, 24))
    live.say("a note")
    live.open()
    live.show(WAITING, WAITING.at)
    assert stream.text.startswith("a note\nbase-image-rebuild")
    live.close()
    live.say("the report")
    assert stream.text == "a note\nthe report\n"


def test_lines_of_the_log_scroll_above_the_picture_only_when_they_are_wanted():
    for logs in (True, False):
        stream, live = screen((80, 40), logs=logs)
        live.open()
        live.show(WAITING, WAITING.at)
        live.say("01:00:00 warning of something")
        live.show(WAITING, WAITING.at)
        assert stream.text.startswith("01:00:00 warning of something\nbase-image-rebuild") is logs
        assert stream.text.count("base-image-rebuild") == 1


def test_a_terminal_without_signs_gets_letters():
    stream, _ = screen((80, 24))
    stream.encoding = "ascii"
    Redrawn(stream, colour=True, size=lambda: (80, 24)).show(GOING, GOING.at)
    assert stream.written.isascii()
    assert stream.rows[1].startswith("[===")
    assert "x failed" in stream.text


# -- what is shown ---------------------------------------------------------------------------------------------------


def lines(seen, columns=80, rows=24):
    return [line.drawn(columns, colour=False)[0] for line in picture(seen, columns, rows, Style())]


def test_what_is_not_known_is_left_out():
    unknown = replace(
        GOING, rate=None, allowed=None, in_flight_limit=None, trigger_left=None, build_left=None, doubts=0, longest=()
    )
    text = "\n".join(lines(replace(unknown, keys={**unknown.keys, Outcome.IN_DOUBT: 0}), 120, 40))
    assert "triggered    325 of 361\n" in text.replace(" \n", "\n")
    assert not re.search(r"allowed|unknown|None|about|running longest|[0-9]/s", text)


def test_time_left_that_cannot_be_known_says_why():
    late = replace(GOING, build_left=Left(40.0, "2 builds take longer than before"))
    assert "last build: unknown, 2 builds take longer than before" in "\n".join(lines(late, 120))
    assert lines(late, 40)[-1] == "time left unknown, 2 builds take longer…"


def test_names_from_outside_steer_nothing_break_nothing_and_are_ordered_by_themselves():
    odd = "travis:acme/\x1b[2J\r\nevil\u202e@main"
    arabic = "travis:acme/\u0645\u0634\u0631\u0648\u0639@main"
    wide = "travis:acme/" + "\u754c" * 60 + "@main"
    emoji = "travis:acme/\U0001f680" * 3
    bad = [NotPassed(GOING.at, one, Outcome.FAILED, "note\x07" + one) for one in (odd, arabic, wide, emoji)]
    for columns in (60, 80, 120, 200):
        for line in lines(replace(GOING, newest=tuple(bad)), columns, 40):
            assert not re.search("[\x00-\x1f\x7f\u202e]", line)
            assert width_of(line) <= columns
            assert line.count("\u2068") == line.count("\u2069")
    assert name("acme/\u0645\u0634\u0631\u0648\u0639").startswith("\u2068")
    assert name("acme/x") == "acme/x"


@pytest.mark.parametrize(
    ("text", "width", "expected"),
    [
        ("acme/widget", 11, "acme/widget"),
        ("acme/widget", 8, "acme/wi…"),
        ("\u754c\u754c\u754c", 4, "\u754c…"),
        ("e\u0301e\u0301e\u0301", 2, "e\u0301…"),
        ("acme", 0, ""),
    ],
)
def test_a_text_is_cut_by_cells_and_accents_stay_with_their_letters(text, width, expected):
    assert cut(text, width) == expected
    assert width_of(cut(text, width)) <= width


def test_every_share_of_a_bar_is_seen_and_all_fill_it():
    keys = {Outcome.PASSED: 4990, Outcome.FAILED: 1, Outcome.IN_DOUBT: 1, Phase.RUNNING: 7, Phase.WAITING: 1}
    for width in (5, 18, 40, 200):
        found = shares(keys, width)
        assert set(found) == set(keys)
        assert sum(found.values()) == width
        assert list(found) == [key for key in ORDER if key in keys]
    assert sum(shares({}, 40).values()) == 40


def test_a_command_is_whole_at_every_width():
    for columns in (60, 80, 120):
        assert any(line.endswith("orchestrator approve rich") for line in lines(WAITING, columns))


def test_what_stands_at_the_right_edge_gives_way_where_there_is_no_room():
    line = Line().add("left").end("right")
    assert line.drawn(20, colour=False) == ("left           right", 20)
    assert line.drawn(9, colour=False) == ("left", 4)


def test_run_and_watch_show_the_same_at_the_same_moment():
    driven = snapshot(story(362, 50.0, sent=325), work=Work())
    watched = snapshot(story(362, 50.0, sent=325))
    assert replace(watched, is_ours=True) == driven
