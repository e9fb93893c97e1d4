"""What a use case may see of this computer: places, clock, secrets, the way to providers and to the state."""

from __future__ import annotations

import errno
import os
import stat
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from copy import copy
from math import inf
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING, Any, Protocol

from orchestrator.app.which import some_of
from orchestrator.core.errors import CROWDED, JournalError, OrchestratorError, UsageError
from orchestrator.core.frozen import replace
from orchestrator.core.model import Account, Plan, Target
from orchestrator.core.secrets import Redactor, Secrets
from orchestrator.providers import registry
from orchestrator.providers.port import references_in

if TYPE_CHECKING:
    from orchestrator.core.calls import Answer, Call, Send
    from orchestrator.engine.engine import Snapshot
    from orchestrator.engine.opening import Caller
    from orchestrator.journal.port import Entry, Journal
    from orchestrator.journal.store import SqlJournal
    from orchestrator.providers.port import Line

REACH = 10.0  # seconds for which an account may be out of reach while no run drives it
REHEARSED = "http://127.0.0.1"  # a look-alike, whatever its port
PASSWORD = "ORCHESTRATOR_STATE_PASSWORD"  # noqa: S105  # a variable's name
SANDBOX = "sandbox"  # the folder below the state that keeps rehearsals apart from what is real


def read_file(place: Path, at_most: int) -> bytes:
    """The first bytes of a file that a person named.

    Raises:
        OSError: it cannot be read, or it is a device or a named pipe, which may have no end or no beginning.
    """
    of_shell = str(place).startswith(("/dev/fd/", "/proc/")) or str(place) in {"/dev/stdin", "/dev/null"}
    mode = place.stat().st_mode
    if not of_shell and (stat.S_ISCHR(mode) or stat.S_ISFIFO(mode)):
        kind = "a device" if stat.S_ISCHR(mode) else "a named pipe"
        raise OSError(errno.EINVAL, f"it is {kind}, no file; to pipe something in, name `-`")
    with place.open("rb") as file:
        return file.read(at_most)


class Observer(Protocol):
    """Follows a use case as it goes on; must not block."""

    def fact(self, entry: Entry) -> None: ...  # an event of the journal, once it is durable

    def notice(self, name: str, **fields: Any) -> None: ...  # what is no event; `name` is a dotted fact

    def progress(self, snapshot: Snapshot) -> None: ...  # how the run stands, a few times a second


class Silent:
    """The observer of those who want none."""

    def fact(self, *_: object, **__: object) -> None: ...

    notice = progress = fact


