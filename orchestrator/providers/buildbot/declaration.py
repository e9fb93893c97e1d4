"""What Buildbot says about itself: keys, states, warnings. Importing this imports no HTTP.

The facts are of Buildbot 4.3.0 as it was seen to behave: it limits nothing, its native states are those of a
buildrequest, and `results` are numbers (`master/docs/developer/results.rst`).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TypedDict

from orchestrator.core.model import Account, BuildState, Json, Target
from orchestrator.providers.port import AccountProblem, Declaration, Key, Polling

MARKER_PROPERTY = "orchestrator_marker"
RESULTS = ("success", "warnings", "failure", "skipped", "exception", "retry", "cancelled")
STATES: Mapping[str, BuildState] = {
    "unclaimed": BuildState.QUEUED,
    "claimed": BuildState.RUNNING,
    "success": BuildState.PASSED,
    "warnings": BuildState.PASSED,
    "failure": BuildState.FAILED,
    "skipped": BuildState.SUPERSEDED,
    "exception": BuildState.ERRORED,
    "retry": BuildState.RUNNING,
    "cancelled": BuildState.CANCELED,
}
"""Whether a buildrequest is claimed by a master, or the name of its `results` once it is complete."""

OWN = frozenset({"builderNames", "builderid", "branch", "reason", "priority", MARKER_PROPERTY})  # parameters we send


class Login(TypedDict):
    """Who logs in; the password is a reference to a secret."""

    user: str
    password: str | dict[str, str]


KEYS: Mapping[str, Key] = {
    "scheduler": Key(str, "the force scheduler to ask (required)"),
    "builders": Key(str | list[str], "the builders, all in one buildset; by default the last part of `repo`"),
    "properties": Key(
        dict[str, str | int | float | bool], "parameters of the scheduler, sent as they are; `env` is added to them"
    ),
    "priority": Key(int, "the higher, the earlier in Buildbot's queue"),
}
SETTINGS: Mapping[str, Key] = {
    "login": Key(Login, "`{user, password: env:NAME}`, where only those who have logged in may force builds"),
}
UNDECLARED = (
    "`env` becomes parameters: a scheduler that does not declare one of them is refused, as Buildbot would drop it "
    "without a word; `orchestrator doctor` names the schedulers"
)
MERGED = (
    "Buildbot merges requests of one builder and branch that wait together: all but the newest end as superseded, "
    "unless the builder has `collapseRequests=False`"
)


def builders_of(target: Target) -> list[str]:
    """The builders that are forced; never none, which would mean all of them."""
    said = target.request.get("builders")
    names = [said] if isinstance(said, str) else list(said) if isinstance(said, list | tuple) else []
    return names or [target.repo.rpartition("/")[2]]


def properties_of(target: Target) -> dict[str, Json]:
    """`properties` and `env` together."""
    given = (it if isinstance(it, Mapping) else {} for it in map(target.request.get, ("properties", "env")))
    return {name: value for values in given for name, value in values.items()}


def place(target: Target) -> str:
    """What the scheduler's description is read for."""
    names = ",".join((*builders_of(target), *sorted(properties_of(target))))
    return f"{target.request.get('scheduler')} {names} {'' if target.branch is None else 'branch'}".rstrip()


def target_problem(target: Target) -> tuple[str, str] | None:
    """What is wrong with the keys of a target taken together, and the remedy."""
    said, builders = target.request, builders_of(target)
    own, env = (it if isinstance(it, Mapping) else {} for it in map(said.get, ("properties", "env")))
    if not said.get("scheduler"):
        return "which force scheduler? there is no `scheduler`", "write `scheduler: NAME`"
    if not all(isinstance(name, str) and name.strip() for name in builders) or said.get("builders") == []:
        return "`builders` names none, and without a name Buildbot would force all", "name them, or leave the key out"
    if len(set(builders)) < len(builders):
        return "`builders` names one twice", "name it once"
    if twice := own.keys() & env.keys():
        return f"`env` and `properties` both name {sorted(twice)[0]!r}", "name it in one of them"
    if taken := OWN & {*own, *env}:
        name = sorted(taken)[0]
        remedy = f"write `{name}: ...` at the target" if name in ("branch", "priority") else "name it otherwise"
        return f"the parameter {name!r} is sent already", remedy
    return None


def account_problems(account: Account) -> Iterator[AccountProblem]:
    """There is no token: Buildbot knows who has logged in, or nobody."""
    if account.token is not None:
        yield "Buildbot has no tokens", "write `login: {user: NAME, password: env:NAME}`, or nothing", ("token",)


def warn(target: Target) -> list[str]:
    """What a person should know before this target is triggered."""
    undeclared = [UNDECLARED] if target.request.get("env") else []
    return [*undeclared, *([MERGED] if target.matrix or target.name is not None else [])]


DECLARATION = Declaration(
    type="buildbot",
    title="Buildbot",
    url="",
    url_end="/api/v2",
    hosts=frozenset(),
    factory="orchestrator.providers.buildbot.provider:Buildbot",
    headers="orchestrator.providers.buildbot.wire:headers",
    lookalike="orchestrator.lookalike.buildbot:BuildbotLookAlike",
    states=STATES,
    limits=(),
    trigger_limits=(),
    connections=8,
    settle=5.0,
    restarts=True,
    keys=KEYS,
    settings=SETTINGS,
    secret_settings=(("login", "password"),),
    starters={"orchestrator.yaml": "orchestrator.providers.buildbot:starter.yaml"},
    needs_token=False,
    fold_case=False,
    any_repo=True,
    place=place,
    target_problem=target_problem,
    account_problems=account_problems,
    warn=warn,
    # Two calls show two hundred requests, and builds are read as they begin and as they end.
    polling=Polling(per_round=2.0, per_build=0.005, page=200),
)
