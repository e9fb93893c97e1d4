"""What calls look like on the wire, and what answers mean. No awaiting, no sockets.

GitLab refuses with a 400 and a sentence in `message.base`, its own limit of new pipelines included: sentences are told
apart by their known words, in small letters. A 4xx stores nothing; everything else that is no receipt leaves it open.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import quote, unquote, urlsplit

from orchestrator.core.calls import Answer, Call
from orchestrator.core.errors import AccessRefused, LookFailed, NotShown, NotTriggered, RateLimited, Rejected
from orchestrator.core.frozen import replace
from orchestrator.core.model import ACCOUNT, Build, BuildState, Json, Request, Scope, Target, Trigger
from orchestrator.limits.headers import reset_after, retry_after
from orchestrator.providers.gitlab.declaration import API, DECLARATION, MARKER, READS, REASONS, STATES, WRITES
from orchestrator.providers.kit import answers
from orchestrator.providers.kit.answers import (
    check_receipt,
    instant,
    is_refusal,
    known_word,
    mapping,
    not_accepted,
    number,
    quoted,
    refused,
    refused_before,
    rejected,
    text,
)
from orchestrator.providers.kit.listings import Listing, Page, Query, linked
from orchestrator.providers.port import Secrets

TITLE = DECLARATION.title
PATIENCE = 60.0  # seconds after a limit of which GitLab does not say how long it lasts; its windows are minutes
PAGE = 100
_PIPELINES = "/-/pipelines/"

# GitLab's words, in small letters, with our code and what a person can do.
_BASE = (
    ("reference not found", "ref_not_found", "there is no such branch or tag; a commit cannot be triggered"),
    ("missing ci config file", "no_config", "this ref has no `.gitlab-ci.yml`"),
    ("filtered out by workflow rules", "nothing_to_build", "`workflow: rules` of its CI file want no such pipeline"),
    ("will not run for the selected trigger", "nothing_to_build", "no job's `rules` want such a pipeline"),
    ("no stages / jobs for this pipeline", "nothing_to_build", "no job's `rules` want such a pipeline"),
    (
        "insufficient permissions to set pipeline variables",
        "variables_forbidden",
        "the project forbids pipeline variables; declare inputs in its CI file and use `inputs` and `marker_input`, or "
        "allow Developers to set variables (Settings, CI/CD, Variables)",
    ),
    ("insufficient permissions", "insufficient_access", "the token's user may not start pipelines here"),
    ("do not have sufficient permission", "insufficient_access", "the ref is protected from the token's user"),
    ("pipelines are disabled", "pipelines_disabled", "CI/CD is switched off for the project"),
    ("project is deleted", "not_found", "the project is being deleted"),
)
_TOO_MANY = "too many pipelines created in the last minute"
_MISSING = "there is no such project for this token; if a proxy turns %2F into a slash, give the project by its number"
_MISSING_TRIGGER = "there is no such project, or the trigger token is not one of its own, or has expired"


class Forbidden(LookFailed):
    """This token may not read what is there."""


def headers(account: object, token: str) -> Mapping[str, str]:
    """What every call carries."""
    return {"Accept": "application/json", **({"Authorization": f"Bearer {token}"} if token else {})}


def project_path(project: object) -> str:
    """`/api/v4/projects/acme%2Fapi`, or with the project's number."""
    return f"{API}/projects/{quote(str(project), safe='')}"


def home(target: Target, prepared: Json) -> str:
    """The path of the target's project, by its number where that is known: it outlives renames."""
    return project_path(number(mapping(prepared).get("project")) or target.repo)


def get(path: str, repo: str | None = None, query: Query = (), purpose: str = "other") -> Call:
    """A call that reads."""
    return Call("GET", path, query, purpose=purpose, limits=READS, repo=repo)


def write(path: str, repo: str, body: Json = None, purpose: str = "other") -> Call:
    """A call that changes something; a project that moved is followed, as GitLab answers with a 301 then."""
    limits = WRITES if purpose == "trigger" else READS
    return Call("POST", path, (), body, purpose, limits, repo, moves=True)


