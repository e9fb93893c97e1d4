"""What GitHub and the forges of its shape have in common: paths, repositories, branches."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import quote

from orchestrator.core.calls import Answer, Call, Send
from orchestrator.core.errors import LookFailed, NotShown, NotTriggered, Rejected
from orchestrator.core.model import Target
from orchestrator.providers.kit.answers import mapping, number, other_question, quoted, read, text
from orchestrator.providers.kit.listings import Listing, entries_of
from orchestrator.providers.port import RepoFacts


def repo_path(repo: str) -> str:
    """`/repos/acme/widget`."""
    owner, _, name = repo.partition("/")
    return f"/repos/{quote(owner, safe='')}/{quote(name, safe='')}"


def run_path(repo: str, run: object) -> str:
    """The path of a run."""
    return f"{repo_path(repo)}/actions/runs/{quote(str(run), safe='')}"


def facts_of(row: Mapping[str, Any]) -> RepoFacts | None:
    """A repository as `doctor` and `discover` want it; None where the row is none."""
    id_, slug = number(row.get("id")), text(row.get("full_name"), 300)
    if id_ is None or slug is None or not slug.isprintable():
        return None
    is_closed = row.get("archived") is True or row.get("disabled") is True or row.get("has_actions") is False
    allowed, private, topics = mapping(row.get("permissions")).get("push"), row.get("private"), row.get("topics")
    return RepoFacts(
        id=str(id_),
        slug=slug,
        active=not is_closed,
        may_trigger=allowed if isinstance(allowed, bool) else None,
        default_branch=text(row.get("default_branch"), 300),
        private=private if isinstance(private, bool) else None,
        labels=tuple(one for one in topics if isinstance(one, str))[:20] if isinstance(topics, list) else (),
    )


class Forge(ABC):
    """What a provider of such a forge does about repositories; see the port for each method."""

    tags = "git/ref/tags"  # the path of a tag, below its repository's

    def __init__(self, send: Send) -> None:
        self._send = send

    @abstractmethod
    def _get(self, path: str, repo: str | None = None) -> Call:
        """A call that reads what stands there."""

    @abstractmethod
    def _all_of(self, call: Call) -> Listing[Any]:
        """All pages of a listing of repositories or branches."""

    @abstractmethod
    def _failed(self, answer: Answer, path: str) -> NotTriggered | LookFailed:
        """The error for a call that reads and was not answered as it should be; NotShown where nothing is there."""

    async def inspect(self, repo: str) -> RepoFacts | None:
        """The facts of a repository; None where there is none, or none for this token."""
        call = self._get(repo_path(repo), repo)
        answer = await read(self._send, call)
        facts = facts_of(mapping(answer.body)) if answer.status == 200 else None
        if facts is None:
            if isinstance(error := self._failed(answer, call.path), NotShown):
                return None
            raise error
        if facts.slug.lower() != repo.lower() and not answer.is_moved:
            raise LookFailed(f"{call.path}: {other_question(answer, f'it shows {quoted(facts.slug, 60)}').cause}")
        return facts

    async def ready(self, repo: str) -> RepoFacts:
        """The facts of a repository that can be triggered.

        Raises:
            Rejected: there is none.
        """
        facts = await self.inspect(repo)
        if facts is None:
            raise Rejected("not_found", "there is no such repository, or this token may not see it")
        if not facts.active:
            raise Rejected("archived", "the repository is archived or disabled; leave it out")
        return facts

    async def discover(self, owner: str) -> list[RepoFacts]:
        """The repositories of an organization, else of a user; their topics are labels."""

        def pick(row: Mapping[str, Any]) -> RepoFacts | None:
            facts = facts_of(row)
            if facts is not None and not facts.slug.lower().startswith(f"{owner.lower()}/"):
                raise LookFailed(f"the listing holds {quoted(facts.slug, 60)!r}, which is not of {owner}")
            return facts

        name = quote(owner, safe="")
        try:
            found: list[RepoFacts] = await self._picked(self._get(f"/orgs/{name}/repos"), pick)
        except Rejected:
            found = await self._picked(self._get(f"/users/{name}/repos"), pick)
        return list({facts.id: facts for facts in found}.values())

    async def branches(self, repo: str) -> list[str]:
        """The names of all branches."""
        call = self._get(f"{repo_path(repo)}/branches", repo)
        found = await self._picked(call, lambda row: text(row.get("name")))
        return [name for name in dict.fromkeys(found) if name.isprintable()]

    async def sees_branch(self, target: Target) -> bool:
        """Whether there is such a branch, or such a tag."""
        name = quote((target.branch or "").removeprefix("refs/heads/").removeprefix("refs/tags/"), safe="")
        for kind in ("branches", self.tags):
            call = self._get(f"{repo_path(target.repo)}/{kind}/{name}", target.repo)
            answer = await read(self._send, call)
            if answer.status == 200:
                return True
            if answer.status != 404:
                raise self._failed(answer, call.path)
        return False

    async def _picked(self, call: Call, pick: Callable[[Mapping[str, Any]], Any]) -> list[Any]:
        """What is picked of all entries of a listing; Rejected where there is no such thing."""
        try:
            return await entries_of(self._send, self._all_of(call), pick)
        except NotShown as error:
            raise Rejected("not_found", error.cause) from error
