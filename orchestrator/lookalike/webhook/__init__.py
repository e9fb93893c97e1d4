"""A service as an account of the type `webhook` describes it: what its templates send is read back by them.

So a rehearsal plays the description itself: a pointer that leads elsewhere than the path says is noticed here.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from itertools import count
from secrets import token_hex
from typing import Any, Self
from urllib.parse import unquote

from typing_extensions import override

from orchestrator.core.errors import UsageError
from orchestrator.core.frozen import field
from orchestrator.core.model import Account, BuildState, Target
from orchestrator.core.rehearsal import NOTHING_SAID, Rehearsal
from orchestrator.lookalike.kit import LookAlike
from orchestrator.lookalike.kit.counters import SlidingWindow
from orchestrator.lookalike.kit.http import Incoming, Object, Refused, Reply, exact, json_reply
from orchestrator.lookalike.kit.life import Life, LifeSettings, Lived, Stage, Words
from orchestrator.lookalike.kit.settings import Count, Duration, Share, Slug, convert, read, scaled
from orchestrator.lookalike.webhook.templates import Pattern, name_of, placed
from orchestrator.providers.webhook.declaration import ACCEPTED, STATES, described, problems
from orchestrator.providers.webhook.description import MARKER, REQUEST, TOKEN

FIRST = 5001
UNNAMED = "unnamed/unnamed"  # the repository of a trigger that names none
USUAL: Mapping[str, Any] = {
    "trigger": {
        "path": "/build/${{ target.repo }}",
        "headers": {"Authorization": "Bearer ${{ token }}"},
        "body": {"ref": "${{ target.branch }}", "env": "${{ target.env }}", "marker": "${{ marker }}"},
        "id": "/run/id",
    },
    "status": {
        "path": "/runs/${{ request.id }}",
        "headers": {"Authorization": "Bearer ${{ token }}"},
        "state": "/state",
        "url": "/web",
        "states": {"queued": "queued", "running": "running", "ok": "passed", "broken": "failed", "stopped": "canceled"},
    },
    "find": {
        "path": "/runs?marker=${{ marker }}",
        "headers": {"Authorization": "Bearer ${{ token }}"},
        "items": "/items",
        "id": "/id",
    },
    "cancel": {"path": "/runs/${{ request.id }}/cancel", "headers": {"Authorization": "Bearer ${{ token }}"}},
}


class Settings(LifeSettings, frozen=True, kw_only=True):
    """Such a service (docs/sandbox.md): `service` is its description, as an account has it."""

    repos: tuple[Slug, ...] = ()
    service: Mapping[str, Any] = field(default_factory=lambda: USUAL)
    failed: Share = 0.0
    triggers: Count = 600
    minute: Duration = 60.0

    def scaled(self) -> Settings:
        """The same with all durations divided by the time scale."""
        return scaled(self, self.time_scale, "queue", "build", "change", "minute")


class Run(Lived, eq=False, kw_only=True):
    """One build."""

    id: int
    visible_at: float
    marked: str | None
    sent: Object

    @property
    def state(self) -> BuildState:
        """What has become of it, in our words."""
        stages = {Stage.QUEUED: BuildState.QUEUED, Stage.RUNNING: BuildState.RUNNING}
        return stages.get(self.stage) or STATES[str(self.outcome)]

    def as_json(self) -> Object:
        """It as it was sent, and what became of it."""
        own = {"id": self.id, "repo": self.slug, "branch": self.branch, "state": self.state, "sent": self.sent}
        return {"received_at": exact(self.created_at), "marker": self.marked, **own}


class WebhookLookAlike(LookAlike):
    """The service with its builds."""

    settings: Settings

    def __init__(self, settings: Settings, began: float | None = None) -> None:
        super().__init__(settings, began)
        own = settings.scaled()
        calls = described(Account("service", "webhook", "", settings=settings.service))
        self._patterns = {kind: Pattern.of(call) for kind, call in calls.items()}
        self.repos = {slug.lower(): slug for slug in settings.repos}
        self.runs: dict[int, Run] = {}
        self._ids = count(FIRST)
        self._triggers = SlidingWindow(own.minute)
        chances = [("failed", own.failed)] if own.failed else []
        self.life = Life(own, self.chance, self.events, Words("passed", "failed", "canceled"), chances)
        self.windows = (own.minute, own.minute, own.minute * 60)

    @classmethod
    @override
    def from_settings(cls, given: Mapping[str, Any]) -> Self:
        more = {name: value for name, value in given.items() if name not in ("repos", "service")}
        repos, service = given.get("repos", 100), given.get("service", USUAL)
        if isinstance(repos, int):
            repos = [f"acme/svc-{n + 1:03}" for n in range(read(Count, repos, "repos"))]
        if not isinstance(service, Mapping):
            raise UsageError("sandbox: service: expected a map, as an account of the type webhook has it")
        for text, remedy, keys in problems(Account("service", "webhook", "", settings=service)):
            raise UsageError(f"sandbox: {'.'.join(('service', *keys))}: {text}; {remedy}")
        return cls(convert(Settings, {"repos": repos, **more}, base=Settings(service=service)))

    @classmethod
    @override
    def for_plan(
        cls, targets: Iterable[Target], accounts: Collection[Account], rehearsal: Rehearsal = NOTHING_SAID
    ) -> Self:
        return cls(fitted(targets, accounts, rehearsal))

    @override
    def stats(self) -> Object:
        states = Counter(run.state.value for run in self.runs.values())
        return {**super().stats(), "builds": len(self.runs), "build_states": dict(states)}

    @override
    def repo_names(self, path: str) -> Collection[str]:
        found = self._patterns["trigger"].path.fullmatch(path.removeprefix(self.settings.prefix))
        named = {name_of(group): unquote(value) for group, value in (found.groupdict() if found else {}).items()}
        slug = _slug(named)
        return () if slug == UNNAMED else (slug.lower(),)

    @override
    def answer(self, call: Incoming, now: float, stuck: bool) -> Reply:
        path = call.path.removeprefix(self.settings.prefix)
        for kind, pattern in self._patterns.items():
            if (values := pattern.read(call, path)) is not None:
                if TOKEN in values and values[TOKEN] not in (self.settings.token, *self.settings.others):
                    raise _failed(401, "this token is not known")
                return self._answer(kind, pattern.call.said, values, now, stuck)
        raise _failed(404, "there is no such call")

    def _answer(self, kind: str, said: Mapping[str, Any], values: Object, now: float, stuck: bool) -> Reply:
        if kind == "trigger":
            return self._start(said, values, now, stuck)
        if kind == "find":
            runs = [run for run in self.runs.values() if run.visible_at <= now]
            rows = [placed(said["id"], run.id, {"marker": run.marked}) for run in runs if run.marked == values[MARKER]]
            return json_reply(200, placed(said["items"], rows, {}))
        run = self.runs.get(int(values[REQUEST])) if str(values.get(REQUEST)).isdecimal() else None
        if run is None or run.visible_at > now:
            raise _failed(404, "there is no such run")
        if kind == "status":
            body = placed(said["state"], _word(said["states"], run.state), {})
            page = f"https://ci.invalid/runs/{run.id}"
            return json_reply(200, placed(said["url"], page, body) if "url" in said else body)
        if run.stage is Stage.OVER:
            raise _failed(409, "it has ended")
        self.life.cancel(now, run)
        return json_reply(202, {})

    def _start(self, said: Mapping[str, Any], values: Object, now: float, stuck: bool) -> Reply:
        slug = _slug(values)
        if slug != UNNAMED and slug.lower() not in self.repos:
            raise _failed(404, "there is no such repository")
        self._triggers.add(now)
        if self._triggers.used(now) > self.settings.triggers:
            refusal = _failed(429, "too many triggers")
            refusal.reply.headers["Retry-After"] = "5"
            raise refusal
        nth = 1 + sum(run.slug == slug for run in self.runs.values())
        run = Run(
            id=next(self._ids),
            slug=slug,
            branch=str(values.get("target.branch") or ""),
            nth=nth,
            created_at=now,
            visible_at=now + self.chance.between(self.settings.lag, "lag", slug, nth),
            marked=values.get(MARKER) or None,
            sent={name: value for name, value in values.items() if name != TOKEN},
        )
        self.runs[run.id] = run
        self.counters.accepted.append(run)
        self.life.start(now, run, stuck=stuck)
        status = said.get("accepted", ACCEPTED)
        return json_reply(202 if 202 in status else status[0], placed(said["id"], run.id, {}) if "id" in said else {})


def fitted(targets: Iterable[Target], accounts: Collection[Account], rehearsal: Rehearsal = NOTHING_SAID) -> Settings:
    """Builds of some seconds, a few of which fail, of all that the targets name, with room for the account's limits."""
    [account] = accounts
    rates = [limit.calls * max(1.0, 60 / limit.per) for limit in account.limits if limit.kind == "triggers"]
    return Settings(
        repos=tuple(dict.fromkeys(target.repo for target in targets)),
        service=account.settings,
        failed=0.0 if rehearsal else 0.06,
        rehearsal=rehearsal,
        queue=(0.3, 1.5),
        build=(2.0, 8.0),
        latency=(0.01, 0.03),
        token=f"sandbox-{token_hex(8)}",
        triggers=10 + int(max(rates, default=600)),
    )


def _word(states: Mapping[str, str], state: BuildState) -> str:
    """The service's word for a state; where it has none, that for one like it."""
    alike = {BuildState.QUEUED: BuildState.RUNNING, BuildState.CANCELED: BuildState.FAILED}
    for wanted in (state, alike.get(state, state)):
        found = [word for word, means in states.items() if means == wanted.value]
        if found:
            return found[0]
    return "elsewhere" if not state.is_final else next(w for w, means in states.items() if STATES[means].is_final)


def _slug(values: Mapping[str, Any]) -> str:
    """The repository that these values name."""
    if named := values.get("target.repo"):
        return str(named)
    if {"target.owner", "target.name"} <= values.keys():
        return f"{values['target.owner']}/{values['target.name']}"
    id_ = str(values.get("target.id", ""))
    return id_.partition(":")[2].partition("@")[0] or UNNAMED


def _failed(status: int, message: str) -> Refused:
    return Refused(json_reply(status, {"message": message}), message)
