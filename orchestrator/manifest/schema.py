"""Which keys a manifest has and what they may hold: the one place that validates, documents and completes them.

The schemas only validate: everything is strict, so what they accept is what was written, and the rest of the package
reads the plain values. The keys and limits of the providers come from their declarations. They are written for
pydantic's core, which is loaded in a tenth of the time that models take.

To add a key of targets, add a line to `SHARED` and a field of the same name to `core.model.Target`; `layers` says more.
"""

from __future__ import annotations

import types
import typing
from collections.abc import Iterable, Mapping
from typing import Any, TypeAlias

from pydantic_core import CoreSchema
from pydantic_core import core_schema as core

from orchestrator.core.concurrency import QUIET
from orchestrator.core.model import NOTIFY_ON, Limit, Outcome
from orchestrator.core.times import DURATION, LIMIT
from orchestrator.core.waves import CANCEL, FOLLOW, ORDERS, WITHOUT_NEED
from orchestrator.providers.port import Declaration, Key

LONGEST = 2**20  # characters of a text
MOST = 1_000_000_000  # of what is counted
MOST_RERUNS = 100
MOST_WAVES = 200
VARIABLE = r"^[A-Za-z_][A-Za-z0-9_]*$"
NAME = r"^[A-Za-z0-9_][A-Za-z0-9_.-]*$"
PERCENT = r"^[0-9]{1,2}(\.[0-9]{1,3})?%$|^100%$"
PART = r"^[1-9][0-9]?%$|^100%$"
CLOCK = r"^[0-9]{1,2}:[0-9]{2}$"
SIZE = r"^[1-9][0-9]{0,8}(B|KiB|MiB)$"

EXPECTED = {
    DURATION: "a duration such as 250ms, 60s, 5m, 24h or 2d",
    LIMIT: "so many calls per period, such as 40/30s or 10/1h",
    VARIABLE: "a variable's name: letters, digits and _, no digit first",
    NAME: "a name of letters, digits, `_`, `.` and `-`",
    PERCENT: "a number, or a percentage such as 20%",
    PART: "a share of 1% to 100%, such as 50%",
    CLOCK: "a time of day such as 08:00",
    SIZE: "a size such as 64KiB or 1MiB",
    QUIET: "quiet hours such as mon-fri 08:00-18:00 Europe/Berlin",
}
"""What a pattern asks for, in words."""


def list_of(one: CoreSchema, least: int | None = None) -> CoreSchema:
    """A list of them, with at least so many."""
    return core.list_schema(one, min_length=least, strict=True)


def either(*choices: CoreSchema) -> CoreSchema:
    """One of several."""
    return core.union_schema(list(choices))


def map_of(names: CoreSchema, values: CoreSchema, least: int | None = None) -> CoreSchema:
    """A map with any keys."""
    return core.dict_schema(names, values, min_length=least, strict=True)


def one_of(*words: Any) -> CoreSchema:
    """One of these values."""
    return core.literal_schema(list(words))


TEXT = core.str_schema(max_length=LONGEST, strict=True)
FILLED = core.str_schema(min_length=1, max_length=LONGEST, strict=True)
NAMED = core.str_schema(pattern=NAME, strict=True)
VARIABLES = core.str_schema(pattern=VARIABLE, strict=True)
RATE = core.str_schema(pattern=LIMIT, strict=True)
TIME = core.str_schema(pattern=DURATION, strict=True)
TIME_OF_DAY = core.str_schema(pattern=CLOCK, strict=True)
COUNT = core.int_schema(ge=0, le=MOST, strict=True)
PLACES = core.int_schema(ge=1, le=MOST, strict=True)
YES_OR_NO = core.bool_schema(strict=True)
PERCENTAGE = core.str_schema(pattern=PERCENT, strict=True)
SHARE = either(COUNT, PERCENTAGE)
MANY = either(FILLED, list_of(FILLED))
REPO = either(FILLED, core.int_schema(strict=True))

