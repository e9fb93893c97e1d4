"""What Gitea and Forgejo say about themselves: keys, states, warnings. Importing this imports no HTTP.

Neither limits calls by itself: the limits here are a measure of ours, so that a small server goes on answering people.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial

from orchestrator.core.model import BuildState, Findability, Json, Limit, Target
from orchestrator.providers.port import Declaration, Key, Polling

API = "/api/v1"  # with which every path begins
TRIGGERS, CALLS = "triggers", "calls"

BLOCKED = "blocked: it waits for an approval, or for another run"

STATES: Mapping[str, BuildState] = {
    "requested": BuildState.QUEUED,
    "queued": BuildState.QUEUED,
    "pending": BuildState.QUEUED,
    "waiting": BuildState.RUNNING,
    "in_progress": BuildState.RUNNING,
    "success": BuildState.PASSED,
    "failure": BuildState.FAILED,
    "cancelled": BuildState.CANCELED,
    "skipped": BuildState.SKIPPED,
}
"""Of Gitea: a run's `status`, or its `conclusion` once it is completed."""

FORGEJO_STATES: Mapping[str, BuildState] = {
    "unknown": BuildState.QUEUED,
    "waiting": BuildState.QUEUED,
    "blocked": BuildState.RUNNING,
    "running": BuildState.RUNNING,
    "success": BuildState.PASSED,
    "failure": BuildState.FAILED,
    "cancelled": BuildState.CANCELED,
    "skipped": BuildState.SKIPPED,
}
"""Of Forgejo: a run's `status`."""

REASONS: Mapping[str, Mapping[str, str]] = {"gitea": {"waiting": BLOCKED}, "forgejo": {"blocked": BLOCKED}}
"""By type, why a run that is not queued any more has not begun: a person may have to act."""

KEYS: Mapping[str, Key] = {
    "workflow": Key(str, "the workflow to dispatch: its file's name"),
    "inputs": Key(dict[str, str | int | float | bool], "inputs of the workflow, sent as text; `env` is added to them"),
}


def target_problem(target: Target) -> tuple[str, str] | None:
    """What is wrong with the keys of a target taken together, and the remedy."""
    said = target.request
    if "workflow" not in said:
        return "which workflow? there is no `workflow`", "write `workflow: FILE.yml`"
    if not said["workflow"] or "/" in str(said["workflow"]):
        return f"`workflow` is {str(said['workflow'])[:100]!r}, and no file's name", "write the name without its folder"
    own, env = (it if isinstance(it, Mapping) else {} for it in map(said.get, ("inputs", "env")))
    if twice := own.keys() & env.keys():
        return f"`env` and `inputs` both name {sorted(twice)[0]!r}", "name it in one of them"
    return None


def repo_problem(repo: str, keys: Mapping[str, Json]) -> str | None:
    """What a forge never has: a name of other than two parts."""
    parts = repo.split("/")
    return None if len(parts) == 2 and all(parts) else f"{repo[:160]!r} is no repository's name: owner/name"


def _warn(title: str, target: Target) -> list[str]:
    dropped = (
        f"`env` becomes inputs, and {title} drops those that the workflow does not declare without a word; "
        "`orchestrator doctor` names the workflows"
    )
    unmarked = (
        f"{title} shows no marker: a lost answer stays in doubt as long as any run of that time could be the one that "
        "was asked for"
    )
    trap = f"{title} cancels what an earlier dispatch of the same workflow and branch started, whoever dispatched it"
    return [*([dropped] if target.request.get("env") else []), *([unmarked] if target.marked else []), trap]


def _declared(type_: str, title: str, host: str, states: Mapping[str, BuildState], *, restarts: bool) -> Declaration:
    """One of the two; `host` is the public server that speaks it."""
    name = title.partition(" ")[0]
    return Declaration(
        type=type_,
        title=title,
        url=f"https://{host}",
        url_end=API,
        hosts=frozenset({host}),
        factory=f"orchestrator.providers.gitea.provider:{name}",
        headers="orchestrator.providers.gitea.wire:headers",
        lookalike=f"orchestrator.lookalike.gitea:{name}LookAlike",
        states=states,
        limits=(Limit(TRIGGERS, 5, 1.0), Limit(CALLS, 20, 1.0)),
        trigger_limits=(TRIGGERS, CALLS),
        connections=8,
        finds=Findability.HEURISTIC,
        restarts=restarts,
        keys=KEYS,
        lacks=frozenset({"message"}),
        starters={
            "orchestrator.yaml": f"orchestrator.providers.gitea:{type_}.yaml",
            f".{type_}/workflows/ci.yml": "orchestrator.providers.gitea:starter-workflow.yaml",
        },
        token_env=f"{type_.upper()}_TOKEN",
        old_names=True,
        clones={host: {}},
        repo_problem=repo_problem,
        target_problem=target_problem,
        place=lambda target: "" if target.branch else "default branch",
        rival=lambda target: f"{target.branch or ''} {target.request.get('workflow')}",
        warn=partial(_warn, name),
        polling=Polling(per_round=0.0, per_build=1.0, far=0),  # each run is read by itself
    )


DECLARATION = _declared("gitea", "Gitea Actions", "gitea.com", STATES, restarts=True)
FORGEJO = _declared("forgejo", "Forgejo Actions", "codeberg.org", FORGEJO_STATES, restarts=False)
