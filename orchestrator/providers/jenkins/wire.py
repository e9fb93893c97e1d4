"""What calls look like on the wire, and what answers mean. No awaiting, no sockets.

An answer to a trigger has no body: its status and `Location` say all. 201: an item of the queue. 303: an equal item
waits already, and the trigger was merged into it. 302 to the job itself: a plugin vetoed it. Other 4xx started nothing.
"""

from __future__ import annotations

import re
from base64 import b64encode
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote, unquote, urlsplit

from orchestrator.core.calls import Answer, Call
from orchestrator.core.errors import LookFailed, NotShown, NotTriggered, RateLimited, Rejected
from orchestrator.core.model import ACCOUNT, Account, Json, Request, Trigger
from orchestrator.providers.jenkins.declaration import BRANCH, CALLS, DECLARATION, MARKER, TRIGGERS, parameters_of
from orchestrator.providers.kit import answers
from orchestrator.providers.kit.answers import (
    is_refusal,
    mapping,
    message_in,
    not_accepted,
    not_done,
    number,
    refused,
    rejected,
    rows,
    told_by,
)

TITLE = DECLARATION.title
RANGE = 100  # rows of a page
ROW = "number,queueId,building,result,timestamp,duration,actions[parameters[name,value],lastBuiltRevision[SHA1]]"
ITEM = "id,why,stuck,blocked,cancelled,inQueueSince,task[url],actions[parameters[name,value]]"
REDIRECTS = r"^\.?$|^(?:https?://[^/?#]+)?/(?:[^?#]*/)?(?:queue/item/\d+/?|job/[^?#]*)$"
NO_CRUMB = "no valid crumb"
_ITEM = re.compile(r"/queue/item/(\d{1,18})/?$")

MISSING = "there is no such job for this user: a name is misspelt, or the user may not see it (Job/Read)"
_REMEDIES = {
    "not_found": MISSING,
    "insufficient_access": "the user may not start this job (Job/Build)",
    "disabled": "the job is disabled; enable it, or `skip` the target",
    "bad_parameters": "the job does not take these parameters",
}
_CODES = {400: "bad_parameters", 403: "insufficient_access", 404: "not_found", 409: "disabled"}


def headers(account: Account, token: str) -> Mapping[str, str]:
    """What every call carries."""
    user = str(account.settings.get("user") or "")
    return {"Authorization": f"Basic {b64encode(f'{user}:{token}'.encode()).decode()}", "Accept": "application/json"}


def job_path(name: str, branch: str | None = None) -> str:
    """`/job/acme/job/widget`; a branch of a multibranch job is a job whose name is percent-encoded by itself."""
    path = "".join(f"/job/{quote(part, safe='')}" for part in name.split("/"))
    return path if branch is None else f"{path}/job/{quote(quote(branch, safe=''), safe='')}"


def get(path: str, tree: str, repo: str | None = None, purpose: str = "other") -> Call:
    """A call that reads these fields of an object; without a tree answers can be huge."""
    return Call("GET", f"{path}/api/json", (("tree", tree),), purpose=purpose, limits=(CALLS,), repo=repo)


def post(path: str, repo: str, form: Mapping[str, str], session: Mapping[str, str], purpose: str = "other") -> Call:
    """A call that changes something; a redirect to a job or an item of the queue is its answer."""
    body: Json = dict(form) or None
    limits = (TRIGGERS, CALLS) if purpose == "trigger" else (CALLS,)
    return Call("POST", path, (), body, purpose, limits, repo, headers=session, form=True, redirects=REDIRECTS)


def parameters(trigger: Trigger) -> dict[str, str]:
    """What is sent as parameters: the target's, its branch where the job takes it so, and the marker."""
    prepared, sent = mapping(trigger.prepared), parameters_of(trigger.target)
    if (carrier := prepared.get("branch")) is not None:
        sent[str(carrier)] = str(trigger.target.branch)
    if trigger.marker is not None and prepared.get("marker") is not False:
        sent[MARKER] = trigger.marker
    return sent


def trigger_call(trigger: Trigger, session: Mapping[str, str]) -> Call:
    """The call that expresses the trigger; `delay` skips the quiet period, in which triggers are collected."""
    prepared, form = mapping(trigger.prepared), parameters(trigger)
    path = str(prepared.get("path") or job_path(str(trigger.target.request.get("job") or trigger.target.repo)))
    how = "buildWithParameters" if form or prepared.get("parameters") else "build"
    return post(f"{path}/{how}", trigger.target.repo, {**form, "delay": "0sec"}, session, "trigger")


