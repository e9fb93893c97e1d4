"""What tests of the engine, ours and other people's, build on: a small working CI service, and a journal in memory.

Nothing here answers from a can: `FakeService` keeps requests and builds, so a test asserts on what the service
received and on what the journal says, not on calls between our own functions. Everything runs in virtual time.
"""

from __future__ import annotations

import itertools
from collections.abc import AsyncIterator, Callable, Collection, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import anyio

from orchestrator.core.errors import AccessRefused, InDoubt, LookFailed, RateLimited, Rejected, Unreachable
from orchestrator.core.events import RunMade, to_json
from orchestrator.core.frozen import Struct
from orchestrator.core.model import (
    ACCOUNT,
    Account,
    Build,
    BuildState,
    Interval,
    Limit,
    Plan,
    Request,
    Target,
    Timeouts,
    Trigger,
)
from orchestrator.journal.memory import Crash, Disk, MemoryJournal
from orchestrator.journal.port import Journal
from orchestrator.providers.port import Answer, Call, Declaration, Followed, Line, Observation, Principal, Send

__all__ = ["FAKE", "Crash", "Disk", "FakeProvider", "FakeService", "MemoryJournal", "Script", "make_run", "targets"]

FAKE = Declaration(
    type="fake",
    title="Fake",
    url="https://ci.invalid",
    hosts=frozenset({"ci.invalid"}),
    factory="orchestrator.testing:FakeProvider",
    headers="",
    states={state.value: state for state in BuildState},
    limits=(Limit("triggers", 40, 30.0), Limit("calls", 1800, 60.0), Limit("triggers_per_repo", 10, 3600.0, "repo")),
    trigger_limits=("triggers", "calls", "triggers_per_repo"),
    accepted_limits=frozenset({"triggers_per_repo"}),
)


class Script(Struct, frozen=True):
    """How the service treats one repository.

    Args:
        state: how its builds end.
        appears: seconds from a request to its build; None: no build ever appears.
        runs: seconds from the build's appearance to its end, the first quarter queued; None: for ever.
        triggers: what befalls the first, second, ... trigger; later ones are plain `ok`. Words: `ok`, `unreachable`,
            `lost_before` (never handled), `lost_after` (handled, no answer), `late:SECONDS` (no answer, handled later),
            `limited:SECONDS`, `rejected`, `banned`, `no_credit`.
    """

    state: BuildState = BuildState.PASSED
    appears: float | None = 2.0
    runs: float | None = 60.0
    triggers: tuple[str, ...] = ()


@dataclass(slots=True)
class Received:
    """A request that the service accepted."""

    id: str
    repo: str
    message: str
    at: float
    canceled_at: float | None = None


@dataclass(slots=True)
class FakeService:
    """A CI service in memory; time is the event loop's plus `epoch`.

    Attributes:
        requests: what it accepted, oldest first.
        posts: when each trigger call reached it, whatever became of it.
        calls: every call that reached it, by purpose and time.
        is_down: whether no call reaches it.
        loses: whether every trigger is lost after it was handled.
    """

    scripts: Mapping[str, Script] = field(default_factory=dict)
    latency: float = 0.1
    epoch: float = 1_767_571_200.0
    requests: list[Received] = field(default_factory=list)
    posts: list[float] = field(default_factory=list)
    calls: list[tuple[str, float]] = field(default_factory=list)
    is_down: bool = False
    loses: bool = False
    bad_token: bool = False
    _ids: Any = field(default_factory=lambda: itertools.count(1))
    _tries: dict[str, int] = field(default_factory=dict)
    _late: list[tuple[float, str, str]] = field(default_factory=list)

    def now(self) -> float:
        """The service's wall clock."""
        return self.epoch + anyio.current_time()

    async def send(self, call: Call) -> Answer:
        """Answers one call; see `provider.Send` for how it fails."""
        if self.is_down:
            raise Unreachable("connection refused")
        await anyio.sleep(self.latency / 2)
        self.calls.append((call.purpose, self.now()))
        self._handle_late()
        answer = Answer(403, "access denied") if self.bad_token else self._answer(call)
        await anyio.sleep(self.latency / 2)
        if answer is None or (call.method == "POST" and self.loses):
            raise InDoubt("connection reset")
        return answer

    def _answer(self, call: Call) -> Answer | None:
        if call.path == "/user":
            return Answer(200, {"login": "bot"})
        if call.method == "POST" and call.purpose == "trigger":
            return self._trigger(call)
        if call.method == "POST":
            return self._cancel(call.path)
        repo = call.repo
        return Answer(200, [self._row(one) for one in self.requests if repo is None or one.repo == repo])

    def _trigger(self, call: Call) -> Answer | None:
        repo, message = call.repo or "", str(call.body)
        self.posts.append(self.now())
        script = self.scripts.get(repo, Script())
        number = self._tries.get(repo, 0)
        self._tries[repo] = number + 1
        word, _, value = (script.triggers[number] if number < len(script.triggers) else "ok").partition(":")
        match word:
            case "unreachable":
                raise Unreachable("connection refused")
            case "lost_before":
                return None
            case "lost_after":
                self._accept(repo, message)
                return None
            case "late":
                self._late.append((self.now() + float(value), repo, message))
                return None
            case "limited":
                return Answer(429, float(value))
            case "rejected":
                return Answer(404, "not found")
            case "banned" | "no_credit":
                return Answer(403, word)
            case _:
                return Answer(202, self._accept(repo, message).id)

    def _accept(self, repo: str, message: str) -> Received:
        one = Received(str(next(self._ids)), repo, message, self.now())
        self.requests.append(one)
        return one

    def _handle_late(self) -> None:
        for due in [one for one in self._late if one[0] <= self.now()]:
            self._late.remove(due)
            self._accept(due[1], due[2])

    def _cancel(self, path: str) -> Answer:
        one = next((one for one in self.requests if f"/cancel/b{one.id}" == path), None)
        if one is None or self._build(one) is None:
            return Answer(404)
        one.canceled_at = self.now() if one.canceled_at is None else one.canceled_at
        return Answer(202)

    def _row(self, one: Received) -> dict[str, Any]:
        return {"id": one.id, "repo": one.repo, "message": one.message, "at": one.at, "build": self._build(one)}

    def _build(self, one: Received) -> Build | None:
        script, now = self.scripts.get(one.repo, Script()), self.now()
        if script.appears is None or now < one.at + script.appears:
            return None
        appeared = one.at + script.appears
        url = f"https://ci.invalid/{one.repo}/builds/b{one.id}"
        if one.canceled_at is not None:
            return Build(f"b{one.id}", BuildState.CANCELED, "canceled", url=url, finished_at=one.canceled_at)
        if script.runs is None or now < appeared + script.runs / 4:
            return Build(f"b{one.id}", BuildState.QUEUED, "queued", url=url)
        started = appeared + script.runs / 4
        if now < appeared + script.runs:
            return Build(f"b{one.id}", BuildState.RUNNING, "running", url=url, started_at=started)
        end = appeared + script.runs
        return Build(f"b{one.id}", script.state, script.state.value, url=url, started_at=started, finished_at=end)

    @asynccontextmanager
    async def connect(self, account: Account) -> AsyncIterator[Line]:
        """The line to this service, as the engine wants it."""
        yield Line(account, FAKE, self.send, lambda send: FakeProvider(account, send), "hash")


