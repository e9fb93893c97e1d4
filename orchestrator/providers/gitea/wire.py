"""What calls look like on the wire, and what answers mean. No awaiting, no sockets.

A refusal is believed to be the service's own where it names the page that describes its API. A 4xx starts nothing;
everything else that is no receipt leaves it open.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

from orchestrator.core.calls import Answer, Call
from orchestrator.core.errors import AccessRefused, LookFailed, NotShown, NotTriggered
from orchestrator.core.frozen import Struct, replace
from orchestrator.core.model import Build, Json, Request, Target, Trigger
from orchestrator.limits.headers import server_time
from orchestrator.providers.gitea.declaration import API, CALLS, REASONS, TRIGGERS
from orchestrator.providers.kit import answers
from orchestrator.providers.kit.answers import (
    check_receipt,
    instant,
    is_refusal,
    known_word,
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
from orchestrator.providers.kit.forge import repo_path
from orchestrator.providers.kit.listings import Listing, numbered
from orchestrator.providers.port import Declaration

COMPLETED = "completed"
DISPATCH = "workflow_dispatch"
ACCEPTED = "accepted"  # the id of a request of which only that is known
PAGE = 50  # rows: the servers' own bound, unless their administrator changed it
_RUN_OF = re.compile(r"/repos/([^/]+/[^/]+)/actions/runs/\d+$")

# The server's words, in lower case, with our code and what a person can do.
_WORDS = (
    ("workflow is disabled", "workflow_disabled", "enable the workflow, or `skip` the target"),
    ("archived", "archived", "the repository is archived; leave it out"),
    ("limited to public", "insufficient_access", "the token reaches public repositories only"),
    ("workflow ", "workflow_not_found", "the branch has no such workflow; it is named by its file"),
    ("ref ", "ref_not_found", "there is no such branch or tag; a commit cannot be dispatched"),
)
# What stands where in a row: event, workflow, branch, number, commit; then the times.
_NAMES = {
    "gitea": ("event", "path", "head_branch", "run_number", "head_sha"),
    "forgejo": ("trigger_event", "workflow_id", "prettyref", "index_in_repo", "commit_sha"),
}
_TIMES = {
    "gitea": ("created_at", "started_at", "completed_at", "updated_at"),
    "forgejo": ("created", "started", "stopped", "updated"),
}
_MISSING = "there is no such repository, workflow or branch for this token, or its Actions are switched off"


class Run(Struct, frozen=True):
    """A run, whichever of the two shows it.

    Args:
        word: the service's own for how far it has come.
        ref: the branch or tag, without its kind.
        made: when; None where this server does not say.
        seen: an instant at which it was there already.
    """

    id: int
    word: str
    event: str | None
    workflow: str | None
    ref: str | None
    made: float | None
    seen: float | None
    began: float | None
    ended: float | None
    number: int | None
    url: str | None
    sha: str | None


def headers(account: object, token: str) -> Mapping[str, str]:
    """What every call carries."""
    return {"Authorization": f"token {token}", "Accept": "application/json"}


def get(path: str, repo: str | None = None, purpose: str = "other") -> Call:
    """A call that reads."""
    return Call("GET", f"{API}{path}", purpose=purpose, limits=(CALLS,), repo=repo)


def write(path: str, repo: str, body: Json = None, purpose: str = "other") -> Call:
    """A call that changes something."""
    return Call("POST", f"{API}{path}", (), body, purpose, (TRIGGERS, CALLS), repo)


def trigger_call(trigger: Trigger) -> Call:
    """The call that expresses the trigger; each of the two services ignores the other's wish for the run's id."""
    said = trigger.target.request
    sent = {**mapping(said.get("inputs")), **mapping(said.get("env"))}
    texts = {name: str(value).lower() if isinstance(value, bool) else str(value) for name, value in sent.items()}
    ref = trigger.target.branch or mapping(trigger.prepared).get("ref") or "the default branch"
    body: dict[str, Json] = {"ref": ref, "inputs": texts, "return_run_info": True}
    workflow = quote(str(said.get("workflow")), safe="")
    path = f"{repo_path(trigger.target.repo)}/actions/workflows/{workflow}/dispatches"
    return replace(write(path, trigger.target.repo, body, "trigger"), query=(("return_run_details", "true"),))


def read_receipt(trigger: Trigger, answer: Answer, declared: Declaration) -> Request:
    """The request that the answer promises: with the run's id, or without one where an older server tells none.

    Raises:
        NotTriggered: and its kinds; no run was made.
        InDoubt: the answer leaves it open.
    """
    body = mapping(answer.body)
    if answer.status == 200 and (run := number(body.get("workflow_run_id"))) is not None:
        if not answer.is_moved:  # a repository that was renamed shows its new name
            shown = _RUN_OF.search(text(body.get("run_url")) or "")
            check_receipt(replace(trigger, marker=None), answer, text=None, repo=() if shown is None else (shown[1],))
        return Request(str(run), {"v": 1}, text(body.get("html_url")))
    if answer.status == 201 and (run := number(body.get("id"))) is not None and number(body.get("run_number")):
        return Request(str(run), {"v": 1})
    if answer.status == 204 and answer.body in ("", None):
        return Request(ACCEPTED, {"v": 1, "sent": server_time(answer.headers)})
    raise refusal(answer, declared) if is_refusal(answer) else not_accepted(answer, declared.title)


def refusal(answer: Answer, declared: Declaration) -> NotTriggered:
    """The error for a 4xx: nothing was started; its kind says what may go on."""
    if (everything := refused(answer, declared.title) or lacks_scope(answer)) is not None:
        return everything
    said = quoted(message_in(answer.body))
    if _is_own(answer):
        for words, code, remedy in _WORDS:
            if words in said.lower():
                return rejected(code, remedy, said)
        if answer.status == 403:
            return rejected("insufficient_access", "the token's user may not write to this repository", said)
        if answer.status == 404:
            return rejected("not_found", _MISSING, said)
    return not_done(answer, declared.title)


def read_failed(answer: Answer, path: str, declared: Declaration) -> NotTriggered | LookFailed:
    """The error for a call that only reads and was not answered as it should be."""
    if answer.status == 404 and _is_own(answer):
        return NotShown(f"{path}: there is no such thing, or this token may not see it")
    return answers.read_failed(answer, path, declared.title, quoted(message_in(answer.body)))


def lacks_scope(answer: Answer) -> AccessRefused | None:
    """The refusal of a token that was not granted what the call needs, wherever it leads."""
    said = quoted(message_in(answer.body))
    if answer.status != 403 or "required scope" not in said.lower():
        return None
    return AccessRefused("insufficient_scope", f"the token lacks the scope write:repository ({said})")


def _is_own(answer: Answer) -> bool:
    """Whether an error is in the form of these services, which name the page that describes their API."""
    return "swagger" in str(mapping(answer.body).get("url"))


def listing(call: Call, key: str | None, at_most: int, declared: Declaration) -> Listing[int]:
    """A listing in pages of fifty; see `numbered`."""
    call = replace(call, query=(("limit", str(PAGE)),))
    return numbered(call, key, at_most, lambda answer, path: read_failed(answer, path, declared))


def run_of(row: Mapping[str, Any], declared: Declaration) -> Run | None:
    """A run as the service shows it; None where the row is none."""
    id_, status, conclusion = number(row.get("id")), row.get("status"), row.get("conclusion")
    if id_ is None or not isinstance(status, str):
        return None
    is_over = status == COMPLETED and isinstance(conclusion, str) and bool(conclusion)
    event, place, head, count, sha = (row.get(name) for name in _NAMES[declared.type])
    workflow, _, ref = (text(place) or "").partition("@refs/")
    made, began, ended, updated = (instant(row.get(name)) or None for name in _TIMES[declared.type])  # 1970: not yet
    return Run(
        id=id_,
        word=quoted(conclusion if is_over else status, 40),
        event=text(event, 100),
        workflow=workflow.rpartition("/")[2] or None,
        ref=bare(f"refs/{ref}") if ref else text(head, 300),
        made=made,
        seen=min((at for at in (made, began, ended) if at is not None), default=None),
        began=began,
        ended=ended or updated,
        number=number(count),
        url=text(row.get("html_url")),
        sha=text(sha, 64),
    )


def bare(ref: str) -> str:
    """A branch or tag without its kind."""
    return ref.removeprefix("refs/heads/").removeprefix("refs/tags/")


def build_of(run: Run, declared: Declaration) -> tuple[Build, str | None]:
    """A run as a build, and a warning; a word that is not known here is still going."""
    state, warning = known_word(run.word, declared.states, declared.title, "run")
    build = Build(
        id=str(run.id),
        state=state,
        native=run.word,
        number=None if run.number is None else str(run.number),
        url=run.url,
        sha=run.sha,
        branch=run.ref,
        created_at=run.made,
        started_at=run.began,
        finished_at=run.ended if state.is_final else None,
        reason=REASONS[declared.type].get(run.word),
    )
    return build, None if run.word in ("", COMPLETED) else warning


def may_be(target: Target, run: Run, ref: Json) -> bool:
    """Whether a run may be the target's: of its event, workflow, and branch.

    Args:
        ref: the default branch, where it is known.
    """
    wished = target.branch or ref
    if run.event not in (None, DISPATCH) or run.workflow not in (None, target.request.get("workflow")):
        return False
    return not isinstance(wished, str) or run.ref in (None, bare(wished))