Keys: TypeAlias = Mapping[str, tuple[CoreSchema, str]]
"""Keys of a map: what each may hold, and its line for the reference."""


def keys_of(name: str, help_: str, keys: Keys, required: Iterable[str] = (), **more: Any) -> CoreSchema:
    """A map that has only these keys."""
    fields = {
        key: core.typed_dict_field(schema, required=key in required, metadata=_json(description=line))
        for key, (schema, line) in keys.items()
    }
    about = _json(title=name, description=help_, **more.pop("about", {}))
    more.setdefault("extra_behavior", "forbid")
    return core.typed_dict_schema(fields, ref=name, strict=True, metadata=about, **more)


def _json(**about: Any) -> dict[str, Any]:
    """What the JSON Schema says in addition."""
    return {"pydantic_js_updates": about}


use = core.definition_reference_schema
"""A schema that is defined once, under a name."""


# the keys

PARAM: Keys = {
    "default": (TEXT, "the value when none is given; without it `run` and `plan` want one"),
    "help": (TEXT, "one line for people"),
    "choices": (list_of(TEXT), "the only values allowed"),
}
TOKEN: Keys = {
    "env": (FILLED, "the environment variable that holds it"),
    "file": (FILLED, "the file that holds it, relative to the manifest"),
    "command": (MANY, "the command that prints it; no shell is involved"),
}
SECRET = either(FILLED, use("TokenFrom"))
QUIET_SPAN_TEXT = core.str_schema(pattern=QUIET, strict=True)
QUIET_HOURS = either(QUIET_SPAN_TEXT, use("Quiet"), list_of(either(QUIET_SPAN_TEXT, use("Quiet"))))
LIMITS: Keys = {
    "connections": (core.int_schema(ge=1, le=1000, strict=True), "calls under way at a time (default: the provider's)"),
    "triggers_at_once": (PLACES, "triggers that may be without an answer at a time (default: the provider's)"),
    "in_flight": (PLACES, "builds of this run that may be queued or running (default: no limit)"),
    "in_flight_per_owner": (
        either(PLACES, map_of(FILLED, PLACES)),
        "the same for each owner: a number, or numbers by owner, with `*` for all others",
    ),
    "in_flight_per_label": (map_of(FILLED, PLACES), "the same for targets with a label: numbers by label"),
    "queue": (
        either(PLACES, use("Queue")),
        "triggers go while fewer builds of the owner wait or run, other people's included; a number, or a map",
    ),
    "notify": (list_of(use("Notify")), "who is told what of a run; references only, never a URL"),
    "quiet_hours": (QUIET_HOURS, "when no trigger is sent, as `mon-fri 08:00-18:00 Europe/Berlin`"),
    "share": (
        core.str_schema(pattern=PART, strict=True),
        "this machine's part of each rate, where others use the same token: 50%",
    ),
}
QUEUE: Keys = {
    "below": (PLACES, "triggers go while fewer builds of the owner wait or run, other people's included"),
    "resume": (PLACES, "when others made it longer: go on below this (default: three quarters of `below`)"),
    "reserve": (COUNT, "places that are kept for other people's builds (default: none)"),
    "dead_after": (TIME, "a build that has not changed for so long does not count (default 24h)"),
    "every": (TIME, "how often to read the queue (default 30s)"),
}
QUIET_SPAN: Keys = {
    "days": (MANY, "on which it begins: mon-fri, or a list such as [sat, sun] (default: every day)"),
    "from": (TIME_OF_DAY, "when it begins, as 08:00"),
    "to": (TIME_OF_DAY, "when it ends; not after `from`: on the next day"),
    "zone": (FILLED, "an IANA time zone such as Europe/Berlin (default UTC)"),
}
TIMEOUTS: Keys = {
    "settle": (TIME, "after a lost answer: how long until a lookup may say that nothing was started"),
    "accept": (TIME, "from the trigger to the appearance of its build (default 1h)"),
    "queue": (TIME, "from the build's appearance to its start (default 24h)"),
    "build": (TIME, "from the build's start to its end (default 6h)"),
    "reach": (TIME, "how long an account may be unreachable before it stops (default 10m)"),
}
SKIP: Keys = {
    "reason": (FILLED, "why; it stands in the report"),
    "until": (
        either(TEXT, core.date_schema(strict=True)),
        "the first day on which it is triggered again, as 2027-03-01",
    ),
}
MATRIX: Keys = {
    "exclude": (list_of(map_of(TEXT, TEXT)), 'combinations to leave out, as in {python: "3.11", os: osx}'),
}
NEEDS_NOT_PASSED = (
    one_of(*WITHOUT_NEED),
    "where a need did not pass: skip the target (default), run it all the same, or stop the run",
)
TIMES = core.int_schema(ge=0, le=MOST_RERUNS, strict=True)
RERUNS = (either(TIMES, use("Reruns")), "how often a failed build is started again on the same commit (default 0)")
# the keys of targets that defaults may have, too
SHARED: Keys = {
    "branch": (FILLED, "the branch to build, any ref that the provider accepts; a glob is expanded from its branches"),
    "branches": (MANY, "the branches to build, a target each; globs are expanded from the provider's branches"),
    "message": (FILLED, "the message of the build; the marker follows it"),
    "env": (map_of(VARIABLES, core.nullable_schema(TEXT)), "variables for the build; merged by name, null removes one"),
    "labels": (MANY, "labels to select by; those of defaults are added"),
    "matrix": (use("Matrix"), "names and their values: a target for each combination, for ${{ matrix.NAME }}"),
    "needs": (MANY, "targets that must pass before: an id, a repo, or label:NAME"),
    "needs_not_passed": NEEDS_NOT_PASSED,
    "reruns": RERUNS,
    "skip": (either(FILLED, use("Skip")), "the reason not to trigger it, or a map with `reason` and `until`"),
    "timeouts": (use("Timeouts"), "how long things may take; merged by name"),
    "marker": (one_of("auto", "none"), "`none` sends the message without a marker; a lost answer then stays in doubt"),
}
DISCOVER: Keys = {
    "owner": (FILLED, "the owner of the repositories"),
    "match": (MANY, "globs on the repository's name (or on owner/name where it has a slash); all when left out"),
    "exclude": (MANY, "globs on the name, of repositories to leave out"),
}
TARGET: Keys = {
    "repo": (REPO, "the repository: owner/name, or the provider's number"),
    "repos": (list_of(REPO, 1), "several repositories with the same keys"),
    "discover": (use("Discover"), "every active repository of an owner"),
    "from": (FILLED, "a file of targets: lines, a table (CSV, TSV) or JSON; - is stdin"),
    "columns": (
        map_of(FILLED, FILLED),
        "with `from`: our keys and what the list calls them: {repo: Repository}; dots nest",
    ),
    "ignore_columns": (YES_OR_NO, "with `from`: whether columns that are not known are left out (default: a mistake)"),
    "account": (NAMED, "the account under `providers`; not needed when there is only one"),
    "name": (FILLED, "tells two targets of one repo and branch apart"),
}
OF_LISTS = frozenset({"columns", "ignore_columns"})
KINDS = ("repo", "repos", "discover", "from")
"""What a long form is about: it has exactly one of these."""

