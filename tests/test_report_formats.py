import csv
import io
import json
import re
import time
import uuid
from collections import Counter
from datetime import date
from xml.etree import ElementTree

import jsonschema
import junitparser
import pytest
import yaml
from golden.story import CASES, HERE, START, read, target, told
from junit2htmlreport import parser

from orchestrator.core.events import (
    CauseFound,
    Ended,
    Intended,
    Interrupted,
    Refused,
    Requested,
    RunMade,
    Sighted,
    Stopped,
    to_json,
)
from orchestrator.core.model import Account, Build, BuildState, Limit, Outcome, Timeouts
from orchestrator.manifest import Answers, expand
from orchestrator.manifest import read as read_manifest
from orchestrator.providers.registry import known
from orchestrator.report import render
from orchestrator.report.formats.junit import element_of
from orchestrator.report.formats.manifest import written
from orchestrator.report.groups import to_rerun
from orchestrator.report.view import view

A = "travis:acme/a@main"


def seen(story):
    return view(story.run_id, story.history, story.now)


def rendered(case, name, **options):
    return render(seen(read(case)), name, **options)


def many(number, outcome=Outcome.FAILED, reason="build failed"):
    names = [f"travis:acme/r{n:05}@main" for n in range(number)]
    facts = []
    for n, name in enumerate(names):
        build = Build(
            str(n),
            BuildState.FAILED,
            "failed",
            str(n),
            f"https://ci.example/{n}",
            started_at=START,
            finished_at=START + n,
        )
        facts += [(1, Intended(name, 1, None)), (2, Sighted(name, build)), (3, Ended(name, outcome, "code", reason))]
    return seen(told([target(name) for name in names], *facts))


# -- text ------------------------------------------------------------------------------------------------------------


def test_text_begins_with_doubt_and_ends_with_verdict_and_commands():
    text = rendered("mixed", "text")
    assert text.startswith("?   1  in doubt: nobody knows whether a build was started\n")
    end = text.split("\n\n")[-1].splitlines()
    assert end == [
        "settle the doubts orchestrator resume mixed-1",
        "build again       orchestrator retry mixed-1",
        "one target        orchestrator why mixed-1 acme/lost@main",
        "every target      orchestrator report mixed-1 -o csv",
    ]
    assert "? in doubt \u00b7 exit 3  4 of 14 passed." in text


def test_the_path_of_the_page_stands_last():
    assert rendered("mixed", "text", page="out/report.html").splitlines()[-1] == "the page          out/report.html"


def test_without_colour_the_bar_is_of_letters_in_a_frame_and_with_it_as_wide_as_the_terminal():
    (plain_bar,) = [line for line in rendered("mixed", "text", width=60).splitlines() if line.startswith("[?")]
    assert len(plain_bar) == 60
    assert set(plain_bar) == set("[?x!o/-^.=]")
    drawn = [line for line in rendered("mixed", "text", width=60, colour=True).splitlines() if "\u2501" in line]
    assert [line.count("\u2501") for line in drawn] == [60]


def test_urls_hide_behind_words_only_where_the_terminal_has_links():
    linked = rendered("mixed", "text", links=True)
    url = "https://app.travis-ci.com/github/acme/api/builds/555002"
    assert f"\x1b]8;;{url}\x1b\\build #402\x1b]8;;\x1b\\" in linked
    assert f"  {url}" not in linked


def test_on_a_low_terminal_fewer_targets_are_named_and_the_verdict_is_seen():
    report = many(400)
    assert len(render(report, "text", height=24).splitlines()) <= 23
    assert "\u2026 " in render(report, "text", height=24)


def test_text_names_at_most_fifty_and_says_how_many_more():
    text = render(many(400), "text")
    assert text.count("https://ci.example/") == 50
    assert "\u2026 350 more" in text


def test_text_does_not_name_what_passed():
    assert rendered("passed", "text", width=20) == (
        "[==================]\n\u2713 2 passed\n\u2713 passed \u00b7 exit 0\n  All 2 passed.\n"
        "  nightly passed-1,\n  2 targets, 6 min\n  40 s, 10 build\n  minutes\n"
    )


