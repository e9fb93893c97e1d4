"""What is written as JSON is read back as the same value, and nothing else is taken for one."""

import json
import types
import typing
from collections.abc import Mapping
from enum import StrEnum
from pathlib import Path

import pytest

from orchestrator.core.errors import JournalError
from orchestrator.core.events import (
    KINDS,
    Absent,
    AccountStopped,
    Doubted,
    Frozen,
    Intended,
    Released,
    Sighted,
    Skipped,
    decode,
    encode,
)
from orchestrator.core.frozen import defaults_of, from_json, to_json
from orchestrator.core.model import DEFAULT_FAIL_ON, Account, Build, BuildState, Outcome, Request, Scope
from orchestrator.core.options import OldBuild, RunOptions

BUILD = Build("5", BuildState.RUNNING, "started", started_at=60.0)


def example_of(hint):
    """A value of an annotated type, other than any default."""
    if hint in (Build, Scope):
        return BUILD if hint is Build else Scope("owner", "acme")
    if isinstance(hint, type) and issubclass(hint, StrEnum):
        return list(hint)[-1]
    origin = typing.get_origin(hint)
    if origin in (typing.Union, types.UnionType):
        return example_of(typing.get_args(hint)[0])
    if origin is tuple:
        return (example_of(typing.get_args(hint)[0]),)
    if hasattr(hint, "__struct_fields__"):
        return full(hint)
    if origin is Mapping:
        return {"a": example_of(typing.get_args(hint)[1])}
    plain = {str: "a ü \ud800", int: 4711, float: 2.5, bool: True}
    return plain.get(hint, {"a": [1, None, {"b": "c"}]})


def full(cls):
    """A value of which no field is at its default."""
    hints = typing.get_type_hints(cls)
    return cls(**{name: example_of(hints[name]) for name in cls.__struct_fields__})


def least(cls):
    """A value of which every field that has a default is at it."""
    hints = typing.get_type_hints(cls)
    needed = [name for name in cls.__struct_fields__ if name not in defaults_of(cls)]
    return cls(**{name: example_of(hints[name]) for name in needed})


@pytest.mark.parametrize("make", [full, least])
@pytest.mark.parametrize("kind", KINDS)
def test_every_event_is_read_back_as_it_was_written(kind, make):
    event = make(KINDS[kind])
    assert decode(kind, getattr(event, "target", None), encode(event)) == event
    assert from_json(KINDS[kind], to_json(event)) == event


@pytest.mark.parametrize("kind", KINDS)
def test_a_field_of_another_type_is_never_taken(kind):
    cls = KINDS[kind]
    written = to_json(full(cls))
    for name in written:
        with pytest.raises(JournalError, match=cls.__name__):
            from_json(cls, {**written, name: object()})


@pytest.mark.parametrize("kind", KINDS)
def test_a_field_that_is_needed_is_missed_by_its_name(kind):
    cls = KINDS[kind]
    for name in to_json(least(cls)):
        with pytest.raises(JournalError, match=f"missing required field `{name}`"):
            from_json(cls, {key: value for key, value in to_json(least(cls)).items() if key != name})


@pytest.mark.parametrize(
    ("kind", "text"),
    [
        ("intended", '{"attempt":true,"marker":null}'),
        ("intended", '{"attempt":1.0,"marker":null}'),
        ("intended", '{"attempt":null,"marker":null}'),
        ("sighted", '{"build":{"id":"5","state":"flying","native":"x"}}'),
        ("sighted", '{"build":{"id":"5","state":[],"native":"x"}}'),
        ("sighted", '{"build":["5","running","x"]}'),
        ("requested", '{"id":"5","how":"found","handle":[]}'),
        ("run_ended", '{"exit_code":0,"tallies":{}}'),
        ("marker_proven", "{}{}"),
        ("marker_proven", ""),
        ("marker_proven", "[]"),
        ("sighted", "[" * 100_000),
    ],
)
def test_what_no_version_wrote_is_damage(kind, text):
    with pytest.raises(JournalError, match=f"a damaged event '{kind}'"):
        decode(kind, "travis:acme/a" if kind in ("intended", "sighted", "requested") else None, text)


