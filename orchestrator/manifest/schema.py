"""Which keys a manifest has and what they may hold: the one place that validates, documents and completes them.

The models only judge: everything is strict, so what they accept is what was written, and the rest of the package
reads the plain values. The keys and limits of the providers come from their declarations.
"""

from __future__ import annotations

import datetime
from collections.abc import Mapping
from functools import lru_cache
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, create_model
from pydantic.fields import FieldInfo

from orchestrator.manifest.units import DURATION, LIMIT
from orchestrator.model import Outcome
from orchestrator.provider import Declaration

VARIABLE = r"^[A-Za-z_][A-Za-z0-9_]*$"
NAME = r"^[A-Za-z0-9_][A-Za-z0-9_.-]*$"
PERCENT = r"^[0-9]{1,2}(\.[0-9]{1,3})?%$|^100%$"

EXPECTED = {
    DURATION: "a duration such as 250ms, 60s, 5m, 24h or 2d",
    LIMIT: "so many calls per period, such as 40/30s or 10/1h",
    VARIABLE: "a variable's name: letters, digits and _, no digit first",
    NAME: "a name of letters, digits, `_`, `.` and `-`",
    PERCENT: "a number, or a percentage such as 20%",
}
"""What a pattern asks for, in words."""

Duration = Annotated[str, Field(pattern=DURATION)]
Rate = Annotated[str, Field(pattern=LIMIT)]
Named = Annotated[str, Field(pattern=NAME)]
Variable = Annotated[str, Field(pattern=VARIABLE)]
Share = Annotated[int, Field(ge=0)] | Annotated[str, Field(pattern=PERCENT)]
Filled = Annotated[str, Field(min_length=1)]
Many = Filled | list[Filled]
Count = Annotated[int, Field(ge=0)]


class Strict(BaseModel):
    """Refuses what it does not know, and changes nothing that it knows."""

    model_config = ConfigDict(extra="forbid", strict=True, defer_build=True)


def say(help_: str, default: Any = None, **more: Any) -> Any:
    """A key that may be left out, with its line for the reference."""
    return Field(default, description=help_, **more)


class Param(Strict):
    """A parameter: `-p NAME=VALUE` on the command line."""

    default: str = say("the value when none is given; without it `run` and `plan` want one")
    help: str = say("one line for people")
    choices: list[str] = say("the only values allowed")


class TokenFrom(Strict):
    """Where a secret stands; never the secret itself."""

    env: Filled = say("the environment variable that holds it")
    file: Filled = say("the file that holds it, relative to the manifest")
    command: Filled | list[Filled] = say("the command that prints it; no shell is involved")


class LimitsBase(Strict):
    """Limits of an account."""

    connections: Annotated[int, Field(ge=1, le=1000)] = say("calls under way at a time (default: the provider's)")
    in_flight: Annotated[int, Field(ge=1)] = say("builds of this run that may be queued or running (default: no limit)")


class Timeouts(Strict):
    """How long things may take."""

    settle: Duration = say("after a lost answer: how long until a look may say that nothing was started")
    accept: Duration = say("from the trigger to the appearance of its build (default 1h)")
    queue: Duration = say("from the build's appearance to its start (default 24h)")
    build: Duration = say("from the build's start to its end (default 6h)")
    reach: Duration = say("how long an account may be unreachable before it stops (default 10m)")


class Skip(Strict):
    """Not to be triggered for now."""

    reason: Filled = Field(description="why; it stands in the report")
    until: str | datetime.date = say("the first day on which it is triggered again, as 2027-03-01")


class Matrix(BaseModel):
    """Names and their values: a target for each combination."""

    model_config = ConfigDict(extra="allow", strict=True, defer_build=True)
    __pydantic_extra__: dict[str, Many] = Field(init=False)

    exclude: list[dict[str, str]] = say('combinations to leave out, as in {python: "3.11", os: osx}')


