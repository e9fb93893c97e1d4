"""Sends messages about a run: to a webhook, signed; or to a chat, a mail and the like through the library apprise.

A message that cannot be sent is told and changes nothing else: not the run, not its exit code.
"""

from __future__ import annotations

import hashlib
import hmac
import logging
from collections import deque
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, suppress
from typing import Any, TypeAlias
from urllib.parse import urlsplit

import anyio
import anyio.lowlevel

from orchestrator.core.calls import Call, Send, url_problem
from orchestrator.core.errors import OrchestratorError, UsageError
from orchestrator.core.model import Account, Notify
from orchestrator.core.secrets import Secrets, shown
from orchestrator.hooks.messages import Message

SIGNATURE = "X-Orchestrator-Signature"
PATIENCE = 10.0  # seconds for one try to send one message
TRIES = 2
BETWEEN = 2.0  # seconds between two tries
WAITS = 40.0  # seconds that the end of a run may wait for its messages to be sent
MOST_READ = 2000  # bytes of an answer

Post: TypeAlias = Callable[[str, Mapping[str, Any], str], Awaitable[None]]
"""Posts a body once to a URL, signed with a key; raises an `OrchestratorError` where it was not taken."""


def checked(notify: Notify, secrets: Secrets) -> None:
    """Whether messages could be sent there; nothing is sent.

    Raises:
        UsageError: a reference cannot be resolved, or what it holds is no URL, or a library for it is missing.
    """
    where = secrets.resolve(notify.to).reveal()
    if notify.key is not None:
        secrets.resolve(notify.key)
    if not _is_webhook(where):
        _of_library(where, shown(notify.to))
        return
    problem = url_problem(_parted(where)[0], insecure=False)
    if problem is not None:
        raise UsageError(f"notify: {shown(notify.to)}: {'; '.join(problem)}")


def signature(key: str, body: bytes) -> str:
    """What a webhook's answerer compares: HMAC-SHA256 over the bytes that were sent, hex."""
    return "sha256=" + hmac.new(key.encode(), body, hashlib.sha256).hexdigest()


class Sender:
    """Sends the messages of one run, each to all who want it, beside the run and in their order.

    Args:
        wanted: who is told what.
        post: sends a body to a URL, signed with a key (`webhook`), once.
        notice: told of what could not be sent; the names are `notify.failed` and `notify.sent`.
    """

    def __init__(
        self,
        wanted: Sequence[Notify],
        secrets: Secrets,
        post: Post,
        notice: Callable[..., object],
    ) -> None:
        self._wanted = wanted
        self._secrets = secrets
        self._post = post
        self._notice = notice
        self._waiting: deque[tuple[Notify, Message]] = deque()
        self._came = anyio.Event()

    def send(self, message: Message | None) -> None:
        """Takes a message, if it is one that somebody wants; it is sent by `run` or `finish`."""
        if message is not None:
            self._waiting.extend((notify, message) for notify in self._wanted if message.on in notify.on)
            self._came.set()

    async def run(self) -> None:
        """Sends what comes until it is canceled; what is being sent then is sent to its end."""
        while True:
            await self._came.wait()
            self._came = anyio.Event()
            await self._empty()

    async def finish(self) -> None:
        """Sends what is left, for no longer than `WAITS`; then what is still left is told."""
        with anyio.move_on_after(WAITS):
            await self._empty()
        for notify, message in self._waiting:
            self._notice("notify.failed", to=shown(notify.to), on=message.on, error="others took too long")

    async def _empty(self) -> None:
        while self._waiting:
            notify, message = self._waiting.popleft()
            with anyio.CancelScope(shield=True):  # one that was sent by half would be sent twice
                await self._told(notify, message)
            await anyio.lowlevel.checkpoint()

    async def _told(self, notify: Notify, message: Message) -> None:
        about = {"to": shown(notify.to), "on": message.on}
        trouble = "it took too long"
        for number in range(TRIES):
            if number:
                await anyio.sleep(BETWEEN)
            with anyio.move_on_after(PATIENCE):
                try:
                    await self._once(notify, message)
                except UsageError as error:
                    trouble = str(error)
                    break
                except OrchestratorError as error:
                    trouble = str(error)
                    continue
                self._notice("notify.sent", **about)
                return
        self._notice("notify.failed", **about, error=trouble)

    async def _once(self, notify: Notify, message: Message) -> None:
        where = self._secrets.resolve(notify.to).reveal()
        if not _is_webhook(where):
            await _through_library(where, shown(notify.to), message)
            return
        key = where if notify.key is None else self._secrets.resolve(notify.key).reveal()
        await self._post(where, message.body, key)


def webhook(open_to: Callable[[Account], AbstractAsyncContextManager[Send]]) -> Post:
    """Posts through the transport of all calls: TLS verified, bounded, no redirect to elsewhere.

    Args:
        open_to: opens connections to an account's URL, as `transport` does.
    """

    async def post(url: str, body: Mapping[str, Any], key: str) -> None:
        base, path = _parted(url)
        account = Account("notify", "notify", base, None)
        call = Call("POST", path, body=dict(body), at_most=MOST_READ, secret=True, sign=lambda sent: _signed(key, sent))
        async with open_to(account) as send:
            answer = await send(call)
        if not 200 <= answer.status < 300:
            raise _Refused(f"the webhook answered {answer.status}")

    return post


def _signed(key: str, sent: bytes) -> dict[str, str]:
    return {SIGNATURE: signature(key, sent)}


class _Refused(OrchestratorError):
    """A webhook did not take a message."""


def _is_webhook(url: str) -> bool:
    return urlsplit(url).scheme.lower() in ("http", "https")


def _parted(url: str) -> tuple[str, str]:
    """A URL as its server, and all of it behind that."""
    scheme, _, rest = url.partition("://")
    host, slash, path = rest.partition("/")
    host, mark, query = host.partition("?")
    return f"{scheme}://{host}", f"/{path}" if slash else f"/{mark}{query}"


def _of_library(url: str, name: str) -> Any:
    """The library's own object for a URL.

    Raises:
        UsageError: there is no such library, or it does not know the URL.
    """
    try:
        import apprise
    except ImportError:
        raise UsageError(
            f"notify: {name}: only http:// and https:// are built in; chats and mail need the extra `notify`: "
            "`pip install '.[notify]'` in a copy of this project"
        ) from None
    silence = logging.NullHandler()  # else it shows URLs that are none on stderr
    logging.getLogger("apprise").addHandler(silence)
    with suppress(Exception):  # whatever a URL from outside does to the library, it is then none that it knows
        found = apprise.Apprise.instantiate(url, suppress_exceptions=True)
        if found is not None:
            return found
    raise UsageError(f"notify: {name}: this is no URL that apprise knows; see its list of services")


async def _through_library(url: str, name: str, message: Message) -> None:
    target = _of_library(url, name)
    try:
        is_taken = await target.async_notify(body=message.text, title=message.title)
    except Exception as error:  # of whatever service: no message may end a run; its text may hold the URL
        raise _Refused(f"the library failed with {type(error).__name__}") from None
    if not is_taken:
        raise _Refused(f"{target.service_name or 'the service'} did not take it")