COMMON = frozenset({*SHARED, *TARGET})
"""The keys of a target, whatever its provider."""

EXPECT: Keys = {"min": (COUNT, "at least so many"), "max": (COUNT, "at most so many")}
WAVE: Keys = {
    "name": (core.str_schema(min_length=1, max_length=200, strict=True), "its name (default: its number)"),
    "labels": (MANY, "the targets that have all of these, and what they need"),
    "upto": (SHARE, "so many targets, or so large a share, counted from the first"),
    "approve": (YES_OR_NO, "whether a person lets the next wave open: `orchestrator approve RUN`"),
    "soak": (TIME, "how long to wait between its verdict and the next wave"),
}
STOP_WHEN: Keys = {
    "failed": (either(PLACES, PERCENTAGE), "so many bad targets, or so large a share of those sent so far"),
    "after": (COUNT, "settled targets before which a share stops nothing (default 10)"),
    "in_a_row": (PLACES, "so many bad targets one after the other"),
    "worse_than_usual": (
        either(YES_OR_NO, core.float_schema(ge=0.0001, le=0.1, strict=True)),
        "more failures than earlier runs let expect; true, or the chance of a false alarm (default 0.01)",
    ),
    "nothing_passed": (YES_OR_NO, "stop where nothing of a wave passed and another one follows (default true)"),
}
ROLLOUT: Keys = {
    "waves": (
        core.list_schema(either(SHARE, use("Wave")), min_length=1, max_length=MOST_WAVES, strict=True),
        "cumulative: [1, 10%, 100%], or maps with `name`, `labels`, `upto`, `approve`, `soak` (default: one)",
    ),
    "order": (one_of(*ORDERS), "of triggering (default file)"),
    "approve": (YES_OR_NO, "whether a person lets each next wave open (default false)"),
    "soak": (TIME, "how long to wait after the verdict on each wave but the last (default 0s)"),
    "stop_when": (use("StopWhen"), "when to stop; each rule is off unless it is written"),
    "on_stop": (one_of(FOLLOW, CANCEL), "what becomes of the builds when the run stops (default follow)"),
}
RERUN: Keys = {
    "times": (TIMES, "for each target"),
    "at_most": (SHARE, "no more once so many targets of a wave, or so large a share, were started again"),
}
NEEDS_FROM: Keys = {
    "file": (FILLED, "the file: .dot, .json or .csv"),
    "reverse": (YES_OR_NO, "whether the arrows are to be turned: `a -> b` then says that b needs a"),
}
REHEARSAL: Keys = {
    "fails": (MANY, "repositories whose builds fail, as often as they are started: globs on repo or repo@branch"),
    "flakes": (MANY, "repositories whose builds fail the first time and pass when they are started again"),
    "slow": (map_of(FILLED, TIME), "how long builds take, by glob"),
    "log": (map_of(FILLED, FILLED), "by glob, a file with what the jobs print"),
}
CAUSES: Keys = {
    "logs": (COUNT, "how many logs of failed builds a run reads at most (default 50)"),
    "bytes": (
        core.str_schema(pattern=SIZE, strict=True),
        "how much of a log's end is kept, as 64KiB (default) or 1MiB",
    ),
}
COST: Keys = {
    "amount": (core.float_schema(ge=0, le=1e6, allow_inf_nan=False, strict=True), "of money, as 0.008"),
    "currency": (core.str_schema(pattern=r"[A-Za-z]{2,5}", strict=True), "as USD"),
}
NOTIFY: Keys = {
    "to": (SECRET, "where the URL stands: of a webhook, or of a chat or a mail as `apprise` knows them"),
    "on": (
        either(one_of(*NOTIFY_ON), list_of(one_of(*NOTIFY_ON), 1)),
        "what is worth a message (default: end, waiting)",
    ),
    "key": (SECRET, "where the key stands that a webhook's messages are signed with (default: its URL)"),
}
MANIFEST: Keys = {
    "version": (one_of(1), "of the manifest's format"),
    "name": (
        core.str_schema(min_length=1, max_length=200, strict=True),
        "the run's name, in reports and markers (default: the file's name)",
    ),
    "params": (map_of(VARIABLES, either(TEXT, use("Param"))), "parameters, for ${{ params.NAME }}"),
    "providers": (map_of(NAMED, use("Account"), 1), "accounts (default: one, `travis`)"),
    "defaults": (use("Defaults"), "keys of every target that does not have its own"),
    "targets": (list_of(either(FILLED, use("Target"))), "the builds that we want, in the order of triggering"),
    "rollout": (use("Rollout"), "waves, what opens them, and when to stop"),
    "needs_not_passed": NEEDS_NOT_PASSED,
    "needs_from": (either(FILLED, use("NeedsFrom")), "a file of needs: GraphViz, JSON or CSV; `a -> b`: a needs b"),
    "reruns": RERUNS,
    "expect": (use("Expect"), "how many targets there should be; else nothing is started"),
    "fail_on": (list_of(one_of(*(outcome.value for outcome in Outcome))), "outcomes that make the exit code 1"),
    "reports": (map_of(NAMED, FILLED), "report format and the file it is written to"),
    "notify": (list_of(use("Notify")), "who is told what of a run; references only, never a URL"),
    "quiet_hours": (QUIET_HOURS, "when no trigger is sent, on every account that has none in its `limits`"),
    "causes": (either(one_of(False), use("Causes")), "which logs of failed builds are read for their cause; or `off`"),
    "rehearsal": (use("Rehearsal"), "what a run with --sandbox is to see go wrong; ignored without"),
    "include": (MANY, "other manifests to merge: maps merge (this file wins), targets append"),
}