class Context:
    """What one use case, or a server's life of them, may see and use.

    Args:
        ticks: the clock by which the event loop sleeps, in seconds.
        up: seconds since the machine's boot, as the processes of one boot agree on them; None asks the kernel.
        redactor: learns every secret that is resolved.
        state: the state's path or URL as written; None is one place for the user.
        sandbox: whether this is a rehearsal: it has a state of its own, and disturbs nobody.
        rates: limits on triggers in place of those of the accounts, by account (None: of all).
        traces: whether the observer gets a notice of every call.
        wants_facts: whether reports hold the facts of their run.
        wants_foretold: whether reports of a run that goes on hold what is expected of it.
        read_stdin: reads at most so many bytes from where `-` stands for; None where there is no such thing.
        free_files: how many more files this process may open.
    """

    def __init__(
        self,
        *,
        environ: Mapping[str, str],
        cwd: Path,
        home: Path,
        now: Callable[[], float] = time.time,
        ticks: Callable[[], float] = time.monotonic,  # as anyio's on asyncio, without asking which loop it is: 1 us
        up: Callable[[], float] | None = None,
        random: Random | None = None,
        redactor: Redactor | None = None,
        state: str | None = None,
        sandbox: bool = False,
        rates: Mapping[str | None, str] | None = None,
        observer: Observer | None = None,
        traces: bool = False,
        wants_facts: bool = False,
        wants_foretold: bool = False,
        read_stdin: Callable[[int], bytes] | None = None,
        free_files: Callable[[], float] = lambda: inf,
    ) -> None:
        self.environ = environ
        self.cwd = cwd
        self.home = home
        self.now = now
        self.ticks = ticks
        self.up = up
        self.random = random or Random()  # noqa: S311  # jitter, no secret
        self.redactor = redactor or Redactor()
        self.state = state
        self.sandbox = sandbox
        self.rates = rates or {}
        self.observer = observer or Silent()
        self.traces = traces
        self.wants_facts = wants_facts
        self.wants_foretold = wants_foretold
        self.read_stdin = read_stdin
        self._free_files = free_files
        self._promised = 0  # connections of the accounts to which the way is open
        self.secrets = self._secrets()

    def with_environ(self, environ: Mapping[str, str]) -> Context:
        """The same with other variables, for a rehearsal with tokens of its own."""
        other = copy(self)
        other.environ = environ
        other.secrets = other._secrets()
        return other

    def _secrets(self) -> Secrets:
        return Secrets(self.environ, self.home, self.cwd, seen=self.redactor.add, gone=self.redactor.forget)

    # -- places -------------------------------------------------------------------------------------------------

    def path(self, text: str) -> Path:
        """The path that a person wrote, absolute."""
        return self.cwd / Path(text).expanduser()

    @property
    def state_path(self) -> str:
        """Where the state is: as written, else one place for the user; rehearsals have a place of their own below."""
        where = self.state
        if where is None:
            base = Path(self.environ.get("XDG_STATE_HOME", ""))
            # The XDG rule: a relative path there is to be ignored.
            where = str((base if base.is_absolute() else self.home / ".local" / "state") / "orchestrator")
        elif "://" not in where:
            where = str(self.path(where))
        return rehearsals_of(where) if self.sandbox else where

    def state_at(self, where: str, *, read_only: bool = False) -> AbstractAsyncContextManager[SqlJournal]:
        """The journal at a place; `ORCHESTRATOR_STATE_PASSWORD` is a reference to the password of a server's.

        Raises:
            JournalError, UsageError: it cannot be used.
        """
        from orchestrator.journal.store import open_journal

        reference = self.environ.get(PASSWORD)
        password = None if reference is None or not _is_server(where) else self.secrets.resolve(reference).reveal()
        return open_journal(where, now=self.now, read_only=read_only, password=password)

    def as_run(self, accounts: Mapping[str, Account]) -> Mapping[str, Account]:
        """The accounts as a run has them: in a rehearsal their services are on this machine."""
        if not self.sandbox:
            return accounts
        return {name: replace(account, url=REHEARSED) for name, account in accounts.items()}

    # -- the way to providers -----------------------------------------------------------------------------------

    @asynccontextmanager
    async def connect(self, account: Account) -> AsyncIterator[Line]:
        """Opens the way to an account, as environment and `rates` say.

        Raises:
            UsageError: its token cannot be resolved, or its URL must not be used.
        """
        from orchestrator.providers.kit.transport import Proxies

        proxies, ca_file = Proxies.of(self.environ), self.environ.get("SSL_CERT_FILE") or None
        account = self._bounded(self._paced(account))
        self._promised += account.connections
        try:
            opened = registry.connect(account, self.secrets, proxies=proxies, ca_file=ca_file, now=self.now)
            async with opened as line:
                yield replace(line, send=self._traced(line.send, account.name)) if self.traces else line
        finally:
            self._promised -= account.connections

    @asynccontextmanager
    async def elsewhere(self, account: Account) -> AsyncIterator[Send]:
        """Opens the way to a server that is no provider, without a token, as the environment says.

        Raises:
            UsageError: its URL must not be used.
        """
        from orchestrator.providers.kit.transport import Proxies, transport

        proxies, ca_file = Proxies.of(self.environ), self.environ.get("SSL_CERT_FILE") or None
        async with transport(account, {}, proxies=proxies, ca_file=ca_file) as send:
            yield send

    @asynccontextmanager
    async def gate(self, account: Account, journal: Journal, reach: float | None = None) -> AsyncIterator[Caller]:
        """Calls of an account outside a run, within the limits that all processes of the state share.

        Args:
            reach: seconds for which the account may be out of reach.

        Raises:
            UsageError: as `connect`.
            AccessRefused: nothing may be called, or the token is dead.
        """
        from orchestrator.engine.opening import gate_for
        from orchestrator.engine.run import Clocks
        from orchestrator.journal.process import this_process, up

        clocks = await Clocks.read(journal, this_process(), self.now, self.ticks, self.up or up)
        async with AsyncExitStack() as stack:
            line = await stack.enter_async_context(self.connect(account))
            opened = gate_for(line, journal, clocks, self.random, reach=reach or REACH, notice=self.observer.notice)
            yield await stack.enter_async_context(opened)

    def resolve(self, accounts: Iterable[Account], targets: Iterable[Target]) -> None:
        """Resolves every secret that a run will need, before anything is sent.

        Raises:
            UsageError: one cannot be resolved.
        """
        secret_keys: dict[str, list[str]] = {}
        for account in accounts:
            declared = registry.declared(account)
            registry.credentials_of(account, declared, self.secrets)
            for reference in references_in(account, declared, with_keys=False):
                self.secrets.resolve(reference)
            secret_keys[account.name] = [name for name, key in declared.keys.items() if key.reference]
        values = (target.request.get(key) for target in targets for key in secret_keys[target.account])
        for reference in sorted({value for value in values if isinstance(value, str)}):
            self.secrets.resolve(reference)

    def _paced(self, account: Account) -> Account:
        rates = {name: rate for name, rate in self.rates.items() if name in (None, account.name)}
        if not rates and not any(limit.written for limit in account.limits):
            return account
        from orchestrator.core.selection import override_limits, raised

        paced = override_limits(Plan("", (), {account.name: account}), rates).accounts[account.name]
        for sentence in raised(paced, registry.declared(account).limits):
            self.observer.notice("limit.raised", warning=sentence)
        return paced

    def _bounded(self, account: Account) -> Account:
        """The account with no more connections than leave half of what may be opened to all else.

        A rehearsal's service is in this process, and has the other end of each.
        """
        most = max(1.0, (self._free_files() - self._promised) / (4 if self.sandbox else 2))
        if account.connections <= most:
            return account
        wanted = account.connections
        told = {"account": account.name, "connections": int(most), "wanted": wanted}
        self.observer.notice("connections.bounded", **told, cause=CROWDED)
        return replace(account, connections=int(most))

    def _traced(self, send: Send, account: str) -> Callable[[Call], Awaitable[Answer]]:
        async def traced(call: Call) -> Answer:
            began = time.monotonic()

            def ended(**how: Any) -> None:
                about = {"account": account, "method": call.method, "path": call.path}
                self.observer.notice("call.ended", **about, ms=round((time.monotonic() - began) * 1000), **how)

            try:
                answer = await send(call)
            except OrchestratorError as error:
                ended(error=f"{type(error).__name__}: {error}")
                raise
            ended(status=answer.status)
            return answer

        return traced