def trigger_call(trigger: Trigger, reference: str | None, secrets: Secrets) -> Call:
    """The call that expresses the trigger.

    Args:
        reference: to the trigger token by which it is triggered, if any.

    Raises:
        Rejected: the default branch is wanted, and nobody may look it up.
        UsageError: the trigger token cannot be resolved.
    """
    target, prepared = trigger.target, trigger.prepared
    said, carrier = target.request, target.request.get("marker_input")
    ref = target.branch or mapping(prepared).get("ref")
    if ref is None and prepared is not None:
        raise Rejected("ref_not_found", "which branch? the default one is not known; without `token` nobody may look")
    body: dict[str, Json] = {"ref": ref or "the default branch"}
    marked = {str(carrier): trigger.marker} if carrier and trigger.marker is not None else {}
    inputs = {**mapping(said.get("inputs")), **marked}
    body.update({"inputs": inputs} if inputs else {})
    sent, lead = {**mapping(said.get("variables")), **mapping(said.get("env"))}, home(target, prepared)
    if trigger.marker is not None and not carrier:
        sent[MARKER] = trigger.marker
    if reference is None:
        body.update({"variables": [{"key": key, "value": value} for key, value in sent.items()]} if sent else {})
        return write(f"{lead}/pipeline", target.repo, body, "trigger")
    body.update({"variables": sent} if sent else {})
    body["token"] = secrets(reference)
    return replace(write(f"{lead}/trigger/pipeline", target.repo, body, "trigger"), secret=True)


def read_receipt(trigger: Trigger, answer: Answer, url: str, *, by_trigger_token: bool) -> Request:
    """The request that the answer promises: a pipeline, with its project's number.

    Args:
        url: the account's.

    Raises:
        NotTriggered: and its kinds; no pipeline was made.
        InDoubt: the answer leaves it open.
    """
    body = mapping(answer.body)
    id_, project, page = number(body.get("id")), number(body.get("project_id")), text(body.get("web_url"))
    if answer.status == 201 and id_ is not None:
        known = number(mapping(trigger.prepared).get("project"))
        name = str(project) if trigger.target.repo.isdigit() else project_in(page, url)
        if answer.is_moved or (known is not None and known == project):
            name = trigger.target.repo  # whatever it is called by now
        target = replace(trigger.target, branch=trigger.target.branch and bare_ref(trigger.target.branch))
        asked = replace(trigger, marker=None, target=target)  # receipts show no variables
        check_receipt(asked, answer, text=None, repo=(name,), branch=body.get("ref"))
        return request_of(str(id_), body)
    if is_refusal(answer):
        raise refusal(answer, trigger.target, by_trigger_token=by_trigger_token)
    raise not_accepted(answer, TITLE)


def request_of(id_: str, row: Mapping[str, Any]) -> Request:
    """The request that made a pipeline, as it is shown: with the number of its project."""
    project = number(row.get("project_id"))
    return Request(id_, {"v": 1, **({} if project is None else {"project": project})}, text(row.get("web_url")))


def bare_ref(ref: str) -> str:
    """`main` of `refs/heads/main`; a tag likewise."""
    return ref.removeprefix("refs/heads/").removeprefix("refs/tags/")


def project_in(page: str | None, url: str) -> str | None:
    """The path of the project on whose page a pipeline is shown; None where that is no such page."""
    try:
        path, lead = urlsplit(page or "").path, urlsplit(url).path
    except ValueError:
        return None
    project, is_one, _ = path.rpartition(_PIPELINES)
    return unquote(project.removeprefix(lead).strip("/")) if is_one else None


def refusal(answer: Answer, target: Target, *, by_trigger_token: bool = False) -> NotTriggered:
    """The error for a 4xx: nothing was started; its kind says what may go on."""
    if (everything := limited(answer) or banned(answer) or refused(answer, TITLE)) is not None:
        return everything
    if not isinstance(answer.body, Mapping):
        return refused_before(answer, TITLE, secret=by_trigger_token)
    said = "" if by_trigger_token and answer.status != 400 else message(answer)
    plain = said.lower()
    if answer.status == 400 and _TOO_MANY in plain:
        reason = "GitLab's limit of new pipelines of this project"
        return RateLimited(Scope("repo", target.repo), None, reason, patience=PATIENCE)
    for words, code, remedy in _BASE if answer.status == 400 else ():
        if words in plain:
            return rejected(code, remedy, said)
    if answer.status == 404:
        return rejected("not_found", _MISSING_TRIGGER if by_trigger_token else _MISSING, "HTTP 404")
    if answer.status == 403:
        return rejected("insufficient_access", "the token's user may not do this to the project", said)
    return rejected(f"http_{answer.status}", f"{TITLE} refuses it (HTTP {answer.status})", said)


