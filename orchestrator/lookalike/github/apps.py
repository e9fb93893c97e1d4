"""A GitHub App on the look-alike: whose signature is believed, what its installations may do, its own services."""

from __future__ import annotations

from itertools import count
from typing import Any
from urllib.parse import unquote

from orchestrator.core.frozen import Struct
from orchestrator.lookalike.github import shapes
from orchestrator.lookalike.github.context import Context, failed
from orchestrator.lookalike.github.rows import Repo, Tables
from orchestrator.lookalike.github.settings import AppSpec, Installation, Settings
from orchestrator.lookalike.kit.http import Object, Reply, json_reply, moment, route

LONGEST = 600.0  # seconds for which a signature may hold
FIRST = 4001
UNREADABLE = "A JSON web token could not be decoded"


class Caller(Struct, frozen=True):
    """Who makes a call: the user, the App by itself, or one of its installations."""

    name: str
    is_app: bool = False
    installation: Installation | None = None

    def sees(self, repo: Repo) -> bool:
        """Whether there is such a repository for this caller."""
        one = self.installation
        if one is None:
            return True
        is_owned = repo.slug.lower().startswith(f"{one.owner.lower()}/")
        return is_owned and (not one.selected or repo.slug.lower() in map(str.lower, one.selected))

    def may(self, permission: str, level: str) -> bool:
        """Whether it has a permission at this level, or a higher one."""
        levels = ("", "read", "write", "admin")
        has = "admin" if self.installation is None else self.installation.permissions.get(permission, "")
        return levels.index(has) >= levels.index(level)


class Apps:
    """The App of the settings, with its installations by their numbers, and the tokens that they were given."""

    def __init__(self, settings: Settings) -> None:
        self.spec = settings.app
        numbers = count(FIRST)
        wished = () if self.spec is None else self.spec.installations
        owners = dict.fromkeys((spec.moved_to or spec.slug).partition("/")[0] for spec in settings.repos)
        if self.spec is not None and not wished:
            wished = tuple(Installation(owner) for owner in owners)
        self.installations = {one.id or next(numbers): one for one in wished}
        self.given: list[tuple[float, int]] = []  # tokens: when, and to which installation
        self._tokens: dict[str, tuple[int, float]] = {}

    def caller(self, token: str, now: float) -> Caller | None:
        """Who carries the token, or signed it; None where nobody known does."""
        id_, ends = self._tokens.get(token, (0, 0.0))
        if self.spec is not None and token.count(".") == 2:
            check_signature(token, self.spec, now)
            return Caller("the App", is_app=True)
        return Caller(f"installation ID {id_}", installation=self.installations[id_]) if now < ends else None

    def give(self, id_: int, now: float) -> tuple[str, float]:
        """A new token of the installation, and when it ends."""
        assert self.spec is not None  # noqa: S101  # there are installations
        self.given.append((now, id_))
        token, ends = f"ghs_{id_:06d}{len(self.given):030d}", now + self.spec.lasts
        self._tokens[token] = id_, ends
        return token, ends


def check_signature(token: str, spec: AppSpec, now: float) -> None:
    """Raises Refused where GitHub does not believe a JSON web token."""
    import jwt  # an extra

    try:
        held = {f"verify_{name}": False for name in ("exp", "iat", "nbf", "aud", "iss", "sub", "jti")}
        said: dict[str, Any] = jwt.decode(token, spec.key, algorithms=["RS256"], options=held)  # type: ignore[arg-type]
    except jwt.InvalidTokenError:
        raise failed(401, UNREADABLE) from None
    began, ends = said.get("iat"), said.get("exp")
    if str(said.get("iss")) != str(spec.id):
        raise failed(404, "Integration not found")
    if not isinstance(began, int) or began > now:
        claim = "'Issued at' claim ('iat') must be an Integer representing the time that the assertion was issued"
        raise failed(401, claim)
    if not isinstance(ends, int) or ends <= now:
        claim = "'Expiration time' claim ('exp') must be a numeric value representing the future time"
        raise failed(401, f"{claim} at which the assertion expires")
    if ends > now + LONGEST:
        raise failed(401, "'Expiration time' claim ('exp') is too far in the future")


