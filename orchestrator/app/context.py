"""What a verb has at hand while it talks to providers: secrets that are redacted as they are resolved, log, screen."""

from __future__ import annotations

import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterable, Mapping
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING, Any, TypeVar

from orchestrator.app.machine import Machine
from orchestrator.cli import log as logs
from orchestrator.cli.flags import Flags
from orchestrator.cli.live import Plain, Redrawn, Screen
from orchestrator.core.errors import OrchestratorError
from orchestrator.core.frozen import replace
from orchestrator.core.gc import calm
from orchestrator.core.model import Account, Plan, Target
from orchestrator.core.secrets import Secret, Secrets
from orchestrator.providers import registry

if TYPE_CHECKING:
    from orchestrator.providers.port import Answer, Call, Line, Send

T = TypeVar("T")


class Told(Secrets, frozen=True):
    """Secrets that tell the redactor each one as it is resolved."""

    tell: Callable[[str], None] = lambda secret: None

    def resolve(self, reference: str) -> Secret:
        """See `Secrets.resolve`."""
        secret = Secrets.resolve(self, reference)
        self.tell(secret.reveal())
        return secret


class Session:
    """One verb at work.

    Args:
        title: what the live view shows above its numbers.
        environ: replaces the machine's, for a rehearsal with a token of its own.
    """

    def __init__(
        self, flags: Flags, machine: Machine, title: str = "", environ: Mapping[str, str] | None = None
    ) -> None:
        self.flags = flags
        self.machine = machine
        self.redactor = machine.redactor
        self.secrets = Told(
            machine.environ if environ is None else environ, machine.home, machine.cwd, tell=self.redactor.add
        )
        self.screen = self._screen(title)
        self.log = logs.make(
            self.screen.say,
            self.redactor,
            verbosity=flags.verbosity,
            format=flags.log_format,
            now=machine.now,
            colour=machine.colours(sys.stderr, flags.no_color),
        )

    def _screen(self, title: str) -> Screen:
        flags, machine = self.flags, self.machine
        if machine.may_redraw and not flags.quiet and flags.log_format == "console":
            colour = machine.colours(sys.stderr, flags.no_color)
            return Redrawn(sys.stderr, title, machine.now(), colour=colour)
        return Plain(_to_stderr, lambda text: self.log.info("run.progress", now=text))

    @asynccontextmanager
    async def connect(self, account: Account) -> AsyncIterator[Line]:
        """Opens the way to an account, as flags and environment say.

        Raises:
            UsageError: its token cannot be resolved, or its URL must not be used.
        """
        from orchestrator.providers.kit.transport import Proxies

        environ = self.machine.environ
        self.resolve_token(account)
        proxies, ca_file = Proxies.of(environ), environ.get("SSL_CERT_FILE") or None
        async with registry.connect(self._paced(account), self.secrets, proxies=proxies, ca_file=ca_file) as line:
            yield replace(line, send=self._logged(line.send, account.name)) if self.flags.verbose > 1 else line

    def resolve_token(self, account: Account) -> None:
        """Resolves the account's token, wherever it stands, so that it is redacted from now on.

        Raises:
            UsageError: there is none.
        """
        secret = registry.token_of(account, registry.declaration(account.type), self.secrets)
        self.redactor.add(secret.reveal())

    def resolve(self, accounts: Iterable[Account], targets: Iterable[Target]) -> None:
        """Resolves every secret that a run will need, before anything is sent.

        Raises:
            UsageError: one cannot be resolved.
        """
        references: set[str] = set()
        secret_keys: dict[str, list[str]] = {}
        for account in accounts:
            self.resolve_token(account)
            keys = registry.declaration(account.type).keys
            secret_keys[account.name] = [key for key, declared in keys.items() if declared.reference]
        for target in targets:
            for key in secret_keys[target.account]:
                if isinstance(reference := target.request.get(key), str):
                    references.add(reference)
        for reference in sorted(references):
            self.secrets.resolve(reference)

    def _paced(self, account: Account) -> Account:
        """The account with the rate that `--rate` asks for."""
        rates = {name: rate for name, rate in self.flags.rate.items() if name in (None, account.name)}
        if not rates:
            return account
        from orchestrator.core.selection import override_limits

        return override_limits(Plan("", (), {account.name: account}), rates).accounts[account.name]

    def _logged(self, send: Send, account: str) -> Callable[[Call], Awaitable[Answer]]:
        async def logged(call: Call) -> Answer:
            began = time.monotonic()
            try:
                answer = await send(call)
            except OrchestratorError as error:
                self._call_ended(call, account, began, error=f"{type(error).__name__}: {error}")
                raise
            self._call_ended(call, account, began, status=answer.status)
            return answer

        return logged

    def _call_ended(self, call: Call, account: str, began: float, **how: Any) -> None:
        milliseconds = round((time.monotonic() - began) * 1000)
        self.log.debug("call.ended", account=account, method=call.method, path=call.path, ms=milliseconds, **how)


def _to_stderr(line: str) -> None:
    with suppress(OSError):  # a terminal that was closed takes no more lines; the run matters more than its log
        sys.stderr.write(f"{line}\n")
        sys.stderr.flush()


def run_async(main: Callable[[], Coroutine[Any, Any, T]]) -> T:
    """Runs a verb's coroutine on asyncio, which aiohttp needs; on uvloop where that is installed."""
    from importlib.util import find_spec

    import anyio

    calm()
    fast = sys.platform != "win32" and find_spec("uvloop") is not None
    return anyio.run(main, backend="asyncio", backend_options={"use_uvloop": fast})
