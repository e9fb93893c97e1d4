"""What is fuzzed: readers of manifests and of a provider's answers. Each fails only when a promise is broken."""

from __future__ import annotations

import datetime
from collections.abc import Coroutine
from typing import Any

from orchestrator.core.calls import Answer
from orchestrator.core.errors import InDoubt, LookFailed, NotTriggered
from orchestrator.core.model import Account, Build, BuildState, Interval, Request, Target, Trigger
from orchestrator.manifest import Answers, ManifestError, expand, questions, read
from orchestrator.providers import registry
from orchestrator.providers.kit.bodies import value
from orchestrator.providers.port import Followed, JobLog, Observation, Principal, RepoFacts
from orchestrator.providers.travis.provider import Travis

TODAY = datetime.date(2026, 1, 5)
AT = 1_767_574_800.0  # 2026-01-05T01:00:00Z
MARKER = "[run.abcdefgh]"
STATUSES = (200, 200, 200, 202, 202, 204, 301, 400, 401, 403, 404, 406, 409, 422, 429, 500, 502, 503)
HEADERS = ({}, {"retry-after": "7"}, {"retry-after": "-1e999"}, {"date": "yesterday", "x-ratelimit-remaining": "NaN"})
BETWEEN = b"\xff\xfe"  # two answers; no UTF-8 has it
MOST_CALLS = 2_100  # of one method, whatever the server says: `discover` reads at most 2,000 pages
TARGET = Target("travis:acme/a@main", "travis", "acme/a", "main", request={"message": "hello"})
NUMBERED = Target("travis:4711", "travis", "4711")
BUILD = Build("555001", BuildState.RUNNING, "started")


def manifest(data: bytes) -> None:
    """There is a plan, or there are errors that name their place; nothing else is raised."""
    failure = _read(data)
    if failure is not None:
        assert failure.problems, "an error without a problem"
        assert all(problem.where and problem.text for problem in failure.problems)


def _read(data: bytes) -> ManifestError | None:
    try:
        found = read("m.yaml", data, declarations=registry.known(), load=_no_files, strict_params=False)
        questions(found)
        expand(found, Answers(offline=True), today=TODAY)
    except ManifestError as error:
        return error
    return None


def _no_files(path: str) -> bytes:
    raise FileNotFoundError(2, "No such file or directory")


def answers(data: bytes) -> None:
    """Whatever a server answers, each method returns what it promises or fails as it may, within bounded calls."""
    server = Server(data)
    one = Followed(TARGET, Request("1", {"v": 1, "repo": 4711}), MARKER, None, AT)
    known = Followed(NUMBERED, Request("2", {}), None, BUILD, AT, polls=9, fresh=True)
    trigger = Trigger(TARGET, 1, MARKER, "run")
    ask = (NotTriggered, InDoubt)
    look = (NotTriggered, LookFailed)
    server.check(lambda p: p.trigger(trigger), Request, ask)
    server.check(lambda p: p.find(trigger, Interval(AT, AT + 30), ()), Request | None, (*look, InDoubt))
    server.check(lambda p: p.poll([one, known]), dict, look, _observations)
    server.check(lambda p: p.whoami(), Principal | None, look)
    server.check(lambda p: p.inspect("acme/a"), RepoFacts | None, look)
    server.check(lambda p: p.discover("acme"), list, look)
    server.check(lambda p: p.branches("acme/a"), list, look)
    server.check(lambda p: p.logs(TARGET, BUILD, 100), JobLog | None, look)
    server.check(lambda p: p.queue(TARGET), list, look)
    server.check(lambda p: p.cancel(TARGET, BUILD), bool, look)
    server.check(lambda p: p.restart(TARGET, BUILD), type(None), (*look, InDoubt))


def _observations(found: Any) -> None:
    assert all(isinstance(observation, Observation) for observation in found.values())
    for observation in found.values():
        for build in observation.builds:
            assert build.id
            assert isinstance(build.state, BuildState)


class Server:
    """Gives the answers that are written in the bytes, round and round."""

    def __init__(self, data: bytes) -> None:
        parts = data[:100_000].split(BETWEEN)[:8]
        self.answers = [self._answer(part) for part in parts]
        self.calls = 0

    @staticmethod
    def _answer(part: bytes) -> Answer:
        first = part[0] if part else 0
        return Answer(STATUSES[first % len(STATUSES)], value(part[1:]), HEADERS[first % len(HEADERS)])

    async def send(self, call: Any) -> Answer:
        """The next answer."""
        self.calls += 1
        assert self.calls <= MOST_CALLS, f"no end of calls to {call.path}"
        return self.answers[(self.calls - 1) % len(self.answers)]

    def check(self, ask: Any, kind: Any, may_fail: tuple[type[Exception], ...], also: Any = lambda found: None) -> None:
        """Calls one method of a provider that knows nothing yet."""
        self.calls = 0
        provider = Travis(Account("travis", "travis", "https://api.travis-ci.com"), self.send, str)
        try:
            found = _now(ask(provider))
        except may_fail as error:
            found = error
        if isinstance(found, may_fail):
            assert len(str(found)) < 2_000, "an error longer than anybody reads"
            return
        assert isinstance(found, kind), f"{type(found).__name__} is not {kind}"
        also(found)


def _now(work: Coroutine[Any, Any, Any]) -> Any:
    """The result of a coroutine that never waits."""
    try:
        work.send(None)
    except StopIteration as done:
        return done.value
    raise AssertionError("it waits for something")


TARGETS = {"manifest": manifest, "answers": answers}
