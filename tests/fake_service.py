"""What tests of the engine build on: a small working CI service in virtual time.

Nothing here answers from a can: `FakeService` keeps requests and builds, so a test asserts on what the service
received and on what the journal says, not on calls between our own functions.
"""

from __future__ import annotations

import itertools
from collections.abc import AsyncIterator, Collection, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from math import isfinite
from typing import Any

import anyio

from orchestrator.core.calls import Answer, Call, Send
from orchestrator.core.errors import AccessRefused, InDoubt, NotTriggered, RateLimited, Rejected, Unreachable
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
    Scope,
    Target,
    Timeouts,
    Trigger,
)
from orchestrator.core.rollout import cut
from orchestrator.core.waves import Rollout
from orchestrator.journal.port import Entry, Journal
from orchestrator.providers.kit.answers import listed, mapping, not_accepted, quoted, read, read_failed, text
from orchestrator.providers.kit.listings import Search
from orchestrator.providers.port import Declaration, Followed, Line, Observation, Principal, Secrets

FAKE = Declaration(
    type="fake",
    title="Fake",
    url="https://ci.invalid",
    hosts=frozenset({"ci.invalid"}),
    factory="fake_service:FakeProvider",
    headers="fake_service:headers",
    states={state.value: state for state in BuildState},
    limits=(Limit("triggers", 40, 30.0), Limit("calls", 1800, 60.0), Limit("triggers_per_repo", 10, 3600.0, "repo")),
    trigger_limits=("triggers", "calls", "triggers_per_repo"),
    accepted_limits=frozenset({"triggers_per_repo"}),
    token_env="FAKE_TOKEN",  # the name of a variable, not a token
)


def headers(account: Account, token: str) -> Mapping[str, str]:
    """What every call to the fake service carries."""
    return {"Authorization": f"Bearer {token}"}


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
        provider: what `connect` puts over the line.
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
    provider: type[FakeProvider] = field(default_factory=lambda: FakeProvider)
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
        build = None if one is None else self._build(one)
        if one is None or build is None or BuildState(build["state"]).is_final:
            return Answer(404)
        one.canceled_at = self.now()
        return Answer(202)

    def _row(self, one: Received) -> dict[str, Any]:
        return {"id": one.id, "repo": one.repo, "message": one.message, "at": one.at, "build": self._build(one)}

    def _build(self, one: Received) -> dict[str, Any] | None:
        script, now = self.scripts.get(one.repo, Script()), self.now()
        if script.appears is None or now < one.at + script.appears:
            return None
        appeared = one.at + script.appears
        build: dict[str, Any] = {"id": f"b{one.id}", "url": f"https://ci.invalid/{one.repo}/builds/b{one.id}"}
        if one.canceled_at is not None:
            return {**build, "state": "canceled", "finished_at": one.canceled_at}
        if script.runs is None or now < appeared + script.runs / 4:
            return {**build, "state": "queued"}
        build |= {"started_at": appeared + script.runs / 4}
        if now < appeared + script.runs:
            return {**build, "state": "running"}
        return {**build, "state": script.state.value, "finished_at": appeared + script.runs}

    @asynccontextmanager
    async def connect(self, account: Account) -> AsyncIterator[Line]:
        """The line to this service, as the engine wants it."""
        yield Line(account, FAKE, self.send, lambda send: self.provider(account, send), "hash")


