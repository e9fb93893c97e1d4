"""Which providers there are, and how an account is reached. There is no second list anywhere.

Third parties register a `Declaration` with the entry-point group `orchestrator.providers`; those are read only for a
type that is not known here.
"""

from __future__ import annotations

import importlib
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

from orchestrator.core.errors import UsageError
from orchestrator.core.model import Account
from orchestrator.providers.port import Declaration, Line, Provider, Send
from orchestrator.providers.travis.declaration import DECLARATION as TRAVIS

if TYPE_CHECKING:
    from importlib.metadata import EntryPoints

    from orchestrator.core.secrets import Secret, Secrets
    from orchestrator.providers.kit.transport import Proxies

GROUP = "orchestrator.providers"

PROVIDERS: dict[str, Declaration] = {TRAVIS.type: TRAVIS}


class Known(Mapping[str, Declaration]):
    """The providers by type: those that ship with the package, and each foreign one once it was asked for."""

    def __init__(self) -> None:
        self._found = dict(PROVIDERS)

    def __getitem__(self, type_: str) -> Declaration:
        if type_ not in self._found:
            found = _foreign(type_)
            if found is None:
                raise KeyError(type_)
            self._found[type_] = found
        return self._found[type_]

    def __iter__(self) -> Iterator[str]:
        return iter(self._found)

    def __len__(self) -> int:
        return len(self._found)


def known() -> Mapping[str, Declaration]:
    """The providers by type; asking for a type that is not known here looks among the installed packages."""
    return Known()


def declaration(type_: str) -> Declaration:
    """What the provider of this type says about itself.

    Raises:
        UsageError: nobody provides it, or what an installed package gives for it is no declaration.
    """
    found = PROVIDERS.get(type_) or _foreign(type_)
    if found is None:
        names = ", ".join(dict.fromkeys([*PROVIDERS, *(point.name for point in _points())]))
        raise UsageError(f"unknown provider type {type_!r}; there are: {names}")
    return found


@asynccontextmanager
async def connect(
    account: Account, secrets: Secrets, *, proxies: Proxies | None = None, ca_file: str | None = None
) -> AsyncIterator[Line]:
    """Opens the way to an account; resolves its token, sends nothing.

    Args:
        proxies: which proxy to use; None goes directly.
        ca_file: the authorities to trust instead of the system's (what `SSL_CERT_FILE` names).

    Raises:
        UsageError: the token cannot be resolved, or the URL must not be used.
    """
    from orchestrator.providers.kit import transport as http  # imported when needed: `check` and `--help` know no HTTP

    declared = declaration(account.type)
    token = token_of(account, declared, secrets)
    headers = load(declared.headers)(account, token.reveal())
    factory = load(declared.factory)
    async with http.transport(account, headers, proxies=proxies, ca_file=ca_file, hide=(token,)) as send:

        def provider_over(send: Send) -> Provider:
            provider: Provider = factory(account, send, secrets)
            return provider

        yield Line(account, declared, send, provider_over, token.fingerprint(account.url))


def token_of(account: Account, declared: Declaration, secrets: Secrets) -> Secret:
    """The account's token: as written, else from the type's variable, else as the provider's own client has it.

    Raises:
        UsageError: there is none; says where one may stand.
    """
    if account.token is not None:
        return secrets.resolve(account.token)
    if declared.token_env is not None and secrets.environ.get(declared.token_env):
        return secrets.resolve(f"env:{declared.token_env}")
    if declared.token_fallback is not None:
        stored: Secret | None = load(declared.token_fallback)(account.url, secrets.environ, secrets.home)
        if stored is not None:
            return stored
    wanted = f"export {declared.token_env}, or " if declared.token_env else ""
    raise UsageError(
        f"account {account.name}: no token for {account.url}; {wanted}"
        f"write `token: env:NAME` below `providers: {account.name}:`"
    )


def load(reference: str) -> Any:
    """The object that `module:attribute` names."""
    module, _, attribute = reference.partition(":")
    return getattr(importlib.import_module(module), attribute)


def _points() -> EntryPoints:
    from importlib.metadata import entry_points  # slow to import, and needed for foreign types only

    return entry_points(group=GROUP)


def _foreign(type_: str) -> Declaration | None:
    for point in _points():
        if point.name == type_:
            return _declared(point.value, point.load, type_)
    return None


def _declared(where: str, load: Callable[[], object], type_: str) -> Declaration:
    try:
        found = load()
    except (ImportError, AttributeError) as error:
        raise UsageError(
            f"provider type {type_!r}: {where} cannot be imported ({error}); reinstall its package"
        ) from error
    if not isinstance(found, Declaration) or found.type != type_:
        raise UsageError(f"provider type {type_!r}: {where} is not its declaration; ask the package's author")
    return found