class SharedBase(Strict):
    """What targets and their defaults say."""

    branch: Filled = say("the branch to build, any ref that the provider accepts; a glob is expanded from its branches")
    branches: Many = say("the branches to build, a target each; globs are expanded from the provider's branches")
    message: Filled = say("the message of the build; the marker follows it")
    env: dict[Variable, str | None] = say("variables for the build; merged by name, null removes one")
    labels: Many = say("labels to select by; those of defaults are added")
    matrix: Matrix = say("names and their values: a target for each combination, for ${{ matrix.NAME }}")
    needs: Many = say("targets that must pass before: an id, a repo, or label:NAME")
    skip: Filled | Skip = say("the reason not to trigger it, or a map with `reason` and `until`")
    timeouts: Timeouts = say("how long things may take; merged by name")
    marker: Literal["auto", "none"] = say(
        "`none` sends the message without a marker; a lost answer then stays in doubt"
    )


class Discover(Strict):
    """Every active repository of an owner."""

    owner: Filled = Field(description="whose repositories")
    match: Many = say("globs on the repository's name (or on owner/name where it has a slash); all when left out")
    exclude: Many = say("globs on the name, of repositories to leave out")


class Expect(Strict):
    """How many targets there should be; else nothing is started."""

    min: Count = say("at least so many")
    max: Count = say("at most so many")


KINDS = ("repo", "repos", "discover", "from")
"""What a long form is about: exactly one of these stands in it."""

TARGET_FIELDS: Mapping[str, Any] = {
    "repo": (Filled | int, say("the repository: owner/name, or the provider's number")),
    "repos": (list[Filled | int], say("several repositories that share what stands here", min_length=1)),
    "discover": (Discover, say("every active repository of an owner")),
    "from": (Filled, say("a file of targets: a line each, or .csv with a header; - is stdin")),
    "account": (Named, say("the account under `providers`; needless when there is only one")),
    "name": (Filled, say("tells two targets of one repo and branch apart")),
}

COMMON = frozenset({*SharedBase.model_fields, *TARGET_FIELDS})
"""The keys of a target, whatever its provider."""


class Wave(Strict):
    """A group of targets that may run together."""

    name: Filled = say("its name in the report")
    labels: Many = say("targets with these labels")
    upto: Share = say("so many targets, or so large a share, counted from the first")


class StopWhen(Strict):
    """When to stop a rollout."""

    failed: Share = say("so many targets, or so large a share, did not pass")
    after: Count = say("not before so many have ended")


class Rollout(Strict):
    """How a run spreads out in waves."""

    waves: list[Share | Wave] = say("cumulative: [1, 10%, 100%], or maps with `name`, `labels`, `upto`")
    stop_when: StopWhen = say("when to stop")


class _Same:
    """Declarations, equal when they are the same ones: making the models takes as long as reading a small file."""

    def __init__(self, declarations: Mapping[str, Declaration]) -> None:
        self.declarations = dict(declarations)
        self._identity = tuple((name, id(given)) for name, given in declarations.items())

    def __hash__(self) -> int:
        return hash(self._identity)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Same) and self._identity == other._identity


def manifest_type(declarations: Mapping[str, Declaration]) -> type[BaseModel]:
    """The model of a whole manifest, with the keys of these providers.

    Args:
        declarations: by type.
    """
    return _manifest_type(_Same(declarations))


@lru_cache(maxsize=8)
def _manifest_type(same: _Same) -> type[BaseModel]:
    declarations = same.declarations
    keys = _keys(declarations)
    shared = _extended("Shared", SharedBase, keys, "What an account's targets say by default.")
    defaults = _extended(
        "Defaults",
        shared,
        {"account": (Named, say("the account of targets that name none"))},
        "What every target says by default.",
    )
    limits = {limit.name: (Rate, say(f"a limit of {given.title}, default {limit.calls} calls per {limit.per:g} s"))
              for given in declarations.values() for limit in given.limits}  # fmt: skip
    account = _account(declarations, _extended("Limits", LimitsBase, limits, "Limits of an account."), shared)
    return _manifest(_target(shared), account, defaults)


@lru_cache(maxsize=8)
def schema_of(model: type[BaseModel]) -> Mapping[str, Any]:
    """The JSON Schema of a model, to be looked at only."""
    return TypeAdapter(model).json_schema()


