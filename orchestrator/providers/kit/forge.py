"""What GitHub and the forges of its shape have in common: paths, repositories, branches."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import quote

from orchestrator.core.calls import Answer, Call, Send
from orchestrator.core.errors import AccessRefused, LookFailed, NotShown, NotTriggered, Rejected
from orchestrator.core.frozen import replace
from orchestrator.core.model import LONGEST_LOG, Json, Target
from orchestrator.providers.kit.answers import end_of, mapping, number, other_question, quoted, read, text
from orchestrator.providers.kit.listings import Listing, entries_of
from orchestrator.providers.port import LONGEST_REPO, JobLog, RepoFacts


def repo_path(repo: str) -> str:
    """`/repos/acme/widget`."""
    owner, _, name = repo.partition("/")
    return f"/repos/{quote(owner, safe='')}/{quote(name, safe='')}"


def run_path(repo: str, run: object) -> str:
    """The path of a run."""
    return f"{repo_path(repo)}/actions/runs/{quote(str(run), safe='')}"


def facts_of(row: Mapping[str, Any]) -> RepoFacts | None:
    """A repository as `doctor` and `discover` want it; None where the row is none."""
    is_closed = row.get("archived") is True or row.get("disabled") is True or row.get("has_actions") is False
    allowed = mapping(row.get("permissions")).get("push")
    return shaped(row, row.get("full_name"), active=not is_closed, allowed=allowed, private=row.get("private"))


def shaped(row: Mapping[str, Any], name: object, *, active: bool, allowed: object, private: object) -> RepoFacts | None:
    """The facts of a row that names its repository so; what is of another kind than it should be is not known."""
    id_, slug, topics = number(row.get("id")), text(name, LONGEST_REPO), row.get("topics")
    if id_ is None or slug is None or not slug.isprintable():
        return None
    return RepoFacts(
        id=str(id_),
        slug=slug,
        active=active,
        may_trigger=allowed if isinstance(allowed, bool) else None,
        default_branch=text(row.get("default_branch"), 300),
        private=private if isinstance(private, bool) else None,
        labels=tuple(one for one in topics if isinstance(one, str))[:20] if isinstance(topics, list) else (),
    )


def renamed(target: Target, facts: RepoFacts) -> dict[str, Json]:
    """For `prepare`: what the repository is called now, where the target names it otherwise."""
    return {} if facts.slug.lower() == target.repo.lower() else {"repository": facts.slug}


class Forge(ABC):
    """What a provider of such a forge does about repositories; see the port for each method.

    What differs from GitHub stands in the class: `heads` and `tags`, the paths of branches and tags below that of their
    repository; `owners`, the listings of an owner's repositories, of which the first that is there counts.
    """

    heads, tags = "branches", "git/ref/tags"
    owners = "/orgs/{}/repos", "/users/{}/repos"

    def __init__(self, send: Send) -> None:
        self._send = send

    def _path(self, repo: str) -> str:
        """The path of a repository."""
        return repo_path(repo)

    def _facts(self, row: Mapping[str, Any]) -> RepoFacts | None:
        """A repository as `doctor` and `discover` want it; None where the row is none."""
        return facts_of(row)

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
        call = self._get(self._path(repo), repo)
        answer = await read(self._send, call)
        facts = self._facts(mapping(answer.body)) if answer.status == 200 else None
        if facts is None:
            if isinstance(error := self._failed(answer, call.path), NotShown):
                return None
            raise error
        if repo.lower() not in (facts.slug.lower(), facts.id) and not answer.is_moved:
            raise LookFailed(f"{call.path}: {other_question(answer, f'it shows {quoted(facts.slug, 60)}').cause}")
        return facts

    async def ready(self, repo: str) -> RepoFacts:
        """The facts of a repository that can be triggered.

        Raises:
            Rejected: there is none, or the server leads elsewhere for it alone; where it does so for the account as
                a whole, `whoami` tells.
        """
        try:
            facts = await self.inspect(repo)
        except AccessRefused as error:
            if error.code != "redirected":
                raise
            raise Rejected(error.code, error.reason, is_foreign=True) from None
        if facts is None:
            raise Rejected("not_found", "there is no such repository, or this token may not see it")
        if not facts.active:
            raise Rejected("archived", "the repository is archived, or its builds are switched off; leave it out")
        return facts

    async def discover(self, owner: str) -> list[RepoFacts]:
        """The repositories of an organization, else of a user; their topics are labels."""
        first, second = (self._get(path.format(quote(owner, safe=""))) for path in self.owners)
        try:
            return await self._owned(owner, self._all_of(first))
        except Rejected:
            return await self._owned(owner, self._all_of(second))

    async def _owned(self, owner: str, listing: Listing[Any]) -> list[RepoFacts]:
        """What a listing of an owner's repositories holds."""

        def pick(row: Mapping[str, Any]) -> RepoFacts | None:
            facts = self._facts(row)
            if facts is not None and not facts.slug.lower().startswith(f"{owner.lower()}/"):
                raise LookFailed(f"the listing holds {quoted(facts.slug, 60)!r}, which is not of {owner}")
            return facts

        found: list[RepoFacts] = await self._picked(listing, pick)
        return list({facts.id: facts for facts in found}.values())

    async def branches(self, repo: str) -> list[str]:
        """The names of all branches."""
        call = self._get(f"{self._path(repo)}/{self.heads}", repo)
        found = await self._picked(self._all_of(call), lambda row: text(row.get("name")))
        return [name for name in dict.fromkeys(found) if name.isprintable()]

    async def sees_branch(self, target: Target) -> bool:
        """Whether there is such a branch, or such a tag."""
        name = quote((target.branch or "").removeprefix("refs/heads/").removeprefix("refs/tags/"), safe="")
        for kind in (self.heads, self.tags):
            call = self._get(f"{self._path(target.repo)}/{kind}/{name}", target.repo)
            answer = await read(self._send, call)
            if answer.status == 200:
                return True
            if answer.status != 404:
                raise self._failed(answer, call.path)
        return False

    async def _log(self, call: Call, job: Mapping[str, Any], page: str, at_most: int) -> JobLog:
        """The end of a job's log; its name, and the page that stands below this key, are in the job's row."""
        answer = await read(self._send, replace(call, at_most=LONGEST_LOG))
        if answer.status != 200:
            raise self._failed(answer, call.path)
        name = quoted(job.get("name"), 100) or f"job {job.get('id')}"
        return JobLog(name, end_of(answer.body, at_most), text(job.get(page)))

    async def _picked(self, listing: Listing[Any], pick: Callable[[Mapping[str, Any]], Any]) -> list[Any]:
        """What is picked of all entries of a listing; Rejected where there is no such thing."""
        try:
            return await entries_of(self._send, listing, pick)
        except NotShown as error:
            raise Rejected("not_found", error.cause) from error