def test_what_a_newer_version_added_is_left_out_and_a_whole_number_is_a_time():
    text = '{"build":{"id":"5","state":"running","native":"started","started_at":60,"mood":"good"},"more":1}'
    event = decode("sighted", "travis:acme/a", text)
    assert event == Sighted("travis:acme/a", BUILD)
    assert type(event.build.started_at) is float


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({}, RunOptions()),
        ({"in_flight": 3, "mood": "good", "sandbox": True}, RunOptions(in_flight=3, sandbox=True)),
        ({"in_flight": "3", "max_fail": 5, "reports": [], "look_since": "now", "adopt": 1}, RunOptions()),
        ({"look_since": 5, "in_flight": None}, RunOptions(look_since=5.0)),
        (
            {"restart": {"a": {"request": {"id": "7", "handle": {"v": 1}}, "build": "5"}}},
            RunOptions(restart={"a": OldBuild(Request("7", {"v": 1}), "5")}),
        ),
    ],
)
def test_an_option_that_cannot_be_used_is_as_good_as_none(options, expected):
    made = decode("run_made", None, json.dumps({"name": "n", "manifest": None, "digest": "", "options": options}))
    assert made.options == expected
    assert decode("run_made", None, encode(made)) == made


@pytest.mark.parametrize(
    "options", [[], {"look_for": []}, {"look_for": {"a": 5}}, {"restart": {"a": {"build": "5"}}, "in_flight": "x"}]
)
def test_without_what_keeps_us_from_asking_twice_no_run_is_read(options):
    text = json.dumps({"name": "n", "manifest": None, "digest": "", "options": options})
    with pytest.raises(JournalError, match="a damaged event 'run_made'"):
        decode("run_made", None, text)


def test_failures_of_a_newer_version_are_left_out():
    assert RunOptions(fail_on=("failed", "exploded", 5)).failures == {Outcome.FAILED}
    assert RunOptions(fail_on=()).failures == frozenset()
    assert RunOptions().failures == DEFAULT_FAIL_ON


@pytest.mark.parametrize("until", [float("inf"), float("-inf"), float("nan")])
def test_a_number_that_json_has_not_is_written_and_read_all_the_same(until):
    event = AccountStopped("banned", until)
    text = encode(event)
    assert text == json.dumps({"cause": "banned", "until": until}, separators=(",", ":"))
    assert repr(decode("account_stopped", None, text)) == repr(event)


def test_the_text_is_the_one_of_the_first_version():
    started = Build("5", BuildState.RUNNING, "started", started_at=60.0)
    assert (
        encode(Sighted("t", started)) == '{"build":{"id":"5","state":"running","native":"started","started_at":60.0}}'
    )
    assert encode(Intended("t", 1, None)) == '{"attempt":1,"marker":null}'
    assert encode(Doubted("t", 1, "ü", 1.0, 2.5)) == '{"attempt":1,"cause":"ü","from":1.0,"to":2.5}'
    assert encode(Skipped("t", "why", "".join(["skip", "ped"]))) == '{"reason":"why"}'
    assert encode(Frozen(Scope("owner", "acme"), 1.0, "x")) == '{"scope":"owner:acme","until":1.0,"cause":"x"}'
    assert encode(Released("t")) == "{}"
    assert encode(Absent("t", 1, "\ud800 ü")) == '{"attempt":1,"evidence":"\\ud800 \\u00fc"}'
    assert to_json(Account("a", "fake", "u")) == {"name": "a", "type": "fake", "url": "u"}


def test_the_target_is_the_one_of_the_row_whatever_the_text_says():
    assert decode("released", "a", '{"target":"b"}') == Released("a")


def written_by_the_first_version():
    """Every kind of event, once with all its fields and once with the least, as the first version wrote it.

    Its lines, [kind, target, body], were made by the code of that version (commit 18dc075) from examples of each
    field's type, and are never made again.
    """
    path = Path(__file__).parent / "data" / "events-v1.jsonl"
    return [json.loads(line) for line in path.read_text("utf-8").rstrip("\n").split("\n")]


@pytest.mark.parametrize(("kind", "target", "body"), written_by_the_first_version())
def test_what_the_first_version_wrote_is_read_and_written_as_it_was(kind, target, body):
    event = decode(kind, target, body)
    assert event.kind == kind
    assert getattr(event, "target", None) == target
    assert encode(event) == body


NEWER = {
    "cause_found",
    "journal_went_back",
    "prepared",
    "wave_judged",
    "paused",
    "unpaused",
    "denied",
    "unpause_asked",
    "restart_asked",
    "drive_asked",
}


def test_every_kind_was_written_by_the_first_version_or_is_newer():
    assert {kind for kind, _, _ in written_by_the_first_version()} == set(KINDS) - NEWER