def json_schema(declarations: Mapping[str, Declaration]) -> dict[str, Any]:
    """The JSON Schema (draft 2020-12) of a manifest, for editors."""
    schema = TypeAdapter(manifest_type(declarations)).json_schema()
    _without_nulls(schema)
    schema["required"] = ["version"]
    schema["patternProperties"] = {"^x-": {"description": "ignored: a place for anchors"}}
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema}


def _keys(declarations: Mapping[str, Declaration]) -> dict[str, tuple[Any, FieldInfo]]:
    keys: dict[str, tuple[Any, FieldInfo]] = {}
    for given in declarations.values():
        for name, key in given.keys.items():
            type_ = key.type if name not in keys else keys[name][0] | key.type
            if key.reference:
                type_ = Filled | TokenFrom
            keys[name] = (type_, say(f"{given.title}: {key.help}"))
    return keys


def _account(
    declarations: Mapping[str, Declaration], limits: type[BaseModel], shared: type[BaseModel]
) -> type[BaseModel]:
    fields: dict[str, Any] = {
        "type": (Filled, say(f"the provider: {', '.join(declarations)}; left out: the account's name")),
        "url": (Filled, say("base URL (default: the type's)")),
        "token": (Filled | TokenFrom, say("env:NAME, file:PATH or command:ARGV, or a map of one of them")),
        "limits": (limits, say("limits that replace the provider's defaults, as 40/30s")),
        "defaults": (shared, say("defaults of this account's targets; they win over the global ones")),
        "insecure": (bool, say("allows plain http to a host that is not this machine")),
    }
    for given in declarations.values():
        fields |= {name: (key.type, say(f"{given.title}: {key.help}")) for name, key in given.settings.items()}
    return _extended("Account", Strict, fields, "One configured use of a provider.")


def _target(shared: type[BaseModel]) -> type[BaseModel]:
    one_of = {"oneOf": [{"required": [key]} for key in KINDS]}
    return _extended("Target", shared, TARGET_FIELDS, "One build that we want, or several.", one_of)


def _manifest(target: Any, account: Any, defaults: Any) -> type[BaseModel]:
    outcomes: Any = Literal[tuple(outcome.value for outcome in Outcome)]
    fields: dict[str, Any] = {
        "version": (Literal[1], say("of the manifest's format")),
        "name": (Filled, say("the run's name, in reports and markers (default: the file's name)", max_length=200)),
        "params": (dict[Variable, str | Param], say("parameters, for ${{ params.NAME }}")),
        "providers": (dict[Named, account], say("accounts; left out: one, `travis`", min_length=1)),
        "defaults": (defaults, say("what every target says unless it says otherwise")),
        "targets": (list[Filled | target], say("the builds that we want, in the order of triggering")),
        "rollout": (Rollout, say("waves and when to stop")),
        "expect": (Expect, say("how many targets there should be; else nothing is started")),
        "fail_on": (list[outcomes], say("outcomes that make the exit code 1")),
        "reports": (dict[Named, Filled], say("report format and the file it is written to")),
        "include": (Many, say("other manifests to merge: maps merge (this file wins), targets append")),
    }
    return _extended("Manifest", Strict, fields, "The builds that we want.")


def _extended(
    name: str, base: type[BaseModel], fields: Mapping[str, Any], help_: str, extra: Any = None
) -> type[BaseModel]:
    fields = {key: value for key, value in fields.items() if key not in base.model_fields}
    made: type[BaseModel] = create_model(name, __base__=base, **dict(fields))
    made.__doc__ = help_
    if extra is not None:
        made.model_config = ConfigDict(**{**made.model_config, "json_schema_extra": extra})
    return made


def _without_nulls(schema: Any) -> None:
    """`default: null` is how the models say that a key may be left out; nobody may write it."""
    if isinstance(schema, dict):
        if schema.get("default", 0) is None:
            del schema["default"]
        for inner in schema.values():
            _without_nulls(inner)
    elif isinstance(schema, list):
        for inner in schema:
            _without_nulls(inner)
