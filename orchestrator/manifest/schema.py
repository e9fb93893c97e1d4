"""Which keys a manifest has and what they may hold: the one place that validates, documents and completes them.

The schemas only judge: everything is strict, so what they accept is what was written, and the rest of the package
reads the plain values. The keys and limits of the providers come from their declarations. They are written for
pydantic's core, which is loaded in a tenth of the time that models take.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import cached_property, lru_cache
from typing import Any

from pydantic_core import CoreSchema, SchemaValidator
from pydantic_core import core_schema as core

from orchestrator.manifest.annotations import schema_of
from orchestrator.manifest.units import DURATION, LIMIT
from orchestrator.model import Outcome
from orchestrator.provider import Declaration
from orchestrator.quiet import QUIET

VARIABLE = r"^[A-Za-z_][A-Za-z0-9_]*$"
NAME = r"^[A-Za-z0-9_][A-Za-z0-9_.-]*$"
PERCENT = r"^[0-9]{1,2}(\.[0-9]{1,3})?%$|^100%$"
PART = r"^[1-9][0-9]?%$|^100%$"
CLOCK = r"^[0-9]{1,2}:[0-9]{2}$"

EXPECTED = {
    DURATION: "a duration such as 250ms, 60s, 5m, 24h or 2d",
    LIMIT: "so many calls per period, such as 40/30s or 10/1h",
    VARIABLE: "a variable's name: letters, digits and _, no digit first",
    NAME: "a name of letters, digits, `_`, `.` and `-`",
    PERCENT: "a number, or a percentage such as 20%",
    PART: "a share of 1% to 100%, such as 50%",
    CLOCK: "a time of day such as 08:00",
    QUIET: "quiet hours such as mon-fri 08:00-18:00 Europe/Berlin",
}
"""What a pattern asks for, in words."""


def _list(one: CoreSchema, least: int | None = None) -> CoreSchema:
    return core.list_schema(one, min_length=least, strict=True)


def _either(*choices: CoreSchema) -> CoreSchema:
    return core.union_schema(list(choices))


def _map(names: CoreSchema, values: CoreSchema, least: int | None = None) -> CoreSchema:
    return core.dict_schema(names, values, min_length=least, strict=True)


def _one_of(*words: Any) -> CoreSchema:
    return core.literal_schema(list(words))


TEXT = core.str_schema(strict=True)
FILLED = core.str_schema(min_length=1, strict=True)
NAMED = core.str_schema(pattern=NAME, strict=True)
VARIABLES = core.str_schema(pattern=VARIABLE, strict=True)
RATE = core.str_schema(pattern=LIMIT, strict=True)
TIME = core.str_schema(pattern=DURATION, strict=True)
TIME_OF_DAY = core.str_schema(pattern=CLOCK, strict=True)
COUNT = core.int_schema(ge=0, strict=True)
PLACES = core.int_schema(ge=1, strict=True)
YES_OR_NO = core.bool_schema(strict=True)
SHARE = _either(COUNT, core.str_schema(pattern=PERCENT, strict=True))
MANY = _either(FILLED, _list(FILLED))
REPO = _either(FILLED, core.int_schema(strict=True))

Keys = Mapping[str, tuple[CoreSchema, str]]
"""Keys of a map: what each may hold, and its line for the reference."""


def _keys(name: str, help_: str, keys: Keys, required: Iterable[str] = (), **more: Any) -> CoreSchema:
    """A map that has only these keys."""
    fields = {
        key: core.typed_dict_field(schema, required=key in required, metadata=_said(description=line))
        for key, (schema, line) in keys.items()
    }
    about = _said(title=name, description=help_, **more.pop("about", {}))
    more.setdefault("extra_behavior", "forbid")
    return core.typed_dict_schema(fields, ref=name, strict=True, metadata=about, **more)


def _said(**about: Any) -> dict[str, Any]:
    return {"pydantic_js_updates": about}


_use = core.definition_reference_schema

PARAM: Keys = {
    "default": (TEXT, "the value when none is given; without it `run` and `plan` want one"),
    "help": (TEXT, "one line for people"),
    "choices": (_list(TEXT), "the only values allowed"),
}
TOKEN: Keys = {
    "env": (FILLED, "the environment variable that holds it"),
    "file": (FILLED, "the file that holds it, relative to the manifest"),
    "command": (MANY, "the command that prints it; no shell is involved"),
}
SECRET = _either(FILLED, _use("TokenFrom"))
QUIET_SPAN_TEXT = core.str_schema(pattern=QUIET, strict=True)
QUIET_HOURS = _either(QUIET_SPAN_TEXT, _use("Quiet"), _list(_either(QUIET_SPAN_TEXT, _use("Quiet"))))
LIMITS: Keys = {
    "connections": (
        core.int_schema(ge=1, le=1000, strict=True),
        "calls under way at a time (default: the provider's)",
    ),
    "in_flight": (
        PLACES,
        "builds of this run that may be queued or running (default: no limit)",
    ),
    "in_flight_per_owner": (
        _either(PLACES, _map(FILLED, PLACES)),
        "the same for each owner: a number, or numbers by owner, with `*` for all others",
    ),
    "in_flight_per_label": (_map(FILLED, PLACES), "the same for targets with a label: numbers by label"),
    "queue": (
        _either(PLACES, _use("Queue")),
        "triggers go while fewer builds of the owner wait or run, whoever started them; a number, or a map",
    ),
    "quiet_hours": (QUIET_HOURS, "when no trigger is sent, as `mon-fri 08:00-18:00 Europe/Berlin`"),
    "share": (
        core.str_schema(pattern=PART, strict=True),
        "this machine's part of each rate, where others use the same token: 50%",
    ),
}
QUEUE: Keys = {
    "below": (PLACES, "triggers go while fewer builds of the owner wait or run, whoever started them"),
    "resume": (PLACES, "when others made it longer: go on below this (default: three quarters of `below`)"),
    "reserve": (COUNT, "places that are kept for other people's builds (default: none)"),
    "dead_after": (TIME, "a build that has not moved for so long does not count (default 24h)"),
    "every": (TIME, "how often to look at the queue (default 30s)"),
}
QUIET_SPAN: Keys = {
    "days": (MANY, "on which it begins: mon-fri, or a list such as [sat, sun] (default: every day)"),
    "from": (TIME_OF_DAY, "when it begins, as 08:00"),
    "to": (TIME_OF_DAY, "when it ends; not after `from`: on the next day"),
    "zone": (FILLED, "an IANA time zone such as Europe/Berlin (default UTC)"),
}
TIMEOUTS: Keys = {
    "settle": (TIME, "after a lost answer: how long until a look may say that nothing was started"),
    "accept": (TIME, "from the trigger to the appearance of its build (default 1h)"),
    "queue": (TIME, "from the build's appearance to its start (default 24h)"),
    "build": (TIME, "from the build's start to its end (default 6h)"),
    "reach": (TIME, "how long an account may be unreachable before it stops (default 10m)"),
}
SKIP: Keys = {
    "reason": (FILLED, "why; it stands in the report"),
    "until": (
        _either(TEXT, core.date_schema(strict=True)),
        "the first day on which it is triggered again, as 2027-03-01",
    ),
}
MATRIX: Keys = {
    "exclude": (_list(_map(TEXT, TEXT)), 'combinations to leave out, as in {python: "3.11", os: osx}'),
}
SHARED: Keys = {
    "branch": (FILLED, "the branch to build, any ref that the provider accepts; a glob is expanded from its branches"),
    "branches": (MANY, "the branches to build, a target each; globs are expanded from the provider's branches"),
    "message": (FILLED, "the message of the build; the marker follows it"),
    "env": (
        _map(VARIABLES, core.nullable_schema(TEXT)),
        "variables for the build; merged by name, null removes one",
    ),
    "labels": (MANY, "labels to select by; those of defaults are added"),
    "matrix": (_use("Matrix"), "names and their values: a target for each combination, for ${{ matrix.NAME }}"),
    "needs": (MANY, "targets that must pass before: an id, a repo, or label:NAME"),
    "skip": (_either(FILLED, _use("Skip")), "the reason not to trigger it, or a map with `reason` and `until`"),
    "timeouts": (_use("Timeouts"), "how long things may take; merged by name"),
    "marker": (
        _one_of("auto", "none"),
        "`none` sends the message without a marker; a lost answer then stays in doubt",
    ),
}
DISCOVER: Keys = {
    "owner": (FILLED, "whose repositories"),
    "match": (MANY, "globs on the repository's name (or on owner/name where it has a slash); all when left out"),
    "exclude": (MANY, "globs on the name, of repositories to leave out"),
}
TARGET: Keys = {
    "repo": (REPO, "the repository: owner/name, or the provider's number"),
    "repos": (_list(REPO, 1), "several repositories that share what stands here"),
    "discover": (_use("Discover"), "every active repository of an owner"),
    "from": (FILLED, "a file of targets: a line each, or .csv with a header; - is stdin"),
    "account": (NAMED, "the account under `providers`; needless when there is only one"),
    "name": (FILLED, "tells two targets of one repo and branch apart"),
}
KINDS = ("repo", "repos", "discover", "from")
"""What a long form is about: exactly one of these stands in it."""

COMMON = frozenset({*SHARED, *TARGET})
"""The keys of a target, whatever its provider."""

EXPECT: Keys = {"min": (COUNT, "at least so many"), "max": (COUNT, "at most so many")}
WAVE: Keys = {
    "name": (FILLED, "its name in the report"),
    "labels": (MANY, "targets with these labels"),
    "upto": (SHARE, "so many targets, or so large a share, counted from the first"),
}
STOP: Keys = {
    "failed": (SHARE, "so many targets, or so large a share, did not pass"),
    "after": (COUNT, "not before so many have ended"),
}
ROLLOUT: Keys = {
    "waves": (_list(_either(SHARE, _use("Wave"))), "cumulative: [1, 10%, 100%], or maps with `name`, `labels`, `upto`"),
    "stop_when": (_use("StopWhen"), "when to stop"),
}
MANIFEST: Keys = {
    "version": (_one_of(1), "of the manifest's format"),
    "name": (
        core.str_schema(min_length=1, max_length=200, strict=True),
        "the run's name, in reports and markers (default: the file's name)",
    ),
    "params": (_map(VARIABLES, _either(TEXT, _use("Param"))), "parameters, for ${{ params.NAME }}"),
    "providers": (_map(NAMED, _use("Account"), 1), "accounts; left out: one, `travis`"),
    "defaults": (_use("Defaults"), "what every target says unless it says otherwise"),
    "targets": (_list(_either(FILLED, _use("Target"))), "the builds that we want, in the order of triggering"),
    "rollout": (_use("Rollout"), "waves and when to stop"),
    "expect": (_use("Expect"), "how many targets there should be; else nothing is started"),
    "fail_on": (_list(_one_of(*(outcome.value for outcome in Outcome))), "outcomes that make the exit code 1"),
    "reports": (_map(NAMED, FILLED), "report format and the file it is written to"),
    "quiet_hours": (QUIET_HOURS, "when no trigger is sent, on every account that says nothing else in its `limits`"),
    "include": (MANY, "other manifests to merge: maps merge (this file wins), targets append"),
}


class Shape:
    """What a manifest may hold, given the providers."""

    def __init__(self, declarations: Mapping[str, Declaration]) -> None:
        self._core = core.definitions_schema(_use("Manifest"), _definitions(declarations))
        self.validator = SchemaValidator(self._core)

    @cached_property
    def json(self) -> Mapping[str, Any]:
        """The same as JSON Schema, made only when somebody wants it, or something is wrong."""
        from pydantic.json_schema import GenerateJsonSchema  # slow to import

        made: dict[str, Any] = GenerateJsonSchema().generate(self._core)
        definitions = made["$defs"]
        return {**made, **definitions.pop("Manifest"), "$defs": definitions} if "$ref" in made else made


def shape_of(declarations: Mapping[str, Declaration]) -> Shape:
    """The shape of a whole manifest, with the keys of these providers.

    Args:
        declarations: by type.
    """
    return _shape(_Same(declarations))


class _Same:
    """Declarations, equal when they are the same ones."""

    def __init__(self, declarations: Mapping[str, Declaration]) -> None:
        self.declarations = dict(declarations)
        self._identity = tuple((name, id(given)) for name, given in declarations.items())

    def __hash__(self) -> int:
        return hash(self._identity)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Same) and self._identity == other._identity


@lru_cache(maxsize=8)
def _shape(same: _Same) -> Shape:
    return Shape(same.declarations)


def json_schema(declarations: Mapping[str, Declaration]) -> dict[str, Any]:
    """The JSON Schema (draft 2020-12) of a manifest, for editors."""
    made = {key: value for key, value in shape_of(declarations).json.items() if key != "$ref"}
    made["required"] = ["version"]
    made["patternProperties"] = {"^x-": {"description": "ignored: a place for anchors"}}
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **made}


def _definitions(declarations: Mapping[str, Declaration]) -> list[CoreSchema]:
    shared = {**SHARED, **_of_providers(declarations)}
    limits = {
        limit.name: (RATE, f"a limit of {given.title}, default {limit.calls} calls per {limit.per:g} s")
        for given in declarations.values()
        for limit in given.limits
    }
    one_of = {"oneOf": [{"required": [key]} for key in KINDS]}
    account = {"account": (NAMED, "the account of targets that name none")}
    return [
        _keys("Manifest", "The builds that we want.", MANIFEST),
        _keys("Param", "A parameter: `-p NAME=VALUE` on the command line.", PARAM),
        _keys("TokenFrom", "Where a secret stands; never the secret itself.", TOKEN),
        _keys("Account", "One configured use of a provider.", _account(declarations)),
        _keys("Limits", "Limits of an account.", {**LIMITS, **limits}),
        _keys("Queue", "The queue of an owner, as the provider shows it.", QUEUE, ["below"]),
        _keys("Quiet", "Quiet hours: no trigger is sent.", QUIET_SPAN, ["from", "to"]),
        _keys("Timeouts", "How long things may take.", TIMEOUTS),
        _keys("Skip", "Not to be triggered for now.", SKIP, ["reason"]),
        _keys("Matrix", "Names and their values.", MATRIX, extra_behavior="allow", extras_schema=MANY),
        _keys("Shared", "What an account's targets say by default.", shared),
        _keys("Defaults", "What every target says by default.", {**shared, **account}),
        _keys("Discover", "Every active repository of an owner.", DISCOVER, ["owner"]),
        _keys("Target", "One build that we want, or several.", {**TARGET, **shared}, about=one_of),
        _keys("Expect", "How many targets there should be; else nothing is started.", EXPECT),
        _keys("Wave", "A group of targets that may run together.", WAVE),
        _keys("StopWhen", "When to stop a rollout.", STOP),
        _keys("Rollout", "How a run spreads out in waves.", ROLLOUT),
    ]


def _of_providers(declarations: Mapping[str, Declaration]) -> dict[str, tuple[CoreSchema, str]]:
    keys: dict[str, tuple[CoreSchema, str]] = {}
    for given in declarations.values():
        for name, key in given.keys.items():
            schema = SECRET if key.reference else schema_of(key.type)
            if name in keys:
                schema = _either(keys[name][0], schema)
            keys[name] = (schema, f"{given.title}: {key.help}")
    return keys


def _account(declarations: Mapping[str, Declaration]) -> Keys:
    keys: dict[str, tuple[CoreSchema, str]] = {
        "type": (FILLED, f"the provider: {', '.join(declarations)}; left out: the account's name"),
        "url": (FILLED, "base URL (default: the type's)"),
        "token": (SECRET, "env:NAME, file:PATH or command:ARGV, or a map of one of them"),
        "limits": (_use("Limits"), "limits that replace the provider's defaults, as 40/30s"),
        "defaults": (_use("Shared"), "defaults of this account's targets; they win over the global ones"),
        "insecure": (YES_OR_NO, "allows plain http to a host that is not this machine"),
    }
    for given in declarations.values():
        keys |= {name: (schema_of(key.type), f"{given.title}: {key.help}") for name, key in given.settings.items()}
    return keys