def test_text_cuts_no_id_and_no_url_on_a_narrow_terminal():
    wide, narrow = rendered("mixed", "text", width=200), rendered("mixed", "text", width=40)
    words = re.findall(r"\S*(?:acme/|https:)\S+", wide)
    assert len(words) > 12
    assert [word for word in words if word not in narrow] == []


def test_text_has_colour_only_when_asked():
    assert "\x1b" not in rendered("mixed", "text")
    painted = rendered("mixed", "text", colour=True)
    bare = re.sub(r"\x1b\[[0-9;]*m", "", painted).split("\n\n")
    plain = rendered("mixed", "text").split("\n\n")
    assert bare[:2] == plain[:2]  # bar and totals are letters and symbols where nothing is coloured
    assert bare[2].splitlines()[-3:] == plain[2].splitlines()[-3:]
    assert bare[3] == plain[3]


def test_text_lets_nothing_steer_the_terminal():
    assert not re.search("[\x00-\x09\x0b-\x1f\x7f-\x9f\u202e\u200b]", rendered("hostile", "text"))


def test_a_thousand_reasons_do_not_make_a_thousand_lines():
    names = [f"travis:acme/r{n}@main" for n in range(1000)]
    refused = [(1, Refused(name, f"code_{n}", name)) for n, name in enumerate(names)]
    report = seen(told([target(name) for name in names], *refused))
    text = render(report, "text")
    assert len(text.splitlines()) < 70
    assert "975 more targets for 975 other causes" in text


def test_a_run_stopped_by_a_rule_says_how_to_override_it():
    facts = [(1, Stopped("max_fail", "1 of 2 failed; 1 stop the run")), (2, Interrupted("stopped", 5))]
    text = render(seen(told([target(A)], *facts)), "text")
    assert "\u2298 stopped by max-fail \u00b7 exit 5  1 of 2 failed; 1 stop the run. 1 was not sent." in text
    assert "orchestrator resume r1 --override-stop" in text


def test_a_stopped_account_is_resumed_without_overriding_anything():
    assert "orchestrator resume stopped-1\n" in rendered("stopped", "text")


# -- json ------------------------------------------------------------------------------------------------------------


def test_jsonl_is_the_targets_of_json_a_line_each():
    lines = rendered("mixed", "jsonl").splitlines()
    assert [json.loads(line) for line in lines] == json.loads(rendered("mixed", "json"))["targets"]


# -- junit -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("case", CASES)
def test_a_junit_reader_accepts_the_file_and_counts_the_same(case):
    report = seen(read(case))
    suites = list(junitparser.JUnitXml.fromstring(render(report, "junit").encode()))
    cases = [one for suite in suites for one in suite]
    assert [one.name for one in cases] == [
        one.id.replace("\u202e\u200b", " ") for one in sorted(report.targets, key=lambda row: row.wave)
    ]
    for suite in suites:
        kinds = [type(one.result[0]).__name__ for one in suite if one.result]
        assert (suite.tests, suite.failures, suite.errors, suite.skipped) == (
            len(list(suite)),
            kinds.count("Failure"),
            kinds.count("Error"),
            kinds.count("Skipped"),
        )


@pytest.mark.parametrize("case", CASES)
def test_a_second_junit_reader_sees_the_same_cases_with_the_same_ends(case):
    """junit2html, which CI jobs make pages with."""
    report = seen(read(case))
    found = parser.Junit(xmlstring=render(report, "junit"))
    cases = [one for suite in found.suites for klass in suite.classes.values() for one in klass.cases]
    ends = {"": "passed", "error": "failed", "failure": "failed", "skipped": "skipped"}
    assert Counter(one.outcome().value for one in cases) == Counter(ends[element_of(row)] for row in report.targets)


@pytest.mark.parametrize(
    ("outcome", "kind"),
    [
        (Outcome.PASSED, None),
        (Outcome.FAILED, "failure"),
        (Outcome.ERRORED, "error"),
        (Outcome.CANCELED, "error"),
        (Outcome.REJECTED, "error"),
        (Outcome.IN_DOUBT, "error"),
        (Outcome.TIMED_OUT, "error"),
        (Outcome.SKIPPED, "skipped"),
        (Outcome.SUPERSEDED, "skipped"),
        (None, "error"),
    ],
)
def test_every_outcome_has_its_junit_element(outcome, kind):
    facts = [] if outcome is None else [(1, Ended(A, outcome, "code", "reason"))]
    root = ElementTree.fromstring(render(seen(told([target(A)], *facts)), "junit"))
    (case,) = root.iter("testcase")
    assert [child.tag for child in case] == ([] if kind is None else [kind])


