"""Sends calls with tokens that a service gives for a while: each is kept, and renewed before it ends.

What is asked for a token goes below the account's limits: a service counts it for whoever asks, not for whom the token
is. A refused token (401) is renewed once, and its call sent once more: a 401 started nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import anyio

from orchestrator.core.calls import Answer, Call, Send
from orchestrator.core.errors import InDoubt, LookFailed, OrchestratorError, Unreachable
from orchestrator.core.frozen import Struct, replace
from orchestrator.core.model import ACCOUNT, Scope
from orchestrator.core.secrets import Secret, Secrets
from orchestrator.limits.headers import server_time
from orchestrator.providers.port import Grants

EARLY = 1 / 6  # of its life before its end, from which on a token is renewed; while that fails, it is used on
LAST = 30.0  # seconds before its end in which it is not used any more, as its call may be under way
AGAIN = 30.0  # seconds after which a renewal that failed is tried again while the old token lasts
PATIENCE = 10.0  # seconds that asking for a token may take


class _Held(Struct, frozen=True):
    """A token, from when on it is to be renewed, and when it ends."""

    token: Secret
    due: float
    ends: float


class Granted:
    """A `Send` that adds the token which each call needs.

    Args:
        headers: those that carry a token.
        hide: what is blotted out of answers; kept up to date.
        now: the wall clock.
    """

    def __init__(
        self,
        send: Send,
        grants: Grants,
        headers: Callable[[str], Mapping[str, str]],
        secrets: Secrets,
        hide: list[Secret],
        now: Callable[[], float],
    ) -> None:
        self._send = send
        self._grants = grants
        self._headers = headers
        self._secrets = secrets
        self._hide = hide
        self._now = now
        self._ahead = 0.0  # seconds by which the service's clock is ahead of ours
        self._held: dict[Scope, _Held] = {}
        self._before: dict[Scope, Secret] = {}  # a call with it may still be under way
        self._locks: dict[Scope, anyio.Lock] = {}
        self._failed: dict[Scope, tuple[float, OrchestratorError]] = {}

    async def __call__(self, call: Call) -> Answer:
        """Sends the call; the errors of `Send`, and what there is against a token for it.

        Raises:
            Unreachable: no token could be had now.
            AccessRefused, RateLimited: as of `Grants.grant`.
        """
        scope = self._grants.scope(call)
        held = await self._token(scope)
        answer = await self._sent(call, held)
        if answer.status == 401:
            if (theirs := server_time(answer.headers)) is not None:
                self._ahead = theirs - self._now()
            answer = await self._sent(call, await self._token(scope, held))
        return replace(answer, scope=scope)

    async def _sent(self, call: Call, held: _Held) -> Answer:
        return await self._send(replace(call, headers={**self._headers(held.token.reveal()), **call.headers}))

    async def _token(self, scope: Scope, refused: _Held | None = None) -> _Held:
        """The token for this scope, asked for by the first who needs it, for all.

        Args:
            refused: the one that the service does not accept any more.
        """
        began = self._now()
        if (held := self._usable(scope, refused, began)) is not None and began < held.due:
            return held
        lock = self._locks.setdefault(scope, anyio.Lock())
        async with lock:
            held, now = self._usable(scope, refused, began), self._now()
            if held is not None and now < held.due:
                return held
            at, failure = self._failed.get(scope, (began, None))
            if failure is not None and at >= began:  # it failed while this one waited
                if held is None:
                    raise failure
                return held
            try:
                return await self._renewed(scope)
            except OrchestratorError as error:
                self._failed[scope] = self._now(), error
                if held is None:
                    raise
                self._held[scope] = replace(held, due=self._now() + AGAIN)
                return held

    def _usable(self, scope: Scope, refused: _Held | None, now: float) -> _Held | None:
        held = self._held.get(scope)
        return None if held is None or held.token is (refused and refused.token) or now >= held.ends else held

    async def _renewed(self, scope: Scope) -> _Held:
        """A new token.

        Raises:
            Unreachable: it could not be had now; nothing left that could start anything.
        """
        try:
            with anyio.fail_after(PATIENCE):
                grant = await self._grants.grant(scope, self._now() + self._ahead, self)
        except (InDoubt, LookFailed, Unreachable) as error:
            raise Unreachable(f"no token{_of(scope)} could be had: {error.cause}") from None
        except TimeoutError:
            raise Unreachable(f"no token{_of(scope)} was given in {PATIENCE:g} s") from None
        self._hide.append(self._secrets.keep(grant.token))
        held, now = self._held.get(scope), self._now()
        if (gone := self._before.pop(scope, None)) is not None:
            self._hide.remove(gone)
            self._secrets.forget(gone)
        if held is not None:
            self._before[scope] = held.token
        lasts = max(0.0, grant.lasts - LAST)
        new = self._held[scope] = _Held(grant.token, now + lasts * (1 - EARLY), now + lasts)
        return new


def _of(scope: Scope) -> str:
    return "" if scope == ACCOUNT else f" for {scope.name}"