def definitions(declarations: Mapping[str, Declaration]) -> CoreSchema:
    """The schema of a manifest, with the keys of these providers, by type."""
    shared = {**SHARED, **_of_providers(declarations)}
    limits = {
        limit.kind: (either(RATE, list_of(RATE, 1)), f"a limit of {given.title}, default {_rules(given, limit)}")
        for given in declarations.values()
        for limit in given.limits
    }
    narrowing: dict[str, tuple[CoreSchema, str]] = {}
    for given in declarations.values():
        _add(narrowing, given, given.narrows)
    exactly_one = {"oneOf": [{"required": [key]} for key in KINDS]}
    account = {"account": (NAMED, "the account of targets that name none")}
    found = [
        keys_of("Manifest", "The builds that we want.", MANIFEST),
        keys_of("Param", "A parameter: `-p NAME=VALUE` on the command line.", PARAM),
        keys_of("TokenFrom", "Where a secret stands; never the secret itself.", TOKEN),
        keys_of("Account", "One configured use of a provider.", _account(declarations)),
        keys_of("Limits", "Limits of an account.", {**LIMITS, **limits}),
        keys_of("Queue", "The queue of an owner, as the provider shows it.", QUEUE, ["below"]),
        keys_of("Quiet", "Quiet hours: no trigger is sent.", QUIET_SPAN, ["from", "to"]),
        keys_of("Timeouts", "How long things may take.", TIMEOUTS),
        keys_of("Skip", "Not to be triggered for now.", SKIP, ["reason"]),
        keys_of("Matrix", "Names and their values.", MATRIX, extra_behavior="allow", extras_schema=MANY),
        keys_of("Shared", "Defaults of an account's targets.", shared),
        keys_of("Defaults", "Defaults of every target.", {**shared, **account}),
        keys_of("Discover", "Every active repository of an owner.", {**DISCOVER, **narrowing}, ["owner"]),
        keys_of("Target", "One build that we want, or several.", {**TARGET, **shared}, about=exactly_one),
        keys_of("Expect", "How many targets there should be; else nothing is started.", EXPECT),
        keys_of("Wave", "A group of targets that may run together.", WAVE),
        keys_of("StopWhen", "When to stop a rollout.", STOP_WHEN),
        keys_of("Rollout", "How a run spreads out in waves.", ROLLOUT),
        keys_of("Reruns", "How often a failed build is started again.", RERUN, ["times"]),
        keys_of("NeedsFrom", "A file of needs.", NEEDS_FROM, ["file"]),
        keys_of("Causes", "Why builds failed, as their logs say.", CAUSES),
        keys_of("Cost", "What a minute of a build costs.", COST, ["amount", "currency"]),
        keys_of("Notify", "Who is told what of a run.", NOTIFY, ["to"]),
        keys_of("Rehearsal", "What goes wrong in the sandbox.", REHEARSAL),
    ]
    return core.definitions_schema(use("Manifest"), found)


