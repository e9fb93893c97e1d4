"""The webhook provider: the account's description into calls, the answers that it points into into values."""

from __future__ import annotations

import hashlib
import hmac
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any, TypeAlias

from orchestrator.core.calls import Answer, Call, Send
from orchestrator.core.errors import InDoubt, LookFailed, NotTriggered, Rejected
from orchestrator.core.frozen import replace
from orchestrator.core.model import Account, Build, BuildState, Interval, Json, Request, Target, Trigger
from orchestrator.providers.kit.answers import is_page, message_in, quoted, read, read_failed, refused, rejected, text
from orchestrator.providers.port import Followed, Observation, Secrets
from orchestrator.providers.webhook.declaration import ACCEPTED, CALLS, REFUSED, STATES, TRIGGERS, described
from orchestrator.providers.webhook.description import (
    MARKER,
    REQUEST,
    TOKEN,
    Described,
    at,
    of_target,
    texts_in,
    word_at,
)

TITLE = "the service"
PROOFS = 3  # lookups of a known request, at most, before it is believed that `find` does not show it
MOST_FOUND = 1000  # rows of a lookup
NOT_ASKED = Build("", BuildState.ACCEPTED, "accepted")

Rows: TypeAlias = Mapping[str, Mapping[str, Any]]


class Webhook:
    """One account on a service that it describes itself."""

    def __init__(self, account: Account, send: Send, secrets: Secrets) -> None:
        self._send = send
        self._calls = described(account)
        self._token = None if account.token is None else secrets(account.token)
        said = account.settings.get("sign")
        self._sign = None if not isinstance(said, Mapping) else Signature(said, secrets(str(said["key"])))
        self._proofs = PROOFS if "find" in self._calls else 0

    async def trigger(self, trigger: Trigger) -> Request:
        call = self._calls["trigger"]
        answer = await self._send(self._call(call, trigger, "trigger", (TRIGGERS, CALLS)))
        if answer.status not in call.said.get("accepted", ACCEPTED):
            raise _not_accepted(answer, call.said.get("refused", REFUSED))
        if "id" not in call.said:
            return Request("", {"v": 1})
        id_ = word_at(answer.body, call.said["id"])
        if id_ is None and ("status" in self._calls or is_page(answer.body)):
            raise InDoubt(f"HTTP {answer.status}, and no id at {call.said['id']}")
        return Request(id_ or "", {"v": 1})

    def carries(self, trigger: Trigger) -> bool:
        return MARKER in self._calls["trigger"].names()

    async def find(self, trigger: Trigger, asked: Interval, known: Collection[str]) -> Request | None:
        """Looks for the marker; that nothing is there counts once `find` has shown a request that is known."""
        if "find" not in self._calls or trigger.marker is None:
            raise InDoubt("its account describes no `find`, so it cannot be looked for")
        rows = {id_: row for id_, row in (await self._found(trigger)).items() if id_ not in known}
        ours = _of_marker(rows, trigger.marker)
        if not ours and rows:
            if len(rows) > 1 or not trigger.is_shown:
                raise InDoubt(f"{len(rows)} request(s) that show no marker may be this one: {', '.join([*rows][:5])}")
            ours = rows
        if not ours and not trigger.is_shown:
            raise InDoubt("`find` shows nothing, and was never seen to show a request that is known")
        if not ours:
            return None
        return Request(next(iter(ours)), {"v": 1} if len(ours) == 1 else {"v": 1, "also": [*ours][1:10]})

    async def poll(self, followed: Sequence[Followed]) -> Mapping[str, Observation]:
        """Asks for each by itself: a description has no listing."""
        found: dict[str, Observation] = {}
        failed: LookFailed | None = None
        for one in followed:
            try:
                found[one.target.id] = await self._poll(one)
            except LookFailed as error:
                failed = error
        if failed is not None and not found:
            raise failed
        return found

    async def cancel(self, target: Target, build: Build) -> bool:
        if "cancel" not in self._calls:
            raise Rejected("not_canceled", "its account describes no `cancel`")
        call = self._call(self._calls["cancel"], Trigger(target, 1, None, ""), "other", (CALLS,), build.id)
        answer = await read(self._send, call)
        if answer.status in (409, 410):
            return False
        if 200 <= answer.status < 300:
            return True
        raise read_failed(answer, call.path, TITLE) if answer.status >= 500 else _not_accepted(answer, REFUSED)

    async def _poll(self, one: Followed) -> Observation:
        marked = await self._proof(one)
        if "status" not in self._calls:
            is_odd = not one.request.id and "id" in self._calls["trigger"].said
            warning = f"the answer names no id at {self._calls['trigger'].said['id']}" if is_odd else None
            return Observation((NOT_ASKED,), marked=marked, warning=warning)
        builds, warnings = [], []
        for id_ in (one.request.id, *_also(one.request)):
            build, warning = await self._build(one, id_)
            builds += [] if build is None else [build]
            warnings += [] if warning is None else [warning]
        return Observation(tuple(builds), marked=marked, warning=warnings[0] if warnings else None)

    async def _build(self, one: Followed, id_: str) -> tuple[Build | None, str | None]:
        """A build, None where the service does not know of it (yet); and a warning."""
        status = self._calls["status"]
        call = self._call(status, _trigger_of(one), "poll", (CALLS,), id_)
        answer = await read(self._send, call)
        if answer.status == 404:
            return None, None
        word = word_at(answer.body, status.said["state"]) if answer.status == 200 else None
        if word is None:
            raise read_failed(answer, call.path, TITLE)
        means, warning = status.said["states"].get(word), None
        if means is None:
            warning = f"the service says that the build is {word[:40]!r}, which `states` does not name: still going"
        state = BuildState.RUNNING if means is None else STATES[means]
        url = at(answer.body, status.said["url"]) if "url" in status.said else None
        return Build(id_, state, word[:40], url=_page(url)), warning

    async def _proof(self, one: Followed) -> bool | None:
        """Whether `find` shows a request that is known, and nothing else; None once that is settled, or not yet."""
        if self._proofs <= 0 or one.marker is None or not one.request.id:
            return None
        self._proofs -= 1
        try:
            rows = await self._found(_trigger_of(one))
        except LookFailed:
            return None
        is_shown = set(rows) == {one.request.id, *_also(one.request)}
        if is_shown:
            self._proofs = 0
        return is_shown if is_shown or not self._proofs else None

    async def _found(self, trigger: Trigger) -> Rows:
        """The rows of `find` by their ids.

        Raises:
            LookFailed: they are not where the account says.
        """
        find = self._calls["find"]
        call = self._call(find, trigger, "find", (CALLS,))
        answer = await read(self._send, call)
        items = at(answer.body, find.said["items"])
        if answer.status != 200 or not isinstance(items, list) or len(items) > MOST_FOUND:
            raise read_failed(answer, call.path, TITLE)
        rows = {word_at(row, find.said["id"]): row for row in items}
        if None in rows:
            raise LookFailed(f"{call.path}: rows without an id of their own")
        return {str(id_): row for id_, row in rows.items()}

    def _call(
        self, call: Described, trigger: Trigger, purpose: str, limits: tuple[str, ...], request: str | None = None
    ) -> Call:
        values = {**of_target(trigger.target), MARKER: trigger.marker, TOKEN: self._token, "run.name": trigger.run_name}
        made = call.call(values if request is None else {**values, REQUEST: request}, purpose, limits)
        return replace(made, repo=trigger.target.repo, sign=None if made.method == "GET" else self._sign)