@pytest.mark.parametrize("case", CASES)
def test_junit_has_what_the_strictest_schema_demands(case):
    """The rules of Ant's schema: attributes, their form, and the order of elements."""
    root = ElementTree.fromstring(rendered(case, "junit"))
    assert (root.tag, root.attrib) == ("testsuites", {})
    for number, suite in enumerate(root):
        assert suite.attrib.keys() == {
            *("name", "id", "package", "hostname", "timestamp", "tests", "failures", "errors", "skipped", "time")
        }
        assert suite.get("id") == str(number)
        assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d", suite.get("timestamp"))
        tags = [child.tag for child in suite]
        assert tags == ["properties", *["testcase"] * (len(tags) - 3), "system-out", "system-err"]
        for one in suite.iter("testcase"):
            assert one.attrib.keys() == {"name", "classname", "time"}
            assert all("type" in child.attrib for child in one if child.tag in ("failure", "error"))


def test_causes_stand_in_every_format_and_are_never_rendered():
    evil = "<script>alert(1)</script> | `x` @all"
    facts = [
        fact
        for n, id_ in enumerate((A, B), 1)
        for fact in (
            (n, Ended(id_, Outcome.FAILED, "build_failed", "build failed")),
            (n, CauseFound(id_, "s", evil, "1.2", 3, "javascript:x", f"one\n\x1b[2J{evil}]]>")),
        )
    ]
    report = seen(told([target(A), target(B)], *facts))
    assert "\u00d7   2  the build failed: <script>" in render(report, "text")
    page = render(report, "html")
    assert "The build failed: &lt;script&gt;alert(1)" in page
    assert "javascript:x" not in page
    assert "alert(1)</script>" not in page
    assert "| 2 |" in render(report, "markdown")
    assert "<script>" not in render(report, "markdown")
    cases = list(ElementTree.fromstring(render(report, "junit")).iter("testcase"))
    assert [case.find("system-out").text.splitlines() for case in cases] == [["one", f"[2J{evil}]]>"]] * 2
    assert json.loads(render(report, "ctrf"))["results"]["tests"][0]["message"].startswith("build failed: <script>")


def test_junit_keeps_no_character_that_xml_forbids():
    assert not re.search("[\x00-\x08\x0b\x0c\x0e-\x1f\ufffe\uffff]", rendered("hostile", "junit"))


# -- csv -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("case", CASES)
def test_no_cell_can_start_a_formula(case):
    for line in csv.reader(io.StringIO(rendered(case, "csv"))):
        assert not any(cell.startswith(("=", "+", "-", "@", "\t", "\r")) for cell in line)


def test_csv_has_a_row_a_target_with_the_names_of_the_json_report():
    rows = list(csv.DictReader(io.StringIO(rendered("mixed", "csv"))))
    plain = json.loads(rendered("mixed", "json"))["targets"]
    assert [row["id"] for row in rows] == [row["id"] for row in plain]
    assert set(rows[0]) == set(plain[0]) - {"builds"}
    assert rows[4]["matrix"] == "python=3.11"
    assert rows[1]["labels"] == "core;http"


# -- markdown --------------------------------------------------------------------------------------------------------


def test_markdown_shows_text_from_outside_and_renders_none_of_it():
    text = rendered("hostile", "markdown")
    for odd in ("<img", "<script", "<b>", "](javascript:", "![x]", "`code`", "http://evil", "@everyone", "## heading"):
        assert odd not in text
    table = [line for line in text.splitlines() if line.startswith("|")]
    assert {line.count("|") for line in table} == {5, 6}  # limits, and targets


