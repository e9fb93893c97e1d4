"""Bugs that only some types of services show; as `planted` has them for all."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from orchestrator.core.calls import Answer
from orchestrator.core.errors import NotTriggered, RateLimited, Rejected
from orchestrator.core.frozen import replace
from orchestrator.core.model import Interval, Request, Target, Trigger
from orchestrator.engine.shared_limits import OtherProcesses
from orchestrator.providers.buildkite import wire as buildkite
from orchestrator.providers.gitea.provider import Forgejo
from orchestrator.providers.github.provider import GitHub
from orchestrator.providers.gitlab import wire as gitlab
from orchestrator.providers.jenkins.provider import Jenkins
from orchestrator.providers.webhook.provider import Webhook

from .patch import patched


@contextmanager
def a_github_marker_is_not_looked_for() -> Iterator[None]:
    """What a lost dispatch started is not looked for in GitHub's listing."""

    async def nothing(self: GitHub, trigger: Trigger, asked: Interval, known: Collection[str]) -> Request | None:
        return None

    with patched(GitHub, find=nothing):
        yield


@contextmanager
def a_limit_of_gitlab_is_a_rejection() -> Iterator[None]:
    """The 400 that says that there are too many pipelines just now is taken for a final one."""
    refusal = gitlab.refusal

    def final(answer: Answer, target: Target, *, by_trigger_token: bool = False) -> NotTriggered:
        error = refusal(answer, target, by_trigger_token=by_trigger_token)
        if answer.status == 400 and isinstance(error, RateLimited):
            return Rejected("http_400", error.reason)
        return error

    with patched(gitlab, refusal=final):
        yield


@contextmanager
def what_left_the_queue_of_jenkins_is_not_looked_for() -> Iterator[None]:
    """A lost trigger is looked for in the queue, and not among the builds that items of it have become."""

    async def none(self: Jenkins, *where: Any) -> str | None:
        return None

    with patched(Jenkins, _builds=none):
        yield


@contextmanager
def a_run_of_gitea_that_may_be_ours_is_not_heeded() -> Iterator[None]:
    """Since no run shows whose it is, none is taken for ours: a lost dispatch is certainly not there."""

    async def nothing(self: Forgejo, trigger: Trigger, asked: Interval, known: Collection[str]) -> Request | None:
        return None

    with patched(Forgejo, find=nothing):
        yield


@contextmanager
def a_find_is_believed_without_proof() -> Iterator[None]:
    """That a webhook's `find` shows nothing counts before it has shown a request that is known."""
    find = Webhook.find

    async def believed(self: Webhook, trigger: Trigger, asked: Interval, known: Collection[str]) -> Request | None:
        return await find(self, replace(trigger, is_shown=True), asked, known)

    with patched(Webhook, find=believed):
        yield


@contextmanager
def calls_of_buildkite_are_not_counted() -> Iterator[None]:
    """Buildkite's limit of all calls of a minute is not kept."""
    with patched(buildkite, BOTH=()):
        yield


@contextmanager
def accounts_of_one_user_count_apart() -> Iterator[None]:
    """Two accounts of a run that have the same user use its limits once each."""

    class Alone(Counter[str]):
        def __getitem__(self, user: str) -> int:
            return 1

    begin = OtherProcesses.__init__

    def apart(self: OtherProcesses, *args: Any) -> None:
        begin(self, *args)
        self.users = Alone()

    with patched(OtherProcesses, __init__=apart):
        yield


BUGS_OF_TYPES: Mapping[str, Callable[[], Any]] = {
    "a-github-marker-is-not-looked-for": a_github_marker_is_not_looked_for,
    "a-limit-of-gitlab-is-a-rejection": a_limit_of_gitlab_is_a_rejection,
    "what-left-the-queue-of-jenkins-is-not-looked-for": what_left_the_queue_of_jenkins_is_not_looked_for,
    "a-run-of-gitea-that-may-be-ours-is-not-heeded": a_run_of_gitea_that_may_be_ours_is_not_heeded,
    "a-find-is-believed-without-proof": a_find_is_believed_without_proof,
    "calls-of-buildkite-are-not-counted": calls_of_buildkite_are_not_counted,
    "accounts-of-one-user-count-apart": accounts_of_one_user_count_apart,
}
