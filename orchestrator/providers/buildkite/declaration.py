"""What Buildkite says about itself: limits, keys, states, warnings. Importing this imports no HTTP.

The facts are of Buildkite's documentation (2026-08-21): 50 requests a minute of a user, whatever they do, and 200 of an
organization, by all of its users; both windows are told in the headers of every answer.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from orchestrator.core.model import BuildState, Json, Limit, Target
from orchestrator.limits.headers import HeaderFamily, learn_from
from orchestrator.providers.port import Declaration, Key, Polling

CALLS, ORGANIZATION = "calls", "calls_per_organization"
BOTH = (CALLS, ORGANIZATION)
MARKER, RUN = "orchestrator_marker", "orchestrator_run"  # keys of the meta-data that we set

STATES: Mapping[str, BuildState] = {
    "creating": BuildState.QUEUED,
    "scheduled": BuildState.QUEUED,
    "waiting": BuildState.RUNNING,
    "running": BuildState.RUNNING,
    "failing": BuildState.RUNNING,
    "blocked": BuildState.RUNNING,
    "canceling": BuildState.RUNNING,
    "passed": BuildState.PASSED,
    "failed": BuildState.FAILED,
    "waiting_failed": BuildState.FAILED,
    "canceled": BuildState.CANCELED,
    "skipped": BuildState.SUPERSEDED,
    "not_run": BuildState.SKIPPED,
}

REASONS: Mapping[str, str] = {
    "blocked": "a block step waits for a person",
    "failing": "a job has failed, others go on",
    "skipped": "a newer build of the branch replaced it (the pipeline skips queued builds)",
    "not_run": "all of its steps were skipped",
}

KEYS: Mapping[str, Key] = {
    "pipeline": Key(str, "the pipeline's slug; by default the repo's name"),
    "meta_data": Key(dict[str, str | int | float | bool], "meta-data of the build, sent as text"),
    "sha": Key(str, "build this commit instead of the head of the branch"),
}

_SLUG = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")


def pipeline_of(target: Target) -> str:
    """The slug of the target's pipeline."""
    return str(target.request.get("pipeline") or target.repo.partition("/")[2])


def repo_problem(repo: str, keys: Mapping[str, Json]) -> str | None:
    """What no organization or pipeline is ever called."""
    owner, _, name = repo.partition("/")
    slugs = (owner, str(keys.get("pipeline") or name))
    return None if all(map(_SLUG.fullmatch, slugs)) else f"{'/'.join(slugs)[:160]!r} is no pipeline on Buildkite"


def target_problem(target: Target) -> tuple[str, str] | None:
    """What is wrong with the keys of a target taken together, and the remedy."""
    own = target.request.get("meta_data")
    if taken := {MARKER, RUN} & set(own if isinstance(own, Mapping) else ()):
        return f"`meta_data` gives {taken.pop()!r}, which is ours to set", "call it otherwise"
    return None


UNMARKED = (
    "without a marker a lost answer stays in doubt as long as any build of that time could be the one asked for, and "
    "each build is followed by calls of its own"
)


DECLARATION = Declaration(
    type="buildkite",
    title="Buildkite",
    url="https://api.buildkite.com",
    url_end="/v2",
    hosts=frozenset({"api.buildkite.com"}),
    factory="orchestrator.providers.buildkite.provider:Buildkite",
    headers="orchestrator.providers.buildkite.wire:headers",
    lookalike="orchestrator.lookalike.buildkite:BuildkiteLookAlike",
    states=STATES,
    limits=(Limit(CALLS, 50, 60.0), Limit(ORGANIZATION, 200, 60.0, "owner")),
    trigger_limits=BOTH,
    settle=30.0,
    restarts=True,
    keys=KEYS,
    starters={"orchestrator.yaml": "orchestrator.providers.buildkite:starter.yaml"},
    token_env="BUILDKITE_TOKEN",  # noqa: S106  # the name of a variable, not a token
    repo_problem=repo_problem,
    target_problem=target_problem,
    home=lambda target: f"{target.owner}/{pipeline_of(target)}",
    place=lambda target: f"{pipeline_of(target)} {'' if target.branch else 'default branch'}".rstrip(),
    warn=lambda target: () if target.marked else (UNMARKED,),
    learn=learn_from(
        HeaderFamily(CALLS, "ratelimit-user", per=60.0), HeaderFamily(ORGANIZATION, per=60.0, scope="owner")
    ),
    # A page of the listing shows a hundred builds, also those that have ended.
    polling=Polling(per_round=0.0, per_build=0.01, far=0),
)