def message(answer: Answer) -> str:
    """GitLab's own words in an error, whatever their shape, in one line."""
    body = mapping(answer.body)
    told = (body.get(key) for key in ("message", "error", "error_description"))
    return quoted("; ".join(part for one in told for part in _texts(one)))


def _texts(value: object, depth: int = 3) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, list | Mapping) and depth:
        for one in list(value.values() if isinstance(value, Mapping) else value)[:20]:
            yield from _texts(one, depth - 1)


def limited(answer: Answer) -> RateLimited | None:
    """The limit of calls that was met, which holds for all of them; None for any other answer."""
    if answer.status != 429:
        return None
    wait, reset = retry_after(answer.headers), reset_after(answer.headers.get("ratelimit-reset", ""), answer.headers)
    reason = f"GitLab's limit {quoted(answer.headers.get('ratelimit-name'), 60)}".rstrip()
    return RateLimited(ACCOUNT, wait if wait is not None else reset, reason, patience=PATIENCE)


def banned(answer: Answer) -> AccessRefused | None:
    """The refusals that hold for everything: a token of another scope, an address that is shut out."""
    body = mapping(answer.body)
    if answer.status == 403 and body.get("error") == "insufficient_scope":
        wanted = quoted(body.get("scope"), 60) or "api"
        return AccessRefused("insufficient_scope", f"the token lacks the scope `{wanted}`; make one that has it")
    if answer.status == 403 and isinstance(answer.body, str) and answer.body.strip() == "Forbidden":
        reason = "GitLab shuts this address out, as after too many failed logins; nothing more is sent; resume later"
        return AccessRefused("banned", reason, retry_after=retry_after(answer.headers))
    return None


def read_failed(answer: Answer, path: str) -> NotTriggered | LookFailed:
    """The error for a call that only reads and was not answered as it should be."""
    said = message(answer) if answer.status >= 400 else ""
    if answer.status == 404 and said.lower().startswith("404"):
        return NotShown(f"{path}: there is no such thing, or this token may not see it")
    kind = Forbidden if answer.status == 403 and said.lower().startswith("403") else LookFailed
    return limited(answer) or banned(answer) or answers.read_failed(answer, path, TITLE, said, kind)


def listing(call: Call, at_most: int) -> Listing[Query]:
    """A listing in pages of a hundred; one that says that it goes on and does not link there is no whole one."""
    whole = linked(replace(call, query=(*call.query, ("per_page", str(PAGE)))), None, at_most, read_failed)
    has_keys = ("pagination", "keyset") in call.query

    def page_of(place: Query, answer: Answer) -> Page[Query]:
        page = whole.page_of(place, answer)
        is_full = not has_keys and len(page.entries) >= PAGE
        if page.next is None and answer.headers.get("x-next-page", "?" if is_full else ""):
            raise LookFailed(f"{call.path}: the listing goes on, and it is not said where")
        return page

    return whole._replace(page_of=page_of)


def native_of(status: object) -> tuple[str, BuildState, str | None]:
    """GitLab's word for a pipeline, what it means, and a warning where the word is not known here."""
    word = quoted(status, 40)
    return word, *known_word(word, STATES, TITLE, "pipeline")


def build_of(row: Mapping[str, Any]) -> tuple[Build, str | None]:
    """A pipeline as a build, and a warning."""
    native, state, warning = native_of(row.get("status"))
    has_warnings = mapping(row.get("detailed_status")).get("group") == "success-with-warnings"
    count = number(row.get("iid"))
    build = Build(
        id=str(row.get("id")),
        state=state,
        native=native,
        number=None if count is None else str(count),
        url=text(row.get("web_url")),
        sha=text(row.get("sha"), 64),
        branch=text(row.get("ref"), 300),
        created_at=instant(row.get("created_at")),
        started_at=instant(row.get("started_at")),
        finished_at=(instant(row.get("finished_at")) or instant(row.get("updated_at"))) if state.is_final else None,
        reason="with warnings: a job that may fail did" if has_warnings else REASONS.get(native),
    )
    return build, warning
