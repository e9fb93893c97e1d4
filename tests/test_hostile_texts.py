"""Whatever services, manifests and people write, through every format and onto the terminal.

Names hold anything: escape sequences, quotes of every language, text from right to left, signs of two cells, halves of
surrogate pairs. A format stays what it is, and shows the text; a terminal is not steered, and a line keeps its width.
"""

import csv
import io
import json
import re
from html.parser import HTMLParser
from xml.etree import ElementTree

import junitparser
import yaml
from golden.story import ACCOUNTS, START, target, told
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from orchestrator.core.events import CauseFound, Ended, Intended, Refused, RunMade, Sighted
from orchestrator.core.frozen import replace
from orchestrator.core.model import Build, BuildState, Outcome
from orchestrator.report import FORMATS, render
from orchestrator.report.diff import as_json, as_text, compare
from orchestrator.report.view import view
from orchestrator.report.words import plain, sound
from orchestrator.report.wrap import END_OF_ISOLATE, ISOLATE, Look, Piece, cells, fit, named, wrapped

EVIL = (
    "\x1b[2J\x1b]0;title\x07", "\x1b]8;;https://evil.example\x1b\\x\x1b]8;;\x1b\\",
    "</script><script>alert(1)</script>",
    "'\"><img src=x onerror=alert(1)>", "]]>", "<!--", "&amp;", "| a | b |", "[x](javascript:alert(1))", "@everyone",
    "`code`", "## heading", "=cmd|'/C calc'!A0", "+1", "-1", "@SUM(1)", "a,b;c\t\"d\"", "line\nline\r\n",
    "\u2028\u2029",
    "\u202eevil", "\u05e9\u05dc\u05d5\u05dd", "\u0645\u0631\u062d\u0628\u0627 acme", "\u2066x", "\u6f22\u5b57" * 40,
    "\U0001f469\u200d\U0001f469\u200d\U0001f467", "e\u0301" * 30, "x" * 300, "\ud800", "\x00\x7f\x9b31m", "{{ 7 * 7 }}",
    "- [ ] {a: b}", "#", "%s %d", "$(id)", "; rm -rf /", "~", "null", "\ufeff",
)  # fmt: skip
texts = st.one_of(
    st.sampled_from(EVIL), st.text(max_size=60), st.lists(st.sampled_from(EVIL), max_size=3).map(" ".join)
)
hostile = settings(max_examples=40, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow])
SGR = re.compile(r"\x1b\[[0-9;]*m|\x1b\]8;;[^\x07\x1b]*\x1b\\")
STEERS = re.compile("[\x00-\x09\x0b-\x1f\x7f-\x9f\u200b\u200e\u200f\u2028-\u202e\u2060-\u2067\ufeff]")


@st.composite
def reports(draw):
    """A run of four targets in which every text is somebody else's."""
    repos = [f"acme/{n}{sound(draw(texts))[:40]}" for n in range(4)]
    targets = [target(f"travis:{repo}@main", name=None, labels=(draw(texts),)) for repo in repos]
    failed, refused, doubtful, passed = (one.id for one in targets)
    build = Build("7", BuildState.FAILED, draw(texts), draw(texts), f"https://ci.example/{draw(texts)}", draw(texts))
    facts = [
        (1, Intended(failed, 1, draw(texts))),
        (2, Sighted(failed, build)),
        (3, Ended(failed, Outcome.FAILED, "build_failed", draw(texts))),
        (3, CauseFound(failed, draw(texts), draw(texts), draw(texts), 1, draw(texts), draw(texts))),
        (3, Refused(refused, draw(texts), draw(texts))),
        (3, Ended(doubtful, Outcome.IN_DOUBT, "in_doubt", draw(texts))),
        (3, Ended(passed, Outcome.PASSED, "passed", draw(texts))),
    ]
    made = RunMade(draw(texts), draw(texts), "", params={"p": draw(texts)}, accounts=ACCOUNTS)
    story = told(targets, *facts, made=made, now=9)
    return replace(view("r1", story.history, START + 9), facts=[("r1", entry) for entry in story.entries])


def is_copied(word):
    return re.search(r"[/@:]|\.\w+$|^-", word) or word.startswith(("'", '"'))