class FakeProvider:
    """The provider for `FakeService`: the smallest one that keeps the whole contract."""

    def __init__(self, account: Account, send: Send, secrets: Secrets | None = None) -> None:
        self._send = send

    async def trigger(self, trigger: Trigger) -> Request:
        answer = await self._send(self._call(trigger))
        if answer.status != 202 or not (text(answer.body) or "").isdigit():
            raise refused(answer, trigger.target.repo) or not_accepted(answer, "Fake")
        return Request(str(answer.body), {"v": 1})

    async def find(self, trigger: Trigger, asked: Interval, known: Collection[str]) -> Request | None:
        search = Search[Mapping[str, Any]](trigger, known, asked.start)
        for row in await self._rows(Call("GET", "/requests", purpose="find", repo=trigger.target.repo)):
            is_older = _seconds(row.get("at")) is not None and row["at"] < asked.start
            search.add(text(row.get("id")), "" if is_older else text(row.get("message")), _seconds(row.get("at")), row)
        return next((Request(id_, {"v": 1}) for id_ in search.found()), None)

    async def poll(self, followed: Sequence[Followed]) -> Mapping[str, Observation]:
        found = {row.get("id"): row for row in await self._rows(Call("GET", "/requests", purpose="poll"))}
        return {one.target.id: _observed(one, found.get(one.request.id)) for one in followed}

    async def cancel(self, target: Target, build: Build) -> bool:
        answer = await read(self._send, Call("POST", f"/cancel/{build.id}", limits=("triggers", "calls")))
        if answer.status in (202, 404):  # 404: it has ended
            return answer.status == 202
        raise refused(answer, target.repo) or read_failed(answer, "/cancel", "Fake")

    async def whoami(self) -> Principal | None:
        answer = await read(self._send, Call("GET", "/user"))
        if answer.status != 200 or text(mapping(answer.body).get("login")) is None:
            raise refused(answer, "") or read_failed(answer, "/user", "Fake")
        return Principal("1", mapping(answer.body)["login"])

    def _call(self, trigger: Trigger) -> Call:
        return Call("POST", "/", (), trigger.message, "trigger", FAKE.trigger_limits, trigger.target.repo)

    async def _rows(self, call: Call) -> list[Mapping[str, Any]]:
        answer = await read(self._send, call)
        if error := refused(answer, call.repo or ""):
            raise error
        return listed(answer, answer.body, call.path, "Fake")


def refused(answer: Answer, repo: str) -> NotTriggered | None:
    """The refusals in the service's own words."""
    match answer.status, answer.body:
        case 429, float(after):
            return RateLimited(Scope("repo", repo), after)
        case 403, "no_credit":
            return AccessRefused("no_credit", "no credit left", Scope("owner", "acme"))
        case 403, "banned":
            return AccessRefused("banned", "banned", ACCOUNT, 3600.0)
        case 403, "access denied":
            return AccessRefused("bad_token", "access denied")
        case 404, "not found":
            return Rejected("not_found", "no such repository")
    return None


def _observed(one: Followed, row: Mapping[str, Any] | None) -> Observation:
    shown = mapping(row)
    marked = (one.marker is not None and one.marker in (text(shown.get("message"), 10_000) or "")) or None
    build, native = mapping(shown.get("build")), quoted(mapping(shown.get("build")).get("state"), 40)
    if (id_ := text(build.get("id"))) is None:
        return Observation(marked=marked)
    state = FAKE.states.get(native, BuildState.RUNNING)
    times = _seconds(build.get("started_at")), _seconds(build.get("finished_at"))
    seen = Build(id_, state, native, url=text(build.get("url")), started_at=times[0], finished_at=times[1])
    return Observation((seen,), marked=marked, warning=None if native in FAKE.states else f"unknown state {native!r}")


def _seconds(value: object) -> float | None:
    return value if isinstance(value, float) and isfinite(value) else None


class Notices:
    """An observer of an engine that keeps what it is told beside the journal's facts."""

    def __init__(self, told: list[tuple[str, dict[str, Any]]]) -> None:
        self._told = told

    def fact(self, entry: Entry) -> None:
        """The journal has it."""

    def notice(self, name: str, **fields: Any) -> None:
        """Keeps it."""
        self._told.append((name, fields))


def targets(*names: str, **fields: Any) -> tuple[Target, ...]:
    """Targets from short forms (`acme/a` or `acme/a@main`), all with the same further fields."""
    timeouts = fields.pop("timeouts", Timeouts())
    made = []
    for name in names:
        repo, _, branch = name.partition("@")
        made.append(Target(f"fake:{name}", "fake", repo, branch or None, timeouts=timeouts, **fields))
    return tuple(made)


async def make_run(
    journal: Journal,
    wanted: Sequence[Target],
    run: str = "r1",
    at: float = 1_767_571_200.0,
    rollout: Rollout | None = None,
    **account: Any,
) -> Plan:
    """A run of these targets in the journal, on one account of the fake provider; cut into waves by a rollout."""
    account.setdefault("limits", FAKE.limits)
    one = Account("fake", "fake", FAKE.url, "env:FAKE_TOKEN", **account)
    waves = None if rollout is None else cut(wanted, rollout, run, {})
    plan = Plan("nightly", tuple(wanted if waves is None else waves.targets), {"fake": one})
    made = RunMade(
        "nightly",
        None,
        "",
        accounts={"fake": to_json(one)},
        rollout=rollout,
        waves=() if waves is None else tuple(waves.waves),
    )
    await journal.make_run(run, made, plan.targets, at, forbid_overlap=rollout is None)
    return plan
