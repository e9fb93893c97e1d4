"""What is written as JSON is read back as the same value, and nothing else is taken for one."""

import types
import typing
from collections.abc import Mapping
from enum import StrEnum

import pytest

from orchestrator.core.errors import JournalError
from orchestrator.core.events import KINDS, Sighted, decode, encode
from orchestrator.core.frozen import defaults_of, from_json, to_json
from orchestrator.core.model import Build, BuildState, Scope

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
