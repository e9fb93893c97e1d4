"""What a trigger looks like on the wire, and what answers mean. No awaiting, no sockets.

`POST /repo/{id or owner%2Fname}/requests` with `{"request": {...}}`, exactly the keys that were written. A 202 means
"stored and queued", nothing more; every 4xx is decided before a row is written; everything else leaves it open.

Branch on the status and `error_type`, never on a message; only the plain-text bodies leave no choice.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping
from functools import cache
from typing import Any
from urllib.parse import quote, unquote, urlsplit, urlunsplit

from orchestrator.core.calls import Answer, Call
from orchestrator.core.errors import AccessRefused, InDoubt, LookFailed, NotTriggered, RateLimited, Rejected
from orchestrator.core.frozen import replace
from orchestrator.core.model import ACCOUNT, Json, Request, Scope, Target, Trigger
from orchestrator.limits.headers import retry_after, server_time
from orchestrator.providers.kit.answers import (
    check_receipt,
    foreign,
    is_refusal,
    mapping,
    not_welcome,
    number,
    other_question,
    quoted,
    refused_before,
    rejected,
    rows,
    text,
)
from orchestrator.providers.kit.listings import Listing, Page
from orchestrator.providers.port import Secrets
from orchestrator.providers.travis.declaration import CALLS, ORG_HOST, PER_REPO, TRIGGERS, learnt_of_refusal

_PLAIN_SLUG = re.compile(r"[A-Za-z0-9_.-]+/[A-Za-z0-9_.-]+").fullmatch
AS_WRITTEN = ("branch", "sha", "tag_name", "config", "configs", "merge_mode")
WEB_ORG = "https://travis-ci.org"
ENV_MODE = "deep_merge_append"  # of the entry that carries `env` where it cannot be put into `config`
BAN = 3600.0  # seconds that a ban lasts
MINUTE = 60.0  # the throttle counts calls in whole minutes of the server's clock
GRACE = 1.0  # seconds beyond the minute, for clocks that show whole seconds
PAGE = 100  # the most entries that Travis gives at once

_BAD_TOKEN = frozenset({"wrong_credentials", "login_required"})

# Without the repository's name, so that reports can group by them.
_REASONS = {
    "repository_inactive": "builds are switched off on Travis; activate the repository there, or leave it out",
    "insufficient_access": "this token may not trigger builds there; give its user write access, or leave it out",
    "not_found": "the repository is not on Travis, or this token may not see it",
    "repo_migrated": "the repository has moved from travis-ci.org to travis-ci.com; use https://api.travis-ci.com",
}


def headers(account: object, token: str) -> Mapping[str, str]:
    """What every call carries; the scheme is the lower-case word `token`, any other is refused."""
    return {"Travis-API-Version": "3", "Authorization": f"token {token}", "Accept": "application/json"}


def repo_path(repo: str, vcs: Json = None) -> str:
    """`/repo/4711` or `/repo/owner%2Fname`: the slug is one segment."""
    lead = f"/{vcs}" if isinstance(vcs, str) else ""
    if _PLAIN_SLUG(repo):  # nearly every one, and `quote` takes long
        return f"/repo{lead}/{repo.replace('/', '%2F')}"
    return f"/repo{lead}/{repo if repo.isascii() and repo.isdigit() else quote(repo, safe='')}"


def owner_path(owner: str, vcs: Json = None) -> str:
    """`/owner/acme`, or with the place where the owner's repositories live."""
    lead = f"/{vcs}" if isinstance(vcs, str) else ""
    return f"/owner{lead}/{quote(owner, safe='')}"


def trigger_call(trigger: Trigger, secrets: Secrets) -> Call:
    """The call that expresses the trigger.

    Raises:
        UsageError: `request_token` cannot be resolved.
    """
    target = trigger.target
    reference = target.request.get("request_token")
    body = request_body(trigger)
    if isinstance(reference, str):
        body["token"] = secrets(reference)
    return Call(
        "POST",
        f"{repo_path(target.repo, target.request.get('vcs'))}/requests",
        body={"request": body},
        purpose="trigger",
        limits=(TRIGGERS, CALLS, PER_REPO),
        repo=target.repo,
        secret=isinstance(reference, str),
    )


def request_body(trigger: Trigger) -> dict[str, Json]:
    """What stands below `request`, without secrets: the keys that were written, the message, and `env` in its place."""
    wished: dict[str, Json] = dict(trigger.target.request)
    wished["branch"] = trigger.target.branch
    body = {key: wished[key] for key in AS_WRITTEN if wished.get(key) is not None}
    if trigger.message is not None:
        body["message"] = trigger.message
    env = wished.get("env")
    if isinstance(env, Mapping) and env:
        _add_env(body, [f"{name}={shlex.quote(str(value))}" for name, value in env.items() if value is not None])
    return body


