"""What Travis shows of requests and builds, as our values.

Trust `result` and `builds`, not `state`: builds that exist decide, even beside a result that says otherwise; a request
is rejected only when it has none. States that are not known here mean "still going".
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from orchestrator.core.model import Build, BuildState, Json, Refusal, Request, Scope, Target
from orchestrator.providers.kit.answers import instant, mapping, number, quoted, rows, text
from orchestrator.providers.kit.listings import markers_in
from orchestrator.providers.port import Followed, Observation
from orchestrator.providers.travis.declaration import STATES
from orchestrator.providers.travis.wire import page

NOTHING = Observation()

# The known texts of rejected requests, by prefix in lower case; texts vary between versions.
_REFUSALS = (
    ("could not authorize build request", "no_credit"),
    ("abuse detected", "abuse"),
    ("job rejected. abuse detected", "abuse"),
    ("build skipped via commit message", "skipped_by_message"),
    ("branch excluded per configuration", "branch_excluded"),
    ("branch not included per configuration", "branch_excluded"),
    ("build type disabled via repository settings", "build_type_disabled"),
    ("build config did not create any jobs", "no_jobs"),
    ("matrix created no jobs", "no_jobs"),
    ("github payload is missing a merge commit", "missing_merge_commit"),
    ("missing commit", "missing_commit"),
    ("config is missing", "config_error"),
    ("github pages branch", "github_pages_branch"),
    ("private repository", "private_repository"),
    ("excluded repository", "excluded_repository"),
)
_OF_THE_OWNER = frozenset({"no_credit", "abuse"})


def repo_of(followed: Followed) -> str:
    """The repository for paths: its number once we know it, as that survives renames."""
    repo = number(followed.request.handle.get("repo"))
    return followed.target.repo if repo is None else str(repo)


def slug_of(followed: Followed) -> str:
    """`owner/name` for people and for listings of an owner; the number where that is all we know."""
    slug = followed.request.handle.get("slug")
    return slug if isinstance(slug, str) and slug else followed.target.repo


def ids_of(followed: Followed) -> tuple[int, ...]:
    """The request's id, and those of others with the same marker, had Travis made several."""
    also: Json = followed.request.handle.get("also")
    ids = [int(followed.request.id)] if followed.request.id.isascii() and followed.request.id.isdigit() else []
    ids += [id_ for id_ in also if number(id_)] if isinstance(also, list | tuple) else []
    return tuple(ids)


def of_requests(followed: Followed, bodies: Sequence[Mapping[str, Any]], url: str) -> Observation:
    """What the requests of a target show, each as `GET /repo/.../request/ID` gives it; the first is the receipt's."""
    pairs = [(build, body) for body in bodies for build in rows(body.get("builds"))]
    marked = _marked_by(followed, [mapping(body.get("commit")).get("message") for body in bodies])
    renewed = _renewed(followed, bodies[0])
    builds, warning = _builds(followed, pairs, url)
    if builds:
        return Observation(builds, marked=marked, request=renewed, warning=warning)
    if all(body.get("result") == "rejected" for body in bodies):
        owner = slug_of(followed).partition("/")[0]
        return Observation(refusal=refusal_of(bodies[0].get("message"), owner), marked=marked, request=renewed)
    return Observation(marked=marked, request=renewed, warning=warning)


def of_builds(followed: Followed, found: Sequence[Mapping[str, Any]], url: str) -> Observation:
    """What a listing of builds shows of a target's builds; nothing where that is the one build as it was last seen."""
    if len(found) == 1 and _is_as_before(followed.build, found[0]):
        return NOTHING
    builds, warning = _builds(followed, [(build, build) for build in found], url)
    return Observation(builds, marked=_marked_by(followed, [message_of(build) for build in found]), warning=warning)


def may_be_of(row: Mapping[str, Any], target: Target, url: str) -> Build | None:
    """The build of a row that may be a target's; while there is none, the request in its place. None: it gets none.

    Args:
        row: a request, as listings of requests show it.
        url: the account's.
    """
    id_, slug = number(row.get("id")), text(mapping(row.get("repository")).get("slug"), 300) or target.repo
    followed = Followed(target, Request(str(id_), {"slug": slug}), None, None, 0.0)
    builds, _ = _builds(followed, [(build, row) for build in rows(row.get("builds"))], url)
    if builds:
        return builds[0]
    if row.get("result") == "rejected" or id_ is None:
        return None
    return Build(
        f"request-{id_}",
        BuildState.QUEUED,
        quoted(row.get("state"), 40),
        url=f"{page(url, slug, target)}/requests?requestId={id_}",
        created_at=instant(row.get("created_at")),
    )


def message_of(row: Mapping[str, Any]) -> str | None:
    """The commit's message: ours, or the commit's own where we sent none."""
    message = mapping(row.get("commit")).get("message")
    return message if isinstance(message, str) else None


