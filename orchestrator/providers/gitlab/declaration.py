"""What GitLab says about itself: limits, keys, states, warnings. Importing this imports no HTTP.

The facts are GitLab's public sources and the limits of gitlab.com: 2,000 calls a minute of a user, of which 400 read a
project; 25 pipelines a minute of a project, user and commit; 2,000 a minute of a user. 5 triggers a second stay far
below. An installation of one's own has none of these limits unless its administrator sets them.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any, Literal

from orchestrator.core.frozen import replace
from orchestrator.core.model import Account, BuildState, Json, Limit, Target
from orchestrator.limits.headers import HeaderFamily, learn_from
from orchestrator.providers.port import AccountProblem, Declaration, Key, Polling

SITE = "https://gitlab.com"
API = "/api/v4"

TRIGGERS, PER_REPO, CALLS, PROJECTS = "triggers", "triggers_per_repo", "calls", "projects"
READS = (CALLS,)
WRITES = (TRIGGERS, PER_REPO, CALLS)

STATES: Mapping[str, BuildState] = {
    "created": BuildState.QUEUED,
    "waiting_for_resource": BuildState.QUEUED,
    "preparing": BuildState.QUEUED,
    "waiting_for_callback": BuildState.QUEUED,
    "pending": BuildState.QUEUED,
    "running": BuildState.RUNNING,
    "canceling": BuildState.RUNNING,
    "manual": BuildState.RUNNING,
    "scheduled": BuildState.RUNNING,
    "success": BuildState.PASSED,
    "failed": BuildState.FAILED,
    "canceled": BuildState.CANCELED,
    "skipped": BuildState.SKIPPED,
}

REASONS: Mapping[str, str] = {
    "waiting_for_resource": "another job holds its resource group",
    "waiting_for_callback": "it waits for another service",
    "canceling": "it is being canceled",
    "manual": "a person must start a manual job",
    "scheduled": "a delayed job waits for its time",
}

MARKER = "ORCHESTRATOR_MARKER"
"""The variable that carries the marker."""

KEYS: Mapping[str, Key] = {
    "variables": Key(dict[str, str], "variables of the pipeline; `env` is added to them"),
    "inputs": Key(
        dict[str, str | int | float | bool | list[Any]], "inputs that the project's CI file declares (`spec: inputs`)"
    ),
    "marker_input": Key(str, f"the input that carries the marker, in place of the variable {MARKER}"),
    "trigger_token": Key(str, "reference to the project's trigger token, by which it is triggered", reference=True),
}
SETTINGS: Mapping[str, Key] = {
    "trigger_token": Key(str, "reference to a trigger token, for targets without one of their own", reference=True),
    "follow": Key(Literal["none"], "`none`: what was accepted is not followed, and ends as passed"),
}

FORBIDDEN = (
    "variables, the marker's among them, are refused by projects that forbid pipeline variables, as those made since "
    "17.7 do; `orchestrator doctor` names them; there, use `inputs` and `marker_input`"
)
UNFOLLOWED = "results are not followed, and without `token` a lost answer stays in doubt"
_PART = r"(?!-)[A-Za-z0-9_.-]{1,255}(?<!\.)(?<!\.git)(?<!\.atom)"
_REPO = re.compile(rf"[0-9]{{1,18}}|{_PART}(?:/{_PART})+")
_VARIABLE = re.compile(r"[A-Za-z0-9_]{1,255}")


def repo_problem(repo: str, keys: Mapping[str, Json]) -> str | None:
    """What GitLab never has: names that begin with a dash, or end with a dot, `.git` or `.atom`, other characters."""
    return None if _REPO.fullmatch(repo) else f"{repo[:160]!r} is no project's path on GitLab"


def target_problem(target: Target) -> tuple[str, str] | None:
    """What is wrong with the keys of a target taken together, and the remedy."""
    said = target.request
    own, env, inputs = (it if isinstance(it, Mapping) else {} for it in map(said.get, ("variables", "env", "inputs")))
    if twice := own.keys() & env.keys():
        return f"`env` and `variables` both name {sorted(twice)[0]!r}", "name it in one of them"
    if MARKER in {*own, *env}:
        return f"{MARKER!r} is to carry the marker", "remove it"
    if odd := [name for name in (*own, *env) if not _VARIABLE.fullmatch(str(name))]:
        return f"{odd[0][:100]!r} is no variable's name on GitLab", "write letters, digits and _"
    if (carrier := said.get("marker_input")) in inputs:
        return f"`inputs` gives {carrier!r}, which is to carry the marker", "remove it, or name another `marker_input`"
    return None


def is_blind(account: Account) -> bool:
    """Whether the account has only trigger tokens, which read nothing."""
    return account.token is None and account.settings.get("follow") == "none"


def account_problems(account: Account) -> Iterable[AccountProblem]:
    """What is wrong with the keys of an account."""
    if "trigger_token" in account.settings and account.token is None and not is_blind(account):
        remedy = "write `token: env:GITLAB_TOKEN`, or `follow: none`"
        yield "a trigger token reads nothing, so what it starts cannot be followed", remedy, ("trigger_token",)


def warn(target: Target) -> list[str]:
    """What a person should know before this target is triggered."""
    said = target.request
    carries = target.marked and "marker_input" not in said
    lead = "`env` becomes variables; " if said.get("env") else ""
    return [f"{lead}{FORBIDDEN}"] if carries or said.get("env") or said.get("variables") else []


DECLARATION = Declaration(
    type="gitlab",
    title="GitLab CI",
    url=SITE,
    url_end=API,
    hosts=frozenset({"gitlab.com"}),
    factory="orchestrator.providers.gitlab.provider:made",
    headers="orchestrator.providers.gitlab.wire:headers",
    lookalike="orchestrator.lookalike.gitlab:GitLabLookAlike",
    states=STATES,
    limits=(
        Limit(TRIGGERS, 5, 1.0),
        Limit(PER_REPO, 25, 60.0, "repo"),
        Limit(CALLS, 2000, 60.0),
        Limit(PROJECTS, 400, 60.0),
    ),
    trigger_limits=WRITES,
    settle=30.0,
    restarts=True,
    keys=KEYS,
    settings=SETTINGS,
    secret_settings=(("trigger_token",),),
    lacks=frozenset({"message"}),
    starters={"orchestrator.yaml": "orchestrator.providers.gitlab:starter.yaml"},
    token_env="GITLAB_TOKEN",  # noqa: S106  # the name of a variable, not a token
    repo_ids=True,
    old_names=True,
    clones={"gitlab.com": {}},
    repo_problem=repo_problem,
    target_problem=target_problem,
    account_problems=account_problems,
    # with trigger tokens alone there is no other token
    for_account=lambda declared, account: replace(declared, needs_token=False) if is_blind(account) else declared,
    place=lambda target: f"input {target.request['marker_input']}" if "marker_input" in target.request else "",
    warn=warn,
    warn_account=lambda account: [UNFOLLOWED] if is_blind(account) else [],
    learn=learn_from(HeaderFamily(CALLS, "ratelimit", per=60.0)),
    # One GraphQL call shows twenty pipelines; each is read by itself when it appears, and with its bridges at its end.
    polling=Polling(per_round=0.0, per_build=0.05, far=0, at_end=3.0),
)
