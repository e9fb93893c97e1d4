"""The accounts of a manifest, with the limits of their providers underneath what was written."""

from __future__ import annotations

import posixpath
import re
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from orchestrator.core.frozen import replace
from orchestrator.core.model import Account, Limit
from orchestrator.limits.concurrency import Brake, part
from orchestrator.limits.quiet_hours import Quiet
from orchestrator.manifest.brakes import KEYS, brake_of, shared
from orchestrator.manifest.diagnostics import near
from orchestrator.manifest.files import Files, beside
from orchestrator.manifest.positions import Value
from orchestrator.manifest.units import parse_limit
from orchestrator.manifest.validate import CLEAR
from orchestrator.providers.port import Declaration

REFERENCE = re.compile(r"(env:[A-Za-z_][A-Za-z0-9_]*|file:.+|command:.+)", re.DOTALL)
_SAFE_HOSTS = {"localhost", "127.0.0.1", "::1"}


class Accounts(NamedTuple):
    """The accounts, what their providers declare, and what a person should know of them."""

    accounts: Mapping[str, Account]
    declared: Mapping[str, Declaration]
    warnings: Sequence[str]


def default_of(declarations: Mapping[str, Declaration]) -> Declaration:
    """The provider of a manifest that has no `providers`: Travis, else the first that is known."""
    return declarations.get("travis") or next(iter(declarations.values()))


def the_only(declaration: Declaration, quiet: tuple[Quiet, ...] = ()) -> Account:
    """The account of a manifest that has no `providers`."""
    return Account(
        declaration.type,
        declaration.type,
        declaration.url,
        limits=declaration.limits,
        connections=declaration.connections,
        brake=Brake(quiet=quiet),
    )


def accounts_of(
    providers: Mapping[str, Value] | None,
    declarations: Mapping[str, Declaration],
    files: Files,
    quiet: tuple[Quiet, ...] = (),
) -> Accounts:
    """The accounts under `providers`; what is wrong with them goes to the files' problems.

    Args:
        quiet: the manifest's quiet hours, for accounts that have none of their own.
    """
    accounts: dict[str, Account] = {}
    declared: dict[str, Declaration] = {}
    warnings: list[str] = []
    if providers is None:
        first = default_of(declarations)
        accounts[first.type], declared[first.type] = the_only(first, quiet), first
    for name, said in (providers or {}).items():
        type_ = said.get("type", name)
        declaration = declarations.get(type_)
        if declaration is None:
            text, remedy = f"unknown provider type `{type_[:100]}`", near(type_, declarations)
            if "type" in said:
                files.say(text, remedy, said, "type", ("providers", name, "type"))
            else:
                files.say(text, f"write `type:`; {remedy}", providers, name, ("providers", name))
            continue
        declared[name] = declaration
        accounts[name] = _account(name, said, declaration, files, quiet)
        warnings += _raised(accounts[name], declaration)
        warnings += declaration.warn_account(accounts[name])
    return Accounts(accounts, declared, warnings)


def _account(
    name: str, said: Mapping[str, Value], declaration: Declaration, files: Files, quiet: tuple[Quiet, ...]
) -> Account:
    keys = ("providers", name)
    limits = said.get("limits", {})
    for key in said:
        if key not in _KEYS and key not in declaration.settings:
            remedy = near(key, [*_KEYS, *declaration.settings])
            files.say(f"unknown key `{key}` for an account of type {declaration.type}", remedy, said, key, (*keys, key))
    account = Account(
        name=name,
        type=declaration.type,
        url=_url(said, declaration, keys, files),
        token=reference(said, "token", keys, files) if "token" in said else None,
        limits=_limits(limits, declaration, keys, files),
        connections=limits.get("connections", declaration.connections),
        in_flight=limits.get("in_flight"),
        insecure=said.get("insecure", False),
        settings={key: value for key, value in said.items() if key in declaration.settings},
        brake=brake_of(limits, quiet, declaration.fold_case, (*keys, "limits"), files),
    )
    return account


_KEYS = ("type", "url", "token", "limits", "defaults", "insecure")


def _limits(
    said: Mapping[str, Value], declaration: Declaration, keys: Sequence[str], files: Files
) -> tuple[Limit, ...]:
    known = {limit.name for limit in declaration.limits}
    for name in said:
        if name not in known and name not in KEYS:
            remedy = near(name, [*known, *KEYS])
            files.say(f"unknown limit `{name}` for {declaration.type}", remedy, said, name, (*keys, "limits", name))
    return tuple(shared(_limit(limit, said, keys, files), said) for limit in declaration.limits)


def _limit(limit: Limit, said: Mapping[str, Value], keys: Sequence[str], files: Files) -> Limit:
    if limit.name not in said:
        return limit
    try:
        calls, per = parse_limit(said[limit.name])
    except ValueError as error:
        files.say(str(error), "", said, limit.name, (*keys, "limits", limit.name))
        return limit
    return replace(limit, calls=calls, per=per, written=True)


def _raised(account: Account, declaration: Declaration) -> list[str]:
    return [
        f"account {account.name}: the limit {limit} is above the provider's default {default}; "
        "the provider may refuse calls, or ban the token"
        for limit, default in zip(account.limits, declaration.limits, strict=True)
        if limit.calls / limit.per > part(default.calls, limit.share) / default.per
    ]


def _url(said: Mapping[str, Value], declaration: Declaration, keys: Sequence[str], files: Files) -> str:
    if "url" not in said:
        return declaration.url
    problem = url_problem(said["url"], said.get("insecure", False))
    if problem is not None:
        files.say(*problem, said, "url", (*keys, "url"))
    return str(said["url"]).rstrip("/")


def url_problem(url: str, insecure: bool) -> tuple[str, str] | None:
    """What is wrong with an account's URL, and the remedy; never repeats the URL, which may hold a secret."""
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname, parts.port
    except ValueError:
        return "this is no URL", "write https://HOST[/PATH]"
    if parts.scheme not in ("http", "https") or not host or re.search(r"[\s\x00-\x1f]", url):
        return "this is no http URL", "write https://HOST[/PATH]"
    if parts.username is not None or parts.password is not None:
        return "a URL holds no credentials", "use `token`, and change the secret that stood here"
    if parts.query or parts.fragment:
        return "the URL of an account ends with its path", "remove what begins with ? or #"
    if parts.scheme == "http" and host not in _SAFE_HOSTS and not insecure:
        return "plain http would send the token in the clear", "use https, or write `insecure: true`"
    return None


def reference(said: Mapping[str, Value], key: str, keys: Sequence[str | int], files: Files) -> str | None:
    """A reference to a secret as one text; paths are taken from the file that it stands in."""
    value: Any = said[key]
    text = _as_text(value)
    if text is None or REFERENCE.fullmatch(text) is None:
        files.say(*CLEAR, said, key, (*keys, key))
        return None
    how, _, what = text.partition(":")
    if how != "file" or what.startswith("~") or posixpath.isabs(what):
        return text
    return f"file:{beside(files.marks.source_of(said, key), what)}"


def _as_text(value: Any) -> str | None:
    if isinstance(value, str):
        return value
    if not isinstance(value, dict) or len(value) != 1:
        return None
    ((how, what),) = value.items()
    if isinstance(what, list):
        import shlex  # only where a command is written as a list

        what = shlex.join(what)
    return f"{how}:{what}"