def _builds(
    followed: Followed, pairs: Iterable[tuple[Mapping[str, Any], Mapping[str, Any]]], url: str
) -> tuple[tuple[Build, ...], str | None]:
    """Builds in the order of their ids, so that the first made decides; each is followed through its restarts."""
    builds: dict[int, Build] = {}
    warning = None
    for build, about in pairs:
        id_ = number(build.get("id"))
        if id_ is None:
            warning = "Travis shows a build without an id; it is not counted"
            continue
        state = build.get("state")
        native = state if isinstance(state, str) and state in STATES else quoted(state, 40)
        if native not in STATES:
            warning = f"Travis says that the build is {native!r}, a word not known here; it is taken as still going"
        builds[id_] = _build(followed, id_, native, build, about, url)
    return tuple(builds[id_] for id_ in sorted(builds)), warning


def _is_as_before(known: Build | None, row: Mapping[str, Any]) -> bool:
    """Whether a build that goes on shows nothing new: most rows of most polls."""
    if known is None or known.state.is_final or known.number is None or known.sha is None:
        return False
    is_started = row.get("started_at") is not None
    same = (str(row.get("id")), row.get("state"), is_started) == (known.id, known.native, known.started_at is not None)
    return same and known.native in STATES


def _build(
    followed: Followed, id_: int, native: str, build: Mapping[str, Any], about: Mapping[str, Any], url: str
) -> Build:
    """One build; what this poll does not show (its commit, its branch) stays as the last one had it.

    Args:
        about: where commit and branch stand: the build itself in listings, else its request.
    """
    before = followed.build if followed.build is not None and followed.build.id == str(id_) else None
    started = instant(build.get("started_at"))
    ref = mapping(about.get("branch")).get("name") or mapping(about.get("tag")).get("name")
    going = BuildState.QUEUED if started is None else BuildState.RUNNING
    return Build(
        id=str(id_),
        state=STATES.get(native, going),
        native=native,
        number=text(build.get("number"), 40) or (before.number if before else None),
        url=before.url if before and before.url else f"{page(url, slug_of(followed), followed.target)}/builds/{id_}",
        sha=text(mapping(about.get("commit")).get("sha"), 64) or (before.sha if before else None),
        branch=text(about.get("branch_name") or ref, 300) or (before.branch if before else None),
        created_at=before.created_at if before else instant(about.get("created_at")),
        started_at=started,
        finished_at=instant(build.get("finished_at")),
    )


def _marked_by(followed: Followed, messages: Iterable[object]) -> bool | None:
    texts = [message for message in messages if isinstance(message, str)]
    if followed.marker is None or not texts:
        return None
    return any(followed.marker in message for message in texts)


def _renewed(followed: Followed, body: Mapping[str, Any]) -> Request | None:
    """The receipt with the repository's number, where it was adopted without one."""
    if number(followed.request.handle.get("repo")) is not None:
        return None
    repository = mapping(body.get("repository"))
    id_, slug = number(repository.get("id")), text(repository.get("slug"), 300)
    if id_ is None:
        return None
    handle: dict[str, Json] = {**followed.request.handle, "v": 1, "repo": id_}
    if slug is not None and slug != followed.target.repo:
        handle["slug"] = slug
    return Request(followed.request.id, handle, followed.request.url)


def refusal_of(message: object, owner: str) -> Refusal:
    """Why Travis rejected a request that it had taken; credit, plan and abuse concern everything of the owner."""
    shown = quoted(message)
    plain = shown.lower()
    code = next((code for prefix, code in _REFUSALS if plain.startswith(prefix)), "request_rejected")
    if code == "request_rejected" and "200 jobs" in plain:
        code = "too_many_jobs"
    scope = Scope("owner", owner) if code in _OF_THE_OWNER else None
    return Refusal(code, shown or "Travis rejected the request and gave no reason", scope)


class Owned:
    """To which followed request each build of a listing belongs.

    Args:
        by_marker: whether a marker counts where no request is shown. It is the weakest sign: people copy messages.
    """

    def __init__(self, followed: Iterable[Followed], by_marker: bool) -> None:
        self._by_request: dict[int, Followed] = {}
        self._by_build: dict[str, Followed] = {}
        self._by_marker: dict[str, Followed] = {}
        for one in followed:
            self._by_request.update(dict.fromkeys(ids_of(one), one))
            if one.build is not None:
                self._by_build[one.build.id] = one
            elif one.marker is not None and by_marker:
                self._by_marker[one.marker] = one

    def owner_of(self, row: Mapping[str, Any]) -> Followed | None:
        """The owner of this build: by its request where that is shown, else by its id, else by the marker."""
        request = number(mapping(row.get("request")).get("id"))
        if request is not None:
            return self._by_request.get(request)
        known = self._by_build.get(str(row.get("id")))
        return known or self._by_mark(message_of(row) or "")

    def _by_mark(self, message: str) -> Followed | None:
        for marker in markers_in(message) if self._by_marker else ():
            if marker in self._by_marker:
                return self._by_marker[marker]
        return None
