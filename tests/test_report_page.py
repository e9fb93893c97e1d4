"""The page as text: what it says, what it may load and run, and that no text from outside becomes a part of it."""

import base64
import hashlib
import json
import re
from functools import cache
from html.parser import HTMLParser

import pytest
from golden.story import CASES, START, read, target, told

from orchestrator.core.events import CauseFound, Ended, Intended, Requested, RunMade, Sighted, WaveOpened
from orchestrator.core.frozen import replace
from orchestrator.core.model import Build, BuildState, Outcome
from orchestrator.core.waves import Wave
from orchestrator.report import render
from orchestrator.report.bounds import Bounds
from orchestrator.report.diff import compare
from orchestrator.report.formats.html import AT_MOST, charts, colours, head, sections
from orchestrator.report.formats.html.table import table
from orchestrator.report.groups import groups
from orchestrator.report.marks import COLOURS
from orchestrator.report.view import view
from orchestrator.report.words import link, plain
from tests.nights import STATES, night

A, B, C = "travis:acme/a@main", "travis:acme/b@main", "travis:acme/c@main"


def seen(story):
    return view(story.run_id, story.history, story.now)


def page_of(story, **options):
    return Page(render(seen(story), "html", **options))


class Page(HTMLParser):
    """Tags with their attributes, and what people read."""

    def __init__(self, text):
        super().__init__()
        self.whole, self.tags, self.texts, self._inside = text, [], [], ""
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        self._inside = tag

    def handle_endtag(self, tag):
        self._inside = ""

    def handle_data(self, data):
        if self._inside not in ("script", "style"):
            self.texts.append(data)

    @property
    def said(self):
        return " ".join(" ".join(self.texts).split())

    @property
    def data(self):
        return json.loads(
            re.search(r'<script type="application/json" id="data">(.*?)</script>', self.whole, re.DOTALL)[1]
        )

    def between(self, tag):
        return re.search(f"<{tag}>(.*?)</{tag}>", self.whole, re.DOTALL)[1]


@cache
def large():
    """Ten thousand targets."""
    return page_of(night(count=10_000))


def column(data, name):
    return data[name] if isinstance(data[name], list) else [data[name]] * data["rows"]


def built(*ends):
    """Builds that were triggered at START, each with its seconds from start to end; None: it still waits."""
    facts = []
    for number, times in enumerate(ends):
        name = f"travis:acme/r{number}@main"
        facts += [(0, Intended(name, 1, None)), (1, Requested(name, "1", "answered"))]
        if times is not None:
            at = {"started_at": START + times[0], "finished_at": START + times[1]}
            facts += [(2, Sighted(name, Build("1", BuildState.PASSED, "passed", **at)))]
            facts += [(times[1], Ended(name, Outcome.PASSED, "passed", "build passed"))]
    return told([target(f"travis:acme/r{number}@main") for number in range(len(ends))], *facts, now=100)


# -- nothing but itself ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("case", CASES)
def test_the_page_loads_nothing_and_runs_no_script_but_its_own(case):
    page = page_of(read(case))
    names = [tag for tag, _ in page.tags]
    assert [attributes.get("type") for tag, attributes in page.tags if tag == "script"] == ["application/json", None]
    assert not {"img", "link", "iframe", "object", "embed", "base", "form"} & set(names)
    for _, attributes in page.tags:
        assert not any(name.startswith("on") or name in ("src", "srcset", "action", "style") for name in attributes)
        assert attributes.get("href", "https://").startswith(("https://", "http://", "#"))


def test_the_page_allows_exactly_its_own_style_and_script():
    page = page_of(read("hostile"))
    style, script = (
        base64.b64encode(hashlib.sha256(page.between(tag).encode()).digest()).decode() for tag in ("style", "script")
    )
    (policy,) = [attributes["content"] for _, attributes in page.tags if "http-equiv" in attributes]
    assert policy.split("; ") == [
        "default-src 'none'",
        f"style-src 'sha256-{style}'",
        f"script-src 'sha256-{script}'",
        "base-uri 'none'",
        "form-action 'none'",
    ]


