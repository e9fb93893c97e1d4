"""What calls look like on the wire, and what answers mean. No awaiting, no sockets.

A 403 is a limit, a missing right, or neither: headers and the known words tell. A 4xx starts nothing; everything else
that is no receipt leaves it open.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

from orchestrator.core.calls import Answer, Call
from orchestrator.core.errors import LookFailed, NotShown, NotTriggered, RateLimited, Rejected
from orchestrator.core.frozen import replace
from orchestrator.core.model import Json, Request, Target, Trigger
from orchestrator.limits.headers import number as in_header
from orchestrator.limits.headers import reset_after, retry_after, server_time
from orchestrator.providers.github.declaration import (
    AUTO,
    DECLARATION,
    MOST_INPUTS,
    MOST_PAYLOAD,
    NONE,
    READS,
    WRITES,
)
from orchestrator.providers.kit.answers import (
    check_receipt,
    is_refusal,
    mapping,
    not_accepted,
    number,
    quoted,
    refused,
    rejected,
    text,
)
from orchestrator.providers.kit.forge import repo_path
from orchestrator.providers.kit.listings import Listing, Query, linked
from orchestrator.providers.kit.workflow import MARKER_INPUTS

TITLE = DECLARATION.title
PATIENCE = 60.0  # seconds after a secondary limit of which GitHub does not say how long it lasts
VERSION, ASKS = "2022-11-28", "return_run_details"
MEDIA = "application/vnd.github+json"
_RUN_OF = re.compile(r"/repos/([^/]+/[^/]+)/actions/runs/\d+$")
_SECONDARY = ("secondary rate limit", "abuse detection mechanism")

# The server's words, in lower case, with our code and what a person can do.
_FORBIDDEN = (
    ("not accessible by", "insufficient_access", "the token lacks a right (Actions: write) on this repository"),
    ("must have admin rights", "insufficient_access", "the token's user may not write to this repository"),
    ("saml enforcement", "insufficient_access", "authorize the token for the organization's single sign-on"),
    ("disabled workflow", "workflow_disabled", "enable the workflow, or `skip` the target"),
    ("archived", "archived", "the repository is archived; leave it out"),
)
_INVALID = (
    ("no ref found", "ref_not_found", "there is no such branch or tag; a commit cannot be dispatched"),
    ("unexpected inputs", "unexpected_inputs", "the workflow does not declare these inputs on this ref"),
    ("required input", "input_missing", "the workflow wants an input that is not sent"),
    ("allowed values", "bad_input", "the workflow does not take this value"),
    ("does not have 'workflow_dispatch'", "no_dispatch", "its file on this ref has no `on: workflow_dispatch`"),
    ("not a permitted key", "too_old", "this server does not know what is sent; it is older than it says"),
)
_MISSING = (
    "there is no such repository or workflow for this token: a name is misspelt, the token was not granted the "
    "repository, or the workflow's file is not on the default branch"
)


def headers(account: object, token: str) -> Mapping[str, str]:
    """What every call carries."""
    return {"Authorization": f"Bearer {token}", "Accept": MEDIA, "X-GitHub-Api-Version": VERSION}


def get(path: str, repo: str | None = None, query: Query = (), purpose: str = "other") -> Call:
    """A call that reads."""
    return Call("GET", path, query, purpose=purpose, limits=READS, repo=repo)


def write(path: str, repo: str, body: Json = None, purpose: str = "other") -> Call:
    """A call that changes something."""
    return Call("POST", path, (), body, purpose, WRITES, repo)


def marker_input(trigger: Trigger) -> str | None:
    """The input, or the key of the payload, that carries the marker; None where none does."""
    said = trigger.target.request
    wished, own, is_event = said.get("marker_input", AUTO), _own(said), "event" in said
    if wished == AUTO:  # a payload may hold any key; an input that is not declared is refused
        wished = MARKER_INPUTS[0] if is_event else mapping(trigger.prepared).get("marker")
        wished = None if wished in own or len(own) >= (MOST_PAYLOAD if is_event else MOST_INPUTS) else wished
    return wished if isinstance(wished, str) and wished != NONE and trigger.marker is not None else None


def _own(said: Mapping[str, Json]) -> dict[str, Json]:
    return {**mapping(said.get("inputs") or said.get("payload")), **mapping(said.get("env"))}


def trigger_call(trigger: Trigger) -> Call:
    """The call that expresses the trigger."""
    target, prepared = trigger.target, mapping(trigger.prepared)
    said, lead = target.request, repo_path(target.repo)
    carrier = marker_input(trigger)
    sent = _own(said)
    sent.update({} if carrier is None else {carrier: trigger.marker})
    if "event" in said:
        body: dict[str, Json] = {"event_type": said["event"]}
        body.update({"client_payload": sent} if sent else {})
        return write(f"{lead}/dispatches", target.repo, body, "trigger")
    body = {"ref": target.branch or prepared.get("ref") or "the default branch"}
    texts = {name: str(value).lower() if isinstance(value, bool) else str(value) for name, value in sent.items()}
    body.update({"inputs": texts} if sent else {})  # text is taken for every kind of input
    if prepared.get("old") is not True:
        body[ASKS] = True
    workflow = quote(str(said.get("workflow")), safe="")
    return write(f"{lead}/actions/workflows/{workflow}/dispatches", target.repo, body, "trigger")


def read_receipt(trigger: Trigger, answer: Answer) -> Request:
    """The request that the answer promises: with the run's id, or without one where the server tells none.

    Raises:
        NotTriggered: and its kinds; no run was made.
        InDoubt: the answer leaves it open.
    """
    body = mapping(answer.body)
    run = number(body.get("workflow_run_id"))
    if answer.status == 200 and run is not None and "event" not in trigger.target.request:
        if not answer.is_moved:  # a repository that was renamed shows its new name
            shown = _RUN_OF.search(text(body.get("run_url")) or "")
            check_receipt(replace(trigger, marker=None), answer, text=None, repo=() if shown is None else (shown[1],))
        return Request(str(run), {"v": 1}, text(body.get("html_url")))
    if answer.status == 204 and answer.body in ("", None):
        return Request("accepted", {"v": 1, "sent": server_time(answer.headers)})
    if is_refusal(answer):
        raise refusal(answer)
    raise not_accepted(answer, TITLE)


def refusal(answer: Answer) -> NotTriggered:
    """The error for a 4xx: nothing was started; its kind says what may go on."""
    if (everything := limited(answer) or refused(answer, TITLE)) is not None:
        return everything
    said = message(answer)
    plain, known = said.lower(), {403: _FORBIDDEN, 422: (*_INVALID, *_FORBIDDEN)}.get(answer.status, ())
    wanted = quoted(answer.headers.get("x-accepted-github-permissions"), 100)
    for words, code, remedy in known:
        if words in plain:
            return rejected(code, remedy, f"{said}; it wants {wanted}" if wanted else said)
    if answer.status == 404 and plain == "not found":
        return rejected("not_found", _MISSING, "HTTP 404")
    error = not_accepted(answer, TITLE)
    return error if isinstance(error, NotTriggered) else Rejected(f"http_{answer.status}", str(error))


def message(answer: Answer) -> str:
    """GitHub's own words in an error."""
    body = mapping(answer.body)
    errors = body.get("errors")
    more = [one for one in errors if isinstance(one, str)] if isinstance(errors, list) else []
    return quoted(" ".join([one for one in (body.get("message"), *more) if isinstance(one, str)]))