# -- the state --------------------------------------------------------------------------------------------------


def writable(context: Context) -> AbstractAsyncContextManager[SqlJournal]:
    """The journal, made on first use.

    Raises:
        JournalError: the state cannot be used.
    """
    return context.state_at(context.state_path)


@asynccontextmanager
async def shared(context: Context, journal: Journal | None = None) -> AsyncIterator[Journal]:
    """The state for what processes share of limits, made on first use; one in memory where it cannot be used.

    Args:
        journal: where it is open already.
    """
    from orchestrator.journal.store import in_memory

    if journal is not None:
        yield journal
        return
    async with AsyncExitStack() as stack:
        try:
            state = await stack.enter_async_context(writable(context))
        except JournalError:  # the verbs that need it tell what is wrong with it
            state = await stack.enter_async_context(in_memory(context.now))
        yield state


@asynccontextmanager
async def readable(context: Context, run: str | None = None) -> AsyncIterator[SqlJournal]:
    """The journal for reading only; never made, never changed.

    A run that is named and is not in the user's own state is looked up among the rehearsals, too, so that a command
    line pasted from the report of a rehearsal works as it stands.

    Raises:
        UsageError: there is no state yet.
        JournalError: it cannot be used.
    """
    where = context.state_path
    is_there = has_state(where)
    may_fall_back = (
        not context.sandbox
        and not _is_server(where)
        and (not is_there or run is not None)
        and has_state(rehearsals_of(where))
    )
    if may_fall_back and (not is_there or (run is not None and not await _knows(where, run, context))):
        where, is_there = rehearsals_of(where), True
    if not is_there:
        raise UsageError(f"there are no runs yet in {where}; `orchestrator run` makes one, --state names another place")
    from orchestrator.journal.sql import NoState

    async with AsyncExitStack() as stack:
        try:
            journal = await stack.enter_async_context(context.state_at(where, read_only=True))
        except NoState as error:
            raise UsageError(str(error)) from None
        yield journal


def rehearsals_of(where: str) -> str:
    """The place of the rehearsals beside this state: a folder in its folder."""
    if _is_server(where):
        from orchestrator.journal.files import REHEARSALS

        return f"{where}{REHEARSALS}"
    if "://" not in where:
        return str(Path(where) / SANDBOX)
    folder, _, file = where.rpartition("/")
    return f"{folder}/{SANDBOX}/{file}"


def has_state(where: str) -> bool:
    """Whether there is a state at this place.

    Raises:
        JournalError: nobody can tell, or something else is there.
    """
    from orchestrator.journal.files import is_there, locate

    return _is_server(where) or is_there(locate(where))  # of a server it is known once it is opened


def _is_server(where: str) -> bool:
    from orchestrator.journal.files import is_server

    return is_server(where)


def may_write(where: str) -> bool:
    """Whether this user may write the state that is there."""
    from orchestrator.journal.files import locate

    if _is_server(where):
        return True  # what its role may not do, it is told when it tries
    path = locate(where)
    return all(os.access(one, os.W_OK) for one in (path, path.parent))


async def _knows(where: str, run: str, context: Context) -> bool:

    async with context.state_at(where, read_only=True) as journal:
        return bool(await some_of(journal, run))