def test_markdown_is_cut_before_the_limit_and_says_so():
    report = many(3000)
    text = render(report, "markdown", at_most=60_000)
    assert len(text.encode()) < 60_000
    named = text.count("| failed | travis:acme/r")
    assert 100 < named < 3000
    assert f"{3000 - named:,} more targets left out" in text


def test_markdown_fits_github_however_many_targets():
    assert len(render(many(5_000, reason="x" * 290), "markdown").encode()) < 1_000_000


# -- ctrf ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("case", CASES)
def test_ctrf_is_what_its_own_schema_says(case):
    """`ctrf-schema.json` is that of the package ctrf 0.3.0 (MIT), as it was published."""
    schema = json.loads((HERE.parent / "data" / "ctrf-schema.json").read_text(encoding="utf-8"))
    jsonschema.validate(json.loads(rendered(case, "ctrf")), schema, format_checker=jsonschema.FormatChecker())


@pytest.mark.parametrize("case", CASES)
def test_ctrf_has_the_fields_that_its_schema_demands(case):
    report = seen(read(case))
    document = json.loads(render(report, "ctrf"))
    assert (document["reportFormat"], document["specVersion"]) == ("CTRF", "1.0.0")
    summary, tests = document["results"]["summary"], document["results"]["tests"]
    statuses = [test["status"] for test in tests]
    assert summary["tests"] == len(tests) == report.totals["targets"]
    for status in ("passed", "failed", "skipped", "pending", "other"):
        assert summary[status] == statuses.count(status)
    assert summary["start"] == START * 1000 <= summary["stop"]
    for test in tests:
        assert test.keys() >= {"name", "status", "duration"}
        uuid.UUID(test["id"])


def test_ctrf_tells_doubt_and_openness_apart_from_failure():
    words = {test["rawStatus"]: test["status"] for test in json.loads(rendered("mixed", "ctrf"))["results"]["tests"]}
    assert (words["in doubt"], words["failed"], words["superseded"]) == ("other", "failed", "skipped")
    assert {test["status"] for test in json.loads(rendered("stopped", "ctrf"))["results"]["tests"]} == {
        "passed",
        "pending",
    }


# -- list and manifest -----------------------------------------------------------------------------------------------


def test_the_list_has_what_did_not_pass_and_comments_on_what_is_in_doubt():
    lines = rendered("mixed", "list").splitlines()
    assert "acme/api@main" in lines
    assert "acme/busy" in lines
    assert "# left out, in doubt: acme/lost@main" in lines
    assert "acme/lib@main" not in lines
    assert "acme/old@main" not in lines
    assert len(lines) == len(set(lines))


@pytest.mark.parametrize("case", sorted(set(CASES) - {"hostile"}))  # its names are such as no manifest may hold
def test_the_manifest_is_accepted_and_asks_for_exactly_the_same_again(case):
    story = read(case)
    text = rendered(case, "manifest").encode()
    manifest = read_manifest("again.yaml", text, declarations=known(), load=lambda path: b"")
    again = {one.id: one for one in expand(manifest, Answers(), today=date(2026, 1, 5)).targets}
    safe, _ = to_rerun(seen(story).targets)
    assert list(again) == [row.id for row in safe]
    for row in safe:
        one, before = again[row.id], row.target
        for name in ("account", "repo", "branch", "matrix", "name", "labels", "marked", "timeouts", "request"):
            assert getattr(one, name) == getattr(before, name), name


ODD_TEXTS = [
    "",
    " a ",
    "'",
    '"',
    "\\",
    "on",
    "1.10",
    "- *x",
    "#",
    "%YAML",
    "\x85",
    "\u2028",
    "\xa0",
    "\ufeff",
    "\x00\x1b",
    "😀",
    "a\nb",
    "\x7f\x9f",
]


@pytest.mark.parametrize("text", ODD_TEXTS)
def test_any_text_survives_yaml(text):
    assert yaml.safe_load(written(text)) == text
    assert yaml.safe_load(written({text: [text]})) == {text: [text]}


@pytest.mark.parametrize("number", [0, -7, 1.5, 1e20, -2e-9, 1.0, 3.10, True, False, None])
def test_any_number_survives_yaml(number):
    back = yaml.safe_load(written(number))
    assert (back, type(back)) == (number, type(number))