class Signature:
    """Signs the bytes that are sent, HMAC-SHA256 in hex; with a time, the time in whole seconds, a dot and the bytes.

    Args:
        said: the account's `sign`.
        now: wall seconds.
    """

    def __init__(self, said: Mapping[str, Any], key: str, now: Callable[[], float] = time.time) -> None:
        self._header, self._prefix = str(said["header"]), str(said.get("prefix", ""))
        self._timestamp = said.get("timestamp")
        self._key = key.encode()
        self._now = now

    def __call__(self, body: bytes) -> Mapping[str, str]:
        more = {}
        if self._timestamp is not None:
            more = {str(self._timestamp): str(int(self._now()))}
            body = f"{more[str(self._timestamp)]}.".encode() + body
        return {**more, self._header: self._prefix + hmac.new(self._key, body, hashlib.sha256).hexdigest()}


def headers(account: Account, token: str) -> dict[str, str]:
    """What goes with each call; the account says the rest."""
    return {"Accept": "application/json"}


def _trigger_of(one: Followed) -> Trigger:
    return Trigger(one.target, 1, one.marker, "")


def _also(request: Request) -> Sequence[str]:
    """Ids of further requests with the same marker, found beside the first."""
    found = request.handle.get("also")
    return [id_ for id_ in found if isinstance(id_, str)] if isinstance(found, Sequence) else ()


def _of_marker(rows: Rows, marker: str) -> Rows:
    """The rows in which the marker stands, anywhere."""
    return {id_: row for id_, row in rows.items() if any(marker in shown for shown in texts_in(row))}


def _not_accepted(answer: Answer, refusals: Collection[int]) -> NotTriggered | InDoubt:
    """What a status says that is not accepted: refused, where the account says so, else a doubt."""
    if answer.status not in refusals:
        return InDoubt(f"HTTP {answer.status}")
    if answer.status in (401, 403, 429) and (refusal := refused(answer, TITLE)) is not None:
        return refusal
    code = "not_found" if answer.status == 404 else f"http_{answer.status}"
    return rejected(code, f"the service refuses the trigger (HTTP {answer.status})", quoted(message_in(answer.body)))


def _page(value: Json) -> str | None:
    """A page for people; anything else than a web address is left out."""
    shown = text(value)
    return shown if shown is not None and shown.startswith(("http://", "https://")) and shown.isprintable() else None