def admit(caller: Caller, path: str) -> None:
    """Raises Refused where this page is not for this kind of caller."""
    is_for_apps = path == "/app" or path.startswith("/app/") or path.endswith("/installation")
    if is_for_apps != caller.is_app:
        raise failed(401, UNREADABLE if is_for_apps else "Bad credentials")
    if caller.installation is not None and caller.installation.suspended:
        raise failed(403, "This installation has been suspended")
    if caller.installation is not None and path == "/user":
        raise failed(403, "Resource not accessible by integration")


def shown(id_: int, apps: Apps, base: str) -> Object:
    """An installation."""
    assert apps.spec is not None  # noqa: S101  # there are installations
    one, api = apps.installations[id_], f"{base}/app/installations/{id_}"
    return {
        "id": id_, "account": shapes.user(one.owner, 9, base), "app_id": apps.spec.id, "app_slug": apps.spec.slug,
        "target_id": 9, "target_type": "Organization", "permissions": dict(one.permissions), "events": [],
        "repository_selection": "selected" if one.selected else "all", "access_tokens_url": f"{api}/access_tokens",
        "repositories_url": f"{base}/installation/repositories", "html_url": f"{base}/settings/installations/{id_}",
        "created_at": "2026-01-01T00:00:00Z", "updated_at": "2026-01-01T00:00:00Z", "single_file_name": None,
        "suspended_at": "2026-01-02T00:00:00Z" if one.suspended else None, "suspended_by": None,
    }  # fmt: skip


def apps_of(context: Context) -> Apps:
    """The App and its installations."""
    tables: Tables = context.tables
    found: Apps = tables.apps
    return found


# -- its services ---------------------------------------------------------------------------------------------------


@route("GET /app")
def app(context: Context) -> Reply:
    """The App by itself."""
    spec = apps_of(context).spec
    assert spec is not None  # noqa: S101  # who was admitted here is the App
    return json_reply(200, {
        "id": spec.id, "slug": spec.slug, "node_id": f"A_{spec.id}", "name": spec.slug, "description": None,
        "owner": shapes.user("acme", 9, context.base), "external_url": context.base, "events": [],
        "html_url": f"{context.base}/apps/{spec.slug}", "created_at": "2026-01-01T00:00:00Z",
        "updated_at": "2026-01-01T00:00:00Z", "permissions": {"actions": "write", "contents": "read"},
        "installations_count": len(apps_of(context).installations),
    })  # fmt: skip


@route("GET /app/installations")
def installations(context: Context) -> Reply:
    """All of them."""
    found = apps_of(context)
    return context.page([*found.installations], lambda id_: shown(id_, found, context.base))


@route("GET /app/installations/{installation:int}")
@route("GET /orgs/{owner}/installation")
@route("GET /users/{owner}/installation")
@route("GET /repos/{owner}/{repo}/installation")
def installation(context: Context) -> Reply:
    """One of them, by its number or by whose it is."""
    found, names = apps_of(context), context.names
    for id_, one in found.installations.items():
        if str(id_) == names.get("installation") or one.owner.lower() == unquote(names.get("owner", "")).lower():
            return json_reply(200, shown(id_, found, context.base))
    raise failed(404, "Not Found")


@route("POST /app/installations/{installation:int}/access_tokens")
def access_token(context: Context) -> Reply:
    """A token that ends."""
    found, id_ = apps_of(context), int(context.names["installation"])
    one = found.installations.get(id_)
    if one is None:
        raise failed(404, "Not Found")
    if one.suspended:
        raise failed(403, "This installation has been suspended")
    token, ends = found.give(id_, context.now)
    rights, which = dict(one.permissions), "selected" if one.selected else "all"
    told = {"token": token, "expires_at": moment(ends), "permissions": rights, "repository_selection": which}
    return json_reply(201, told)


@route("GET /installation/repositories")
def repositories(context: Context) -> Reply:
    """What the installation reaches."""
    rows = [repo for repo in context.tables.repos.values() if context.caller.sees(repo)]
    return context.page(rows, lambda repo: shapes.whole(repo, context.base), "repositories")
