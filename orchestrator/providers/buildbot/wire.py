"""What calls look like on the wire, and what answers mean. No awaiting, no sockets.

Forcing is JSON-RPC: the answer repeats the call's `id`. A 5xx is often a permanent mistake of the call, so the words
decide; what they do not settle is a doubt. No builder named at all would mean every builder of the scheduler, and of
several names those that are unknown are left out without a word: the receipt must have as many requests as were asked.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any
from urllib.parse import quote

from orchestrator.core.calls import Answer, Call, Send
from orchestrator.core.errors import InDoubt, LookFailed, NotShown, NotTriggered, Rejected
from orchestrator.core.model import Json, Request, Trigger
from orchestrator.limits.headers import server_time
from orchestrator.providers.buildbot.declaration import DECLARATION, MARKER_PROPERTY, builders_of, properties_of
from orchestrator.providers.kit import answers
from orchestrator.providers.kit.answers import (
    is_refusal,
    mapping,
    not_accepted,
    number,
    other_question,
    quoted,
    read,
    refused,
    rejected,
    rows,
)

TITLE = DECLARATION.title
API = "/api/v2"
COOKIE = "TWISTED_SESSION"
TOGETHER = 200  # ids in one call: a line of the request has 16 KiB here, and 8 KiB in a proxy's default

# Words in an error, with our code and what a person can do. In all of these cases nothing was started.
_REFUSALS = (
    ("builderNames not specified", "builder_not_found", "the scheduler has no such builder"),
    ("has no attribute 'force'", "scheduler_not_found", "there is no force scheduler of this name"),
    ("is not subscriptable", "not_found", "Buildbot does not know it (any more)"),
    (
        "need to have role",
        "insufficient_access",
        "nobody without this role may do it: give the account a `login` with it",
    ),
)

Pairs = Iterable[tuple[str, object]]


_BEGUN = " using PTY: "  # with which the last line begins that stands before what a command prints
_ENDED = re.compile(r"program finished with exit code (\d{1,9})\nelapsedTime=\S+\s*\Z")


def headers(account: object, token: str) -> Mapping[str, str]:
    """What every call carries: credentials on the API itself are ignored, only a session counts."""
    return {"Accept": "application/json"}


def get(path: str, pairs: Pairs = (), purpose: str = "other", repo: str | None = None) -> Call:
    """A call that reads; see `listed`."""
    return Call("GET", f"{API}{path}", tuple((name, str(value)) for name, value in pairs), None, purpose, (), repo)


def any_of(name: str, ids: Iterable[object]) -> list[tuple[str, object]]:
    """The filter by which a field has one of these values."""
    return [(f"{name}__in", id_) for id_ in ids]


def control(path: str, method: str, params: Mapping[str, Json], id_: str, session: str, purpose: str = "other") -> Call:
    """A call that changes something; who has logged in says so by the session."""
    body = {"jsonrpc": "2.0", "id": id_, "method": method, "params": params}
    sent = {"Cookie": f"{COOKIE}={session}"} if session else {}
    return Call("POST", f"{API}{path}", (), body, purpose, (), headers=sent)


def login_call(user: str, password: str) -> Call:
    """The call that opens a session. Its redirect leads to the server's own idea of its address: it is not followed."""
    basic = base64.b64encode(f"{user}:{password}".encode()).decode()
    return Call("GET", "/auth/login", limits=(), headers={"Authorization": f"Basic {basic}"}, redirects="", secret=True)


def session_in(answer: Answer) -> str | None:
    """The session that a login opened; of several cookies of that name the last is meant, the first is nobody's."""
    cookies = [value for name, value in answer.headers.items() if name.lower() == "set-cookie"]  # a name may come twice
    found = [one.partition("=")[2].partition(";")[0] for one in cookies if one.startswith(f"{COOKIE}=")]
    good = [one for one in found if 0 < len(one) <= 8000 and one.isascii() and one.isprintable()]
    return good[-1] if good and answer.status == 302 else None


def scheduler_path(name: object) -> str:
    """The path of a force scheduler."""
    return f"/forceschedulers/{quote(str(name), safe='')}"


def question(trigger: Trigger) -> str:
    """What the receipt must repeat."""
    return trigger.marker or trigger.target.id


def trigger_call(trigger: Trigger, session: str) -> Call:
    """The call that expresses the trigger."""
    target = trigger.target
    other = mapping(mapping(trigger.prepared).get("as"))
    params: dict[str, Json] = {}
    for name, value in properties_of(target).items():
        if name in other:
            params |= {f"{other[name]}_name": name, f"{other[name]}_value": str(value)}
        else:
            params[name] = value
    params["builderNames"] = builders_of(target)
    params |= {} if target.branch is None else {str(other.get("branch", "branch")): target.branch}
    params |= {} if trigger.message is None else {"reason": trigger.message}
    params |= {} if trigger.marker is None else {MARKER_PROPERTY: trigger.marker}
    params |= {} if target.request.get("priority") is None else {"priority": target.request["priority"]}
    path = scheduler_path(target.request.get("scheduler"))
    call = control(path, "force", params, question(trigger), session, "trigger")
    return Call(call.method, call.path, (), call.body, "trigger", (), target.repo, headers=call.headers)