class FakeProvider:
    """The provider for `FakeService`: the smallest one that keeps the whole contract."""

    def __init__(self, account: Account, send: Send, secrets: Callable[[str], str] | None = None) -> None:
        self._send = send

    async def whoami(self) -> Principal | None:
        """Whose token it is."""
        self._refused(await self._look(Call("GET", "/user")))
        return Principal("1", "bot")

    async def trigger(self, trigger: Trigger) -> Request:
        """See `Provider.trigger`."""
        repo, names = trigger.target.repo, FAKE.trigger_limits
        answer = await self._send(Call("POST", "/", (), trigger.message, "trigger", names, repo))
        self._refused(answer)
        if answer.status == 429 and isinstance(answer.body, float):
            raise RateLimited(f"repo:{repo}", answer.body)
        if answer.status == 404:
            raise Rejected("not_found", "no such repository")
        return Request(str(answer.body), {"v": 1})

    async def find(self, trigger: Trigger, asked: Interval, known: Collection[str]) -> Request | None:
        """See `Provider.find`."""
        rows = await self._rows(Call("GET", "/requests", purpose="find", repo=trigger.target.repo))
        for row in rows:
            if row["at"] >= asked.start and row["id"] not in known and str(trigger.marker) in row["message"]:
                return Request(row["id"], {"v": 1})
        return None

    async def poll(self, followed: Sequence[Followed]) -> Mapping[str, Observation]:
        """See `Provider.poll`."""
        rows = {row["id"]: row for row in await self._rows(Call("GET", "/requests", purpose="poll"))}
        observations: dict[str, Observation] = {}
        for one in followed:
            row = rows.get(one.request.id)
            build = None if row is None else row["build"]
            marked = row is not None and one.marker is not None and one.marker in row["message"]
            observations[one.target.id] = Observation((build,) if build else (), marked=marked or None)
        return observations

    async def cancel(self, target: Target, build: Build) -> bool:
        """See `Cancels.cancel`."""
        answer = await self._look(Call("POST", f"/cancel/{build.id}", limits=("triggers", "calls")))
        self._refused(answer)
        return answer.status == 202

    async def _rows(self, call: Call) -> list[dict[str, Any]]:
        answer = await self._look(call)
        self._refused(answer)
        if not isinstance(answer.body, list):
            raise LookFailed("no list")
        return answer.body

    async def _look(self, call: Call) -> Answer:
        try:
            return await self._send(call)
        except InDoubt as error:
            raise LookFailed(error.cause) from None

    def _refused(self, answer: Answer) -> None:
        if answer.status != 403:
            return
        if answer.body == "no_credit":
            raise AccessRefused("no_credit", "no credit left", "owner:acme")
        code, after = ("banned", 3600.0) if answer.body == "banned" else ("bad_token", None)
        raise AccessRefused(code, str(answer.body), ACCOUNT, after)


def targets(*names: str, **fields: Any) -> tuple[Target, ...]:
    """Targets from short forms (`acme/a` or `acme/a@main`), all with the same further fields."""
    timeouts = fields.pop("timeouts", Timeouts())
    made = []
    for name in names:
        repo, _, branch = name.partition("@")
        made.append(Target(f"fake:{name}", "fake", repo, branch or None, timeouts=timeouts, **fields))
    return tuple(made)


async def make_run(
    journal: Journal, wanted: Sequence[Target], run: str = "r1", at: float = 1_767_571_200.0, **account: Any
) -> Plan:
    """A run of these targets in the journal, on one account of the fake provider."""
    account.setdefault("limits", FAKE.limits)
    one = Account("fake", "fake", FAKE.url, "env:FAKE_TOKEN", **account)
    plan = Plan("nightly", tuple(wanted), {"fake": one})
    await journal.make_run(run, RunMade("nightly", None, "", accounts={"fake": to_json(one)}), plan.targets, at)
    return plan