def test_the_manifest_keeps_what_a_person_wrote_about_the_account_and_the_target():
    account = Account(
        "ci",
        "travis",
        "https://ci.example/api",
        "file:token",
        limits=(Limit("triggers", 7, 90, written=True), Limit("calls", 9, 60)),
        connections=4,
        in_flight=3,
        insecure=True,
        settings={"vcs": "gitlab"},
    )
    one = target("ci:42@main", marked=False, timeouts=Timeouts(settle=1.5, queue=7200), labels=("core",), name="n")
    story = told([one], made=RunMade("n", None, "", accounts={"ci": to_json(account)}))
    manifest = yaml.safe_load(render(seen(story), "manifest"))
    assert manifest["providers"]["ci"] == {
        "type": "travis", "url": "https://ci.example/api", "token": "file:token", "insecure": True, "vcs": "gitlab",
        "limits": {"triggers": "7/90s", "connections": 4, "in_flight": 3},
    }  # fmt: skip
    assert manifest["targets"] == [
        {"account": "ci", "repo": 42, "branch": "main", "name": "n", "labels": ["core"], "marker": "none",
         "timeouts": {"settle": "1500ms", "queue": "2h"}},
    ]  # fmt: skip


def test_a_need_that_passed_is_not_asked_for_again():
    a, b = target(A), target("travis:acme/b@main", needs=(A,))
    facts = [(1, Ended(A, Outcome.PASSED, "passed", "")), (2, Ended(b.id, Outcome.FAILED, "build_failed", ""))]
    (again,) = yaml.safe_load(render(seen(told([a, b], *facts)), "manifest"))["targets"]
    assert "needs" not in again


# -- size ------------------------------------------------------------------------------------------------------------


def test_twice_the_targets_do_not_take_four_times_as_long():
    """Nothing quadratic: measured against itself, generously."""
    report_small, report_large = many(500), many(2000)

    def taken(report):
        best = float("inf")
        for _ in range(3):
            start = time.process_time()
            for name in ("text", "json", "junit", "markdown", "csv", "ctrf", "list", "manifest"):
                render(report, name)
            best = min(best, time.process_time() - start)
        return best

    assert taken(report_large) < 10 * taken(report_small)


def foretold(*facts):
    cast = {"last_trigger_seconds": 10.0, "last_build_seconds": 20.0}
    story = told([target(A), target(B)], *facts, made=RunMade("n", None, "", forecast=cast))
    return view(story.run_id, story.history, story.now)


B = "travis:acme/b@main"
BUILT = (
    (1, Intended(A, 1, None)),
    (1, Requested(A, "1", "answered")),
    (9, Sighted(A, Build("1", BuildState.PASSED, "passed"))),
    (9, Ended(A, Outcome.PASSED, "passed", "")),
)
REJECTED = (
    (2, Intended(B, 1, None)),
    (2, Requested(B, "2", "answered")),
    (43, Ended(B, Outcome.REJECTED, "no_jobs", "no jobs")),
)


def test_a_rejected_request_is_no_last_build():
    assert foretold(*BUILT, *REJECTED).forecast.actual_last_build_seconds == 9.0
    skipped = (1, Ended(A, Outcome.SKIPPED, "s", "s"))
    assert foretold(skipped, *REJECTED).forecast.actual_last_build_seconds is None


@pytest.mark.parametrize("name", ["text", "markdown"])
def test_people_read_what_was_forecast_beside_what_happened(name):
    assert "last build after 9 s, 20 s were forecast" in render(foretold(*BUILT, *REJECTED), name)


def test_what_passed_only_after_a_rerun_is_named_in_every_format_for_people():
    facts = [(n, Ended(id_, Outcome.PASSED, "passed_after_rerun", "build passed")) for n, id_ in enumerate((A, B), 1)]
    report = seen(told([target(A), target(B)], *facts))
    said = f"laky: 2 targets passed only after a rerun: {A}, {B}"
    assert said in render(report, "text")
    assert said in render(report, "html")
    assert "laky: 2 targets passed only after a rerun" in render(report, "markdown")
    assert [test["flaky"] for test in json.loads(render(report, "ctrf"))["results"]["tests"]] == [True, True]