def limited(answer: Answer) -> RateLimited | None:
    """The limit that was met, primary or secondary, which holds for all calls; None for any other refusal."""
    if answer.status not in (403, 429):
        return None
    plain, about = message(answer).lower(), str(mapping(answer.body).get("documentation_url", ""))
    wait, reset = retry_after(answer.headers), reset_after(answer.headers.get("x-ratelimit-reset", ""), answer.headers)
    is_empty = in_header(answer.headers.get("x-ratelimit-remaining", "")) == 0
    if any(words in plain for words in _SECONDARY) or about.endswith("secondary-rate-limits"):
        wait = wait if wait is not None else reset if is_empty else None
        return RateLimited(answer.scope, wait, "GitHub's secondary limit", patience=PATIENCE)
    if is_empty or plain.startswith("api rate limit exceeded"):
        return RateLimited(answer.scope, wait if wait is not None else reset, "GitHub's hourly limit of calls")
    return None


def read_failed(answer: Answer, path: str) -> NotTriggered | LookFailed:
    """The error for a call that only reads and was not answered as it should be."""
    odd = "not the JSON of GitHub" if answer.status == 200 else f"HTTP {answer.status}"
    said = message(answer) if answer.status >= 400 else ""
    if answer.status == 404 and said.lower() == "not found":
        return NotShown(f"{path}: there is no such thing, or this token may not see it")
    return limited(answer) or refused(answer, TITLE) or LookFailed(f"{path}: {odd}{f' ({said})' if said else ''}")


def listing(call: Call, key: str | None, at_most: int) -> Listing[Query]:
    """A listing in pages of a hundred; see `linked`."""
    return linked(replace(call, query=(*call.query, ("per_page", "100"))), key, at_most, read_failed)


def runs(target: Target, purpose: str, at_most: int) -> Listing[Query]:
    """All runs of the target's repository, newest first; not filtered, as filters go by an index that lags."""
    call = get(f"{repo_path(target.repo)}/actions/runs", target.repo, purpose=purpose)
    return listing(call, "workflow_runs", at_most)


def shown_in(row: Mapping[str, Any]) -> str | None:
    """The text of a run in which a marker would stand; None where it does not show it."""
    title, name = row.get("display_title"), row.get("name")
    return f"{title} {name}" if isinstance(title, str) else None
