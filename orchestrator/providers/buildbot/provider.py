"""The Buildbot provider: turns values into calls and answers into values; it neither waits nor counts."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any
from urllib.parse import urlsplit

from orchestrator.core.calls import Send
from orchestrator.core.errors import AccessRefused, InDoubt, LookFailed, NotShown, Rejected, Unreachable
from orchestrator.core.frozen import replace
from orchestrator.core.model import LONGEST_LOG, Account, Build, Interval, Json, Request, Target, Trigger
from orchestrator.providers.buildbot import wire
from orchestrator.providers.buildbot.declaration import builders_of
from orchestrator.providers.buildbot.follow import Poll
from orchestrator.providers.buildbot.observe import QUEUED, REQUEST_FIELDS, Seen, at
from orchestrator.providers.buildbot.scheduler import Scheduler, scheduler_in
from orchestrator.providers.kit.answers import end_of, mapping, not_welcome, number, quoted, read, text
from orchestrator.providers.kit.listings import Search, markers_in
from orchestrator.providers.port import Followed, JobLog, Observation, Principal, Secrets, within

WIDER = 120.0  # seconds before a lost call from which rows are read: clocks differ, and rows show whole seconds
SHOWN = ("bsid", "reason", "submitted_at")
MOST_ROWS = 5000  # buildsets of the time of a doubt; where there are more, nothing is proven
BLAMED = (2, 4)  # results of steps for which a build failed
CANCELED = "canceled by the batch run that asked for it"
NO_REASON = "it takes no reason, in which the marker would travel: a lost answer will stay in doubt"


class Buildbot:
    """One Buildbot; where the account has a login, a session is opened before the first call that changes something."""

    def __init__(self, account: Account, send: Send, secrets: Secrets) -> None:
        self._url = account.url.rstrip("/")
        self._send = send
        self._secrets = secrets
        self._user = text(within(account.settings, ("login", "user")), 200)
        self._password = account.token or within(account.settings, ("login", "password"))  # a rehearsal has its own
        self._session = ""
        self._is_proven = False  # whether the session was ever good enough for something
        self._schedulers: dict[str, Scheduler] = {}
        self._asked: dict[str, set[str]] = {}  # by scheduler, the targets that were told of it
        self._poll = Poll(send, self._url)

    async def prepare(self, target: Target) -> Json:
        """Under which other names parameters are sent; what the scheduler lacks is refused, as it would be dropped."""
        scheduler = await self._scheduler(target)
        sent = scheduler.fit(target)
        return {"v": 1, "as": sent} if sent else {"v": 1}

    async def trigger(self, trigger: Trigger) -> Request:
        try:
            session = await self._open_session()
        except LookFailed as error:
            raise Unreachable(f"no login, so nothing was sent: {error.cause}") from error
        answer = await self._send(wire.trigger_call(trigger, session))
        if answer.status == 403 and self._is_proven:
            self._forget_session()  # it has ended, in a week or with the server: the next attempt logs in anew
            raise Unreachable("Buildbot does not know the session any more; it started nothing")
        request = wire.read_receipt(trigger, answer, self._url)
        self._is_proven = bool(session)
        return request

    async def find(self, trigger: Trigger, asked: Interval, known: Collection[str]) -> Request | None:
        """Finds the buildset of a lost answer again: the server searches the reasons of all of them.

        Where no reason is known to show a marker, a request of that time and builder may be ours.
        """
        trigger = replace(trigger, is_shown=trigger.is_shown and await self._shows_reason(trigger.target))
        search = Search[Mapping[str, Any]](
            trigger, known, asked.start - WIDER, show=lambda row: Seen(row, (), self._url).shown()[0][0]
        )
        await self._add(search, await self._rows("buildsets", SHOWN, [("reason__contains", trigger.marker)]))
        if not trigger.is_shown and not search.ours:
            await self._add(search, await self._of_the_time(trigger, asked))
        found = search.found()
        if not found:
            return None
        buildset = number(found[min(found, key=int)].get("buildsetid")) or 0
        requests = (await self._requests_of([buildset]))[buildset]
        return wire.request_of(buildset, [row["buildrequestid"] for row in requests], self._url, asked.end)

    async def poll(self, followed: Sequence[Followed]) -> Mapping[str, Observation]:
        return await self._poll(followed)

    async def cancel(self, target: Target, build: Build) -> bool:
        """Stops what runs of the request, which may have been tried again; else cancels the request."""
        id_ = build.id.removeprefix(QUEUED)
        if not id_.isascii() or not id_.isdigit():
            raise Rejected("not_found", f"there is no build {build.id[:40]!r}")
        if id_ == build.id:
            [found, *_] = await self._below(f"/builds/{id_}", "builds") or [{}]
            id_ = str(number(found.get("buildrequestid")) or 0)
        path = f"/buildrequests/{id_}"
        [row, *_] = await self._below(path, "buildrequests") or [{}]
        if not isinstance(row.get("complete"), bool):
            raise LookFailed(f"{path}: it does not show whether it has ended")
        if row["complete"]:
            return False
        method, builds = "cancel", await self._below(f"{path}/builds")
        for build_id in (number(one.get("buildid")) for one in builds if one.get("complete") is False):
            path, method = f"/builds/{build_id}", "stop"  # a right to stop is not one to cancel
        session = await self._open_session()
        asked = wire.control(path, method, {"reason": CANCELED}, f"{method} {id_}", session)
        answer = await read(self._send, asked)
        body = mapping(answer.body)
        if answer.status == 200 and "result" in body and "error" not in body:
            return True
        if answer.status == 403 and self._is_proven:
            self._forget_session()
            raise LookFailed("Buildbot does not know the session any more")
        error = wire.refusal(answer)
        raise LookFailed(f"{path}: {error.cause}") if isinstance(error, InDoubt) else error

    async def restart(self, target: Target, build: Build) -> None:
        """Builds the same again: a new request, which the old build's number leads to (Buildbot 4.0 and newer)."""
        if len(builders_of(target)) > 1:
            raise Rejected("not_restarted", "one of several builders is not started again alone; use `retry`")
        if build.id.startswith(QUEUED) or not build.id.isdigit():
            raise Rejected("not_restarted", "it never had a build that could be built again; use `retry`")
        session = await self._open_session()
        id_ = f"rebuild {build.id}"
        answer = await self._send(wire.control(f"/builds/{build.id}", "rebuild", {}, id_, session, "trigger"))
        wire.done(answer, id_)

    async def whoami(self) -> Principal | None:
        """Who has logged in; without a login everybody is the same."""
        if self._user is not None:
            self._forget_session()
            await self._open_session()
        answer = await read(self._send, wire.get("/masters", [("limit", 1)]))
        body = mapping(answer.body)
        if answer.status != 200 or not isinstance(body.get("masters"), list) or "meta" not in body:
            raise not_welcome(answer, self._url, wire.TITLE) or wire.read_failed(answer, "/masters")
        parts, who = urlsplit(self._url), self._user or "anonymous"
        return Principal(f"{parts.netloc}{parts.path}/{quoted(who, 100)}", quoted(who, 100))

    async def logs(self, target: Target, build: Build, at_most: int) -> JobLog | None:
        """The log of the first step that failed."""
        id_ = build.id
        if id_.startswith(QUEUED):
            builds = await self._below(f"/buildrequests/{id_.removeprefix(QUEUED)}/builds")
            id_ = str(max((number(row.get("buildid")) or 0 for row in builds), default=0))
        steps = await self._below(f"/builds/{id_}/steps") if number(int(id_) if id_.isdigit() else 0) else []
        step: Mapping[str, Any] = next((one for one in steps if one.get("results") in BLAMED), {})
        if (step_id := number(step.get("stepid"))) is None:
            return None
        logs = [one for one in await self._below(f"/steps/{step_id}/logs") if one.get("type") in ("s", "t")]
        log = next((one for one in logs if one.get("slug") == "stdio"), logs[-1] if logs else {})
        if (log_id := number(log.get("logid"))) is None:
            return None
        call = replace(wire.get(f"/logs/{log_id}/raw"), at_most=LONGEST_LOG)
        answer = await read(self._send, call)
        if answer.status != 200:
            raise wire.read_failed(answer, call.path)
        said = answer.body if isinstance(answer.body, str) else ""
        printed, exit_ = wire.printed_in(said)
        return JobLog(quoted(step.get("name"), 100) or f"step {step_id}", end_of(printed, at_most), build.url, exit_)

    async def advise(self, target: Target) -> tuple[str, str] | None:
        """What the target's scheduler lacks."""
        scheduler = await self._scheduler(target)
        scheduler.fit(target)
        if target.marked and not scheduler.shows_reason:
            return f"scheduler {quoted(scheduler.name, 100)}: {NO_REASON}", "give it `reason=util.StringParameter(...)`"
        return None

    # -- sessions -----------------------------------------------------------------------------------------------

    async def _open_session(self) -> str:
        """The session of the account's login; empty where it has none.

        Raises:
            AccessRefused: the login is refused.
            LookFailed: no session was opened this time.
        """
        if self._user is None or self._session or not isinstance(self._password, str):
            return self._session
        answer = await read(self._send, wire.login_call(self._user, self._secrets(self._password)))
        session = wire.session_in(answer)
        if session is None:
            raise self._no_session(answer.status) or wire.read_failed(answer, "/auth/login")
        self._session = session
        return session

    def _no_session(self, status: int) -> AccessRefused | None:
        if status == 401:
            return AccessRefused("bad_token", f"{self._url} does not accept the login of {self._user}; correct `login`")
        if status in (200, 302, 404, 500):  # so it answers where it knows no logins
            return AccessRefused(
                "no_login", f"{self._url} has no login (HTTP {status}); remove `login`, or check `url`"
            )
        return None

    def _forget_session(self) -> None:
        self._session, self._is_proven = "", False

    # -- reading ------------------------------------------------------------------------------------------------

    async def _rows(self, what: str, fields: Sequence[str], pairs: wire.Pairs) -> list[Mapping[str, Any]]:
        return await wire.listed(self._send, what, fields, pairs, "find")

    async def _below(self, path: str, key: str = "") -> list[Mapping[str, Any]]:
        """What stands there, under that key: by default the last part of the path."""
        return wire.rows_in(await read(self._send, wire.get(path)), path, key or path.rpartition("/")[2])

    async def _scheduler(self, target: Target) -> Scheduler:
        """The target's scheduler; asked once for the account.

        Raises:
            Rejected: there is none.
        """
        name = str(target.request.get("scheduler"))
        asked = self._asked.setdefault(name, set())
        if name not in self._schedulers or target.id in asked:  # who asks again wants to know it anew
            path = wire.scheduler_path(name)
            try:
                found = await self._below(path, "forceschedulers")
            except NotShown as error:
                names = [quoted(row.get("name"), 60) for row in await self._below("/forceschedulers")]
                known = ", ".join(names[:10]) or "none"
                reason = f"there is no force scheduler {name[:100]!r}; known: {known}"
                raise Rejected("scheduler_not_found", reason) from error
            if len(found) != 1 or found[0].get("name") != name:
                raise LookFailed(f"{path}: it shows another scheduler")
            self._schedulers[name] = scheduler_in(name, found[0])
            asked.clear()
        asked.add(target.id)
        return self._schedulers[name]

    async def _shows_reason(self, target: Target) -> bool:
        """Whether the target's scheduler takes the reason in which the marker travels.

        Raises:
            NotShown: there is no such scheduler.
        """
        known = self._schedulers.get(str(target.request.get("scheduler")))
        try:
            return (known or await self._scheduler(target)).shows_reason
        except Rejected as error:
            raise NotShown(error.reason) from error

    async def _requests_of(self, buildsets: Collection[int]) -> dict[int, list[Mapping[str, Any]]]:
        """Their buildrequests, by buildset."""
        found: dict[int, list[Mapping[str, Any]]] = {}
        wanted = sorted(buildsets)
        for start in range(0, len(wanted), wire.TOGETHER):
            pairs = wire.any_of("buildsetid", wanted[start : start + wire.TOGETHER])
            for row in await self._rows("buildrequests", REQUEST_FIELDS, pairs):
                found.setdefault(number(row.get("buildsetid")) or 0, []).append(row)
        return found

    async def _add(self, search: Search[Mapping[str, Any]], sets: Sequence[Mapping[str, Any]]) -> None:
        """Hands buildsets to the search under the numbers of their first requests."""
        requests = await self._requests_of([row["bsid"] for row in sets])
        for row in sets:
            first = min(requests.get(row["bsid"], ()), key=lambda one: one["buildrequestid"], default=None)
            if first is None:
                raise InDoubt(f"buildset {row['bsid']} may be ours, and shows no request yet")
            reason, id_ = row.get("reason"), str(first["buildrequestid"])
            search.add(id_, reason if isinstance(reason, str) else None, at(row.get("submitted_at")), first)

    async def _of_the_time(self, trigger: Trigger, asked: Interval) -> list[Mapping[str, Any]]:
        """The buildsets of that time that may be ours: they show nobody's marker, and are no other try of a build."""
        until = int(asked.end + trigger.target.timeouts.settle + WIDER)
        span = [("submitted_at__ge", int(asked.start - WIDER)), ("submitted_at__le", until), ("limit", MOST_ROWS)]
        sets = await self._rows("buildsets", SHOWN, span)
        if len(sets) >= MOST_ROWS:
            raise InDoubt(f"there are {MOST_ROWS:,} buildsets of that time or more, so that the listing proves nothing")
        return [row for row in sets if row.get("reason") != "rebuild" and not [*markers_in(str(row.get("reason")))]]
