"""What calls look like on the wire, and what answers mean. No awaiting, no sockets.

201 with the whole build is a receipt. A 4xx starts nothing; everything else that is no receipt leaves it open.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

from orchestrator.core.calls import Answer, Call
from orchestrator.core.errors import AccessRefused, LookFailed, NotShown, NotTriggered, RateLimited
from orchestrator.core.frozen import replace
from orchestrator.core.model import ACCOUNT, Json, Request, Scope, Target, Trigger
from orchestrator.limits.headers import reset_after
from orchestrator.providers.buildkite.declaration import BOTH, DECLARATION, MARKER, RUN, pipeline_of
from orchestrator.providers.kit import answers
from orchestrator.providers.kit.answers import (
    check_receipt,
    is_refusal,
    mapping,
    message_in,
    not_accepted,
    not_done,
    number,
    quoted,
    refused,
    rejected,
    text,
)
from orchestrator.providers.kit.listings import Listing, Query, linked

TITLE = DECLARATION.title
PAGE = (("per_page", "100"), ("exclude_jobs", "true"), ("exclude_pipeline", "true"))
_BUILD = re.compile(r"/organizations/([^/]+)/pipelines/([^/]+)/builds/(\d{1,18})$")
_SCOPE = re.compile(r"doesn't have the `?(\w+)`? scope|does not have the `?(\w+)`? scope")
_MISSING = "there is no such pipeline for this token: a name is misspelt, or the token was not granted the organization"


def headers(account: object, token: str) -> Mapping[str, str]:
    """What every call carries."""
    return {"Authorization": f"Bearer {token}", "Accept": "application/json"}


def organization(owner: str) -> str:
    """The path of an organization."""
    return f"/v2/organizations/{quote(owner, safe='')}"


def pipeline(target: Target) -> str:
    """The path of the target's pipeline."""
    return f"{organization(target.owner)}/pipelines/{quote(pipeline_of(target), safe='')}"


def call(method: str, path: str, repo: str | None = None, query: Query = (), purpose: str = "other") -> Call:
    """A call; each counts against the user, and where it is about an organization, against that."""
    return Call(method, path, query, None, purpose, BOTH, repo)


def run_of(marker: str | None) -> str | None:
    """The run that a marker names."""
    return marker[1:].rpartition(".")[0] if marker is not None and marker.startswith("[") else None


def trigger_call(trigger: Trigger) -> Call:
    """The call that expresses the trigger."""
    target, said = trigger.target, trigger.target.request
    branch = target.branch or mapping(trigger.prepared).get("branch") or "the default branch"
    meta = {name: _word(value) for name, value in mapping(said.get("meta_data")).items()}
    if trigger.marker is not None:
        meta.update({MARKER: trigger.marker, RUN: run_of(trigger.marker) or ""})
    body: dict[str, Json] = {"commit": said.get("sha") or "HEAD", "branch": branch}
    body["message"] = said.get("message") or trigger.run_name
    body.update(
        {"env": {name: _word(value) for name, value in mapping(said.get("env")).items()}} if said.get("env") else {}
    )
    body.update({"meta_data": meta} if meta else {})
    made = call("POST", f"{pipeline(target)}/builds", target.repo, purpose="trigger")
    return replace(made, body=body)


def _word(value: Json) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def read_receipt(trigger: Trigger, answer: Answer) -> Request:
    """The request that the answer promises.

    Raises:
        NotTriggered: and its kinds; no build was made.
        InDoubt: the answer leaves it open.
    """
    row, target = mapping(answer.body), trigger.target
    id_, count = text(row.get("id"), 64), number(row.get("number"))
    if answer.status == 201 and id_ is not None and id_.isprintable() and count is not None:
        shown = shown_in(row)  # one that shows no meta-data is known by its pipeline and branch
        asked = trigger if shown else replace(trigger, marker=None)
        check_receipt(asked, answer, text=shown, repo=(name_of(row, target),), branch=row.get("branch"))
        return Request(id_, {"v": 1, "number": count}, text(row.get("web_url")))
    if is_refusal(answer):
        raise refusal(answer, target.owner)
    raise not_accepted(answer, TITLE)


def name_of(row: Mapping[str, Any], target: Target) -> str:
    """The target's repository, where the build is of its pipeline; else the pipeline's own name."""
    found = _BUILD.search(text(row.get("url")) or "")
    mine = f"{target.owner}/{pipeline_of(target)}".lower()
    theirs = "unknown" if found is None else f"{found[1]}/{found[2]}".lower()
    return target.repo if theirs == mine else theirs


def refusal(answer: Answer, owner: str) -> NotTriggered:
    """The error for a 4xx to a call that changes something: nothing was started."""
    if (everything := limited(answer, owner) or refused(answer, TITLE)) is not None:
        return everything
    body = mapping(answer.body)
    said, errors = quoted(message_in(body)), body.get("errors")
    more = [message_in(one) if isinstance(one, Mapping) else one for one in errors] if isinstance(errors, list) else []
    said = quoted(" ".join([said, *(one for one in more if isinstance(one, str))]).strip())
    if answer.status == 403 and (scope := _SCOPE.search(said)) is not None:
        return AccessRefused("insufficient_scope", f"the token lacks the scope {scope[1] or scope[2]}; {said}")
    if answer.status == 403 and said:
        return rejected("insufficient_access", "the token's user may not build this pipeline", said)
    if answer.status == 404 and said:
        return rejected("not_found", _MISSING, said)
    if answer.status == 422 and said:
        return rejected("invalid", "the pipeline does not take this build", said)
    return not_done(answer, TITLE)


def limited(answer: Answer, owner: str) -> RateLimited | None:
    """The limit that was met, the user's or the organization's; None for any other refusal.

    There is no `Retry-After`: the reset of the window that is exhausted is waited for, the longer of two.
    """
    if answer.status != 429:
        return None
    body, given = mapping(answer.body), answer.headers
    left = {name: given.get(f"{name}-remaining", "") for name in ("ratelimit", "ratelimit-user")}
    words = [given.get(f"{name}-reset", "") for name, rest in left.items() if rest.strip() in ("", "0")]
    words += [str(reset)] if isinstance(reset := body.get("reset"), int) else []
    waits = [wait for word in (*words, given.get("retry-after", "")) if (wait := reset_after(word, given)) is not None]
    is_users = body.get("scope") != "rest"
    scope = ACCOUNT if is_users or not owner else Scope("owner", owner)
    whose = "user" if is_users else "organization"
    return RateLimited(scope, max(waits, default=None), f"Buildkite's limit of a minute for the {whose}", patience=60.0)


def read_failed(answer: Answer, path: str, owner: str = "") -> NotTriggered | LookFailed:
    """The error for a call that only reads and was not answered as it should be."""
    said = quoted(message_in(mapping(answer.body)))
    if answer.status == 404 and said:
        return NotShown(f"{path}: {_MISSING} ({said})")
    return limited(answer, owner) or answers.read_failed(answer, path, TITLE, said)


def listing(path: str, owner: str, query: Query, purpose: str, at_most: int, repo: str | None = None) -> Listing[Query]:
    """A listing in pages of a hundred, newest first; see `linked`."""
    first = call("GET", path, repo or f"{owner}/", (*query, *PAGE), purpose)
    return linked(first, None, at_most, lambda answer, path: read_failed(answer, path, owner))


def shown_in(row: Mapping[str, Any]) -> str | None:
    """The marker in a build's meta-data; empty where it has none, None where it is not shown."""
    meta = row.get("meta_data")
    if not isinstance(meta, Mapping):
        return None
    found = meta.get(MARKER, "")
    return found if isinstance(found, str) else None
