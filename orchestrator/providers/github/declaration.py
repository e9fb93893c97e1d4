"""What GitHub Actions says about itself: limits, keys, states, warnings. Importing this imports no HTTP.

The facts are GitHub's own advice and limits: writes one at a time and a second apart, 500 an hour that create
something; 900 points a minute, of which a read is 1 and a write 5; 5,000 calls an hour of a user; 30 searches a minute;
100 at once.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any, TypedDict

from orchestrator.core.frozen import replace
from orchestrator.core.model import Account, BuildState, Json, Limit, Target
from orchestrator.limits.headers import HeaderFamily, learn_from
from orchestrator.providers.port import AccountProblem, Declaration, Key, Polling

API = "https://api.github.com"

TRIGGERS, CALLS, POINTS, SEARCHES = "triggers", "calls", "points", "searches"
READS = (CALLS, POINTS)
WRITES = (TRIGGERS, CALLS, *(POINTS,) * 5)

STATES: Mapping[str, BuildState] = {
    "requested": BuildState.QUEUED,
    "queued": BuildState.QUEUED,
    "pending": BuildState.QUEUED,
    "waiting": BuildState.RUNNING,
    "in_progress": BuildState.RUNNING,
    "success": BuildState.PASSED,
    "neutral": BuildState.PASSED,
    "failure": BuildState.FAILED,
    "timed_out": BuildState.FAILED,
    "cancelled": BuildState.CANCELED,
    "skipped": BuildState.SKIPPED,
    "startup_failure": BuildState.ERRORED,
    "action_required": BuildState.ERRORED,
    "stale": BuildState.ERRORED,
}
"""A run's `status`, or its `conclusion` once it is completed."""

REASONS: Mapping[str, str] = {
    "waiting": "a deployment waits for an approval or a timer",
    "pending": "held back by its concurrency group",
    "timed_out": "it ran out of time",
    "startup_failure": "the workflow could not start",
    "action_required": "it needs an approval",
    "stale": "GitHub gave it up",
}

AUTO, NONE = "auto", "none"
MOST_INPUTS, MOST_PAYLOAD = 25, 10
LONGEST_INPUTS = 65_535  # characters of all inputs, or of the payload

KEYS: Mapping[str, Key] = {
    "workflow": Key(str | int, "the workflow to dispatch: its file's name, or its number"),
    "inputs": Key(dict[str, str | int | float | bool], "inputs of the workflow, sent as text; `env` is added to them"),
    "event": Key(str, "the type of a repository_dispatch, instead of `workflow`; it builds the default branch"),
    "payload": Key(dict[str, Any], "the client_payload of the event; `env` is added to it"),
    "marker_input": Key(
        str, "the input, or key of the payload, that carries the marker; `none`, or `auto` (default): as the file says"
    ),
}


class _Needed(TypedDict):
    id: int | str
    key: str | dict[str, str]


class AppKeys(_Needed, total=False):
    """A GitHub App in place of a token; the key is a reference to its private key."""

    installation: int | str


SETTINGS: Mapping[str, Key] = {
    "app": Key(AppKeys, "`{id, key: file:PATH, installation: auto}`: tokens of an App, instead of `token`"),
}

NARROWS: Mapping[str, Key] = {
    "team": Key(str, "the repositories of this team of the organization, by the last part of its page's address"),
    "topic": Key(str | list[str], "those with this topic, or with all of several"),
    "search": Key(str, "those that GitHub's search finds, as `language:go pushed:>2026-01-01`; a thousand at most"),
}

UNDECLARED = (
    "`env` becomes inputs: GitHub refuses a dispatch with an input that the workflow does not declare; "
    "`orchestrator doctor` names the workflows"
)
UNSEEN = "`doctor` names the workflows whose file shows no `marker` (`marker_input: auto`); there, "
UNMARKED = (
    "without a marker a lost answer stays in doubt as long as any run of that time could be the one that was asked for"
)
_REPO = re.compile(r"(?!-)[A-Za-z0-9_-]{1,39}/[A-Za-z0-9._-]{1,100}")


def repo_problem(repo: str, keys: Mapping[str, Json]) -> str | None:
    """What GitHub never has: other parts than owner and name, longer ones, other characters."""
    return None if _REPO.fullmatch(repo) else f"{repo[:160]!r} is no repository's name on GitHub"


def target_problem(target: Target) -> tuple[str, str] | None:
    """What is wrong with the keys of a target taken together, and the remedy."""
    said, event = target.request, "event" in target.request
    if event == ("workflow" in said):
        both = "`workflow` and `event` stand side by side" if event else "which workflow? there is no `workflow`"
        return both, "keep one of them" if event else "write `workflow: FILE.yml`, or `event: TYPE`"
    if wrong := {"inputs"} & said.keys() if event else {"payload"} & said.keys():
        return f"`{wrong.pop()}` does not go with `{'event' if event else 'workflow'}`", "remove one of them"
    if event and target.branch is not None:
        return "`event` builds the default branch, and a branch is given", "remove `branch`, or use `workflow`"
    if event and not 0 < len(str(said["event"])) <= 100:
        return "the type of an event has 1 to 100 characters", "write another `event`"
    return _sent_problem(target, "payload" if event else "inputs", MOST_PAYLOAD if event else MOST_INPUTS)