def check_lines(text, width):
    """No line steers the terminal, and none is wider but for what a person copies."""
    for line in text.split("\n"):
        assert not STEERS.search(line)
        assert line.count(ISOLATE) == line.count(END_OF_ISOLATE)
        if cells(line) > width and "orchestrator " not in line:
            words = [word for word in re.split(" +", line) if cells(word) > width // 4]
            assert any(map(is_copied, words)) or "acme/" in line, (width, line)  # an id is whole, spaces and all


@hostile
@given(reports(), st.sampled_from([20, 40, 80, 120, 200]))
def test_the_text_report_steers_no_terminal_and_keeps_its_width(report, width):
    text = render(report, "text", width=width)
    assert "\x1b" not in text
    check_lines(text, width)
    painted = render(report, "text", width=width, colour=True, links=True, page="out/report.html")
    bare = SGR.sub("", painted)
    assert "\x1b" not in bare
    check_lines(bare, width)
    assert painted.count("\x1b]8;;http") == painted.count("\x1b]8;;\x1b\\")
    assert bare.rstrip("\n").endswith("out/report.html")
    for row in report.targets[:3]:
        assert named(row.id.removeprefix("travis:")) in text


@hostile
@given(reports())
def test_every_format_stays_what_it_is(report):
    made = {name: render(report, name) for name in FORMATS}
    assert all(text.encode() for text in made.values())
    document = json.loads(made["json"])
    assert [row["id"] for row in document["targets"]] == [sound(row.id) for row in report.targets]
    assert [json.loads(line) for line in made["jsonl"].rstrip("\n").split("\n")] == document["targets"]
    assert len([json.loads(line) for line in made["events"].rstrip("\n").split("\n")]) == len(report.facts)
    assert len(json.loads(made["ctrf"])["results"]["tests"]) == 4

    suites = ElementTree.fromstring(made["junit"])
    assert [case.get("name") for case in suites.iter("testcase")] == [sound(plain(row.id)) for row in report.targets]
    assert sum(len(list(suite)) for suite in junitparser.JUnitXml.fromstring(made["junit"].encode())) == 4

    rows = list(csv.reader(io.StringIO(made["csv"])))
    assert {len(row) for row in rows} == {len(rows[0])}
    assert not any(cell.startswith(("=", "+", "-", "@", "\t", "\r")) for row in rows for cell in row)

    assert len(made["list"].splitlines()) <= 4
    assert yaml.safe_load(made["manifest"])["version"] == 1

    for line in made["markdown"].splitlines():
        assert not re.search(r"<|(?<!\\)\]\((?!https?://)|://(?!ci\.example)[^)]*$", re.sub(r"`[^`]*`", "", line)), line
        assert not STEERS.search(line)
    assert Page(made["html"]).scripts == 1


class Page(HTMLParser):
    def __init__(self, text):
        super().__init__()
        self.scripts = 0
        self.feed(text)
        assert "</script><script>alert" not in text

    def handle_starttag(self, tag, attrs):
        self.scripts += tag == "script" and dict(attrs).get("type") is None
        assert tag not in ("img", "iframe", "object", "embed", "base", "form")
        assert not any(name.startswith("on") for name, _ in attrs)


@hostile
@given(reports(), reports(), st.sampled_from([20, 40, 80, 200]))
def test_what_changed_between_two_runs_is_shown_and_steers_nothing(before, after, width):
    diff = compare(before, after)
    check_lines(as_text(diff, look=Look(width)), width)
    assert json.loads(as_json(diff))["schema"] == "orchestrator.diff/1"
    assert json.loads(render(replace(after, since=diff), "json"))["since"]["run"] == "r1"


@hostile
@given(st.lists(texts, max_size=6), st.sampled_from([20, 40, 80, 200]), st.integers(0, 12))
def test_wrapping_loses_nothing_but_spaces_and_keeps_the_width(words, width, hang):
    line = [Piece(named(word), bold=bool(n % 2)) for n, word in enumerate(words)]
    made = list(wrapped(line, width, hang))
    joined = "".join(piece.text for part in made for piece in part)
    bare = str.maketrans("", "", f" {ISOLATE}{END_OF_ISOLATE}")
    assert joined.translate(bare) == "".join(piece.text for piece in line).translate(bare)
    for part in made:
        shown = "".join(piece.text for piece in part)
        assert cells(shown) <= max(width, hang + 10) or any(map(is_copied, shown.split(" ")))


def test_of_a_plain_line_commands_stay_whole_and_the_words_around_them_are_wrapped():
    line = "finish it (orchestrator resume r1 --state /s) or end it (orchestrator cancel r1 --state /s); or start anew"
    assert fit(line, 40).split("\n") == [
        "finish it",
        "  (orchestrator resume r1 --state /s) or",
        "  end it",
        "  (orchestrator cancel r1 --state /s);",
        "  or start anew",
    ]
    assert fit("go on with: orchestrator resume r1 --state /s", 30).split("\n") == [
        "go on with:",
        "  orchestrator resume r1 --state /s",
    ]


@hostile
@given(texts, st.sampled_from([20, 80]))
def test_plain_lines_are_wrapped_without_a_loss(text, width):
    line = f"  {plain(text)} then `orchestrator resume r1 --state 'a b'`"
    made = fit(line, width)
    assert "".join(made.split()) == "".join(line.split())  # of spaces, those of a break may go, of whatever kind
    assert "`orchestrator resume r1 --state 'a b'`" in made