EVIL = "</script><script>alert(1)</script><!-- ]]> \u202egnol\u2066 \x1b[2J " + "x" * 5_000


NAMES = (f"travis:acme/{'n' * 3_000}@main", f"travis:acme/a@{EVIL}", "travis:acme/שלום@main")


@pytest.mark.parametrize("name", NAMES)
def test_no_text_from_outside_becomes_a_part_of_the_page(name):
    build = Build("</script>", BuildState.FAILED, EVIL, EVIL, f"https://ci/?{EVIL}")
    facts = [
        (1, Sighted(name, build)),
        (2, Ended(name, Outcome.FAILED, EVIL, EVIL)),
        (3, CauseFound(name, EVIL, EVIL, EVIL, 3, "javascript:x", EVIL)),
    ]
    made = RunMade(EVIL, EVIL, "", {EVIL: EVIL})
    page = page_of(told([target(name, labels=(EVIL,))], *facts, made=made))
    usual = page_of(read("mixed"))
    assert {tag for tag, _ in page.tags} <= {tag for tag, _ in usual.tags} | {"pre", "code"}
    assert [attributes.get("type") for tag, attributes in page.tags if tag == "script"] == ["application/json", None]
    assert "javascript:" not in page.whole.replace(page.between("script"), "")
    assert page.data["id"] == [plain(name).removeprefix("travis:")]
    assert not any(odd in page.whole for odd in "\u202e\u2066\x1b")


# -- every target, in a small page -------------------------------------------------------------------------------------


@pytest.mark.parametrize("case", CASES)
def test_the_page_has_every_target_as_data(case):
    story = read(case)
    data = page_of(story).data
    assert {data["prefix"] + id_ for id_ in data["id"]} == {plain(one.id) for one in story.history.targets}
    assert data["rows"] == len(story.history.targets)


def test_every_url_can_be_made_again_from_its_pattern():
    twelve = Build("12", BuildState.RUNNING, "r", url="https://ci/12/12")
    stories = [*map(read, CASES), night(count=50), told([target("x:12@main")], (1, Sighted("x:12@main", twelve)))]
    for report in map(seen, stories):
        data = json.loads(table(report, groups(report), AT_MOST))
        urls = {row.id: link(row.url) or "" for row in report.targets}
        for id_, number, key in zip(data["id"], column(data, "url"), column(data, "key"), strict=True):
            repo = re.split(r"[@\[#]", id_ if data["prefix"] else id_.partition(":")[2])[0]
            made = data["urls"][number].replace("\x01", repo, 1).replace("\x02", key, 1)
            assert made == next(url for name, url in urls.items() if plain(name) == data["prefix"] + id_)


def test_ten_thousand_targets_take_less_than_a_megabyte():
    page = large()
    assert len(page.whole.encode()) < 2**20
    assert len(page.data["id"]) == 10_000


def test_a_page_that_is_cut_says_so_and_keeps_what_did_not_pass():
    page = page_of(night(count=60), at_most=20)
    assert len(page.data["id"]) == 20
    assert "40 targets left out here, passed ones first" in page.said
    bad = sum(one.outcome not in ("passed", "skipped") for one in seen(night(count=60)).targets)
    assert [mark[0] for mark in page.data["marks"]][-1] == "passed"
    assert sum(number >= 0 for number in page.data["group"]) >= bad
    assert AT_MOST >= 100_000


# -- what it says ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("state", STATES)
def test_the_head_tells_the_state_by_symbol_word_and_exit_code(state):
    report = seen(night(state))
    page = Page(render(report, "html"))
    code = report.run.exit_code
    assert (f"exit {code}" in page.said) == (code is not None)
    assert [attributes["class"] for tag, attributes in page.tags if "pill" in attributes.get("class", "")] != []
    assert ("What did not pass" in page.said) == (state not in ("passed", "nothing"))
    assert ("Next" in page.said) == (state not in ("passed", "running", "nothing"))


