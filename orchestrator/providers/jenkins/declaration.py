"""What Jenkins says about itself: keys, states, warnings. Importing this imports no HTTP.

The facts are of Jenkins' own source (core of 2026-08-21): it keeps no limits of its own, so those here are ours, for
the sake of the controller.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from orchestrator.core.model import Account, BuildState, Json, Limit, Target
from orchestrator.providers.port import AccountProblem, Declaration, Key, Polling

TRIGGERS, CALLS = "triggers", "calls"
MARKER = "ORCHESTRATOR_MARKER"  # the parameter that carries the marker, where the job declares it
BRANCH = ("BRANCH", "BRANCH_NAME", "GIT_BRANCH", "branch")  # that take the branch: the first that is declared

STATES: Mapping[str, BuildState] = {
    "building": BuildState.RUNNING,
    "SUCCESS": BuildState.PASSED,
    "UNSTABLE": BuildState.FAILED,
    "FAILURE": BuildState.FAILED,
    "NOT_BUILT": BuildState.SKIPPED,
    "ABORTED": BuildState.CANCELED,
}
"""A build's `result`; `building` as long as it has none that counts."""

KEYS: Mapping[str, Key] = {
    "job": Key(str, "the job's full name, `folder/name`; by default the repo"),
    "parameters": Key(dict[str, str | int | float | bool], "parameters of the job; `env` is added to them"),
}

UNDECLARED = (
    "`env` becomes parameters: a job that does not declare one of them is refused, as Jenkins would drop it without a "
    "word; `orchestrator doctor` names the jobs"
)
UNMARKED = "without a marker a lost answer stays in doubt as long as any build of that time could be the one asked for"


def job_of(target: Target) -> str:
    """The full name of the target's job, without its branch."""
    return str(target.request.get("job") or target.repo)


def parameters_of(target: Target) -> dict[str, str]:
    """What the target gives as parameters; sent as texts, as a form has nothing else."""
    own, env = (it if isinstance(it, Mapping) else {} for it in map(target.request.get, ("parameters", "env")))
    return {name: str(it).lower() if isinstance(it, bool) else str(it) for name, it in {**own, **env}.items()}


def repo_problem(repo: str, keys: Mapping[str, Json]) -> str | None:
    """What no job is ever called: Jenkins refuses these characters in names."""
    name = str(keys.get("job") or repo)
    is_odd = any(part.strip(". ") == "" for part in name.split("/")) or set(name) & set('?*\\%!@#$^&|<>[]:;"')
    return f"{name[:160]!r} is no job's name in Jenkins" if is_odd or not name.isprintable() else None


def target_problem(target: Target) -> tuple[str, str] | None:
    """What is wrong with the keys of a target taken together, and the remedy."""
    own, env = (it if isinstance(it, Mapping) else {} for it in map(target.request.get, ("parameters", "env")))
    if twice := own.keys() & env.keys():
        return f"`env` and `parameters` both name {sorted(twice)[0]!r}", "name it in one of them"
    if MARKER in {*own, *env}:
        return f"`{MARKER}` is to carry the marker", "remove it, or call it otherwise"
    return None


def account_problems(account: Account) -> Iterable[AccountProblem]:
    """A token is of no use without its user."""
    if not account.settings.get("user"):
        yield "no `user`: whose token is it?", "write `user: NAME`, as Jenkins shows it in the address of its page", ()


def place(target: Target) -> str:
    """The job, its branch, and the names of parameters: what is looked up, and judged, before a trigger."""
    return " ".join([job_of(target), target.branch or "-", *sorted(parameters_of(target))])


def warn(target: Target) -> list[str]:
    """What a person should know before this target is triggered."""
    return [*([UNDECLARED] if target.request.get("env") else []), *([] if target.marked else [UNMARKED])]


DECLARATION = Declaration(
    type="jenkins",
    title="Jenkins",
    url="",
    hosts=frozenset(),
    factory="orchestrator.providers.jenkins.provider:Jenkins",
    headers="orchestrator.providers.jenkins.wire:headers",
    lookalike="orchestrator.lookalike.jenkins:JenkinsLookAlike",
    states=STATES,
    limits=(Limit(TRIGGERS, 10, 1.0), Limit(CALLS, 50, 1.0)),
    trigger_limits=(TRIGGERS, CALLS),
    connections=8,
    keys=KEYS,
    settings={"user": Key(str, "the user whose API token it is")},
    lacks=frozenset({"message"}),
    starters={"orchestrator.yaml": "orchestrator.providers.jenkins:starter.yaml"},
    token_env="JENKINS_TOKEN",  # noqa: S106  # the name of a variable, not a token
    repo_problem=repo_problem,
    target_problem=target_problem,
    account_problems=account_problems,
    place=place,
    warn=warn,
    # One listing shows a folder with the last builds of its jobs, another one all that waits.
    polling=Polling(per_round=1.0, per_owner=1.0, page=1, at_end=0.1),
)