def prepared_of(target_branch: str | None, sent: Mapping[str, str], row: Mapping[str, Any], path: str) -> Json:
    """What a job's own page tells of a trigger.

    Args:
        sent: the parameters of the target.

    Raises:
        Rejected: it cannot be built so.
    """
    declared = declared_in(row)
    found: dict[str, Json] = {"v": 1, "path": path, "parameters": declared, "marker": MARKER in declared}
    if not isinstance(row.get("property"), list):  # it does not say what it declares: then all is sent
        return {**found, "marker": None, "branch": BRANCH[0] if target_branch is not None else None}
    if row.get("buildable") is False:
        raise Rejected("disabled", _REMEDIES["disabled"])
    if unknown := [name for name in sent if name not in declared]:
        raise Rejected("undeclared_parameters", f"the job does not declare {', '.join(unknown)[:200]}: "
                       "Jenkins would drop it silently; declare it, or leave it out")  # fmt: skip
    if target_branch is not None:
        found["branch"] = next((name for name in BRANCH if name in declared and name not in sent), None)
        if found["branch"] is None and not sent.keys() & set(BRANCH):
            raise Rejected("branch_not_taken", "the job takes no branch: it is no multibranch job, and declares no "
                           f"parameter {BRANCH[0]}; declare it, or leave `branch` out")  # fmt: skip
    return found


def declared_in(row: Mapping[str, Any]) -> list[str]:
    """The names of the parameters that a job declares."""
    found = [one for each in rows(row.get("property")) for one in rows(each.get("parameterDefinitions"))]
    return [name for one in found if isinstance(name := one.get("name"), str)][:500]


def read_receipt(trigger: Trigger, answer: Answer, path: str) -> Request:
    """The request that the answer promises: an item of the queue.

    Raises:
        NotTriggered: and its kinds; nothing was queued.
        InDoubt: the answer leaves it open.
    """
    location = answer.headers.get("location", "")
    item = _ITEM.search(urlsplit(location[:2000]).path) if location.isprintable() else None
    is_marked = MARKER in parameters(trigger)
    if answer.status in (201, 303) and item is not None and int(item[1]) > 0:
        handle: dict[str, Json] = {"v": 1, "job": path, "item": int(item[1])}
        handle.update({"marked": True} if is_marked else {"merged": True} if answer.status == 303 else {})
        return Request(item[1].lstrip("0"), handle)
    if answer.status == 302:
        raise Rejected("vetoed", "a plugin of Jenkins vetoed it: nothing was queued; see its system log")
    if is_refusal(answer):
        raise refusal(answer)
    raise not_accepted(answer, TITLE)


def refusal(answer: Answer) -> NotTriggered:
    """The error for a POST that was refused: nothing was started."""
    if answer.status == 403 and NO_CRUMB in message_in(answer.body).lower():
        return RateLimited(ACCOUNT, 1.0, "Jenkins wants a new crumb; an API token needs none", patience=1.0)
    is_own = "x-jenkins" in answer.headers or answer.status == 409
    if answer.status in _CODES and is_own and refused(answer, TITLE) is None:
        code = _CODES[answer.status]
        return rejected(code, _REMEDIES[code], f"HTTP {answer.status}")
    return not_done(answer, TITLE)


def read_failed(answer: Answer, path: str) -> NotTriggered | LookFailed:
    """The error for a call that only reads and was not answered as it should be."""
    if answer.status == 404:
        return NotShown(f"{path}: {MISSING} ({told_by(answer.body)})")
    return answers.read_failed(answer, path, TITLE)


def parameter(row: Mapping[str, Any], name: str = MARKER) -> str | None:
    """The value of a parameter of a build or an item; empty where it has none, None where that is not shown."""
    actions = row.get("actions")
    if not isinstance(actions, list):
        return None
    found = [one for each in rows(actions) for one in rows(each.get("parameters")) if one.get("name") == name]
    value = found[0].get("value") if found else ""
    return value if isinstance(value, str) else None


def item_of(row: Mapping[str, Any]) -> str | None:
    """The number of a build's place in the queue, or of an item, as it is a request's id."""
    found = number(row.get("queueId", row.get("id")))
    return None if found is None else str(found)


def is_of(row: Mapping[str, Any], path: str) -> bool:
    """Whether an item of the queue is of this job, or does not say of which."""
    url = mapping(row.get("task")).get("url")
    if not isinstance(url, str):
        return True
    before, found, after = unquote(urlsplit(url[:2000]).path).rstrip("/").rpartition(unquote(path))
    return found != "" and after == "" and "/job/" not in f"{before}/"