def test_all_green_has_no_causes_and_nothing_to_do():
    page = page_of(night("passed"))
    assert "All 14 passed." in page.said
    assert "Nothing to do." in page.said
    assert not any(tag == "details" for tag, _ in page.tags)


def test_a_cause_has_its_number_remedy_owners_and_names():
    said = page_of(night()).said
    assert "27 The build failed its own log says why umbrella 8, acme 6, hooli 6 +2" in said
    assert "6 Builds are switched off on Travis activate the repository there, or leave it out" in said
    assert "initech/svc-019@main build 40" in said


def test_many_names_are_cut_and_lead_to_the_table():
    page = large()
    names = sum(tag == "li" for tag, _ in page.tags)
    assert 0 < names <= sections.NAMES
    assert any(attributes.get("href") == "#c=1" for _, attributes in page.tags)


def test_doubt_is_open_and_the_other_causes_are_closed():
    opened = ["open" in attributes for tag, attributes in page_of(night()).tags if tag == "details"]
    assert opened == [True] + [False] * 8


def test_the_numbers_are_buttons_that_name_what_they_filter_by():
    marks = [attributes["data-marks"] for _, attributes in page_of(night("running")).tags if "data-marks" in attributes]
    assert marks[0] == "in_doubt"
    assert "running,queued,requested,not_sent" in marks
    assert marks[-2:] == ["passed", "skipped"]


def test_a_run_that_goes_on_shows_what_runs_longest_and_how_to_steer_it():
    page = page_of(night("running"))
    assert "What did not pass so far" in page.said
    assert "Running longest" in page.said
    assert "orchestrator cancel r1 --keep-builds" in page.said
    assert "orchestrator retry" not in page.said


@pytest.mark.parametrize("state", STATES)
def test_commands_can_be_pasted_as_they_stand(state):
    drawn = re.findall(r'<pre class="command"><code>(.*?)</code>', page_of(night(state)).whole)
    commands = [re.sub("</?span>", "", one) for one in drawn]
    assert bool(commands) == (state not in ("passed", "nothing"))
    assert all(command.startswith("orchestrator ") for command in commands)


def test_a_ban_is_told_once_and_not_in_each_row():
    page = page_of(night("banned"))
    assert page.whole.count("has banned") <= 3
    assert "its account is stopped" in page.data["texts"]


def test_the_run_before_is_compared_where_it_is_given():
    before, after = seen(night("failed", seed=6)), seen(night())
    diff = compare(before, after)
    said = Page(render(replace(after, since=diff), "html")).said
    for word, number in (("newly failing", len(diff.newly_failing)), ("fixed", len(diff.fixed))):
        assert number > 0
        assert f"{word} {number}" in said
    assert "Since the run before" not in Page(render(after, "html")).said


def test_waves_stand_in_a_table_where_there_are_several():
    facts = [(0.1, WaveOpened(1, "canary", 1)), (1, Ended(A, Outcome.PASSED, "passed", "build passed"))]
    waves = (Wave(1, "canary", 1), Wave(2, "rest", 1))
    made = RunMade("nightly", None, "", waves=waves)
    story = told([target(A), target(B, wave=2)], *facts, made=made, now=5)
    said = page_of(story).said
    assert "1 canary 1 01:00 UTC" in said
    assert "2 rest 1 not opened" in said
    assert "Waves" not in page_of(night("passed")).said


def test_what_was_allowed_is_written_as_a_number():
    for allowed, text in (
        (1_200.0, "allowed, 1,200"),
        (10.0, "allowed, 10"),
        (8.34, "allowed, 8.3"),
        (2.0, "allowed, 2"),
    ):
        report = replace(seen(built((10, 100))), bounds=Bounds(allowed))
        assert f"{text} " in Page(render(report, "html")).said.replace(", far above", "")


