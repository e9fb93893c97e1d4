"""What Travis says about itself: limits, keys, states, warnings. Importing this imports no HTTP.

The facts are those of Travis' public sources (API v3): 50 POSTs of any kind in 30 seconds ban the token for an hour;
2,000 calls a minute; 10 API requests in a sliding hour for each repository, from all users together.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Literal, Required

from typing_extensions import TypedDict  # pydantic refuses the one of `typing` before Python 3.12

from orchestrator.core.calls import Answer, Call
from orchestrator.core.model import ACCOUNT, Account, BuildState, Json, Learnt, Limit, Scope, Target
from orchestrator.providers.port import Declaration, Key, Polling

API_COM = "https://api.travis-ci.com"
ORG_HOST = "api.travis-ci.org"

TRIGGERS = "triggers"  # every POST of the principal: trigger, cancel, restart, refused or not
CALLS = "calls"  # every call
PER_REPO = "triggers_per_repo"  # what was accepted for a repository, by anybody

MergeMode = Literal[
    "replace",
    "merge",
    "deep_merge",
    "deep_merge_append",
    "deep_merge_prepend",
    "deep-merge",
    "deep-merge-append",
    "deep-merge-prepend",
]

STATES: Mapping[str, BuildState] = {
    "created": BuildState.QUEUED,
    "queued": BuildState.QUEUED,
    "received": BuildState.QUEUED,
    "started": BuildState.RUNNING,
    "passed": BuildState.PASSED,
    "failed": BuildState.FAILED,
    "errored": BuildState.ERRORED,
    "canceled": BuildState.CANCELED,
}


class ConfigEntry(TypedDict, total=False):
    """One entry of `configs`: the first has precedence; the mode says how what is below is merged under it."""

    __pydantic_config__ = {"extra": "forbid"}  # type: ignore[misc]  # noqa: RUF012  # pydantic's own way to configure a TypedDict
    config: Required[dict[str, Any] | str]
    mode: MergeMode
    merge_mode: MergeMode


KEYS: Mapping[str, Key] = {
    "sha": Key(str, "build this commit instead of the head of the branch"),
    "tag_name": Key(str, "build this tag"),
    "config": Key(dict[str, Any] | str, "build config (a map, or YAML text) that `.travis.yml` is merged into"),
    "configs": Key(list[ConfigEntry], "several configs with a mode each, the first has precedence; wins over `config`"),
    "merge_mode": Key(MergeMode, "how `.travis.yml` is merged into `config`; sent only when written"),
    "request_token": Key(str, "reference to a secret that is sent as `request.token`", reference=True),
    "vcs": Key(Literal["github", "gitlab", "bitbucket", "assembla"], "where the repository lives (default github)"),
}

CLONES: Mapping[str, Mapping[str, str]] = {
    "github.com": {"vcs": "github"},
    "gitlab.com": {"vcs": "gitlab"},
    "bitbucket.org": {"vcs": "bitbucket"},
}
_OF_GITHUB = re.compile(r"(?!-)[A-Za-z0-9_-]{1,39}/[A-Za-z0-9._-]{1,100}")

_WHO = r"(?:ci|travis(?:[ -]?ci)?)"
_SKIP = re.compile(rf"\[\s*(?:skip[\s:-]+{_WHO}|{_WHO}[\s:-]+skip)\s*\]", re.IGNORECASE)

NO_MODE = (
    "`config` or `env` without `merge_mode`: Travis then chooses deep_merge_append where the repository's build config "
    "validation is on, deep_merge where it is off, and old servers replace whole sections (merge); write `merge_mode`"
)
MULTIPLIES = "`config.{key}` multiplies jobs: one job for each entry"
FOR_ALL = "; use `env` to hand one variable to all jobs"
_EXPANDS = re.compile(  # keys of a build config of which a list makes a job for each entry
    "arch|compiler|crystal|d|dart|dart_task|dist|dotnet|elixir|elm|gemfile|ghc|go|haxe|hhvm|jdk|julia|lein|mono|neko|nix|"
    "node|node_js|os|osx_image|otp_release|perl|perl6|php|python|r|raku|ruby|rust|rvm|scala|smalltalk|smalltalk_config|"
    "smalltalk_vm|solver|virt|xcode_destination|xcode_scheme|xcode_sdk"
)
BOTH_CONFIGS = "`configs` wins over `config`: Travis ignores `config` here"
LIKE_PUSHES = (
    "API builds run `deploy` and send mails as pushes do; guard deploys with `if: type != api`, "
    "switch mails off with `config: {notifications: {email: false}}`"
)
ORG_IS_OVER = "travis-ci.org is shut down and read-only: triggers there are refused; use https://api.travis-ci.com"


def repo_problem(repo: str, keys: Mapping[str, Json]) -> str | None:
    """What GitHub never has: other parts than owner and name, longer ones, other characters."""
    if "/" not in repo or keys.get("vcs", "github") != "github" or _OF_GITHUB.fullmatch(repo) is not None:
        return None
    return f"{repo[:160]!r} is no repository's name: GitHub has owner/name, of at most 39 and 100 characters"


def message_problem(message: str) -> str | None:
    """A skip command anywhere in the message stops API builds too: the message replaces the commit's."""
    found = _SKIP.search(message)
    if found is None:
        return None
    return f"the message holds the skip command {found.group(0)!r}: Travis would build nothing; reword it"


