import json

import pytest
from golden.story import read, target, told

from orchestrator.core.events import Ended, Intended
from orchestrator.core.model import Outcome
from orchestrator.report.diff import KINDS, as_json, as_text, compare
from orchestrator.report.view import view


def report(**outcomes):
    """A run with a target for each name, ended so; None leaves it open."""
    names = {name: f"travis:acme/{name}@main" for name in outcomes}
    facts = [(1, Ended(names[name], one, one.value, "")) for name, one in outcomes.items() if one is not None]
    story = told([target(name) for name in names.values()], *facts)
    return view(story.run_id, story.history, story.now)


def kinds(before, after):
    diff = compare(before, after)
    return {
        change.id.removeprefix("travis:acme/").removesuffix("@main"): kind
        for kind in KINDS
        for change in diff.changes[kind]
    }


F, P, D, S = Outcome.FAILED, Outcome.PASSED, Outcome.IN_DOUBT, Outcome.SKIPPED


@pytest.mark.parametrize(
    ("before", "after", "kind"),
    [
        (P, F, "newly_failing"),
        (None, F, "newly_failing"),
        (D, F, "newly_failing"),
        (F, P, "fixed"),
        (Outcome.REJECTED, P, "fixed"),
        (F, Outcome.ERRORED, "still_failing"),
        (F, None, "undecided"),
        (F, D, "undecided"),
        (P, S, "undecided"),
    ],
)
def test_a_change_has_its_kind(before, after, kind):
    assert kinds(report(a=before), report(a=after)) == {"a": kind}


@pytest.mark.parametrize("outcome", [P, S, D, None])
def test_what_stays_well_or_undecided_is_no_change(outcome):
    assert kinds(report(a=outcome), report(a=outcome)) == {}


def test_new_and_gone_are_told_by_the_id():
    assert kinds(report(a=P, b=P), report(b=P, c=F)) == {"c": "new", "a": "gone"}


def test_text_counts_first_and_shows_the_way_from_outcome_to_outcome():
    text = as_text(compare(report(a=P, b=F), report(a=F, b=F)))
    assert text.startswith("r1 -> r1: 1 newly failing, 1 still failing\n")
    assert "\nNEWLY FAILING (1)\n\u00d7   1  failed\n       travis:acme/a@main  passed -> failed\n" in text
    assert "       travis:acme/b@main  failed\n" in text


def test_text_groups_each_kind_by_cause_and_aligns_its_targets():
    after = report(a=F, longer=F, c=Outcome.REJECTED)
    text = as_text(compare(report(a=P, longer=P, c=P), after))
    assert text.splitlines()[2:] == [
        "NEWLY FAILING (3)",
        "\u00d7   2  failed",
        "       travis:acme/a@main       passed -> failed",
        "       travis:acme/longer@main  passed -> failed",
        "\u2298   1  rejected",
        "       travis:acme/c@main       passed -> rejected",
    ]


def test_text_says_so_when_nothing_changed():
    assert as_text(compare(report(a=P), report(a=P))) == "r1 -> r1: no change\n"


def test_text_names_at_most_fifty_of_a_kind():
    before, after = ({f"r{n}": outcome for n in range(80)} for outcome in (P, F))
    text = as_text(compare(report(**before), report(**after)))
    assert text.count("travis:") == 50
    assert "\u2026 30 more" in text


def test_json_has_every_change_with_both_sides():
    document = json.loads(as_json(compare(report(a=P, gone=P), report(a=F, new=None))))
    assert document["schema"] == "orchestrator.diff/1"
    assert document["totals"] == {**dict.fromkeys(KINDS, 0), "newly_failing": 1, "new": 1, "gone": 1}
    (change,) = document["newly_failing"]
    assert (change["before"]["outcome"], change["after"]["outcome"]) == ("passed", "failed")
    assert document["new"][0]["before"] is None


def test_a_target_in_doubt_while_open_is_shown_as_in_doubt():
    story = told([target("travis:acme/a@main")], (1, Intended("travis:acme/a@main", 1, None)))
    after = view("r2", story.history, story.now)
    assert "passed -> in doubt" in as_text(compare(report(a=P), after))


def test_whole_runs_can_be_compared():
    mixed, passed = (view(one.run_id, one.history, one.now) for one in (read("mixed"), read("passed")))
    diff = compare(mixed, passed)
    assert len(diff.gone) == len(mixed.targets)
    assert len(diff.new) == len(passed.targets)