def _add_env(body: dict[str, Json], pairs: list[str]) -> None:
    """Puts variables where Travis hands them to every job: `config.env.global`."""
    config = body.get("config")
    added = {"env": {"global": pairs}}
    if "configs" not in body and not isinstance(config, str):
        body["config"] = {**mapping(config), **added}
        return
    # Text cannot be added to, and `configs` wins over `config`: the variables go in front as an entry of their own.
    below = body.get("configs")
    if not isinstance(below, list):
        mode = body.pop("merge_mode", None)
        below = [{"config": body.pop("config"), **({} if mode is None else {"mode": mode})}]
    body["configs"] = [{"config": added, "mode": ENV_MODE}, *below]


def read_receipt(trigger: Trigger, answer: Answer, url: str) -> Request:
    """The request that the answer promises.

    Raises:
        NotTriggered: and its kinds; Travis wrote no row.
        InDoubt: the answer leaves it open.
    """
    if answer.status == 202:
        request, repository = (mapping(mapping(answer.body).get(key)) for key in ("request", "repository"))
        id_ = number(request.get("id"))
        if id_ is None:  # a torn body, a proxy's page, or a server from before 2017
            raise InDoubt("HTTP 202 without the id of a request")
        names = (text(repository.get("slug"), 300), number(repository.get("id")))
        check_receipt(trigger, answer, text=request.get("message"), repo=names, branch=request.get("branch"))
        return request_of(trigger.target, id_, repository, url)
    if is_refusal(answer):
        raise refusal(trigger.target, answer, secret="request_token" in trigger.target.request)
    raise InDoubt(f"HTTP {answer.status}" if answer.status >= 400 else f"HTTP {answer.status}, {foreign(answer.body)}")


def request_of(target: Target, id_: int, repository: Mapping[str, Any], url: str) -> Request:
    """The receipt with its handle: Travis' number of the repository survives renames."""
    slug = text(repository.get("slug"), 300) or target.repo
    handle: dict[str, Json] = {"v": 1}
    if (repo := number(repository.get("id"))) is not None:
        handle["repo"] = repo
    if slug != target.repo:
        handle["slug"] = slug
    return Request(str(id_), handle, f"{page(url, slug, target)}/requests?requestId={id_}")


def refusal(target: Target, answer: Answer, secret: bool = False) -> NotTriggered:
    """The error for a 4xx: nothing was created; its kind says what may go on.

    Args:
        secret: the call held a secret, so the server's words are not repeated.
    """
    refused = everybody_refused(answer)
    if refused is not None:
        return refused
    body, kind = mapping(answer.body), error_type(answer)
    if answer.status == 429:
        learnt = learnt_of_refusal(body, Scope("repo", target.repo.lower()))
        wait = retry_after(answer.headers)
        return RateLimited(Scope("repo", target.repo), wait, "the hourly limit of the repository", learnt)
    if not kind and "error" not in body:
        return refused_before(answer, "Travis", secret=secret)
    return _refused_by_travis(answer.status, body, kind, secret)


def _refused_by_travis(status: int, body: Mapping[str, Any], kind: str, secret: bool) -> Rejected:
    detail = "" if secret else quoted(body.get("error_message") or body.get("error"))
    if kind == "not_found" and "resource_type" not in body:
        reason = "Travis does not know the path; if a proxy turns %2F into a slash, give the repository by its number"
        return Rejected("not_found", f"{reason} ({detail})", is_foreign=True)
    if kind == "not_found" and body.get("resource_type") != "repository":
        return rejected("not_found", "the repository takes no requests; its owner may be read-only", detail)
    if kind in _REASONS:
        return rejected(kind, _REASONS[kind], detail)
    return rejected(kind if kind and kind != "error" else f"http_{status}", f"HTTP {status}", detail)


def page(url: str, slug: str, target: Target) -> str:
    """The repository's web page."""
    vcs = target.request.get("vcs")
    lead, slug = web_base(url), slug if _PLAIN_SLUG(slug) else quote(slug, safe="/")
    return f"{lead}/{slug}" if lead == WEB_ORG else f"{lead}/{vcs if isinstance(vcs, str) else 'github'}/{slug}"


@cache
def web_base(url: str) -> str:
    """The web pages of the API at `url`: another host for .com and .org, the path without `/api` elsewhere."""
    parts = urlsplit(url.rstrip("/"))
    host = (parts.hostname or "").lower()
    if host == ORG_HOST:
        return WEB_ORG
    if host == "api.travis-ci.com":
        return "https://app.travis-ci.com"
    return urlunsplit((parts.scheme, parts.netloc, parts.path.removesuffix("/api"), "", ""))


def error_type(answer: Answer) -> str:
    """Travis' word for the error; empty where the body is none of its JSON errors."""
    return quoted(mapping(answer.body).get("error_type"), 60)