def _sent_problem(target: Target, key: str, most: int) -> tuple[str, str] | None:
    own, env = (it if isinstance(it, Mapping) else {} for it in map(target.request.get, (key, "env")))
    carrier = target.request.get("marker_input", AUTO)
    if twice := own.keys() & env.keys():
        return f"`env` and `{key}` both name {sorted(twice)[0]!r}", "name it in one of them"
    if carrier in {*own, *env}:
        return f"`{key}` gives {carrier!r}, which is to carry the marker", "remove it, or name another `marker_input`"
    if (count := len(own) + len(env)) > most:
        return f"{count} of {key}, and GitHub takes {most}", "send fewer"
    if (size := len(str(dict(own))) + len(str(dict(env)))) > LONGEST_INPUTS:
        return f"{key} of {size:,} characters, and GitHub takes {LONGEST_INPUTS:,}", "send less"
    return None


def account_problems(account: Account) -> Iterator[AccountProblem]:
    """What is wrong with `app`."""
    if not isinstance(said := account.settings.get("app"), Mapping):
        return
    if account.token is not None:
        yield "`app` and `token` stand side by side", "keep one of them", ("token",)
    if not re.fullmatch(r"[1-9][0-9]{0,17}|Iv[0-9A-Za-z.]{4,60}", str(said.get("id"))):
        yield "that is no App's id", "write the App ID, or the Client ID, of the App's page", ("app", "id")
    wished = said.get("installation", AUTO)
    if wished != AUTO and (not isinstance(wished, int) or wished <= 0):
        remedy = "leave it out: it is found for each owner"
        yield "`installation` is a number, or `auto`", remedy, ("app", "installation")


def is_app(account: Account) -> bool:
    """Whether the account's tokens are those of an App's installations."""
    return "app" in account.settings


def of_app(declared: Declaration, account: Account) -> Declaration:
    """An App has an installation for each owner, which GitHub counts by itself.

    A rule of one trigger a second leaves no two of an owner without an answer, as each counts until that has come.
    """
    if not is_app(account):
        return declared
    limits = tuple(replace(limit, scope="owner") for limit in declared.limits)
    learn = learn_from(*(replace(one, scope="owner") for one in TOLD))
    return replace(declared, limits=limits, learn=learn, triggers_at_once=None)


def place(target: Target) -> str:
    """The workflow, its ref and the wished input: what the workflow's file is read for."""
    said = target.request
    if "event" in said:
        return f"event {said['event']}"
    carrier = said.get("marker_input", AUTO) if target.marked else NONE
    return f"{said.get('workflow')} {carrier} {target.branch or ''}".rstrip()


def warn(target: Target) -> list[str]:
    """What a person should know before this target is triggered."""
    said = target.request
    warnings = [UNDECLARED] if said.get("env") and "workflow" in said else []
    if (carrier := said.get("marker_input", AUTO)) in (AUTO, NONE) and "workflow" in said and target.marked:
        warnings.append(f"{UNSEEN if carrier == AUTO else ''}{UNMARKED}")
    return warnings


TOLD = (
    HeaderFamily(CALLS, "x-ratelimit", per=3600.0, only=("x-ratelimit-resource", "core")),
    HeaderFamily(SEARCHES, "x-ratelimit", per=60.0, only=("x-ratelimit-resource", "search")),
)

DECLARATION = Declaration(
    type="github",
    title="GitHub Actions",
    url=API,
    hosts=frozenset({"api.github.com"}),
    factory="orchestrator.providers.github.provider:GitHub",
    headers="orchestrator.providers.github.wire:headers",
    grants="orchestrator.providers.github.app:App",
    asks_for_tokens=is_app,
    lookalike="orchestrator.lookalike.github:GitHubLookAlike",
    states=STATES,
    limits=(
        Limit(TRIGGERS, 1, 1.0),
        Limit(f"{TRIGGERS}.2", 500, 3600.0),
        Limit(POINTS, 900, 60.0),
        Limit(CALLS, 5000, 3600.0),
        Limit(SEARCHES, 30, 60.0),
    ),
    trigger_limits=WRITES,
    triggers_at_once=1,
    restarts=True,
    keys=KEYS,
    narrows=NARROWS,
    settings=SETTINGS,
    key_settings=(("app", "key"),),
    lacks=frozenset({"message"}),
    starters={
        "orchestrator.yaml": "orchestrator.providers.github:starter.yaml",
        ".github/workflows/ci.yml": "orchestrator.providers.github:starter-workflow.yaml",
    },
    token_env="GH_TOKEN",  # noqa: S106  # the name of a variable, not a token
    token_fallback="orchestrator.providers.github.provider:stored_token",  # noqa: S106  # where the code stands
    old_names=True,
    clones={"github.com": {}},
    repo_problem=repo_problem,
    target_problem=target_problem,
    account_problems=account_problems,
    for_account=of_app,
    place=place,
    warn=warn,
    learn=learn_from(*TOLD),
    # One GraphQL call shows five hundred runs; each is read by itself when it appears and when it ends.
    polling=Polling(per_build=0.002, far=0, at_end=2.0),
)