def _rules(given: Declaration, limit: Limit) -> str:
    """The provider's rules of a kind."""
    same = [one for one in given.limits if one.kind == limit.kind]
    return " and ".join(f"{one.calls} calls per {one.per:g} s" for one in same)


def _of_providers(declarations: Mapping[str, Declaration]) -> dict[str, tuple[CoreSchema, str]]:
    keys: dict[str, tuple[CoreSchema, str]] = {}
    for given in declarations.values():
        _add(keys, given, given.keys)
    return keys


def _add(keys: dict[str, tuple[CoreSchema, str]], given: Declaration, more: Mapping[str, Key]) -> None:
    """Adds what a provider declares; where another declares the same, either will do."""
    for name, key in more.items():
        schema = SECRET if key.reference else schema_of(key.type)
        if name in keys:
            schema = either(keys[name][0], schema)
        keys[name] = (schema, f"{given.title}: {key.help}")


def _account(declarations: Mapping[str, Declaration]) -> Keys:
    keys: dict[str, tuple[CoreSchema, str]] = {
        "type": (FILLED, f"the provider: {', '.join(declarations)}; default: the account's name"),
        "url": (FILLED, "base URL (default: the type's)"),
        "token": (SECRET, "env:NAME, file:PATH or command:ARGV, or a map of one of them"),
        "limits": (use("Limits"), "limits that replace the provider's defaults, as 40/30s"),
        "defaults": (use("Shared"), "defaults of this account's targets; they win over the global ones"),
        "cost_per_minute": (use("Cost"), "what a minute costs that a build runs; shown by `plan` and reports"),
        "insecure": (YES_OR_NO, "allows plain http to a host that is not this machine"),
        "reruns": RERUNS,
    }
    for given in declarations.values():
        _add(keys, given, given.settings)
    return keys


