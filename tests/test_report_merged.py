import json
from itertools import count

import pytest
from golden.story import target, told

from orchestrator.core.events import Ended, Intended, Interrupted, RunEnded, Tally
from orchestrator.core.frozen import replace
from orchestrator.core.model import Outcome
from orchestrator.report import EVENTS, render
from orchestrator.report import FORMATS as ALL
from orchestrator.report.hints import next_steps
from orchestrator.report.merged import merged
from orchestrator.report.view import view

FORMATS = [name for name in ALL if name != EVENTS]  # that one shows the journal, not the report
F, P, D, S = Outcome.FAILED, Outcome.PASSED, Outcome.IN_DOUBT, Outcome.SKIPPED


def report(run, *, sent=True, end=RunEnded(0), parent=None, **outcomes):  # noqa: B008  # a frozen value
    """A run that ended its targets so; None leaves one open. `sent`: with a call each."""
    ids, at = {name: f"travis:acme/{name}@main" for name in outcomes}, count(1)
    facts = [(next(at), Intended(id_, 1, None)) for id_ in ids.values()] if sent else []
    facts += [(next(at), Ended(ids[name], one, one.value, "")) for name, one in outcomes.items() if one is not None]
    story = told([target(id_) for id_ in ids.values()], *facts, *([(next(at), end)] if end is not None else []))
    made = replace(story.history.made, parent=parent)
    story.history.made = made
    return view(run, story.history, story.now)


def outcomes(found):
    return {row.repo.removeprefix("acme/"): row.outcome for row in found.targets}


def test_a_merged_report_has_every_target_as_the_last_run_left_it_that_asked_for_it():
    found = merged([report("r1", a=P, b=F, c=F), report("r2", b=P, c=F), report("r3", c=P)])
    assert outcomes(found) == {"a": P, "b": P, "c": P}
    assert [row.run for row in found.targets] == ["r1", "r2", "r3"]
    assert (found.totals["targets"], found.totals["passed"], found.totals["open"]) == (3, 3, 0)
    assert (found.run.id, found.run.exit_code, found.run.merged) == ("r1", 0, ("r1", "r2", "r3"))
    assert [row.attempts for row in found.targets] == [1, 2, 3]


def test_a_retry_that_never_sent_a_target_leaves_its_outcome():
    stopped = report("r2", sent=False, end=Interrupted("SIGINT", 130), a=None, b=S)
    found = merged([report("r1", a=F, b=F), stopped])
    assert outcomes(found) == {"a": F, "b": F}
    assert found.run.exit_code == 1


def test_what_a_retry_that_goes_on_is_still_to_send_is_open():
    found = merged([report("r1", a=F, b=P), report("r2", sent=False, end=None, a=None)])
    assert outcomes(found) == {"a": None, "b": P}
    assert (found.run.status, found.run.exit_code, found.run.finished_at) == ("running", None, None)


@pytest.mark.parametrize(("left", "code"), [(F, 1), (D, 3), (P, 0), (S, 0)])
def test_the_exit_code_of_a_merged_report_is_that_of_the_whole(left, code):
    assert merged([report("r1", a=F, b=left, c=F), report("r2", a=P, c=P)]).run.exit_code == code


def test_calls_and_waits_of_all_runs_are_added_up():
    tally = Tally("travis", {"trigger": 1, "poll": 3}, {"triggers 40/30s": 1}, {"triggers 40/30s": 1.5})
    runs = [report(name, end=RunEnded(0, (tally,)), a=F) for name in ("r1", "r2")]
    found = merged(runs)
    assert found.calls == {"trigger": 2, "find": 0, "poll": 6, "other": 0}
    (limit,) = [one for one in found.limits if one.limit == "triggers 40/30s"]
    assert (limit.used, limit.waited_seconds) == (2, 3.0)


@pytest.mark.parametrize("format_", FORMATS)
def test_every_format_shows_a_merged_report(format_):
    found = merged([report("r1", a=P, b=F), report("r2", b=F)])
    text = render(found, format_)
    assert "acme/b" in text
    if format_ in ("text", "html", "markdown"):
        assert "retried as r2" in text.replace("<b><bdi>", "")


def test_a_merged_report_names_its_runs_for_programs():
    document = json.loads(render(merged([report("r1", a=P, b=F), report("r2", b=F)]), "json"))
    assert document["run"]["merged"] == ["r1", "r2"]
    assert [row["run"] for row in document["targets"]] == ["r1", "r2"]


def test_of_several_runs_the_newest_is_retried_and_why_asks_the_one_that_left_the_target():
    found = merged([report("r1", a=F, b=F), report("r2", b=F, a=P)])
    assert [hint.line() for hint in next_steps(found)] == [
        "build again: orchestrator retry r2",
        "one target: orchestrator why r2 acme/b@main",
        "every target: orchestrator report r1 --merged -o csv",
    ]
