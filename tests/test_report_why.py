import json
import typing

from golden.story import START, read, target, told

from orchestrator.core.events import (
    CANCELED,
    KINDS,
    Ended,
    Event,
    Frozen,
    Intended,
    RunEnded,
    Sighted,
    Stopped,
    TargetEvent,
    decode,
    encode,
)
from orchestrator.core.model import Build, BuildState, Outcome, Scope
from orchestrator.report.why import concerns, explain

A, B = "travis:acme/a@main", "travis:acme/b@main"


def explained(case, name):
    story = read(case)
    (one,) = [one for one in story.history.targets if one.id == name]
    return explain(one, story.entries, story.history, story.now, story.run_id).for_people()


def test_a_target_in_doubt_names_every_way_out():
    text = "\n".join(explained("mixed", "travis:acme/lost@main"))
    assert text.startswith("travis:acme/lost@main: in doubt (no answer within 30 s")
    assert "it may have arrived between 2026-01-05T01:11:44Z and 2026-01-05T01:12:14Z" in text
    assert "orchestrator resume mixed-1 --assume-absent travis:acme/lost@main" in text
    assert "orchestrator resume mixed-1 --adopt-request travis:acme/lost@main=ID" in text


def test_an_open_doubt_says_which_look_is_awaited_and_until_when():
    text = "\n".join(explained("running", "travis:acme/lost@main"))
    assert "a lookup may say 'not there' after 2026-01-05T01:02:01Z (in 31 s)" in text
    assert "by 2026-01-05T02:01:01Z" in text


def test_a_frozen_scope_and_a_need_are_named():
    assert explained("running", "travis:other/six@main")[-1].endswith(
        "now: owner:other is left alone until 2026-01-05T02:00:50Z: no credit left"
    )
    assert explained("running", "travis:acme/five@main")[-1] == "  need: travis:acme/two@main is open, running"


def test_a_run_that_nobody_drives_says_how_to_go_on():
    assert explained("stopped", "travis:acme/three@main")[-1].endswith("orchestrator resume stopped-1")


def test_only_the_targets_own_story_is_told():
    facts = [(1, Intended(A, 1, None)), (2, Intended(B, 1, None)), (3, Frozen(Scope.of("owner:other"), START, "x"))]
    story = told([target(A), target(B)], *facts)
    assert [concerns(entry, target(A)) for entry in story.entries] == [True, True, False, False]


def test_facts_of_several_streams_are_told_in_the_order_of_time():
    story = told([target(A)], (9, Ended(A, Outcome.FAILED, "c", "r")), (5, Intended(A, 1, None)))
    lines = explain(target(A), story.entries, story.history, story.now).for_people()
    assert [line.split()[0] for line in lines[1:]] == sorted(line.split()[0] for line in lines[1:])


def sample(kind: str) -> Event:
    """An event of the kind with something in every field that it demands."""
    fields = {
        "name": "n", "manifest": None, "digest": "d", "wave": 1, "rule": "r", "arithmetic": "a", "signal": "SIGINT",
        "exit_code": 1, "epoch": 1, "host": "h", "pid": 1, "scope": "account", "until": START, "cause": "c",
        "attempt": 1, "marker": None, "from": START, "to": START, "evidence": "e", "id": "1", "how": "found",
        "code": "c", "reason": "r", "build": {"id": "1", "state": "failed", "native": "failed"},
        "outcome": "failed", "by": "me", "at": START, "signature": "s", "text": "t",
    }  # fmt: skip
    wanted = typing.get_type_hints(KINDS[kind])
    chosen = {name: value for name, value in fields.items() if name in wanted or f"{name}_" in wanted}
    if kind in ("restarted", "restart_asked"):
        chosen["build"] = "1"
    return decode(kind, A if "target" in wanted else None, json.dumps(chosen))


def test_every_fact_about_a_target_has_its_own_words():
    for cls in typing.get_args(TargetEvent):
        event = sample(cls.kind)
        assert decode(cls.kind, A, encode(event)) == event
        story = told([target(A)], (1, event))
        line = explain(target(A), story.entries, story.history, story.now).for_people()[2]
        assert line.split("  ")[-1] != cls.kind.replace("_", " "), cls.kind


def test_what_a_server_said_cannot_steer_the_terminal():
    build = Build("1", BuildState.RUNNING, "started", reason="\x1b[2J\nnow: all is well")
    story = told([target(A)], (1, Sighted(A, build)))
    lines = explain(target(A), story.entries, story.history, story.now).for_people()
    assert all("\x1b" not in line and "\n" not in line for line in lines)


def test_what_a_canceled_run_never_sent_is_told_with_the_way_to_send_it():
    stop = (2, Stopped(CANCELED, "asked by me"))
    story = told([target(A)], stop, (3, RunEnded(1, ())))
    told_last = explain(target(A), story.entries, story.history, story.now, "r1").for_people()[-2:]
    assert told_last == [
        "  the run has ended; it was never sent: not triggered: canceled by a person: asked by me",
        "  a new run triggers it: orchestrator retry r1",
    ]


def test_a_build_that_an_ended_run_left_open_is_not_called_unsent():
    story = told([target(A)], (1, Intended(A, 1, None)), (2, Stopped(CANCELED, "asked by me")), (3, RunEnded(1, ())))
    assert (
        "the run has ended; it is no longer followed: "
        in explain(target(A), story.entries, story.history, story.now).for_people()[-2]
    )