def warn(target: Target) -> list[str]:
    """What a person should know before this target is triggered; the same sentence for every target it applies to."""
    said = target.request
    config, more = said.get("config"), said.get("configs")
    entries = [entry.get("config") for entry in more if isinstance(entry, Mapping)] if isinstance(more, list) else []
    warnings = [text for one in (config, *entries) if isinstance(one, Mapping) for text in _multiplied(one)]
    if _lacks_mode(said):
        warnings.append(NO_MODE)
    if "config" in said and "configs" in said:
        warnings.append(BOTH_CONFIGS)
    if not (isinstance(config, Mapping) and {"notifications", "deploy"} <= config.keys()):  # both were thought of
        warnings.append(LIKE_PUSHES)
    return warnings


def _multiplied(config: Mapping[str, Json]) -> Iterator[str]:
    """A sentence for each key of a config of which one job, or several more, are made for each entry."""
    env = config.get("env")
    if isinstance(env, list) and len(env) > 1:
        yield MULTIPLIES.format(key="env") + FOR_ALL
    for key in ("matrix", "jobs"):
        if isinstance(env, Mapping) and key in env:
            yield MULTIPLIES.format(key=f"env.{key}") + FOR_ALL
        section = config.get(key)
        rows = section.get("include") if isinstance(section, Mapping) else section
        if isinstance(rows, list | Mapping) and rows:
            yield MULTIPLIES.format(key=key if rows is section else f"{key}.include")
    for key, values in config.items():
        if isinstance(values, list) and len(values) > 1 and _EXPANDS.fullmatch(key):
            yield MULTIPLIES.format(key=key)


def warn_account(account: Account) -> list[str]:
    """What a person should know of the account."""
    return [ORG_IS_OVER] if f"//{ORG_HOST}" in account.url else []


def learn(call: Call, answer: Answer) -> Sequence[Learnt]:
    """What an answer to a trigger reveals of the repository's hourly limit.

    `remaining_requests` counts before the new row exists: the first of ten says 10, after it 9 are left.
    """
    if call.purpose != "trigger" or call.repo is None or not isinstance(answer.body, Mapping):
        return ()
    scope = Scope("repo", call.repo.lower())
    if answer.status == 202:
        before = _count(answer.body.get("remaining_requests"))
        return () if before is None else (Learnt(PER_REPO, scope, left=max(0, before - 1)),)
    if answer.status == 429:
        return learnt_of_refusal(answer.body, scope)
    return ()


def learnt_of_refusal(body: Mapping[str, Json], scope: Scope) -> tuple[Learnt, ...]:
    """What the 429 of the hourly limit says: the limit and its period; nothing is left."""
    calls, per = _count(body.get("max_requests")), _count(body.get("per_seconds"))
    if not calls or not per:
        return (Learnt(PER_REPO, scope, left=0),)
    return (Learnt(PER_REPO, scope, calls=calls, per=float(per), left=0),)


def _count(value: Json) -> int | None:
    """A number of calls or seconds as a server may send it; None for anything odd."""
    return value if isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= 10**9 else None


def _lacks_mode(said: Mapping[str, Json]) -> bool:
    if said.get("merge_mode") is not None or "configs" in said:
        return False
    config = said.get("config")
    inside = isinstance(config, Mapping) and "merge_mode" in config
    return (config is not None or bool(said.get("env"))) and not inside


DECLARATION = Declaration(
    type="travis",
    title="Travis CI",
    url=API_COM,
    restarts=True,
    hosts=frozenset({"api.travis-ci.com"}),
    factory="orchestrator.providers.travis.provider:Travis",
    headers="orchestrator.providers.travis.wire:headers",
    lookalike="orchestrator.lookalike.travis:TravisLookAlike",
    states=STATES,
    limits=(
        Limit(TRIGGERS, 40, 30.0, ACCOUNT),
        Limit(CALLS, 1800, 60.0, ACCOUNT),
        Limit(PER_REPO, 10, 3600.0, "repo"),
    ),
    trigger_limits=(TRIGGERS, CALLS, PER_REPO),
    accepted_limits=frozenset({PER_REPO}),
    keys=KEYS,
    starters={"orchestrator.yaml": "orchestrator.manifest:starter.yaml"},
    token_env="TRAVIS_TOKEN",  # noqa: S106  # the name of a variable, not a token
    token_fallback="orchestrator.providers.travis.provider:stored_token",  # noqa: S106  # where the code stands
    repo_ids=True,
    clones=CLONES,
    repo_problem=repo_problem,
    message_problem=message_problem,
    warn=warn,
    warn_account=warn_account,
    learn=learn,
    # The listing of the newest shows a hundred; the active builds of an owner are one call; some of those that ended
    # unseen share a page.
    polling=Polling(page=100, per_owner=1.0, far=100, at_end=0.35),
)