def read_receipt(trigger: Trigger, answer: Answer, url: str) -> Request:
    """The request that the answer promises.

    Raises:
        NotTriggered: and its kinds; nothing was forced.
        InDoubt: the answer leaves it open.
    """
    made = done(answer, question(trigger))
    count = len(builders_of(trigger.target))
    buildset, requests = made[0], [number(id_) for id_ in mapping(made[1]).values()]
    known = [id_ for id_ in requests if id_ is not None]
    if number(buildset) is None or len(known) != count or len(requests) != count:
        raise other_question(answer, f"it tells of {len(requests)} requests, and {count} were asked for")
    return request_of(buildset, known, url, server_time(answer.headers))


def request_of(buildset: int, requests: Iterable[int], url: str, by: float | None) -> Request:
    """A request as the engine keeps it; its id is the lowest buildrequest's.

    Args:
        by: when it was there, by Buildbot's clock; None where that is not known.
    """
    first, *more = sorted(requests)
    handle: dict[str, Json] = {"v": 1, "buildset": buildset, "requests": [first, *more]}
    handle.update({} if by is None else {"by": by})
    return Request(str(first), handle, request_url(url, first))


def request_url(url: str, id_: int) -> str:
    """The page of a request."""
    return f"{url}/#/buildrequests/{id_}"


def done(answer: Answer, id_: str) -> tuple[Any, Any]:
    """The result of what was asked for: a buildset, and its requests by builder.

    Raises:
        NotTriggered: and its kinds.
        InDoubt: the answer leaves it open.
    """
    body = mapping(answer.body)
    if answer.status == 200 and body.get("jsonrpc") == "2.0":
        if body.get("id") != id_:
            raise other_question(answer, "its id is not that of the call")
        result = body.get("result")
        if "result" in body and result is None and "error" not in body:  # as for a method that it does not know
            raise Rejected("not_triggered", "Buildbot answers that nothing was started (result: null)")
        if isinstance(result, list) and len(result) == 2:
            return result[0], result[1]
    raise refusal(answer)


def refusal(answer: Answer) -> NotTriggered | InDoubt:
    """The error for a call that was to change something, and was not answered with a result."""
    if (everything := refused(answer, TITLE)) is not None:
        return everything
    error = mapping(mapping(answer.body).get("error"))
    said, code = message(answer), error.get("code")
    if answer.status == 400 and code == -32602:
        return rejected("bad_parameter", "the scheduler does not take a parameter", said)
    if is_refusal(answer) or (answer.status == 500 and code == -32603):
        for words, word, remedy in _REFUSALS:
            if words in said:
                return rejected(word, remedy, said)
    if is_refusal(answer) and error:
        return rejected(f"http_{answer.status}", f"{TITLE} refuses it (HTTP {answer.status})", said)
    return not_accepted(answer, TITLE)


def message(answer: Answer) -> str:
    """Buildbot's own words in an error: of a call that changes something, or of one that reads."""
    error = mapping(answer.body).get("error")
    said = mapping(error).get("message", error)
    if isinstance(said, Mapping):
        said = "; ".join(f"{name}: {value}" for name, value in list(said.items())[:5])
    return quoted(said)


def read_failed(answer: Answer, path: str) -> NotTriggered | LookFailed:
    """The error for a call that only reads and was not answered as it should be."""
    said = message(answer) if answer.status >= 400 else ""
    if answer.status == 404 and said.startswith("not found"):
        return NotShown(f"{path}: there is no such thing")
    return answers.read_failed(answer, path, TITLE, said)


def rows_in(answer: Answer, path: str, key: str) -> list[Mapping[str, Any]]:
    """The rows of a listing, or the one of a thing.

    Raises:
        LookFailed: it is none.
    """
    found = mapping(answer.body).get(key)
    entries = rows(found)
    if answer.status != 200 or not isinstance(found, list) or len(entries) != len(found):
        raise read_failed(answer, path)
    return entries


async def listed(
    send: Send, what: str, fields: Sequence[str], pairs: Pairs, purpose: str = "poll"
) -> list[Mapping[str, Any]]:
    """The rows of a listing, of each the fields that are named; all of them show the first, which is their number.

    Raises:
        LookFailed: it is no such listing.
    """
    call = get(f"/{what}", [*pairs, *(("field", name) for name in fields)], purpose)
    entries = rows_in(await read(send, call), call.path, what)
    if not all(number(row.get(fields[0])) is not None for row in entries):
        raise LookFailed(f"{call.path}: a row has no {fields[0]}")
    return entries


def printed_in(log: str) -> tuple[str, int | None]:
    """What a command printed, without what Buildbot wrote before and after it, and its exit code."""
    ended = _ENDED.search(log, max(0, len(log) - 500))
    body, code = (log, None) if ended is None else (log[: ended.start()], int(ended[1]))
    begun = body.find(_BEGUN)
    return (body if begun < 0 else body[begun:].partition("\n")[2]), code
