"""Which providers there are, and how an account is reached. There is no second list anywhere.

A declaration is loaded when its type is named. Third parties register theirs with the entry-point group
`orchestrator.providers`; those are read only for a type that is not known here.
"""

from __future__ import annotations

import importlib
import time
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Mapping
from contextlib import asynccontextmanager
from functools import cache
from typing import TYPE_CHECKING, Any

from orchestrator.core.errors import UsageError
from orchestrator.core.model import Account
from orchestrator.providers.port import Declaration, Grants, Line, references_in

if TYPE_CHECKING:
    from importlib.metadata import EntryPoint

    from orchestrator.core.secrets import Secret, Secrets
    from orchestrator.providers.kit.transport import Proxies

GROUP = "orchestrator.providers"

PROVIDERS: Mapping[str, str] = {
    "travis": "orchestrator.providers.travis.declaration:DECLARATION",
    "github": "orchestrator.providers.github.declaration:DECLARATION",
    "gitea": "orchestrator.providers.gitea.declaration:DECLARATION",
    "forgejo": "orchestrator.providers.gitea.declaration:FORGEJO",
    "gitlab": "orchestrator.providers.gitlab.declaration:DECLARATION",
    "buildbot": "orchestrator.providers.buildbot.declaration:DECLARATION",
    "jenkins": "orchestrator.providers.jenkins.declaration:DECLARATION",
    "buildkite": "orchestrator.providers.buildkite.declaration:DECLARATION",
    "webhook": "orchestrator.providers.webhook.declaration:DECLARATION",
}


class Known(Mapping[str, Declaration]):
    """Declarations by type, each loaded when it is asked for; the installed packages are read only for a foreign one.

    Args:
        names: the types to begin with.
    """

    def __init__(self, names: Iterable[str]) -> None:
        self._names = dict.fromkeys(names)

    def __getitem__(self, type_: str) -> Declaration:
        found = _declared(type_)
        if found is None:
            self._names.update(dict.fromkeys(_foreign()))  # the hint for a misspelt type names them all
            raise KeyError(type_)
        self._names[type_] = None
        return found

    def __iter__(self) -> Iterator[str]:
        return iter(self._names)

    def __len__(self) -> int:
        return len(self._names)


def known() -> Known:
    """The providers by type: those of this package, and each foreign one once it was asked for."""
    return Known(PROVIDERS)


def installed() -> Known:
    """The providers by type, with all that installed packages bring."""
    return Known(names())


def declaration(type_: str) -> Declaration:
    """What the provider of this type says about itself.

    Raises:
        UsageError: it is unknown, or what an installed package provides for it is not a declaration.
    """
    found = _declared(type_)
    if found is None:
        raise UsageError(f"unknown provider type {type_!r}; there are: {', '.join(names())}")
    return found


def declared(account: Account) -> Declaration:
    """What holds for this account: what the provider of its type says, and what the account's settings change of it.

    Raises:
        UsageError: as of `declaration`.
    """
    found = declaration(account.type)
    return found.for_account(found, account)


def names() -> list[str]:
    """The types there are, those of installed packages too, by name alone: no declaration is loaded."""
    return list(dict.fromkeys((*PROVIDERS, *_foreign())))


def lookalike_of(type_: str) -> Any:
    """The class of the look-alike of this type, a `LookAlike` of `orchestrator.lookalike.kit`; None without one.

    Raises:
        UsageError: it is not where the declaration says.
    """
    where = declaration(type_).lookalike
    return None if where is None else _imported(type_, where, lambda: load(where))


@asynccontextmanager
async def connect(
    account: Account,
    secrets: Secrets,
    *,
    proxies: Proxies | None = None,
    ca_file: str | None = None,
    now: Callable[[], float] = time.time,
) -> AsyncIterator[Line]:
    """Opens the way to an account; resolves its token, sends nothing.

    Args:
        proxies: which proxy to use; None goes directly.
        ca_file: the authorities to trust instead of the system's (what `SSL_CERT_FILE` names).
        now: the wall clock, by which tokens end that the service gives.

    Raises:
        UsageError: the token cannot be resolved, or the URL must not be used.
    """
    from orchestrator.core.secrets import Secret
    from orchestrator.providers.kit import transport as http  # imported when needed: `check` and `--help` know no HTTP

    said = declared(account)
    found = credentials_of(account, said, secrets)
    token, headers_for = found if isinstance(found, Secret) else None, load(said.headers)
    headers = headers_for(account, "" if token is None else token.reveal())
    references = references_in(account, said, with_keys=False)
    factory, hide = load(said.factory), [secrets.resolve(one) for one in references]
    hide += [] if token is None else [token]
    if sent := headers.get("Authorization", "").rpartition(" ")[2]:  # which need not show the token itself (`Basic`)
        hide.append(Secret(sent))
    mark = token or (Secret("") if found is None or isinstance(found, Secret) else found.mark)
    async with http.transport(account, headers, proxies=proxies, ca_file=ca_file, hide=hide) as send:
        if found is not None and not isinstance(found, Secret):
            from orchestrator.providers.kit.grants import Granted

            send = Granted(send, found, lambda token: headers_for(account, token), secrets, hide, now)
        yield Line(account, said, send, lambda send: factory(account, send, secrets), mark.fingerprint(account.url))


def credentials_of(account: Account, declared: Declaration, secrets: Secrets) -> Secret | Grants | None:
    """The account's token, or what gets it tokens from the service; None where it needs none.

    Raises:
        UsageError: there is none, or its key cannot be used; says where one may stand.
    """
    if account.token is None and declared.grants is not None and declared.asks_for_tokens(account):
        made: Grants = load(declared.grants)(account, secrets)
        return made
    return token_of(account, declared, secrets)


def token_of(account: Account, declared: Declaration, secrets: Secrets) -> Secret | None:
    """The account's token: as written, else from the type's variable, else as the provider's own client has it.

    None where there is none, and its provider needs none.

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
            return secrets.keep(stored)
    if not declared.needs_token:
        return None
    wanted = f"export {declared.token_env}, or " if declared.token_env else ""
    raise UsageError(
        f"account {account.name}: no token for {account.url}; {wanted}"
        f"write `token: env:NAME` below `providers: {account.name}:`"
    )


def load(reference: str) -> Any:
    """The object that `module:attribute` names."""
    module, _, attribute = reference.partition(":")
    return getattr(importlib.import_module(module), attribute)


def _declared(type_: str) -> Declaration | None:
    if type_ in PROVIDERS:
        ours: Declaration = load(PROVIDERS[type_])
        return ours
    point = _foreign().get(type_)
    if point is None:
        return None
    found = _imported(type_, point.value, point.load)
    if not isinstance(found, Declaration) or found.type != type_:
        raise UsageError(f"provider type {type_!r}: {point.value} is not its declaration; ask the package's author")
    return found


def _imported(type_: str, where: str, load: Callable[[], Any]) -> Any:
    try:
        return load()
    except (ImportError, AttributeError) as error:
        raise UsageError(
            f"provider type {type_!r}: {where} cannot be imported ({error}); reinstall its package"
        ) from error


@cache
def _foreign() -> Mapping[str, EntryPoint]:
    """What installed packages provide, by type; they do not change while we live."""
    from importlib.metadata import entry_points  # slow to import, and needed for foreign types only

    return {point.name: point for point in entry_points(group=GROUP)}
