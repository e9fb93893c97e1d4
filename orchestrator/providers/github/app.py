"""Tokens of a GitHub App: it signs who it is with its key, and GitHub gives it a token for each of its installations.

An owner has at most one installation of an App, and GitHub counts each by itself: so limits are counted by owner.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import quote

from orchestrator.core.calls import Answer, Call, Send
from orchestrator.core.errors import AccessRefused, NotShown, UsageError
from orchestrator.core.frozen import replace
from orchestrator.core.model import ACCOUNT, Account, Scope
from orchestrator.core.secrets import Secret, Secrets, shown
from orchestrator.limits.headers import server_time
from orchestrator.providers.github import wire
from orchestrator.providers.github.declaration import AUTO
from orchestrator.providers.kit.answers import instant, mapping, number, quoted, read, text
from orchestrator.providers.port import Grant, Rights

BEFORE, LASTS = 60.0, 540.0  # seconds for which a signature holds: GitHub takes ten minutes, and clocks differ
SOON = 60.0  # seconds after which it makes sense to resume, once the App was installed
ORDER = {"read": 1, "write": 2, "admin": 3}
_TOKEN = re.compile(r"[!-~]{1,1024}")


class App:
    """The tokens of one App: its own, which it signs, and one for each owner with an installation."""

    def __init__(self, account: Account, secrets: Secrets) -> None:
        self._said = mapping(account.settings.get("app"))
        self._sign = signer(str(self._said["key"]), secrets)
        self._ids: dict[Scope, int] = {}
        self.mark = Secret(f"app {self._said['id']}")

    def scope(self, call: Call) -> Scope:
        """The owner's of the call's repository; the App's own without one."""
        owner = (call.repo or "").partition("/")[0].lower()
        return Scope("owner", owner) if owner else ACCOUNT

    async def grant(self, scope: Scope, now: float, send: Send) -> Grant:
        """A signature of the App, or a token of the owner's installation."""
        if scope == ACCOUNT:
            claims = {"iat": int(now - BEFORE), "exp": int(now + LASTS), "iss": str(self._said["id"])}
            return Grant(Secret(self._sign(claims)), LASTS)
        id_ = self._ids.pop(scope, None) or await self._looked_up(scope, send)
        answer = await send(_ask(id_))
        if answer.status == 404:  # it may have been made anew
            id_ = await self._looked_up(scope, send)
            answer = await send(_ask(id_))
        body = mapping(answer.body)
        token, ends = text(body.get("token"), 4096), instant(body.get("expires_at"))
        if answer.status == 201 and token is not None and _TOKEN.fullmatch(token) and ends is not None:
            self._ids[scope], since = id_, server_time(answer.headers)
            return Grant(Secret(token), ends - (now if since is None else since))
        raise refused(answer, _ask(id_).path, scope)

    async def _looked_up(self, scope: Scope, send: Send) -> int:
        id_: int = (await installation(send, scope, self._said))["id"]
        return id_


def _ask(id_: int) -> Call:
    return Call("POST", f"/app/installations/{id_}/access_tokens")


def signer(reference: str, secrets: Secrets) -> Callable[[Mapping[str, Any]], str]:
    """What signs claims with the key that stands there.

    Raises:
        UsageError: it is none, or the package that signs is not installed.
    """
    pem, name = secrets.key(reference).reveal(), shown(reference)
    try:
        import jwt  # an extra, and slow to import
        from jwt.algorithms import RSAAlgorithm

        key: Any = RSAAlgorithm(RSAAlgorithm.SHA256).prepare_key(pem)
    except (ImportError, AttributeError):  # PyJWT without cryptography has no such class
        raise UsageError(
            "an App's key needs a package more: pip install 'batch-trigger-orchestrator[github-app]'"
        ) from None
    except (ValueError, TypeError, jwt.InvalidKeyError):
        raise UsageError(f"{name}: is no RSA key without a passphrase; make one on the App's page") from None
    return lambda claims: jwt.encode(dict(claims), key, algorithm="RS256")


async def installation(send: Send, scope: Scope, said: Mapping[str, Any]) -> Mapping[str, Any]:
    """The App's installation for an owner, as GitHub shows it.

    Args:
        said: the account's `app`.

    Raises:
        AccessRefused: there is none, or it is another owner's.
        LookFailed: it cannot be learnt now.
    """
    wished, owner = said.get("installation", AUTO), quote(scope.name, safe="")
    paths = (f"/orgs/{owner}/installation", f"/users/{owner}/installation")
    for path in paths if wished == AUTO else (f"/app/installations/{wished}",):
        answer = await read(send, wire.get(path))
        body = mapping(answer.body)
        login = text(mapping(body.get("account")).get("login"), 100)
        if answer.status == 200 and number(body.get("id")) is not None and login is not None:
            if login.lower() != scope.name:
                told = f"installation {body['id']} of the App is that of {quoted(login)}, not of {scope.name}"
                raise AccessRefused("not_installed", f"{told}; write `installation: auto`", scope)
            return body
        if answer.status != 404:
            raise refused(answer, path, scope)
    raise not_installed(scope)


def not_installed(scope: Scope) -> AccessRefused:
    """There is no installation for the owner."""
    told = f"the App is not installed for {scope.name}: install it there, with the repositories that it is to reach"
    return AccessRefused("not_installed", told, scope, SOON)


def refused(answer: Answer, path: str, scope: Scope) -> Exception:
    """The error for a call about an installation that was not answered as it should be."""
    said = wire.message(answer)
    if answer.status == 401:
        told = f"GitHub does not accept the App's signature ({said}); check `id` and `key` of `app`, and the clock"
        return AccessRefused("bad_key", told)
    if answer.status == 403 and "suspended" in said.lower():
        return AccessRefused("suspended", f"the App's installation for {scope.name} is suspended ({said})", scope, SOON)
    error = wire.read_failed(replace(answer, scope=scope), path)
    return not_installed(scope) if isinstance(error, NotShown) else error


def rights_of(found: Mapping[str, Any], wanted: Mapping[str, str]) -> Rights:
    """What an installation may do, and what it lacks of what is wanted, both by the names of GitHub's permissions."""
    may = {str(name): str(level) for name, level in mapping(found.get("permissions")).items()}
    named = quoted(", ".join(f"{name.replace('_', ' ')}: {level}" for name, level in sorted(may.items())), 200)
    repos = "all repositories" if found.get("repository_selection") == "all" else "selected repositories"
    whose = quoted(mapping(found.get("account")).get("login"), 100)
    lacks = [f"{name}: {level}" for name, level in wanted.items() if ORDER.get(may.get(name, ""), 0) < ORDER[level]]
    slug = quoted(found.get("app_slug"), 100)
    told = f"App {slug}, installation {found['id']} of {whose}: {named or 'no permissions'}; {repos}"
    if found.get("suspended_at"):
        return Rights(f"{told}; it is suspended", "unsuspend it in the owner's settings, below GitHub Apps")
    return Rights(told, f"give the App {', '.join(lacks)}, and accept that for the installation" if lacks else "")