_SIMPLE: dict[Any, CoreSchema] = {
    str: core.str_schema(strict=True),
    int: core.int_schema(strict=True),
    bool: core.bool_schema(strict=True),
    float: core.float_schema(strict=True),
    Any: core.any_schema(),
    None: core.none_schema(),
    type(None): core.none_schema(),
}


def schema_of(annotation: Any) -> CoreSchema:
    """What validates a value with this annotation.

    Importing pydantic takes longer than everything else that `check` does, so what declarations commonly need is
    translated here, and only the rest goes through pydantic.
    """
    if annotation in _SIMPLE:
        return _SIMPLE[annotation]
    arguments = typing.get_args(annotation)
    match typing.get_origin(annotation):
        case typing.Literal:
            return core.literal_schema(list(arguments))
        case typing.Union | types.UnionType:
            return core.union_schema([schema_of(one) for one in arguments])
        case origin if origin is list:
            return core.list_schema(schema_of(*arguments), strict=True)
        case origin if origin is dict:
            keys, values = (schema_of(one) for one in arguments)
            return core.dict_schema(keys, values, strict=True)
    if hasattr(annotation, "__required_keys__"):
        return _typed_dict(annotation)
    from pydantic import TypeAdapter  # rare, and slow to import

    return TypeAdapter(annotation).core_schema


def _typed_dict(annotation: Any) -> CoreSchema:
    required = annotation.__required_keys__
    fields = {
        name: core.typed_dict_field(schema_of(inner), required=name in required)
        for name, inner in typing.get_type_hints(annotation).items()
    }
    return core.typed_dict_schema(fields, strict=True, extra_behavior="forbid")