def test_owners_are_shown_where_there_are_several():
    found = sections.owners(seen(night()), is_open=False)
    assert found.rows[0].name == "umbrella"
    assert sum(one.number for one in found.rows) == 362
    assert sections.owners(seen(told([target(A), target(B)])), is_open=False) is None


def test_fine_print_sets_the_forecast_beside_what_happened():
    said = page_of(night()).said
    assert "last trigger after 53 min 12 s, 56 min were forecast" in said
    assert "triggers 30/3m: 362 used" in said
    assert re.search(r"Used [\d,]+ build minutes \(hooli ", said)


def test_the_style_has_each_colour_of_the_one_table():
    assert all(colour.light in colours() and colour.dark in colours() for colour in COLOURS.values())


def test_each_part_of_the_bar_is_seen_and_all_fill_it():
    for state in STATES[:-1]:
        parts = head.bar(seen(night(state)).targets)
        assert sum(part.width for part in parts) == pytest.approx(100, abs=0.05)
        assert min(part.width for part in parts) > 0.3


# -- charts ------------------------------------------------------------------------------------------------------------


def test_the_chart_counts_what_was_queued_and_what_ran():
    report = replace(seen(built((10, 100), (20, 100), None)), bounds=Bounds(30.0, 3))
    rates, at_once = charts.over_time(report)
    assert at_once.most == {"busy": 2, "waiting": 3}
    assert (at_once.start, at_once.end) == ("01:00:00", "01:01:40")
    assert [tick.text for tick in at_once.numbers] == ["0", "2", "4"]
    assert at_once.bound == charts.Line(25.0, 3)
    assert rates.most["busy"] == 3 * 60 / 5  # three in the first five seconds
    assert rates.bound.value == 30.0


def test_a_bound_far_above_all_values_is_not_drawn():
    report = replace(seen(built((10, 100))), bounds=Bounds(None, 1_000))
    rates, at_once = charts.over_time(report)
    assert rates.bound is None
    assert at_once.bound == charts.Line(None, 1_000)
    assert "limit, 1,000, far above" in Page(render(report, "html")).said


def test_there_is_no_chart_of_nothing():
    assert charts.over_time(seen(told([target(A)]))) is None
    assert charts.durations([]) is None


def test_times_of_day_are_round_and_few():
    for length, texts in (
        (90, ["01:00:00", "01:00:15", "01:00:30", "01:00:45", "01:01:00", "01:01:15", "01:01:30"]),
        (5_000, ["01:00", "01:15", "01:30", "01:45", "02:00", "02:15"]),
        (86_400, ["06:00", "12:00", "18:00", "6 Jan"]),
        (10 * 86_400, None),
    ):
        found = [tick.text for tick in charts._times(START, START + length)]
        assert len(found) <= charts.TICKS + 1
        assert texts is None or found == texts


def test_durations_have_their_half_and_what_nineteen_of_twenty_keep():
    found = charts.durations(seen(built(*[(0, second) for second in range(10, 110, 10)])).targets)
    assert (found.half.text, found.most.text) == ("1 min", "1 min 40 s")
    assert sum(bar.kind == "good" for bar in found.bars) == 10


def test_what_is_foretold_is_drawn_pale_behind_now():
    report = replace(seen(night("running")), to_come=[(START + 3_100, START + 4_000)])
    rates, at_once = charts.over_time(report)
    assert 0 < at_once.now < 100
    assert "foretold" in rates.paths
    assert "foretold" in at_once.paths
    said = Page(render(report, "html")).said
    assert "now; to the right as forecast" in said
    assert "everything is sent in about 1 min 40 s, all is over at about 02:06 UTC." in said
    assert rates.end == at_once.end == "02:06"
