"""Which path leads to which service. Slugs are decoded only after routing (reference 1.4)."""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import lru_cache
from typing import NamedTuple, TypeAlias
from urllib.parse import unquote

from orchestrator.lookalike.travis.changes import Changes
from orchestrator.lookalike.travis.create import Create
from orchestrator.lookalike.travis.places import Places
from orchestrator.lookalike.travis.reads import Reads
from orchestrator.lookalike.travis.settings import VCS
from orchestrator.lookalike.travis.visit import Route

Table: TypeAlias = Mapping[str, Mapping[str, Route]]

_PART = r"(?:[^/%]|%(?!2[Ff]).)+"  # may hold other encoded characters, but no slash
_REPO = re.compile(rf"\d{{1,18}}|{_PART}%2[Ff]{_PART}")
_NUMBER = re.compile(r"\d{1,18}")
_PAGE = frozenset({"limit", "offset", "skip_count", "representation"})
_REPOS = _PAGE | {"sort_by", "active", "private", "starred", "managed_by_installation", "active_on_org"}
_REPOS |= {"name_filter", "slug_filter", "repository.active", "repository.private"}
_BUILDS = _PAGE | {"sort_by"}
_FILTERS = {"state", "previous_state", "event_type", "created_by"}
_REPO_BUILDS = _BUILDS | _FILTERS | {f"build.{name}" for name in _FILTERS} | {"branch.name"}


class Way(NamedTuple):
    """A path taken apart: the template that it fits, the names in it, the provider of repositories."""

    template: str
    names: tuple[str, ...]
    vcs: str


def table(create: Create, reads: Reads, changes: Changes, places: Places) -> Table:
    """All services by template and method."""
    requests = _PAGE | {"branch", "state", "result", "from", "to"}
    return {
        "": {"GET": Route("index", places.home)},
        "user": {"GET": Route("user/current", places.user)},
        "repos": {"GET": Route("repositories/for_current_user", places.my_repos, _REPOS)},
        "builds": {"GET": Route("builds/for_current_user", reads.my_builds, _BUILDS)},
        "jobs": {"GET": Route("jobs/for_current_user", reads.my_jobs, _PAGE | {"sort_by", "active", "state"})},
        "owner/*": {"GET": Route("owner/find", places.owner)},
        "owner/*/repos": {"GET": Route("repositories/for_owner", places.owner_repos, _REPOS)},
        "owner/*/active": {"GET": Route("active/for_owner", reads.active)},
        "owner/*/allowance": {"GET": Route("allowance/for_owner", places.allowance)},
        "repo/*": {"GET": Route("repository/find", places.repo)},
        "repo/*/branches": {
            "GET": Route("branches/find", places.branches, _PAGE | {"sort_by", "exists_on_github", "name"})
        },
        "repo/*/branch/*": {"GET": Route("branch/find", places.branch)},
        "repo/*/builds": {"GET": Route("builds/find", reads.builds, _REPO_BUILDS)},
        "repo/*/requests": {
            "GET": Route("requests/find", reads.requests, requests),
            "POST": Route("requests/create", create, status=202),
        },
        "repo/*/request/*": {"GET": Route("request/find", reads.request)},
        "repo/*/request/*/messages": {"GET": Route("request/messages", reads.messages, _PAGE)},
        "build/*": {"GET": Route("build/find", reads.build)},
        "build/*/jobs": {"GET": Route("jobs/find", reads.jobs_of_build)},
        "build/*/cancel": {"POST": Route("build/cancel", changes.cancel, status=202)},
        "build/*/restart": {"POST": Route("build/restart", changes.restart, status=202)},
        "job/*": {"GET": Route("job/find", reads.job)},
        "job/*/log": {"GET": Route("log/find", reads.log)},
        "job/*/log.txt": {"GET": Route("log/find", reads.log_text)},
    }


@lru_cache(maxsize=4096)
def way(path: str) -> Way | None:
    """Takes a path apart; None when it cannot lead anywhere (an unencoded slug, a name where a number must stand)."""
    words = path.strip("/").split("/")
    vcs = VCS[0]
    if len(words) > 2 and words[0] in ("repo", "owner") and words[1] in VCS and not _is_action(words):
        vcs = words.pop(1)
    template = "/".join("*" if n % 2 else word for n, word in enumerate(words))
    encoded = words[1::2]
    if not _may_stand(words, encoded):
        return None
    return Way(template, tuple(unquote(each) for each in encoded), vcs)


def _is_action(words: list[str]) -> bool:
    return words[0] == "owner" and len(words) == 3 and words[2] in ("repos", "active", "allowance")


def _may_stand(words: list[str], encoded: list[str]) -> bool:
    if words[0] == "repo" and encoded:
        request = len(words) > 3 and words[2] == "request"
        return _REPO.fullmatch(encoded[0]) is not None and (not request or _NUMBER.fullmatch(encoded[1]) is not None)
    if words[0] in ("build", "job") and encoded:
        return _NUMBER.fullmatch(encoded[0]) is not None
    return all(encoded)