def everybody_refused(answer: Answer) -> NotTriggered | None:
    """The refusals that any call may get, whatever it asked for: a dead token, a ban, the throttle."""
    kind = error_type(answer)
    if answer.status == 429 and kind != "request_limit_reached":
        return RateLimited(ACCOUNT, patience(answer), "Travis throttles this token: too many calls in a minute")
    if answer.status == 401 or (answer.status == 403 and kind in _BAD_TOKEN):
        return _bad_token(kind or f"HTTP {answer.status}")
    if answer.status != 403 or isinstance(answer.body, Mapping):
        return None
    plain, wait = quoted(answer.body, 100).lower(), retry_after(answer.headers)
    if plain == "access denied":
        return _bad_token(plain)
    if plain == "forbidden":
        return AccessRefused(
            "banned",
            "Travis has banned this token for an hour, as after too many POSTs in 30 seconds; nothing more is sent; "
            "find out what else uses the token, and resume in an hour",
            retry_after=max(BAN, wait or 0.0),
        )
    return None if wait is None else RateLimited(ACCOUNT, wait, "something before Travis asks for patience")


def patience(answer: Answer) -> float:
    """Seconds until the throttle forgets: as said, else to the server's next whole minute."""
    wanted = retry_after(answer.headers)
    if wanted is not None:
        return wanted
    now = server_time(answer.headers)
    return MINUTE if now is None else MINUTE - now % MINUTE + GRACE


def read_failed(answer: Answer, what: str) -> NotTriggered | LookFailed:
    """The error for a call that only reads and was not answered as it should be."""
    refused = everybody_refused(answer)
    if refused is not None:
        return refused
    kind = error_type(answer)
    odd = "not the JSON of the Travis API" if answer.status == 200 else f"HTTP {answer.status}"
    return LookFailed(f"{what}: {odd}{f' {kind}' if kind else ''}")


def whoami_failed(answer: Answer, url: str) -> NotTriggered | LookFailed:
    """The error where the user's page shows no user; words that are not Travis' own tell of another service."""
    refused = everybody_refused(answer)
    if refused is None and (not error_type(answer) or answer.status in (404, 405)):
        refused = not_welcome(
            answer, url, "a Travis API", "correct the account's `url` (https://api.travis-ci.com, or https://HOST/api)"
        )
    return refused or read_failed(answer, f"{url}/user")


def _bad_token(found: str) -> AccessRefused:
    return AccessRefused(
        "bad_token",
        f"Travis does not accept the token ({found}); it is wrong, expired, or belongs to another Travis; "
        "get one with `travis token` or from the web settings, and resume",
    )


class NotThere(LookFailed):
    """What the listing is about does not exist, or this token may not see it."""


def listing(call: Call, key: str, at_most: int, size: int = PAGE) -> Listing[int]:
    """A paginated listing, by offsets.

    Args:
        call: without `limit` and `offset`.
        key: the name under which the entries stand, and the listing's `@type`.
        at_most: pages.
        size: entries on a page.
    """

    def call_at(offset: int) -> Call:
        skip = (("offset", str(offset)),) if offset else ()
        return replace(call, query=(*call.query, ("limit", str(size)), *skip))

    return Listing(0, call_at, lambda offset, answer: _page(answer, key, offset, call.path), at_most)


def _page(answer: Answer, key: str, offset: int, path: str) -> Page[int]:
    body = mapping(answer.body)
    if answer.status == 404 and error_type(answer) == "not_found":
        raise NotThere(f"{path}: not found, or this token may not see it")
    if answer.status != 200 or body.get("@type") != key or not isinstance(body.get(key), list):
        raise read_failed(answer, path)
    entries = rows(body[key])
    if len(entries) != len(body[key]):
        raise LookFailed(f"{path}: the listing holds what is no entry")
    check_place(answer, path)
    return Page(entries, _next(body, len(entries), offset, path))


def check_place(answer: Answer, path: str) -> None:
    """Makes sure that a listing is the one that was asked for, as far as it shows; a name and a number may be one.

    Raises:
        LookFailed: it is another one; its connection is closed.
    """
    href = text(mapping(answer.body).get("@href"))
    whose, what = _end(path)
    there, shown = (whose, what) if href is None else _end(href.partition("?")[0])
    is_same = whose.isdigit() != there.isdigit() or whose.endswith(there)
    if shown != what or not is_same:
        raise LookFailed(f"{path}: {other_question(answer, 'it lists something else').cause}")


def _end(path: str) -> tuple[str, str]:
    """Whose listing a path is, and of what."""
    *_, whose, what = ("", *path.split("/"))
    return unquote(whose).lower(), what


def _next(body: Mapping[str, Any], length: int, offset: int, path: str) -> int | None:
    """Where the next page begins. With `skip_count` a next page is always promised: a page that is not full ends it."""
    pagination = mapping(body.get("@pagination"))
    limit = pagination.get("limit")
    if not isinstance(limit, int) or isinstance(limit, bool) or limit <= 0:
        raise LookFailed(f"{path}: a listing without @pagination cannot be known to be complete")
    if length < limit or pagination.get("is_last") is True:
        return None
    there = mapping(pagination.get("next")).get("offset")
    if "next" in pagination and pagination["next"] is None:
        return None
    following = there if isinstance(there, int) and not isinstance(there, bool) else offset + length
    return max(following, offset)  # one that leads back shows as a listing without end
